//! Stories of an auditor: evidence judged from files alone. The machine is a TPM in software, whose quotes are
//! built byte by byte.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use sealstone_attestation::{Evidence, Purpose, UnixTime};
use serde_json::Value;
use support::Desk;
use support::evidence::{NONCE, evidence};

/// An approved node, and the evidence that it shows in `evidence.json`.
struct Audit {
    desk: Desk,
    authority: String,
    evidence: Evidence,
}

impl Audit {
    fn new() -> Self {
        let desk = Desk::with_proposal(&["alice"], 1);
        desk.done("manifest sign v1 --key alice.key");
        let authority = desk.done("authority digest alice.pub")["authority"].as_str().unwrap().to_owned();
        let evidence = evidence(&desk.read("v1"), 1, 0, Purpose::Evidence);
        let audit = Self { desk, authority, evidence };
        audit.show(&audit.evidence);
        audit
    }

    fn show(&self, evidence: &Evidence) {
        self.desk.write("evidence.json", evidence.to_json());
    }

    /// `verify` with these options, which must come to a verdict.
    fn verdict(&self, options: &str) -> (i32, Value) {
        let outcome = self.desk.run(&format!("verify evidence.json {options}"));
        assert!(outcome.json["checks"].is_array() && outcome.json["warnings"].is_array(), "{}", outcome.json);
        assert_eq!(outcome.json["accepted"], outcome.exit == 0);
        (outcome.exit, outcome.json)
    }

    fn usual(&self) -> String {
        format!("--nonce {NONCE} --authority {}", self.authority)
    }

    fn accepted(&self, options: &str) {
        let (exit, json) = self.verdict(options);
        assert_eq!(exit, 0, "{json}");
    }

    /// What `verify` finds of the four levels.
    fn levels(&self, options: &str) -> [String; 4] {
        let (_, json) = self.verdict(options);
        ["authentic", "fresh", "state_approved", "code_measured"]
            .map(|level| json["levels"][level]["result"].as_str().unwrap().to_owned())
    }

    /// Refused, and this check is among those that failed.
    fn refused(&self, options: &str, check: &str) {
        let (exit, json) = self.verdict(options);
        assert_eq!(exit, 1, "{json}");
        let checks = json["checks"].as_array().unwrap().iter();
        let failed: Vec<&str> =
            checks.filter(|c| c["result"] == "failed").map(|c| c["name"].as_str().unwrap()).collect();
        assert!(failed.contains(&check), "{check}: {failed:?}");
    }
}

#[test]
fn honest_evidence_is_accepted_by_authority_or_by_manifest() {
    let audit = Audit::new();
    audit.accepted(&audit.usual());
    audit.accepted(&format!("{} --node node-1", audit.usual()));
    audit.accepted(&format!("--nonce {NONCE} --manifest v1"));
    audit.accepted(&format!("{} --manifest v1", audit.usual()));
    let text = audit.desk.command(&format!("verify evidence.json {}", audit.usual())).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("  pass signature.valid") && text.ends_with("accepted\n"), "{text}");
    assert!(text.contains("warning: "), "that the code is not measured is named: {text}");
    let answers: Vec<&str> = text.lines().filter_map(|line| line.split_once("? ")).map(|(_, a)| a).collect();
    assert_eq!(answers.len(), 4, "{text}");
    assert!(answers[..3].iter().all(|answer| answer.starts_with("yes: ")), "{text}");
    assert!(answers[3].starts_with("not shown: code.measured"), "{text}");
}

#[test]
fn another_nonce_node_age_or_purpose_is_refused() {
    let audit = Audit::new();
    let other = "ff".repeat(16);
    audit.refused(&format!("--nonce {other} --authority {}", audit.authority), "evidence.nonce");
    audit.refused(&format!("{} --node node-2", audit.usual()), "report.node");
    let later = UnixTime::from_secs(audit.evidence.taken_at.as_secs() + 3600);
    audit.accepted(&format!("{} --max-age 3600 --at {later}", audit.usual()));
    audit.refused(&format!("{} --max-age 3599 --at {later}", audit.usual()), "evidence.age");
    audit.show(&evidence(&audit.desk.read("v1"), 1, 0, Purpose::Session));
    audit.refused(&audit.usual(), "evidence.purpose");
}

#[test]
fn another_state_machine_or_signature_is_refused() {
    let audit = Audit::new();
    let manifest = audit.desk.read("v1");
    audit.show(&evidence(&manifest, 1, 1, Purpose::Evidence));
    audit.refused(&audit.usual(), "state.approved");
    audit.show(&evidence(&manifest, 2, 0, Purpose::Evidence));
    audit.refused(&audit.usual(), "ak.enrolled");
    let mut flipped = audit.evidence.clone();
    *flipped.quote.signature.last_mut().unwrap() ^= 1;
    audit.show(&flipped);
    audit.refused(&audit.usual(), "signature.valid");
    let mut longer = audit.evidence.clone();
    longer.quote.attest.push(0);
    audit.show(&longer);
    audit.refused(&audit.usual(), "quote.well_formed");
}

#[test]
fn each_of_the_four_levels_fails_by_itself() {
    let audit = Audit::new();
    let manifest = audit.desk.read("v1");
    assert_eq!(audit.levels(&audit.usual()), ["passed", "passed", "passed", "not_shown"]);
    let other_nonce = format!("--nonce {} --authority {}", "ff".repeat(16), audit.authority);
    assert_eq!(audit.levels(&other_nonce), ["passed", "failed", "passed", "not_shown"]);
    audit.show(&evidence(&manifest, 1, 1, Purpose::Evidence));
    assert_eq!(audit.levels(&audit.usual()), ["passed", "passed", "failed", "not_shown"]);
    let mut flipped = audit.evidence.clone();
    *flipped.quote.signature.last_mut().unwrap() ^= 1;
    audit.show(&flipped);
    assert_eq!(audit.levels(&audit.usual()), ["failed", "failed", "failed", "not_shown"]);
    let foreign = format!("--nonce {NONCE} --authority {}", "ab".repeat(32));
    assert_eq!(audit.levels(&foreign), ["not_shown", "not_shown", "failed", "not_shown"]);
}

#[test]
fn a_manifest_that_the_authority_did_not_sign_is_no_basis() {
    let audit = Audit::new();
    let options = format!("--nonce {NONCE} --authority {}", "ab".repeat(32));
    audit.refused(&options, "manifest.approved");
    audit.refused(&format!("{options} --manifest v1"), "manifest.approved");

    let mut unsigned = audit.evidence.clone();
    unsigned.manifest.signatures.clear();
    audit.show(&unsigned);
    audit.refused(&audit.usual(), "manifest.approved");

    // A later manifest of the same people: the evidence was made under another one.
    audit.show(&audit.evidence);
    audit.desk.done("manifest propose --from v1 --set-session-ttl 60 -o v2");
    audit.desk.done("manifest sign v2 --key alice.key");
    audit.refused(&format!("{} --manifest v2", audit.usual()), "manifest.same");
    for (file, code) in [("absent", "FILE_UNREADABLE"), ("node", "FILE_KIND"), ("evidence.json", "MANIFEST")]
    {
        audit.desk.fails(&format!("verify evidence.json {} --manifest {file}", audit.usual()), 2, code);
    }
}

#[test]
fn files_that_are_no_evidence_are_unusable() {
    let audit = Audit::new();
    let desk = &audit.desk;
    let whole = desk.read("evidence.json");
    desk.write("cut", &whole[..whole.len() - 1]);
    desk.write("more", [&whole[..], b"x"].concat());
    let mut unknown: Value = serde_json::from_slice(&whole).unwrap();
    unknown["extra"] = 1.into();
    desk.write("unknown", unknown.to_string());
    std::fs::File::create(desk.at("huge")).unwrap().set_len(64 * 1024 * 1024 + 1).unwrap();
    for (file, code) in [
        ("cut", "EVIDENCE"),
        ("more", "EVIDENCE"),
        ("unknown", "EVIDENCE"),
        ("v1", "EVIDENCE"),
        ("huge", "FILE_TOO_LARGE"),
        ("node", "FILE_KIND"),
        ("absent", "FILE_UNREADABLE"),
    ] {
        desk.fails(&format!("verify {file} {}", audit.usual()), 2, code);
    }
}
