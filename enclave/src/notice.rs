//! Lines for whoever runs the enclave, on standard error. A closed standard error loses them and nothing else: a
//! panic there would end a thread that others rely on.

use std::io::Write;

/// Writes one line; `text` never holds a secret.
pub fn notice(text: impl std::fmt::Display) {
    // Nobody is left to be told.
    drop(writeln!(std::io::stderr(), "sealstone-enclave: {text}"));
}
