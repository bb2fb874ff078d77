//! The trusted process of a Sealstone node.
//!
//! It holds the root secret, verifies quotes itself, derives, signs and wipes. It trusts nobody: not the agent
//! that connects, not the relay through which it reaches the TPM, not its own state file before the TPM unsealed.
//!
//! * [`derive`](mod@derive), [`signing_key`]: root → key → signature.
//! * [`core`]: the phases and what each answers; [`ceremony`]: what changes the seal; [`audit`]: what of the audit log
//!   the enclave knows, and signs.
//! * [`tpm`]: TPM commands through an untrusted relay.
//! * [`server`]: connections, the signing pool.
//! * [`sandbox`]: what the process gives up, and what it measures of that.
//! * [`secret`]: memory that nobody else reads.
//! * [`state_file`], [`payload`], [`credential`], [`durable`]: what is on disk and in the seal.
#![deny(unsafe_code)]

#[cfg(all(feature = "danger-readable-secrets", not(debug_assertions)))]
compile_error!(
    "danger-readable-secrets puts every secret where root reads it: it is for the hunt's control, never for a release"
);

#[cfg(all(feature = "danger-given-root", not(debug_assertions)))]
compile_error!(
    "danger-given-root takes the root from a file: it is for stories with several nodes, never for a release"
);

pub mod audit;
pub mod build_info;
pub mod ceremony;
pub mod channel_key;
pub mod clock;
pub mod config;
pub mod core;
pub mod credential;
#[cfg(feature = "danger-given-root")]
pub mod danger_given_root;
pub mod derive;
pub mod durable;
pub mod notice;
pub mod payload;
mod permission;
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
