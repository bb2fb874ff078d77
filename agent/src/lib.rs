//! The host daemon of a Sealstone node: it talks to clients, TPM, store and enclave, and holds no signing key.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
mod files;
pub mod store;
pub mod tpm;
