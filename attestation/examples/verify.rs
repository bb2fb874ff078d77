//! Judges a node's evidence with this library alone: `cargo run -p sealstone-attestation --example verify -- EVIDENCE MANIFEST
//! NONCE`. The manifest is trusted as it is; files and the clock are this program's, for the library has none.

use std::error::Error;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use sealstone_attestation::{Evidence, Expectations, Purpose, UnixTime, Verdict, VerifiedManifest, appraise};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [evidence, manifest, nonce] = arguments.as_slice() else {
        eprintln!("usage: verify EVIDENCE MANIFEST NONCE");
        return ExitCode::from(2);
    };
    match judged(evidence, manifest, nonce) {
        Ok(verdict) => {
            println!("{}", shown(&verdict));
            ExitCode::from(u8::from(!verdict.accepted()))
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// What the files say, to whoever gave the node this nonce.
pub(crate) fn judged(evidence: &str, manifest: &str, nonce: &str) -> Result<Verdict, Box<dyn Error>> {
    let evidence = Evidence::parse(&std::fs::read(evidence)?)?;
    let manifest = VerifiedManifest::danger_trust_as_given(&std::fs::read(manifest)?)?;
    let expectations = Expectations {
        purpose: Purpose::Evidence,
        nonce: Some(nonce.parse()?),
        challenger: None,
        node: None,
        previous_clock: None,
        max_age: None,
    };
    let now = UnixTime::from_secs(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    Ok(appraise(&evidence, &manifest, &expectations, now))
}

/// The verdict, one check in each line.
pub(crate) fn shown(verdict: &Verdict) -> String {
    let mut text = String::new();
    for check in verdict.checks() {
        text.push_str(&format!("{:?} {}: {:?}\n", check.result, check.name, check.detail));
    }
    for warning in verdict.warnings() {
        text.push_str(&format!("warning: {warning:?}\n"));
    }
    text.push_str(if verdict.accepted() { "accepted" } else { "refused" });
    text
}
