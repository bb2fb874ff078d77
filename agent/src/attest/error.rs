//! Why a node does not attest, apply a manifest or give evidence.

use std::io;
use std::path::PathBuf;

use sealstone_attestation::{ManifestDigest, ManifestError, ReportError};
use sealstone_wire::reply::RefusalCode;

use crate::enclave::CallError;
use crate::tpm::TpmError;

/// Why something that needs enclave, TPM and manifest together was not done.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The enclave was not reached, or refuses.
    #[error(transparent)]
    Enclave(#[from] CallError),
    /// The TPM did not do its part.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The manifest that was handed in is not one.
    #[error("the manifest is not acceptable: {0}")]
    Manifest(#[from] ManifestError),
    /// The agent has not the manifest that the enclave acts upon.
    #[error("expected the manifest that is in force ({expected}), found {found}; apply that manifest again")]
    ManifestMissing {
        /// In the enclave.
        expected: ManifestDigest,
        /// Here: a digest, or that there is none.
        found: String,
    },
    /// The enclave has no manifest yet.
    #[error("the enclave is not provisioned; apply a manifest that enrols this node")]
    Unprovisioned,
    /// Somebody locked the node on purpose.
    #[error("the node was locked by its operator; restart the agent to unlock it")]
    LockedByOperator,
    /// The enclave's report does not hold together.
    #[error("the enclave's report is not acceptable: {0}")]
    Report(#[from] ReportError),
    /// The manifest changed while evidence was being put together.
    #[error("the manifest changed meanwhile; try again")]
    ManifestChanged,
    /// A file of the agent's own cannot be used.
    #[error("{path} cannot be used: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The agent is ending.
    #[error("the agent is shutting down")]
    ShuttingDown,
}

impl AttestError {
    /// Stable, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Enclave(CallError::Refused(refusal)) => refusal.code.name(),
            Self::Enclave(CallError::NotSent { .. }) => "ENCLAVE_UNREACHABLE",
            Self::Enclave(CallError::Lost { .. }) => "OUTCOME_UNKNOWN",
            Self::Enclave(CallError::Unexpected { .. }) | Self::Report(_) => "ENCLAVE_FAULT",
            Self::Tpm(_) => "TPM_FAILED",
            Self::Manifest(_) => "MANIFEST_REFUSED",
            Self::ManifestMissing { .. } => "MANIFEST_MISSING",
            Self::ManifestChanged => "MANIFEST_CHANGED",
            Self::Unprovisioned => "UNPROVISIONED",
            Self::LockedByOperator => "LOCKED_BY_OPERATOR",
            Self::File { .. } => "FILE_FAILED",
            Self::ShuttingDown => "SHUTTING_DOWN",
        }
    }

    /// Whether the enclave said no, rather than somebody being out of reach or busy: its session, if it had one,
    /// is over.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Enclave(CallError::Refused(refusal))
            if !matches!(refusal.code, RefusalCode::Overloaded | RefusalCode::Busy))
    }
}
