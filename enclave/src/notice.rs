//! Lines for whoever runs the enclave, on standard error. A closed standard error loses them and nothing else: a
//! panic there would end a thread that others rely on.

use std::io::Write;
use std::panic::{self, PanicHookInfo};

/// Writes one line; `text` never holds a secret.
pub fn notice(text: impl std::fmt::Display) {
    // In one piece, so that threads do not write into each other's lines. Nobody is left to be told of a failure.
    drop(std::io::stderr().write_all(format!("sealstone-enclave: {text}\n").as_bytes()));
}

/// From now on a panic is one such line, without what was computed with and without a trace: that would be looked
/// up in files.
pub fn panics_are_notices() {
    panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let what = info.payload().downcast_ref::<&'static str>().unwrap_or(&"an unexpected value");
        match info.location() {
            Some(place) => notice(format!("fault of the program at {place}: {what}")),
            None => notice(format!("fault of the program: {what}")),
        }
    }));
}
