//! `POST /v1/sign`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use sealstone_wire::api::SignBody;
use serde::Deserialize;

use super::Node;
use super::body::{Asked, Caller, Json};
use crate::access::Role;
use crate::failure::{Code, Failure};
use crate::signing::{Asker, IDEMPOTENCY_KEY_MAX, SignCommand};

/// The client's own name for its request.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Query of `POST /v1/sign`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignQuery {
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn sign(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Asked(SignQuery { dry_run }): Asked<SignQuery>,
    headers: HeaderMap,
    Json(body): Json<SignBody>,
) -> Result<Response, Failure> {
    if !dry_run {
        // Who approves may see what would happen, and sign nothing.
        caller.client.require(&[Role::Signer])?;
    }
    caller.client.require_tenant(&body.tenant)?;
    let asker = Asker {
        client: caller.client.name().to_owned(),
        idempotency: idempotency_key(&headers)?,
        trace_id: caller.trace_id.to_string(),
    };
    let command = SignCommand::parse(body, asker)?;
    if dry_run {
        return Ok(axum::Json(node.signing.dry_run(&command).await?).into_response());
    }
    let answer = node.signing.sign(command).await?;
    Ok(axum::Json(&*answer).into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Failure::new(
            Code::BadRequest,
            format!("idempotency-key: expected 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters"),
        )),
    }
}
