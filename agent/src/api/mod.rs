//! What clients see: HTTP/1.1 with JSON on a Unix socket, and inside TLS. `docs/api.md` describes every route.

mod assets;
mod audit;
mod body;
mod exchange;
mod keys;
mod node;
pub mod openapi;
mod page;
mod policy;
mod reservations;
mod routes;
mod server;
mod sign;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use metrics_exporter_prometheus::PrometheusHandle;
use sealstone_wire::limits::MESSAGE_MAX;

pub use server::{BindError, Server};

use crate::access::Access;
use crate::assets::Assets;
use crate::attest::Attestor;
use crate::audit::Log;
use crate::enclave::Enclave;
use crate::failure::{Code, Failure};
use crate::reconcile::Reconciler;
use crate::rule_changes::RuleChanges;
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
    /// The rules in force.
    pub rules: Arc<RuleChanges>,
    /// The audit log.
    pub log: Log,
    /// Signs.
    pub signing: Arc<Signing>,
    /// Counts.
    pub metrics: PrometheusHandle,
    /// Who may ask what.
    pub access: Access,
}

/// Every route.
pub fn router(node: Node) -> Router {
    routes::guarded()
        .fallback(|| async { Failure::new(Code::NotFound, "expected a path of docs/api.md, found another") })
        .method_not_allowed_fallback(|| async {
            Failure::new(Code::MethodNotAllowed, "expected a method that this path takes, found another")
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn(exchange::around))
        .with_state(Arc::new(node))
}
