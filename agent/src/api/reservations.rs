//! Reservations: listed, shown, voided; nonces released.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use schemars::JsonSchema;
use sealstone_attestation::Sha256Digest;
use sealstone_attestation::audit::{Record, RecordKind};
use sealstone_wire::PathText;
use sealstone_wire::api::{
    NodeReceipt, ReleaseBody, Released, ReservationBody, ReservationList, ReservationState, VoidBody,
};
use serde::Deserialize;

use super::Node;
use super::assets::reconciled;
use super::body::{Asked, Caller, Json, Named};
use super::page::{Limit, visible};
use crate::access::Client;
use crate::audit::{self, Act};
use crate::failure::{Code, Failure};
use crate::store::{
    self, NoncesReleased, RELEASED_MAX, ReleaseNonces, Reservation, ReservationQuery, ReservedKey, Sender,
    StoreError, Voided,
};

/// Query of `GET /v1/reservations`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReservationsQuery {
    state: Option<ReservationState>,
    tenant: Option<PathText>,
    asset: Option<PathText>,
    session: Option<PathText>,
    chain_id: Option<u64>,
    after: Option<u64>,
    limit: Option<Limit>,
}

pub(super) async fn list(
    State(node): State<Arc<Node>>,
    Extension(client): Extension<Arc<Client>>,
    Asked(query): Asked<ReservationsQuery>,
) -> Result<Json<ReservationList>, Failure> {
    let ReservationsQuery { state, tenant, asset, session, chain_id, after, limit } = query;
    let sender = match (&tenant, asset, session) {
        (_, None, None) => None,
        (Some(tenant), asset, session) => Some(sender(tenant, asset, session)?.0),
        (None, ..) => {
            return Err(Failure::new(
                Code::BadRequest,
                "expected a tenant with an asset or a session, found none",
            ));
        }
    };
    let query = ReservationQuery {
        state: state.map(stored_state),
        tenants: visible(&client, tenant),
        sender,
        chain_id,
        // No reservation has a number beyond those that the store can have.
        after: after.map(|after| i64::try_from(after).unwrap_or(i64::MAX)),
    };
    let rows = Limit::rows(limit);
    let found = node.store.reservations(&query, rows).await?;
    let reservations = found.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
    let next = reservations.last().filter(|_| reservations.len() == rows).map(|last| last.id);
    Ok(Json(ReservationList { reservations, next }))
}

pub(super) async fn show(
    State(node): State<Arc<Node>>,
    Extension(client): Extension<Arc<Client>>,
    Named(id): Named<u64>,
) -> Result<Json<ReservationBody>, Failure> {
    Ok(Json(find(&node, &client, id).await?.1))
}

/// Needs no session: it only ends what may be signed.
pub(super) async fn void(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Named(id): Named<u64>,
    Json(VoidBody { reason }): Json<VoidBody>,
) -> Result<Json<ReservationBody>, Failure> {
    let (reservation, _) = find(&node, &caller.client, id).await?;
    let record = audit::act(caller.actor().act(RecordKind::Voided), format!("{id}: {}", reason.as_str()));
    let record = audit::row(&audit::of_reservation(record, &reservation));
    let closed = |found: &str| {
        Failure::new(
            Code::ReservationClosed,
            format!("expected reservation {id} to be open, found that {found}"),
        )
    };
    match node.store.void(reservation.id, record).await? {
        Voided::Voided => {}
        Voided::Unknown => return Err(unknown(id)),
        Voided::Signed => return Err(closed("it was signed")),
        Voided::Replaced => return Err(closed("its nonce was released")),
    }
    tracing::warn!(client = caller.client.name(), reservation = id, "reservation voided");
    Ok(Json(find(&node, &caller.client, id).await?.1))
}

pub(super) async fn release(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Json(body): Json<ReleaseBody>,
) -> Result<Json<Released>, Failure> {
    let ReleaseBody { tenant, asset, session, chain_id, from, to, reason } = body;
    caller.client.require_tenant(&tenant)?;
    let (sender, name) = sender(&tenant, asset, session)?;
    if from > to {
        return Err(Failure::new(
            Code::BadRequest,
            format!("expected a last nonce of {from} or more, found {to}"),
        ));
    }
    reconciled(&node).await?;
    let actor = caller.actor();
    let act = Act { of: Some((&tenant, &name)), ..actor.act(RecordKind::NoncesReleased) };
    let detail = format!("nonces {from} to {to}: {}", reason.as_str());
    let record = Record { chain_id: Some(chain_id), nonce: Some(from), ..audit::act(act, detail) };
    let order = ReleaseNonces { chain_id, sender, nonces: from..=to, audit: audit::row(&record) };
    match node.store.release_nonces(order).await? {
        NoncesReleased::Released { reservations } => {
            tracing::warn!(client = caller.client.name(), %tenant, %name, chain_id, from, to, "nonces released");
            let replaced = reservations.into_iter().map(number).collect::<Result<Vec<_>, _>>()?;
            Ok(Json(Released { replaced }))
        }
        NoncesReleased::StillOpen { reservation } => Err(Failure::new(
            Code::ReservationOpen,
            format!(
                "expected no open reservation among these nonces, found {reservation}, which may be signed yet; have \
                 its request sent again, or void it first"
            ),
        )),
        NoncesReleased::TooMany => Err(Failure::new(
            Code::BadRequest,
            format!(
                "expected at most {RELEASED_MAX} reservations among these nonces, found more; release them in parts"
            ),
        )),
    }
}

/// One that is this client's business; another one is as unknown as none.
async fn find(node: &Node, client: &Client, id: u64) -> Result<(Reservation, ReservationBody), Failure> {
    let Ok(stored) = i64::try_from(id) else { return Err(unknown(id)) };
    let found = node.store.reservation(stored).await?.ok_or_else(|| unknown(id))?;
    let body = shown(&found)?;
    if client.serves(&body.tenant) { Ok((found, body)) } else { Err(unknown(id)) }
}

fn unknown(id: u64) -> Failure {
    Failure::new(
        Code::ReservationUnknown,
        format!("expected a reservation, found none with the number {id}; list them"),
    )
}

/// Who spends nonces, and its name.
fn sender(
    tenant: &PathText,
    asset: Option<PathText>,
    session: Option<PathText>,
) -> Result<(Sender, PathText), Failure> {
    match (asset, session) {
        (Some(asset), None) => Ok((Sender::asset(tenant, &asset), asset)),
        (None, Some(name)) => Ok((Sender::session(tenant, &name), name)),
        _ => Err(Failure::new(
            Code::BadRequest,
            "expected exactly one of asset and session, found both or neither",
        )),
    }
}

fn shown(reservation: &Reservation) -> Result<ReservationBody, StoreError> {
    let Reservation {
        id,
        nonce,
        generation,
        replaces,
        state,
        request,
        client,
        policy,
        key,
        node,
        era,
        created_at,
        receipt,
    } = reservation;
    let corrupt = || StoreError::Corrupt { expected: "a sender of a tenant" };
    let (tenant, name) = nonce.sender.parts().ok_or_else(corrupt)?;
    let name = PathText::try_from(name).map_err(|_| corrupt())?;
    let (asset, session) = if nonce.sender.is_asset() { (Some(name), None) } else { (None, Some(name)) };
    let (epoch, hour, binding) = match key {
        ReservedKey::Asset { epoch } => (Some(*epoch), None, None),
        ReservedKey::Session { hour, binding, issued_at_ms: _ } => (None, Some(*hour), Some(*binding)),
    };
    Ok(ReservationBody {
        id: number(*id)?,
        tenant: PathText::try_from(tenant).map_err(|_| corrupt())?,
        asset,
        session,
        chain_id: nonce.chain_id,
        nonce: nonce.nonce,
        generation: *generation,
        replaces: replaces.map(number).transpose()?,
        state: shown_state(*state),
        request: *request,
        client: client.clone(),
        policy: policy.map(Sha256Digest::from_bytes),
        epoch,
        hour,
        binding,
        node: *node,
        era: *era,
        created_at: *created_at,
        receipt: receipt.map(|(node, era, sequence)| NodeReceipt { node, era, sequence }),
    })
}

fn number(id: i64) -> Result<u64, StoreError> {
    u64::try_from(id).map_err(|_| StoreError::Corrupt { expected: "a reservation's number" })
}

fn stored_state(state: ReservationState) -> store::ReservationState {
    match state {
        ReservationState::Reserved => store::ReservationState::Reserved,
        ReservationState::Signed => store::ReservationState::Signed,
        ReservationState::Voided => store::ReservationState::Voided,
        ReservationState::Replaced => store::ReservationState::Replaced,
    }
}

fn shown_state(state: store::ReservationState) -> ReservationState {
    match state {
        store::ReservationState::Reserved => ReservationState::Reserved,
        store::ReservationState::Signed => ReservationState::Signed,
        store::ReservationState::Voided => ReservationState::Voided,
        store::ReservationState::Replaced => ReservationState::Replaced,
    }
}
