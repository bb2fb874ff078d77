//! The PCR table: what was quoted, against each approved state, and which events account for a difference.

use std::collections::BTreeSet;

use sealstone_attestation::event_log::{Comparison, EventLog};
use sealstone_attestation::{Evidence, Manifest, PcrBank, PcrIndex, PcrValues, State, StateStatus, Verdict};

use super::boot::EventShown;
use super::text::Shown;

/// Approved states that have a column: more do not fit a page, so the ones that differ least are taken.
const STATES_SHOWN: usize = 3;

/// Events of one PCR that are listed.
const EVENTS_SHOWN: usize = 40;

/// Events that are listed for all PCRs together, in equal parts: a machine may differ in every PCR.
const EVENTS_ALL_SHOWN: usize = 200;

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PcrTable {
    /// Whether the TPM signed these values. If not, they are what somebody wrote beside the quote.
    pub(crate) vouched: bool,
    pub(crate) states: Vec<StateColumn>,
    /// Approved states without a column.
    pub(crate) states_omitted: usize,
    pub(crate) rows: Vec<PcrRow>,
    /// States that are not active but whose values these are, with what the manifest says of them.
    pub(crate) former: Vec<(Shown, &'static str)>,
    /// For each PCR that differs, what accounts for it.
    pub(crate) accounts: Vec<Account>,
}

/// An approved state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateColumn {
    pub(crate) name: Shown,
    /// How many of its PCRs differ from what was quoted.
    pub(crate) differs: usize,
}

/// One PCR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PcrRow {
    pub(crate) bank: &'static str,
    pub(crate) pcr: u8,
    /// What is measured into it.
    pub(crate) holds: &'static str,
    /// What was quoted.
    pub(crate) quoted: Option<Value>,
    /// One for each state's column.
    pub(crate) cells: Vec<Cell>,
}

impl PcrRow {
    /// Whether a state's value differs.
    pub(crate) fn differs(&self) -> bool {
        self.cells.iter().any(|cell| matches!(cell, Cell::Differs(_) | Cell::NotQuoted(_)))
    }
}

/// A PCR's value in hex, in pieces of equal length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value(pub(crate) Vec<String>);

/// Hex digits of a piece.
const PIECE: usize = 16;

impl Value {
    fn of(bytes: &[u8]) -> Self {
        let hex = hex::encode(bytes);
        let pieces = hex.as_bytes().chunks(PIECE).map(|piece| String::from_utf8_lossy(piece).into_owned());
        Self(pieces.collect())
    }
}

/// How a state's value compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Same,
    Differs(Value),
    /// The state names the PCR, and the quote does not.
    NotQuoted(Value),
    /// The state says nothing about it.
    NotNamed,
}

/// What accounts for a value that no approved state has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) pcr: u8,
    pub(crate) state: Shown,
    pub(crate) found: Found,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The log leads to the approved value, and goes on: these events are what was added.
    Added { before: usize, events: Vec<EventShown>, omitted: usize },
    /// The log does not lead to the approved value at any point: one of these events is another.
    Changed { events: Vec<EventShown>, omitted: usize },
    /// Nothing is known, and why.
    Unknown(&'static str),
}

/// Whether the TPM, and not just any key, signed the values beside the quote.
pub(crate) fn vouched(verdict: &Verdict) -> bool {
    verdict.passed("ak.enrolled") && verdict.vouches_for_values()
}

impl PcrTable {
    pub(crate) fn of(
        evidence: &Evidence,
        manifest: Option<&Manifest>,
        verdict: &Verdict,
        log: Option<&EventLog<'_>>,
    ) -> Self {
        let quoted = &evidence.quote.pcrs;
        let mut states: Vec<&State> = manifest.into_iter().flat_map(Manifest::active_states).collect();
        states.sort_by_key(|state| differing(state, quoted).len());
        let states_omitted = states.len().saturating_sub(STATES_SHOWN);
        states.truncate(STATES_SHOWN);
        let named = states.iter().flat_map(|state| state.pcrs().keys().map(|pcr| (state.bank(), *pcr)));
        let all: BTreeSet<(PcrBank, PcrIndex)> =
            quoted.iter().map(|(bank, pcr, _)| (bank, pcr)).chain(named).collect();
        let rows = all.into_iter().map(|(bank, pcr)| row(bank, pcr, quoted, &states)).collect();
        let accounts = match states.first() {
            Some(nearest) => accounts(nearest, quoted, log, vouched(verdict)),
            None => Vec::new(),
        };
        Self {
            vouched: vouched(verdict),
            states: states
                .iter()
                .map(|state| StateColumn {
                    name: Shown::of(state.name()),
                    differs: differing(state, quoted).len(),
                })
                .collect(),
            states_omitted,
            rows,
            former: former(manifest, quoted),
            accounts,
        }
    }
}

fn differing(state: &State, quoted: &PcrValues) -> Vec<PcrIndex> {
    let differs =
        |(pcr, value): &(&PcrIndex, &Vec<u8>)| quoted.get(state.bank(), **pcr) != Some(value.as_slice());
    state.pcrs().iter().filter(differs).map(|(pcr, _)| *pcr).collect()
}

fn row(bank: PcrBank, pcr: PcrIndex, quoted: &PcrValues, states: &[&State]) -> PcrRow {
    let found = quoted.get(bank, pcr);
    let cell = |state: &&State| match (state.pcrs().get(&pcr).filter(|_| state.bank() == bank), found) {
        (None, _) => Cell::NotNamed,
        (Some(value), None) => Cell::NotQuoted(Value::of(value)),
        (Some(value), Some(found)) if value == found => Cell::Same,
        (Some(value), Some(_)) => Cell::Differs(Value::of(value)),
    };
    PcrRow {
        bank: bank.name(),
        pcr: pcr.get(),
        holds: holds(pcr),
        quoted: found.map(Value::of),
        cells: states.iter().map(cell).collect(),
    }
}

/// A machine in a state of before is not approved, but it is explained.
fn former(manifest: Option<&Manifest>, quoted: &PcrValues) -> Vec<(Shown, &'static str)> {
    let states = manifest.into_iter().flat_map(Manifest::states);
    let matching = states.filter(|state| !state.is_active() && state.matches(quoted));
    matching
        .map(|state| {
            let status = match state.status() {
                StateStatus::Retired => "retired",
                StateStatus::Predecessor | StateStatus::Active => "a predecessor",
            };
            (Shown::of(state.name()), status)
        })
        .take(STATES_SHOWN)
        .collect()
}

/// What the log says of each PCR in which the nearest approved state differs.
fn accounts(state: &State, quoted: &PcrValues, log: Option<&EventLog<'_>>, vouched: bool) -> Vec<Account> {
    let differing = differing(state, quoted);
    let part = EVENTS_SHOWN.min(EVENTS_ALL_SHOWN / differing.len().max(1));
    let one = |pcr: PcrIndex| Account {
        pcr: pcr.get(),
        state: Shown::of(state.name()),
        found: match log {
            _ if !vouched => Found::Unknown("nothing shows that the TPM signed this value"),
            Some(log) => account(state, pcr, quoted, log, part),
            None => Found::Unknown("the evidence holds no log that can be read"),
        },
    };
    differing.into_iter().map(one).collect()
}

/// With at most so many events.
fn account(state: &State, pcr: PcrIndex, quoted: &PcrValues, log: &EventLog<'_>, part: usize) -> Found {
    let bank = state.bank();
    // One value at a time: each comparison walks through the log.
    let compared = |value: Option<&[u8]>| {
        let mut values = PcrValues::new();
        values.insert(bank, pcr, value?.to_vec()).ok()?;
        log.compare(&values).pop().map(|one| one.comparison)
    };
    match compared(quoted.get(bank, pcr)) {
        Some(Comparison::Matches) => {}
        None => return Found::Unknown("the quote does not cover this PCR"),
        Some(_) => {
            return Found::Unknown("the log does not lead to the quoted value, so it explains nothing");
        }
    }
    let numbers = log.extending(bank, pcr);
    let listed = |numbers: &[usize]| {
        let events = numbers.iter().take(part);
        let events = events.filter_map(|number| EventShown::of(log, *number, Some(bank))).collect();
        (events, numbers.len().saturating_sub(part))
    };
    match compared(state.pcrs().get(&pcr).map(Vec::as_slice)) {
        Some(Comparison::Differs { after: Some(before), .. }) => {
            let (events, omitted) = listed(numbers.get(before..).unwrap_or_default());
            Found::Added { before, events, omitted }
        }
        _ => {
            let (events, omitted) = listed(&numbers);
            Found::Changed { events, omitted }
        }
    }
}

/// What is measured into a PCR (TCG PC Client Platform Firmware Profile, section 3.3.4; UAPI.7 Linux TPM PCR registry).
const fn holds(pcr: PcrIndex) -> &'static str {
    match pcr.get() {
        0 => "firmware code",
        1 => "firmware settings",
        2 => "code of added cards",
        3 => "settings of added cards",
        4 => "boot loader",
        5 => "boot loader's settings, partition table",
        6 => "manufacturer's own",
        7 => "Secure Boot policy",
        8 => "boot loader's commands, command line",
        9 => "files read by the boot loader, initrd",
        10 => "kernel's file measurements (IMA)",
        11 => "unified kernel image, phases of the boot",
        12 => "kernel's parameters and credentials",
        13 => "system extensions",
        14 => "shim's keys",
        15 => "machine id, file systems",
        16 => "for tests",
        17..=22 => "dynamic launch",
        _ => "for applications",
    }
}
