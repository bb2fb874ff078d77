//! Whose entry applies: the one for exactly this sender, else the one for its tenant's assets or sessions.

use std::collections::BTreeMap;

use sealstone_wire::PathText;

use super::error::{PolicyError, quoted};
use super::raw::RawSender;
use super::sender::{Definitions, SenderRules};
use crate::engine::Signer;

/// What stands for every asset, or every session sender, of a tenant.
const EVERY: &str = "*";

/// The entries of a policy.
#[derive(Clone, Debug, Default)]
pub(super) struct Senders {
    tenants: BTreeMap<PathText, Tenant>,
    count: usize,
}

#[derive(Clone, Debug, Default)]
struct Tenant {
    assets: Entries,
    sessions: Entries,
}

#[derive(Clone, Debug, Default)]
struct Entries {
    exact: BTreeMap<PathText, SenderRules>,
    every: Option<Box<SenderRules>>,
}

impl Senders {
    /// Most entries of a policy: ten times what one is expected to have.
    const ENTRIES_MAX: usize = 100_000;

    pub(super) fn parse(raw: Vec<RawSender>, known: &Definitions<'_>) -> Result<Self, PolicyError> {
        super::error::bounded("senders", raw.len(), Self::ENTRIES_MAX)?;
        let mut senders = Self { tenants: BTreeMap::new(), count: raw.len() };
        for (index, entry) in raw.into_iter().enumerate() {
            let (tenant, asset, session) = (entry.tenant.clone(), entry.asset.clone(), entry.session.clone());
            let at = format!("senders[{index}] of tenant {}", quoted(tenant.as_str()));
            let (name, kind) = match (&asset, &session) {
                (Some(name), None) => (name.clone(), "asset"),
                (None, Some(name)) => (name.clone(), "session"),
                (both, _) => {
                    let found = if both.is_some() { "both" } else { "neither" };
                    return Err(PolicyError::field(at, "one of asset and session", found));
                }
            };
            let at = format!("{at}, {kind} {}", quoted(name.as_str()));
            let rules = SenderRules::parse(&at, entry, known)?;
            let tenant = senders.tenants.entry(tenant).or_default();
            let entries = if kind == "asset" { &mut tenant.assets } else { &mut tenant.sessions };
            let replaced = if name.as_str() == EVERY {
                entries.every.replace(Box::new(rules)).is_some()
            } else {
                entries.exact.insert(name, rules).is_some()
            };
            if replaced {
                return Err(PolicyError::field(at, "one entry for each sender", "another one above"));
            }
        }
        Ok(senders)
    }

    /// The entry that alone applies to a sender.
    pub(super) fn rules(&self, tenant: &PathText, signer: &Signer<'_>) -> Option<&SenderRules> {
        let tenant = self.tenants.get(tenant)?;
        let (entries, name) = match signer {
            Signer::Asset(asset) => (&tenant.assets, asset),
            Signer::Session(sender) => (&tenant.sessions, sender),
        };
        entries.exact.get(*name).or(entries.every.as_deref())
    }

    /// How many entries there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}
