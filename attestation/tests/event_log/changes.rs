//! What accounts for a PCR that differs between two boots.

use sealstone_attestation::event_log::{EventLog, EventType, LogAlgorithm};
use sealstone_attestation::{PcrBank, PcrIndex};

use crate::builder::LogBuilder;

/// A log whose PCR 4 has these events.
fn log(events: &[&[u8]]) -> Vec<u8> {
    let mut log = LogBuilder::agile(&[LogAlgorithm::Sha256]);
    for event in events {
        log.measure(5, EventType::EFI_ACTION, b"between").measure(4, EventType::EFI_ACTION, event);
    }
    log.bytes()
}

/// Removed, added and reordered from one to the other, as positions among the events of PCR 4.
fn changes(old: &[&[u8]], new: &[&[u8]]) -> (Vec<usize>, Vec<usize>, bool) {
    let (old, new) = (log(old), log(new));
    let (old, new) = (EventLog::parse(&old).unwrap(), EventLog::parse(&new).unwrap());
    let pcr = PcrIndex::new(4).unwrap();
    let changes = new.changes_since(&old, PcrBank::Sha256, pcr);
    // A header, then two events each, of which PCR 4 has the second.
    let position = |number: &usize| (number - 2) / 2;
    let positions = |numbers: &[usize]| numbers.iter().map(position).collect();
    assert_eq!(new.extending(PcrBank::Sha384, pcr), [0_usize; 0]);
    (positions(&changes.removed), positions(&changes.added), changes.reordered)
}

#[test]
fn only_what_both_boots_do_not_share_accounts_for_a_change() {
    let none: [usize; 0] = [];
    assert_eq!(changes(&[b"a", b"b"], &[b"a", b"b"]), (none.to_vec(), none.to_vec(), false));
    assert_eq!(changes(&[b"a", b"b"], &[b"a", b"c", b"d"]), (vec![1], vec![1, 2], false));
    assert_eq!(changes(&[], &[b"a"]), (none.to_vec(), vec![0], false));
    assert_eq!(changes(&[b"a"], &[]), (vec![0], none.to_vec(), false));
}

#[test]
fn an_event_that_is_there_twice_needs_two() {
    assert_eq!(changes(&[b"a", b"a"], &[b"a"]), (vec![1], vec![], false));
    assert_eq!(changes(&[b"a"], &[b"a", b"b", b"a"]), (vec![], vec![1, 2], false));
}

#[test]
fn another_order_alone_is_told() {
    assert_eq!(changes(&[b"a", b"b"], &[b"b", b"a"]), (vec![], vec![], true));
}
