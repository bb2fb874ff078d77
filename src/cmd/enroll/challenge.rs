//! `sealstone enroll challenge`: the authority judges a TPM's certificate and keys, and challenges it.

use std::path::PathBuf;

use getrandom::SysRng;
use sealstone_attestation::endorsement::{EkCertificate, appraise_ek, root_of};
use sealstone_attestation::{Base64Bytes, Credential, Sha256Digest, UnixTime, known_flaw};
use sealstone_wire::api::{ActivateAsk, Enrolment};
use serde_json::json;
use zeroize::Zeroizing;

use super::files::{self, Challenge, FORMAT, Pending};
use crate::cmd::{ek, now, verify};
use crate::failure::{Failure, chain};
use crate::files::{PUBLIC_MODE, SECRET_MODE, write_new};
use crate::output::{Answer, fields};

/// Bytes of the secret: what every endorsement key's name hash can hold.
const SECRET: usize = 32;

/// Where the authority is: judge a node's TPM and make a challenge that only this TPM can answer
///
/// The certificate must chain to a root that you pin. The attestation key must be restricted to what the TPM itself made; its
/// name goes into the challenge, so that no other key can stand in for it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone enroll challenge request.json --roots vendor-roots --pending node-1.pending -o challenge.json\n  \
        sealstone enroll challenge request.json --without-certificate --pending node-1.pending -o challenge.json")]
pub(in crate::cmd) struct Args {
    /// What the node wrote with `sealstone enroll request`
    request: PathBuf,
    /// Vendors' certificates that you trust: a folder or a file
    #[arg(long, value_name = "DIR", required_unless_present = "without_certificate")]
    roots: Option<PathBuf>,
    /// Vendors' certificates that may lie in between
    #[arg(long, value_name = "DIR")]
    intermediates: Option<PathBuf>,
    /// The certificate, when the TPM holds none: vendors hand them out by serial number
    #[arg(long, value_name = "FILE", conflicts_with = "without_certificate")]
    certificate: Option<PathBuf>,
    /// Enrol a TPM that no vendor vouches for; the record says so
    #[arg(long, conflicts_with = "roots")]
    without_certificate: bool,
    /// Enrol a TPM although this is known against its firmware, such as CVE-2019-16863; the record says so
    #[arg(long, value_name = "CVE")]
    accept_flaw: Option<String>,
    /// Judge as of this time [default: this machine's clock]
    #[arg(long, value_name = "RFC3339")]
    at: Option<UnixTime>,
    /// What you keep for `sealstone enroll sign`; for your eyes alone
    #[arg(long, value_name = "FILE")]
    pending: PathBuf,
    /// The challenge, for the node
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Answer, Failure> {
    let now = args.at.map_or_else(now, Ok)?;
    let enrolment: Enrolment = files::read(&args.request, "an enrolment request", "request")?;
    enrolment.ak.check_attestation_key().map_err(|flaw| {
        Failure::refused(
            "ATTESTATION_KEY",
            chain(&flaw),
            "have the node make its attestation key with this release's agent",
        )
    })?;
    let judged = match judge(args, &enrolment, now)? {
        Ok(judged) => judged,
        Err(refused) => return Ok(refused),
    };

    let mut secret = Zeroizing::new([0; SECRET]);
    getrandom::fill(secret.as_mut_slice()).map_err(|error| {
        Failure::unusable("RANDOMNESS", error.to_string(), "check this machine's random generator")
    })?;
    let credential = Credential::make(&enrolment.ek, enrolment.ak.name(), secret.as_slice(), &mut SysRng)
        .map_err(|error| {
            Failure::refused(
                "ENDORSEMENT_KEY",
                chain(&error),
                "enrol an endorsement key of the TCG's templates",
            )
        })?;
    let (ek, ak) = (enrolment.ek.name().to_string(), enrolment.ak.name().to_string());
    let Judged { certificate, root, manufacturer, remarks, text } = judged;
    let pending = Pending {
        format: FORMAT,
        enrolment,
        ek_certificate: certificate,
        root,
        manufacturer,
        remarks: remarks.clone(),
        answer: Sha256Digest::of(secret.as_slice()),
        made_at: now,
    };
    let ask = ActivateAsk {
        credential: hex::encode(&credential.id_object),
        encrypted_seed: hex::encode(&credential.encrypted_seed),
    };
    write_new(&args.pending, "the pending enrolment", &files::json(&pending), SECRET_MODE)?;
    write_new(&args.out, "the challenge", &files::json(&Challenge { format: FORMAT, ask }), PUBLIC_MODE)?;

    let mut text = text;
    text.push_str(&fields(&[
        ("endorsement key", ek.clone()),
        ("attestation key", ak.clone()),
        ("challenge", args.out.display().to_string()),
        ("pending", args.pending.display().to_string()),
    ]));
    for remark in &remarks {
        text.push_str(&format!("remark: {}\n", crate::output::shown(remark)));
    }
    text.push_str("next, on the node: sealstone enroll activate\n");
    let json = json!({
        "accepted": true, "ek": ek, "ak": ak, "root": root, "remarks": remarks,
        "out": args.out.display().to_string(), "pending": args.pending.display().to_string(),
    });
    Ok(Answer::done(json, text))
}

/// A TPM that may be challenged.
struct Judged {
    certificate: Option<Base64Bytes>,
    root: Option<Sha256Digest>,
    manufacturer: Option<String>,
    remarks: Vec<String>,
    text: String,
}

/// Judges the certificate and the firmware; a refusal is an answer with every check.
fn judge(args: &Args, enrolment: &Enrolment, now: UnixTime) -> Result<Result<Judged, Answer>, Failure> {
    let Some(roots) = &args.roots else {
        let remarks = vec!["no vendor's certificate was asked for: this may be any TPM, or none".to_owned()];
        let judged =
            Judged { certificate: None, root: None, manufacturer: None, remarks, text: String::new() };
        return Ok(Ok(judged));
    };
    let certificate = match (&args.certificate, &enrolment.ek_certificate) {
        (Some(path), _) => ek::certificate(path)?,
        (None, Some(in_nv)) => {
            EkCertificate::parse(&hex::decode(in_nv).unwrap_or_default()).map_err(|error| {
                Failure::unusable(
                    "EK_CERTIFICATE",
                    format!("{}: {}", args.request.display(), chain(&error)),
                    "give the vendor's certificate of this TPM with --certificate",
                )
            })?
        }
        (None, None) => {
            return Err(Failure::unusable(
                "EK_CERTIFICATE",
                "expected a certificate of the endorsement key, found none in the TPM",
                "give it with --certificate, or enrol the TPM --without-certificate if you know where it comes from",
            ));
        }
    };
    let pinned = ek::pinned(roots, args.intermediates.as_deref())?;
    let verdict = appraise_ek(&certificate, &pinned, Some(&enrolment.ek), now);
    let text = verify::checks_described(&verdict);
    if !verdict.accepted() {
        let mut json = crate::output::json_of(&verdict);
        json["accepted"] = json!(false);
        return Ok(Err(Answer::verdict(false, json, format!("{text}refused\n"))));
    }
    let manufacturer = certificate.identity().manufacturer.clone();
    let mut remarks = verdict.warnings().to_vec();
    if manufacturer.is_none() {
        remarks.push("the certificate names no manufacturer, so nothing is known of its firmware".to_owned());
    }
    let flaw = known_flaw(manufacturer.as_deref().unwrap_or_default(), enrolment.firmware_version);
    if let Some(flaw) = flaw {
        if args.accept_flaw.as_deref() != Some(flaw.cve) {
            return Err(Failure::refused(
                "FIRMWARE_FLAW",
                format!(
                    "expected firmware without known flaws, found version {:#018x}, which {} ({})",
                    enrolment.firmware_version, flaw.effect, flaw.cve
                ),
                format!("update the TPM's firmware, or enrol it with --accept-flaw {}", flaw.cve),
            ));
        }
        remarks.push(format!("the firmware {} ({}), accepted by the authority", flaw.effect, flaw.cve));
    }
    let root = root_of(&certificate, &pinned, now);
    let certificate = Some(Base64Bytes(certificate.as_der().to_vec()));
    Ok(Ok(Judged { certificate, root, manufacturer, remarks, text }))
}
