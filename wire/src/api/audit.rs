//! What auditors ask: pages of records.

use sealstone_attestation::audit::Record;
use serde::{Deserialize, Serialize};

/// `GET /v1/audit`: one page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct AuditPage {
    /// By time, then node, then index.
    pub records: Vec<AuditEntry>,
    /// What the next page is asked for with, as `after`; absent after the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One record, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// The node that wrote it.
    pub node: String,
    /// Its index in that node's log.
    pub index: u64,
    /// What was logged.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::AuditRecord"))]
    pub record: Record,
}
