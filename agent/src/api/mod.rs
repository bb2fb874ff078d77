//! What clients see: HTTP/1.1 with JSON on a Unix socket. `docs/api.md` describes every route.

mod body;
mod exchange;
mod keys;
mod node;
mod server;
mod sign;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use sealstone_wire::limits::{MANIFEST_MAX, MESSAGE_MAX};

pub use server::{BindError, Server};

use crate::assets::Assets;
use crate::attest::Attestor;
use crate::enclave::Enclave;
use crate::failure::{Code, Failure};
use crate::reconcile::Reconciler;
use crate::signing::Signing;
use crate::store::Store;
use crate::tpm::Tpm;

/// Bytes of an ordinary body: the longest payload in hex, with the texts around it.
const BODY_MAX: usize = 2 * MESSAGE_MAX + 8 * 1024;

/// The parts of the agent that requests are answered from.
#[derive(Clone)]
#[allow(missing_debug_implementations, reason = "the metrics handle has none")]
pub struct Node {
    /// Reservations, receipts, assets.
    pub store: Store,
    /// The connection to the enclave.
    pub enclave: Enclave,
    /// The TPM.
    pub tpm: Tpm,
    /// Keeps the session.
    pub attestor: Attestor,
    /// Assets.
    pub assets: Arc<Assets>,
    /// Store against enclave.
    pub reconciler: Arc<Reconciler>,
    /// Signs.
    pub signing: Arc<Signing>,
    /// Counts.
    pub metrics: PrometheusHandle,
}

/// Every route.
pub fn router(node: Node) -> Router {
    Router::new()
        .route("/v1/sign", post(sign::sign))
        .route("/v1/assets", get(keys::list).post(keys::create))
        .route("/v1/assets/{tenant}/{asset}/rotate", post(keys::rotate))
        .route("/v1/keys/session", get(keys::session))
        .route("/v1/keys/{tenant}/{asset}", get(keys::asset))
        .route("/v1/evidence", get(node::evidence))
        .route("/v1/enrolment", get(node::enrolment))
        .route(
            "/v1/manifest",
            get(node::manifest).post(node::apply_manifest).layer(DefaultBodyLimit::max(MANIFEST_MAX)),
        )
        .route("/v1/lock", post(node::lock))
        .route("/v1/status", get(status::status))
        .route("/healthz", get(status::healthy))
        .route("/readyz", get(status::ready))
        .route("/metrics", get(status::metrics))
        .fallback(|| async { Failure::new(Code::NotFound, "expected a path of docs/api.md, found another") })
        .method_not_allowed_fallback(|| async {
            Failure::new(Code::MethodNotAllowed, "expected a method that this path takes, found another")
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn(exchange::around))
        .with_state(Arc::new(node))
}
