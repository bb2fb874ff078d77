//! Verdicts that an auditor signs: what is read is what was signed, by whom it is trusted, of that appraisal and no other.
#![allow(clippy::unwrap_used)]

mod auditor;
mod fake;
mod scene;

use auditor::{auditor, countersigned, record, trusted};
use fake::Person;
use proptest::prelude::*;
use scene::{Scene, expectations};
use sealstone_attestation::{
    Algorithm, Envelope, EnvelopeError, Evidence, Nonce, PublicKey, Sha256Digest, UnixTime, Verdict,
    appraise,
    countersign::{CountersignedVerdict, RecordedVerdict, VerdictRecord, VerdictRecordError},
    manifest_refused,
};

struct Case {
    scene: Scene,
    evidence: Evidence,
    verdict: Verdict,
    record: VerdictRecord,
}

fn case() -> Case {
    let scene = Scene::new();
    let evidence = scene.evidence();
    let verdict = scene.appraise(&evidence);
    assert!(verdict.accepted());
    let record = record(&scene, &evidence, &verdict);
    Case { scene, evidence, verdict, record }
}

fn parse(envelope: &Envelope) -> Result<CountersignedVerdict, VerdictRecordError> {
    CountersignedVerdict::parse(&envelope.to_json(), &trusted())
}

/// An envelope of this record as it is, whatever it says, signed by the auditor.
fn forced(record: &serde_json::Value) -> Envelope {
    let mut envelope = Envelope {
        payload_type: VerdictRecord::PAYLOAD_TYPE.to_owned(),
        payload: serde_json::to_vec(record).unwrap(),
        signatures: Vec::new(),
    };
    auditor().sign(&mut envelope);
    envelope
}

#[test]
fn an_accepted_and_a_refused_verdict_read_as_they_were_signed() {
    let Case { scene, mut evidence, record, verdict } = case();
    let signed = parse(&countersigned(&record)).unwrap();
    assert_eq!((signed.record(), signed.key()), (&record, &auditor().public_key()));
    assert!(record.verdict.accepted && record.verdict.log.is_some());
    // A record says what `--json` says.
    assert_eq!(serde_json::to_value(&record.verdict).unwrap(), serde_json::to_value(&verdict).unwrap());

    *evidence.quote.signature.last_mut().unwrap() ^= 1;
    for refused in [scene.appraise(&evidence), manifest_refused("expected another".to_owned())] {
        let record = auditor::record(&scene, &evidence, &refused);
        assert_eq!(parse(&countersigned(&record)).unwrap().record(), &record);
        assert!(!record.verdict.accepted && record.verdict.log.is_none());
        assert_eq!(serde_json::to_value(&record.verdict).unwrap(), serde_json::to_value(&refused).unwrap());
    }
}

#[test]
fn only_one_signature_by_a_trusted_auditor_is_taken() {
    let Case { record, .. } = case();
    let envelope = countersigned(&record);
    let stranger = Person::new(78);
    let by_stranger =
        record.sign(&stranger.public_key(), |pae| stranger.sign_bytes(pae).as_bytes().to_vec()).unwrap();
    assert!(matches!(parse(&by_stranger), Err(VerdictRecordError::Foreign { .. })));
    let nobody = CountersignedVerdict::parse(&envelope.to_json(), &[]);
    assert!(matches!(nobody, Err(VerdictRecordError::Foreign { .. })));

    // The stranger's signature under the auditor's name.
    let mut renamed = by_stranger.clone();
    renamed.signatures[0].keyid = auditor().public_key().key_id().to_string();
    assert!(matches!(parse(&renamed), Err(VerdictRecordError::Signature(_))));
    let mut nameless = envelope.clone();
    nameless.signatures[0].keyid.clear();
    assert_eq!(parse(&nameless), Err(VerdictRecordError::KeyId));
    let mut short = envelope.clone();
    short.signatures[0].sig.pop();
    assert!(matches!(parse(&short), Err(VerdictRecordError::Signature(_))));
    for found in [0, 2] {
        let mut other = envelope.clone();
        other.signatures = vec![envelope.signatures[0].clone(); found];
        assert_eq!(parse(&other), Err(VerdictRecordError::Signatures { found }));
    }

    let k256 = hex::decode("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798").unwrap();
    let k256 = PublicKey::from_bytes(Algorithm::Es256k, &k256).unwrap();
    assert!(matches!(record.sign(&k256, |_| vec![0; 64]), Err(VerdictRecordError::Algorithm { .. })));
}

#[test]
fn an_es256_auditor_is_taken_too() {
    use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner};
    use sha2::{Digest, Sha256};
    let Case { record, .. } = case();
    let key = SigningKey::from_slice(&[7; 32]).unwrap();
    let public = PublicKey::from(key.verifying_key());
    let sign = |pae: &[u8]| {
        let signature: Signature = key.sign_prehash(&Sha256::digest(pae)).unwrap();
        signature.normalize_s().to_bytes().to_vec()
    };
    let envelope = record.sign(&public, sign).unwrap();
    assert_eq!(CountersignedVerdict::parse(&envelope.to_json(), &[public]).unwrap().record(), &record);
}

#[test]
fn what_was_altered_or_is_something_else_is_refused() {
    let Case { record, .. } = case();
    let envelope = countersigned(&record);
    let payload = String::from_utf8(envelope.payload.clone()).unwrap();
    for (old, new) in [
        ("\"accepted\":true", "\"accepted\":false"),
        ("\"auditor\":\"auditor\"", "\"auditor\":\"another\""),
        ("\"result\":\"passed\"", "\"result\":\"failed\""),
        ("{\"format\":1", "{\"format\": 1"),
    ] {
        assert!(payload.contains(old), "{old}");
        let altered = Envelope { payload: payload.replacen(old, new, 1).into_bytes(), ..envelope.clone() };
        assert!(matches!(parse(&altered), Err(VerdictRecordError::Signature(_))), "{old}");
    }
    let mut retyped = envelope.clone();
    retyped.payload_type = "application/vnd.sealstone.report.v1+json".to_owned();
    assert!(matches!(parse(&retyped), Err(VerdictRecordError::Envelope(EnvelopeError::Type { .. }))));
    let trailing = [&envelope.to_json()[..], b"x"].concat();
    let trailing = CountersignedVerdict::parse(&trailing, &trusted());
    assert!(matches!(trailing, Err(VerdictRecordError::Envelope(_))));
    let mut inside = Envelope { payload: [payload.as_bytes(), b"x"].concat(), ..envelope };
    inside.signatures.clear();
    auditor().sign(&mut inside);
    assert!(matches!(parse(&inside), Err(VerdictRecordError::Malformed(_))));
}

#[test]
fn a_record_that_contradicts_itself_is_refused_even_from_the_auditor() {
    let Case { record, .. } = case();
    let honest = serde_json::to_value(&record).unwrap();
    assert!(parse(&forced(&honest)).is_ok());
    let refused = |change: &dyn Fn(&mut serde_json::Value),
                   expected: &dyn Fn(&VerdictRecordError) -> bool| {
        let mut json = honest.clone();
        change(&mut json);
        let error = parse(&forced(&json)).unwrap_err();
        assert!(expected(&error), "{error}");
    };
    let contradiction = |error: &VerdictRecordError| *error == VerdictRecordError::Contradiction;
    refused(&|json| json["verdict"]["accepted"] = false.into(), &contradiction);
    refused(&|json| json["verdict"]["checks"][3]["result"] = "failed".into(), &contradiction);
    refused(&|json| json["verdict"]["checks"] = serde_json::json!([]), &contradiction);
    // Better, or other, than its checks.
    refused(&|json| json["verdict"]["levels"]["code_measured"]["result"] = "passed".into(), &contradiction);
    refused(&|json| json["verdict"]["levels"]["fresh"]["result"] = "not_shown".into(), &contradiction);
    refused(
        &|json| {
            json["verdict"]["accepted"] = false.into();
            json["verdict"]["log"] = serde_json::Value::Null;
            json["verdict"]["checks"][0]["result"] = "failed".into();
        },
        &contradiction,
    );
    refused(
        &|json| {
            json["verdict"]["levels"].as_object_mut().unwrap().remove("fresh");
        },
        &contradiction,
    );
    let malformed = |error: &VerdictRecordError| matches!(error, VerdictRecordError::Malformed(_));
    refused(&|json| json["more"] = 1.into(), &malformed);
    refused(&|json| json["verdict"]["more"] = 1.into(), &malformed);
    refused(&|json| json["expectations"]["nonce"] = "00".into(), &malformed);
    refused(&|json| json["manifest"]["trusted"] = "blindly".into(), &malformed);
    refused(&|json| json["format"] = 2.into(), &|error| *error == VerdictRecordError::Format { found: 2 });
    refused(&|json| json["auditor"] = "".into(), &|error| *error == VerdictRecordError::Auditor { found: 0 });
    let twice = serde_json::json!(["11".repeat(32), "11".repeat(32)]);
    refused(&|json| json["expectations"]["roots"] = twice.clone(), &|error| {
        *error == VerdictRecordError::Certificates { found: 2 }
    });

    // Nor is it signed in the first place.
    let mut unsorted = record.clone();
    unsorted.expectations.intermediates =
        vec![Sha256Digest::from_bytes([2; 32]), Sha256Digest::from_bytes([1; 32])];
    let signed = unsorted.sign(&auditor().public_key(), |_| panic!("nothing is signed"));
    assert_eq!(signed, Err(VerdictRecordError::Certificates { found: 2 }));
    let mut long = record;
    long.verdict.warnings = vec!["x".repeat(Envelope::BYTES_MAX)];
    let signed = long.sign(&auditor().public_key(), |_| vec![0; 64]);
    assert!(matches!(signed, Err(VerdictRecordError::TooLong { .. })));
}

#[test]
fn the_same_appraisal_gives_the_same_record_and_any_other_differs() {
    let Case { scene, evidence, record, .. } = case();
    let again = |evidence: &Evidence, nonce: &Nonce, at: UnixTime| {
        let mut expectations = expectations();
        expectations.nonce = Some(nonce.clone());
        let mut again = record.clone();
        again.evidence = Sha256Digest::of(&evidence.to_json());
        again.expectations.nonce = Some(nonce.clone());
        again.judged_at = at;
        again.verdict = RecordedVerdict::from(&appraise(evidence, &scene.manifest, &expectations, at));
        again
    };
    let mut same = again(&evidence, &scene::nonce(), scene::NOW);
    same.signed_at = UnixTime::from_secs(1);
    assert_eq!(record.difference(&same), None, "when it was signed is no part of an appraisal");
    let mut other = evidence.clone();
    other.taken_at = UnixTime::from_secs(1);
    assert_eq!(record.difference(&again(&other, &scene::nonce(), scene::NOW)), Some("evidence"));
    let nonce = Nonce::from([1; 32]);
    assert_eq!(record.difference(&again(&evidence, &nonce, scene::NOW)), Some("expectations"));
    let later = UnixTime::from_secs(scene::NOW.as_secs() + 1);
    assert_eq!(record.difference(&again(&evidence, &scene::nonce(), later)), Some("judged_at"));
    let mut claimed = record.clone();
    claimed.verdict.warnings.clear();
    assert_eq!(claimed.difference(&same), Some("verdict"));
    let mut older = record.clone();
    older.manifest.version = None;
    assert_eq!(record.difference(&older), Some("manifest"));
}

proptest! {
    #[test]
    fn a_changed_byte_is_never_taken(at in 0_usize..100_000, flip in 1_u8..) {
        let mut json = countersigned(&case().record).to_json();
        let at = at % json.len();
        json[at] ^= flip;
        if let Ok(signed) = CountersignedVerdict::parse(&json, &trusted()) {
            // Another spelling of the same envelope, such as white space.
            prop_assert_eq!(signed.record(), &case().record);
        }
    }

    #[test]
    fn any_record_reads_as_it_was_signed(
        name in ".{1,16}", warnings in proptest::collection::vec(".{0,40}", 0..5), secs in 0_u64..4_000_000_000,
    ) {
        let mut record = case().record;
        record.auditor = name;
        record.verdict.warnings = warnings;
        record.signed_at = UnixTime::from_secs(secs);
        let read = parse(&countersigned(&record)).unwrap();
        prop_assert_eq!(read.record(), &record);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = CountersignedVerdict::parse(&bytes, &trusted());
    }
}
