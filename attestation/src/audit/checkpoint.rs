//! Checkpoints (c2sp.org/tlog-checkpoint): a head of a node's log, signed by the enclave's report key.
//!
//! ```text
//! sealstone/<deployment id, hex>/<node, percent-encoded>
//! <size>
//! <root, base64>
//! receipts <era> <sequence>
//! ```
//!
//! The last line is an extension: the enclave gave `<sequence>` receipts of its era `<era>`, or more, and each of them
//! up to that one is in the tree.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::note::{Note, NoteError, NoteKey};
use crate::{DeploymentId, Report, Signature64, digest::TreeHash};

/// What every origin begins with.
const ORIGIN_PREFIX: &str = "sealstone/";

/// What the extension line begins with.
const RECEIPTS: &str = "receipts ";

/// Bytes of a node's name, as in a manifest.
const NODE_BYTES_MAX: usize = 64;

/// Names the log of one node of one deployment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    deployment: DeploymentId,
    node: String,
}

impl Origin {
    /// The log of this node.
    ///
    /// # Errors
    /// [`OriginError`] unless the name has 1 to 64 bytes, which every name in a manifest has.
    pub fn new(deployment: DeploymentId, node: &str) -> Result<Self, OriginError> {
        if (1..=NODE_BYTES_MAX).contains(&node.len()) {
            Ok(Self { deployment, node: node.to_owned() })
        } else {
            Err(OriginError)
        }
    }

    /// The log of the node that a report is of.
    ///
    /// # Errors
    /// As [`Origin::new`].
    pub fn of_report(report: &Report) -> Result<Self, OriginError> {
        Self::new(report.deployment, &report.node)
    }

    /// The deployment.
    #[must_use]
    pub fn deployment(&self) -> DeploymentId {
        self.deployment
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ORIGIN_PREFIX}{}/", self.deployment)?;
        for byte in self.node.bytes() {
            // RFC 3986, section 2.3: unreserved characters stand for themselves.
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let rest = text.strip_prefix(ORIGIN_PREFIX).ok_or(OriginError)?;
        let (deployment, mut rest) = rest.split_once('/').ok_or(OriginError)?;
        let mut node = Vec::new();
        // Each turn takes at least one byte.
        while let Some((&first, after)) = rest.as_bytes().split_first() {
            let (byte, length) = match (first, after.get(..2)) {
                (b'%', Some(digits)) => {
                    let mut byte = [0];
                    hex::decode_to_slice(digits, &mut byte).map_err(|_| OriginError)?;
                    (byte[0], 3)
                }
                _ => (first, 1),
            };
            node.push(byte);
            rest = rest.get(length..).ok_or(OriginError)?;
        }
        let node = String::from_utf8(node).map_err(|_| OriginError)?;
        let origin = Self::new(deployment.parse().map_err(|_| OriginError)?, &node)?;
        // One origin has one spelling.
        if origin.to_string() == text { Ok(origin) } else { Err(OriginError) }
    }
}

/// Up to which receipt of an era every receipt is in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoveredReceipts {
    /// The unlock era.
    pub era: u64,
    /// The newest receipt of which this is said; 0 if none was given.
    pub sequence: u64,
}

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose log.
    pub origin: Origin,
    /// Records.
    pub size: u64,
    /// The root of the tree over them.
    pub root: TreeHash,
    /// Which receipts are among them.
    pub receipts: CoveredReceipts,
}

impl Checkpoint {
    /// Bytes of a checkpoint as the enclave signs it: four lines and one signature, the node's name twice and escaped.
    pub const BYTES_MAX: usize = 1024;

    /// Reads a note's text.
    ///
    /// # Errors
    /// [`CheckpointError`] when it is not exactly such four lines, spelt as [`Checkpoint::text`] spells them.
    pub fn from_text(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let mut line = || lines.next().ok_or(CheckpointError::Malformed);
        let origin = line()?.parse()?;
        let size = line()?.parse().map_err(|_| CheckpointError::Malformed)?;
        let root = TreeHash::from_base64(line()?).ok_or(CheckpointError::Malformed)?;
        let receipts = line()?.strip_prefix(RECEIPTS).ok_or(CheckpointError::Malformed)?;
        let (era, sequence) = receipts.split_once(' ').ok_or(CheckpointError::Malformed)?;
        let number = |text: &str| text.parse().map_err(|_| CheckpointError::Malformed);
        let receipts = CoveredReceipts { era: number(era)?, sequence: number(sequence)? };
        let checkpoint = Self { origin, size, root, receipts };
        // No sign, no zero in front, nothing behind: one checkpoint has one spelling.
        if checkpoint.text() == text { Ok(checkpoint) } else { Err(CheckpointError::Malformed) }
    }

    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { origin, size, root, receipts: CoveredReceipts { era, sequence } } = self;
        format!("{origin}\n{size}\n{}\n{RECEIPTS}{era} {sequence}\n", root.to_base64())
    }

    /// The key under which checkpoints of this log are signed: the report key, under the origin as its name.
    ///
    /// # Errors
    /// [`NoteError::Key`] for bytes that are no Ed25519 key.
    pub fn key(origin: &Origin, report_key: &[u8; 32]) -> Result<NoteKey, NoteError> {
        NoteKey::new(&origin.to_string(), report_key)
    }

    /// The signed note; `sign` answers with the report key's Ed25519 signature over the bytes that it is given.
    ///
    /// # Errors
    /// [`CheckpointError::Note`] when `report_key` is no Ed25519 key.
    pub fn sign(
        &self,
        report_key: &[u8; 32],
        sign: impl FnOnce(&[u8]) -> Signature64,
    ) -> Result<Vec<u8>, CheckpointError> {
        let key = Self::key(&self.origin, report_key)?;
        Ok(Note::sign(&self.text(), &key, sign)?.to_bytes())
    }
}

/// A checkpoint that its log's key did sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint(Checkpoint);

impl VerifiedCheckpoint {
    /// Reads a note and verifies it under a report key (Ed25519, 32 bytes), whatever log it is of; signatures of
    /// others, such as witnesses, are ignored.
    ///
    /// # Errors
    /// [`CheckpointError`] when it is no checkpoint of a node's log, or that key did not sign it.
    pub fn parse(note: &[u8], report_key: &[u8; 32]) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        let checkpoint = Checkpoint::from_text(note.danger_unverified_text())?;
        note.verify(&Checkpoint::key(&checkpoint.origin, report_key)?)?;
        Ok(Self(checkpoint))
    }

    /// As [`VerifiedCheckpoint::parse`], of this log and of no other.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`] for another log's, and what `parse` refuses.
    pub fn of_log(note: &[u8], report_key: &[u8; 32], origin: &Origin) -> Result<Self, CheckpointError> {
        let verified = Self::parse(note, report_key)?;
        if verified.0.origin == *origin {
            Ok(verified)
        } else {
            Err(CheckpointError::Origin {
                expected: origin.to_string(),
                found: verified.0.origin.to_string(),
            })
        }
    }

    /// What it says.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.0
    }
}

/// A text that names no log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected an origin sealstone/<deployment>/<node>, found another text")]
pub struct OriginError;

/// Why a checkpoint is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// Not a note, or not signed by that key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Of no log of Sealstone.
    #[error(transparent)]
    OriginText(#[from] OriginError),
    /// Not these four lines.
    #[error("expected the four lines of a checkpoint (origin, size, root, receipts), found another text")]
    Malformed,
    /// Of another log.
    #[error("expected a checkpoint of {expected}, found one of {found}")]
    Origin {
        /// The log expected.
        expected: String,
        /// The log found.
        found: String,
    },
}
