//! Everything that crosses a process boundary in Sealstone.
//!
//! * [`key_path`]: what names a key, and the canonical bytes that derive it.
//! * [`request`] and [`reply`]: what agent and enclave say to each other.
//! * [`frame`], [`channel`], [`address`]: how they say it: capped frames, inside an authenticated Noise
//!   session, over `vsock:`, `unix:` or `unix-vsock:`.
//! * [`api`]: what clients say to the agent over HTTP.
//!
//! Nothing here holds a policy, and nothing here is asynchronous: the enclave uses this crate from plain
//! threads, the agent from tokio.
#![forbid(unsafe_code)]

pub mod address;
pub mod api;
mod bytes;
mod chain;
pub mod channel;
pub mod client;
pub mod frame;
pub mod key_path;
pub mod limits;
pub mod reply;
pub mod request;
#[cfg(feature = "openapi")]
mod schema;

pub use chain::chain;
pub use key_path::{Epoch, KeyPath, PathText};
