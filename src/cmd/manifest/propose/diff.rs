//! What a proposed state changes, against each state that is active now.

use std::collections::BTreeSet;

use sealstone_attestation::event_log::{EventLog, LogAlgorithm};
use sealstone_attestation::{HexBytes, ManifestDraft, PcrBank, PcrIndex, StateDraft, StateStatus};
use serde::Serialize;

use super::from_log::listed;
use crate::boot::{Changes, LogFile};
use crate::failure::Failure;
use crate::output::shown;

/// The proposed state against one that is active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct StateDiff {
    /// The active state's name.
    state: String,
    /// Whether both are of one bank; if not, no value can be compared.
    same_bank: bool,
    /// PCRs with the same value in both.
    same: BTreeSet<PcrIndex>,
    /// PCRs that differ, or that only one has.
    differs: Vec<PcrDiff>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PcrDiff {
    pcr: PcrIndex,
    old: Option<HexBytes>,
    new: Option<HexBytes>,
}

/// The proposed state against every state that is active now.
pub(super) fn against_active(current: &ManifestDraft, new: &StateDraft) -> Vec<StateDiff> {
    let active = current.states.iter().filter(|state| state.status == StateStatus::Active);
    active.map(|old| StateDiff::of(old, new)).collect()
}

impl StateDiff {
    fn of(old: &StateDraft, new: &StateDraft) -> Self {
        let same_bank = old.bank == new.bank;
        let (mut same, mut differs) = (BTreeSet::new(), Vec::new());
        let indices: BTreeSet<PcrIndex> = old.pcrs.keys().chain(new.pcrs.keys()).copied().collect();
        for pcr in indices.into_iter().filter(|_| same_bank) {
            let (old, new) = (old.pcrs.get(&pcr).cloned(), new.pcrs.get(&pcr).cloned());
            if old == new {
                same.insert(pcr);
            } else {
                differs.push(PcrDiff { pcr, old, new });
            }
        }
        Self { state: old.name.clone(), same_bank, same, differs }
    }

    /// For people.
    pub(super) fn text(&self, new: &str, bank: PcrBank) -> String {
        let Self { state, same_bank, same, differs } = self;
        let mut text = format!("state {} against the active {}\n", shown(new), shown(state));
        if !same_bank {
            text.push_str("  of another bank: no value can be compared\n");
            return text;
        }
        if !same.is_empty() {
            text.push_str(&format!("  same: PCR {}\n", listed(same)));
        }
        if differs.is_empty() {
            text.push_str("  no PCR differs\n");
        }
        let value = |value: &Option<HexBytes>| {
            value.as_ref().map_or_else(|| "not part of the state".to_owned(), |value| hex::encode(&value.0))
        };
        for PcrDiff { pcr, old, new } in differs {
            text.push_str(&format!("  {bank} PCR {pcr:>2}\n    - {}\n    + {}\n", value(old), value(new)));
        }
        text
    }
}

/// What changed from the boot of an active state to that of the proposed one, by their logs.
pub(super) fn by_logs(
    current: &ManifestDraft,
    new: &StateDraft,
    older: &LogFile,
    newer: &LogFile,
) -> Result<(String, Changes), Failure> {
    let old_log = older.log()?;
    let active: Vec<&StateDraft> =
        current.states.iter().filter(|state| state.status == StateStatus::Active).collect();
    let Some(old) = active.iter().find(|state| replays_to(&old_log, state)) else {
        let names: Vec<String> = active.iter().map(|state| shown(&state.name)).collect();
        return Err(Failure::unusable(
            "CURRENT_EVENT_LOG",
            format!(
                "expected {} to be a log of an active state ({}), found one of another boot",
                older.name(),
                names.join(", ")
            ),
            "give the log of a boot that the manifest approves, or leave --current-eventlog out",
        ));
    };
    let differs =
        new.pcrs.iter().filter(|(pcr, value)| old.pcrs.get(pcr) != Some(*value)).map(|(pcr, _)| *pcr);
    let changes = Changes::between(&old_log, &newer.log()?, new.bank, differs);
    Ok((old.name.clone(), changes))
}

/// Whether the log reaches the state's values, in at least one PCR, and contradicts none.
fn replays_to(log: &EventLog<'_>, state: &StateDraft) -> bool {
    let bank = LogAlgorithm::from(state.bank);
    let mut reached =
        state.pcrs.iter().filter_map(|(pcr, value)| Some((log.replay().get(bank, *pcr)?, value)));
    let mut any = false;
    reached.all(|(replayed, value)| {
        any = true;
        replayed == value.0
    }) && any
}
