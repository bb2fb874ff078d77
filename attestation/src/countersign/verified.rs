//! A record whose signature was verified.

use thiserror::Error;

use super::record::{CERTIFICATES_MAX, FORMAT, VerdictRecord};
use crate::{
    Algorithm, BadSignature, Envelope, EnvelopeError, KeyId, PublicKey, Signature64,
    authority::NAME_BYTES_MAX,
};

/// A record that one of its reader's auditors signed. That the appraisal was made as it says is shown only by making it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountersignedVerdict {
    record: VerdictRecord,
    key: PublicKey,
}

impl CountersignedVerdict {
    /// Reads an envelope's JSON and verifies its one signature, which must be by one of these keys.
    ///
    /// # Errors
    /// [`VerdictRecordError`] when it is no record, of another format, contradicts itself, or is not signed by exactly one of
    /// them.
    pub fn parse(envelope: &[u8], auditors: &[PublicKey]) -> Result<Self, VerdictRecordError> {
        let envelope = Envelope::parse(envelope)?;
        envelope.check_type(VerdictRecord::PAYLOAD_TYPE)?;
        let [signature] = envelope.signatures.as_slice() else {
            return Err(VerdictRecordError::Signatures { found: envelope.signatures.len() });
        };
        let key_id: KeyId = signature.keyid.parse().map_err(|_| VerdictRecordError::KeyId)?;
        let key = auditors
            .iter()
            .find(|key| key.key_id() == key_id)
            .ok_or(VerdictRecordError::Foreign { key_id })?;
        if key.algorithm() == Algorithm::Es256k {
            return Err(VerdictRecordError::Algorithm { found: key.algorithm() });
        }
        let bytes: [u8; 64] = signature.sig.as_slice().try_into().map_err(|_| BadSignature)?;
        let pae = Envelope::pae(&envelope.payload_type, &envelope.payload);
        key.verify_message(&pae, &Signature64::from_bytes(bytes))?;
        let record: VerdictRecord = serde_json::from_slice(&envelope.payload)
            .map_err(|error| VerdictRecordError::Malformed(error.to_string()))?;
        record.check()?;
        Ok(Self { record, key: *key })
    }

    /// What was signed.
    #[must_use]
    pub fn record(&self) -> &VerdictRecord {
        &self.record
    }

    /// Whose signature it is.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

/// Why bytes are no countersigned verdict.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VerdictRecordError {
    /// Not an envelope of one.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Nobody signed, or several did.
    #[error("expected one signature, found {found}")]
    Signatures {
        /// Signatures given.
        found: usize,
    },
    /// The signer cannot be named.
    #[error("expected the signature's keyid to be an RFC 7638 thumbprint, found one that is not")]
    KeyId,
    /// A stranger signed.
    #[error("foreign signature: expected one by a trusted auditor, found one by {key_id}")]
    Foreign {
        /// The stranger.
        key_id: KeyId,
    },
    /// Auditors sign with two algorithms only.
    #[error("expected an ES256 or EdDSA key, found {found}")]
    Algorithm {
        /// Of the key.
        found: Algorithm,
    },
    /// Not signed by that key.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// Not the JSON of a record.
    #[error("expected the record of a verdict: {0}")]
    Malformed(String),
    /// A record of another version.
    #[error("expected a verdict's record of format {FORMAT}, found {found}")]
    Format {
        /// The format.
        found: u32,
    },
    /// No name, or more than one line.
    #[error("expected an auditor's name of 1 to {NAME_BYTES_MAX} bytes, found {found}")]
    Auditor {
        /// Bytes given.
        found: usize,
    },
    /// Not a sorted set of certificates.
    #[error(
        "expected at most {CERTIFICATES_MAX} digests of certificates, sorted and distinct, found {found}"
    )]
    Certificates {
        /// Digests given.
        found: usize,
    },
    /// The verdict's parts say different things.
    #[error("expected a verdict that agrees with its own checks, found one that does not")]
    Contradiction,
    /// More than an envelope holds.
    #[error("expected a record whose envelope takes at most {} bytes, found {found}", Envelope::BYTES_MAX)]
    TooLong {
        /// Bytes it would take.
        found: usize,
    },
}
