//! What an enclave says of itself, signed by the report key that it names. A quote binds its digest, so that
//! the machine's attested state vouches for the key.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    Algorithm, AuthorityDigest, DeploymentId, Envelope, EnvelopeError, KeyId, ManifestDigest, PublicKey,
    ReceiptHash, ReportDigest, Sha256Digest, Signature64, UnixTime, encoding::array,
};

/// The one version of the format.
const FORMAT: u32 = 1;

/// An enclave's own description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Version of this format: 1.
    pub format: u32,
    /// The deployment that the enclave serves.
    pub deployment: DeploymentId,
    /// The node's name in the manifest.
    pub node: String,
    /// The manifest in force.
    pub manifest: ManifestDigest,
    /// Its version.
    pub manifest_version: u64,
    /// Who approves its successor.
    pub authority: AuthorityDigest,
    /// The enclave's static key of the channel (X25519).
    #[serde(with = "array")]
    pub channel_key: [u8; 32],
    /// Signs this report, receipts and audit checkpoints (Ed25519).
    #[serde(with = "array")]
    pub report_key: [u8; 32],
    /// What is running.
    pub build: BuildInfo,
    /// Each protection as the enclave measured it.
    pub protections: Vec<Protection>,
    /// The unlock era.
    pub era: u64,
    /// The newest era before this one in which something was signed; 0 when there is none.
    pub last_used_era: u64,
    /// Receipts given in this era.
    pub sequence: u64,
    /// The newest receipt's hash, or the start of the era's chain.
    pub receipt_head: ReceiptHash,
    /// Whether no verified set of recovery shares exists for the root.
    pub unfunded: bool,
    /// When, by the enclave's clock.
    pub time: UnixTime,
}

/// What is running. The enclave read it of itself; only measured code makes it more than a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildInfo {
    /// The release.
    pub version: String,
    /// The source commit.
    pub commit: String,
    /// Of the executable, if it could be read at start.
    pub binary_sha256: Option<Sha256Digest>,
}

/// One protection of the process, as measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protection {
    /// Stable name.
    pub name: String,
    /// Whether it is in force.
    pub active: bool,
    /// What was found.
    pub detail: String,
}

impl Report {
    /// The payload type of a report's envelope.
    pub const PAYLOAD_TYPE: &str = "application/vnd.sealstone.report.v1+json";

    /// Wraps the report in its envelope; `sign` is given the bytes to sign and answers with the report key's
    /// Ed25519 signature, so that the key need not leave its memory.
    ///
    /// # Errors
    /// [`ReportError::ReportKey`] when `report_key` is no Ed25519 key.
    pub fn sign(&self, sign: impl FnOnce(&[u8]) -> Signature64) -> Result<Envelope, ReportError> {
        let key_id = self.public_key()?.key_id();
        let payload = serde_json::to_vec(self).expect("strings, numbers and digests always serialize");
        Ok(Envelope::of_one(Self::PAYLOAD_TYPE, payload, key_id, |bytes| sign(bytes).as_bytes().to_vec()))
    }

    fn public_key(&self) -> Result<PublicKey, ReportError> {
        PublicKey::from_bytes(Algorithm::EdDsa, &self.report_key).map_err(|_| ReportError::ReportKey)
    }
}

/// A report that the key which it names did sign. That the key is an enclave's is shown only by a quote over
/// its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedReport {
    report: Report,
    digest: ReportDigest,
    key_id: KeyId,
}

impl VerifiedReport {
    /// Reads an envelope's JSON and verifies its one signature.
    ///
    /// # Errors
    /// [`ReportError`] when it is no report, of another format, or not signed by exactly the key that it
    /// names.
    pub fn parse(envelope: &[u8]) -> Result<Self, ReportError> {
        Self::from_envelope(&Envelope::parse(envelope)?)
    }

    /// Verifies an envelope that was already read.
    ///
    /// # Errors
    /// As [`VerifiedReport::parse`].
    pub fn from_envelope(envelope: &Envelope) -> Result<Self, ReportError> {
        envelope.check_type(Report::PAYLOAD_TYPE)?;
        let report: Report = serde_json::from_slice(&envelope.payload)
            .map_err(|error| ReportError::Malformed(error.to_string()))?;
        if report.format != FORMAT {
            return Err(ReportError::Format { found: report.format });
        }
        let key = report.public_key()?;
        let key_id = key.key_id();
        let [signature] = envelope.signatures.as_slice() else {
            return Err(ReportError::SignatureCount { found: envelope.signatures.len() });
        };
        let bytes: Option<[u8; 64]> = signature.sig.as_slice().try_into().ok();
        let pae = Envelope::pae(&envelope.payload_type, &envelope.payload);
        let verified =
            bytes.is_some_and(|bytes| key.verify_message(&pae, &Signature64::from_bytes(bytes)).is_ok());
        if signature.keyid.parse() != Ok(key_id) || !verified {
            return Err(ReportError::Signature { key_id });
        }
        Ok(Self { report, digest: ReportDigest::of(&envelope.payload), key_id })
    }

    /// The report.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Digest of the signed bytes: what statements hold.
    #[must_use]
    pub fn digest(&self) -> ReportDigest {
        self.digest
    }

    /// The report key's id.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }
}

/// Why a report is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReportError {
    /// Not a report's envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Not a report.
    #[error("expected a report: {0}")]
    Malformed(String),
    /// A report of another version.
    #[error("expected a report of format {FORMAT}, found {found}")]
    Format {
        /// The format.
        found: u32,
    },
    /// The report key is none.
    #[error("expected an Ed25519 report key, found bytes that are none")]
    ReportKey,
    /// A report has one author.
    #[error("expected one signature, found {found}")]
    SignatureCount {
        /// Signatures given.
        found: usize,
    },
    /// Changed, or signed by another key.
    #[error("expected a valid signature by the report key {key_id}, found one that does not verify")]
    Signature {
        /// The key that the report names.
        key_id: KeyId,
    },
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[5; 32])
    }

    fn report() -> Report {
        Report {
            format: 1,
            deployment: DeploymentId::from_bytes([1; 16]),
            node: "node-1".to_owned(),
            manifest: ManifestDigest::of(b"m"),
            manifest_version: 3,
            authority: AuthorityDigest::of(b"a"),
            channel_key: [2; 32],
            report_key: key().verifying_key().to_bytes(),
            build: BuildInfo { version: "0.1.0".to_owned(), commit: "abc".to_owned(), binary_sha256: None },
            protections: vec![Protection {
                name: "secret_memory".to_owned(),
                active: true,
                detail: "memfd_secret".to_owned(),
            }],
            era: 4,
            last_used_era: 3,
            sequence: 0,
            receipt_head: crate::Receipt::genesis(4),
            unfunded: true,
            time: UnixTime::from_secs(1_795_230_000),
        }
    }

    fn sign(report: &Report) -> Envelope {
        report.sign(|pae| Signature64::from_bytes(key().sign(pae).to_bytes())).unwrap()
    }

    #[test]
    fn a_report_reads_as_it_was_signed() {
        let envelope = sign(&report());
        let verified = VerifiedReport::parse(&envelope.to_json()).unwrap();
        assert_eq!(verified.report(), &report());
        assert_eq!(verified.digest(), ReportDigest::of(&envelope.payload));
    }

    #[test]
    fn a_report_that_was_changed_unsigned_or_signed_by_another_is_refused() {
        let good = sign(&report());
        let refused = |envelope: &Envelope| VerifiedReport::from_envelope(envelope).unwrap_err();

        let mut changed = good.clone();
        let text =
            String::from_utf8(changed.payload).unwrap().replace("\"unfunded\":true", "\"unfunded\":false");
        changed.payload = text.into_bytes();
        assert!(matches!(refused(&changed), ReportError::Signature { .. }));

        let mut unsigned = good.clone();
        unsigned.signatures.clear();
        assert_eq!(refused(&unsigned), ReportError::SignatureCount { found: 0 });

        let mut twice = good.clone();
        twice.signatures.push(twice.signatures[0].clone());
        assert_eq!(refused(&twice), ReportError::SignatureCount { found: 2 });

        let foreign = SigningKey::from_bytes(&[6; 32]);
        let other = report().sign(|pae| Signature64::from_bytes(foreign.sign(pae).to_bytes())).unwrap();
        assert!(matches!(refused(&other), ReportError::Signature { .. }));

        let mut renamed = good.clone();
        renamed.signatures[0].keyid = PublicKey::from(&foreign.verifying_key()).key_id().to_string();
        assert!(matches!(refused(&renamed), ReportError::Signature { .. }));

        let mut retyped = good.clone();
        retyped.payload_type = "application/vnd.sealstone.manifest.v1+json".to_owned();
        assert!(matches!(refused(&retyped), ReportError::Envelope(EnvelopeError::Type { .. })));

        assert_eq!(refused(&sign(&Report { format: 2, ..report() })), ReportError::Format { found: 2 });
        let keyless = Report { report_key: [0; 32], ..report() };
        assert_eq!(keyless.sign(|_| Signature64::from_bytes([0; 64])), Err(ReportError::ReportKey));
    }
}
