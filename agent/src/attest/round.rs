//! The single steps between enclave and TPM.

use std::time::Duration;

use sealstone_attestation::{PcrValues, Purpose, VerifiedManifest, VerifiedReport, statement};
use sealstone_wire::limits::MANIFEST_CHUNK_MAX;
use sealstone_wire::reply::{Phase, RefusalCode, Reply, Session, Status};
use sealstone_wire::request::Request;

use super::AttestError;
use crate::audit::Anchor;
use crate::enclave::{CallError, Enclave};
use crate::tpm::Tpm;

/// How long the enclave may take for what needs no TPM: signatures and small files.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

pub(super) async fn status(enclave: &Enclave) -> Result<Status, AttestError> {
    match enclave.call(Request::Status, DEADLINE).await? {
        Reply::Status(status) => Ok(status),
        other => Err(CallError::unexpected("a status", &other).into()),
    }
}

pub(super) async fn expect_done(enclave: &Enclave, request: Request) -> Result<(), AttestError> {
    match enclave.call(request, DEADLINE).await? {
        Reply::Done => Ok(()),
        other => Err(CallError::unexpected("done", &other).into()),
    }
}

/// The enclave's status once it is unlocked, for which it may have to be unlocked.
pub(super) async fn unlocked(enclave: &Enclave, tpm: &Tpm) -> Result<Status, AttestError> {
    let status = status(enclave).await?;
    match status.phase {
        Phase::Unprovisioned => Err(AttestError::Unprovisioned),
        Phase::Unlocked | Phase::Attested => Ok(status),
        Phase::Locked => {
            let hints = tpm.hints().await?;
            ceremony(enclave, tpm, Request::Unlock { tpm: hints }).await
        }
    }
}

/// Uploads a manifest and has the enclave take it.
pub(super) async fn apply(
    enclave: &Enclave,
    tpm: &Tpm,
    envelope: &[u8],
    provision_as: Option<String>,
) -> Result<Status, AttestError> {
    let hints = tpm.hints().await?;
    let mut offset = 0;
    for chunk in envelope.chunks(MANIFEST_CHUNK_MAX) {
        expect_done(enclave, Request::ManifestChunk { offset, bytes: chunk.to_vec() }).await?;
        offset += u32::try_from(chunk.len()).expect("bounded by MANIFEST_CHUNK_MAX");
    }
    let request = match provision_as {
        Some(node) => Request::Provision { node, tpm: hints },
        None => Request::ApplyManifest { tpm: hints },
    };
    ceremony(enclave, tpm, request).await
}

/// Challenge, quote, attest; gives the session and the PCR values that opened it. The quote binds the newest checkpoint of
/// the audit log that this side holds.
pub(super) async fn open_session(
    enclave: &Enclave,
    tpm: &Tpm,
    generation: u64,
    manifest: &VerifiedManifest,
    anchor: &Anchor,
) -> Result<(Session, PcrValues), AttestError> {
    match attested(enclave, tpm, generation, manifest, Some(anchor)).await {
        // The enclave signed a newer one whose answer was lost. Without a session nothing would ever fetch what was lost
        // with it, so this quote binds none; the next one binds the newest again.
        Err(AttestError::Enclave(CallError::Refused(refusal)))
            if refusal.code == RefusalCode::AuditMismatch =>
        {
            tracing::warn!(detail = refusal.detail, "attesting without a checkpoint of the audit log");
            attested(enclave, tpm, generation, manifest, None).await
        }
        outcome => outcome,
    }
}

async fn attested(
    enclave: &Enclave,
    tpm: &Tpm,
    generation: u64,
    manifest: &VerifiedManifest,
    anchor: Option<&Anchor>,
) -> Result<(Session, PcrValues), AttestError> {
    let (nonce, report) = match enclave.call_in(generation, Request::Challenge, DEADLINE).await? {
        Reply::Challenge { nonce, report } => (nonce, VerifiedReport::parse(&report)?),
        other => return Err(CallError::unexpected("a challenge", &other).into()),
    };
    if report.report().manifest != manifest.digest() {
        return Err(AttestError::ManifestChanged);
    }
    // Read after the challenge: the enclave refuses one that is older than the newest when it gave that.
    let checkpoint = match anchor {
        Some(anchor) => anchor.newest().await,
        None => Vec::new(),
    };
    let statement = statement(Purpose::Session, &nonce, report.digest(), manifest.digest(), &checkpoint)
        .expect("a nonce of 32 bytes and a checkpoint fit");
    let quote = tpm.quote(&manifest.manifest().quote_selection(), *statement.as_bytes()).await?;
    let pcrs = quote.pcrs.clone();
    match enclave.call_in(generation, Request::Attest { quote, checkpoint }, DEADLINE).await? {
        Reply::Session(session) => Ok((session, pcrs)),
        other => Err(CallError::unexpected("a session", &other).into()),
    }
}

async fn ceremony(enclave: &Enclave, tpm: &Tpm, request: Request) -> Result<Status, AttestError> {
    let mut relay = tpm.relay().await?;
    match enclave.ceremony(request, &mut relay).await? {
        Reply::Status(status) => Ok(status),
        other => Err(CallError::unexpected("a status", &other).into()),
    }
}
