//! The audit log: what is recorded of each decision, and how the enclave comes to sign the log's head.
//!
//! The store writes records in the transaction of what they record; [`checkpointer`] shows them to the enclave.

pub mod checkpointer;
mod records;

pub use records::{Act, act, base, decision, refusal, row, signature};
