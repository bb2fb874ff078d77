//! `POST /v1/sign`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use sealstone_wire::api::SignBody;

use super::Node;
use super::body::Json;
use super::server::Peer;
use crate::failure::{Code, Failure};
use crate::signing::{IDEMPOTENCY_KEY_MAX, SignCommand};
use crate::store::IdempotencyKey;

/// The client's own name for its request.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

pub(super) async fn sign(
    State(node): State<Arc<Node>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Json(body): Json<SignBody>,
) -> Result<Response, Failure> {
    let command = SignCommand::parse(body, idempotency_key(&headers, peer)?)?;
    let answer = node.signing.sign(command).await?;
    Ok(axum::Json(&*answer).into_response())
}

fn idempotency_key(headers: &HeaderMap, peer: Peer) -> Result<Option<IdempotencyKey>, Failure> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()) => {
            Ok(Some(IdempotencyKey { client: format!("uid:{}", peer.uid), key: key.to_owned() }))
        }
        _ => Err(Failure::new(
            Code::BadRequest,
            format!("idempotency-key: expected 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters"),
        )),
    }
}
