//! Whatever bytes arrive, a log is read or refused, and never panics; what is built is read back.

use proptest::{collection::vec, prelude::*, sample::subsequence};
use sealstone_attestation::event_log::{
    Comparison, EventLog, EventType, LogAlgorithm, Variable, parse_signature_lists,
};

use crate::builder::{LogBuilder, honest, honest_events};

/// Reads everything that can be read of a log.
fn read(bytes: &[u8]) {
    let Ok(log) = EventLog::parse(bytes) else { return };
    for event in log.events() {
        let _ = (event.describe(), event.covered());
    }
    let _ = serde_json::to_string(&log.facts()).unwrap();
    let _ = serde_json::to_string(&log.replay()).unwrap();
    assert!(log.findings().len() <= 257 && log.warnings().len() <= 257);
}

/// Types that may meet any data.
fn kind() -> impl Strategy<Value = u32> {
    prop_oneof![0_u32..0x14, 0x8000_0000_u32..0x8000_0011, 0x8000_00e0_u32..0x8000_00e5, any::<u32>(),]
}

proptest! {
    // A failing case is printed; it becomes a test by hand, not a file.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..600)) {
        read(&bytes);
        let _ = Variable::parse(&bytes);
        let _ = parse_signature_lists(&bytes);
        // Behind a header, more of them are events.
        read(&[&LogBuilder::agile(&[LogAlgorithm::Sha256]).bytes()[..], &bytes].concat());
    }

    #[test]
    fn what_is_built_is_read_back(
        banks in subsequence(LogAlgorithm::ALL.to_vec(), 1..=8),
        events in vec((0_u32..24, kind(), vec(any::<u8>(), 0..80), vec(any::<u8>(), 0..8)), 0..20),
    ) {
        let mut log = LogBuilder::agile(&banks);
        for (pcr, kind, data, measured) in &events {
            let digests: Vec<(u16, Vec<u8>)> =
                banks.iter().map(|bank| (bank.id(), bank.digest(&[measured]))).collect();
            // The locality has rules of its own.
            if !data.starts_with(b"StartupLocality\0") && *kind != EventType::EFI_HCRTM_EVENT.code() {
                log.raw(*pcr, *kind, &digests, data);
            }
        }
        // Ends with a byte that is no padding.
        log.measure(5, EventType::EFI_ACTION, b"end");
        let bytes = log.bytes();
        let parsed = EventLog::parse(&bytes).unwrap();
        prop_assert_eq!(parsed.events().len(), log.offsets.len());
        for (event, offset) in parsed.events().iter().zip(&log.offsets) {
            prop_assert_eq!(event.offset, *offset);
        }
        for (bank, pcr, value) in parsed.replay().iter() {
            prop_assert_eq!(value, log.pcr(bank, pcr.get().into()));
        }
        read(&bytes);
    }

    #[test]
    fn a_damaged_log_is_refused_or_found_or_does_not_replay_or_only_describes_otherwise(
        position in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let honest = honest(&[LogAlgorithm::Sha256]);
        let quoted = honest.quoted(&(0..24).collect::<Vec<_>>());
        let original = honest.bytes();
        let mut bytes = original.clone();
        let position = position.index(bytes.len());
        bytes[position] ^= flip;
        read(&bytes);
        let (Ok(damaged), Ok(whole)) = (EventLog::parse(&bytes), EventLog::parse(&original)) else {
            return Ok(());
        };
        let explained = damaged.compare(&quoted).iter().all(|compared| {
            matches!(compared.comparison, Comparison::Matches | Comparison::Untouched)
        });
        if explained && damaged.findings().is_empty() {
            // Then everything that the digests vouch for is as it was.
            prop_assert_eq!(damaged.facts().secure_boot, whole.facts().secure_boot);
            prop_assert_eq!(damaged.facts().keys, whole.facts().keys);
            let vouched = |log: &EventLog<'_>| -> Vec<String> {
                log.facts().command_lines.iter().filter(|line| line.vouched).map(|line| line.text.clone()).collect()
            };
            // A text may lose its name, and so its place among the facts; it never becomes another text.
            let texts = vouched(&whole);
            prop_assert!(vouched(&damaged).iter().all(|text| texts.contains(text)));
        }
    }
}

#[test]
fn every_truncation_is_refused_or_caught() {
    for log in [honest(&[LogAlgorithm::Sha256]), honest(&[LogAlgorithm::Sha1, LogAlgorithm::Sha384]), {
        let mut log = LogBuilder::sha1();
        honest_events(&mut log);
        log
    }] {
        let (bytes, quoted) = (log.bytes(), log.quoted(&(0..24).collect::<Vec<_>>()));
        for length in 0..bytes.len() {
            read(&bytes[..length]);
            let Ok(cut) = EventLog::parse(&bytes[..length]) else { continue };
            let explained = cut
                .compare(&quoted)
                .iter()
                .all(|compared| matches!(compared.comparison, Comparison::Matches | Comparison::Untouched));
            assert!(!explained, "a log cut to {length} bytes explains the whole boot");
        }
    }
}
