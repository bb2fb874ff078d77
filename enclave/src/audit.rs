//! What of the audit log the enclave knows: enough to sign its head, and to sign nothing for which it has no record.
//!
//! The agent keeps the log and shows each leaf once. The enclave keeps the frontier of the tree over them, and of each
//! receipt of this era whether a leaf names it. A checkpoint is signed only over the enclave's own tree, and its size
//! and root are on disk before it leaves: a log that was cut, forked or put back is found out at the next request.

use std::collections::{BTreeMap, VecDeque};

use sealstone_attestation::audit::{
    Checkpoint, CoveredReceipts, EntryBundle, Frontier, LeafHash, Origin, Record, TreeHash,
    VerifiedCheckpoint,
};
use sealstone_attestation::{Receipt, ReceiptHash};
use sealstone_wire::limits::{AUDIT_LEAVES_MAX, AUDIT_UNCOVERED_MAX};
use sealstone_wire::reply::{RefusalCode, Reply};

use crate::core::{Enclave, Unlocked, describe, lock};
use crate::receipts::ReceiptChain;
use crate::refuse::{Refuse, refuse};
use crate::state_file::LogHead;

/// Heads that are remembered beside the newest: a checkpoint is signed twice a second at most, and whoever attests took theirs
/// within the 30 s for which a challenge is good.
const RECENT_MAX: usize = 64;

/// The log since the newest checkpoint.
#[derive(Debug)]
pub struct AuditLog {
    /// The newest head that was signed, or that of an empty log.
    newest: LogHead,
    /// The heads signed before it since the start, of the same log, newest last.
    recent: VecDeque<LogHead>,
    /// The tree over that and every leaf taken since; `None` until it was shown again after an unlock.
    tree: Option<Frontier>,
    /// Up to which receipt the next checkpoint must cover all.
    due: Option<u64>,
    /// Whether the tree is another log's than `newest`.
    anew: Anew,
}

/// Whether a log is followed in place of the one whose head is remembered, which was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anew {
    /// No: it is that one.
    No,
    /// Yes, and no record says so yet: its head is not signed.
    Unsaid,
    /// Yes, and a record that was taken says so.
    Said,
}

/// The receipts of an era that no signed checkpoint covers, oldest first.
#[derive(Debug, Default)]
pub struct Uncovered(BTreeMap<u64, Given>);

/// One such receipt.
#[derive(Debug)]
struct Given {
    previous: ReceiptHash,
    hash: ReceiptHash,
    /// Whether a leaf that was taken since the newest checkpoint names it.
    taken: bool,
}

impl AuditLog {
    /// The log of which the state file remembers this head.
    #[must_use]
    pub fn remembered(head: Option<LogHead>) -> Self {
        let newest = head.unwrap_or_else(|| LogHead { size: 0, root: TreeHash::empty() });
        let tree = (newest.size == 0).then(Frontier::new);
        Self { newest, recent: VecDeque::new(), tree, due: None, anew: Anew::No }
    }

    /// A head was signed.
    fn signed(&mut self, head: LogHead) {
        if self.anew == Anew::No {
            self.recent.push_back(self.newest);
            if self.recent.len() > RECENT_MAX {
                self.recent.pop_front();
            }
        } else {
            // Heads of the log that was lost are none of this one's.
            self.recent.clear();
        }
        self.newest = head;
        self.due = None;
        self.anew = Anew::No;
    }

    /// Whether this is a head of the log that is followed now, signed lately.
    fn is_own(&self, head: LogHead) -> bool {
        head == self.newest || self.recent.contains(&head)
    }

    /// The newest head that was signed, or that of an empty log.
    #[must_use]
    pub fn newest(&self) -> LogHead {
        self.newest
    }

    fn tree(&self) -> Result<&Frontier, Refuse> {
        self.tree.as_ref().ok_or_else(|| {
            let size = self.newest.size;
            mismatch(format!("the log was not shown since the unlock; resume it at its {size} records first"))
        })
    }
}

impl Uncovered {
    /// Whether nothing may be signed before a checkpoint covers some.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() >= AUDIT_UNCOVERED_MAX
    }

    /// A receipt was given.
    pub(crate) fn add(&mut self, sequence: u64, previous: ReceiptHash, hash: ReceiptHash) {
        self.0.insert(sequence, Given { previous, hash, taken: false });
    }

    /// The oldest receipt that no leaf names.
    fn first_missing(&self) -> Option<u64> {
        self.0.iter().find(|(_, given)| !given.taken).map(|(sequence, _)| *sequence)
    }

    /// A checkpoint was signed: what leaves name is covered.
    fn settle(&mut self) {
        self.0.retain(|_, given| !given.taken);
    }

    /// The leaves since the newest checkpoint are dropped.
    fn forget(&mut self) {
        self.0.values_mut().for_each(|given| given.taken = false);
    }
}

impl Unlocked {
    /// The log's name.
    fn origin(&self) -> Result<Origin, Refuse> {
        let deployment = self.manifest.manifest().deployment();
        Origin::new(deployment, &lock(&self.state).node)
            .map_err(|error| refuse(RefusalCode::Internal, describe(&error)))
    }

    /// Whether this checkpoint is one that this enclave signed, of its log, and with at least this many leaves.
    pub(crate) fn expect_own_checkpoint(&self, note: &[u8], least: u64) -> Result<(), Refuse> {
        let verified = VerifiedCheckpoint::of_log(note, &self.report_key.public(), &self.origin()?)
            .map_err(|error| mismatch(format!("checkpoint: {}", describe(&error))))?;
        let Checkpoint { size, root, .. } = *verified.checkpoint();
        let log = lock(&self.log);
        let newest = log.newest;
        if size < least {
            return Err(mismatch(format!(
                "expected a checkpoint of at least {least} records, found one of {size}; take the newest one"
            )));
        }
        if !log.is_own(LogHead { size, root }) {
            return Err(mismatch(format!(
                "expected the newest checkpoint, of {} records, or one signed lately, found another of {size}: take the newest one; if the state file is older than the log, restore the newest one",
                newest.size
            )));
        }
        Ok(())
    }

    /// Signs this head, with what it covers of the receipts.
    fn sign_checkpoint(&self, head: LogHead, receipts: &ReceiptChain) -> Result<Vec<u8>, Refuse> {
        let covered = receipts.uncovered().first_missing().map_or(receipts.sequence(), |missing| missing - 1);
        let receipts = CoveredReceipts { era: receipts.era(), sequence: covered };
        let LogHead { size, root } = head;
        Checkpoint { origin: self.origin()?, size, root, receipts }
            .sign(&self.report_key.public(), |text| self.report_key.sign(text))
            .map_err(|error| refuse(RefusalCode::Internal, describe(&error)))
    }
}

impl Enclave {
    /// How far the log is; the next checkpoint must cover the receipts given until now.
    ///
    /// # Errors
    /// Refused while locked.
    pub fn checkpoint_begin(&self) -> Result<Reply, Refuse> {
        let life = self.life();
        let unlocked = life.unlocked()?;
        let mut log = lock(&unlocked.log);
        let receipts = lock(&unlocked.receipts);
        log.due = Some(receipts.sequence());
        let size = log.tree.as_ref().map_or(log.newest.size, Frontier::size);
        let (era, sequence) = (receipts.era(), receipts.sequence());
        Ok(Reply::CheckpointBegun { era, sequence, size, resume: log.tree.is_none() })
    }

    /// Takes the next leaves of the log, all or none.
    ///
    /// # Errors
    /// `AUDIT_MISMATCH` for an index that is not the next one and for a receipt that was not given like that or is in
    /// the log already; `MALFORMED` for what is no record. Refused while locked.
    pub fn audit_leaves(&self, index: u64, leaves: &[u8]) -> Result<(), Refuse> {
        if leaves.len() > AUDIT_LEAVES_MAX {
            let found = leaves.len();
            return Err(malformed(format!(
                "expected at most {AUDIT_LEAVES_MAX} bytes of leaves, found {found}"
            )));
        }
        let (leaves, rest) = EntryBundle::split(leaves);
        if !rest.is_empty() {
            return Err(malformed("expected each leaf after its length, found that the bytes end before"));
        }
        let life = self.life();
        let unlocked = life.unlocked()?;
        let mut log = lock(&unlocked.log);
        let mut tree = log.tree()?.clone();
        if index != tree.size() {
            let expected = tree.size();
            return Err(mismatch(format!("expected record {expected} next, found {index}")));
        }
        let LogHead { size, root } = log.newest;
        let mut named = Vec::new();
        let mut said = false;
        for leaf in leaves {
            let record = Record::parse(leaf)
                .map_err(|error| malformed(format!("record {}: {}", tree.size(), describe(&error))))?;
            said |= record.begins_after(size, &root);
            if record.receipt.is_some() {
                named.push((tree.size(), record));
            }
            tree.push(LeafHash::of(leaf));
        }
        let mut receipts = lock(&unlocked.receipts);
        let mut taken = Vec::new();
        for (index, record) in &named {
            if let Some(sequence) = newly_covered(&receipts, &taken, record)
                .map_err(|reason| mismatch(format!("record {index}: {reason}")))?
            {
                taken.push(sequence);
            }
        }
        // Nothing can fail any more.
        let uncovered = receipts.uncovered_mut();
        for sequence in taken {
            if let Some(given) = uncovered.0.get_mut(&sequence) {
                given.taken = true;
            }
        }
        log.tree = Some(tree);
        if said && log.anew == Anew::Unsaid {
            log.anew = Anew::Said;
        }
        Ok(())
    }

    /// Signs the head of the log, which is on disk when this returns.
    ///
    /// # Errors
    /// `AUDIT_MISMATCH` when the head is not the enclave's own or nobody asked how far the log is, `AUDIT_BEHIND` when
    /// a receipt given until then is not in the log. Refused while locked, and when the disk does not take it.
    pub fn checkpoint_sign(&self, head: LogHead) -> Result<Vec<u8>, Refuse> {
        let life = self.life();
        let unlocked = life.unlocked()?;
        let mut log = lock(&unlocked.log);
        let due = log
            .due
            .ok_or_else(|| mismatch("expected that the checkpoint was begun, found that it was not"))?;
        let tree = log.tree()?;
        let own = LogHead { size: tree.size(), root: tree.root() };
        if head != own {
            return Err(mismatch(format!(
                "expected the head of {} records with root {}, found {} with {}",
                own.size, own.root, head.size, head.root
            )));
        }
        if log.anew == Anew::Unsaid {
            return Err(mismatch(format!(
                "expected a record that the log begins in place of the one of {} records, found none",
                log.newest.size
            )));
        }
        let note = {
            let receipts = lock(&unlocked.receipts);
            if let Some(missing) = receipts.uncovered().first_missing().filter(|missing| *missing <= due) {
                let detail = format!(
                    "expected receipts up to {due} of era {} in the log, found that {missing} is missing",
                    receipts.era()
                );
                return Err(refuse(RefusalCode::AuditBehind, detail));
            }
            unlocked.sign_checkpoint(own, &receipts)?
        };
        // Without the receipts: signing goes on while the disk is waited for.
        self.change_state(unlocked, |state| state.log_head = Some(own))?;
        log.signed(own);
        lock(&unlocked.receipts).uncovered_mut().settle();
        Ok(note)
    }

    /// Goes on from the newest checkpoint: leaves that were taken since are dropped. Signs that checkpoint once more.
    ///
    /// # Errors
    /// `AUDIT_MISMATCH` when that is another head, or the checkpoint is not this enclave's. Refused while locked.
    pub fn audit_resume(&self, checkpoint: &[u8], frontier: Vec<TreeHash>) -> Result<Vec<u8>, Refuse> {
        let life = self.life();
        let unlocked = life.unlocked()?;
        if !checkpoint.is_empty() {
            let newest = lock(&unlocked.log).newest;
            unlocked.expect_own_checkpoint(checkpoint, newest.size)?;
        }
        let mut log = lock(&unlocked.log);
        let LogHead { size, root } = log.newest;
        let tree = Frontier::from_parts(size, frontier)
            .map_err(|error| mismatch(format!("frontier: {}", describe(&error))))?;
        if tree.root() != root {
            return Err(mismatch(format!(
                "expected the log of {size} records with root {root}, found one with root {}: it was changed, or is another one",
                tree.root()
            )));
        }
        let mut receipts = lock(&unlocked.receipts);
        receipts.uncovered_mut().forget();
        log.tree = Some(tree);
        log.anew = Anew::No;
        unlocked.sign_checkpoint(log.newest, &receipts)
    }

    /// Follows an empty log in place of the one whose head is remembered, which an operator says is lost for good. Its
    /// head is signed only over a record that says so, so that every auditor of the log reads it, and only a log that
    /// was not shown since the unlock can be lost: within an era nobody exchanges one for another.
    ///
    /// # Errors
    /// `AUDIT_MISMATCH` when there is no head to remember, or the log goes on already. Refused while locked.
    pub fn audit_begin_anew(&self) -> Result<Reply, Refuse> {
        let life = self.life();
        let unlocked = life.unlocked()?;
        let mut log = lock(&unlocked.log);
        if log.tree.is_some() && log.anew == Anew::No {
            return Err(mismatch(
                "expected a log that was not shown since the unlock, found that it was: it goes on; another may begin \
                 only after the enclave was restarted",
            ));
        }
        lock(&unlocked.receipts).uncovered_mut().forget();
        log.tree = Some(Frontier::new());
        log.anew = Anew::Unsaid;
        let LogHead { size, root } = log.newest;
        Ok(Reply::LogBegun { size, root })
    }
}

/// The receipt of this era that a record covers, which no record before it did; `None` for one of an earlier era, of
/// which the enclave knows nothing any more.
fn newly_covered(receipts: &ReceiptChain, taken: &[u64], record: &Record) -> Result<Option<u64>, String> {
    let Some(named) = record.receipt else { return Ok(None) };
    let (era, sequence) = (receipts.era(), named.sequence);
    if named.era < era {
        return Ok(None);
    }
    if named.era > era || sequence == 0 || sequence > receipts.sequence() {
        return Err(format!(
            "expected a receipt up to {} of era {era}, found {sequence} of era {}",
            receipts.sequence(),
            named.era
        ));
    }
    let given = receipts.uncovered().0.get(&sequence).filter(|given| !given.taken);
    let Some(given) = given.filter(|_| !taken.contains(&sequence)) else {
        return Err(format!("expected receipt {sequence} of era {era} once, found it in the log twice"));
    };
    if named.hash != given.hash {
        return Err(format!(
            "expected receipt {sequence} of era {era} with hash {}, found {}",
            given.hash, named.hash
        ));
    }
    let said = record.whole_receipt(given.previous).as_ref().map(Receipt::hash);
    if said.is_some_and(|hash| hash != given.hash) {
        return Err(format!("expected what receipt {sequence} of era {era} says, found something else"));
    }
    Ok(Some(sequence))
}

/// Why nothing is signed any more.
pub(crate) fn log_is_behind() -> Refuse {
    let detail = format!(
        "{AUDIT_UNCOVERED_MAX} signatures are in no checkpoint of the audit log; show the log and have one signed (if it is lost for good, restart the enclave and begin a new one: docs/audit.md)"
    );
    refuse(RefusalCode::AuditBehind, detail)
}

fn mismatch(detail: impl Into<String>) -> Refuse {
    refuse(RefusalCode::AuditMismatch, detail)
}

fn malformed(detail: impl Into<String>) -> Refuse {
    refuse(RefusalCode::Malformed, detail)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What can happen to the receipts of an era.
    #[derive(Clone, Debug)]
    enum Step {
        Give,
        Take(prop::sample::Index),
        Settle,
        Forget,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Give),
            4 => any::<prop::sample::Index>().prop_map(Step::Take),
            1 => Just(Step::Settle),
            1 => Just(Step::Forget),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn a_receipt_is_due_until_a_checkpoint_was_signed_over_its_record(steps in steps()) {
            let mut uncovered = Uncovered::default();
            // Each receipt: whether a record was taken since the newest checkpoint, and whether one covers it.
            let mut model: BTreeMap<u64, (bool, bool)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Give => {
                        let sequence = model.len() as u64 + 1;
                        uncovered.add(sequence, ReceiptHash::of(b"before"), ReceiptHash::of(b"it"));
                        model.insert(sequence, (false, false));
                    }
                    Step::Take(_) if model.is_empty() => {}
                    Step::Take(which) => {
                        let sequence = which.index(model.len()) as u64 + 1;
                        if let Some(given) = uncovered.0.get_mut(&sequence) {
                            given.taken = true;
                            model.entry(sequence).and_modify(|state| state.0 = true);
                        } else {
                            prop_assert!(model[&sequence].1, "only what is covered is forgotten");
                        }
                    }
                    Step::Settle => {
                        uncovered.settle();
                        model.values_mut().for_each(|state| state.1 |= state.0);
                    }
                    Step::Forget => {
                        uncovered.forget();
                        model.values_mut().filter(|state| !state.1).for_each(|state| state.0 = false);
                    }
                }
                let missing = model.iter().find(|(_, (taken, covered))| !taken && !covered);
                prop_assert_eq!(uncovered.first_missing(), missing.map(|(sequence, _)| *sequence));
                prop_assert_eq!(uncovered.0.len(), model.values().filter(|(_, covered)| !covered).count());
                prop_assert!(!uncovered.is_full());
            }
        }
    }

    #[test]
    fn so_many_receipts_and_no_more() {
        let mut uncovered = Uncovered::default();
        for sequence in 1..=AUDIT_UNCOVERED_MAX as u64 {
            assert!(!uncovered.is_full());
            uncovered.add(sequence, ReceiptHash::of(b"before"), ReceiptHash::of(b"it"));
        }
        assert!(uncovered.is_full());
        uncovered.0.values_mut().for_each(|given| given.taken = true);
        assert!(uncovered.is_full(), "a record is not enough");
        uncovered.settle();
        assert!(!uncovered.is_full() && uncovered.first_missing().is_none());
    }

    #[test]
    fn a_remembered_head_is_where_the_log_goes_on_and_an_empty_one_begins() {
        let empty = AuditLog::remembered(None);
        assert_eq!((empty.newest().size, empty.newest().root), (0, TreeHash::empty()));
        assert!(empty.tree().is_ok());
        let head = LogHead { size: 5, root: TreeHash::from_bytes([1; 32]) };
        let log = AuditLog::remembered(Some(head));
        assert_eq!(log.newest(), head);
        assert_eq!(log.tree().unwrap_err().code(), RefusalCode::AuditMismatch);
    }
}
