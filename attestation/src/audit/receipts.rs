//! Which receipts a log names: each once, one after the other, each hash the one that follows from the record.

use std::collections::BTreeMap;

use super::{examine::LogFlaw, record::Record};
use crate::{Receipt, ReceiptHash};

/// Receipts that may stand in the log before the one that is due: the enclave signs no more than so many that no
/// checkpoint covers, so whatever is further back is missing.
const AHEAD_MAX: usize = 16_384;

/// The receipts of one era, as far as a log was read.
#[derive(Debug)]
pub(super) struct EraReceipts {
    era: u64,
    /// The receipt that is due.
    next: u64,
    /// The hash of the one before it; `None` where that is missing.
    head: Option<ReceiptHash>,
    /// Those that stand before the one that is due.
    ahead: BTreeMap<u64, Named>,
    /// The first that is missing although more than [`AHEAD_MAX`] later ones are there.
    missing: Option<u64>,
    /// Receipts whose record does not say enough to compute their hash.
    unproven: u64,
}

/// What a record says of its receipt.
#[derive(Debug)]
struct Named {
    index: u64,
    hash: ReceiptHash,
    /// Without the hash before it.
    receipt: Option<Receipt>,
}

impl EraReceipts {
    pub(super) fn begin(era: u64) -> Self {
        Self {
            era,
            next: 1,
            head: Some(Receipt::genesis(era)),
            ahead: BTreeMap::new(),
            missing: None,
            unproven: 0,
        }
    }

    /// Takes the receipt that the record at this index names; returns what is wrong with it or with those that were
    /// waiting for it, and hands each that is in its place to `settled`.
    pub(super) fn take(
        &mut self,
        index: u64,
        record: &Record,
        settled: &mut dyn FnMut(u64, u64, ReceiptHash),
    ) -> Vec<LogFlaw> {
        let Some(reference) = record.receipt else { return Vec::new() };
        let (era, sequence) = (self.era, reference.sequence);
        if sequence < self.next || self.ahead.contains_key(&sequence) {
            return vec![LogFlaw::ReceiptRepeated { index, era, sequence }];
        }
        // The hash before it is put in when its turn comes.
        let receipt = record.whole_receipt(ReceiptHash::from_bytes([0; 32]));
        self.ahead.insert(sequence, Named { index, hash: reference.hash, receipt });
        if self.ahead.len() > AHEAD_MAX
            && let Some((&first, _)) = self.ahead.first_key_value()
        {
            self.missing.get_or_insert(self.next);
            (self.next, self.head) = (first, None);
        }
        let mut flaws = Vec::new();
        // Each turn takes one that is waiting.
        while let Some(Named { index, hash, receipt }) = self.ahead.remove(&self.next) {
            let sequence = self.next;
            match (receipt, self.head) {
                (Some(receipt), Some(previous)) => {
                    if (Receipt { previous, ..receipt }).hash() != hash {
                        flaws.push(LogFlaw::ReceiptHash { index, era, sequence });
                    }
                }
                _ => self.unproven += 1,
            }
            settled(index, sequence, hash);
            self.head = Some(hash);
            self.next += 1;
        }
        flaws
    }

    pub(super) fn era(&self) -> u64 {
        self.era
    }

    /// The first receipt that is not in the log.
    pub(super) fn first_missing(&self) -> u64 {
        self.missing.unwrap_or(self.next)
    }

    /// Whether later receipts than that are in the log.
    pub(super) fn has_gap(&self) -> bool {
        self.missing.is_some() || !self.ahead.is_empty()
    }

    /// Receipts whose record does not say enough to compute their hash.
    pub(super) fn unproven(&self) -> u64 {
        self.unproven
    }
}
