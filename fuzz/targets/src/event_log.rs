//! Measured-boot logs.

use sealstone_attestation::PcrValues;
use sealstone_attestation::event_log::{Comparison, EventLog};

/// Bytes that follow a log as padding.
const PADDING: [u8; 5] = [0; 5];

/// A log as the kernel gives it.
#[must_use]
pub fn event_log(bytes: &[u8]) -> bool {
    let Ok(log) = EventLog::parse(bytes) else { return false };
    assert!(!log.events().is_empty() && log.events().len() <= EventLog::EVENTS_MAX);
    assert!(log.events().is_sorted_by(|one, next| one.offset < next.offset), "events follow one another");
    for event in log.events() {
        let vouched = event.covered().is_none_or(|covered| covered.len() <= event.data.len());
        assert!(vouched && event.describe().chars().count() <= 513, "a line is a line");
        assert!(event.pcr.is_some() || !event.extends(), "only a PCR is extended");
    }
    let facts = serde_json::to_string(&log.facts()).expect("facts are JSON");
    assert!(facts.len() <= 64 * bytes.len() + 4096, "facts are of the size of their log");

    let mut values = PcrValues::new();
    for (bank, pcr, value) in log.replay().iter() {
        assert_eq!(value.len(), bank.digest_len());
        if let Some(bank) = bank.bank() {
            values.insert(bank, pcr, value.to_vec()).expect("each PCR is replayed once");
        }
    }
    let compared = log.compare(&values);
    assert_eq!(compared.len(), values.len());
    assert!(compared.iter().all(|compared| compared.comparison == Comparison::Matches));

    if log.padding() == 0 {
        let padded = [bytes, &PADDING].concat();
        let padded = EventLog::parse(&padded).expect("padding may follow a log");
        assert_eq!((padded.padding(), padded.replay()), (PADDING.len(), log.replay()));
        assert_eq!(padded.findings(), log.findings());
    }
    let cut = EventLog::parse(&bytes[..bytes.len() - 1]);
    assert!(
        cut.is_err() || cut.is_ok_and(|cut| cut.events().len() <= log.events().len()),
        "a log that was cut has no more events"
    );
    true
}
