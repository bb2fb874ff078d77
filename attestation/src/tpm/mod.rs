//! Structures that a TPM returns (TCG TPM 2.0 Part 2), read whole from the bytes that were received, and secrets that only
//! a TPM can read.

pub(crate) mod credential;
pub(crate) mod kdf;
pub(crate) mod key_check;
pub(crate) mod name;
pub(crate) mod public_area;
pub(crate) mod quote;
pub(crate) mod quoting_key;
pub(crate) mod selection;
pub(crate) mod sharing;
pub(crate) mod signature;
pub(crate) mod spki;
