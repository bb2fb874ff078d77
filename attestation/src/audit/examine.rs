//! A whole log, held to its checkpoints: is every record there, as it was, and every receipt among them?
//!
//! Pure: whoever calls reads the files. Read once from front to back, in the memory of one bundle and of the receipts
//! that are out of order.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{
    checkpoint::{Checkpoint, CoveredReceipts},
    receipts::EraReceipts,
    record::{Record, RecordError, RecordKind},
    tile::EntryBundle,
    tile_writer::{HashTiles, LogFile},
    tree::Frontier,
};
use crate::{
    ReceiptHash,
    digest::{LeafHash, TreeHash},
};

/// Flaws that are told apart; a log with more is no log.
const FLAWS_MAX: usize = 64;

/// Records of a known loss that are shown; more of them say nothing new.
const BEGUN_MAX: usize = 64;

/// Eras in one log: an era begins with each unlock, and this is one an hour for a hundred years.
const ERAS_MAX: usize = 1_000_000;

/// A head that the log must have had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCheckpoint {
    /// Where it is from, for people.
    pub name: String,
    /// What it says.
    pub checkpoint: Checkpoint,
}

/// An examination under way. Bundles come in order, [`LogExamination::bundle`] for each.
#[derive(Debug)]
pub struct LogExamination {
    size: u64,
    /// Smallest first; those before `passed` were compared.
    heads: Vec<NamedCheckpoint>,
    passed: usize,
    /// A receipt that somebody else knows: era, sequence, hash.
    known: Option<(u64, u64, ReceiptHash)>,
    /// The tree over the records.
    records: Frontier,
    /// The tree over the hashes that the log's own tiles hold.
    tiles: HashTiles,
    eras: BTreeMap<u64, EraReceipts>,
    /// Where records and tiles differ.
    differing: Vec<LogFlaw>,
    flaws: Vec<LogFlaw>,
    /// Roots of logs that were lost, of which whoever asks knows.
    lost: BTreeSet<TreeHash>,
    /// Records that say that the log was begun in place of one of those.
    begun: Vec<(u64, String)>,
    /// Whether records were left out or put in, so that later ones are not where they were.
    shifted: bool,
    /// Leaves of the largest head to which the records led.
    agreed: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFindings {
    /// Records.
    pub size: u64,
    /// The root over them.
    pub root: TreeHash,
    /// What is wrong; nothing if the log is complete.
    pub flaws: Vec<LogFlaw>,
    /// The eras of which receipts are named.
    pub eras: Vec<EraFindings>,
    /// Where the log says that it was begun in place of one that is known to be lost: the record's index, and its
    /// detail. What that one held is not in this one. The first 64; a loss that is not known is a flaw.
    pub begun: Vec<(u64, String)>,
}

/// The receipts of one era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EraFindings {
    /// The era.
    pub era: u64,
    /// Up to this receipt every one is in the log.
    pub up_to: u64,
    /// Whether there are later ones, and the next is missing.
    pub gap: bool,
    /// Receipts of which the record does not say enough to compute their hash again.
    pub unproven: u64,
}

impl LogExamination {
    /// Begins with a log of this size, which must have had these heads.
    #[must_use]
    pub fn begin(size: u64, mut heads: Vec<NamedCheckpoint>) -> Self {
        heads.sort_by_key(|head| head.checkpoint.size);
        let mut examination = Self {
            size,
            heads,
            passed: 0,
            known: None,
            records: Frontier::new(),
            tiles: HashTiles::default(),
            eras: BTreeMap::new(),
            differing: Vec::new(),
            flaws: Vec::new(),
            lost: BTreeSet::new(),
            begun: Vec::new(),
            shifted: false,
            agreed: 0,
        };
        examination.compare_heads();
        examination
    }

    /// A receipt that was given, as a report says it.
    pub fn expect_receipt(&mut self, era: u64, sequence: u64, hash: ReceiptHash) {
        self.known = Some((era, sequence, hash));
    }

    /// A log with this root was lost, and whoever asks knows of it: this one may say that it was begun in its place.
    pub fn know_lost(&mut self, root: TreeHash) {
        self.lost.insert(root);
    }

    /// Takes the next bundle with the hashes of the tile beside it; `None` for a file that is not there. Gives the
    /// tiles above that are whole with it, which the folder must hold as they are.
    pub fn bundle(
        &mut self,
        bundle: &EntryBundle,
        bytes: Option<&[u8]>,
        hashes: Option<&[TreeHash]>,
    ) -> Vec<LogFile> {
        let (entries, rest) = EntryBundle::split(bytes.unwrap_or_default());
        let found: Vec<LeafHash> = entries.iter().map(|entry| LeafHash::of(entry)).collect();
        if let Some(hashes) = hashes {
            self.compare(bundle.first(), &found, hashes);
        } else if (found.len() as u64) < bundle.width() {
            self.differing.push(LogFlaw::Missing { index: bundle.first() + found.len() as u64 });
        }
        if !rest.is_empty() || found.len() as u64 > bundle.width() {
            self.flaw(LogFlaw::LeftOver { path: bundle.path() });
        }
        let mut upper = Vec::new();
        for (place, index) in (0..).zip(bundle.first()..bundle.first() + bundle.width()) {
            let shown = hashes
                .and_then(|hashes| hashes.get(place))
                .map(|hash| LeafHash::from_bytes(*hash.as_bytes()));
            let own = found.get(place).copied();
            // Whichever is missing, the other stands for it, so that what follows is still compared.
            let (Some(own), Some(shown)) = (own.or(shown), shown.or(own)) else { continue };
            self.records.push(own);
            upper.extend(self.tiles.push(shown));
            if let Some(entry) = entries.get(place) {
                self.record(index, entry);
            }
            self.compare_heads();
        }
        upper.retain(|file| !file.path.starts_with("tile/0/"));
        upper
    }

    /// The tiles at the right edge, which the folder must hold too.
    #[must_use]
    pub fn partial_tiles(&self) -> Vec<LogFile> {
        let mut files = self.tiles.partial();
        files.retain(|file| !file.path.starts_with("tile/0/"));
        files
    }

    /// A tile is not what it must be.
    pub fn tile_differs(&mut self, path: &str) {
        self.flaw(LogFlaw::Tile { path: path.to_owned() });
    }

    /// The end of the log.
    #[must_use]
    pub fn finish(mut self) -> LogFindings {
        let root = self.records.root();
        let differing = std::mem::take(&mut self.differing);
        // Both trees were compared with the heads. Where only the records led there, the tiles are wrong.
        let records_are_right = self.agreed == self.size && self.records.size() == self.size;
        for flaw in differing {
            let flaw = match flaw {
                LogFlaw::Changed { index } if records_are_right => LogFlaw::TileHash { index },
                flaw => flaw,
            };
            self.flaw(flaw);
        }
        for head in self.heads.split_off(self.passed) {
            let Checkpoint { size: expected, receipts, .. } = head.checkpoint;
            self.compare_receipts(&head.name, receipts);
            self.flaw(LogFlaw::Shorter { name: head.name, expected, found: self.records.size() });
        }
        self.flaws.sort_by_key(|flaw| flaw.index().unwrap_or(u64::MAX));
        let eras = self.eras.values().map(|era| EraFindings {
            era: era.era(),
            up_to: era.first_missing() - 1,
            gap: era.has_gap(),
            unproven: era.unproven(),
        });
        LogFindings { size: self.size, root, eras: eras.collect(), flaws: self.flaws, begun: self.begun }
    }

    /// Where the records of a bundle are not those whose hashes the tile holds.
    fn compare(&mut self, first: u64, found: &[LeafHash], hashes: &[TreeHash]) {
        let found: Vec<TreeHash> = found.iter().copied().map(TreeHash::from).collect();
        for (place, index) in (0..hashes.len()).zip(first..) {
            let (own, shown) = (found.get(place), &hashes[place]);
            if own == Some(shown) {
                continue;
            }
            if self.shifted || self.differing.len() >= FLAWS_MAX {
                return;
            }
            let next_own = found.get(place + 1);
            let flaw = match own {
                None => LogFlaw::Missing { index },
                Some(own) if hashes.get(place + 1) == Some(own) && next_own == Some(shown) => {
                    LogFlaw::Reordered { index }
                }
                Some(own) if hashes.get(place + 1) == Some(own) => LogFlaw::Missing { index },
                Some(_) if next_own == Some(shown) => LogFlaw::Inserted { index },
                Some(own) if hashes.contains(own) => LogFlaw::Reordered { index },
                Some(_) => LogFlaw::Changed { index },
            };
            self.shifted = matches!(flaw, LogFlaw::Missing { .. } | LogFlaw::Inserted { .. });
            let goes_on = matches!(flaw, LogFlaw::Changed { .. });
            self.differing.push(flaw);
            if !goes_on {
                return;
            }
        }
    }

    fn record(&mut self, index: u64, entry: &[u8]) {
        let record = match Record::parse(entry) {
            Ok(record) => record,
            Err(source) => return self.flaw(LogFlaw::Record { index, source }),
        };
        if record.kind == RecordKind::LogBegun {
            let detail = record.detail.clone().unwrap_or_default();
            if !record.begun_in_place_of().is_some_and(|(_, root)| self.lost.contains(&root)) {
                self.flaw(LogFlaw::Begun { index, detail });
            } else if self.begun.len() < BEGUN_MAX {
                self.begun.push((index, detail));
            }
        }
        let Some(named) = record.receipt else { return };
        if !self.eras.contains_key(&named.era) && self.eras.len() == ERAS_MAX {
            return self.flaw(LogFlaw::ReceiptRepeated { index, era: named.era, sequence: named.sequence });
        }
        let era = self.eras.entry(named.era).or_insert_with(|| EraReceipts::begin(named.era));
        let known = self.known;
        let mut other = None;
        let flaws = era.take(index, &record, &mut |index, sequence, hash| {
            if known.is_some_and(|(era, known, expected)| {
                (era, known) == (named.era, sequence) && expected != hash
            }) {
                other = Some(LogFlaw::ReceiptOther { index, era: named.era, sequence });
            }
        });
        for flaw in flaws.into_iter().chain(other) {
            self.flaw(flaw);
        }
    }

    /// Compares every head of the size that was reached.
    fn compare_heads(&mut self) {
        // Each turn passes one head.
        while let Some(head) = self.heads.get(self.passed)
            && head.checkpoint.size == self.records.size()
        {
            self.passed += 1;
            let Checkpoint { size, root, receipts, .. } = head.checkpoint;
            let name = head.name.clone();
            if self.records.root() == root {
                self.agreed = size;
            } else if self.tiles.tree().root() != root {
                self.flaw(LogFlaw::Root { name: name.clone(), from: self.agreed, to: size });
            }
            self.compare_receipts(&name, receipts);
        }
    }

    /// Is every receipt that a head covers in the log by now?
    fn compare_receipts(&mut self, name: &str, covered: CoveredReceipts) {
        let CoveredReceipts { era, sequence } = covered;
        let missing = self.eras.get(&era).map_or(1, EraReceipts::first_missing);
        if missing <= sequence {
            self.flaw(LogFlaw::ReceiptMissing { name: name.to_owned(), era, sequence: missing });
        }
    }

    fn flaw(&mut self, flaw: LogFlaw) {
        if self.flaws.len() < FLAWS_MAX {
            self.flaws.push(flaw);
        }
    }
}

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "each message names its fields")]
pub enum LogFlaw {
    /// A leaf that is none.
    #[error("record {index} is none")]
    Record {
        index: u64,
        #[source]
        source: RecordError,
    },
    /// Another record stands in its place.
    #[error("record {index} was changed: it is not the one whose hash the log holds")]
    Changed { index: u64 },
    /// Its hash is there, the record is not.
    #[error("record {index} is missing: the log holds its hash")]
    Missing { index: u64 },
    /// A record without a hash.
    #[error("record {index} was inserted: the log holds no hash of it there")]
    Inserted { index: u64 },
    /// Records changed places.
    #[error("records were re-ordered from {index} on")]
    Reordered { index: u64 },
    /// The hash was changed, not the record.
    #[error("the hash of record {index} in the log's tiles was changed; the record itself is the right one")]
    TileHash { index: u64 },
    /// A tile above is wrong or absent.
    #[error("the tile {path} is absent or holds other hashes than those that follow from the tiles below")]
    Tile { path: String },
    /// A loss of which whoever asks has not said that they know of it.
    #[error(
        "record {index}: this log was begun {detail}, which was lost: what that one held is not here, and nobody said that its loss is known"
    )]
    Begun { index: u64, detail: String },
    /// More bytes than the log has records.
    #[error("{path} holds more than the log's records")]
    LeftOver { path: String },
    /// Neither records nor tiles lead to a head.
    #[error(
        "the records do not lead to {name}: something between record {from} and record {to} was changed, dropped, inserted or re-ordered, and the tiles with it"
    )]
    Root { name: String, from: u64, to: u64 },
    /// The log was cut.
    #[error("the log was cut: {name} is of {expected} records, found {found}")]
    Shorter { name: String, expected: u64, found: u64 },
    /// A receipt that a head covers is not in the log.
    #[error("receipt {sequence} of era {era} is missing, which {name} says is in the log")]
    ReceiptMissing { name: String, era: u64, sequence: u64 },
    /// A receipt in two records.
    #[error(
        "record {index} names receipt {sequence} of era {era}, which another record names, or which comes far too late"
    )]
    ReceiptRepeated { index: u64, era: u64, sequence: u64 },
    /// The record is not what the enclave signed.
    #[error(
        "record {index} says something else than receipt {sequence} of era {era}, or that does not follow the one before it"
    )]
    ReceiptHash { index: u64, era: u64, sequence: u64 },
    /// The report knows another receipt.
    #[error("record {index} names another receipt {sequence} of era {era} than the enclave's report")]
    ReceiptOther { index: u64, era: u64, sequence: u64 },
}

impl LogFlaw {
    /// The first record that is concerned, where that is known.
    #[must_use]
    pub fn index(&self) -> Option<u64> {
        match self {
            Self::Record { index, .. }
            | Self::Changed { index }
            | Self::Missing { index }
            | Self::Inserted { index }
            | Self::Reordered { index }
            | Self::TileHash { index }
            | Self::Begun { index, .. }
            | Self::ReceiptRepeated { index, .. }
            | Self::ReceiptHash { index, .. }
            | Self::ReceiptOther { index, .. } => Some(*index),
            Self::Root { from, .. } => Some(*from),
            Self::Shorter { found, .. } => Some(*found),
            Self::Tile { .. } | Self::LeftOver { .. } | Self::ReceiptMissing { .. } => None,
        }
    }
}
