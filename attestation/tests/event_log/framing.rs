//! Bytes that are almost a log.

use sealstone_attestation::event_log::{EventLog, EventLogReason, EventType, LogAlgorithm};

use crate::builder::{LogBuilder, header, honest};

const SHA256: u16 = 0x000b;

fn reason(bytes: &[u8]) -> EventLogReason {
    EventLog::parse(bytes).unwrap_err().reason
}

#[test]
fn digests_that_do_not_fit_the_header_are_refused() {
    let with = |digests: &[(u16, Vec<u8>)]| {
        let mut log = LogBuilder::agile(&[LogAlgorithm::Sha1, LogAlgorithm::Sha256]);
        log.raw(0, EventType::EFI_ACTION.code(), digests, b"x");
        log.bytes()
    };
    let good = (SHA256, vec![1; 32]);
    assert_eq!(reason(&with(&[(0x000c, vec![1; 48])])), EventLogReason::UnlistedAlgorithm { id: 0x000c });
    assert_eq!(reason(&with(&[good.clone(), good.clone()])), EventLogReason::AlgorithmTwice { id: SHA256 });
    let three = [good.clone(), (0x0004, vec![1; 20]), good.clone()];
    assert_eq!(reason(&with(&three)), EventLogReason::DigestCount { expected: 2, found: 3 });
    // A short digest shifts all that follows.
    assert!(EventLog::parse(&with(&[(SHA256, vec![1; 31])])).is_err());
    assert!(EventLog::parse(&with(&[good])).is_ok());
}

#[test]
fn headers_that_do_not_hold_together_are_refused() {
    let with = |data: &[u8]| LogBuilder::with_header(&[LogAlgorithm::Sha256], data).bytes();
    assert!(EventLog::parse(&with(&header(&[(SHA256, 32)]))).is_ok());
    assert_eq!(reason(&with(&header(&[]))), EventLogReason::AlgorithmCount { found: 0 });
    assert!(matches!(reason(&with(&header(&[(SHA256, 20)]))), EventLogReason::AlgorithmSize { .. }));
    // As in a fixture of tpm2-tools: vendor information that the event's size leaves out.
    let mut vendor = header(&[(SHA256, 32)]);
    *vendor.last_mut().unwrap() = 4;
    assert!(matches!(reason(&with(&vendor)), EventLogReason::Header { .. }));
    vendor.extend(b"info");
    assert!(EventLog::parse(&with(&vendor)).is_ok());
}

#[test]
fn lengths_beyond_the_log_are_refused_with_their_place() {
    let mut log = honest(&[LogAlgorithm::Sha256]);
    let whole = log.bytes();
    log.measure(5, EventType::EFI_ACTION, b"abc");
    let mut bytes = log.bytes();
    let length = bytes.len() - 7;
    for found in [4_u32, 0x7fff_ffff, u32::MAX] {
        bytes[length..length + 4].copy_from_slice(&found.to_le_bytes());
        let error = EventLog::parse(&bytes).unwrap_err();
        assert_eq!((error.offset, error.event), (length + 4, log.offsets.len() - 1));
        assert!(matches!(error.reason, EventLogReason::Cut { found: 3, .. }));
    }
    let count = whole.len() + 8;
    for found in [2_u32, u32::MAX] {
        bytes[count..count + 4].copy_from_slice(&found.to_le_bytes());
        assert!(matches!(reason(&bytes), EventLogReason::DigestCount { expected: 1, .. }));
    }
}

#[test]
fn more_bytes_or_events_than_any_machine_has_are_refused() {
    let long = vec![1; EventLog::BYTES_MAX + 1];
    assert_eq!(reason(&long), EventLogReason::TooLong { found: EventLog::BYTES_MAX + 1 });
    let header = LogBuilder::agile(&[LogAlgorithm::Sha256]).bytes();
    let mut event = [0; 16];
    event[0] = 1;
    event[4] = 3;
    let most = [&header[..], &event.repeat(EventLog::EVENTS_MAX - 1)].concat();
    // The last bytes of such an event are zeros, and so are no padding of their own.
    assert_eq!(EventLog::parse(&most).unwrap().events().len(), EventLog::EVENTS_MAX);
    let more = [&most[..], &event].concat();
    assert_eq!(reason(&more), EventLogReason::TooManyEvents);
}

#[test]
fn a_log_with_a_fault_in_every_event_is_read_in_bounded_space() {
    let mut log = LogBuilder::agile(&[LogAlgorithm::Sha256]);
    for _ in 0..2000 {
        log.event(7, EventType::UNUSED, b"a", b"b");
    }
    let bytes = log.bytes();
    let parsed = EventLog::parse(&bytes).unwrap();
    assert_eq!(parsed.findings().len(), 257);
    assert_eq!(parsed.findings()[256].code, "remarks.more");
}

#[test]
fn other_files_are_no_logs() {
    for bytes in [
        &b"{}"[..],
        b"\x7fELF\x02\x01\x01",
        b"-----BEGIN CERTIFICATE-----\nMIIB",
        &[0; 8],
        &[1; 64],
        &[0, 0, 0, 0, 4],
    ] {
        assert!(EventLog::parse(bytes).is_err(), "{bytes:?}");
    }
}
