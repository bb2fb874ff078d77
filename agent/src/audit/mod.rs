//! The audit log: what is recorded of each decision, and how the enclave comes to sign the log's head.
//!
//! The store writes records in the transaction of what they record; [`checkpointer`] shows them to the enclave.

mod checkpointer;
mod log;
mod records;
mod standing;

pub use checkpointer::{Anchor, Checkpointer};
pub use log::Log;
pub use records::{Act, SIGNER, act, base, decision, of_epoch, of_reservation, refusal, row, signature};
pub use standing::standing;
