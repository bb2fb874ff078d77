//! What changed between two boots of a machine, by their logs.

use std::collections::BTreeMap;

use sealstone_attestation::event_log::EventLog;
use sealstone_attestation::{PcrBank, PcrIndex};
use serde::Serialize;

use super::facts::{BootFact, facts};
use crate::output::shown;

/// Events that are listed for one PCR and side: what changes between two boots of one machine are a few.
const EVENTS_MAX: usize = 100;

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Changes {
    /// For each PCR that differs, the events that account for it.
    pub(crate) pcrs: Vec<PcrEvents>,
    /// What the older log says and the newer one does not.
    pub(crate) facts_removed: Vec<FactSaid>,
    /// What the newer log says and the older one does not.
    pub(crate) facts_added: Vec<FactSaid>,
}

/// The events that account for one PCR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PcrEvents {
    /// The PCR.
    pub(crate) pcr: PcrIndex,
    /// Events of the older log that the newer one lacks.
    pub(crate) removed: Vec<EventSaid>,
    /// Events of the newer log that the older one lacks.
    pub(crate) added: Vec<EventSaid>,
    /// The same events in another order.
    pub(crate) reordered: bool,
    /// How many events are not listed.
    pub(crate) omitted: usize,
}

/// An event, as the log describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct EventSaid {
    /// Its number.
    pub(crate) event: usize,
    /// Its type.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Whether a digest covers the description.
    pub(crate) vouched: bool,
    /// What it says.
    pub(crate) description: String,
}

impl EventSaid {
    /// Of this event.
    pub(crate) fn of(log: &EventLog<'_>, number: usize) -> Option<Self> {
        let event = log.events().get(number)?;
        Some(Self {
            event: number,
            kind: event.kind.to_string(),
            vouched: event.tie.vouches(),
            description: event.describe(),
        })
    }
}

/// A fact, as the log says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FactSaid {
    /// What it is about.
    pub(crate) what: &'static str,
    /// What is said.
    pub(crate) said: String,
    /// Whether a digest covers it.
    pub(crate) vouched: bool,
}

impl Changes {
    /// From an older log to a newer one, in these PCRs.
    pub(crate) fn between(
        older: &EventLog<'_>,
        newer: &EventLog<'_>,
        bank: PcrBank,
        pcrs: impl IntoIterator<Item = PcrIndex>,
    ) -> Self {
        let pcrs = pcrs.into_iter().map(|pcr| PcrEvents::between(older, newer, bank, pcr)).collect();
        let (old, new) = (facts(older, Some(bank)), facts(newer, Some(bank)));
        Self { pcrs, facts_removed: surplus(&old, &new), facts_added: surplus(&new, &old) }
    }

    /// For people, each line with a sign: `-` for what was, `+` for what is.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for fact in &self.facts_removed {
            text.push_str(&fact.line('-'));
        }
        for fact in &self.facts_added {
            text.push_str(&fact.line('+'));
        }
        for pcr in &self.pcrs {
            pcr.push(&mut text);
        }
        text
    }
}

impl PcrEvents {
    fn between(older: &EventLog<'_>, newer: &EventLog<'_>, bank: PcrBank, pcr: PcrIndex) -> Self {
        let changes = newer.changes_since(older, bank, pcr);
        let said = |log: &EventLog<'_>, numbers: &[usize]| {
            numbers.iter().take(EVENTS_MAX).filter_map(|number| EventSaid::of(log, *number)).collect()
        };
        let beyond = |numbers: &[usize]| numbers.len().saturating_sub(EVENTS_MAX);
        Self {
            pcr,
            removed: said(older, &changes.removed),
            added: said(newer, &changes.added),
            reordered: changes.reordered,
            omitted: beyond(&changes.removed) + beyond(&changes.added),
        }
    }

    fn push(&self, text: &mut String) {
        let Self { pcr, removed, added, reordered, omitted } = self;
        text.push_str(&format!("  PCR {pcr}:"));
        if *reordered {
            text.push_str(" the same events in another order");
        } else if removed.is_empty() && added.is_empty() {
            text.push_str(" the logs have the same events for it");
        }
        text.push('\n');
        for (sign, list) in [('-', removed), ('+', added)] {
            for EventSaid { event, kind, vouched, description } in list {
                let mark = if *vouched { '=' } else { '~' };
                text.push_str(&format!("    {sign} event {event} {kind} {mark} {}\n", shown(description)));
            }
        }
        if *omitted > 0 {
            text.push_str(&format!("    and {omitted} more events\n"));
        }
    }
}

impl FactSaid {
    fn line(&self, sign: char) -> String {
        let mark = if self.vouched { '=' } else { '~' };
        format!("  {sign} {}: {mark} {}\n", self.what, shown(&self.said))
    }
}

/// The facts of `these` that `those` does not say as often.
fn surplus(these: &[BootFact], those: &[BootFact]) -> Vec<FactSaid> {
    let mut left: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for fact in those {
        *left.entry((fact.what, &fact.said)).or_default() += 1;
    }
    let unmatched = these.iter().filter(|fact| match left.get_mut(&(fact.what, fact.said.as_str())) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    });
    unmatched
        .map(|fact| FactSaid { what: fact.what, said: fact.said.clone(), vouched: fact.vouched })
        .collect()
}
