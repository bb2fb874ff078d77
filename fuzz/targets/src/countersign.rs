//! Verdicts that auditors signed.

use std::sync::LazyLock;

use sealstone_attestation::countersign::{CountersignedVerdict, VerdictRecord};
use sealstone_attestation::{Algorithm, Envelope, PublicKey};

/// Whom a reader trusts: whoever made the seeds.
static AUDITOR: LazyLock<[PublicKey; 1]> = LazyLock::new(|| {
    let bytes = include_bytes!("../data/auditor.key");
    [PublicKey::from_bytes(Algorithm::EdDsa, bytes).expect("the auditor has a key: see examples/seeds")]
});

/// All that this auditor ever signed.
static SIGNED: LazyLock<[CountersignedVerdict; 2]> = LazyLock::new(|| {
    [
        &include_bytes!("../../corpus/countersigned_verdict/accepted.json")[..],
        include_bytes!("../../corpus/countersigned_verdict/refused.json"),
    ]
    .map(|seed| CountersignedVerdict::parse(seed, &*AUDITOR).expect("the seed is signed: see examples/seeds"))
});

/// A signed verdict, or the record in one. Nothing is taken but what the auditor signed.
#[must_use]
pub fn countersigned_verdict(bytes: &[u8]) -> bool {
    // What is inside, by itself: signatures keep a fuzzer out of it.
    let inside = Envelope::parse(bytes).map_or_else(|_| bytes.to_vec(), |envelope| envelope.payload);
    if let Ok(record) = serde_json::from_slice::<VerdictRecord>(&inside) {
        let written = serde_json::to_vec(&record).expect("records are JSON");
        let read: VerdictRecord = serde_json::from_slice(&written).expect("a record reads as it was written");
        assert_eq!(read, record);
        assert_eq!(record.difference(&read), None);
        if let Ok(envelope) = record.sign(&AUDITOR[0], |_| vec![0; 64]) {
            let forged = CountersignedVerdict::parse(&envelope.to_json(), &*AUDITOR);
            assert!(forged.is_err(), "no auditor signs zeros");
        }
    }
    let Ok(signed) = CountersignedVerdict::parse(bytes, &*AUDITOR) else { return false };
    assert!(SIGNED.iter().any(|golden| golden.record() == signed.record()), "the auditor signed it");
    assert!(CountersignedVerdict::parse(bytes, &[]).is_err(), "without auditors nobody is trusted");
    true
}
