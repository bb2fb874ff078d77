//! One record with what shows that it is in a log (c2sp.org/tlog-proof): index, inclusion proof and checkpoint.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <the record, base64>
//! index <index>
//! <hash, base64> …
//!
//! <checkpoint>
//! ```
//!
//! C2SP leaves the extra data to the application: here they are the leaf itself, so that the file shows by itself what
//! was logged. They are believed only because their hash is the one that is proven.

use base64::{Engine, engine::general_purpose::STANDARD};
use thiserror::Error;

use super::{
    checkpoint::{CheckpointError, VerifiedCheckpoint},
    note::Note,
    record::{Record, RecordError},
    tree::{ProofError, verify_inclusion},
};
use crate::digest::{LeafHash, TreeHash};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
const EXTRA: &str = "extra ";
const INDEX: &str = "index ";

/// Hashes of a proof: levels of a tree whose size fits 64 bits.
const HASHES_MAX: usize = 64;

/// A proof as a file holds it. Nothing in it is believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    /// The leaf.
    pub leaf: Vec<u8>,
    /// Its index.
    pub index: u64,
    /// From its sibling up to the root's child.
    pub hashes: Vec<TreeHash>,
    /// The signed note.
    pub checkpoint: Vec<u8>,
}

impl LogProof {
    /// Bytes of a whole file: a leaf in base64, the hashes, and a note.
    pub const BYTES_MAX: usize = 2 * Record::BYTES_MAX + 64 * HASHES_MAX + Note::BYTES_MAX;

    /// Reads a file.
    ///
    /// # Errors
    /// [`LogProofError`] when it is too long or not spelt as [`LogProof::to_bytes`] spells.
    pub fn parse(bytes: &[u8]) -> Result<Self, LogProofError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(LogProofError::TooLong { found: bytes.len() });
        }
        let malformed = |what| LogProofError::Malformed(what);
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("UTF-8"))?;
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or(malformed("an empty line before the checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(malformed("the first line c2sp.org/tlog-proof@v1"));
        }
        let leaf = lines
            .next()
            .and_then(|line| line.strip_prefix(EXTRA))
            .and_then(|leaf| STANDARD.decode(leaf).ok())
            .ok_or(malformed("the record in base64 after \"extra\""))?;
        let index = lines.next().and_then(|line| line.strip_prefix(INDEX));
        let index =
            index.and_then(|index| index.parse().ok()).ok_or(malformed("a number after \"index\""))?;
        let mut hashes = Vec::new();
        for line in lines {
            if hashes.len() == HASHES_MAX {
                return Err(malformed("at most 64 hashes"));
            }
            hashes.push(TreeHash::from_base64(line).ok_or(malformed("hashes in base64"))?);
        }
        let proof = Self { leaf, index, hashes, checkpoint: checkpoint.as_bytes().to_vec() };
        if proof.to_bytes() == bytes { Ok(proof) } else { Err(malformed("one spelling of its numbers")) }
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { leaf, index, hashes, checkpoint } = self;
        let mut text = format!("{FIRST_LINE}\n{EXTRA}{}\n{INDEX}{index}\n", STANDARD.encode(leaf));
        for hash in hashes {
            text.push_str(&hash.to_base64());
            text.push('\n');
        }
        text.push('\n');
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(checkpoint);
        bytes
    }

    /// The record and the head of the log that it is in, if the checkpoint is signed by this report key (Ed25519, 32
    /// bytes) and the proof leads from the record to its root.
    ///
    /// # Errors
    /// [`LogProofError`] says what is not so.
    pub fn verify(&self, report_key: &[u8; 32]) -> Result<(Record, VerifiedCheckpoint), LogProofError> {
        let verified = VerifiedCheckpoint::parse(&self.checkpoint, report_key)?;
        let head = verified.checkpoint();
        verify_inclusion(LeafHash::of(&self.leaf), self.index, head.size, head.root, &self.hashes)?;
        Ok((Record::parse(&self.leaf)?, verified))
    }
}

/// Why a proof convinces nobody.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogProofError {
    /// More than any proof needs.
    #[error("expected a proof of at most {} bytes, found {found}", LogProof::BYTES_MAX)]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Not of the format.
    #[error("expected a tlog-proof with {0}, found none")]
    Malformed(&'static str),
    /// Its checkpoint is not believed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its hashes lead elsewhere.
    #[error(transparent)]
    Inclusion(#[from] ProofError),
    /// What is logged is no record.
    #[error(transparent)]
    Record(#[from] RecordError),
}
