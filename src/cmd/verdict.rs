//! `sealstone verdict`: what an auditor signed of an appraisal, checked by whoever trusts that auditor, and made again by whoever
//! has the files.

use std::path::{Path, PathBuf};

use sealstone_attestation::countersign::{
    CountersignedVerdict, ManifestTrust, RecordedVerdict, VerdictRecord, VerdictRecordError,
};
use sealstone_attestation::{AuthorityDigest, AuthorityKey, Envelope, PublicKey, VerifiedManifest};
use serde_json::{Value, json};

use super::ek;
use super::judge::{Basis, EvidenceFile};
use super::manifest::Unverified;
use crate::failure::{Failure, chain};
use crate::files;
use crate::keyfile::read_public;
use crate::output::{Answer, fields, json_of, shown};

/// Check what an auditor signed of an appraisal
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Check the signature of a verdict, and, with the evidence, that the same appraisal gives the same verdict
    ///
    /// The exit code says whether the record is genuine and, with --evidence, whether its appraisal came out the same again; a
    /// record of a refusal is as genuine as one of an acceptance.
    #[command(after_help = "Examples:\n  \
            sealstone verdict verify verdict.json --key auditor.pub\n  \
            sealstone verdict verify verdict.json --key auditor.pub --evidence evidence.json --manifest manifest.envelope")]
    Verify(Args),
}

/// Options of `verdict verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The signed verdict
    file: PathBuf,
    /// The public key (PEM) of the auditor whom you trust
    #[arg(long, value_name = "PUB.pem", required_unless_present = "authority", conflicts_with = "authority")]
    key: Option<PathBuf>,
    /// Trust the members of this authority set instead: they are those of the manifest
    #[arg(long, value_name = "DIGEST")]
    authority: Option<AuthorityDigest>,
    /// The evidence that was judged: make its appraisal again, as of the same time
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    /// The manifest that it was judged by [default: the one inside the evidence]
    #[arg(long, value_name = "ENVELOPE")]
    manifest: Option<PathBuf>,
    /// The vendors' certificates that were pinned, if any were
    #[arg(long, value_name = "DIR", requires = "evidence")]
    roots: Option<PathBuf>,
    /// Those that could lie in between
    #[arg(long, value_name = "DIR", requires = "roots")]
    intermediates: Option<PathBuf>,
}

pub(super) fn run(verb: Verb) -> Result<Answer, Failure> {
    let Verb::Verify(args) = verb;
    let bytes = files::read(&args.file, "a signed verdict", Envelope::BYTES_MAX)?;
    let evidence = args.evidence.as_deref().map(EvidenceFile::read).transpose()?;
    let auditors = auditors(&args, evidence.as_ref())?;
    let signed =
        CountersignedVerdict::parse(&bytes, &auditors).map_err(|error| unsigned(&args.file, &error))?;
    let record = signed.record();
    let differs = match evidence {
        None => None,
        Some(evidence) => Some(differs(record, evidence, &args)?),
    };
    let genuine = !matches!(differs, Some(Some(_)));
    Ok(Answer::verdict(genuine, as_json(&signed, differs), as_text(&signed, differs)))
}

/// The keys that may have signed.
fn auditors(args: &Args, evidence: Option<&EvidenceFile>) -> Result<Vec<PublicKey>, Failure> {
    let Some(authority) = args.authority else {
        let path = args.key.as_deref().expect("the command line demands one of them");
        return read_public(path).map(|key| vec![key]);
    };
    let envelope = match (&args.manifest, evidence) {
        (Some(path), _) => Unverified::read(path)?.bytes,
        (None, Some(evidence)) => evidence.evidence.manifest.to_json(),
        (None, None) => {
            return Err(Failure::unusable(
                "USAGE",
                "expected a manifest whose authority set has the auditor's key, found neither --manifest nor --evidence",
                "give one of them, or the auditor's public key with --key",
            ));
        }
    };
    let predecessors = evidence.map_or(&[][..], |evidence| &evidence.evidence.predecessors);
    let manifest = VerifiedManifest::through(&envelope, predecessors, authority).map_err(|error| {
        Failure::refused("MANIFEST", chain(&error), "give the manifest that this authority approved")
    })?;
    Ok(manifest.manifest().authority().keys().iter().map(AuthorityKey::public_key).copied().collect())
}

/// Makes the appraisal again; the first part that is not as recorded.
fn differs(
    record: &VerdictRecord,
    evidence: EvidenceFile,
    args: &Args,
) -> Result<Option<&'static str>, Failure> {
    let (trusted, expectations) = (record.manifest.trusted, record.expectations.again());
    let mut basis = Basis::new(evidence, args.manifest.as_deref(), trusted, expectations, record.judged_at)?;
    if let Some(roots) = &args.roots {
        basis.pinned = Some(ek::pinned(roots, args.intermediates.as_deref())?);
    }
    let again = basis.record(&basis.judge(), record.auditor.clone(), record.signed_at);
    Ok(record.difference(&again))
}

/// What is no record is unusable; what a stranger signed, or nobody, is refused.
fn unsigned(file: &Path, error: &VerdictRecordError) -> Failure {
    let detail = format!("expected a signed verdict in {}, found: {}", file.display(), chain(error));
    match error {
        VerdictRecordError::Foreign { .. }
        | VerdictRecordError::Signature(_)
        | VerdictRecordError::Signatures { .. } => Failure::refused(
            "VERDICT_SIGNATURE",
            detail,
            "believe nothing of it; get the auditor's own file and key",
        ),
        _ => Failure::unusable(
            "VERDICT",
            detail,
            "give the file that `sealstone verify --verdict` wrote, whole",
        ),
    }
}

fn as_json(signed: &CountersignedVerdict, differs: Option<Option<&'static str>>) -> Value {
    let mut json = json_of(signed.record());
    json["key_id"] = json_of(&signed.key().key_id());
    json["reappraised"] = json!(differs.is_some());
    json["differs"] = json!(differs.flatten());
    json
}

fn as_text(signed: &CountersignedVerdict, differs: Option<Option<&'static str>>) -> String {
    let VerdictRecord { evidence, manifest, judged_at, signed_at, auditor, verdict, .. } = signed.record();
    let trusted = match manifest.trusted {
        ManifestTrust::AsGiven => "trusted as given".to_owned(),
        ManifestTrust::Authority(authority) => format!("of the authority {authority}"),
    };
    let mut text = fields(&[
        ("auditor", format!("{} ({})", shown(auditor), signed.key().key_id())),
        ("signed at", signed_at.to_string()),
        ("judged as of", judged_at.to_string()),
        ("evidence", evidence.to_string()),
        ("manifest", format!("{} {trusted}", manifest.digest)),
        ("verdict", found(verdict)),
    ]);
    text.push_str(match differs {
        None => "the signature is valid; give --evidence to make the appraisal again\n",
        Some(None) => "the signature is valid, and the same appraisal gives the same verdict\n",
        Some(Some(_)) => "",
    });
    if let Some(Some(part)) = differs {
        text.push_str(&format!("REFUSED: the signature is valid, but the appraisal differs in its {part}\n"));
    }
    text
}

/// The verdict in a line.
fn found(verdict: &RecordedVerdict) -> String {
    let failed: Vec<&str> = verdict
        .checks
        .iter()
        .filter(|check| check.result == sealstone_attestation::Outcome::Failed)
        .map(|check| check.name.as_str())
        .collect();
    match (verdict.accepted, failed.first()) {
        (true, _) => "accepted".to_owned(),
        (false, Some(first)) => format!(
            "refused: {} of {} checks failed, first {}",
            failed.len(),
            verdict.checks.len(),
            shown(first)
        ),
        (false, None) => "refused".to_owned(),
    }
}
