//! Stories with an agent that answers as the test says: honest, refusing, lying or broken.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use ed25519_dalek::Signer as _;
use sealstone_attestation::{Algorithm, PublicKey, Purpose};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Desk, enrolment};

/// What was asked: the request line and the body.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// Serves every request with the same answer, at `agent.sock` in the desk's folder.
fn agent(desk: &Desk, status: u16, body: impl ToString) -> Asked {
    let _ = std::fs::remove_file(desk.at("agent.sock"));
    let listener = UnixListener::bind(desk.at("agent.sock")).unwrap();
    let asked = Asked::default();
    let (seen, body) = (Arc::clone(&asked), body.to_string());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap(), status, &body, &seen);
        }
    });
    asked
}

fn serve(mut stream: UnixStream, status: u16, body: &str, seen: &Asked) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let mut sent = vec![0; length];
    reader.read_exact(&mut sent).unwrap();
    seen.lock().unwrap().push((line.trim().to_owned(), serde_json::from_slice(&sent).unwrap_or(Value::Null)));
    // The peer may have hung up when the answer is one that it refuses to read.
    let _ = write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}

fn problem(code: &str, status: u16) -> Value {
    json!({"type": "urn:sealstone:problem:x", "title": "t", "status": status, "detail": "expected a, found b",
           "code": code, "request_id": "r-1"})
}

/// An honest answer to `sign --payload 706179` by an Ed25519 key.
fn signed() -> Value {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let public = PublicKey::from_bytes(Algorithm::EdDsa, key.verifying_key().as_bytes()).unwrap();
    json!({
        "signature": hex::encode(key.sign(b"pay").to_bytes()), "der": null,
        "public_key": hex::encode(public.as_bytes()), "key_id": public.key_id(), "algorithm": "EdDSA", "epoch": 0,
        "binding": "00".repeat(32), "digest": hex::encode(Sha256::digest(b"pay")), "recovery_id": null,
        "signer": "enclave", "attested_until": "2030-01-01T00:00:00Z", "request_id": "r", "unfunded": true,
        "request_digest": "11".repeat(32), "receipt": {"era": 1, "sequence": 2},
    })
}

fn asset() -> Value {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let public = PublicKey::from_bytes(Algorithm::EdDsa, key.verifying_key().as_bytes()).unwrap();
    json!({
        "tenant": "acme", "asset": "a/b c", "algorithm": "EdDSA", "epoch": 3, "binding": "00".repeat(32),
        "key_id": public.key_id(), "public_key": hex::encode(public.as_bytes()), "jwk": public.jwk(),
        "since": "2026-11-21T03:00:00Z", "unfunded": false,
    })
}

fn status(ready: bool) -> Value {
    json!({
        "ready": ready, "agent_version": "0.1.0", "enclave": null, "reservations": {"signed": 3},
        "reasons": if ready { json!([]) } else { json!([{"code": "X", "detail": "expected a, found b", "action": "do c"}]) },
        "tpm": {"tcti": "device:/dev/tpmrm0", "reachable": true, "fault": null},
        "store": {"kind": "sqlite", "version": 2},
        "rules": {"policy": "ab".repeat(32), "sanctions": null, "prices": null},
        "log": {
            "size": 9, "checkpoint": {"size": 8, "newest_record": "2026-11-21T03:00:00Z"}, "uncovered_records": 1,
            "uncovered_since": "2026-11-21T03:00:01Z", "uncovered_receipts": 1, "uncovered_receipts_max": 16384,
        },
    })
}

const SIGN: &str = "sign --tenant acme --asset hot --nonce 7 --payload 706179";

#[test]
fn a_signature_is_printed_written_and_asked_for_as_typed() {
    let desk = Desk::new();
    let asked = agent(&desk, 200, signed());
    let answer = desk.done(&format!("{SIGN} --chain-id 5 --out sig"));
    for field in [
        "signature",
        "der",
        "public_key",
        "key_id",
        "algorithm",
        "epoch",
        "binding",
        "digest",
        "signer",
        "attested_until",
        "request_id",
    ] {
        assert!(answer.get(field).is_some(), "{field}");
    }
    assert_eq!(hex::encode(desk.read("sig")), answer["signature"].as_str().unwrap());
    let (line, body) = asked.lock().unwrap()[0].clone();
    assert_eq!(line, "POST /v1/sign HTTP/1.1");
    assert_eq!(
        body,
        json!({"tenant": "acme", "asset": "hot", "chain_id": 5, "nonce": 7, "payload": "706179", "format": "opaque"})
    );
    desk.done("sign --tenant acme --sender s --algorithm EdDSA --nonce 7 --payload 706179");
    assert_eq!(asked.lock().unwrap()[1].1["session"], json!({"sender": "s", "algorithm": "EdDSA"}));
    desk.fails(&format!("{SIGN} --der-out der"), 2, "NO_DER");
    assert!(!desk.at("der").exists());
}

#[test]
fn openssl_verifies_what_was_written() {
    let desk = Desk::new();
    agent(&desk, 200, signed());
    desk.done(&format!("{SIGN} --out sig"));
    desk.write("message", "pay");
    agent(&desk, 200, asset());
    let pem = desk.command("key --tenant acme --asset hot --pem").output().unwrap();
    desk.write("key.pem", &pem.stdout);
    let verified = std::process::Command::new("openssl")
        .args("pkeyutl -verify -pubin -inkey key.pem -rawin -in message -sigfile sig".split(' '))
        .current_dir(desk.path())
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn a_lying_agent_is_found_out_and_nothing_is_printed_or_written() {
    let desk = Desk::new();
    let mut flipped = signed();
    flipped["signature"] = format!("00{}", &flipped["signature"].as_str().unwrap()[2..]).into();
    let mut other_digest = signed();
    other_digest["digest"] = hex::encode(Sha256::digest(b"pay more")).into();
    let mut other_key = signed();
    other_key["key_id"] = json!("A".repeat(43));
    for lie in [flipped, other_digest, other_key] {
        agent(&desk, 200, lie);
        desk.fails(&format!("{SIGN} --out sig"), 1, "SIGNATURE_DOES_NOT_VERIFY");
        assert!(!desk.at("sig").exists());
    }
    // An honest answer, to another question.
    agent(&desk, 200, signed());
    desk.fails("sign --tenant acme --asset hot --nonce 7 --payload 7061", 1, "SIGNATURE_DOES_NOT_VERIFY");
    desk.fails(
        "sign --tenant acme --sender s --algorithm ES256 --nonce 7 --payload 706179",
        1,
        "SIGNATURE_DOES_NOT_VERIFY",
    );
    let mut wrong = asset();
    wrong["key_id"] = json!("A".repeat(43));
    agent(&desk, 200, wrong);
    desk.fails("key --tenant acme --asset hot", 2, "AGENT_ANSWER");
}

#[test]
fn refusals_end_with_1_and_faults_with_2() {
    let desk = Desk::new();
    for (status, code, exit) in [
        (503, "ATTESTATION_FAILED", 1),
        (503, "NO_SESSION", 1),
        (409, "NONCE_ALREADY_USED", 1),
        (403, "NOT_PERMITTED", 1),
        (503, "OVERLOADED", 2),
        (400, "MALFORMED", 2),
        (404, "NO_SUCH_ASSET", 2),
        (500, "INTERNAL", 2),
    ] {
        agent(&desk, status, problem(code, status));
        let outcome = desk.fails(SIGN, exit, code);
        assert_eq!(outcome.detail(), "expected a, found b");
    }
    for broken in ["", "{}", "<html>", "null"] {
        for status in [200, 500] {
            agent(&desk, status, broken);
            desk.fails(SIGN, 2, "AGENT_ANSWER");
            desk.fails("asset list", 2, "AGENT_ANSWER");
            desk.fails("attest --nonce 00112233445566778899aabbccddeeff -o evidence", 2, "AGENT_ANSWER");
        }
    }
    assert!(!desk.at("evidence").exists());
}

#[test]
fn names_with_slashes_and_spaces_reach_the_agent_unharmed() {
    let desk = Desk::new();
    let asked = agent(&desk, 200, asset());
    let mut command = desk.command("key --json --epoch 3 --tenant");
    let output = command.args(["acme/..", "--asset", "a/b c?x#y"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut command = desk.command("asset rotate --json --tenant");
    assert!(command.args(["..", "--asset", "é"]).output().unwrap().status.success());
    let lines: Vec<String> = asked.lock().unwrap().iter().map(|(line, _)| line.clone()).collect();
    assert_eq!(
        lines,
        [
            "GET /v1/keys/acme%2F../a%2Fb%20c%3Fx%23y?epoch=3 HTTP/1.1",
            "POST /v1/assets/%2E%2E/%C3%A9/rotate HTTP/1.1"
        ]
    );
}

#[test]
fn assets_are_created_listed_and_shown() {
    let desk = Desk::new();
    let asked = agent(&desk, 201, asset());
    desk.done("asset create --tenant acme --asset hot --algorithm EdDSA");
    assert_eq!(asked.lock().unwrap()[0].1, json!({"tenant": "acme", "asset": "hot", "algorithm": "EdDSA"}));
    let key = desk.done("key --tenant acme --asset hot");
    assert!(key["pem"].as_str().unwrap().starts_with("-----BEGIN PUBLIC KEY-----"));
    let covers = json!({"every_tenant": true, "every_age": true, "from_start": true});
    agent(&desk, 200, json!({"assets": [asset()], "covers": covers}));
    assert_eq!(desk.done("asset list")["assets"][0]["epoch"], 3);
    let text = desk.command("asset list").output().unwrap();
    assert!(String::from_utf8(text.stdout).unwrap().starts_with("acme/a/b c  EdDSA  epoch 3  "));
}

#[test]
fn a_node_that_would_not_sign_ends_with_1() {
    let desk = Desk::new();
    agent(&desk, 200, status(true));
    assert_eq!(desk.done("status")["ready"], true);
    agent(&desk, 200, status(false));
    let outcome = desk.run("status");
    assert_eq!((outcome.exit, &outcome.json["reasons"][0]["code"]), (1, &json!("X")));
    let text = desk.command("status").output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("not ready: X: expected a, found b\n  what to do: do c\n"), "{text}");
}

#[test]
fn doctor_names_what_fails_and_what_to_do() {
    let desk = Desk::with_node(&["alice"], 1);
    agent(&desk, 200, status(false));
    let outcome = desk.run("doctor --dir node");
    assert_eq!((outcome.exit, &outcome.json["healthy"]), (1, &json!(false)));
    let checks = outcome.json["checks"].as_array().unwrap();
    let result = |name: &str| {
        let check = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}"));
        check["result"].as_str().unwrap().to_owned()
    };
    for (name, expected) in [
        ("agent.socket", "ok"),
        ("agent.answers", "ok"),
        ("tpm", "ok"),
        ("enclave", "fail"),
        ("ready", "fail"),
    ] {
        assert_eq!(result(name), expected, "{name}");
    }
    let secrets: Vec<&Value> = checks.iter().filter(|check| check["name"] == "dir.secret").collect();
    assert!(secrets.len() == 3 && secrets.iter().all(|check| check["result"] == "ok"), "{secrets:?}");
    for check in checks.iter().filter(|check| check["result"] != "ok") {
        assert!(!check["action"].as_str().unwrap().is_empty(), "{check}");
    }
}

#[test]
fn a_proposal_takes_the_machine_from_the_agent_and_apply_hands_it_over() {
    let desk = Desk::with_node(&["alice"], 1);
    let asked = agent(&desk, 200, enrolment(1, 0));
    desk.done("manifest propose --draft node/manifest.json --node node-1 --state boot-1 -o v1");
    assert_eq!(asked.lock().unwrap()[0].0, "GET /v1/enrolment HTTP/1.1");
    desk.done("manifest sign v1 --key alice.key");
    let enclave = json!({
        "phase": "unlocked", "version": "0.1.0", "deployment": null, "node": "node-1", "manifest": null, "era": 1,
        "last_used_era": 0, "sequence": 0, "session": null, "unfunded": true, "protections": [],
    });
    let asked = agent(&desk, 200, enclave);
    let applied = desk.done("manifest apply v1 --provision node-1");
    assert_eq!(applied["enclave"]["phase"], "unlocked");
    let (line, body) = asked.lock().unwrap()[0].clone();
    assert_eq!(line, "POST /v1/manifest?provision=node-1 HTTP/1.1");
    assert_eq!(body, desk.json("v1"));
    agent(&desk, 409, problem("MANIFEST_ROLLBACK", 409));
    desk.fails("manifest apply v1", 1, "MANIFEST_ROLLBACK");
}

#[test]
fn lock_says_that_it_is_done() {
    let desk = Desk::new();
    let asked = agent(&desk, 204, "");
    assert_eq!(desk.done("lock")["locked"], true);
    assert_eq!(asked.lock().unwrap()[0].0, "POST /v1/lock HTTP/1.1");
}

#[test]
fn evidence_for_a_challenge_carries_its_record() {
    let desk = Desk::with_proposal(&["alice"], 1);
    desk.done("manifest sign v1 --key alice.key");
    let made = desk.done("challenge new --key alice.key -o challenge.json");
    let nonce = made["nonce"].as_str().unwrap();
    let evidence =
        support::evidence::evidence_over(nonce, &desk.read("v1"), 1, 0, Purpose::Evidence, |_| Vec::new());
    let asked = agent(&desk, 200, String::from_utf8(evidence.to_json()).unwrap());
    desk.done("attest --challenge challenge.json -o evidence.json");
    assert_eq!(asked.lock().unwrap()[0].0, format!("GET /v1/evidence?nonce={nonce} HTTP/1.1"));
    assert_eq!(desk.json("evidence.json")["challenge"], desk.json("challenge.json"));
    desk.done("verify evidence.json --manifest v1 --challenger alice.pub");
    desk.fails("attest --challenge challenge.json --nonce 00 -o x", 2, "USAGE");
    desk.fails("attest --challenge v1 -o x", 2, "CHALLENGE");
    desk.fails("attest --challenge absent -o x", 2, "FILE_UNREADABLE");
    desk.fails("attest -o x", 2, "USAGE");
}
