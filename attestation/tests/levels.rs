//! The four levels of a verdict on evidence: what fails one of them leaves the others as they are.
#![allow(clippy::unwrap_used)]

mod fake;
mod scene;

use fake::pcr_values;
use scene::{FAILED, NOT_SHOWN, PASSED, Scene, levels, nonce, refused};
use sealstone_attestation::{Level, Nonce, Purpose};

#[test]
fn old_evidence_is_authentic_but_not_fresh() {
    let scene = Scene::new();
    let old = Nonce::from([0x11; 32]);
    let mut evidence = scene.evidence_of(scene.sign(&scene.report()), Purpose::Evidence, &old);
    let verdict = scene.appraise(&evidence);
    refused(&verdict, "evidence.nonce");
    assert_eq!(levels(&verdict), [PASSED, FAILED, PASSED, NOT_SHOWN]);
    // It claims the right nonce, which its quote does not bear out.
    evidence.nonce = nonce();
    let verdict = scene.appraise(&evidence);
    refused(&verdict, "statement.bound");
    assert_eq!(levels(&verdict), [FAILED, FAILED, FAILED, NOT_SHOWN]);
}

#[test]
fn a_quote_made_for_a_session_is_no_evidence() {
    let scene = Scene::new();
    let mut evidence = scene.evidence_of(scene.sign(&scene.report()), Purpose::Session, &nonce());
    let verdict = scene.appraise(&evidence);
    refused(&verdict, "evidence.purpose");
    assert_eq!(levels(&verdict), [PASSED, FAILED, PASSED, NOT_SHOWN]);
    evidence.purpose = Purpose::Evidence;
    refused(&scene.appraise(&evidence), "statement.bound");
}

#[test]
fn the_four_levels_are_not_mixed() {
    let scene = Scene::new();
    assert_eq!(levels(&scene.appraise(&scene.evidence())), [PASSED, PASSED, PASSED, NOT_SHOWN]);
    let gap = scene.appraise(&scene.evidence()).levels().of(Level::CodeMeasured).detail.clone();
    assert_eq!(gap, "code.measured: the manifest says code = \"none\"");

    let mut elsewhere = Scene::new();
    elsewhere.machine.pcrs = pcr_values(&[(0, 0xa0), (4, 0xa4), (7, 0xff)]);
    let verdict = scene.appraise(&elsewhere.evidence());
    assert_eq!(levels(&verdict), [PASSED, PASSED, FAILED, NOT_SHOWN]);

    // Approved values under a forged signature approve nothing.
    let mut forged = scene.evidence();
    *forged.quote.signature.last_mut().unwrap() ^= 1;
    let verdict = scene.appraise(&forged);
    assert_eq!(levels(&verdict), [FAILED, FAILED, FAILED, NOT_SHOWN]);
    let detail = verdict.levels().of(Level::StateApproved).detail.clone();
    assert_eq!(detail, "state.approved: not reached: signature.valid did not pass");
    let detail = verdict.levels().of(Level::Fresh).detail.clone();
    assert!(detail.starts_with("not reached: not authentic, signature.valid: "), "{detail}");

    let mut unquoted = scene.evidence();
    unquoted.quote.pcrs = elsewhere.machine.pcrs;
    let verdict = scene.appraise(&unquoted);
    refused(&verdict, "pcr.digest");
    assert_eq!(levels(&verdict), [FAILED, FAILED, FAILED, NOT_SHOWN]);
}

#[test]
fn without_a_trusted_manifest_nothing_is_shown() {
    let verdict = sealstone_attestation::manifest_refused("not signed".to_owned());
    assert!(!verdict.accepted());
    assert_eq!(levels(&verdict), [NOT_SHOWN, NOT_SHOWN, FAILED, NOT_SHOWN]);
    assert_eq!(verdict.levels().of(Level::StateApproved).detail, "manifest.approved: not signed");
}
