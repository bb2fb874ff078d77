//! Evidence: one self-contained file that a node hands to an auditor. Nothing in it is believed yet.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    ChallengeRecord, Envelope, EnvelopeSignature, HexBytes, Nonce, PublicArea, Purpose, QuoteEvidence,
    UnixTime, dsse::base64_vec, encoding::hex_vec,
};

/// The one version of the format.
const FORMAT: u32 = 1;

/// Certificates of one chain; vendors' chains have up to four.
const CERTIFICATES_MAX: usize = 8;

/// Bytes of all predecessors' payloads and signatures together.
const PREDECESSOR_BYTES_MAX: usize = 4 * 1024 * 1024;

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
    /// The manifests before it since an authority handed over, oldest first: whoever pinned that one needs them to get from
    /// there to here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub predecessors: Vec<Envelope>,
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
    /// Who chose the nonce and when, signed by them. Whoever asks for evidence puts it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Envelope>,
    /// When, by the agent's clock: for people, never relied upon.
    pub taken_at: UnixTime,
}

/// Bytes that read as standard base64 in text formats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Base64Bytes(#[serde(with = "base64_vec")] pub Vec<u8>);

impl Evidence {
    /// What a file of it is called where types are named.
    pub const MEDIA_TYPE: &'static str = "application/vnd.sealstone.evidence.v1+json";

    /// Bytes of a whole file: an IMA list of a long-running machine takes tens of megabytes.
    pub const BYTES_MAX: usize = 64 * 1024 * 1024;

    /// Manifests since an authority handed over: some years of them. Whoever pinned an older authority has to pin a newer one
    /// by then.
    pub const PREDECESSORS_MAX: usize = 64;

    /// Whether these are few enough to be in evidence.
    #[must_use]
    pub fn predecessors_fit(predecessors: &[Envelope]) -> bool {
        let signature = |signature: &EnvelopeSignature| signature.keyid.len() + signature.sig.len();
        let size = |envelope: &Envelope| {
            envelope.payload.len() + envelope.signatures.iter().map(signature).sum::<usize>()
        };
        let few = predecessors.iter().all(|envelope| envelope.signatures.len() <= Envelope::SIGNATURES_MAX)
            && predecessors.len() <= Self::PREDECESSORS_MAX;
        few && predecessors.iter().map(size).sum::<usize>() <= PREDECESSOR_BYTES_MAX
    }

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
        if !Self::predecessors_fit(&evidence.predecessors) {
            return Err(EvidenceError::Predecessors { found: evidence.predecessors.len() });
        }
        if let Some(found) = evidence.challenge.as_ref().map(|envelope| envelope.payload.len())
            && found > ChallengeRecord::BYTES_MAX
        {
            return Err(EvidenceError::Challenge { found });
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
    /// More manifests than lead anywhere.
    #[error(
        "expected at most {} manifests before the one in force, of {PREDECESSOR_BYTES_MAX} bytes together, found {found}",
        Evidence::PREDECESSORS_MAX
    )]
    Predecessors {
        /// Manifests given.
        found: usize,
    },
    /// More than a record of a challenge.
    #[error("expected a challenge of at most {} bytes, found {found}", ChallengeRecord::BYTES_MAX)]
    Challenge {
        /// Bytes given.
        found: usize,
    },
    /// More than a statement holds.
    #[error("expected a checkpoint of at most {CHECKPOINT_BYTES_MAX} bytes, found {found}")]
    Checkpoint {
        /// Bytes given.
        found: usize,
    },
}
