//! A hostile agent and what it needs: the enclave's wire, raw TPM commands, an authority of its own.
#![allow(dead_code, reason = "each story uses another part")]
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, missing_debug_implementations)]

pub mod agent;
pub mod authority;
pub mod commands;
pub mod stage;
pub mod state_file;

use std::fmt::Debug;

use sealstone_wire::reply::{Refusal, RefusalCode};

#[allow(unused_imports, reason = "not every story holds one")]
pub use agent::Agent;
pub use stage::Stage;

/// It was refused, for this reason.
#[track_caller]
pub fn refused<T: Debug>(result: Result<T, Refusal>, code: RefusalCode, says: &str) {
    let refusal = result.expect_err(&format!("{code} was expected"));
    assert!(
        refusal.code == code && refusal.detail.contains(says),
        "expected {code} with {says:?}, found {} {}",
        refusal.code,
        refusal.detail
    );
}
