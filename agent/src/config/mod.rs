//! The agent's configuration: TOML, checked once at start.

pub mod enclave;
mod field;
pub mod tpm;

pub use field::FieldError;
