//! The trusted process of a Sealstone node.
//!
//! It holds the root secret, verifies quotes itself, derives, signs and wipes. It trusts nobody: not the agent
//! that connects, not the relay through which it reaches the TPM, not its own state file before the TPM unsealed.
//!
//! * [`derive`](mod@derive), [`signing_key`]: root → key → signature.
//! * [`core`]: the phases and what each answers; [`ceremony`]: what changes the seal.
//! * [`tpm`]: TPM commands through an untrusted relay.
//! * [`server`]: connections, the signing pool.
//! * [`secret`]: memory that nobody else reads; [`sandbox`]: what keeps others out of the process.
//! * [`state_file`], [`payload`], [`credential`], [`durable`]: what is on disk and in the seal.
#![deny(unsafe_code)]

pub mod build_info;
pub mod ceremony;
pub mod channel_key;
pub mod clock;
pub mod config;
pub mod core;
pub mod credential;
pub mod derive;
pub mod durable;
pub mod harden;
pub mod notice;
pub mod payload;
pub mod receipts;
pub mod refuse;
pub mod report_key;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod session;
pub mod signing_key;
pub mod state_file;
pub mod tpm;
pub mod upload;
