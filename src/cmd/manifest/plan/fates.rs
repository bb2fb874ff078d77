//! What becomes of each asset.

use std::collections::{BTreeMap, BTreeSet};

use sealstone_attestation::{Algorithm, Binding, KeyId, Manifest, PayloadKind, State, UnixTime};
use sealstone_wire::api::Asset;
use sealstone_wire::{Epoch, PathText};
use serde::Serialize;

use super::bindings::{self, Fate, Use};

/// What becomes of all assets. Those that stay usable for good, and are unlocked nowhere new, are only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct AssetPlan {
    /// All that were looked at.
    pub(super) read: usize,
    /// Retired ones: nothing new is signed with them, so they are not stranded.
    pub(super) retired: usize,
    /// Those in use that stay usable for good in at least one active state.
    pub(super) usable: usize,
    /// Usable now, and then no active state may use their keys.
    pub(super) stranded: Vec<AssetFate>,
    /// Unusable then too, but so they are under the manifest in force: the next one takes nothing from them.
    pub(super) unusable_already: Vec<AssetFate>,
    /// Usable now, and no longer permitted to sign a kind of payload that the manifest in force permits.
    pub(super) permission_lost: Vec<AssetFate>,
    /// Usable until a grace ends.
    pub(super) until: Vec<AssetFate>,
    /// Usable in a state in which they are not under the manifest in force.
    pub(super) unlocked: Vec<AssetFate>,
    /// Usable, but not in every active state.
    pub(super) refused_under_some: Vec<AssetFate>,
    /// In use, and without a permission to sign anything.
    pub(super) not_permitted: Vec<AssetFate>,
    /// Bindings of those that are not retired.
    #[serde(skip)]
    pub(super) in_use: BTreeSet<Binding>,
}

/// One asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct AssetFate {
    pub(super) tenant: PathText,
    pub(super) asset: PathText,
    pub(super) algorithm: Algorithm,
    pub(super) epoch: Epoch,
    pub(super) key_id: KeyId,
    pub(super) binding: Binding,
    /// The state that the binding names, if either manifest knows it.
    pub(super) bound_to: Option<String>,
    #[serde(flatten)]
    pub(super) fate: Fate,
    /// What the next manifest says, by active state.
    pub(super) uses: Vec<Use>,
    /// The active states in which the key may be used anew.
    pub(super) unlocked_under: Vec<String>,
    /// The kinds of payload that the next manifest permits it to sign.
    pub(super) permitted: Vec<PayloadKind>,
    /// Those that the manifest in force permits and the next one does not.
    pub(super) no_longer_permitted: Vec<PayloadKind>,
}

/// What is the same for all assets of one binding.
struct OfBinding {
    /// Under the manifest in force. Where that is not known, all are: then nothing that is lost is missed.
    usable_now: bool,
    bound_to: Option<String>,
    fate: Fate,
    uses: Vec<Use>,
    unlocked_under: Vec<String>,
}

impl AssetPlan {
    pub(super) fn of(assets: &[Asset], current: Option<&Manifest>, next: &Manifest, now: UnixTime) -> Self {
        let mut plan = Self { read: assets.len(), ..Self::default() };
        let mut known: BTreeMap<Binding, OfBinding> = BTreeMap::new();
        for asset in assets {
            if asset.retired_at.is_some() {
                plan.retired += 1;
                continue;
            }
            let of_binding = known
                .entry(asset.binding)
                .or_insert_with(|| OfBinding::of(asset.binding, current, next, now));
            plan.add(asset, of_binding, current, next);
        }
        plan.in_use = known.into_keys().collect();
        plan
    }

    fn add(&mut self, asset: &Asset, of_binding: &OfBinding, current: Option<&Manifest>, next: &Manifest) {
        let permitted = permitted(next, asset);
        let before = current.map_or_else(Vec::new, |current| self::permitted(current, asset));
        let fate = AssetFate {
            tenant: asset.tenant.clone(),
            asset: asset.asset.clone(),
            algorithm: asset.algorithm,
            epoch: asset.epoch,
            key_id: asset.key_id,
            binding: asset.binding,
            bound_to: of_binding.bound_to.clone(),
            fate: of_binding.fate.clone(),
            uses: of_binding.uses.clone(),
            unlocked_under: of_binding.unlocked_under.clone(),
            no_longer_permitted: before.into_iter().filter(|kind| !permitted.contains(kind)).collect(),
            permitted,
        };
        if fate.permitted.is_empty() {
            self.not_permitted.push(fate.clone());
        }
        if of_binding.usable_now && !fate.no_longer_permitted.is_empty() {
            self.permission_lost.push(fate.clone());
        }
        if !fate.unlocked_under.is_empty() {
            self.unlocked.push(fate.clone());
        }
        match fate.fate {
            Fate::Stranded if of_binding.usable_now => return self.stranded.push(fate),
            Fate::Stranded => return self.unusable_already.push(fate),
            Fate::Until { .. } => self.until.push(fate.clone()),
            Fate::Usable => self.usable += 1,
        }
        if fate.uses.iter().any(|one| !one.verdict.usable()) {
            self.refused_under_some.push(fate);
        }
    }
}

/// The kinds of payload that this asset's key may sign.
fn permitted(manifest: &Manifest, asset: &Asset) -> Vec<PayloadKind> {
    let Asset { tenant, asset, algorithm, .. } = asset;
    let mut kinds = vec![PayloadKind::Message, PayloadKind::Digest];
    kinds.retain(|kind| manifest.permits_asset(tenant.as_str(), asset.as_str(), *algorithm, *kind));
    kinds
}

impl OfBinding {
    fn of(binding: Binding, current: Option<&Manifest>, next: &Manifest, now: UnixTime) -> Self {
        let uses = bindings::uses(next, binding, now);
        let names = |of: &Manifest| {
            of.states().iter().find(|state| state.binding() == binding).map(|state| state.name().to_owned())
        };
        let unlocked_under = match current {
            Some(current) => unlocked(current, next, binding, &uses, now),
            None => Vec::new(),
        };
        Self {
            usable_now: current.is_none_or(|current| bindings::usable(current, binding, now)),
            bound_to: names(next).or_else(|| current.and_then(names)),
            fate: bindings::fate(&uses),
            uses,
            unlocked_under,
        }
    }
}

/// The active states in which the key could not be used under the manifest in force. Names may have changed: a state is its
/// binding.
fn unlocked(
    current: &Manifest,
    next: &Manifest,
    binding: Binding,
    uses: &[Use],
    now: UnixTime,
) -> Vec<String> {
    let could = |state: &State| {
        let same = current.active_states().find(|before| before.binding() == state.binding());
        same.is_some_and(|before| current.may_derive(binding, before, now).is_ok())
    };
    let usable = uses.iter().filter(|one| one.verdict.usable());
    usable
        .filter(|one| next.state_by_name(&one.under).is_some_and(|state| !could(state)))
        .map(|one| one.under.clone())
        .collect()
}
