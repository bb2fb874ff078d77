//! Takes evidence of a real node on swtpm, and forges some: `cargo build --workspace --bins --locked && cargo run -p
//! sealstone-swtpm-tests --example golden_evidence` writes `attestation/tests/data/node/`. To be run again when the format of
//! evidence changes.
#![allow(clippy::unwrap_used, reason = "a program that cannot go on ends")]

use std::fs;
use std::path::Path;

use sealstone_swtpm_tests::Node;
use serde_json::{Value, json};

const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn main() {
    let node = Node::ready();
    let taken = |nonce: &str, name: &str| -> Value {
        let _ = node.cli(&["attest", "--nonce", nonce, "-o", name]).expect(0);
        serde_json::from_slice(&fs::read(node.path(name)).unwrap()).unwrap()
    };
    let honest = taken(NONCE, "evidence.json");
    let other = taken(&"11".repeat(32), "other.json");
    let stranger = Node::ready();
    let _ = stranger.cli(&["attest", "--nonce", NONCE, "-o", "evidence.json"]).expect(0);
    let stranger: Value = serde_json::from_slice(&fs::read(stranger.path("evidence.json")).unwrap()).unwrap();

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../attestation/tests/data/node");
    fs::create_dir_all(&folder).unwrap();
    let save = |name: &str, evidence: &Value| fs::write(folder.join(name), evidence.to_string()).unwrap();
    fs::copy(node.path("m1.json"), folder.join("manifest.json")).unwrap();
    save("evidence.json", &honest);
    let forge = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut forged = honest.clone();
        change(&mut forged);
        save(name, &forged);
    };
    forge("forged_quote.json", &|e| flip(&mut e["quote"]["attest"], 60));
    forge("forged_signature.json", &|e| flip(&mut e["quote"]["signature"], 20));
    forge("forged_value.json", &|e| flip(&mut e["quote"]["pcrs"]["sha256"]["7"], 3));
    forge("forged_nonce.json", &|e| e["quote"] = other["quote"].clone());
    forge("forged_report.json", &|e| {
        let payload = e["report"]["payload"].as_str().unwrap();
        let (before, after) = payload.split_at(200);
        let other = if after.starts_with('A') { "B" } else { "A" };
        e["report"]["payload"] = json!(format!("{before}{other}{}", &after[1..]));
    });
    forge("forged_key.json", &|e| {
        for part in ["quote", "ak", "ek"] {
            e[part] = stranger[part].clone();
        }
    });
}

/// Turns one bit of bytes in hex.
fn flip(value: &mut Value, at: usize) {
    let mut bytes = hex::decode(value.as_str().unwrap()).unwrap();
    bytes[at] ^= 1;
    *value = json!(hex::encode(bytes));
}
