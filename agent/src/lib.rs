//! The host daemon of a Sealstone node: it talks to clients, TPM, store and enclave, and holds no signing key.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod api;
pub mod assets;
pub mod attest;
pub mod audit;
mod backoff;
pub mod clock;
pub mod config;
pub mod enclave;
pub mod failure;
mod files;
pub mod logging;
pub mod metrics;
pub mod reconcile;
pub mod reload;
pub mod rule_changes;
pub mod rulebook;
pub mod run;
pub mod shutdown;
pub mod signing;
pub mod store;
pub mod tpm;
