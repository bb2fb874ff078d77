//! Evidence: what a node shows an auditor.

use std::io;
use std::path::{Path, PathBuf};

use sealstone_attestation::{
    Base64Bytes, Envelope, Evidence, HexBytes, Nonce, Purpose, VerifiedManifest, VerifiedReport, statement,
};
use sealstone_wire::reply::Reply;
use sealstone_wire::request::Request;

use super::round::DEADLINE;
use super::{AttestError, AttestSettings};
use crate::clock;
use crate::enclave::{CallError, Enclave};
use crate::files;
use crate::tpm::Tpm;

/// Bytes of the firmware's event log: real ones have 10 to 200 KiB.
const EVENT_LOG_MAX: u64 = 8 * 1024 * 1024;

/// Bytes of the kernel's IMA log. In base64, and with everything else, it must stay below
/// [`Evidence::BYTES_MAX`].
const IMA_LOG_MAX: u64 = 32 * 1024 * 1024;

/// Bytes of an enrolment record: two keys and a certificate.
const ENROLMENT_MAX: u64 = 64 * 1024;

/// The only format.
const FORMAT: u32 = 1;

pub(super) async fn take(
    enclave: &Enclave,
    tpm: &Tpm,
    settings: &AttestSettings,
    manifest: &VerifiedManifest,
    predecessors: Vec<Envelope>,
    checkpoint: Vec<u8>,
    nonce: Nonce,
) -> Result<Evidence, AttestError> {
    let report = match enclave.call(Request::Report, DEADLINE).await? {
        Reply::Report { envelope } => envelope,
        other => return Err(CallError::unexpected("a report", &other).into()),
    };
    let verified = VerifiedReport::parse(&report)?;
    if verified.report().manifest != manifest.digest() {
        return Err(AttestError::ManifestChanged);
    }
    let statement =
        statement(Purpose::Evidence, nonce.as_bytes(), verified.digest(), manifest.digest(), &checkpoint)
            .expect("a nonce of at most 64 bytes and a checkpoint fit");
    let identity = tpm.identity().await?;
    let quote = tpm.quote(&manifest.manifest().evidence_selection(), *statement.as_bytes()).await?;
    Ok(Evidence {
        format: FORMAT,
        purpose: Purpose::Evidence,
        nonce,
        quote,
        ak: identity.ak,
        ek: identity.ek,
        ek_certificates: identity.ek_certificate.map(HexBytes).into_iter().collect(),
        enrolment: enrolment(settings.enrolment.as_deref()).await?,
        manifest: Envelope::parse(manifest.envelope()).expect("a verified manifest was parsed from it"),
        predecessors,
        report: Envelope::parse(&report).expect("a verified report was parsed from it"),
        checkpoint,
        event_log: log(settings.event_log.as_deref(), EVENT_LOG_MAX).await?,
        ima_log: log(settings.ima_log.as_deref(), IMA_LOG_MAX).await?,
        challenge: None,
        taken_at: clock::now(),
    })
}

/// The record of this TPM's enrolment. What it says is for the auditor to judge; a file that is named must be there.
async fn enrolment(path: Option<&Path>) -> Result<Option<Envelope>, AttestError> {
    let Some(path) = path.map(PathBuf::from) else { return Ok(None) };
    let reading = path.clone();
    let read = tokio::task::spawn_blocking(move || files::read_capped(&reading, ENROLMENT_MAX)).await;
    let bytes = read.unwrap_or_else(|error| Err(io::Error::other(error)));
    let envelope = bytes.and_then(|bytes| {
        Envelope::parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    envelope.map(Some).map_err(|source| AttestError::File { path, source })
}

/// A log, if the machine has it. One that is too long is an error: half a log proves nothing.
async fn log(path: Option<&Path>, max: u64) -> Result<Option<Base64Bytes>, AttestError> {
    let Some(path) = path.map(PathBuf::from) else { return Ok(None) };
    let reading = path.clone();
    let read = tokio::task::spawn_blocking(move || files::read_capped(&reading, max)).await;
    match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(bytes) => Ok(Some(Base64Bytes(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AttestError::File { path, source }),
    }
}
