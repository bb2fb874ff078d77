//! Stories of an auditor's signature, by files alone: who signed, what was judged, and whether the same comes out again.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use sealstone_attestation::{Envelope, Purpose};
use serde_json::{Value, json};
use support::Desk;
use support::evidence::{NONCE, evidence};

/// An approved node's evidence, its authority, and an auditor.
fn desk() -> (Desk, String) {
    let desk = Desk::with_proposal(&["alice"], 1);
    desk.done("manifest sign v1 --key alice.key");
    desk.done("authority new carla");
    let authority = desk.done("authority digest alice.pub")["authority"].as_str().unwrap().to_owned();
    desk.write("evidence.json", evidence(&desk.read("v1"), 1, 0, Purpose::Evidence).to_json());
    (desk, authority)
}

/// Signs what `verify` finds with these options.
fn signed(desk: &Desk, options: &str, key: &str, out: &str) -> i32 {
    desk.run(&format!("verify evidence.json --nonce {NONCE} {options} --countersign {key} --verdict {out}"))
        .exit
}

#[test]
fn a_record_says_what_was_judged_and_how() {
    let (desk, authority) = desk();
    assert_eq!(
        signed(
            &desk,
            &format!("--authority {authority} --node node-1 --max-age 300 --at 2100-01-01T00:00:00Z"),
            "carla.key",
            "old"
        ),
        1
    );
    let old = desk.done("verdict verify old --key carla.pub --evidence evidence.json");
    assert_eq!(old["judged_at"], "2100-01-01T00:00:00Z");
    assert_eq!(old["manifest"]["trusted"], json!({"authority": authority}));
    assert_eq!(old["expectations"]["node"], "node-1");
    assert_eq!((&old["reappraised"], &old["differs"]), (&json!(true), &Value::Null));
    assert_eq!(signed(&desk, "--manifest v1", "carla.key", "given"), 0);
    let given = desk.done("verdict verify given --key carla.pub --evidence evidence.json --manifest v1");
    assert_eq!(
        (&given["manifest"]["trusted"], &given["manifest"]["version"]),
        (&json!("as_given"), &json!(1))
    );
    let text = desk.command("verdict verify old --key carla.pub --evidence evidence.json").output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("refused: 1 of ") && text.contains("gives the same verdict"), "{text}");
}

#[test]
fn a_verdict_by_a_manifest_that_nobody_approved_is_a_refusal_that_can_be_signed() {
    let (desk, _) = desk();
    assert_eq!(signed(&desk, &format!("--authority {}", "ab".repeat(32)), "carla.key", "refusal"), 1);
    let refusal = desk.done("verdict verify refusal --key carla.pub --evidence evidence.json");
    assert_eq!(refusal["manifest"]["version"], Value::Null);
    assert_eq!(refusal["verdict"]["checks"][0]["name"], "manifest.approved");
    let token = format!(
        "verify evidence.json --nonce {NONCE} --authority {} --countersign carla.key --eat t",
        "ab".repeat(32)
    );
    desk.fails(&token, 1, "EAT");
    assert!(!desk.at("t").exists());
}

#[test]
fn a_member_of_the_authority_may_be_the_auditor_and_nobody_else() {
    let (desk, authority) = desk();
    let options = format!("--authority {authority}");
    assert_eq!(signed(&desk, &options, "alice.key", "by-alice"), 0);
    assert_eq!(signed(&desk, &options, "carla.key", "by-carla"), 0);
    let check = |file: &str| format!("verdict verify {file} --authority {authority}");
    desk.done(&format!("{} --evidence evidence.json", check("by-alice")));
    desk.done(&format!("{} --manifest v1", check("by-alice")));
    desk.fails(&format!("{} --manifest v1", check("by-carla")), 1, "VERDICT_SIGNATURE");
    desk.fails(&check("by-alice"), 2, "USAGE");
    desk.fails(
        &format!("verdict verify by-alice --authority {} --manifest v1", "ab".repeat(32)),
        1,
        "MANIFEST",
    );
    desk.fails("verdict verify by-alice --key carla.pub", 1, "VERDICT_SIGNATURE");
    desk.fails("verdict verify by-alice", 2, "USAGE");
    desk.fails(&format!("{} --key alice.pub", check("by-alice")), 2, "USAGE");
}

#[test]
fn other_files_other_roots_and_other_claims_differ() {
    let (desk, authority) = desk();
    for name in ["Root", "Other"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        desk.write(&format!("{name}.pem"), params.self_signed(&key).unwrap().pem());
    }
    let options = format!("--authority {authority} --roots Root.pem");
    // The evidence has no certificate: refused, and signed as that.
    assert_eq!(signed(&desk, &options, "carla.key", "rooted"), 1);
    let check = "verdict verify rooted --key carla.pub --evidence evidence.json";
    let same = desk.done(&format!("{check} --roots Root.pem"));
    assert_eq!(same["expectations"]["roots"].as_array().unwrap().len(), 1);
    for options in ["", "--roots Other.pem", "--roots Root.pem --intermediates Other.pem"] {
        let other = desk.run(&format!("{check} {options}"));
        assert_eq!((other.exit, &other.json["differs"]), (1, &json!("expectations")), "{options}");
    }
    desk.done("manifest propose --from v1 --set-session-ttl 60 -o v2");
    desk.done("manifest sign v2 --key alice.key");
    let other = desk.run(&format!("{check} --roots Root.pem --manifest v2"));
    assert_eq!((other.exit, &other.json["differs"]), (1, &json!("manifest")));

    // The auditor signs what the appraisal did not find.
    assert_eq!(signed(&desk, &format!("--authority {authority}"), "carla.key", "honest"), 0);
    let mut lie = Envelope::parse(&desk.read("honest")).unwrap();
    let mut record: Value = serde_json::from_slice(&lie.payload).unwrap();
    record["verdict"]["warnings"] = json!([]);
    lie.payload = serde_json::to_vec(&record).unwrap();
    desk.write("pae", Envelope::pae(&lie.payload_type, &lie.payload));
    let openssl = std::process::Command::new("openssl")
        .args(["pkeyutl", "-sign", "-rawin", "-inkey", "carla.key", "-in", "pae", "-out", "sig"])
        .current_dir(desk.path())
        .status()
        .expect("openssl is installed: apt-get install openssl");
    assert!(openssl.success());
    lie.signatures[0].sig = desk.read("sig");
    desk.write("lie", lie.to_json());
    desk.done("verdict verify lie --key carla.pub");
    let found = desk.run("verdict verify lie --key carla.pub --evidence evidence.json");
    assert_eq!((found.exit, &found.json["differs"]), (1, &json!("verdict")));
}

#[test]
fn what_is_no_signed_verdict_is_unusable() {
    let (desk, authority) = desk();
    assert_eq!(signed(&desk, &format!("--authority {authority}"), "carla.key", "v"), 0);
    let whole = desk.read("v");
    desk.write("cut", &whole[..whole.len() - 1]);
    desk.write("longer", [&whole[..], b"x"].concat());
    for file in ["cut", "longer", "v1", "evidence.json"] {
        desk.fails(&format!("verdict verify {file} --key carla.pub"), 2, "VERDICT");
    }
    desk.fails("verdict verify absent --key carla.pub", 2, "FILE_UNREADABLE");
    // No key that others may read, no file replaced, no output without a key and no key without output.
    let verify = format!("verify evidence.json --nonce {NONCE} --authority {authority}");
    desk.fails(&format!("{verify} --countersign carla.key --verdict v"), 2, "FILE_EXISTS");
    desk.fails(&format!("{verify} --countersign carla.pub --verdict w"), 2, "FILE_MODE");
    desk.fails(&format!("{verify} --countersign carla.key"), 2, "USAGE");
    desk.fails(&format!("{verify} --eat t"), 2, "USAGE");
    desk.fails(&format!("{verify} --verdict w"), 2, "USAGE");
    assert!(!desk.at("w").exists() && !desk.at("t").exists());
}
