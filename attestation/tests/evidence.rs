//! Evidence in one file, appraised by whoever chose the nonce.
#![allow(clippy::unwrap_used)]

mod fake;
mod scene;

use std::time::Duration;

use fake::{Machine, Person, next, pcr_values, signed};
use scene::{FAILED, NOT_SHOWN, NOW, PASSED, Scene, expectations, levels, nonce, refused};
use sealstone_attestation::{
    Base64Bytes, ClockInfo, CodeMeasurement, DeploymentId, EnrolmentRecord, Envelope, EnvelopeSignature,
    Evidence, EvidenceError, Expectations, LogAnchor, Nonce, Outcome, PcrBank, PcrIndex, Purpose, Report,
    UnixTime, Verdict, appraise,
    audit::{Checkpoint, CoveredReceipts, Origin},
};

fn failed(verdict: &Verdict, check: &str) {
    assert_eq!(verdict.check(check).unwrap().result, Outcome::Failed, "{check}");
}

#[test]
fn honest_evidence_is_accepted_and_the_gaps_are_named() {
    let scene = Scene::new();
    let evidence = scene.evidence();
    let file = evidence.to_json();
    assert_eq!(Evidence::parse(&file).unwrap(), evidence);
    let verdict = scene.appraise(&Evidence::parse(&file).unwrap());
    assert!(verdict.accepted(), "{:?}", verdict.first_failure());
    let not_applicable: Vec<&str> =
        verdict.checks().iter().filter(|c| c.result == Outcome::NotApplicable).map(|c| c.name).collect();
    assert_eq!(
        not_applicable,
        [
            "clock.forward",
            "clock.counts",
            "firmware.allowed",
            "challenge",
            "evidence.age",
            "tpm.enrolled",
            "code.measured",
            "event_log",
            "ima"
        ]
    );
    let head = scene.head();
    let anchor = LogAnchor { size: 17, root: head.root, receipts: head.receipts, lag: 0 };
    assert_eq!(verdict.log(), Some(&anchor));
    assert_eq!(verdict.warnings().len(), 1);
    assert!(verdict.warnings()[0].contains("code = \"none\""));
}

#[test]
fn a_file_that_says_something_else_than_its_quote_is_refused() {
    let scene = Scene::new();
    let mut evidence = scene.evidence();
    evidence.nonce = Nonce::from([1; 32]);
    refused(&scene.appraise(&evidence), "statement.bound");
    let mut evidence = scene.evidence();
    evidence.purpose = Purpose::Session;
    refused(&scene.appraise(&evidence), "statement.bound");
    let mut evidence = scene.evidence();
    evidence.checkpoint.push(0);
    refused(&scene.appraise(&evidence), "statement.bound");
    let mut evidence = scene.evidence();
    evidence.checkpoint = vec![0; 70_000];
    refused(&scene.appraise(&evidence), "statement.bound");
}

#[test]
fn a_report_that_the_quote_does_not_bind_is_refused() {
    let scene = Scene::new();
    let mut evidence = scene.evidence();
    let mut report = scene.report();
    report.sequence = 99;
    evidence.report = scene.sign(&report);
    refused(&scene.appraise(&evidence), "statement.bound");
}

#[test]
fn a_report_signed_by_another_key_is_refused_even_when_quoted() {
    let scene = Scene::new();
    let forged = scene.report().sign(|pae| Person::new(41).sign_bytes(pae)).unwrap();
    let verdict = scene.appraise(&scene.evidence_of(forged, Purpose::Evidence, &nonce()));
    refused(&verdict, "report.signature");
    for unreached in ["report.manifest", "report.node", "evidence.age", "log.anchored"] {
        failed(&verdict, unreached);
        assert!(verdict.check(unreached).unwrap().detail.starts_with("not reached"));
    }
    let mut unsigned = scene.sign(&scene.report());
    unsigned.signatures.clear();
    refused(&scene.appraise(&scene.evidence_of(unsigned, Purpose::Evidence, &nonce())), "report.signature");
}

#[test]
fn a_report_of_another_manifest_node_or_deployment_is_refused() {
    let scene = Scene::new();
    let with = |change: &dyn Fn(&mut Report)| {
        let mut report = scene.report();
        change(&mut report);
        scene.appraise(&scene.evidence_of(scene.sign(&report), Purpose::Evidence, &nonce()))
    };
    refused(&with(&|report| report.manifest = fake::no_manifest()), "report.manifest");
    refused(&with(&|report| report.manifest_version = 2), "report.manifest");
    refused(
        &with(&|report| report.deployment = sealstone_attestation::DeploymentId::from_bytes([0; 16])),
        "report.manifest",
    );
    refused(&with(&|report| report.node = "node-2".to_owned()), "report.node");
}

#[test]
fn evidence_under_another_manifest_than_the_trusted_one_is_refused() {
    let scene = Scene::new();
    let newer = scene.manifest.succeed(&signed(&next(scene.manifest.manifest()), &[&scene.person])).unwrap();
    let verdict = appraise(&scene.evidence(), &newer, &expectations(), NOW);
    refused(&verdict, "manifest.same");
    failed(&verdict, "report.manifest");
    assert_eq!(levels(&verdict), [PASSED, PASSED, FAILED, NOT_SHOWN]);
    let mut evidence = scene.evidence();
    evidence.manifest = Envelope::parse(newer.envelope()).unwrap();
    let verdict = scene.appraise(&evidence);
    refused(&verdict, "statement.bound");
    failed(&verdict, "manifest.same");
    let mut evidence = scene.evidence();
    evidence.manifest.payload_type = "text/plain".to_owned();
    refused(&scene.appraise(&evidence), "manifest.same");
}

#[test]
fn keys_that_are_not_enrolled_together_are_refused() {
    let scene = Scene::new();
    let mut foreign = Scene::new();
    foreign.machine = Machine::new("node-1", 9);
    let verdict = scene.appraise(&foreign.evidence());
    refused(&verdict, "quote.magic");
    failed(&verdict, "ak.enrolled");
    assert!(verdict.check("quote.magic").unwrap().detail.contains("ak.enrolled"));
    // CVE-2021-3406: the EK of one machine beside the AK of another, both enrolled.
    let mut mixed = scene.evidence();
    mixed.ek = Machine::new("node-2", 2).ek.public();
    failed(&scene.appraise(&mixed), "ak.enrolled");
    let mut other = scene.evidence();
    other.ak = Machine::new("node-2", 2).ak.public();
    other.ek = Machine::new("node-2", 2).ek.public();
    failed(&scene.appraise(&other), "signature.valid");
}

#[test]
fn a_log_is_anchored_by_a_checkpoint_of_this_enclave_and_this_node_alone() {
    let scene = Scene::new();
    let mut report = scene.report();
    (report.era, report.sequence) = (3, 50);
    let with = |checkpoint: Vec<u8>| {
        let report = scene.sign(&report);
        scene.appraise(&scene.evidence_with(report, Purpose::Evidence, &nonce(), checkpoint))
    };
    let none = with(Vec::new());
    assert!(none.accepted());
    let check = none.check("log.anchored").unwrap();
    assert_eq!((check.result, none.log()), (Outcome::NotApplicable, None));
    assert!(check.detail.starts_with("without an anchor"), "{}", check.detail);

    for (era, sequence, lag) in [(3, 50, 0), (3, 40, 10), (3, 60, 0), (2, 70, 50)] {
        let head = Checkpoint { receipts: CoveredReceipts { era, sequence }, ..scene.head() };
        let verdict = with(scene.checkpoint(&head));
        assert!(verdict.accepted(), "{:?}", verdict.first_failure());
        assert_eq!(verdict.log().unwrap().lag, lag, "{era} {sequence}");
    }
    let later = Checkpoint { receipts: CoveredReceipts { era: 4, sequence: 0 }, ..scene.head() };
    refused(&with(scene.checkpoint(&later)), "log.anchored");

    let other_node = Origin::new(scene.head().origin.deployment(), "node-2").unwrap();
    refused(&with(scene.checkpoint(&Checkpoint { origin: other_node, ..scene.head() })), "log.anchored");
    let other_deployment = Origin::new(DeploymentId::from_bytes([9; 16]), "node-1").unwrap();
    refused(
        &with(scene.checkpoint(&Checkpoint { origin: other_deployment, ..scene.head() })),
        "log.anchored",
    );
    let foreign = Scene { enclave: Person::new(41), ..Scene::new() };
    refused(&with(foreign.checkpoint(&scene.head())), "log.anchored");
    let text = String::from_utf8(scene.checkpoint(&scene.head())).unwrap();
    for bad in [text.replace("\n17\n", "\n18\n"), scene.head().text(), "checkpoint 17".to_owned()] {
        refused(&with(bad.into_bytes()), "log.anchored");
    }
    // Genuine, but not what was quoted.
    let mut swapped = scene.evidence();
    swapped.checkpoint = scene.checkpoint(&Checkpoint { size: 18, ..scene.head() });
    refused(&scene.appraise(&swapped), "statement.bound");
    swapped.checkpoint.clear();
    refused(&scene.appraise(&swapped), "statement.bound");
}

#[test]
fn another_node_than_the_expected_one_is_refused() {
    let scene = Scene::new();
    let of = |node: &str| {
        let expected = Expectations { node: Some(node.to_owned()), ..expectations() };
        appraise(&scene.evidence(), &scene.manifest, &expected, NOW)
    };
    assert!(of("node-1").accepted());
    failed(&of("node-2"), "ak.enrolled");
    failed(&of(""), "ak.enrolled");
}

#[test]
fn old_evidence_and_evidence_from_the_future_are_refused() {
    let scene = Scene::new();
    let at = |seconds_later: i64, max_age: u64| {
        let expected = Expectations { max_age: Some(Duration::from_secs(max_age)), ..expectations() };
        let now = UnixTime::from_secs(NOW.as_secs().checked_add_signed(seconds_later).unwrap());
        appraise(&scene.evidence(), &scene.manifest, &expected, now)
    };
    assert!(at(0, 0).accepted());
    assert!(at(60, 60).accepted());
    assert!(at(-300, 60).accepted());
    refused(&at(61, 60), "evidence.age");
    refused(&at(-301, 60), "evidence.age");
}

#[test]
fn a_clock_that_went_back_is_refused() {
    let scene = Scene::new();
    let earlier = ClockInfo { clock: 5_000_001, reset_count: 7, restart_count: 2, safe: true };
    let expected = Expectations { previous_clock: Some(earlier), ..expectations() };
    refused(&appraise(&scene.evidence(), &scene.manifest, &expected, NOW), "clock.forward");
}

#[test]
fn a_machine_in_another_state_is_refused() {
    let mut scene = Scene::new();
    scene.machine.pcrs = pcr_values(&[(0, 0xa0), (4, 0xa4), (7, 0xff)]);
    refused(&scene.appraise(&scene.evidence()), "state.approved");
}

#[test]
fn code_that_must_be_measured_is_not_assumed() {
    for code in [CodeMeasurement::Verity, CodeMeasurement::Ima] {
        let scene = Scene::with(|draft| draft.code = code);
        refused(&scene.appraise(&scene.evidence()), "code.measured");
    }
}

/// A list of two entries (`ima-ng`), and PCR 10 of the SHA-256 bank after it.
fn measured() -> (Vec<u8>, Vec<u8>) {
    use sha2::{Digest as _, Sha256};
    let mut list = Vec::new();
    let mut pcr = vec![0; 32];
    for name in ["boot_aggregate", "/init"] {
        let sized = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat();
        let digest = [b"sha256:\0".as_slice(), &Sha256::digest(name)].concat();
        let data = [sized(&digest), sized(&[name.as_bytes(), &[0]].concat())].concat();
        let hash = Sha256::digest(&data);
        pcr = Sha256::digest([&pcr[..], &hash].concat()).to_vec();
        list.extend([&[10, 0, 0, 0][..], &hash, &sized(b"ima-ng"), &sized(&data)].concat());
    }
    (list, pcr)
}

#[test]
fn a_measurement_list_is_held_to_the_quoted_pcr_10() {
    let (list, pcr) = measured();
    let mut scene = Scene::new();
    scene.machine.pcrs.insert(PcrBank::Sha256, PcrIndex::new(10).unwrap(), pcr).unwrap();
    let with = |list: &[u8]| {
        let mut evidence = scene.evidence();
        evidence.ima_log = Some(Base64Bytes(list.to_vec()));
        scene.appraise(&evidence)
    };
    let verdict = with(&list);
    assert!(verdict.accepted(), "{:?}", verdict.first_failure());
    let check = verdict.check("ima").unwrap();
    assert_eq!(check.result, Outcome::Passed);
    assert!(check.detail.contains("PCR 10 of bank sha256 after 2 entries"), "{}", check.detail);
    assert!(check.detail.contains("not tied: the boot aggregate"), "{}", check.detail);

    let mut changed = list.clone();
    *changed.last_mut().unwrap() = 1;
    refused(&with(&changed), "ima");
    let mut other_digest = list.clone();
    other_digest[10] ^= 1;
    refused(&with(&other_digest), "ima");
    refused(&with(b"not a list"), "ima");
    refused(&with(b""), "ima");
    refused(&with(&list[..list.len() / 2]), "ima");
}

#[test]
fn a_measurement_list_that_the_quote_does_not_cover_is_said_to_be_untied() {
    let scene = Scene::new();
    let mut evidence = scene.evidence();
    evidence.ima_log = Some(Base64Bytes(measured().0));
    let verdict = scene.appraise(&evidence);
    assert!(verdict.accepted(), "{:?}", verdict.first_failure());
    assert!(verdict.check("ima").unwrap().detail.contains("not tied: the quote does not cover PCR 10"));
    assert!(verdict.warnings().iter().any(|warning| warning.contains("not tied to the quote")));
    // Nothing is said of a list beside values that nobody signed.
    let mut value = evidence.clone();
    value.quote.pcrs = pcr_values(&[(0, 0xa0), (4, 0xa4), (7, 0xff)]);
    let verdict = scene.appraise(&value);
    refused(&verdict, "pcr.digest");
    assert!(verdict.check("ima").unwrap().detail.starts_with("not reached"));
}

#[test]
fn a_protection_that_is_off_and_missing_shares_are_warned_of() {
    let scene = Scene::new();
    let mut report = scene.report();
    report.protections[0].active = false;
    report.unfunded = true;
    let verdict = scene.appraise(&scene.evidence_of(scene.sign(&report), Purpose::Evidence, &nonce()));
    assert!(verdict.accepted());
    assert_eq!(verdict.warnings().len(), 3);
    assert!(verdict.warnings()[0].contains("\"yama\""));
}

#[test]
fn a_file_that_is_not_exactly_evidence_is_refused() {
    let scene = Scene::new();
    let shown = Evidence { event_log: Some(Base64Bytes(b"log".to_vec())), ..scene.evidence() };
    let text = String::from_utf8(shown.to_json()).unwrap();
    for (from, to) in [
        ("\"purpose\":\"evidence\"", "\"purpose\":\"Evidence\""),
        ("\"purpose\":\"evidence\"", "\"purpose\":\"evidence\",\"x\":1"),
        ("\"nonce\":\"", "\"nonce\":\"\",\"nonce\":\""),
        ("\"checkpoint\":\"", "\"checkpoint\":\"0"),
        ("\"event_log\":\"", "\"event_log\":\"="),
        ("\"attest\":\"ff", "\"attest\":\"xx"),
        ("\"signatures\":[{", "\"signatures\":[{\"x\":1,"),
    ] {
        assert!(text.contains(from), "{from}");
        let edited = text.replacen(from, to, 1);
        let parsed = Evidence::parse(edited.as_bytes());
        assert!(matches!(parsed, Err(EvidenceError::Malformed(_))), "{to}");
    }
    let short = format!("\"nonce\":\"{}\"", "5a".repeat(15));
    let edited = text.replacen(&format!("\"nonce\":\"{}\"", "5a".repeat(32)), &short, 1);
    assert!(matches!(Evidence::parse(edited.as_bytes()), Err(EvidenceError::Malformed(_))));
    let edited = text.replacen("\"format\":1", "\"format\":2", 1);
    assert_eq!(Evidence::parse(edited.as_bytes()), Err(EvidenceError::Format { found: 2 }));
    let mut many = scene.evidence();
    many.ek_certificates = vec![sealstone_attestation::HexBytes(vec![0x30]); 9];
    assert_eq!(Evidence::parse(&many.to_json()), Err(EvidenceError::Certificates { found: 9 }));
    many.ek_certificates.clear();
    many.checkpoint = vec![0; 65_536];
    assert_eq!(Evidence::parse(&many.to_json()), Err(EvidenceError::Checkpoint { found: 65_536 }));
    for length in (0..text.len()).step_by(97) {
        assert!(Evidence::parse(&text.as_bytes()[..length]).is_err());
    }
}

/// The record of this machine's enrolment, and what is done to it before it is signed.
fn enrolled(scene: &Scene, signer: &Person, change: impl FnOnce(&mut EnrolmentRecord)) -> Evidence {
    let mut record = EnrolmentRecord {
        format: 1,
        ek: scene.machine.ek.public(),
        ak: scene.machine.ak.public(),
        ek_certificate: None,
        root: None,
        manufacturer: Some("id:49424D00".to_owned()),
        firmware_version: fake::FIRMWARE,
        remarks: Vec::new(),
        activated_at: NOW,
    };
    change(&mut record);
    let (payload_type, payload) = (EnrolmentRecord::PAYLOAD_TYPE.to_owned(), record.to_json());
    let sig = signer.sign_bytes(&Envelope::pae(&payload_type, &payload)).as_bytes().to_vec();
    let keyid = signer.public_key().key_id().to_string();
    let envelope = Envelope { payload_type, payload, signatures: vec![EnvelopeSignature { keyid, sig }] };
    Evidence { enrolment: Some(envelope), ..scene.evidence() }
}

#[test]
fn an_enrolment_record_counts_only_of_this_machine_and_by_an_authority() {
    let scene = Scene::new();
    let appraised =
        |signer: &Person, change: fn(&mut EnrolmentRecord)| scene.appraise(&enrolled(&scene, signer, change));
    let verdict = appraised(&scene.person, |_| ());
    assert!(verdict.accepted(), "{verdict:?}");
    assert_eq!(verdict.check("tpm.enrolled").unwrap().result, Outcome::Passed);

    refused(&appraised(&Person::new(9), |_| ()), "tpm.enrolled");
    refused(&appraised(&scene.enclave, |_| ()), "tpm.enrolled");
    refused(&appraised(&scene.person, |record| record.format = 2), "tpm.enrolled");
    refused(
        &appraised(&scene.person, |record| record.ak = Machine::new("node-2", 2).ak.public()),
        "tpm.enrolled",
    );
    refused(
        &appraised(&scene.person, |record| record.ek = Machine::new("node-2", 2).ek.public()),
        "tpm.enrolled",
    );
    refused(&appraised(&scene.person, |record| record.ak = record.ek.clone()), "tpm.enrolled");
    let mut retyped = enrolled(&scene, &scene.person, |_| ());
    retyped.enrolment.as_mut().unwrap().payload_type = "application/json".to_owned();
    refused(&scene.appraise(&retyped), "tpm.enrolled");
    let mut unsigned = enrolled(&scene, &scene.person, |_| ());
    unsigned.enrolment.as_mut().unwrap().signatures.clear();
    refused(&scene.appraise(&unsigned), "tpm.enrolled");
    let mut manifest = scene.evidence();
    manifest.enrolment = Some(manifest.manifest.clone());
    refused(&scene.appraise(&manifest), "tpm.enrolled");
}

#[test]
fn the_firmware_of_an_enrolment_is_the_quote_s_and_not_what_the_node_told() {
    let scene = Scene::new();
    let appraised =
        |change: fn(&mut EnrolmentRecord)| scene.appraise(&enrolled(&scene, &scene.person, change));
    let told = appraised(|record| record.firmware_version = 1);
    assert!(
        told.accepted() && told.warnings().iter().any(|warning| warning.contains("enrolled as")),
        "{told:?}"
    );
}

#[test]
fn a_flaw_of_the_quoted_firmware_is_refused_unless_the_authority_knew_of_it() {
    const FLAWED: u64 = 71 << 48;
    let mut scene = Scene::new();
    scene.machine.firmware = FLAWED;
    let appraised = |change: fn(&mut EnrolmentRecord)| {
        scene.appraise(&enrolled(&scene, &scene.person, |record| {
            record.manufacturer = Some("id:53544D20".to_owned());
            change(record);
        }))
    };
    // The record may say what it wants of the version: the quote has it from the TPM.
    for verdict in [appraised(|_| ()), appraised(|record| record.firmware_version = FLAWED)] {
        refused(&verdict, "tpm.enrolled");
        assert!(verdict.check("tpm.enrolled").unwrap().detail.contains("CVE-2019-16863"));
        assert_eq!(levels(&verdict), [FAILED, FAILED, FAILED, NOT_SHOWN]);
    }
    refused(&appraised(|record| record.remarks = vec!["CVE-2017-15361".to_owned()]), "tpm.enrolled");
    let known =
        appraised(|record| record.remarks = vec!["the firmware leaks (CVE-2019-16863), accepted".to_owned()]);
    assert!(known.accepted() && known.warnings().iter().any(|warning| warning.contains("CVE-2019-16863")));
    assert!(appraised(|record| record.manufacturer = Some("id:49424D00".to_owned())).accepted());
}
