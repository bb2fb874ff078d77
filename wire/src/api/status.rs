//! What a node says of itself: whether it would sign, and how store, rules and audit log stand.

use std::collections::BTreeMap;

use sealstone_attestation::{Sha256Digest, UnixTime};
use serde::{Deserialize, Serialize};

use super::{PricesStatus, SanctionsStatus};
use crate::reply;

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct NodeStatus {
    /// `true` if a signature would be made now.
    pub ready: bool,
    /// Why not, for people; empty when ready.
    pub reasons: Vec<Reason>,
    /// The agent's release.
    pub agent_version: String,
    /// The enclave, if it answers.
    pub enclave: Option<reply::Status>,
    /// Whether the TPM answers, and how it is reached.
    pub tpm: TpmStatus,
    /// Where reservations and records are kept.
    pub store: StoreStatus,
    /// Counts by reservation state.
    pub reservations: BTreeMap<String, u64>,
    /// What requests are judged by.
    pub rules: RulesStatus,
    /// The node's audit log, if the store answers.
    pub log: Option<LogStatus>,
}

/// One reason why a node is not ready, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Reason {
    /// Stable.
    pub code: String,
    /// Expected, found.
    pub detail: String,
    /// What to do next.
    pub action: String,
}

/// The TPM as the agent sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct TpmStatus {
    /// The configured TCTI.
    pub tcti: String,
    /// Whether the newest command was answered.
    pub reachable: bool,
    /// What the newest fault said.
    pub fault: Option<String>,
}

/// The agent's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct StoreStatus {
    /// `sqlite` or `postgresql`.
    pub kind: String,
    /// Of its tables (`docs/schema.md`), if it answers.
    pub version: Option<u64>,
}

/// What the rules in force were made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct RulesStatus {
    /// Of the policy's file, as every decision's record names it.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex32"))]
    pub policy: Sha256Digest,
    /// The sanctions list, if there is one.
    pub sanctions: Option<SanctionsStatus>,
    /// The prices, if there are any.
    pub prices: Option<PricesStatus>,
}

/// How far the node's audit log is, and how much of it the enclave has signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct LogStatus {
    /// Records.
    pub size: u64,
    /// The newest checkpoint, if there is one.
    pub checkpoint: Option<CheckpointStatus>,
    /// Records that it does not cover.
    pub uncovered_records: u64,
    /// When the oldest of them was written.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::schema::Time>"))]
    pub uncovered_since: Option<UnixTime>,
    /// Receipts of the enclave's era that it does not surely cover, if the enclave answers.
    pub uncovered_receipts: Option<u64>,
    /// With so many of them the enclave signs nothing more.
    pub uncovered_receipts_max: u64,
}

/// A signed head of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct CheckpointStatus {
    /// Records that it covers.
    pub size: u64,
    /// When the newest of them was written: it was signed soon after.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::schema::Time>"))]
    pub newest_record: Option<UnixTime>,
}
