//! Public keys.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use schemars::JsonSchema;
use sealstone_attestation::Algorithm;
use sealstone_wire::api::{AlgorithmName, Asset, SessionPublicKey, SignAnswer};
use sealstone_wire::reply::Reply;
use sealstone_wire::request::Request;
use sealstone_wire::{Epoch, KeyPath, PathText, key_path};
use serde::Deserialize;

use super::Node;
use super::body::{Asked, Json, Named};
use crate::access::Client;
use crate::assets::{PUBLIC_KEY_DEADLINE, public_key};
use crate::enclave::CallError;
use crate::failure::Failure;
use crate::store::AssetEpoch;

/// Query of `GET /v1/keys/{tenant}/{asset}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AtEpoch {
    epoch: Option<u64>,
}

/// Query of `GET /v1/keys/session`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionQuery {
    tenant: PathText,
    sender: PathText,
    #[serde(default)]
    chain_id: u64,
    nonce: u64,
    #[schemars(with = "AlgorithmName")]
    algorithm: Algorithm,
}

pub(super) async fn asset(
    State(node): State<Arc<Node>>,
    Extension(client): Extension<Arc<Client>>,
    Named((tenant, asset)): Named<(PathText, PathText)>,
    Asked(AtEpoch { epoch }): Asked<AtEpoch>,
) -> Result<Json<Asset>, Failure> {
    client.require_tenant(&tenant)?;
    let found = match epoch {
        None => node.assets.newest(&tenant, &asset).await?,
        Some(epoch) => node.assets.in_epoch(&tenant, &asset, Epoch(epoch)).await?,
    };
    Ok(Json(shown(&found, node.reconciler.unfunded())))
}

pub(super) async fn session(
    State(node): State<Arc<Node>>,
    Extension(client): Extension<Arc<Client>>,
    Asked(query): Asked<SessionQuery>,
) -> Result<Json<SessionPublicKey>, Failure> {
    let SessionQuery { tenant, sender, chain_id, nonce, algorithm } = query;
    client.require_tenant(&tenant)?;
    let now_ms = match node.enclave.call(Request::Clock, PUBLIC_KEY_DEADLINE).await? {
        Reply::Clock { now_ms } => now_ms,
        other => return Err(CallError::unexpected("a clock", &other).into()),
    };
    let hour = key_path::hour_of(now_ms / 1000);
    let path = KeyPath::Session { tenant, sender, chain_id, nonce, hour, algorithm };
    let (key, binding) = public_key(&node.enclave, path, None).await?;
    Ok(Json(SessionPublicKey {
        key_id: key.key_id(),
        public_key: SignAnswer::public_key_hex(&key),
        jwk: key.jwk(),
        hour,
        binding,
    }))
}

/// An asset as clients see it.
pub(super) fn shown(asset: &AssetEpoch, unfunded: bool) -> Asset {
    let AssetEpoch { tenant, asset, algorithm, epoch, binding, key_id, public_key, since, retired_at } =
        asset.clone();
    Asset {
        tenant,
        asset,
        algorithm,
        epoch,
        binding,
        key_id,
        public_key: SignAnswer::public_key_hex(&public_key),
        jwk: public_key.jwk(),
        since,
        retired_at,
        unfunded,
    }
}
