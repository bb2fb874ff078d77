//! What an auditor signs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{recorded::RecordedVerdict, verified::VerdictRecordError};
use crate::{
    Algorithm, AuthorityDigest, Envelope, Expectations, ManifestDigest, Nonce, PublicKey, Purpose,
    Sha256Digest, UnixTime, authority::NAME_BYTES_MAX,
};

/// The one version of the format.
pub(super) const FORMAT: u32 = 1;

/// Vendors' certificates of one kind, as many as can be pinned.
pub(super) const CERTIFICATES_MAX: usize = 4096;

/// One appraisal: of what, by what, when, by whom, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerdictRecord {
    /// Version of this format: 1.
    pub format: u32,
    /// The evidence file, byte for byte.
    pub evidence: Sha256Digest,
    /// The manifest that it was judged by.
    pub manifest: RecordedManifest,
    /// What was expected of it.
    pub expectations: RecordedExpectations,
    /// As of when.
    pub judged_at: UnixTime,
    /// When, by the auditor's clock, it was signed.
    pub signed_at: UnixTime,
    /// Who signed, for people: the key says it for certain.
    pub auditor: String,
    /// What was found.
    pub verdict: RecordedVerdict,
}

/// A manifest, and why it was trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedManifest {
    /// Names it.
    pub digest: ManifestDigest,
    /// Its version; `null` if it was not trusted after all.
    pub version: Option<u64>,
    /// From where trust began.
    pub trusted: ManifestTrust,
}

/// From where trust in a manifest began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManifestTrust {
    /// The auditor trusted the file as it was.
    AsGiven,
    /// The auditor trusted the authority set of this digest.
    Authority(AuthorityDigest),
}

/// What was expected, whatever the evidence says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedExpectations {
    /// What the quote had to be made for.
    pub purpose: Purpose,
    /// The auditor's nonce; `null` where a challenger had to have signed it.
    pub nonce: Option<Nonce>,
    /// Whose signed challenge it had to answer, if anybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<PublicKey>,
    /// Which node it had to be.
    pub node: Option<String>,
    /// How old the enclave's report could be.
    pub max_age_s: Option<u64>,
    /// SHA-256 of each pinned certificate of a vendor, sorted; `null` if the TPM's own was not looked at.
    pub roots: Option<Vec<Sha256Digest>>,
    /// The same of those that could lie in between.
    pub intermediates: Vec<Sha256Digest>,
}

impl RecordedExpectations {
    /// What an appraisal expected, without vendors' certificates.
    #[must_use]
    pub fn of(expectations: &Expectations) -> Self {
        let Expectations { purpose, nonce, challenger, node, previous_clock: _, max_age } = expectations;
        Self {
            purpose: *purpose,
            nonce: nonce.clone(),
            challenger: *challenger,
            node: node.clone(),
            max_age_s: max_age.map(|age| age.as_secs()),
            roots: None,
            intermediates: Vec::new(),
        }
    }

    /// What the same appraisal expects when it is made again.
    #[must_use]
    pub fn again(&self) -> Expectations {
        let Self { purpose, nonce, challenger, node, max_age_s, roots: _, intermediates: _ } = self;
        Expectations {
            purpose: *purpose,
            nonce: nonce.clone(),
            challenger: *challenger,
            node: node.clone(),
            previous_clock: None,
            max_age: max_age_s.map(Duration::from_secs),
        }
    }
}

impl VerdictRecord {
    /// The payload type of a record's envelope.
    pub const PAYLOAD_TYPE: &str = "application/vnd.sealstone.verdict.v1+json";

    /// Wraps the record in its envelope. `sign` is given the bytes to sign (DSSE) and answers with this key's signature, so that
    /// the key may be wherever it is kept.
    ///
    /// # Errors
    /// [`VerdictRecordError`] when the record would not be read again, or the key is of no auditor.
    pub fn sign(
        &self,
        key: &PublicKey,
        sign: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Result<Envelope, VerdictRecordError> {
        self.check()?;
        if key.algorithm() == Algorithm::Es256k {
            return Err(VerdictRecordError::Algorithm { found: key.algorithm() });
        }
        let payload = serde_json::to_vec(self).expect("strings, numbers and digests always serialize");
        let envelope = Envelope::of_one(Self::PAYLOAD_TYPE, payload, key.key_id(), sign);
        let found = envelope.to_json().len();
        if found > Envelope::BYTES_MAX {
            return Err(VerdictRecordError::TooLong { found });
        }
        Ok(envelope)
    }

    /// The first part in which another appraisal of the same files differs; `None` if it came to exactly this. Who signed and
    /// when is no part of an appraisal.
    #[must_use]
    pub fn difference(&self, again: &Self) -> Option<&'static str> {
        let Self { format, evidence, manifest, expectations, judged_at, signed_at: _, auditor: _, verdict } =
            self;
        [
            ("format", *format == again.format),
            ("evidence", *evidence == again.evidence),
            ("manifest", *manifest == again.manifest),
            ("expectations", *expectations == again.expectations),
            ("judged_at", *judged_at == again.judged_at),
            ("verdict", *verdict == again.verdict),
        ]
        .into_iter()
        .find_map(|(part, same)| (!same).then_some(part))
    }

    /// What every record holds to.
    pub(super) fn check(&self) -> Result<(), VerdictRecordError> {
        let Self { format, expectations, auditor, verdict, .. } = self;
        if *format != FORMAT {
            return Err(VerdictRecordError::Format { found: *format });
        }
        if !(1..=NAME_BYTES_MAX).contains(&auditor.len()) {
            return Err(VerdictRecordError::Auditor { found: auditor.len() });
        }
        let RecordedExpectations { roots, intermediates, .. } = expectations;
        for digests in roots.iter().chain([intermediates]) {
            let sorted = digests.is_sorted_by(|one, next| one.as_bytes() < next.as_bytes());
            if digests.len() > CERTIFICATES_MAX || !sorted {
                return Err(VerdictRecordError::Certificates { found: digests.len() });
            }
        }
        if verdict.is_consistent() { Ok(()) } else { Err(VerdictRecordError::Contradiction) }
    }
}
