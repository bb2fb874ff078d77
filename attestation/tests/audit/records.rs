//! A record has one spelling and its bounds.

use proptest::prelude::*;
use sealstone_attestation::audit::{Reason, ReceiptReference, Record, RecordError, RecordKind};
use sealstone_attestation::{Binding, KeyId, Receipt, RequestDigest, SessionId, Signature64, UnixTime};

fn receipt() -> Receipt {
    Receipt {
        sequence: 1,
        era: 4,
        previous: Receipt::genesis(4),
        request: RequestDigest::of(b"request"),
        key_id: KeyId::from_bytes([1; 32]),
        epoch: 2,
        binding: Binding::of(b"binding"),
        session: SessionId::from_bytes([3; 16]),
        time: UnixTime::from_secs(1_795_230_000),
        signature: Signature64::from_bytes([9; 64]),
    }
}

fn signed() -> Record {
    let receipt = receipt();
    Record {
        client: Some("uid:1000".to_owned()),
        tenant: Some("acme".to_owned()),
        sender: Some("treasury".to_owned()),
        chain_id: Some(1),
        nonce: Some(u64::MAX),
        request: Some(receipt.request),
        key_id: Some(receipt.key_id),
        epoch: Some(receipt.epoch),
        binding: Some(receipt.binding),
        session: Some(receipt.session),
        signer: Some("enclave".to_owned()),
        receipt: Some(ReceiptReference::of(&receipt)),
        ..Record::new(1_795_230_000_123, RecordKind::Signed)
    }
}

#[test]
fn a_record_is_its_leaf() {
    let refused = Record {
        code: Some("POLICY_DENIED".to_owned()),
        reasons: vec![Reason { code: "LIMIT".to_owned() }],
        ..Record::new(7, RecordKind::Refused)
    };
    let expected = r#"{"time_ms":7,"kind":"refused","code":"POLICY_DENIED","reasons":[{"code":"LIMIT"}]}"#;
    assert_eq!(refused.to_leaf().unwrap(), expected.as_bytes());
    for record in [refused, signed(), Record::new(0, RecordKind::ReceiptsAcceptedLost)] {
        assert_eq!(Record::parse(&record.to_leaf().unwrap()), Ok(record));
    }
}

#[test]
fn a_record_of_a_signature_leads_to_its_receipt() {
    let receipt = receipt();
    assert_eq!(signed().whole_receipt(receipt.previous), Some(receipt.clone()));
    let other = Record { nonce: Some(2), epoch: Some(3), ..signed() };
    assert_ne!(other.whole_receipt(receipt.previous).unwrap().hash(), receipt.hash());
    assert_eq!(Record { request: None, ..signed() }.whole_receipt(receipt.previous), None);
}

#[test]
fn another_spelling_of_a_record_is_refused() {
    let good = r#"{"time_ms":7,"kind":"refused","code":"A","detail":"é"}"#;
    assert!(Record::parse(good.as_bytes()).is_ok());
    for other in [
        r#"{"time_ms":7, "kind":"refused","code":"A","detail":"é"}"#,
        r#"{"kind":"refused","time_ms":7,"code":"A","detail":"é"}"#,
        r#"{"time_ms":7,"kind":"refused","code":"A","client":null,"detail":"é"}"#,
        r#"{"time_ms":7,"kind":"refused","code":"A","reasons":[],"detail":"é"}"#,
        r#"{"time_ms":7,"kind":"refused","code":"A","detail":"\u00e9"}"#,
        r#"{"time_ms":7,"kind":"refused","code":"\u0041","detail":"é"}"#,
    ] {
        assert_eq!(Record::parse(other.as_bytes()), Err(RecordError::Spelling), "{other}");
    }
    let upper = String::from_utf8(signed().to_leaf().unwrap()).unwrap().replace("7f", "7F");
    assert!(Record::parse(upper.as_bytes()).is_err());
}

#[test]
fn what_is_no_record_is_refused() {
    for bad in [
        "",
        "null",
        "{}",
        "[]",
        r#"{"time_ms":7}"#,
        r#"{"kind":"refused"}"#,
        r#"{"time_ms":-7,"kind":"refused"}"#,
        r#"{"time_ms":7.0,"kind":"refused"}"#,
        r#"{"time_ms":"7","kind":"refused"}"#,
        r#"{"time_ms":18446744073709551616,"kind":"refused"}"#,
        r#"{"time_ms":7,"kind":"Refused"}"#,
        r#"{"time_ms":7,"kind":"erased"}"#,
        r#"{"time_ms":7,"kind":"refused","payload":"00"}"#,
        r#"{"time_ms":7,"time_ms":7,"kind":"refused"}"#,
        r#"{"time_ms":7,"kind":"refused"}{"time_ms":7,"kind":"refused"}"#,
        r#"{"time_ms":7,"kind":"refused"}x"#,
        r#"{"time_ms":7,"kind":"signed","receipt":{"era":1,"sequence":1}}"#,
        r#"{"time_ms":7,"kind":"refused","reasons":[{"code":"A","why":"b"}]}"#,
    ] {
        assert!(matches!(Record::parse(bad.as_bytes()), Err(RecordError::Malformed(_))), "{bad}");
    }
}

#[test]
fn every_text_and_list_has_its_bound() {
    let text = |length| Some("x".repeat(length));
    let with = |detail| Record { detail, ..Record::new(0, RecordKind::Admin) };
    assert!(with(text(Record::TEXT_BYTES_MAX)).to_leaf().is_ok());
    let found = Record::TEXT_BYTES_MAX + 1;
    assert_eq!(with(text(found)).to_leaf(), Err(RecordError::Text { name: "detail", found }));
    let unbounded = serde_json::to_vec(&with(text(found))).unwrap();
    assert_eq!(Record::parse(&unbounded), Err(RecordError::Text { name: "detail", found }));

    let reasons = |count| vec![Reason { code: "R".to_owned() }; count];
    let with = |reasons| Record { reasons, ..Record::new(0, RecordKind::Refused) };
    assert!(with(reasons(Record::REASONS_MAX)).to_leaf().is_ok());
    let found = Record::REASONS_MAX + 1;
    assert_eq!(with(reasons(found)).to_leaf(), Err(RecordError::Reasons { found }));
    let long = vec![Reason { code: "R".repeat(1024) }; 16];
    assert!(matches!(with(long).to_leaf(), Err(RecordError::TooLong { .. })));
    let found = Record::BYTES_MAX + 1;
    assert_eq!(Record::parse(&vec![b' '; found]), Err(RecordError::TooLong { found }));
}

proptest! {
    #[test]
    fn any_texts_and_numbers_are_read_as_they_were_written(
        texts in prop::collection::vec(prop::option::of(".{0,40}"), 6),
        numbers in prop::collection::vec(prop::option::of(any::<u64>()), 3),
        time_ms in any::<u64>(),
    ) {
        let record = Record {
            code: texts[0].clone(), client: texts[1].clone(), tenant: texts[2].clone(),
            sender: texts[3].clone(), trace_id: texts[4].clone(), detail: texts[5].clone(),
            chain_id: numbers[0], nonce: numbers[1], epoch: numbers[2],
            ..Record::new(time_ms, RecordKind::Voided)
        };
        prop_assert_eq!(Record::parse(&record.to_leaf().unwrap()), Ok(record));
    }

    #[test]
    fn whatever_is_read_is_written_the_same(bytes in r#"\{"time_ms":[0-9]{1,3},"kind":"(signed|started)"(,"(code|detail)":"[ -~]{0,5}")?\}"#) {
        if let Ok(record) = Record::parse(bytes.as_bytes()) {
            prop_assert_eq!(record.to_leaf().unwrap(), bytes.as_bytes());
        }
    }
}
