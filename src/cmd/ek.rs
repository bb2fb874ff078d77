//! `sealstone ek`: is this the certificate of a genuine TPM's endorsement key?

use std::path::{Path, PathBuf};

use clap::Subcommand;
use sealstone_attestation::endorsement::{EkCertificate, PinnedCertificates, PinnedError, appraise_ek};
use sealstone_attestation::{PublicArea, UnixTime, known_flaw};
use serde_json::json;

use super::{now, verify};
use crate::failure::{Failure, chain};
use crate::files;
use crate::output::{Answer, fields, json_of, shown};

/// Files of one folder of certificates; all vendors together have some two hundred.
const FILES_MAX: usize = 4096;

/// Bytes of one file of certificates.
const CERTIFICATES_MAX: usize = 1024 * 1024;

/// Endings of what is read from a folder of certificates.
const ENDINGS: [&str; 4] = ["pem", "crt", "cer", "der"];

/// Judge vendors' certificates of endorsement keys
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Example:\n  sealstone ek verify ek.der --roots vendor-roots --intermediates vendor-intermediates"
)]
pub(super) enum Verb {
    Verify(Args),
}

/// Appraise a certificate offline: chain to a root that you pin, purpose, strength, and the TPM that it names
///
/// The certificate is read as a file or an NV index holds it (DER or PEM); genuine but malformed ones are tolerated, and each
/// tolerance is listed as a warning. Whatever lies in --roots is trusted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone ek verify ek.der --roots vendor-roots --intermediates vendor-intermediates\n  \
        sealstone ek verify ek.pem --roots /var/lib/swtpm-localca --ek ek.pub --firmware-version 2013342764204032 --json")]
pub(super) struct Args {
    /// The certificate (tpm2_getekcertificate, `sealstone enroll request`, or an NV index read whole)
    certificate: PathBuf,
    /// Certificates that you trust: a folder of .pem, .crt, .cer and .der files, or one file
    #[arg(long, value_name = "DIR")]
    roots: PathBuf,
    /// Certificates that may lie in between; not trusted by themselves
    #[arg(long, value_name = "DIR")]
    intermediates: Option<PathBuf>,
    /// The endorsement key that it must be of: TPM2B_PUBLIC or TPMT_PUBLIC
    #[arg(long, value_name = "FILE")]
    ek: Option<PathBuf>,
    /// The TPM's firmware version as its quotes name it, to be looked up among the known bad ones
    #[arg(long, value_name = "N")]
    firmware_version: Option<u64>,
    /// Judge as of this time [default: this machine's clock]
    #[arg(long, value_name = "RFC3339")]
    at: Option<UnixTime>,
}

pub(super) fn run(verb: Verb) -> Result<Answer, Failure> {
    let Verb::Verify(Args { certificate: path, roots, intermediates, ek, firmware_version, at }) = verb;
    let now = at.map_or_else(now, Ok)?;
    let certificate = certificate(&path)?;
    let pinned = pinned(&roots, intermediates.as_deref())?;
    let ek = ek.as_deref().map(public_area).transpose()?;
    let verdict = appraise_ek(&certificate, &pinned, ek.as_ref(), now);

    let identity = certificate.identity();
    let flaw = firmware_version
        .and_then(|version| known_flaw(identity.manufacturer.as_deref().unwrap_or_default(), version));
    let unjudged = firmware_version.is_some() && identity.manufacturer.is_none();
    let accepted = verdict.accepted() && flaw.is_none() && !unjudged;
    let mut json = json_of(&verdict);
    json["accepted"] = json!(accepted);
    json["certificate"] = json!({
        "sha256": hex::encode(certificate.fingerprint()),
        "subject": certificate.subject(),
        "issuer": certificate.issuer(),
        "serial": hex::encode(certificate.serial()),
        "tpm": identity,
        "tolerances": certificate.tolerances(),
    });
    json["firmware_flaw"] = json_of(&flaw);
    json["firmware_unjudged"] = json!(unjudged);

    let unnamed = || "not said".to_owned();
    let mut text = fields(&[
        ("sha256", hex::encode(certificate.fingerprint())),
        ("issuer", shown(certificate.issuer())),
        ("manufacturer", identity.manufacturer.as_deref().map_or_else(unnamed, shown)),
        ("model", identity.model.as_deref().map_or_else(unnamed, shown)),
    ]);
    if let Some(flaw) = flaw {
        text.push_str(&format!("FAIL firmware: {} {}\n", flaw.cve, flaw.effect));
    }
    if unjudged {
        text.push_str("FAIL firmware: expected a manufacturer in the certificate, found none: the version says nothing\n");
    }
    text.push_str(&verify::checks_described(&verdict));
    text.push_str(if accepted { "accepted\n" } else { "refused\n" });
    Ok(Answer::verdict(accepted, json, text))
}

/// Reads one certificate of an endorsement key.
pub(super) fn certificate(path: &Path) -> Result<EkCertificate, Failure> {
    let bytes = files::read(path, "a certificate", CERTIFICATES_MAX)?;
    EkCertificate::parse(&bytes).map_err(|error| {
        Failure::unusable(
            "EK_CERTIFICATE",
            format!("{}: {}", path.display(), chain(&error)),
            "give the TPM's certificate itself, as tpm2_getekcertificate or `sealstone enroll request` wrote it",
        )
    })
}

/// Reads what an operator pins.
pub(super) fn pinned(roots: &Path, intermediates: Option<&Path>) -> Result<PinnedCertificates, Failure> {
    let mut pinned = PinnedCertificates::new();
    read_each(roots, |bytes| pinned.add_roots(bytes))?;
    if let Some(intermediates) = intermediates {
        read_each(intermediates, |bytes| pinned.add_intermediates(bytes))?;
    }
    Ok(pinned)
}

fn read_each(path: &Path, mut add: impl FnMut(&[u8]) -> Result<usize, PinnedError>) -> Result<(), Failure> {
    for file in files_at(path)? {
        let bytes = files::read(&file, "certificates", CERTIFICATES_MAX)?;
        add(&bytes).map_err(|error| {
            Failure::unusable(
                "CERTIFICATES",
                format!("{}: {}", file.display(), chain(&error)),
                "keep only certificates (PEM or DER) there",
            )
        })?;
    }
    Ok(())
}

/// The file itself, or the certificates of a folder in the order of their names.
fn files_at(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |error: std::io::Error| {
        Failure::unusable("FOLDER", format!("cannot read {}: {error}", path.display()), "check the path")
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let ending = file.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        if ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) {
            found.push(file);
        }
        if found.len() > FILES_MAX {
            return Err(Failure::unusable(
                "FOLDER",
                format!("expected at most {FILES_MAX} certificates in {}", path.display()),
                "pin only the vendors that you buy from",
            ));
        }
    }
    if found.is_empty() {
        return Err(Failure::unusable(
            "FOLDER",
            format!("expected certificates ({}) in {}, found none", ENDINGS.join(", "), path.display()),
            "put the vendor's root certificates there; vendors publish them, and TPM suppliers hand them out",
        ));
    }
    found.sort();
    Ok(found)
}

/// A TPM key as tpm2-tools write it.
fn public_area(path: &Path) -> Result<PublicArea, Failure> {
    let bytes = files::read(path, "a public area", files::TEXT_MAX)?;
    PublicArea::parse(&bytes).map_err(|error| {
        Failure::unusable(
            "PUBLIC_AREA",
            format!("{}: {}", path.display(), chain(&error)),
            "give TPM2B_PUBLIC or TPMT_PUBLIC, as `tpm2_readpublic -o` writes it",
        )
    })
}
