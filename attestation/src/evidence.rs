//! Evidence: one self-contained file that a node hands to an auditor. Nothing in it is believed yet.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    Envelope, HexBytes, Nonce, PublicArea, Purpose, QuoteEvidence, UnixTime, dsse::base64_vec,
    encoding::hex_vec,
};

/// The one version of the format.
const FORMAT: u32 = 1;

/// Certificates of one chain; vendors' chains have up to four.
const CERTIFICATES_MAX: usize = 8;

/// Bytes of a checkpoint: what a statement can hold.
const CHECKPOINT_BYTES_MAX: usize = 65_535;

/// What a node shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Version of this format: 1.
    pub format: u32,
    /// What the quote is said to be for.
    pub purpose: Purpose,
    /// The nonce that the quote is said to answer.
    pub nonce: Nonce,
    /// The quote and the values that it covers.
    pub quote: QuoteEvidence,
    /// The attestation key.
    pub ak: PublicArea,
    /// The endorsement key above it.
    pub ek: PublicArea,
    /// The endorsement key's certificate and what it chains to, DER, leaf first. The manifest pins the key
    /// itself.
    pub ek_certificates: Vec<HexBytes>,
    /// What the enrolling authority found of this TPM, signed by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Envelope>,
    /// The manifest in force.
    pub manifest: Envelope,
    /// The enclave's report, whose digest the statement holds.
    pub report: Envelope,
    /// The newest audit checkpoint, which the statement holds; empty if there is none.
    #[serde(with = "hex_vec")]
    pub checkpoint: Vec<u8>,
    /// The measured-boot log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_log: Option<Base64Bytes>,
    /// The IMA measurement list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ima_log: Option<Base64Bytes>,
    /// When, by the agent's clock: for people, never relied upon.
    pub taken_at: UnixTime,
}

/// Bytes that read as standard base64 in text formats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Base64Bytes(#[serde(with = "base64_vec")] pub Vec<u8>);

impl Evidence {
    /// Bytes of a whole file: an IMA list of a long-running machine takes tens of megabytes.
    pub const BYTES_MAX: usize = 64 * 1024 * 1024;

    /// Reads an evidence file.
    ///
    /// # Errors
    /// [`EvidenceError`] when it is too large, not such JSON, or of another format.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(EvidenceError::TooLong { found: bytes.len() });
        }
        let evidence: Self =
            serde_json::from_slice(bytes).map_err(|error| EvidenceError::Malformed(error.to_string()))?;
        if evidence.format != FORMAT {
            return Err(EvidenceError::Format { found: evidence.format });
        }
        if evidence.ek_certificates.len() > CERTIFICATES_MAX {
            return Err(EvidenceError::Certificates { found: evidence.ek_certificates.len() });
        }
        if evidence.checkpoint.len() > CHECKPOINT_BYTES_MAX {
            return Err(EvidenceError::Checkpoint { found: evidence.checkpoint.len() });
        }
        Ok(evidence)
    }

    /// The file.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text, numbers, hex and base64 always serialize")
    }
}

/// Why a file is no readable evidence.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EvidenceError {
    /// More than any machine's logs.
    #[error("expected evidence of at most {} bytes, found {found}", Evidence::BYTES_MAX)]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// Not the JSON of evidence.
    #[error("expected evidence: {0}")]
    Malformed(String),
    /// Evidence of another version.
    #[error("expected evidence of format {FORMAT}, found {found}")]
    Format {
        /// The format.
        found: u32,
    },
    /// More than any chain.
    #[error("expected at most {CERTIFICATES_MAX} certificates, found {found}")]
    Certificates {
        /// Certificates given.
        found: usize,
    },
    /// More than a statement holds.
    #[error("expected a checkpoint of at most {CHECKPOINT_BYTES_MAX} bytes, found {found}")]
    Checkpoint {
        /// Bytes given.
        found: usize,
    },
}
