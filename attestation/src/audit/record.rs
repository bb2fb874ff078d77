//! One decision of a node, as it is logged.
//!
//! A leaf of the log is a record's one spelling: compact JSON, members in the order of [`Record`], what is absent
//! left out. Another spelling of the same record is refused, so that who reads a leaf and who hashed it agree.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    Binding, KeyId, ManifestDigest, Receipt, ReceiptHash, RequestDigest, SessionId, Sha256Digest,
    Signature64, UnixTime, digest::TreeHash,
};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// A request was signed.
    Signed,
    /// A request was refused.
    Refused,
    /// A reservation was given back: the request was never written to a signer.
    Released,
    /// A reservation was given up: its nonce is burnt.
    Voided,
    /// An asset was created.
    AssetCreated,
    /// An asset began a new epoch.
    AssetRotated,
    /// An asset was retired.
    AssetRetired,
    /// A quote opened a session.
    Attested,
    /// A quote opened none.
    AttestationFailed,
    /// A manifest came into force.
    ManifestApplied,
    /// The enclave was locked.
    Locked,
    /// Burnt nonces were made usable again by an operator.
    NoncesReleased,
    /// A transaction policy came into force.
    PolicyLoaded,
    /// A sanctions list came into force.
    SanctionsLoaded,
    /// Prices came into force.
    PricesLoaded,
    /// An operator accepted that receipts are lost.
    ReceiptsAcceptedLost,
    /// The agent started.
    Started,
    /// Another act of an operator.
    Admin,
    /// A log began in place of one that was lost for good.
    LogBegun,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 19] = [
        Self::Signed,
        Self::Refused,
        Self::Released,
        Self::Voided,
        Self::AssetCreated,
        Self::AssetRotated,
        Self::AssetRetired,
        Self::Attested,
        Self::AttestationFailed,
        Self::ManifestApplied,
        Self::Locked,
        Self::NoncesReleased,
        Self::PolicyLoaded,
        Self::SanctionsLoaded,
        Self::PricesLoaded,
        Self::ReceiptsAcceptedLost,
        Self::Started,
        Self::Admin,
        Self::LogBegun,
    ];
}

/// One decision. All but the time and the kind is absent where it does not apply.
///
/// Never a payload, and nothing secret: a log is made to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// When, in Unix milliseconds by the agent's clock.
    pub time_ms: u64,
    /// What happened.
    pub kind: RecordKind,
    /// The stable code of a refusal or of a state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Every reason, at most [`Record::REASONS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Whose asset or session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The asset, or the sender of a session key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// On which chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_id: Option<u64>,
    /// The sender's nonce there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<u64>,
    /// Digest of the canonical request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestDigest>,
    /// Digest of the transaction policy that judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Sha256Digest>,
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The asset's epoch; 0 for a session key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The binding that the key was derived under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// Which signer: `enclave`, or a Transit route's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// The attested session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The request's trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The enclave's receipt of the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptReference>,
    /// The manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestDigest>,
    /// A short text for people, at most [`Record::TEXT_BYTES_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// One reason of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Stable.
    pub code: String,
}

/// Which receipt, and what of it the record does not say elsewhere, so that its hash can be computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptReference {
    /// Its era.
    pub era: u64,
    /// Its sequence.
    pub sequence: u64,
    /// Its hash.
    pub hash: ReceiptHash,
    /// When, by the enclave's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<UnixTime>,
    /// The signature that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature64>,
}

impl ReceiptReference {
    /// All of a receipt that a record does not say elsewhere.
    #[must_use]
    pub fn of(receipt: &Receipt) -> Self {
        Self {
            era: receipt.era,
            sequence: receipt.sequence,
            hash: receipt.hash(),
            time: Some(receipt.time),
            signature: Some(receipt.signature),
        }
    }
}

impl Record {
    /// Bytes of a leaf: far more than a record needs, far less than an entry of tlog-tiles can have (65,535).
    pub const BYTES_MAX: usize = 16 * 1024;

    /// Bytes of one text: names have at most 255, and a detail is a sentence.
    pub const TEXT_BYTES_MAX: usize = 1024;

    /// Reasons of one refusal: every rule of a policy may have its own.
    pub const REASONS_MAX: usize = 64;

    /// That a log begins here in place of one that was lost, of which the enclave remembers this head.
    #[must_use]
    pub fn log_begun(time_ms: u64, size: u64, root: &TreeHash) -> Self {
        let detail = format!("in place of the log of {size} records with root {}", root.to_base64());
        Self { detail: Some(detail), ..Self::new(time_ms, RecordKind::LogBegun) }
    }

    /// Whether it says that a log begins in place of the one with this head.
    #[must_use]
    pub fn begins_after(&self, size: u64, root: &TreeHash) -> bool {
        *self == Self::log_begun(self.time_ms, size, root)
    }

    /// Of which log, by size and root, it says that it was lost and that this one begins in its place.
    #[must_use]
    pub fn begun_in_place_of(&self) -> Option<(u64, TreeHash)> {
        let said = self.detail.as_deref()?.strip_prefix("in place of the log of ")?;
        let (size, root) = said.split_once(" records with root ")?;
        let (size, root) = (size.parse().ok()?, TreeHash::from_base64(root)?);
        // One spelling, as of every record.
        self.begins_after(size, &root).then_some((size, root))
    }

    /// A record of which nothing else is known.
    #[must_use]
    pub fn new(time_ms: u64, kind: RecordKind) -> Self {
        Self {
            time_ms,
            kind,
            code: None,
            reasons: Vec::new(),
            client: None,
            tenant: None,
            sender: None,
            chain_id: None,
            nonce: None,
            request: None,
            policy: None,
            key_id: None,
            epoch: None,
            binding: None,
            signer: None,
            session: None,
            trace_id: None,
            receipt: None,
            manifest: None,
            detail: None,
        }
    }

    /// Reads a leaf.
    ///
    /// # Errors
    /// [`RecordError`] when it is too long, no record, beyond a bound, or not spelt as [`Record::to_leaf`] spells.
    pub fn parse(leaf: &[u8]) -> Result<Self, RecordError> {
        if leaf.len() > Self::BYTES_MAX {
            return Err(RecordError::TooLong { found: leaf.len() });
        }
        let record: Self =
            serde_json::from_slice(leaf).map_err(|error| RecordError::Malformed(error.to_string()))?;
        if record.to_leaf()? == leaf { Ok(record) } else { Err(RecordError::Spelling) }
    }

    /// The leaf: what is stored, hashed and shown.
    ///
    /// # Errors
    /// [`RecordError`] when a text, the reasons or the whole is beyond its bound; nothing is cut silently.
    pub fn to_leaf(&self) -> Result<Vec<u8>, RecordError> {
        let Self { code, reasons, client, tenant, sender, signer, trace_id, detail, .. } = self;
        if reasons.len() > Self::REASONS_MAX {
            return Err(RecordError::Reasons { found: reasons.len() });
        }
        let texts = [
            ("code", code),
            ("client", client),
            ("tenant", tenant),
            ("sender", sender),
            ("signer", signer),
            ("trace_id", trace_id),
            ("detail", detail),
        ];
        let texts = texts.into_iter().filter_map(|(name, text)| text.as_ref().map(|text| (name, text)));
        for (name, text) in texts.chain(reasons.iter().map(|reason| ("reasons", &reason.code))) {
            if text.len() > Self::TEXT_BYTES_MAX {
                return Err(RecordError::Text { name, found: text.len() });
            }
        }
        let leaf = serde_json::to_vec(self).expect("strings, numbers and digests always serialize");
        if leaf.len() > Self::BYTES_MAX {
            return Err(RecordError::TooLong { found: leaf.len() });
        }
        Ok(leaf)
    }

    /// The receipt that this record says was given, with this hash before it; `None` where the record does not
    /// say enough. Its hash is then the one that the record names, or one of the two is false.
    #[must_use]
    pub fn whole_receipt(&self, previous: ReceiptHash) -> Option<Receipt> {
        let reference = self.receipt?;
        Some(Receipt {
            sequence: reference.sequence,
            era: reference.era,
            previous,
            request: self.request?,
            key_id: self.key_id?,
            epoch: self.epoch?,
            binding: self.binding?,
            session: self.session?,
            time: reference.time?,
            signature: reference.signature?,
        })
    }
}

impl FromStr for RecordKind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        Self::ALL.into_iter().find(|kind| kind.to_string() == text).ok_or(KindError)
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A text that names no kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected a kind of record, such as signed or refused, found another text")]
pub struct KindError;

/// Why bytes are no leaf of an audit log, or a record cannot become one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// More than any record needs.
    #[error("expected a record of at most {} bytes, found {found}", Record::BYTES_MAX)]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Not the JSON of a record.
    #[error("expected a record: {0}")]
    Malformed(String),
    /// Readable, but not the one spelling: white space, another order, a null, an escape.
    #[error("expected a record in its one spelling (compact JSON, members in order), found another")]
    Spelling,
    /// One text is too long.
    #[error("expected {name} of at most {} bytes, found {found}", Record::TEXT_BYTES_MAX)]
    Text {
        /// Which member.
        name: &'static str,
        /// Bytes found.
        found: usize,
    },
    /// Too many reasons.
    #[error("expected at most {} reasons, found {found}", Record::REASONS_MAX)]
    Reasons {
        /// Reasons found.
        found: usize,
    },
}
