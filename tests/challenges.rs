//! Stories of an auditor who asks by a signed challenge, and of a reader who only trusts that auditor's key.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use sealstone_attestation::{Envelope, Evidence, Purpose};
use serde_json::Value;
use support::Desk;
use support::evidence::evidence_over;

/// A desk with an approved manifest `v1`, an auditor's key and their challenge, and the evidence that answers it.
fn answered(options: &str) -> (Desk, String, Evidence) {
    let desk = Desk::with_proposal(&["alice"], 1);
    desk.done("manifest sign v1 --key alice.key");
    desk.done("authority new auditor");
    desk.done("authority new other");
    let made = desk.done(&format!("challenge new --key auditor.key -o challenge.json {options}"));
    let authority = desk.done("authority digest alice.pub")["authority"].as_str().unwrap().to_owned();
    let nonce = made["nonce"].as_str().unwrap();
    let mut evidence = evidence_over(nonce, &desk.read("v1"), 1, 0, Purpose::Evidence, |_| Vec::new());
    evidence.challenge = Some(Envelope::parse(&desk.read("challenge.json")).unwrap());
    desk.write("evidence.json", evidence.to_json());
    (desk, authority, evidence)
}

fn failed(json: &Value) -> Vec<&str> {
    let checks = json["checks"].as_array().unwrap().iter();
    checks.filter(|check| check["result"] == "failed").map(|check| check["name"].as_str().unwrap()).collect()
}

#[test]
fn a_reader_who_did_not_ask_trusts_the_challenger_s_key() {
    let (desk, authority, evidence) = answered("--node node-1 --valid 3600");
    let verify = |options: &str| desk.run(&format!("verify evidence.json --authority {authority} {options}"));
    let accepted = verify("--challenger auditor.pub");
    assert_eq!(accepted.exit, 0, "{}", accepted.json);
    let fresh = accepted.json["levels"]["fresh"]["detail"].as_str().unwrap();
    assert!(fresh.contains("\"auditor\"") && fresh.contains("chose the nonce at"), "{fresh}");
    assert_eq!(verify(&format!("--challenger auditor.pub --nonce {}", evidence.nonce)).exit, 0);

    // By the nonce alone the record is somebody's word.
    let said = verify(&format!("--nonce {}", evidence.nonce));
    assert_eq!(said.exit, 0);
    assert!(said.json["warnings"].to_string().contains("said, not checked"), "{}", said.json);

    let foreign = verify("--challenger other.pub");
    assert_eq!(foreign.exit, 1);
    assert_eq!(failed(&foreign.json), ["evidence.nonce", "challenge"]);
    assert_eq!(foreign.json["levels"]["fresh"]["result"], "failed");
    assert_eq!(foreign.json["levels"]["authentic"]["result"], "passed");
    let other_nonce = verify(&format!("--challenger auditor.pub --nonce {}", "ab".repeat(32)));
    assert_eq!(failed(&other_nonce.json), ["evidence.nonce"]);
}

#[test]
fn a_challenge_to_another_node_or_without_a_record_is_refused() {
    let (desk, authority, mut evidence) = answered("--node node-2");
    let line = format!("verify evidence.json --authority {authority} --challenger auditor.pub");
    assert_eq!(failed(&desk.run(&line).json), ["challenge"]);
    evidence.challenge = None;
    desk.write("evidence.json", evidence.to_json());
    let outcome = desk.run(&line);
    assert_eq!((outcome.exit, failed(&outcome.json)), (1, vec!["evidence.nonce", "challenge"]));
}

#[test]
fn without_anybody_who_asked_evidence_is_not_judged() {
    let (desk, authority, _) = answered("");
    desk.fails(&format!("verify evidence.json --authority {authority}"), 2, "USAGE");
    desk.fails(
        &format!("verify evidence.json --authority {authority} --challenger absent"),
        2,
        "FILE_UNREADABLE",
    );
    desk.fails(
        &format!("verify evidence.json --authority {authority} --challenger alice.key"),
        2,
        "KEY_UNREADABLE",
    );
}

#[test]
fn challenges_are_new_each_time_and_replace_nothing() {
    let desk = Desk::new();
    desk.done("authority new auditor --algorithm ES256");
    let made: Vec<Value> =
        (0..4).map(|number| desk.done(&format!("challenge new --key auditor.key -o c{number}"))).collect();
    for (place, one) in made.iter().enumerate() {
        assert_eq!(one["nonce"].as_str().unwrap().len(), 64);
        assert!(made[..place].iter().all(|other| other["nonce"] != one["nonce"]));
        assert_eq!(one["who"], "auditor");
    }
    let before = desk.read("c0");
    assert_eq!(desk.run("challenge new --key auditor.key -o c0").exit, 2);
    assert_eq!(desk.read("c0"), before);
    desk.fails("challenge new --key auditor.pub -o c9", 2, "FILE_MODE");
    desk.fails(&format!("challenge new --key auditor.key --who {} -o c9", "x".repeat(65)), 2, "CHALLENGE");
    assert!(!desk.at("c9").exists());
}
