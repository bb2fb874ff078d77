//! The record of an enrolment: an authority's word that this attestation key lies in a real TPM, beside this endorsement key.
//!
//! Credential activation cannot be replayed offline, so whoever ran it signs what it showed.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    AuthoritySet, Base64Bytes, Envelope, KeyFlaw, PublicArea, Sha256Digest, SignaturesError, UnixTime,
};

/// What an enrolling authority found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentRecord {
    /// Version of this format: 1.
    pub format: u32,
    /// The endorsement key to which the credential was encrypted.
    pub ek: PublicArea,
    /// The attestation key beside which alone it could be opened.
    pub ak: PublicArea,
    /// The vendor's certificate of the endorsement key, DER; `None` if the authority enrolled it without one.
    pub ek_certificate: Option<Base64Bytes>,
    /// SHA-256 over the public key (SubjectPublicKeyInfo) of the pinned root that the certificate chained to.
    pub root: Option<Sha256Digest>,
    /// The TPM's manufacturer, as the certificate names it, such as `id:53544D20`.
    pub manufacturer: Option<String>,
    /// `TPMS_ATTEST.firmwareVersion`, as the node said.
    pub firmware_version: u64,
    /// What the authority allowed in enrolling it, for people: liberties of the certificate, a flaw of the firmware that was
    /// accepted.
    pub remarks: Vec<String>,
    /// When the credential was opened, by the authority's clock.
    pub activated_at: UnixTime,
}

/// A record that an authority of the reader's own choice signed. Only [`VerifiedEnrolment::from_envelope`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEnrolment(EnrolmentRecord);

impl EnrolmentRecord {
    /// The one version of the format.
    pub const FORMAT: u32 = 1;

    /// The media type in its envelope.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.sealstone.enrolment.v1+json";

    /// The envelope's payload, to be signed.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text, numbers, hex and base64 always serialize")
    }
}

impl VerifiedEnrolment {
    /// Reads a record that at least one of these authorities signed, and nobody else.
    ///
    /// # Errors
    /// [`EnrolmentError`] for another payload, signature or format, and for keys that no authority should have enrolled.
    pub fn from_envelope(envelope: &Envelope, authorities: &AuthoritySet) -> Result<Self, EnrolmentError> {
        if envelope.payload_type != EnrolmentRecord::PAYLOAD_TYPE {
            return Err(EnrolmentError::PayloadType { found: envelope.payload_type.clone() });
        }
        // Enrolling is one person's ceremony; that the node may attest is the manifest's to say, under its own threshold.
        let any = AuthoritySet::new(1, authorities.keys().to_vec()).expect("the keys already form a set");
        any.verify(envelope)?;
        let record: EnrolmentRecord = serde_json::from_slice(&envelope.payload)
            .map_err(|error| EnrolmentError::Malformed(error.to_string()))?;
        if record.format != EnrolmentRecord::FORMAT {
            return Err(EnrolmentError::Format { found: record.format });
        }
        record.ek.check_endorsement_key()?;
        record.ak.check_attestation_key()?;
        Ok(Self(record))
    }

    /// What was found.
    #[must_use]
    pub fn record(&self) -> &EnrolmentRecord {
        &self.0
    }
}

/// Why an enrolment record is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnrolmentError {
    /// Something else that was signed.
    #[error("expected an envelope of {}, found {found:?}", EnrolmentRecord::PAYLOAD_TYPE)]
    PayloadType {
        /// Its type.
        found: String,
    },
    /// Not by an authority.
    #[error(transparent)]
    Signatures(#[from] SignaturesError),
    /// Not keys that any authority should have enrolled.
    #[error("expected an endorsement and an attestation key: {0}")]
    Keys(#[from] KeyFlaw),
    /// Not the JSON of a record.
    #[error("expected an enrolment record: {0}")]
    Malformed(String),
    /// A record of another version.
    #[error("expected an enrolment record of format {}, found {found}", EnrolmentRecord::FORMAT)]
    Format {
        /// The format.
        found: u32,
    },
}
