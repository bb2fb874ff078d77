//! How rules come into force: read, recorded in the audit log, and only then obeyed.

use std::sync::Arc;

use sealstone_attestation::audit::{Record, RecordKind};
use sealstone_wire::api::{PolicyStatus, RuleKind};
use tokio::sync::Mutex;

use crate::assets::Actor;
use crate::audit;
use crate::clock;
use crate::failure::{Code, Failure};
use crate::rulebook::{Replaced, Rules};
use crate::store::{Store, StoreError};

/// Puts rules in force, one change at a time.
#[derive(Debug)]
pub struct RuleChanges {
    rules: Arc<Rules>,
    store: Store,
    /// Two changes at once could end with the rules of the first and the record of the second.
    one_at_a_time: Mutex<()>,
}

impl RuleChanges {
    /// Of these rules, recorded in this store.
    #[must_use]
    pub fn new(rules: Arc<Rules>, store: Store) -> Self {
        Self { rules, store, one_at_a_time: Mutex::default() }
    }

    /// The rules in force.
    #[must_use]
    pub fn in_force(&self) -> PolicyStatus {
        self.rules.current().status()
    }

    /// Records that the agent started, and what it judges by.
    ///
    /// # Errors
    /// The store's.
    pub async fn record_start(&self) -> Result<(), StoreError> {
        let started = audit::base(
            clock::now_ms(),
            RecordKind::Started,
            concat!("sealstone-agent ", env!("CARGO_PKG_VERSION")),
        );
        self.store.append(audit::row(&started)).await?;
        for part in self.rules.in_force() {
            self.store.append(audit::row(&record(part, None))).await?;
        }
        Ok(())
    }

    /// Reads every file anew and obeys what they say. When one cannot be used, or the change cannot be recorded,
    /// nothing changes. Says what is another than before; `by` is absent where a signal asked for it.
    ///
    /// # Errors
    /// [`Code::RulesRefused`]; the store's.
    pub async fn reload(&self, by: Option<&Actor<'_>>) -> Result<Vec<RuleKind>, Failure> {
        let _alone = self.one_at_a_time.lock().await;
        let rules = Arc::clone(&self.rules);
        let read = tokio::task::spawn_blocking(move || rules.read_anew()).await;
        let refused = |detail: String| Failure::new(Code::RulesRefused, detail);
        let loaded = read
            .map_err(|_| {
                refused("expected the files to be read, found that reading them ended early".to_owned())
            })?
            .map_err(|error| refused(error.to_string()))?;
        let mut replaced = Vec::new();
        for part in loaded.replaced() {
            self.store.append(audit::row(&record(*part, by))).await?;
            replaced.push(part.kind());
        }
        loaded.take_effect();
        Ok(replaced)
    }
}

fn record(part: Replaced, by: Option<&Actor<'_>>) -> Record {
    let kind = match part {
        Replaced::Policy(_) => RecordKind::PolicyLoaded,
        Replaced::Sanctions(_) => RecordKind::SanctionsLoaded,
        Replaced::Prices(_) => RecordKind::PricesLoaded,
    };
    let (policy, detail) = match part {
        Replaced::Policy(digest) => (Some(digest), String::new()),
        Replaced::Sanctions(Some(digest)) | Replaced::Prices(Some(digest)) => {
            (None, format!("sha256 {digest}"))
        }
        Replaced::Sanctions(None) | Replaced::Prices(None) => (None, "none any more".to_owned()),
    };
    let base = match by {
        Some(actor) => audit::act(actor.act(kind), detail),
        None => audit::base(clock::now_ms(), kind, detail),
    };
    Record { policy, ..base }
}
