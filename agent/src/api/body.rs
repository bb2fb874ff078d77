//! Bodies, paths and queries, as checked values; whatever is wrong with them is a problem document.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exchange::TraceId;
use crate::access::Client;
use crate::assets::Actor;
use crate::failure::{Code, Failure};

/// Who asks, in which exchange.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The client.
    pub(super) client: Arc<Client>,
    /// Names the exchange.
    pub(super) trace_id: Arc<str>,
}

impl Caller {
    /// As assets and records name it.
    pub(super) fn actor(&self) -> Actor<'_> {
        Actor { client: self.client.name(), trace_id: &self.trace_id }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let client = parts.extensions.get::<Arc<Client>>();
        let trace = parts.extensions.get::<TraceId>();
        match (client, trace) {
            (Some(client), Some(TraceId(trace_id))) => {
                Ok(Self { client: Arc::clone(client), trace_id: Arc::clone(trace_id) })
            }
            _ => Err(Failure::new(Code::Forbidden, "expected a client, found none")),
        }
    }
}

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let JsonBytes(bytes) = JsonBytes::from_request(request, state).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            Failure::new(Code::BadRequest, format!("expected a body as in docs/api.md: {error}"))
        })
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A JSON body, kept as it came.
pub(super) struct JsonBytes(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBytes {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        if !is_json(request.headers()) {
            return Err(Failure::new(
                Code::UnsupportedMediaType,
                "expected a body with content-type application/json, found another or none",
            ));
        }
        Ok(Self(Bytes::from_request(request, state).await.map_err(refused_bytes)?))
    }
}

/// The parts of a path, decoded.
pub(super) struct Named<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let named = Path::<T>::from_request_parts(parts, state).await;
        named.map(|Path(value)| Self(value)).map_err(|error: PathRejection| {
            Failure::new(
                Code::BadRequest,
                format!("expected a path as in docs/api.md: {}", error.body_text()),
            )
        })
    }
}

/// The query.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let asked = Query::<T>::from_request_parts(parts, state).await;
        asked.map(|Query(value)| Self(value)).map_err(|error: QueryRejection| {
            Failure::new(
                Code::BadRequest,
                format!("expected a query as in docs/api.md: {}", error.body_text()),
            )
        })
    }
}

fn refused_bytes(error: BytesRejection) -> Failure {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Failure::new(
            Code::PayloadTooLarge,
            "expected a body within its bound (docs/api.md), found a longer one",
        );
    }
    Failure::new(Code::BadRequest, format!("expected a whole body, found: {}", error.body_text()))
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = |value: &str| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(essence).is_some_and(|kind| {
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
    })
}
