//! The JSON of a manifest's payload, as it is written. Nothing acts on a draft: it becomes a
//! [`Manifest`](crate::Manifest) first.

use serde::{Deserialize, Serialize};

use crate::{
    AuthoritySet, DeploymentId, ManifestDigest, UnixTime,
    authority::NAME_BYTES_MAX,
    manifest::{
        error::ManifestError,
        node::NodeDraft,
        permission::{AssetPermission, SessionPermission},
        state::StateDraft,
        succession::Succession,
    },
};

/// A manifest's payload, field by field, unchecked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestDraft {
    /// Version of this format: 1.
    pub format: u32,
    /// The deployment.
    pub deployment: DeploymentId,
    /// At least 1; each successor adds 1.
    pub version: u64,
    /// Digest of the manifest before; `None` for version 1 only.
    pub previous: Option<ManifestDigest>,
    /// When it was written. Never earlier than the manifest before.
    pub issued_at: UnixTime,
    /// Who approves the next manifest.
    pub authority: AuthoritySet,
    /// The set that hands over to `authority` with this manifest, and signs it too; `None` when none does. It is
    /// named so that whoever knows only the new set can still tell its signatures from foreign ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outgoing_authority: Option<AuthoritySet>,
    /// 1 to 64 states.
    pub states: Vec<StateDraft>,
    /// Ordered pairs of states.
    pub successions: Vec<Succession>,
    /// 1 to 256 nodes.
    pub nodes: Vec<NodeDraft>,
    /// Seconds that an attested session lasts, 10 to 3600.
    pub session_ttl_s: u64,
    /// How enclaves behave.
    pub enclave: EnclaveParameters,
    /// How it is shown which binaries ran.
    pub code: CodeMeasurement,
    /// What asset keys may sign.
    pub permissions: Vec<AssetPermission>,
    /// What session keys may sign.
    pub session_permissions: Vec<SessionPermission>,
}

/// How enclaves of a deployment behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnclaveParameters {
    /// Verify each signature before it leaves.
    pub verify_signatures: bool,
    /// Refuse to run without `memfd_secret`.
    pub require_secret_memory: bool,
}

/// What shows which binaries ran on a machine in an approved state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodeMeasurement {
    /// dm-verity, its root hash on the measured command line.
    Verity,
    /// Enforced IMA appraisal.
    Ima,
    /// Nothing; each verdict says so.
    None,
}

/// Checks the name of a state or node.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), ManifestError> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        Ok(())
    } else {
        Err(ManifestError::NameLength { what, expected: NAME_BYTES_MAX, found: name.len() })
    }
}
