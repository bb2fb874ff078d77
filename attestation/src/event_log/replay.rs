//! What the PCRs must hold if the log is true: every digest extended, in order, from the values that a TPM starts with
//! (TCG PC Client Platform TPM Profile, section 4.6).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    HexBytes, PcrBank, PcrIndex, PcrValues,
    event_log::{Event, LogAlgorithm, separator::FIRMWARE_PCRS},
};

/// The value of a PCR before anything is extended: zeros, but ones where only a dynamic launch begins, and the startup
/// locality in PCR 0.
pub(super) fn initial(algorithm: LogAlgorithm, pcr: PcrIndex, startup_locality: u8) -> Vec<u8> {
    let length = algorithm.digest_len();
    match pcr.get() {
        17..=22 => vec![0xff; length],
        0 => {
            let mut value = vec![0; length];
            if let Some(last) = value.last_mut() {
                *last = startup_locality;
            }
            value
        }
        _ => vec![0; length],
    }
}

/// The value after one more event.
fn extended(algorithm: LogAlgorithm, value: &[u8], digest: &[u8]) -> Vec<u8> {
    algorithm.digest(&[value, digest])
}

/// Replayed values: every bank of the log, and in it every PCR that the log extends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Replay(BTreeMap<LogAlgorithm, BTreeMap<PcrIndex, HexBytes>>);

impl Replay {
    pub(super) fn of(
        events: &[Event<'_>],
        banks: impl Iterator<Item = LogAlgorithm>,
        startup_locality: u8,
    ) -> Self {
        Self(banks.map(|bank| (bank, replay_bank(events, bank, startup_locality))).collect())
    }

    /// The banks of the log that can be replayed.
    pub fn banks(&self) -> impl Iterator<Item = LogAlgorithm> {
        self.0.keys().copied()
    }

    /// The value of a PCR; `None` when the log does not have the bank, or extends nothing in it.
    #[must_use]
    pub fn get(&self, bank: LogAlgorithm, pcr: PcrIndex) -> Option<&[u8]> {
        self.0.get(&bank)?.get(&pcr).map(|value| value.0.as_slice())
    }

    /// All values, by bank and PCR.
    pub fn iter(&self) -> impl Iterator<Item = (LogAlgorithm, PcrIndex, &[u8])> {
        self.0.iter().flat_map(|(bank, values)| {
            values.iter().map(move |(pcr, value)| (*bank, *pcr, value.0.as_slice()))
        })
    }
}

fn replay_bank(
    events: &[Event<'_>],
    bank: LogAlgorithm,
    startup_locality: u8,
) -> BTreeMap<PcrIndex, HexBytes> {
    let mut values: BTreeMap<PcrIndex, HexBytes> = BTreeMap::new();
    for (pcr, digest) in extensions(events, bank) {
        let value = values.entry(pcr).or_insert_with(|| HexBytes(initial(bank, pcr, startup_locality)));
        value.0 = extended(bank, &value.0, digest);
    }
    values
}

/// What a bank's PCRs are extended with.
fn extensions<'e, 'a: 'e>(
    events: &'e [Event<'a>],
    bank: LogAlgorithm,
) -> impl Iterator<Item = (PcrIndex, &'a [u8])> + 'e {
    events
        .iter()
        .filter(|event| event.extends())
        .filter_map(move |event| Some((event.pcr?, event.digest(bank)?)))
}

/// How a value that a TPM gave compares with the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Comparison {
    /// The log explains the value.
    Matches,
    /// The log says another value.
    Differs {
        /// What the log says.
        replayed: HexBytes,
        /// After how many of the log's events for this PCR the value is reached: the log runs ahead of it.
        after: Option<usize>,
    },
    /// The log has no event for this PCR, and the value is the one that a TPM starts with.
    Untouched,
    /// The log has no event for this PCR, but something was extended into it.
    Unlogged,
    /// The log has no such bank.
    NoBank,
}

/// One PCR compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ComparedPcr {
    /// The bank.
    pub bank: PcrBank,
    /// The PCR.
    pub pcr: PcrIndex,
    /// How it compares.
    #[serde(flatten)]
    pub comparison: Comparison,
}

impl ComparedPcr {
    /// Whether the firmware measures into this PCR, so that its log must explain the value.
    #[must_use]
    pub fn is_firmware_s(&self) -> bool {
        usize::from(self.pcr.get()) < FIRMWARE_PCRS
    }
}

pub(super) fn compare(
    events: &[Event<'_>],
    replay: &Replay,
    startup_locality: u8,
    values: &PcrValues,
) -> Vec<ComparedPcr> {
    let compared = values.iter().map(|(bank, pcr, value)| {
        let algorithm = LogAlgorithm::from(bank);
        let comparison = match replay.get(algorithm, pcr) {
            _ if !replay.0.contains_key(&algorithm) => Comparison::NoBank,
            None if value == initial(algorithm, pcr, startup_locality) => Comparison::Untouched,
            None => Comparison::Unlogged,
            Some(replayed) if replayed == value => Comparison::Matches,
            Some(replayed) => {
                let after = reached_after(events, algorithm, pcr, startup_locality, value);
                Comparison::Differs { replayed: HexBytes(replayed.to_vec()), after }
            }
        };
        ComparedPcr { bank, pcr, comparison }
    });
    compared.collect()
}

fn reached_after(
    events: &[Event<'_>],
    bank: LogAlgorithm,
    pcr: PcrIndex,
    startup_locality: u8,
    value: &[u8],
) -> Option<usize> {
    let mut reached = initial(bank, pcr, startup_locality);
    if reached == value {
        return Some(0);
    }
    let digests = extensions(events, bank).filter(|(other, _)| *other == pcr);
    for (count, (_, digest)) in digests.enumerate() {
        reached = extended(bank, &reached, digest);
        if reached == value {
            return Some(count + 1);
        }
    }
    None
}
