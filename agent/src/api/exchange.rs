//! What surrounds every request: its id, its deadline, its line of log, and the problem document of a failure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sealstone_wire::api::{PROBLEM_JSON, Problem, ReasonBody};

use crate::access::Client;
use crate::failure::{Code, Failure};

/// The header that names a request, in both directions.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of a request id that a client may choose.
const REQUEST_ID_MAX: usize = 64;

/// How long an ordinary request may take, its body included.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long a request may take that the TPM takes part in: a ceremony has dozens of commands, and an RSA key
/// alone may take tens of seconds.
const TPM_DEADLINE: Duration = Duration::from_secs(300);

/// Routes that the TPM takes part in.
const TPM_ROUTES: [&str; 4] = ["/v1/evidence", "/v1/enrolment", "/v1/enrolment/activate", "/v1/manifest"];

/// Tells one run of the agent from another in the ids that it makes.
static RUN: LazyLock<u32> = LazyLock::new(|| getrandom::u32().unwrap_or_default());

/// Counts the ids that it makes.
static MADE: AtomicU64 = AtomicU64::new(0);

/// Names an exchange in logs and records; handlers get it as an extension.
#[derive(Clone, Debug)]
pub(super) struct TraceId(pub(super) Arc<str>);

/// Runs one request.
pub(super) async fn around(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers());
    request.extensions_mut().insert(TraceId(id.as_str().into()));
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let client = request.extensions().get::<Arc<Client>>().cloned();
    let deadline = if TPM_ROUTES.contains(&route) { TPM_DEADLINE } else { DEADLINE };
    let response = match client.as_ref().map_or(Ok(()), |client| client.take_token()) {
        Ok(()) => tokio::time::timeout(deadline, next.run(request)).await.unwrap_or_else(|_| late(deadline)),
        Err(failure) => failure.into_response(),
    };
    let (response, failure) = dressed(response, &id);
    let status = response.status();
    metrics::counter!("sealstone_http_responses_total", "route" => route.to_owned(), "status" => status.as_str().to_owned())
        .increment(1);
    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let request_id = &*id;
    let client = client.as_ref().map(|client| client.name());
    match failure {
        None => {
            tracing::debug!(request_id, %method, route, client, status = status.as_u16(), elapsed_ms, "done")
        }
        // Its detail quotes what was sent, which may be a payload in the wrong place.
        Some(Failure { code: code @ Code::BadRequest, .. }) => {
            tracing::info!(request_id, %method, route, client, status = status.as_u16(), elapsed_ms, %code, "refused");
        }
        Some(Failure { code, detail, .. }) if status.is_server_error() => {
            tracing::warn!(request_id, %method, route, client, status = status.as_u16(), elapsed_ms, %code, detail, "failed");
        }
        Some(Failure { code, detail, .. }) => {
            tracing::info!(request_id, %method, route, client, status = status.as_u16(), elapsed_ms, %code, detail, "refused");
        }
    }
    response
}

fn late(deadline: Duration) -> Response {
    Failure::new(
        Code::Timeout,
        format!(
            "expected the request to end within {deadline:?}, found it still under way; the same request again has \
             the same answer"
        ),
    )
    .into_response()
}

/// A failure on its way out; the problem document is written where the request's id is known.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = status(&self).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives a response its request id, and a failure its problem document.
pub(super) fn dressed(mut response: Response, id: &str) -> (Response, Option<Failure>) {
    let failure = match response.extensions_mut().remove::<Failure>() {
        Some(failure) => Some(failure),
        None if response.status().is_client_error() || response.status().is_server_error() => {
            Some(Failure::new(
                Code::BadRequest,
                format!("expected another request, found status {}", response.status()),
            ))
        }
        None => None,
    };
    if let Some(failure) = &failure {
        response = problem(failure, id);
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    (response, failure)
}

fn problem(failure: &Failure, id: &str) -> Response {
    let Failure { code, detail, reasons } = failure;
    let problem = Problem {
        kind: format!("urn:sealstone:problem:{}", code.name().to_ascii_lowercase()),
        title: code.title().to_owned(),
        status: code.status(),
        detail: detail.clone(),
        code: code.name().to_owned(),
        request_id: id.to_owned(),
        reasons: reasons
            .iter()
            .map(|reason| ReasonBody { code: reason.code.name().to_owned(), detail: reason.detail.clone() })
            .collect(),
    };
    let mut response = (status(failure), axum::Json(problem)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if let Some(seconds) = code.retry_after_s() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn status(failure: &Failure) -> StatusCode {
    StatusCode::from_u16(failure.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The client's id if it has the form of one, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    match given {
        Some(id) if (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(plain) => id.to_owned(),
        _ => new_request_id(),
    }
}

/// Unique within this machine for as long as anybody reads its logs.
pub(super) fn new_request_id() -> String {
    format!("{:08x}-{:x}", *RUN, MADE.fetch_add(1, Ordering::Relaxed))
}
