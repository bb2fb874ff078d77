//! Once per connection and era, before the first signature: does the store hold what the enclave signed?
//!
//! The enclave numbers its signatures. An answer that was lost between enclave and store is fetched and completes
//! its reservation; a signature that the store knows nothing of means that the store is older than the enclave
//! (restored from a backup, say), and that nonces may be free in it which are spent. Then nothing is signed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sealstone_attestation::audit::{Record, RecordKind};
use sealstone_attestation::{
    Algorithm, PublicKey, Receipt, Report, SignedReceipt, UnixTime, VerifiedReport, verify_chain,
};
use sealstone_wire::reply::{Reply, Session, Signed};
use sealstone_wire::request::Request;
use tokio::sync::Mutex;

use crate::audit;
use crate::clock;
use crate::enclave::{CallError, Enclave};
use crate::failure::{Code, Failure};
use crate::store::{Answer, AuditRow, Progress, Store};

/// How long the enclave may take for a report or a page of receipts: a few lookups and one signature.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// The store's name for the verdict that it is older than the enclave. Kept, because a later era would no longer
/// show it.
const ROLLED_BACK: &str = "rolled_back";

/// What was settled about one era on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The connection.
    pub generation: u64,
    /// The enclave's era.
    pub era: u64,
    /// The key that signs receipts.
    pub report_key: PublicKey,
    /// Whether no verified recovery shares exist.
    pub unfunded: bool,
    /// Which doubt this answers; see [`Reconciler::doubt`].
    doubts: u64,
}

/// Keeps store and enclave in agreement.
#[derive(Debug)]
pub struct Reconciler {
    store: Store,
    enclave: Enclave,
    /// An operator accepts that the store lost receipts: `--danger-accept-lost-receipts`.
    accept_lost: bool,
    settled: RwLock<Option<Arc<Settled>>>,
    /// Counts lost answers: what was settled before the newest is to be settled again.
    doubts: AtomicU64,
    /// One reconciliation at a time; holds a verdict that stands until the agent is restarted.
    verdict: Mutex<Option<Failure>>,
}

impl Reconciler {
    /// Between this store and this enclave. With `accept_lost` a gap is recorded as accepted, loudly, instead of
    /// being refused.
    #[must_use]
    pub fn new(store: Store, enclave: Enclave, accept_lost: bool) -> Self {
        Self {
            store,
            enclave,
            accept_lost,
            settled: RwLock::default(),
            doubts: AtomicU64::new(0),
            verdict: Mutex::default(),
        }
    }

    /// An answer was lost: reconcile again before the next signature.
    pub fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// What is settled for this connection and session; reconciles first if nothing is.
    ///
    /// # Errors
    /// [`Code::StoreRolledBack`] or [`Code::StoreForeign`], until the agent is restarted with the right store; and
    /// whatever keeps the enclave from answering.
    pub async fn settled(
        &self,
        generation: u64,
        era: u64,
        session: &Session,
    ) -> Result<Arc<Settled>, Failure> {
        if let Some(settled) = self.current(generation, era) {
            return Ok(settled);
        }
        let mut verdict = self.verdict.lock().await;
        if let Some(failure) = &*verdict {
            return Err(failure.clone());
        }
        if let Some(settled) = self.current(generation, era) {
            return Ok(settled);
        }
        let doubts = self.doubts.load(Ordering::Acquire);
        match self.reconcile(generation, era, session).await {
            Ok((report, report_key)) => {
                let settled =
                    Arc::new(Settled { generation, era, report_key, unfunded: report.unfunded, doubts });
                *self.settled.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&settled));
                Ok(settled)
            }
            Err(failure) => {
                if matches!(failure.code, Code::StoreRolledBack | Code::StoreForeign) {
                    tracing::error!(code = %failure.code, detail = failure.detail, "nothing is signed any more");
                    *verdict = Some(failure.clone());
                }
                Err(failure)
            }
        }
    }

    /// The verdict that stands until a restart, if there is one.
    pub async fn verdict(&self) -> Option<Failure> {
        self.verdict.lock().await.clone()
    }

    /// Whether no verified recovery shares exist, as last reported; `true` before anything was.
    #[must_use]
    pub fn unfunded(&self) -> bool {
        let settled = self.settled.read().unwrap_or_else(PoisonError::into_inner);
        settled.as_ref().is_none_or(|settled| settled.unfunded)
    }

    fn current(&self, generation: u64, era: u64) -> Option<Arc<Settled>> {
        let settled = self.settled.read().unwrap_or_else(PoisonError::into_inner);
        let settled = settled.as_ref()?;
        let holds = settled.generation == generation
            && settled.era == era
            && settled.doubts == self.doubts.load(Ordering::Acquire);
        holds.then(|| Arc::clone(settled))
    }

    async fn reconcile(
        &self,
        generation: u64,
        era: u64,
        session: &Session,
    ) -> Result<(Report, PublicKey), Failure> {
        let mut report = self.report(generation, era).await?;
        let report_key = PublicKey::from_bytes(Algorithm::EdDsa, &report.report_key)
            .map_err(|error| Failure::new(Code::EnclaveFault, error.to_string()))?;
        for (name, own) in [("deployment", report.deployment.to_string()), ("node", report.node.clone())] {
            let claimed = match name {
                "deployment" => self.store.claim_deployment(name, own.as_bytes()).await?,
                _ => self.store.claim(name, own.as_bytes()).await?,
            };
            if claimed != own.as_bytes() {
                let claimed = String::from_utf8_lossy(&claimed).into_owned();
                return Err(foreign(format!("expected a store of {name} {own}, found one of {claimed}")));
            }
        }
        if self.accept_lost {
            // A later era no longer shows what is lost; that it was accepted is recorded all the same.
            if let Some(detail) = self.store.meta(ROLLED_BACK).await? {
                self.lost(String::from_utf8_lossy(&detail).into_owned()).await?;
                self.store.danger_forget(ROLLED_BACK).await?;
            }
        } else if let Some(detail) = self.store.meta(ROLLED_BACK).await? {
            return Err(rolled_back(String::from_utf8_lossy(&detail).into_owned()));
        }
        let newest = self.store.newest_era().await?.unwrap_or(0);
        if newest > era {
            return Err(foreign(format!(
                "expected an enclave in era {newest} or later, found era {era}: this is the store of another enclave"
            )));
        }
        if report.last_used_era > newest {
            let detail = format!(
                "expected a store that has seen era {}, in which the enclave signed, found era {newest} as its newest",
                report.last_used_era
            );
            self.lost(detail).await?;
        }
        let progress = self.store.begin_era(era, clock::now()).await?;
        if progress.newest() > report.sequence {
            // What was under way went on while this compared: the store's newest may be newer than the report.
            report = self.report(generation, era).await?;
        }
        if progress.newest() > report.sequence {
            return Err(foreign(format!(
                "expected at most {} receipts of era {era}, found receipt {}: this is the store of another enclave",
                report.sequence,
                progress.newest()
            )));
        }
        match self.fetch(generation, &report, &progress, session).await? {
            Fetched::Complete { recovered: 0 } => {}
            Fetched::Complete { recovered } => {
                tracing::info!(era, recovered, "recovered signatures whose answers were lost");
            }
            Fetched::Gap(detail) => {
                self.lost(detail).await?;
                self.store.danger_accept_gap(era, report.sequence).await?;
            }
        }
        Ok((report, report_key))
    }

    async fn report(&self, generation: u64, era: u64) -> Result<Report, Failure> {
        let report = match self.enclave.call_in(generation, Request::Report, CALL_DEADLINE).await? {
            Reply::Report { envelope } => VerifiedReport::parse(&envelope)
                .map_err(|error| Failure::new(Code::EnclaveFault, crate::logging::chain(&error)))?
                .report()
                .clone(),
            other => return Err(CallError::unexpected("a report", &other).into()),
        };
        if report.era != era {
            return Err(Failure::new(
                Code::Starting,
                format!("expected the enclave in era {era}, found it in era {}", report.era),
            ));
        }
        Ok(report)
    }

    /// Fetches every receipt that the store lacks and completes its reservation.
    async fn fetch(
        &self,
        generation: u64,
        report: &Report,
        progress: &Progress,
        session: &Session,
    ) -> Result<Fetched, Failure> {
        let mut recovered = 0;
        let mut page: Vec<Signed> = Vec::new();
        for wanted in progress.missing(report.sequence) {
            if page.last().is_none_or(|last| last.receipt.receipt.sequence < wanted) {
                page = self.receipts(generation, wanted, report).await?;
            }
            let found = page.iter().find(|signed| signed.receipt.receipt.sequence == wanted);
            let Some(signed) = found else {
                return Ok(Fetched::Gap(format!(
                    "expected receipt {wanted} of era {}, found neither the store nor the enclave to have it",
                    report.era
                )));
            };
            let receipt = &signed.receipt.receipt;
            let Some(reservation) = self.store.reservation_of(&receipt.request).await? else {
                return Ok(Fetched::Gap(format!(
                    "expected a reservation for receipt {wanted} of era {}, found none for request {}",
                    report.era, receipt.request
                )));
            };
            self.store
                .answer(Answer {
                    reservation: reservation.id,
                    receipt: signed.receipt.clone(),
                    public_key: signed.public_key,
                    digest: signed.digest,
                    recovery_id: signed.recovery_id,
                    attested_until: attested_until(session, &signed.receipt),
                    audit: self.record(reservation.id, receipt).await?,
                })
                .await?;
            recovered += 1;
        }
        Ok(Fetched::Complete { recovered })
    }

    /// The record of a signature whose answer was lost.
    async fn record(&self, reservation: i64, receipt: &Receipt) -> Result<AuditRow, Failure> {
        let record = audit::base(clock::now_ms(), RecordKind::Signed, "recovered after its answer was lost");
        let record = match self.store.reservation(reservation).await? {
            Some(reservation) => {
                let client = (!reservation.client.is_empty()).then(|| reservation.client.clone());
                Record { client, ..audit::of_reservation(record, &reservation) }
            }
            None => Record { request: Some(receipt.request), ..record },
        };
        Ok(audit::row(&audit::signature(record, receipt)))
    }

    async fn receipts(&self, generation: u64, from: u64, report: &Report) -> Result<Vec<Signed>, Failure> {
        let fault = |detail: String| Failure::new(Code::EnclaveFault, detail);
        let page = match self.enclave.call_in(generation, Request::Receipts { from }, CALL_DEADLINE).await? {
            Reply::Receipts(page) => page,
            other => return Err(CallError::unexpected("receipts", &other).into()),
        };
        let receipts: Vec<SignedReceipt> = page.iter().map(|signed| signed.receipt.clone()).collect();
        verify_chain(&receipts, &report.report_key).map_err(|error| fault(error.to_string()))?;
        for signed in &page {
            let receipt = &signed.receipt.receipt;
            if receipt.era != report.era
                || receipt.signature != signed.signature
                || receipt.key_id != signed.public_key.key_id()
            {
                return Err(fault(format!(
                    "expected receipt {} to name its signature and key",
                    receipt.sequence
                )));
            }
        }
        Ok(page)
    }

    /// The store lacks something for good: remembered and refused, or accepted by the operator.
    async fn lost(&self, detail: String) -> Result<(), Failure> {
        if self.accept_lost {
            tracing::error!(detail, "the operator accepts that the store lost receipts");
            let record = audit::base(clock::now_ms(), RecordKind::ReceiptsAcceptedLost, detail);
            self.store.append(audit::row(&record)).await?;
            return Ok(());
        }
        self.store.claim(ROLLED_BACK, detail.as_bytes()).await?;
        Err(rolled_back(detail))
    }
}

enum Fetched {
    Complete { recovered: u64 },
    Gap(String),
}

/// The end of the session that a receipt names, if it is the open one; of an earlier session only that it lasted
/// until then is known.
fn attested_until(session: &Session, receipt: &SignedReceipt) -> UnixTime {
    if session.id == receipt.receipt.session { session.expires_at } else { receipt.receipt.time }
}

fn rolled_back(detail: String) -> Failure {
    Failure::new(
        Code::StoreRolledBack,
        format!(
            "{detail}; stop the agent, restore the newest copy of its store and start it again; if there is none, \
             see docs/schema.md on a lost store"
        ),
    )
}

fn foreign(detail: String) -> Failure {
    Failure::new(Code::StoreForeign, format!("{detail}; stop the agent and give it its own store"))
}
