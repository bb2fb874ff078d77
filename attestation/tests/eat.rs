//! Entity Attestation Tokens, byte by byte: what is claimed was found, deterministically encoded, in the right tags.
#![allow(clippy::unwrap_used)]

mod auditor;
mod fake;
mod scene;

use auditor::{auditor, record};
use coset::cbor::{Value, de::from_reader, ser::into_writer};
use scene::{NOW, Scene, nonce};
use sealstone_attestation::{
    Algorithm, Evidence, Protection, PublicKey, Purpose, Signature64, Verdict,
    eat::{AttestationResult, EatError, PROFILE},
};
use sha2::{Digest, Sha256};

fn token(scene: &Scene, evidence: &Evidence, verdict: &Verdict) -> Result<Vec<u8>, EatError> {
    let record = record(scene, evidence, verdict);
    let auditor = auditor();
    AttestationResult::of(&record, verdict, evidence)?
        .sign(&auditor.public_key(), |bytes| auditor.sign_bytes(bytes).as_bytes().to_vec())
}

fn decoded(bytes: &[u8]) -> Value {
    from_reader(bytes).unwrap()
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    into_writer(value, &mut bytes).unwrap();
    bytes
}

/// The payload's claims.
fn claims(token: &[u8]) -> Value {
    let Value::Tag(61, inner) = decoded(token) else { panic!("a CWT's tag") };
    let Value::Tag(18, inner) = *inner else { panic!("a COSE_Sign1's tag") };
    decoded(inner.as_array().unwrap()[2].as_bytes().unwrap())
}

fn claim(claims: &Value, key: i64) -> Option<&Value> {
    claims.as_map().unwrap().iter().find(|(found, _)| *found == Value::from(key)).map(|(_, value)| value)
}

/// Every map's keys are in order, all the way down (RFC 8949, section 4.2.1).
fn assert_deterministic(value: &Value) {
    match value {
        Value::Map(entries) => {
            let keys: Vec<Vec<u8>> = entries.iter().map(|(key, _)| encoded(key)).collect();
            assert!(keys.is_sorted_by(|one, next| one < next), "{value:?}");
            entries.iter().for_each(|(_, value)| assert_deterministic(value));
        }
        Value::Array(values) => values.iter().for_each(assert_deterministic),
        Value::Tag(_, value) => assert_deterministic(value),
        _ => (),
    }
}

#[test]
fn a_token_claims_what_was_found_and_its_signature_is_over_the_structure_of_rfc_9052() {
    let scene = Scene::new();
    let evidence = scene.evidence();
    let verdict = scene.appraise(&evidence);
    let bytes = token(&scene, &evidence, &verdict).unwrap();
    assert_eq!(bytes, token(&scene, &evidence, &verdict).unwrap());
    assert_eq!(bytes[..3], [0xd8, 61, 0xd2], "tag 61 (CWT), tag 18 (COSE_Sign1)");
    assert_eq!(encoded(&decoded(&bytes)), bytes, "shortest lengths, none indefinite");

    let Value::Tag(61, inner) = decoded(&bytes) else { panic!("a CWT") };
    let Value::Tag(18, inner) = *inner else { panic!("a COSE_Sign1") };
    let [protected, unprotected, payload, signature] =
        <[Value; 4]>::try_from(inner.into_array().unwrap()).unwrap();
    assert_eq!(unprotected, Value::Map(Vec::new()));
    let key_id = auditor().public_key().key_id();
    let header =
        Value::Map(vec![(1.into(), (-8).into()), (4.into(), Value::Bytes(key_id.as_bytes().to_vec()))]);
    assert_eq!(protected.as_bytes().unwrap(), &encoded(&header));
    let to_sign =
        Value::Array(vec!["Signature1".into(), protected, Value::Bytes(Vec::new()), payload.clone()]);
    let signature: [u8; 64] = signature.as_bytes().unwrap().as_slice().try_into().unwrap();
    let signature = Signature64::from_bytes(signature);
    auditor().public_key().verify_message(&encoded(&to_sign), &signature).unwrap();

    let claims = claims(&bytes);
    assert_deterministic(&claims);
    let at = |key| claim(&claims, key).unwrap_or_else(|| panic!("{key}"));
    assert_eq!(at(1), &Value::from("auditor"));
    assert_eq!(at(6), &Value::from(NOW.as_secs() + 60));
    assert_eq!(at(10).as_bytes().unwrap(), nonce().as_bytes());
    let name = Sha256::digest(evidence.ek.name().as_bytes());
    assert_eq!(at(256).as_bytes().unwrap(), &[&[1], name.as_slice()].concat());
    assert_eq!(at(265), &Value::from(PROFILE));
    let groups = at(274).as_array().unwrap();
    let results: usize =
        groups.iter().map(|group| group.as_array().unwrap()[1].as_array().unwrap().len()).sum();
    assert_eq!(results, verdict.checks().len());
    let levels = at(-70_001).as_map().unwrap();
    assert_eq!(levels.len(), 4);
    assert!(levels.contains(&("fresh".into(), "passed".into())));
    assert!(levels.contains(&("code_measured".into(), "not_shown".into())));
    assert_eq!(at(-70_003).as_bytes().unwrap(), Sha256::digest(evidence.to_json()).as_slice());
    assert_eq!(at(-70_005), &Value::from("node-1"));
    for unknown in [258, 259, 260, 262, 263, 270] {
        assert_eq!(claim(&claims, unknown), None, "of the machine nobody knows {unknown}");
    }
}

#[test]
fn debugging_is_said_to_be_disabled_only_where_each_protection_is_active() {
    let status = |active: &[(&str, bool)]| {
        let scene = Scene::new();
        let mut report = scene.report();
        let protection = |(name, active): &(&str, bool)| Protection {
            name: (*name).to_owned(),
            active: *active,
            detail: String::new(),
        };
        report.protections = active.iter().map(protection).collect();
        let evidence = scene.evidence_of(scene.sign(&report), Purpose::Evidence, &nonce());
        let claims = claims(&token(&scene, &evidence, &scene.appraise(&evidence)).unwrap());
        let enclave = claim(&claims, 266).unwrap().as_map().unwrap()[0].clone();
        assert_eq!(enclave.0, Value::from("enclave"));
        assert_eq!(claim(&enclave.1, 270), Some(&Value::from("sealstone-enclave")));
        assert_eq!(claim(&enclave.1, 271), Some(&Value::Array(vec!["0.1.0".into(), 16384.into()])));
        claim(&enclave.1, 263).unwrap().clone()
    };
    let all = [("not_dumpable", true), ("tracer_guard", true), ("ptrace_forbidden", true)];
    assert_eq!(status(&all), Value::from(1));
    assert_eq!(status(&[]), Value::from(0));
    for one in 0..all.len() {
        let mut less = all;
        less[one].1 = false;
        assert_eq!(status(&less), Value::from(0), "{less:?}");
    }
}

#[test]
fn what_is_not_authentic_becomes_no_token_and_what_did_not_pass_is_no_claim() {
    let scene = Scene::new();
    let mut forged = scene.evidence();
    *forged.quote.signature.last_mut().unwrap() ^= 1;
    let verdict = scene.appraise(&forged);
    assert!(matches!(token(&scene, &forged, &verdict), Err(EatError::NotAuthentic { .. })));
    let nothing = sealstone_attestation::manifest_refused("another authority".to_owned());
    assert!(matches!(token(&scene, &forged, &nothing), Err(EatError::NotAuthentic { .. })));

    // Authentic, but an answer to somebody else.
    let evidence = scene.evidence_of(scene.sign(&scene.report()), Purpose::Evidence, &[1; 32].into());
    let verdict = scene.appraise(&evidence);
    assert!(!verdict.accepted());
    let claims = claims(&token(&scene, &evidence, &verdict).unwrap());
    assert_eq!(claim(&claims, 10), None, "the auditor's nonce was not answered");
    let levels = claim(&claims, -70_001).unwrap().as_map().unwrap();
    assert!(levels.contains(&("fresh".into(), "failed".into())), "{levels:?}");
}

#[test]
fn another_verdict_and_another_algorithm_are_refused() {
    let scene = Scene::new();
    let evidence = scene.evidence();
    let verdict = scene.appraise(&evidence);
    let mut record = record(&scene, &evidence, &verdict);
    let k256 = hex::decode("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798").unwrap();
    let k256 = PublicKey::from_bytes(Algorithm::Es256k, &k256).unwrap();
    let result = AttestationResult::of(&record, &verdict, &evidence).unwrap();
    let signed = result.sign(&k256, |_| panic!("nothing is signed"));
    assert_eq!(signed, Err(EatError::Algorithm { found: Algorithm::Es256k }));
    record.verdict.warnings.push("more".to_owned());
    assert_eq!(AttestationResult::of(&record, &verdict, &evidence), Err(EatError::OtherVerdict));
}
