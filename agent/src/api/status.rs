//! Is this node healthy, and if not, why?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use sealstone_attestation::Protection;
use sealstone_wire::api::{LogStatus, NodeStatus, PolicyStatus, Reason, RulesStatus, StoreStatus};
use sealstone_wire::reply::{RefusalCode, Reply, Status};
use sealstone_wire::request::Request;

use super::Node;
use super::body::Json;
use crate::attest::AttestState;
use crate::audit;
use crate::clock;
use crate::enclave::CallError;
use crate::failure::{Code, Failure, open_session};
use crate::store::StoreError;

/// How long the enclave may take to say how it is; a status must not hang when something else does.
const STATUS_DEADLINE: Duration = Duration::from_secs(5);

/// Protections that become metrics; more than the enclave measures, and each is a time series.
const PROTECTIONS_MAX: usize = 64;

pub(super) async fn status(State(node): State<Arc<Node>>) -> Result<Json<NodeStatus>, Failure> {
    let mut failures = Vec::new();
    failures.extend(signs(&node).await.err());
    let enclave = match enclave_status(&node).await {
        Ok(status) => Some(status),
        Err(failure) => {
            if failures.iter().all(|known| known.code != failure.code) {
                failures.push(failure);
            }
            None
        }
    };
    let (reservations, log, version) = match stored(&node, enclave.as_ref()).await {
        Ok((reservations, log, version)) => (reservations, Some(log), Some(version)),
        Err(error) => {
            failures.push(error.into());
            Default::default()
        }
    };
    let PolicyStatus { digest: policy, sanctions, prices, .. } = node.rules.in_force();
    Ok(Json(NodeStatus {
        ready: failures.is_empty(),
        reasons: failures.into_iter().map(reason).collect(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        enclave,
        tpm: node.tpm.status(),
        store: StoreStatus { kind: node.store.kind().to_owned(), version },
        reservations,
        rules: RulesStatus { policy, sanctions, prices },
        log,
    }))
}

/// What the store says: counts by reservation state, the log, the version of its tables.
async fn stored(
    node: &Node,
    enclave: Option<&Status>,
) -> Result<(BTreeMap<String, u64>, LogStatus, u64), StoreError> {
    let counts = node.store.counts().await?;
    let log = audit::standing(&node.store, enclave).await?;
    Ok((counts, log, node.store.version().await?))
}

/// The process serves.
pub(super) async fn healthy() -> &'static str {
    "ok\n"
}

/// A signature would be made now.
pub(super) async fn ready(State(node): State<Arc<Node>>) -> Result<&'static str, Failure> {
    signs(&node).await?;
    node.store.ping().await?;
    Ok("ready\n")
}

pub(super) async fn metrics(State(node): State<Arc<Node>>) -> impl IntoResponse {
    let state = node.attestor.state().borrow().clone();
    let expires = match &state {
        AttestState::Ready { session, .. } => session.expires_at.as_secs(),
        _ => 0,
    };
    let flag = |yes: bool| if yes { 1.0 } else { 0.0 };
    metrics::gauge!("sealstone_ready").set(flag(signs(&node).await.is_ok()));
    // Exact: a Unix time has far fewer than 53 bits.
    metrics::gauge!("sealstone_session_expires_timestamp_seconds")
        .set(f64::from(u32::try_from(expires).unwrap_or(u32::MAX)));
    metrics::gauge!("sealstone_unfunded").set(flag(node.reconciler.unfunded()));
    if let Some(tls) = node.access.rules().tls() {
        let now = clock::now().as_secs();
        let left =
            |end: u64, start: u64| f64::from(u32::try_from(end.saturating_sub(start)).unwrap_or(u32::MAX));
        let expires = tls.expires_at();
        metrics::gauge!("sealstone_tls_certificate_expires_seconds")
            .set(left(expires, now) - left(now, expires));
    }
    if let Ok(status) = enclave_status(&node).await {
        for Protection { name, active, .. } in status.protections.into_iter().take(PROTECTIONS_MAX) {
            metrics::gauge!("sealstone_enclave_protection_active", "protection" => name).set(flag(active));
        }
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], node.metrics.render())
}

async fn signs(node: &Node) -> Result<(), Failure> {
    if let Some(failure) = node.reconciler.verdict().await {
        return Err(failure);
    }
    let state = node.attestor.state().borrow().clone();
    let (session, era, generation) = open_session(&state)?;
    node.reconciler.settled(generation, era, session).await.map(drop)
}

async fn enclave_status(node: &Node) -> Result<Status, Failure> {
    match node.enclave.call(Request::Status, STATUS_DEADLINE).await? {
        Reply::Status(status) => Ok(status),
        other => Err(CallError::unexpected("a status", &other).into()),
    }
}

fn reason(failure: Failure) -> Reason {
    let action = match failure.code {
        Code::Starting => "wait a moment and ask again",
        Code::EnclaveUnreachable => {
            "start the enclave, and check enclave.address, enclave.key_file and enclave.public_keys of the agent's \
             configuration"
        }
        Code::StoreRolledBack => "stop the agent and restore the newest copy of its store",
        Code::StoreForeign => "stop the agent and give it the store of this node",
        Code::StoreFull => "free some disk space",
        Code::StoreFailed => "look at the agent's log; check the disk that holds the store",
        Code::TpmFailed | Code::NotAttested("TPM_FAILED") => {
            "check that the TPM is reachable as tpm.tcti of the agent's configuration says"
        }
        Code::Enclave(RefusalCode::Unprovisioned) => "apply a signed manifest that enrols this node",
        Code::NotAttested("ATTESTATION_FAILED" | "PCRS_CHANGED" | "SEAL_STATE_MISMATCH") => {
            "if the machine's state was meant to change, have a manifest signed that approves it, and apply it"
        }
        Code::Enclave(RefusalCode::AuditBehind) => {
            "look at the agent's log for why the audit log's head is not signed; docs/audit.md says what to do"
        }
        Code::NotAttested("LOCKED_BY_OPERATOR") => "restart the agent to unlock the node",
        Code::NotAttested("MANIFEST_MISSING") => "apply the manifest that is in force again",
        _ => "run `sealstone doctor`",
    };
    let Failure { code, detail, reasons: _ } = failure;
    Reason { code: code.name().to_owned(), detail, action: action.to_owned() }
}
