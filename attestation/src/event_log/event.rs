//! One event of a log, as it was read.

use crate::{
    PcrIndex,
    event_log::{EventType, LogAlgorithm, tie::Tie},
};

/// A digest of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventDigest<'a> {
    /// Its `TPM_ALG_ID`.
    pub id: u16,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The byte of the log at which it begins.
    pub offset: usize,
    /// The PCR that was extended. `None` only for an event that extends nothing and names no PCR.
    pub pcr: Option<PcrIndex>,
    /// What the log says that it is: no digest covers that.
    pub kind: EventType,
    /// What was extended, one digest for each bank.
    pub digests: Vec<EventDigest<'a>>,
    /// What the log says about it.
    pub data: &'a [u8],
    /// How far the digests vouch for the data.
    pub tie: Tie,
    /// Whether it follows the separator of its PCR.
    pub after_separator: bool,
}

impl<'a> Event<'a> {
    /// Whether it extended its PCR.
    #[must_use]
    pub fn extends(&self) -> bool {
        self.kind != EventType::NO_ACTION
    }

    /// The digest in this bank.
    #[must_use]
    pub fn digest(&self, algorithm: LogAlgorithm) -> Option<&'a [u8]> {
        self.digests.iter().find(|digest| digest.id == algorithm.id()).map(|digest| digest.bytes)
    }

    /// The digests in banks that can be replayed.
    pub fn known_digests(&self) -> impl Iterator<Item = (LogAlgorithm, &'a [u8])> {
        self.digests.iter().filter_map(|digest| Some((LogAlgorithm::from_id(digest.id)?, digest.bytes)))
    }

    /// Whether the digests of all banks are those of these bytes. Without a digest that can be computed, no bytes are.
    pub(super) fn is_digest_of(&self, parts: &[&[u8]]) -> bool {
        let mut digests = self.known_digests().peekable();
        digests.peek().is_some() && digests.all(|(algorithm, digest)| algorithm.digest(parts) == digest)
    }

    /// The part of the data that the digests cover: the only part that may be believed.
    #[must_use]
    pub fn covered(&self) -> Option<&'a [u8]> {
        match &self.tie {
            Tie::Whole => Some(self.data),
            Tie::Part(range) => self.data.get(range.clone()),
            Tie::Derived | Tie::Described | Tie::Broken | Tie::NotExtended => None,
        }
    }
}
