//! Stories of an enrolling authority: is this node's key in a real TPM? The vendor is swtpm's local authority.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use sealstone_swtpm_tests::node::{Node, Ran};
use serde_json::Value;

const NONCE: &str = "00112233445566778899aabbccddeeff";

/// Options that pin the vendor of this node's TPM.
fn vendor(node: &Node) -> [String; 4] {
    let folder = node.folder().parent().unwrap().join("vendor");
    let path = |name: &str| folder.join(name).display().to_string();
    [
        "--roots".to_owned(),
        path("swtpm-localca-rootca-cert.pem"),
        "--intermediates".to_owned(),
        path("issuercert.pem"),
    ]
}

fn run(node: &Node, command: &[&str], options: &[String]) -> Ran {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    node.cli(&[command, &options].concat())
}

fn challenge(node: &Node, options: &[String]) -> Ran {
    let command =
        ["enroll", "challenge", "request.json", "--pending", "pending", "-o", "challenge.json", "--json"];
    run(node, &command, options)
}

fn sign(node: &Node) -> Ran {
    node.cli(&[
        "enroll",
        "sign",
        "response.json",
        "--pending",
        "pending",
        "--key",
        "alice.key",
        "-o",
        "record",
        "--json",
    ])
}

fn failed(json: &Value) -> Vec<String> {
    let checks = json["checks"].as_array().unwrap().iter().filter(|check| check["result"] == "failed");
    checks.map(|check| check["name"].as_str().unwrap().to_owned()).collect()
}

/// The whole ceremony, up to a record in the folder of the node.
fn enrolled(ek: &str) -> Node {
    let mut node = Node::init_certified(ek);
    node.start_enclave();
    node.start_agent();
    let _ = node.cli(&["enroll", "request", "-o", "request.json"]).expect(0);
    let judged = challenge(&node, &vendor(&node)).expect(0).json();
    assert!(judged["root"].is_string(), "{judged}");
    let _ = node.cli(&["enroll", "activate", "challenge.json", "-o", "response.json"]).expect(0);
    let _ = sign(&node).expect(0);
    node
}

/// The node shows its record to an auditor, who pins the vendor.
fn shown(ek: &str) {
    let mut node = enrolled(ek);
    assert!(!node.path("pending").exists(), "one challenge, one record");
    let _ = sign(&node).expect(2);
    let record = node.path("record").display().to_string();
    node.kill_agent();
    node.edit("agent.toml", |text| text.replace("[tpm]\n", &format!("[tpm]\nenrolment = {record:?}\n")));
    node.start_agent();
    let _ = node.approve_first();
    node.await_ready(true);
    let _ = node.cli(&["attest", "--nonce", NONCE, "-o", "evidence.json"]).expect(0);
    let authority = node.cli(&["authority", "digest", "alice.pub"]).expect(0).stdout;
    let usual = ["verify", "evidence.json", "--nonce", NONCE, "--authority", authority.trim(), "--json"];
    let verdict = run(&node, &usual, &vendor(&node)).expect(0).json();
    for name in ["tpm.enrolled", "ek.chain", "ek.usage", "ek.strength", "ek.key"] {
        let check = verdict["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
        assert_eq!(check["result"], "passed", "{check}");
    }

    // Under another vendor's root it is no TPM that this auditor knows.
    let stranger = Node::init_certified("rsa2048");
    let verdict = run(&node, &usual, &vendor(&stranger)).expect(1).json();
    assert_eq!(failed(&verdict), ["ek.chain"]);
    let certificate = node.path("ek.der");
    let evidence: Value =
        serde_json::from_slice(&std::fs::read(node.path("evidence.json")).unwrap()).unwrap();
    std::fs::write(&certificate, hex::decode(evidence["ek_certificates"][0].as_str().unwrap()).unwrap())
        .unwrap();
    let judged = run(&node, &["ek", "verify", "ek.der", "--json"], &vendor(&node)).expect(0).json();
    assert!(judged["certificate"]["tpm"]["manufacturer"].is_string(), "{judged}");

    // Somebody else's word is no record, and neither is one of another node's key.
    let mut forged = evidence.clone();
    forged["enrolment"]["signatures"][0]["sig"] = forged["report"]["signatures"][0]["sig"].clone();
    std::fs::write(node.path("evidence.json"), forged.to_string()).unwrap();
    assert_eq!(failed(&node.cli(&usual).expect(1).json()), ["tpm.enrolled"]);
}

#[test]
fn a_tpm_with_a_vendor_s_rsa_certificate_is_enrolled_and_its_record_travels_in_evidence() {
    shown("rsa2048");
}

#[test]
fn so_is_one_with_a_certificate_on_p_384() {
    shown("p384");
}

#[test]
fn nobody_is_enrolled_without_a_pinned_root_or_by_another_tpm_s_answer() {
    let mut node = Node::init_certified("p384");
    node.start_enclave();
    node.start_agent();
    let _ = node.cli(&["enroll", "request", "-o", "request.json"]).expect(0);

    // Under a root of another vendor, even one of the same name.
    let stranger = Node::init_certified("rsa2048");
    let refused = challenge(&node, &vendor(&stranger)).expect(1).json();
    assert_eq!(failed(&refused), ["ek.chain"]);
    assert!(!node.path("pending").exists() && !node.path("challenge.json").exists());

    // A software key in place of the TPM's.
    let request = std::fs::read_to_string(node.path("request.json")).unwrap();
    let mut changed: Value = serde_json::from_str(&request).unwrap();
    changed["ak"] = changed["ek"].clone();
    std::fs::write(node.path("request.json"), changed.to_string()).unwrap();
    let refused = challenge(&node, &vendor(&node)).expect(1).json();
    assert_eq!(refused["error"]["code"], "ATTESTATION_KEY");
    std::fs::write(node.path("request.json"), &request).unwrap();

    // A certificate of another TPM.
    let mut other = Node::init_certified("p384");
    other.start_enclave();
    other.start_agent();
    let _ = other.cli(&["enroll", "request", "-o", "request.json"]).expect(0);
    let theirs: Value = serde_json::from_slice(&std::fs::read(other.path("request.json")).unwrap()).unwrap();
    let mut mixed: Value = serde_json::from_str(&request).unwrap();
    mixed["ek_certificate"] = theirs["ek_certificate"].clone();
    std::fs::write(node.path("request.json"), mixed.to_string()).unwrap();
    let refused = challenge(&node, &vendor(&other)).expect(1).json();
    assert_eq!(failed(&refused), ["ek.key"]);
    std::fs::write(node.path("request.json"), &request).unwrap();

    // The other TPM cannot open the challenge, and a made-up answer is none.
    let _ = challenge(&node, &vendor(&node)).expect(0);
    std::fs::copy(node.path("challenge.json"), other.path("challenge.json")).unwrap();
    let refused = other.cli(&["enroll", "activate", "challenge.json", "-o", "response.json", "--json"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(!other.path("response.json").exists());
    let _ = node.cli(&["enroll", "activate", "challenge.json", "-o", "response.json"]).expect(0);
    let answer = std::fs::read_to_string(node.path("response.json")).unwrap();
    let mut wrong: Value = serde_json::from_str(&answer).unwrap();
    let secret = wrong["secret"].as_str().unwrap().to_owned();
    let turned: String = secret.chars().rev().collect();
    for instead in ["", "00", &secret[2..], &turned] {
        wrong["secret"] = instead.into();
        std::fs::write(node.path("response.json"), wrong.to_string()).unwrap();
        assert_eq!(sign(&node).expect(1).json()["error"]["code"], "WRONG_ANSWER");
    }
    assert!(!node.path("record").exists() && node.path("pending").exists());
    std::fs::write(node.path("response.json"), answer).unwrap();
    let _ = sign(&node).expect(0);

    // Without a certificate only when asked, and the record says so.
    std::fs::remove_file(node.path("challenge.json")).unwrap();
    let remarks = challenge(&node, &["--without-certificate".to_owned()]).expect(0).json()["remarks"].clone();
    assert!(remarks[0].as_str().unwrap().contains("no vendor"), "{remarks}");
}
