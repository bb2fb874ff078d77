//! What accounts for a PCR that differs between two boots: the events that only one of their logs has.

use std::collections::BTreeMap;

use crate::{
    PcrBank, PcrIndex,
    event_log::{Event, EventLog, LogAlgorithm},
};

/// The events of one PCR that two logs do not share. Events are the same when their digests are: nothing else is extended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PcrChanges {
    /// Numbers of the older log's events that the newer one lacks.
    pub removed: Vec<usize>,
    /// Numbers of the newer log's events that the older one lacks.
    pub added: Vec<usize>,
    /// Both have the same events, in another order.
    pub reordered: bool,
}

impl EventLog<'_> {
    /// What changed in a PCR from an older log to this one.
    #[must_use]
    pub fn changes_since(&self, older: &EventLog<'_>, bank: PcrBank, pcr: PcrIndex) -> PcrChanges {
        let (old, new) = (extensions(older, bank, pcr), extensions(self, bank, pcr));
        let removed = surplus(&old, &new);
        let added = surplus(&new, &old);
        let digests =
            |of: &[(usize, &[u8])]| of.iter().map(|(_, digest)| digest.to_vec()).collect::<Vec<_>>();
        let reordered = removed.is_empty() && added.is_empty() && digests(&old) != digests(&new);
        PcrChanges { removed, added, reordered }
    }

    /// The numbers of the events that extend a PCR in a bank, in order.
    #[must_use]
    pub fn extending(&self, bank: PcrBank, pcr: PcrIndex) -> Vec<usize> {
        extensions(self, bank, pcr).into_iter().map(|(number, _)| number).collect()
    }
}

fn extensions<'a>(log: &EventLog<'a>, bank: PcrBank, pcr: PcrIndex) -> Vec<(usize, &'a [u8])> {
    let algorithm = LogAlgorithm::from(bank);
    let of_pcr = |event: &Event<'_>| event.extends() && event.pcr == Some(pcr);
    let events = log.events().iter().enumerate().filter(|(_, event)| of_pcr(event));
    events.filter_map(|(number, event)| Some((number, event.digest(algorithm)?))).collect()
}

/// The events of `these` for which `those` has no counterpart: an event that is there twice needs two.
fn surplus(these: &[(usize, &[u8])], those: &[(usize, &[u8])]) -> Vec<usize> {
    let mut left: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (_, digest) in those {
        *left.entry(digest).or_default() += 1;
    }
    let unmatched = these.iter().filter(|(_, digest)| match left.get_mut(digest) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    });
    unmatched.map(|(number, _)| *number).collect()
}
