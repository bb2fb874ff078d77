//! An auditor takes evidence with a nonce and verifies it offline; whatever is changed in it is found.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

use sealstone_swtpm_tests::Node;
use serde_json::{Value, json};

const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn failed(verdict: &Value) -> Vec<String> {
    let checks = verdict["checks"].as_array().expect("checks");
    checks
        .iter()
        .filter(|check| check["result"] == "failed")
        .map(|check| check["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn evidence_verifies_offline_and_only_with_its_nonce_and_its_manifest() {
    let node = Node::ready();
    let _ = node.cli(&["attest", "--nonce", NONCE, "-o", "evidence.json"]).expect(0);
    let verify = |file: &str, manifest: &str, nonce: &str| {
        node.cli(&["verify", file, "--manifest", manifest, "--nonce", nonce, "--json"])
    };
    let verdict = verify("evidence.json", "m1.json", NONCE).expect(0).json();
    assert_eq!(verdict["accepted"], true, "{verdict}");
    assert!(verdict["checks"].as_array().unwrap().len() > 15, "{verdict}");
    // The manifest does not say how code is measured: the gap is named.
    assert!(verdict["warnings"].to_string().contains("code"), "{verdict}");

    let other_nonce = NONCE.replace("00", "11");
    let verdict = verify("evidence.json", "m1.json", &other_nonce).expect(1).json();
    assert_eq!(verdict["accepted"], false);
    assert!(!failed(&verdict).is_empty());

    // Evidence taken with the other nonce is another quote.
    let _ = node.cli(&["attest", "--nonce", &other_nonce, "-o", "other.json"]).expect(0);
    let text = std::fs::read_to_string(node.path("evidence.json")).unwrap();
    let evidence: Value = serde_json::from_str(&text).unwrap();
    let other: Value =
        serde_json::from_str(&std::fs::read_to_string(node.path("other.json")).unwrap()).unwrap();
    let mut forgeries: Vec<(&str, Value)> = Vec::new();
    let mut forge = |what: &'static str, change: &dyn Fn(&mut Value)| {
        let mut forged = evidence.clone();
        change(&mut forged);
        forgeries.push((what, forged));
    };
    forge("another quote under the old nonce", &|e| e["quote"] = other["quote"].clone());
    forge("purpose session", &|e| e["purpose"] = json!("session"));
    forge("a flipped bit of the quote", &|e| flip(&mut e["quote"]["attest"], 40));
    forge("a flipped bit of the signature", &|e| flip(&mut e["quote"]["signature"], 20));
    forge("a truncated quote", &|e| cut(&mut e["quote"]["attest"]));
    forge("a trailing byte", &|e| append(&mut e["quote"]["attest"]));
    forge("a forged PCR value", &|e| flip(&mut e["quote"]["pcrs"]["sha256"]["7"], 3));
    forge("a PCR value more than quoted", &|e| e["quote"]["pcrs"]["sha256"]["9"] = json!("00".repeat(32)));
    forge("a PCR value less than quoted", &|e| {
        e["quote"]["pcrs"]["sha256"].as_object_mut().unwrap().remove("0");
    });
    forge("another checkpoint", &|e| e["checkpoint"] = json!("00"));
    for (what, forged) in forgeries {
        std::fs::write(node.path("forged.json"), forged.to_string()).unwrap();
        let ran = verify("forged.json", "m1.json", NONCE);
        assert!(ran.code == 1 || ran.code == 2, "{what} was accepted: {ran:?}");
        if ran.code == 1 {
            assert!(!failed(&ran.json()).is_empty(), "{what}: {ran:?}");
        }
    }
}

#[test]
fn what_is_no_evidence_is_unusable_not_refused() {
    let node = Node::ready();
    let _ = node.cli(&["attest", "--nonce", NONCE, "-o", "evidence.json"]).expect(0);
    for (what, content) in [
        ("empty", &b""[..]),
        ("text", b"hello"),
        ("array", b"[]"),
        ("object", b"{}"),
        ("binary", &[0xff; 100]),
    ] {
        std::fs::write(node.path("bad.json"), content).unwrap();
        let ran = node.cli(&["verify", "bad.json", "--manifest", "m1.json", "--nonce", NONCE]);
        assert_eq!(ran.code, 2, "{what}: {ran:?}");
        assert!(!ran.stderr.is_empty(), "{what}");
    }
    let missing = node.cli(&["verify", "nowhere.json", "--manifest", "m1.json", "--nonce", NONCE]);
    assert_eq!(missing.code, 2, "{missing:?}");
    // A nonce is never optional, and never short.
    let _ = node.cli(&["verify", "evidence.json", "--manifest", "m1.json"]).expect(2);
    let _ = node.cli(&["verify", "evidence.json", "--manifest", "m1.json", "--nonce", ""]).expect(2);
    let _ = node.cli(&["verify", "evidence.json", "--manifest", "m1.json", "--nonce", "00"]).expect(2);
    let answer = node.try_get("/v1/evidence?nonce=00").unwrap();
    assert_eq!(answer.status, 400);
    let answer = node.try_get("/v1/evidence").unwrap();
    assert_eq!(answer.status, 400);
}

fn flip(value: &mut Value, at: usize) {
    let mut bytes = hex::decode(value.as_str().unwrap()).unwrap();
    bytes[at] ^= 1;
    *value = json!(hex::encode(bytes));
}

fn cut(value: &mut Value) {
    let text = value.as_str().unwrap();
    *value = json!(text[..text.len() - 2]);
}

fn append(value: &mut Value) {
    *value = json!(format!("{}00", value.as_str().unwrap()));
}
