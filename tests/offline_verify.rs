//! Stories of an auditor: evidence judged from files alone. The machine is a TPM in software, whose quotes are
//! built byte by byte.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use sealstone_attestation::{
    BuildInfo, Envelope, Evidence, Manifest, Nonce, PcrBank, PcrIndex, PcrValues, PublicArea, Purpose,
    QuoteEvidence, Receipt, Report, ReportDigest, Signature64, Statement, UnixTime, statement,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::{Desk, attestation_key, attestation_scalar, endorsement_key};

const NONCE: &str = "00112233445566778899aabbccddeeff";

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

/// What a machine shows whose keys come from `machine` and whose PCRs from `boot`.
fn evidence(manifest: &[u8], machine: u8, boot: u8, purpose: Purpose) -> Evidence {
    let envelope = Envelope::parse(manifest).unwrap();
    let approved = Manifest::from_payload(&envelope.payload).unwrap();
    let enclave = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let report = Report {
        format: 1,
        deployment: approved.deployment(),
        node: approved.nodes()[0].name().to_owned(),
        manifest: approved.digest(),
        manifest_version: approved.version(),
        authority: approved.authority().digest(),
        channel_key: [3; 32],
        report_key: enclave.verifying_key().to_bytes(),
        build: BuildInfo { version: "0.1.0".to_owned(), commit: "abc".to_owned(), binary_sha256: None },
        protections: Vec::new(),
        era: 1,
        last_used_era: 0,
        sequence: 0,
        receipt_head: Receipt::genesis(1),
        unfunded: true,
        time: approved.issued_at(),
    };
    let report = report.sign(|pae| Signature64::from_bytes(enclave.sign(pae).to_bytes())).unwrap();
    let nonce: Nonce = NONCE.parse().unwrap();
    let bound =
        statement(purpose, nonce.as_bytes(), ReportDigest::of(&report.payload), approved.digest(), &[])
            .unwrap();
    Evidence {
        format: 1,
        purpose,
        nonce,
        quote: quote(&bound, machine, boot),
        ak: PublicArea::parse(&attestation_key(machine)).unwrap(),
        ek: PublicArea::parse(&endorsement_key(machine)).unwrap(),
        ek_certificates: Vec::new(),
        manifest: envelope,
        report,
        checkpoint: Vec::new(),
        event_log: None,
        ima_log: None,
        taken_at: approved.issued_at(),
    }
}

/// TPM2_Quote of the SHA-256 PCRs 0 to 7 (TPM 2.0 Part 2, section 10.12).
fn quote(bound: &Statement, machine: u8, boot: u8) -> QuoteEvidence {
    let mut pcrs = PcrValues::new();
    for index in 0..8 {
        pcrs.insert(PcrBank::Sha256, PcrIndex::new(index).unwrap(), vec![boot; 32]).unwrap();
    }
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let named = |parts: &[&[u8]]| [&[0x00, 0x0b], Sha256::digest(parts.concat()).as_slice()].concat();
    // The endorsement hierarchy, the EK under it, the AK under that.
    let ek = named(&[&0x4000_000b_u32.to_be_bytes(), &named(&[&endorsement_key(machine)])]);
    let ak = named(&[&ek, &named(&[&attestation_key(machine)])]);
    let mut attest = vec![0xff, 0x54, 0x43, 0x47, 0x80, 0x18];
    attest.extend(sized(&ak));
    attest.extend(sized(bound.as_bytes()));
    attest.extend(1000_u64.to_be_bytes());
    attest.extend([0, 0, 0, 7, 0, 0, 0, 2, 1]);
    attest.extend(0x0001_0002_0003_0004_u64.to_be_bytes());
    attest.extend([0, 0, 0, 1, 0x00, 0x0b, 3, 0xff, 0, 0]);
    attest.extend(sized(&Sha256::digest([boot; 8 * 32])));

    let key = p256::ecdsa::SigningKey::from_slice(&attestation_scalar(machine)).unwrap();
    let signed: p256::ecdsa::Signature = key.sign_prehash(&Sha256::digest(&attest)).unwrap();
    let (r, s) = signed.split_bytes();
    let signature = [&[0x00, 0x18, 0x00, 0x0b][..], &sized(&r), &sized(&s)].concat();
    QuoteEvidence { attest, signature, pcrs }
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
    assert!(text.contains("pass signature.valid") && text.ends_with("accepted\n"), "{text}");
    assert!(text.contains("warning: "), "that the code is not measured is named: {text}");
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
