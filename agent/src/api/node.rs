//! The machine itself: evidence, enrolment, manifest, lock.

use std::future::Future;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use schemars::JsonSchema;
use sealstone_attestation::{Credential, Evidence, Nonce};
use sealstone_wire::api::{ActivateAsk, Activated, Enrolment};
use sealstone_wire::reply::Status;
use serde::{Deserialize, Serialize};

use super::Node;
use super::body::{Asked, Caller, Json, JsonBytes};
use crate::attest::AttestError;
use crate::failure::{Code, Failure};
use crate::tpm::TpmError;

/// Query of `GET /v1/evidence`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EvidenceQuery {
    #[schemars(regex(pattern = r"^([0-9a-fA-F]{2}){16,64}$"))]
    nonce: String,
}

/// Query of `POST /v1/manifest`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestQuery {
    provision: Option<String>,
}

/// Answer to `POST /v1/lock`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Locked {
    locked: bool,
}

pub(super) async fn evidence(
    State(node): State<Arc<Node>>,
    Asked(EvidenceQuery { nonce }): Asked<EvidenceQuery>,
) -> Result<impl IntoResponse, Failure> {
    let nonce: Nonce =
        nonce.parse().map_err(|error| Failure::new(Code::BadRequest, format!("nonce: {error}")))?;
    let evidence = to_the_end(async move { node.attestor.evidence(nonce).await }).await?;
    Ok(([(CONTENT_TYPE, Evidence::MEDIA_TYPE)], evidence.to_json()))
}

pub(super) async fn enrolment(State(node): State<Arc<Node>>) -> Result<Json<Enrolment>, Failure> {
    let enrolment = node.tpm.enrolment().await.map_err(AttestError::from)?;
    Ok(Json(enrolment))
}

pub(super) async fn activate(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Json(ActivateAsk { credential, encrypted_seed }): Json<ActivateAsk>,
) -> Result<Json<Activated>, Failure> {
    let bytes = |name: &str, text: &str| {
        hex::decode(text).map_err(|_| {
            Failure::new(Code::BadRequest, format!("{name}: expected pairs of hex digits, found others"))
        })
    };
    let credential = Credential {
        id_object: bytes("credential", &credential)?,
        encrypted_seed: bytes("encrypted_seed", &encrypted_seed)?,
    };
    let secret = node.tpm.activate(credential).await.map_err(|error| match error {
        TpmError::Credential => Failure::new(Code::BadRequest, error.to_string()),
        other => AttestError::from(other).into(),
    })?;
    tracing::info!(client = caller.client.name(), "opened a credential for an enrolling authority");
    Ok(Json(Activated { secret: hex::encode(secret) }))
}

pub(super) async fn manifest(State(node): State<Arc<Node>>) -> Result<impl IntoResponse, Failure> {
    let manifest = node.attestor.manifest().await?;
    Ok(json_bytes(manifest.envelope().to_vec()))
}

pub(super) async fn apply_manifest(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Asked(ManifestQuery { provision }): Asked<ManifestQuery>,
    JsonBytes(envelope): JsonBytes,
) -> Result<Json<Status>, Failure> {
    let applied = to_the_end(async move {
        node.attestor.apply_manifest(&caller.actor(), envelope.to_vec(), provision).await
    });
    applied.await.map(Json)
}

pub(super) async fn lock(State(node): State<Arc<Node>>, caller: Caller) -> Result<Json<Locked>, Failure> {
    let client = caller.client.name().to_owned();
    to_the_end(async move { node.attestor.lock(&caller.actor()).await }).await?;
    tracing::warn!(client, "locked by its operator");
    Ok(Json(Locked { locked: true }))
}

/// Runs to its end even if the client goes away: half a ceremony helps nobody.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, AttestError>> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::spawn(work).await {
        Ok(outcome) => outcome.map_err(Failure::from),
        Err(_) => Err(Failure::new(Code::OutcomeUnknown, "the task ended early; ask for the node's status")),
    }
}

fn json_bytes(bytes: Vec<u8>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], bytes)
}
