//! Evidence of a real node on swtpm, and what was forged from it, by the program of `examples/verify.rs`.
#![allow(clippy::unwrap_used)]

#[path = "../examples/verify.rs"]
#[allow(dead_code, reason = "its `main` is the example's")]
mod program;

use std::path::Path;

use sealstone_attestation::Outcome;

/// The nonce of the evidence.
const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Each forgery, and the first check that it fails.
const FORGED: [(&str, &str); 6] = [
    ("forged_quote.json", "signature.valid"),
    ("forged_signature.json", "signature.valid"),
    ("forged_value.json", "pcr.digest"),
    ("forged_nonce.json", "statement.bound"),
    ("forged_report.json", "statement.bound"),
    ("forged_key.json", "ak.enrolled"),
];

fn file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/node").join(name).to_str().unwrap().to_owned()
}

#[test]
fn the_evidence_of_a_node_is_accepted_and_printed() {
    let verdict = program::judged(&file("evidence.json"), &file("manifest.json"), NONCE).unwrap();
    let shown = program::shown(&verdict);
    assert!(verdict.accepted(), "{shown}");
    assert!(shown.contains("Passed signature.valid: ") && shown.ends_with("\naccepted"), "{shown}");
}

#[test]
fn what_was_forged_is_refused_by_the_check_that_finds_it() {
    for (name, expected) in FORGED {
        let verdict = program::judged(&file(name), &file("manifest.json"), NONCE).unwrap();
        assert!(!verdict.accepted(), "{name}");
        let check = verdict.check(expected).unwrap();
        assert_eq!(check.result, Outcome::Failed, "{name}: {}", program::shown(&verdict));
        assert!(!check.detail.starts_with("not reached"), "{name}: {}", check.detail);
        assert!(program::shown(&verdict).ends_with("\nrefused"));
    }
}

#[test]
fn another_nonce_is_refused_and_other_files_are_unusable() {
    let verdict = program::judged(&file("evidence.json"), &file("manifest.json"), &"11".repeat(32)).unwrap();
    assert_eq!(verdict.check("evidence.nonce").unwrap().result, Outcome::Failed);
    for (evidence, manifest, nonce) in [
        ("manifest.json", "manifest.json", NONCE),
        ("evidence.json", "evidence.json", NONCE),
        ("evidence.json", "absent", NONCE),
        ("evidence.json", "manifest.json", "00"),
        ("README.md", "manifest.json", NONCE),
    ] {
        assert!(program::judged(&file(evidence), &file(manifest), nonce).is_err(), "{evidence} {manifest}");
    }
}

#[test]
fn each_file_of_the_folder_is_tried() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/node");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("forged_"))
        .collect();
    names.sort();
    let mut tried: Vec<String> = FORGED.map(|(name, _)| name.to_owned()).to_vec();
    tried.sort();
    assert_eq!(names, tried);
}
