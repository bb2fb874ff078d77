//! `sealstone verify`: appraise evidence offline, on any machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sealstone_attestation::countersign::ManifestTrust;
use sealstone_attestation::eat::{AttestationResult, EatError};
use sealstone_attestation::{
    AuthorityDigest, Expectations, Level, LevelResult, Nonce, Outcome, Purpose, UnixTime, Verdict,
    VerifiedManifest,
};

use super::ek;
use super::judge::{Basis, EvidenceFile, Judged};
use super::{name_of, now};
use crate::failure::{Failure, chain};
use crate::files::{self, PUBLIC_MODE};
use crate::html::{self, Asked, Page};
use crate::keyfile::{AuthoritySigner, read_public};
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
        sealstone verify evidence.json --nonce HEX --manifest manifest.envelope --node node-1 --max-age 300 --json\n  \
        sealstone verify evidence.json --nonce HEX --authority DIGEST --countersign auditor.key --verdict verdict.json")]
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
    #[command(flatten)]
    signed: Signed,
}

pub(super) fn run(args: Args) -> Result<Answer, Failure> {
    let Args {
        file,
        manifest,
        authority,
        nonce,
        challenger,
        node,
        max_age,
        roots,
        intermediates,
        at,
        html,
        signed,
    } = args;
    let challenger = challenger.as_deref().map(read_public).transpose()?;
    let expectations = Expectations {
        purpose: Purpose::Evidence,
        nonce,
        challenger,
        node,
        previous_clock: None,
        max_age: max_age.map(Duration::from_secs),
    };
    let trusted = authority.map_or(ManifestTrust::AsGiven, ManifestTrust::Authority);
    let at = at.map_or_else(now, Ok)?;
    let mut basis = Basis::new(EvidenceFile::read(&file)?, manifest.as_deref(), trusted, expectations, at)?;
    if let Some(roots) = roots {
        basis.pinned = Some(ek::pinned(&roots, intermediates.as_deref())?);
    }
    // Before the appraisal, so that a wrong path costs nobody a verdict.
    let signer = signed.signer()?;
    let judged = basis.judge();
    if let Some(path) = html {
        let page = page(&basis, &judged, &trust(trusted, manifest.as_deref()));
        files::replace(&path, "the page", page.as_bytes())?;
    }
    if let Some(signer) = signer {
        signed.write(&signer, &basis, &judged)?;
    }
    Ok(answer(&judged.verdict))
}

/// The verdict as a page.
fn page(basis: &Basis, judged: &Judged, trust: &str) -> String {
    let Expectations { purpose: _, nonce, challenger, node, previous_clock: _, max_age } =
        &basis.expectations;
    let asked = Asked {
        nonce: nonce.as_ref(),
        challenger: challenger.is_some(),
        node: node.as_deref(),
        max_age: max_age.map(|age| age.as_secs()),
        trust,
        roots: basis.pinned.is_some(),
        now: basis.at,
    };
    let manifest = judged.manifest.as_ref().map(VerifiedManifest::manifest);
    html::write(&Page::of(&basis.file.evidence, manifest, &judged.verdict, &asked))
}

/// Where trust in the manifest starts, in words.
fn trust(trusted: ManifestTrust, manifest: Option<&Path>) -> String {
    let of =
        manifest.map_or_else(|| "the manifest in the evidence".to_owned(), |path| path.display().to_string());
    match trusted {
        ManifestTrust::Authority(authority) => format!("the authority {authority}, of {of}"),
        ManifestTrust::AsGiven => format!("{of}, taken as given"),
    }
}

fn answer(verdict: &Verdict) -> Answer {
    Answer::verdict(verdict.accepted(), json_of(verdict), described(verdict))
}

/// What an auditor signs of a verdict.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("outputs").args(["verdict", "eat"]).multiple(true))]
struct Signed {
    /// Sign what was found with this private key (PEM, as `sealstone authority new` makes it)
    #[arg(long, value_name = "KEY.pem", requires = "outputs")]
    countersign: Option<PathBuf>,
    /// Where the signed record of the verdict goes, accepted or refused
    #[arg(long, value_name = "FILE", requires = "countersign")]
    verdict: Option<PathBuf>,
    /// Where the verdict goes as an Entity Attestation Token (RFC 9711); only of authentic evidence
    #[arg(long, value_name = "FILE", requires = "countersign")]
    eat: Option<PathBuf>,
}

/// An auditor's key, wherever it is kept, and name.
struct Auditor {
    key: AuthoritySigner,
    name: String,
}

impl Signed {
    /// The key; nothing is judged that could not be signed afterwards.
    fn signer(&self) -> Result<Option<Auditor>, Failure> {
        let Some(path) = &self.countersign else { return Ok(None) };
        for (output, what) in [(&self.verdict, VERDICT), (&self.eat, TOKEN)] {
            output.as_deref().map_or(Ok(()), |path| files::refuse_existing(path, what))?;
        }
        Ok(Some(Auditor { key: AuthoritySigner::read(path)?, name: name_of(path)? }))
    }

    /// Signs and writes what was asked for.
    fn write(&self, auditor: &Auditor, basis: &Basis, judged: &Judged) -> Result<(), Failure> {
        let Auditor { key, name } = auditor;
        let record = basis.record(judged, name.clone(), now()?);
        if let Some(path) = &self.verdict {
            let envelope = record.sign(&key.public_key(), |pae| key.sign(pae)).map_err(|error| {
                Failure::unusable(
                    "VERDICT",
                    chain(&error),
                    "rename the key's file: its name names the auditor",
                )
            })?;
            files::write_new(path, VERDICT, &envelope.to_json(), PUBLIC_MODE)?;
        }
        if let Some(path) = &self.eat {
            let refused = |error: EatError| {
                Failure::refused(
                    "EAT",
                    chain(&error),
                    "read the verdict: nothing can be claimed of this evidence",
                )
            };
            let result =
                AttestationResult::of(&record, &judged.verdict, &basis.file.evidence).map_err(refused)?;
            let token = result.sign(&key.public_key(), |bytes| key.sign(bytes)).map_err(refused)?;
            files::write_new(path, TOKEN, &token, PUBLIC_MODE)?;
        }
        Ok(())
    }
}

/// What failures call the outputs.
const VERDICT: &str = "the signed verdict";
const TOKEN: &str = "the token";

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
