//! A record of the challenge: whose nonce evidence answers, and since when, for a reader who did not ask.
#![allow(clippy::unwrap_used)]

mod fake;
mod scene;

use std::time::Duration;

use fake::Person;
use scene::{FAILED, NOT_SHOWN, NOW, PASSED, Scene, expectations, levels, nonce};
use sealstone_attestation::{
    ChallengeError, ChallengeRecord, DeploymentId, Envelope, EnvelopeSignature, Evidence, EvidenceError,
    Expectations, Level, Nonce, Outcome, UnixTime, Verdict, VerifiedChallenge, appraise,
};

fn auditor() -> Person {
    Person::new(77)
}

fn seconds(offset: i64) -> UnixTime {
    UnixTime::from_secs(NOW.as_secs().checked_add_signed(offset).unwrap())
}

fn record() -> ChallengeRecord {
    ChallengeRecord {
        format: 1,
        nonce: nonce(),
        who: "Auditor & Co".to_owned(),
        chosen_at: seconds(-60),
        not_after: None,
        deployment: None,
        node: None,
    }
}

fn signed(record: &ChallengeRecord, signer: &Person) -> Envelope {
    let (payload_type, payload) = (ChallengeRecord::PAYLOAD_TYPE.to_owned(), record.to_json());
    let sig = signer.sign_bytes(&Envelope::pae(&payload_type, &payload)).as_bytes().to_vec();
    let signatures = vec![EnvelopeSignature { keyid: signer.public_key().key_id().to_string(), sig }];
    Envelope { payload_type, payload, signatures }
}

/// The verdict of somebody who trusts the auditor and did not ask themselves.
fn judged(envelope: Option<Envelope>) -> Verdict {
    judged_as(
        envelope,
        Expectations { nonce: None, challenger: Some(auditor().public_key()), ..expectations() },
    )
}

fn judged_as(envelope: Option<Envelope>, expectations: Expectations) -> Verdict {
    let scene = Scene::new();
    let evidence = Evidence { challenge: envelope, ..scene.evidence() };
    let evidence = Evidence::parse(&evidence.to_json()).unwrap();
    appraise(&evidence, &scene.manifest, &expectations, NOW)
}

fn of(change: impl FnOnce(&mut ChallengeRecord)) -> Verdict {
    let mut record = record();
    change(&mut record);
    judged(Some(signed(&record, &auditor())))
}

fn refused(verdict: &Verdict, why: &str) {
    assert!(!verdict.accepted(), "{why}");
    let check = verdict.check("challenge").unwrap();
    assert_eq!(check.result, Outcome::Failed, "{why}");
    assert!(check.detail.contains(why), "{why}: {}", check.detail);
    assert_eq!(levels(verdict), [PASSED, FAILED, PASSED, NOT_SHOWN]);
}

#[test]
fn a_signed_challenge_says_for_whom_and_since_when_evidence_is_fresh() {
    let verdict = of(|_| ());
    assert!(verdict.accepted(), "{:?}", verdict.first_failure());
    let fresh = verdict.levels().of(Level::Fresh).detail.clone();
    for part in [
        "Auditor & Co",
        &seconds(-60).to_string(),
        &NOW.to_string(),
        &auditor().public_key().key_id().to_string(),
    ] {
        assert!(fresh.contains(part), "{part}: {fresh}");
    }
    let named = of(|record| {
        record.node = Some("node-1".to_owned());
        record.deployment = Some(DeploymentId::from_bytes([0xd0; 16]));
        record.not_after = Some(NOW);
    });
    assert!(named.accepted(), "{:?}", named.first_failure());
    // Beside a nonce of the reader's own both must hold.
    let both = Expectations { challenger: Some(auditor().public_key()), ..expectations() };
    assert!(judged_as(Some(signed(&record(), &auditor())), both.clone()).accepted());
    let other = Expectations { nonce: Some(Nonce::from([1; 32])), ..both };
    let verdict = judged_as(Some(signed(&record(), &auditor())), other);
    assert_eq!(verdict.first_failure().unwrap().name, "evidence.nonce");
}

#[test]
fn a_challenge_to_another_or_at_another_time_is_refused() {
    refused(&of(|record| record.node = Some("node-2".to_owned())), "the node that was asked");
    refused(
        &of(|record| record.deployment = Some(DeploymentId::from_bytes([1; 16]))),
        "challenge to deployment",
    );
    refused(&of(|record| record.chosen_at = seconds(301)), "chosen by");
    refused(&of(|record| record.not_after = Some(seconds(-1))), "made by");
    assert!(of(|record| record.chosen_at = seconds(300)).accepted(), "clocks differ");
    // Made before the nonce was chosen: by the enclave's clock, which is the host's.
    let scene = Scene::new();
    let mut report = scene.report();
    report.time = seconds(-400);
    let evidence = scene.evidence_of(scene.sign(&report), sealstone_attestation::Purpose::Evidence, &nonce());
    let evidence = Evidence { challenge: Some(signed(&record(), &auditor())), ..evidence };
    let expected = Expectations { nonce: None, challenger: Some(auditor().public_key()), ..expectations() };
    refused(&appraise(&evidence, &scene.manifest, &expected, NOW), "made after");
}

#[test]
fn a_challenge_that_the_challenger_did_not_sign_is_refused() {
    let refused_alone = |envelope: Option<Envelope>, why: &str| {
        let verdict = judged(envelope);
        refused(&verdict, why);
        // Whose nonce it is is then not known.
        assert_eq!(verdict.check("evidence.nonce").unwrap().detail, "not reached: challenge did not pass");
    };
    refused_alone(None, "found none");
    refused_alone(Some(signed(&record(), &Person::new(78))), "");
    let mut changed = signed(&record(), &auditor());
    changed.payload = ChallengeRecord { who: "Somebody".to_owned(), ..record() }.to_json();
    refused_alone(Some(changed), "");
    let mut unsigned = signed(&record(), &auditor());
    unsigned.signatures.clear();
    refused_alone(Some(unsigned), "");
    let mut twice = signed(&record(), &auditor());
    twice.signatures.push(twice.signatures[0].clone());
    refused_alone(Some(twice), "");
    let retyped = |payload_type: &str| {
        let payload = record().to_json();
        let sig = auditor().sign_bytes(&Envelope::pae(payload_type, &payload)).as_bytes().to_vec();
        let signatures = vec![EnvelopeSignature { keyid: auditor().public_key().key_id().to_string(), sig }];
        Envelope { payload_type: payload_type.to_owned(), payload, signatures }
    };
    refused_alone(Some(retyped("application/vnd.sealstone.manifest.v1+json")), "expected an envelope of");
    refused_alone(Some(signed(&ChallengeRecord { format: 2, ..record() }, &auditor())), "format 1, found 2");
    let other = signed(&ChallengeRecord { nonce: Nonce::from([1; 32]), ..record() }, &auditor());
    assert_eq!(judged(Some(other)).first_failure().unwrap().name, "evidence.nonce");
}

#[test]
fn a_record_that_nobody_asked_about_is_said_and_not_checked() {
    let verdict = judged_as(Some(signed(&record(), &Person::new(78))), expectations());
    assert!(verdict.accepted());
    let check = verdict.check("challenge").unwrap();
    assert_eq!(check.result, Outcome::NotApplicable);
    assert!(check.detail.starts_with("said, not checked: \"Auditor & Co\""), "{}", check.detail);
    assert!(
        verdict.warnings().iter().any(|warning| warning.starts_with("of the challenge: said, not checked"))
    );
    // Nobody asked at all.
    let nobody = Expectations { nonce: None, ..expectations() };
    let verdict = judged_as(Some(signed(&record(), &auditor())), nobody);
    assert_eq!(verdict.first_failure().unwrap().name, "evidence.nonce");
    assert_eq!(levels(&verdict), [PASSED, FAILED, PASSED, NOT_SHOWN]);
}

#[test]
fn a_record_beyond_its_bounds_is_none() {
    let parse = |record: &ChallengeRecord| {
        VerifiedChallenge::from_envelope(&signed(record, &auditor()), &auditor().public_key())
    };
    assert!(parse(&record()).is_ok());
    for who in [String::new(), "x".repeat(65)] {
        let found = who.len();
        assert_eq!(parse(&ChallengeRecord { who, ..record() }), Err(ChallengeError::Name { found }));
    }
    let node = Some("x".repeat(65));
    assert_eq!(parse(&ChallengeRecord { node, ..record() }), Err(ChallengeError::Name { found: 65 }));
    let not_after = Some(seconds(-61));
    assert_eq!(parse(&ChallengeRecord { not_after, ..record() }), Err(ChallengeError::Ended));
    let mut long = signed(&record(), &auditor());
    long.payload.resize(ChallengeRecord::BYTES_MAX + 1, b' ');
    let evidence = Evidence { challenge: Some(long), ..Scene::new().evidence() };
    assert_eq!(
        Evidence::parse(&evidence.to_json()),
        Err(EvidenceError::Challenge { found: ChallengeRecord::BYTES_MAX + 1 })
    );
    let extra = String::from_utf8(record().to_json()).unwrap().replacen('{', "{\"x\":1,", 1);
    let payload_type = ChallengeRecord::PAYLOAD_TYPE.to_owned();
    let envelope = Envelope { payload_type, payload: extra.into_bytes(), signatures: Vec::new() };
    assert!(matches!(ChallengeRecord::danger_read_unverified(&envelope), Err(ChallengeError::Malformed(_))));
}

#[test]
fn old_answers_to_a_challenge_are_as_old_as_it_says() {
    // The same file a year later is still fresh for that challenge; an age is asked apart.
    let scene = Scene::new();
    let evidence = Evidence { challenge: Some(signed(&record(), &auditor())), ..scene.evidence() };
    let later = seconds(365 * 86_400);
    let expected = Expectations { nonce: None, challenger: Some(auditor().public_key()), ..expectations() };
    assert!(appraise(&evidence, &scene.manifest, &expected, later).accepted());
    let expected = Expectations { max_age: Some(Duration::from_secs(3600)), ..expected };
    let verdict = appraise(&evidence, &scene.manifest, &expected, later);
    assert_eq!(verdict.first_failure().unwrap().name, "evidence.age");
}
