//! A real TPM emulator for each test, templates of endorsement keys, and relays that lie.
#![allow(dead_code, reason = "each test program uses another part")]
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

pub mod commands;
pub mod keys;
pub mod node;
pub mod relay;
pub mod swtpm;
