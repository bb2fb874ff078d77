//! Assets: listed, created, rotated, retired.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use schemars::JsonSchema;
use sealstone_attestation::UnixTime;
use sealstone_wire::api::{Asset, AssetBody, AssetCover, AssetList, AssetPlace, EpochList};
use sealstone_wire::{Epoch, PathText};
use serde::Deserialize;

use super::Node;
use super::body::{Asked, Caller, Json, Named};
use super::keys::shown;
use super::page::{Limit, visible};
use crate::access::Client;
use crate::failure::{Code, Failure, open_session};
use crate::store::AssetQuery;

/// Query of `GET /v1/assets`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AssetsQuery {
    tenant: Option<PathText>,
    older_than_s: Option<u64>,
    limit: Option<Limit>,
    after_tenant: Option<PathText>,
    after_asset: Option<PathText>,
}

/// Query of `GET /v1/assets/{tenant}/{asset}/epochs`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EpochsQuery {
    limit: Option<Limit>,
    after: Option<u64>,
}

pub(super) async fn list(
    State(node): State<Arc<Node>>,
    Extension(client): Extension<Arc<Client>>,
    Asked(query): Asked<AssetsQuery>,
) -> Result<Json<AssetList>, Failure> {
    let AssetsQuery { tenant, older_than_s, limit, after_tenant, after_asset } = query;
    let after = match (after_tenant, after_asset) {
        (None, None) => None,
        (Some(tenant), Some(asset)) => Some((tenant, asset)),
        _ => {
            return Err(Failure::new(
                Code::BadRequest,
                "expected after_tenant and after_asset together, found one of them",
            ));
        }
    };
    let epoch_before = match older_than_s {
        Some(age) => Some(UnixTime::from_secs((node.signing.now_ms()? / 1000).saturating_sub(age))),
        None => None,
    };
    let query = AssetQuery { tenants: visible(&client, tenant), after, epoch_before };
    let covers = AssetCover {
        every_tenant: query.tenants.is_none(),
        every_age: query.epoch_before.is_none(),
        from_start: query.after.is_none(),
    };
    let rows = Limit::rows(limit);
    let found = node.store.assets(&query, rows).await?;
    let last = found.last().filter(|_| found.len() == rows);
    let next =
        last.map(|last| AssetPlace { after_tenant: last.tenant.clone(), after_asset: last.asset.clone() });
    let unfunded = node.reconciler.unfunded();
    Ok(Json(AssetList { assets: found.iter().map(|asset| shown(asset, unfunded)).collect(), next, covers }))
}

pub(super) async fn epochs(
    State(node): State<Arc<Node>>,
    Extension(client): Extension<Arc<Client>>,
    Named((tenant, asset)): Named<(PathText, PathText)>,
    Asked(EpochsQuery { limit, after }): Asked<EpochsQuery>,
) -> Result<Json<EpochList>, Failure> {
    client.require_tenant(&tenant)?;
    // That there is such an asset.
    let newest = node.assets.newest(&tenant, &asset).await?;
    let rows = Limit::rows(limit);
    let found = match after {
        // None has so many; the store's numbers have one bit less.
        Some(after) if after >= newest.epoch.0 => Vec::new(),
        after => node.store.epochs(&tenant, &asset, after.map(Epoch), rows).await?,
    };
    let next = found.last().filter(|_| found.len() == rows).map(|last| last.epoch);
    let unfunded = node.reconciler.unfunded();
    Ok(Json(EpochList { epochs: found.iter().map(|asset| shown(asset, unfunded)).collect(), next }))
}

pub(super) async fn create(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Json(body): Json<AssetBody>,
) -> Result<Json<Asset>, Failure> {
    let AssetBody { tenant, asset, algorithm } = body;
    caller.client.require_tenant(&tenant)?;
    reconciled(&node).await?;
    let created = node.assets.create(&caller.actor(), &tenant, &asset, algorithm).await?;
    tracing::info!(client = caller.client.name(), %tenant, %asset, %algorithm, key_id = %created.key_id, "asset created");
    Ok(Json(shown(&created, node.reconciler.unfunded())))
}

pub(super) async fn rotate(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Named((tenant, asset)): Named<(PathText, PathText)>,
) -> Result<Json<Asset>, Failure> {
    caller.client.require_tenant(&tenant)?;
    reconciled(&node).await?;
    let rotated = node.assets.rotate(&caller.actor(), &tenant, &asset).await?;
    tracing::info!(client = caller.client.name(), %tenant, %asset, epoch = %rotated.epoch, key_id = %rotated.key_id, "asset rotated");
    Ok(Json(shown(&rotated, node.reconciler.unfunded())))
}

/// Needs no session: it only ends what may be signed.
pub(super) async fn retire(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Named((tenant, asset)): Named<(PathText, PathText)>,
) -> Result<Json<Asset>, Failure> {
    caller.client.require_tenant(&tenant)?;
    let retired = node.assets.retire(&caller.actor(), &tenant, &asset).await?;
    tracing::info!(client = caller.client.name(), %tenant, %asset, "asset retired");
    Ok(Json(shown(&retired, node.reconciler.unfunded())))
}

/// A store that is older than the enclave lacks assets as well as reservations: nothing is added to it.
pub(super) async fn reconciled(node: &Node) -> Result<(), Failure> {
    let state = node.attestor.state().borrow().clone();
    let (session, era, generation) = open_session(&state)?;
    node.reconciler.settled(generation, era, session).await.map(drop)
}
