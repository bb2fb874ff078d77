//! An auditor signs what was found: as a record that others check and make again, and as a token that another implementation
//! reads.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sealstone_swtpm_tests::{Node, clients};
use serde_json::{Value, json};

const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A node with its evidence, and an auditor with two keys.
fn audited() -> Node {
    let node = Node::ready();
    let _ = node.cli(&["attest", "--nonce", NONCE, "-o", "evidence.json"]).expect(0);
    let _ = node.cli(&["authority", "new", "carla", "--algorithm", "ES256"]).expect(0);
    let _ = node.cli(&["authority", "new", "emil", "--algorithm", "EdDSA"]).expect(0);
    node
}

fn read(node: &Node, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(node.path(name)).unwrap()).unwrap()
}

fn write(node: &Node, name: &str, value: &Value) {
    std::fs::write(node.path(name), value.to_string()).unwrap();
}

#[test]
fn a_countersigned_verdict_is_checked_and_its_appraisal_made_again() {
    let node = audited();
    let verify = ["verify", "evidence.json", "--manifest", "m1.json", "--nonce", NONCE, "--max-age", "86400"];
    for auditor in ["carla", "emil"] {
        let (key, public, out) =
            (format!("{auditor}.key"), format!("{auditor}.pub"), format!("{auditor}.verdict"));
        let _ = node.cli(&[&verify[..], &["--countersign", &key, "--verdict", &out]].concat()).expect(0);
        let check = ["verdict", "verify", &out, "--key", &public, "--json"];
        let alone = node.cli(&check).expect(0).json();
        assert_eq!((&alone["reappraised"], &alone["auditor"]), (&json!(false), &json!(auditor)));
        assert_eq!(alone["expectations"]["nonce"], NONCE);
        assert_eq!(alone["expectations"]["max_age_s"], 86400);
        assert_eq!(alone["verdict"]["accepted"], true);
        let again = node.cli(&[&check[..], &["--evidence", "evidence.json"]].concat()).expect(0).json();
        assert_eq!((&again["reappraised"], &again["differs"]), (&json!(true), &Value::Null), "{again}");
        let again = [&check[..], &["--evidence", "evidence.json", "--manifest", "m1.json"]].concat();
        let _ = node.cli(&again).expect(0);
    }
    // Another key, and a record that was touched.
    let _ = node.cli(&["verdict", "verify", "carla.verdict", "--key", "emil.pub"]).expect(1);
    let mut touched = read(&node, "carla.verdict");
    let payload = touched["payload"].as_str().unwrap().replacen('A', "B", 1);
    touched["payload"] = json!(payload);
    write(&node, "touched.verdict", &touched);
    let _ = node.cli(&["verdict", "verify", "touched.verdict", "--key", "carla.pub"]).expect(1);

    // Other evidence, of the same node and time.
    let mut other = read(&node, "evidence.json");
    other["taken_at"] = json!("2020-01-01T00:00:00Z");
    write(&node, "other.json", &other);
    let check =
        ["verdict", "verify", "carla.verdict", "--key", "carla.pub", "--json", "--evidence", "other.json"];
    assert_eq!(node.cli(&check).expect(1).json()["differs"], "evidence");
}

#[test]
fn a_refusal_is_signed_as_well_and_no_token_is_made_of_what_is_not_authentic() {
    let node = audited();
    let mut forged = read(&node, "evidence.json");
    let signature = forged["quote"]["signature"].as_str().unwrap();
    let (start, last) = signature.split_at(signature.len() - 1);
    forged["quote"]["signature"] = json!(format!("{start}{}", if last == "0" { "1" } else { "0" }));
    write(&node, "forged.json", &forged);
    let verify =
        ["verify", "forged.json", "--manifest", "m1.json", "--nonce", NONCE, "--countersign", "emil.key"];
    let _ = node.cli(&[&verify[..], &["--verdict", "refusal"]].concat()).expect(1);
    let check = ["verdict", "verify", "refusal", "--key", "emil.pub", "--evidence", "forged.json", "--json"];
    let json = node.cli(&check).expect(0).json();
    assert_eq!((&json["verdict"]["accepted"], &json["differs"]), (&json!(false), &Value::Null));

    let refused = node.cli(&[&verify[..], &["--eat", "forged.cwt", "--json"]].concat()).expect(1).json();
    assert_eq!(refused["error"]["code"], "EAT", "{refused}");
    assert!(!node.path("forged.cwt").exists());
    // Nothing is replaced, and nothing is signed for nobody.
    let _ = node.cli(&[&verify[..], &["--verdict", "refusal"]].concat()).expect(2);
    let _ = node
        .cli(&["verify", "evidence.json", "--manifest", "m1.json", "--nonce", NONCE, "--eat", "x"])
        .expect(2);
    let _ = node.cli(&verify).expect(2);
}

#[test]
fn another_implementation_verifies_the_token_and_reads_its_claims() {
    let node = audited();
    let mut cases = Vec::new();
    for auditor in ["carla", "emil"] {
        let [key, out, signed] = ["key", "cwt", "v"].map(|ending| format!("{auditor}.{ending}"));
        let verify = ["verify", "evidence.json", "--manifest", "m1.json", "--nonce", NONCE];
        let both = [&verify[..], &["--countersign", &key, "--eat", &out, "--verdict", &signed]].concat();
        let _ = node.cli(&both).expect(0);
        let public = format!("{auditor}.pub");
        let record = node.cli(&["verdict", "verify", &signed, "--key", &public, "--json"]).expect(0).json();
        let kid = URL_SAFE_NO_PAD.decode(record["key_id"].as_str().unwrap()).unwrap();
        cases.push(json!({
            "token": hex::encode(std::fs::read(node.path(&out)).unwrap()),
            "key": std::fs::read_to_string(node.path(&public)).unwrap(),
            "kid": hex::encode(kid),
            "evidence": record["evidence"],
            "auditor": auditor,
        }));
    }
    for (read, case) in clients::tokens(&cases).iter().zip(&cases) {
        assert_eq!(read["1"], case["auditor"], "{read}");
        assert_eq!(read["10"], NONCE);
        assert!(read["6"].as_u64().unwrap() > 1_700_000_000);
        let ueid = read["256"].as_str().unwrap();
        assert!(ueid.starts_with("01") && ueid.len() == 66, "{ueid}");
        assert_eq!(read["265"], "https://github.com/sealstone/sealstone/docs/eat/v1");
        assert_eq!(read["266"]["enclave"]["270"], "sealstone-enclave");
        assert_eq!(read["274"][0][0], "sealstone/authentic");
        assert!(read["274"][0][1].as_array().unwrap().contains(&json!(["signature.valid", 1])));
        let levels = json!({"authentic": "passed", "fresh": "passed", "state_approved": "passed", "code_measured": "not_shown"});
        assert_eq!(read["-70001"], levels);
        assert_eq!(read["-70002"]["version"], 1);
        assert_eq!(read["-70003"], case["evidence"]);
    }

    let mut wrong = Vec::new();
    for (mine, other) in [(0, 1), (1, 0)] {
        let mut foreign = cases[mine].clone();
        foreign["key"] = cases[other]["key"].clone();
        wrong.push(foreign);
        let mut altered = cases[mine].clone();
        let token = altered["token"].as_str().unwrap();
        // A byte of the nonce.
        assert!(token.contains(NONCE));
        altered["token"] = json!(token.replacen("00112233", "01112233", 1));
        wrong.push(altered);
        let mut cut = cases[mine].clone();
        let token = cut["token"].as_str().unwrap();
        cut["token"] = json!(token[..token.len() - 2]);
        wrong.push(cut);
    }
    for read in clients::tokens(&wrong) {
        assert!(read["error"].is_string(), "expected no claims, found {read}");
    }
}
