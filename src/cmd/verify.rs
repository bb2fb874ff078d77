//! `sealstone verify`: appraise evidence offline, on any machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sealstone_attestation::endorsement::appraise_ek_of;
use sealstone_attestation::{
    AuthorityDigest, Evidence, Expectations, Level, LevelResult, Nonce, Outcome, Purpose, UnixTime, Verdict,
    VerifiedManifest, appraise, manifest_refused,
};

use super::ek;
use super::manifest::Unverified;
use super::now;
use crate::failure::{Failure, chain};
use crate::files;
use crate::html::{self, Asked, Page};
use crate::keyfile::read_public;
use crate::output::{Answer, json_of, shown};

/// Appraise a node's evidence offline
///
/// Needs no node and no network. Every check is named; the evidence is accepted only if none failed. Four questions are answered
/// apart: is it authentic, is it fresh, is the state approved, is the code measured.
/// Trust starts from --authority (who approves manifests) or from a --manifest file that you trust.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone verify evidence.json --nonce HEX --authority DIGEST\n  \
        sealstone verify evidence.json --challenger auditor.pub --authority DIGEST\n  \
        sealstone verify evidence.json --nonce HEX --manifest manifest.envelope --node node-1 --max-age 300 --json")]
pub(super) struct Args {
    /// The evidence that `sealstone attest` took
    file: PathBuf,
    /// The manifest to judge by [default: the one inside the evidence, which needs --authority]
    #[arg(long, value_name = "ENVELOPE")]
    manifest: Option<PathBuf>,
    /// The digest of the authority set that you trust, or that handed over to the present one
    #[arg(long, value_name = "DIGEST", required_unless_present = "manifest")]
    authority: Option<AuthorityDigest>,
    /// The nonce that you gave to whoever took the evidence
    #[arg(long, value_name = "HEX", required_unless_present = "challenger")]
    nonce: Option<Nonce>,
    /// The public key (PEM, SPKI) of whoever must have chosen the nonce and signed when (`sealstone challenge new`)
    #[arg(long, value_name = "PUB.pem")]
    challenger: Option<PathBuf>,
    /// Refuse evidence of any other node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Refuse evidence that says it is older than this many seconds
    #[arg(long, value_name = "S")]
    max_age: Option<u64>,
    /// Vendors' certificates that you trust, a folder or a file: the TPM's own certificate must chain to one of them
    #[arg(long, value_name = "DIR")]
    roots: Option<PathBuf>,
    /// Vendors' certificates that may lie in between
    #[arg(long, value_name = "DIR", requires = "roots")]
    intermediates: Option<PathBuf>,
    /// Judge as of this time [default: this machine's clock]
    #[arg(long, value_name = "RFC3339")]
    at: Option<UnixTime>,
    /// Also write the verdict as one static page, accepted or refused; it is replaced
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<Answer, Failure> {
    let now = args.at.map_or_else(now, Ok)?;
    let evidence = read_evidence(&args.file)?;
    let (trusted, verdict) = judged(&args, &evidence, now)?;
    if let Some(path) = &args.html {
        let trust = trust(&args);
        let asked = Asked {
            nonce: args.nonce.as_ref(),
            challenger: args.challenger.is_some(),
            node: args.node.as_deref(),
            max_age: args.max_age,
            trust: &trust,
            roots: args.roots.is_some(),
            now,
        };
        let manifest = trusted.as_ref().map(VerifiedManifest::manifest);
        let page = html::write(&Page::of(&evidence, manifest, &verdict, &asked));
        files::replace(path, "the page", page.as_bytes())?;
    }
    Ok(answer(&verdict))
}

/// The manifest that is trusted, if there is one, and the verdict.
fn judged(
    args: &Args,
    evidence: &Evidence,
    now: UnixTime,
) -> Result<(Option<VerifiedManifest>, Verdict), Failure> {
    let challenger = args.challenger.as_deref().map(read_public).transpose()?;
    let envelope = match &args.manifest {
        Some(path) => Unverified::read(path)?.bytes,
        None => evidence.manifest.to_json(),
    };
    let trusted = match args.authority {
        Some(authority) => VerifiedManifest::through(&envelope, &evidence.predecessors, authority),
        None => VerifiedManifest::danger_trust_as_given(&envelope),
    };
    let trusted = match trusted {
        Ok(trusted) => trusted,
        Err(error) => return Ok((None, manifest_refused(chain(&error)))),
    };
    let expectations = Expectations {
        purpose: Purpose::Evidence,
        nonce: args.nonce.clone(),
        challenger,
        node: args.node.clone(),
        previous_clock: None,
        max_age: args.max_age.map(Duration::from_secs),
    };
    let mut verdict = appraise(evidence, &trusted, &expectations, now);
    if let Some(roots) = &args.roots {
        let pinned = ek::pinned(roots, args.intermediates.as_deref())?;
        verdict = verdict.and(appraise_ek_of(evidence, &pinned, now));
    }
    Ok((Some(trusted), verdict))
}

/// Where trust in the manifest starts, in words.
fn trust(args: &Args) -> String {
    match (&args.authority, &args.manifest) {
        (Some(authority), Some(path)) => format!("the authority {authority}, of {}", path.display()),
        (Some(authority), None) => format!("the authority {authority}, of the manifest in the evidence"),
        (None, Some(path)) => format!("the file {}, taken as given", path.display()),
        (None, None) => "nothing".to_owned(),
    }
}

fn answer(verdict: &Verdict) -> Answer {
    Answer::verdict(verdict.accepted(), json_of(verdict), described(verdict))
}

/// Evidence as a file holds it; nothing in it is believed yet.
pub(super) fn read_evidence(file: &Path) -> Result<Evidence, Failure> {
    let bytes = files::read(file, "evidence", Evidence::BYTES_MAX)?;
    Evidence::parse(&bytes).map_err(|error| {
        Failure::unusable(
            "EVIDENCE",
            format!("expected evidence in {}, found: {}", file.display(), chain(&error)),
            "give the file that `sealstone attest` wrote, whole",
        )
    })
}

/// A verdict for people: checks and warnings, what they say of each level, and the conclusion.
pub(super) fn described(verdict: &Verdict) -> String {
    let mut text = checks_described(verdict);
    for (level, found) in verdict.levels().iter() {
        let result = match found.result {
            LevelResult::Passed => "yes",
            LevelResult::Failed => "NO",
            LevelResult::NotShown => "not shown",
        };
        text.push_str(&format!("{}? {result}: {}\n", titled(level), shown(&found.detail)));
    }
    text.push_str(if verdict.accepted() { "accepted\n" } else { "refused\n" });
    text
}

/// Every check below its level, and every warning, a line each.
pub(super) fn checks_described(verdict: &Verdict) -> String {
    let mut text = String::new();
    for level in Level::ALL {
        let mut checks = verdict.checks().iter().filter(|check| check.level == level).peekable();
        if checks.peek().is_some() {
            text.push_str(&format!("{}:\n", titled(level)));
        }
        for check in checks {
            let result = match check.result {
                Outcome::Passed => "pass",
                Outcome::Failed => "FAIL",
                Outcome::NotApplicable => "n/a ",
            };
            text.push_str(&format!("  {result} {}: {}\n", check.name, shown(&check.detail)));
        }
    }
    for warning in verdict.warnings() {
        text.push_str(&format!("warning: {}\n", shown(warning)));
    }
    text
}

const fn titled(level: Level) -> &'static str {
    match level {
        Level::Authentic => "authentic",
        Level::Fresh => "fresh",
        Level::StateApproved => "state approved",
        Level::CodeMeasured => "code measured",
    }
}
