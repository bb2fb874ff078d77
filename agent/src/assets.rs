//! Assets: their creation, rotation and lookup. The newest epoch of each asset in use is kept in memory, so that
//! a signature needs no query.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sealstone_attestation::audit::RecordKind;
use sealstone_attestation::{Algorithm, Binding, PublicKey};
use sealstone_wire::reply::Reply;
use sealstone_wire::request::Request;
use sealstone_wire::{Epoch, KeyPath, PathText};

use crate::audit::{self, Act};
use crate::clock;
use crate::enclave::{CallError, Enclave};
use crate::failure::{Code, Failure};
use crate::signing::plain;
use crate::store::{AssetEpoch, AuditRow, Sender, Store};

/// Assets kept in memory, about 0.5 KiB each. When there are more, the memory starts anew: a lookup then costs a
/// query, no more.
const CACHED_MAX: usize = 4096;

/// How long the enclave may take for a public key: a derivation, behind a full queue.
pub(crate) const PUBLIC_KEY_DEADLINE: Duration = Duration::from_secs(10);

/// Who changes an asset.
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    /// The client's name.
    pub client: &'a str,
    /// Names the exchange.
    pub trace_id: &'a str,
}

impl Actor<'_> {
    /// Its act of this kind, now, on no asset.
    #[must_use]
    pub fn act(&self, kind: RecordKind) -> Act<'_> {
        Act { now_ms: clock::now_ms(), kind, client: self.client, trace_id: self.trace_id, of: None }
    }

    fn record(
        &self,
        kind: RecordKind,
        tenant: &PathText,
        asset: &PathText,
        epoch: Option<&AssetEpoch>,
    ) -> AuditRow {
        let record = audit::act(Act { of: Some((tenant, asset)), ..self.act(kind) }, "");
        audit::row(&match epoch {
            Some(epoch) => audit::of_epoch(record, epoch),
            None => record,
        })
    }
}

/// The assets of this node.
#[derive(Debug)]
pub struct Assets {
    store: Store,
    enclave: Enclave,
    newest: RwLock<HashMap<Sender, Arc<AssetEpoch>>>,
}

impl Assets {
    /// Over this store, with keys from this enclave.
    #[must_use]
    pub fn new(store: Store, enclave: Enclave) -> Self {
        Self { store, enclave, newest: RwLock::default() }
    }

    /// An asset in its newest epoch.
    ///
    /// # Errors
    /// [`Code::AssetUnknown`], or the store's.
    pub async fn newest(&self, tenant: &PathText, asset: &PathText) -> Result<Arc<AssetEpoch>, Failure> {
        let name = Sender::asset(tenant, asset);
        if let Some(known) = self.newest.read().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Ok(Arc::clone(known));
        }
        let found =
            self.store.asset(tenant, asset, None).await?.ok_or_else(|| unknown(tenant, asset, None))?;
        Ok(self.remember(name, found))
    }

    /// An asset in one epoch.
    ///
    /// # Errors
    /// [`Code::AssetUnknown`], or the store's.
    pub async fn in_epoch(
        &self,
        tenant: &PathText,
        asset: &PathText,
        epoch: Epoch,
    ) -> Result<Arc<AssetEpoch>, Failure> {
        let newest = self.newest(tenant, asset).await?;
        if newest.epoch == epoch {
            return Ok(newest);
        }
        let found = self.store.asset(tenant, asset, Some(epoch)).await?;
        found.map(Arc::new).ok_or_else(|| unknown(tenant, asset, Some(epoch)))
    }

    /// Creates an asset, bound to the state that is attested now. One that exists with the same algorithm is
    /// returned as it is.
    ///
    /// # Errors
    /// [`Code::AssetExists`] if its algorithm is another; the enclave's; the store's.
    pub async fn create(
        &self,
        by: &Actor<'_>,
        tenant: &PathText,
        asset: &PathText,
        algorithm: Algorithm,
    ) -> Result<Arc<AssetEpoch>, Failure> {
        plain(tenant)?;
        plain(asset)?;
        match self.newest(tenant, asset).await {
            Ok(existing) => return same_algorithm(existing, algorithm),
            Err(failure) if failure.code == Code::AssetUnknown => {}
            Err(failure) => return Err(failure),
        }
        let first = self.derive(tenant, asset, algorithm, Epoch(0)).await?;
        let record = by.record(RecordKind::AssetCreated, tenant, asset, Some(&first));
        if self.store.begin_epoch(first.clone(), record).await? {
            return Ok(self.remember(Sender::asset(tenant, asset), first));
        }
        // Somebody else was faster.
        same_algorithm(self.newest(tenant, asset).await?, algorithm)
    }

    /// Begins an asset's next epoch, bound to the state that is attested now. Keys of earlier epochs stay known.
    ///
    /// # Errors
    /// [`Code::AssetUnknown`]; [`Code::AssetRetired`]; [`Code::RotationConflict`] if another rotation began that epoch;
    /// the enclave's; the store's.
    pub async fn rotate(
        &self,
        by: &Actor<'_>,
        tenant: &PathText,
        asset: &PathText,
    ) -> Result<Arc<AssetEpoch>, Failure> {
        let current = self.newest(tenant, asset).await?;
        in_use(&current)?;
        let epoch = Epoch(current.epoch.0.saturating_add(1));
        let next = self.derive(tenant, asset, current.algorithm, epoch).await?;
        let record = by.record(RecordKind::AssetRotated, tenant, asset, Some(&next));
        if self.store.begin_epoch(next.clone(), record).await? {
            return Ok(self.remember(Sender::asset(tenant, asset), next));
        }
        self.forget(tenant, asset);
        in_use(&*self.newest(tenant, asset).await?)?;
        Err(Failure::new(
            Code::RotationConflict,
            format!(
                "expected to begin epoch {epoch}, found that another rotation began it; read the asset again"
            ),
        ))
    }

    /// Retires an asset: nothing new is signed with it, and its keys stay known. One that is retired stays so.
    ///
    /// # Errors
    /// [`Code::AssetUnknown`]; the store's.
    pub async fn retire(
        &self,
        by: &Actor<'_>,
        tenant: &PathText,
        asset: &PathText,
    ) -> Result<Arc<AssetEpoch>, Failure> {
        let record = by.record(RecordKind::AssetRetired, tenant, asset, None);
        self.store.retire(tenant, asset, clock::now(), record).await?;
        self.forget(tenant, asset);
        self.newest(tenant, asset).await
    }

    /// Has the next look at an asset ask the store: another agent may have changed it.
    pub fn forget(&self, tenant: &PathText, asset: &PathText) {
        self.newest.write().unwrap_or_else(PoisonError::into_inner).remove(&Sender::asset(tenant, asset));
    }

    async fn derive(
        &self,
        tenant: &PathText,
        asset: &PathText,
        algorithm: Algorithm,
        epoch: Epoch,
    ) -> Result<AssetEpoch, Failure> {
        let path = KeyPath::Asset { tenant: tenant.clone(), asset: asset.clone(), epoch, algorithm };
        let (public_key, binding) = public_key(&self.enclave, path, None).await?;
        Ok(AssetEpoch {
            tenant: tenant.clone(),
            asset: asset.clone(),
            algorithm,
            epoch,
            binding,
            key_id: public_key.key_id(),
            public_key,
            since: clock::now(),
            retired_at: None,
        })
    }

    /// Keeps the newest of what is known.
    fn remember(&self, name: Sender, found: AssetEpoch) -> Arc<AssetEpoch> {
        let found = Arc::new(found);
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        if newest.get(&name).is_none_or(|known| known.epoch < found.epoch) {
            if newest.len() >= CACHED_MAX {
                newest.clear();
            }
            newest.insert(name, Arc::clone(&found));
        }
        found
    }
}

/// The public key of a path, and the binding that it was derived under.
///
/// # Errors
/// The enclave's; [`Code::EnclaveFault`] if the key is of another algorithm.
pub async fn public_key(
    enclave: &Enclave,
    path: KeyPath,
    binding: Option<Binding>,
) -> Result<(PublicKey, Binding), Failure> {
    let algorithm = path.algorithm();
    match enclave.call(Request::PublicKey { path, binding }, PUBLIC_KEY_DEADLINE).await? {
        Reply::PublicKey { public_key, binding } if public_key.algorithm() == algorithm => {
            Ok((public_key, binding))
        }
        Reply::PublicKey { public_key, .. } => Err(Failure::new(
            Code::EnclaveFault,
            format!("expected a public key of {algorithm}, found one of {}", public_key.algorithm()),
        )),
        other => Err(CallError::unexpected("a public key", &other).into()),
    }
}

/// That an asset signs and can be rotated.
///
/// # Errors
/// [`Code::AssetRetired`].
pub fn in_use(asset: &AssetEpoch) -> Result<(), Failure> {
    let Some(at) = asset.retired_at else { return Ok(()) };
    Err(Failure::new(
        Code::AssetRetired,
        format!("expected an asset in use, found that it was retired at {at}; use another asset"),
    ))
}

fn same_algorithm(existing: Arc<AssetEpoch>, algorithm: Algorithm) -> Result<Arc<AssetEpoch>, Failure> {
    if existing.algorithm == algorithm {
        return Ok(existing);
    }
    Err(Failure::new(
        Code::AssetExists,
        format!("expected a new asset or one of {algorithm}, found one of {}", existing.algorithm),
    ))
}

fn unknown(tenant: &PathText, asset: &PathText, epoch: Option<Epoch>) -> Failure {
    let epoch = epoch.map_or(String::new(), |epoch| format!(" in epoch {epoch}"));
    Failure::new(
        Code::AssetUnknown,
        format!("expected an asset, found none named {asset:?} of tenant {tenant:?}{epoch}; create it first"),
    )
}
