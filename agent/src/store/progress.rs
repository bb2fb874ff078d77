//! Which receipts of the enclave's era the store holds: everything through one sequence, and some beyond it.
//!
//! Answers commit out of order, so the newest sequence alone does not tell whether one is missing.

use std::collections::BTreeSet;

/// Sequences beyond a gap that are remembered. A gap appears when the enclave's answer was lost, and
/// reconciliation closes it; what is in flight meanwhile is far less. Beyond this the rest is found in the
/// table again, by the next reconciliation.
const BEYOND_MAX: usize = 4096;

/// How far `complete_through` may run ahead of the table's column: what a restart searches again.
const PERSIST_EVERY: u64 = 1024;

/// The receipts of one era that are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The era.
    pub era: u64,
    /// Every receipt up to and with this one is held.
    pub through: u64,
    /// Sequences held beyond that.
    pub beyond: BTreeSet<u64>,
    persisted: u64,
}

impl Progress {
    /// As the table has it.
    pub(super) fn new(era: u64, through: u64, beyond: impl IntoIterator<Item = u64>) -> Self {
        let mut progress = Self { era, through, beyond: BTreeSet::new(), persisted: through };
        for sequence in beyond {
            progress.add(era, sequence);
        }
        progress
    }

    /// The newest sequence held.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.beyond.last().copied().unwrap_or(self.through)
    }

    /// How far the newest is beyond what is held without a gap.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.newest() - self.through
    }

    /// The receipts up to and with `sequence` that are not held, oldest first.
    pub fn missing(&self, sequence: u64) -> impl Iterator<Item = u64> {
        (self.through.saturating_add(1)..=sequence).filter(|wanted| !self.beyond.contains(wanted))
    }

    /// A receipt became durable.
    pub(super) fn add(&mut self, era: u64, sequence: u64) {
        if era != self.era || sequence <= self.through {
            return;
        }
        if sequence != self.through + 1 {
            if self.beyond.len() < BEYOND_MAX {
                self.beyond.insert(sequence);
            }
            return;
        }
        self.through = sequence;
        while self.beyond.first() == Some(&(self.through + 1)) {
            self.beyond.pop_first();
            self.through += 1;
        }
    }

    /// What to write to the table, when it is time to.
    pub(super) fn due(&self) -> Option<u64> {
        (self.through - self.persisted >= PERSIST_EVERY).then_some(self.through)
    }

    /// That it was written.
    pub(super) fn persisted(&mut self, through: u64) {
        self.persisted = through;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_out_of_order_leave_no_gap_and_a_lost_one_does() {
        let mut progress = Progress::new(3, 0, []);
        for sequence in [2, 1, 5, 4] {
            progress.add(3, sequence);
        }
        assert_eq!((progress.through, progress.newest(), progress.behind()), (2, 5, 3));
        assert_eq!(progress.missing(7).collect::<Vec<_>>(), [3, 6, 7]);
        progress.add(3, 3);
        assert_eq!((progress.through, progress.beyond.len()), (5, 0));
    }

    #[test]
    fn another_era_and_what_is_known_change_nothing() {
        let mut progress = Progress::new(3, 10, [12]);
        let before = progress.clone();
        progress.add(2, 11);
        progress.add(3, 10);
        assert_eq!(progress, before);
    }

    #[test]
    fn what_is_remembered_beyond_a_gap_is_bounded() {
        let mut progress = Progress::new(1, 0, 2..=10_000);
        assert_eq!(progress.beyond.len(), BEYOND_MAX);
        progress.add(1, 1);
        assert_eq!(progress.through, 4097);
        assert_eq!(progress.due(), Some(4097));
        progress.persisted(4097);
        assert_eq!(progress.due(), None);
    }
}
