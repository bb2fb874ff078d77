//! Shows the enclave what was logged, and has it sign the log's head: soon after something was recorded, and long
//! before the enclave would refuse to sign for want of it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sealstone_attestation::audit::{EntryBundle, Frontier, LeafHash, Record};
use sealstone_wire::limits::AUDIT_LEAVES_MAX;
use sealstone_wire::reply::{RefusalCode, Reply};
use sealstone_wire::request::Request;
use thiserror::Error;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Log, row};
use crate::clock;
use crate::enclave::{CallError, Enclave};
use crate::reconcile::Reconciler;
use crate::store::{CheckpointRow, PAGE_MAX, Store, StoreError};

/// How often the log's head is looked at. The enclave takes 16,384 receipts without a checkpoint, which is some seconds
/// of the fastest signing.
const PERIOD: Duration = Duration::from_millis(500);

/// How long the enclave may take for one step: some hundred hashes, or one signature and one write to disk.
const DEADLINE: Duration = Duration::from_secs(10);

/// Pages of records that are shown at once: more than are recorded between two rounds; what is left is for the next.
const PAGES_MAX: usize = 64;

/// Signatures under way when the head is to be signed are recorded some milliseconds later: how often, and at what
/// distance, their records are waited for.
const TRIES_MAX: u32 = 40;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// The newest checkpoint of the log, for quotes to bind. Whoever has it locked sees no newer one signed.
#[derive(Clone, Debug, Default)]
pub struct Anchor(Arc<Mutex<Vec<u8>>>);

impl Anchor {
    /// The newest checkpoint (a signed note), or nothing before the first. While it is held none is signed.
    pub async fn hold(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().await
    }

    /// The newest checkpoint, or nothing before the first.
    pub async fn newest(&self) -> Vec<u8> {
        self.hold().await.clone()
    }
}

/// Keeps the log's head signed.
#[derive(Debug)]
pub struct Checkpointer {
    store: Store,
    log: Log,
    enclave: Enclave,
    reconciler: Arc<Reconciler>,
    anchor: Anchor,
    /// What the enclave has taken, as far as this side knows.
    shown: Option<Frontier>,
    /// An operator says that the log is lost for good: `--danger-begin-new-log`. Until one goes on, or has begun.
    begin_anew: bool,
}

impl Checkpointer {
    /// Between this store and this enclave. With `begin_anew` a log that the enclave does not go on from is taken for
    /// lost, and a new one begun, loudly.
    #[must_use]
    pub fn new(
        store: Store,
        enclave: Enclave,
        reconciler: Arc<Reconciler>,
        anchor: Anchor,
        begin_anew: bool,
    ) -> Self {
        Self { log: Log::new(store.clone()), store, enclave, reconciler, anchor, shown: None, begin_anew }
    }

    /// Works until `shutdown`.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                _ = ticks.tick() => {}
            }
            let outcome = tokio::select! {
                () = &mut shutdown => return,
                outcome = self.round() => outcome,
            };
            match outcome {
                Ok(()) => failing = false,
                Err(error) if error.passes_by_itself() => tracing::debug!(%error, "no checkpoint yet"),
                Err(error) => {
                    metrics::counter!("sealstone_audit_checkpoint_failures_total").increment(1);
                    if !failing {
                        tracing::error!(error = %crate::logging::chain(&error), "the head of the audit log could not be signed");
                    }
                    failing = true;
                    self.shown = None;
                }
            }
        }
    }

    /// Has the head signed if anything was recorded since it was.
    async fn round(&mut self) -> Result<(), CheckpointFault> {
        let newest = self.store.checkpoint(None).await?;
        let size = self.store.audit_size().await?;
        if let Some(newest) = &newest {
            let mut anchor = self.anchor.hold().await;
            if anchor.is_empty() {
                anchor.clone_from(&newest.note);
            }
        }
        if size == newest.as_ref().map_or(0, |newest| newest.size) && self.shown.is_some() {
            return Ok(());
        }
        let Reply::CheckpointBegun { era: _, sequence: _, size: taken, resume } =
            self.ask(Request::CheckpointBegin).await?
        else {
            return Err(CheckpointFault::Unexpected);
        };
        if resume {
            match self.resume(taken).await {
                Err(error) if self.begin_anew && error.is_of_another_log() => self.begin_anew().await?,
                outcome => outcome?,
            }
            self.begin_anew = false;
        } else if self.shown.as_ref().is_none_or(|shown| shown.size() != taken) {
            self.shown = Some(self.log.frontier(taken).await?);
        }
        let signed_before = newest.map_or(0, |newest| newest.size);
        for _ in 0..TRIES_MAX {
            // What the enclave gave receipts for until it was asked must be in what it is shown.
            self.show(self.store.audit_size().await?).await?;
            match self.sign(signed_before).await {
                Err(CheckpointFault::Behind { .. }) => sleep(BETWEEN_TRIES).await,
                outcome => return outcome,
            }
        }
        // A signature whose answer was lost: reconciliation fetches it before the next signature.
        self.reconciler.doubt();
        Err(CheckpointFault::Behind { detail: "a signature is not recorded".to_owned() })
    }

    /// Has the enclave go on from the checkpoint that it signed last.
    async fn resume(&mut self, size: u64) -> Result<(), CheckpointFault> {
        let frontier = self.log.frontier(size).await?;
        let known = self.store.checkpoint(Some(size)).await?.filter(|known| known.size == size);
        let request = Request::AuditResume {
            checkpoint: known.as_ref().map(|known| known.note.clone()).unwrap_or_default(),
            frontier: frontier.hashes().to_vec(),
        };
        let Reply::Checkpoint(note) = self.ask(request).await? else {
            return Err(CheckpointFault::Unexpected);
        };
        if size > 0 {
            if known.is_none() {
                let root = *frontier.root().as_bytes();
                self.keep(CheckpointRow { size, root, note: note.clone() }).await?;
            }
            *self.anchor.hold().await = note;
        }
        self.shown = Some(frontier);
        Ok(())
    }

    /// Has the enclave follow this log from its beginning, and records in it which one it takes the place of.
    async fn begin_anew(&mut self) -> Result<(), CheckpointFault> {
        let Reply::LogBegun { size, root } = self.ask(Request::AuditBeginAnew).await? else {
            return Err(CheckpointFault::Unexpected);
        };
        tracing::error!(size, root = %root, "the operator says that the audit log is lost: a new one begins");
        self.store.append(row(&Record::log_begun(clock::now_ms(), size, &root))).await?;
        self.shown = Some(Frontier::new());
        Ok(())
    }

    /// Shows the records that the enclave has not taken.
    async fn show(&mut self, size: u64) -> Result<(), CheckpointFault> {
        let mut shown = self.shown.take().unwrap_or_default();
        for _ in 0..PAGES_MAX {
            if shown.size() >= size {
                break;
            }
            let leaves = self.store.audit_leaves(shown.size(), PAGE_MAX).await?;
            let mut leaves = leaves.iter().peekable();
            while leaves.peek().is_some() {
                let (mut packed, mut next) = (Vec::new(), shown.clone());
                // A leaf is at most 16 KiB, so each turn takes one at least.
                while let Some(leaf) =
                    leaves.next_if(|leaf| packed.len() + 2 + leaf.len() <= AUDIT_LEAVES_MAX)
                {
                    EntryBundle::append(&mut packed, leaf).map_err(|_| CheckpointFault::Unexpected)?;
                    next.push(LeafHash::of(leaf));
                }
                if packed.is_empty() {
                    return Err(CheckpointFault::Unexpected);
                }
                let request = Request::AuditLeaves { index: shown.size(), leaves: packed };
                match self.ask(request).await? {
                    Reply::Done => shown = next,
                    _ => return Err(CheckpointFault::Unexpected),
                }
            }
        }
        self.shown = Some(shown);
        Ok(())
    }

    /// Has the head of what was shown signed, and keeps it.
    async fn sign(&self, signed_before: u64) -> Result<(), CheckpointFault> {
        let Some((size, root)) = self.shown.as_ref().map(|shown| (shown.size(), shown.root())) else {
            return Ok(());
        };
        if size == signed_before {
            return Ok(());
        }
        let anchor = self.anchor.clone();
        // Held from before it is signed until it is kept: no quote binds an older one meanwhile.
        let mut newest = anchor.hold().await;
        match self.ask(Request::CheckpointSign { size, root }).await {
            Ok(Reply::Checkpoint(note)) => {
                self.keep(CheckpointRow { size, root: *root.as_bytes(), note: note.clone() }).await?;
                *newest = note;
                Ok(())
            }
            Ok(_) => Err(CheckpointFault::Unexpected),
            Err(CheckpointFault::Enclave(CallError::Refused(refusal)))
                if refusal.code == RefusalCode::AuditBehind =>
            {
                Err(CheckpointFault::Behind { detail: refusal.detail })
            }
            Err(error) => Err(error),
        }
    }

    async fn keep(&self, checkpoint: CheckpointRow) -> Result<(), CheckpointFault> {
        Ok(self.store.add_checkpoint(checkpoint).await?)
    }

    async fn ask(&self, request: Request) -> Result<Reply, CheckpointFault> {
        Ok(self.enclave.call(request, DEADLINE).await?)
    }
}

/// Why the head is not signed.
#[derive(Debug, Error)]
enum CheckpointFault {
    /// The enclave refuses or does not answer.
    #[error("the enclave did not take the audit log")]
    Enclave(#[from] CallError),
    /// The log lacks a receipt that the enclave gave.
    #[error("the audit log is behind the enclave: {detail}")]
    Behind {
        /// Which.
        detail: String,
    },
    /// The store failed.
    #[error("the audit log could not be read")]
    Store(#[from] StoreError),
    /// The enclave's answer is to another question, or a record is longer than any is.
    #[error("expected the answer to what was asked of the enclave, found another")]
    Unexpected,
}

impl CheckpointFault {
    /// Whether the log is not the one that the enclave remembers, as far as can be told.
    fn is_of_another_log(&self) -> bool {
        match self {
            Self::Enclave(CallError::Refused(refusal)) => refusal.code == RefusalCode::AuditMismatch,
            Self::Store(error) => matches!(error, StoreError::Corrupt { .. }),
            _ => false,
        }
    }

    /// Whether it is a matter of time: no connection, no root yet, signatures under way.
    fn passes_by_itself(&self) -> bool {
        match self {
            Self::Enclave(CallError::NotSent { .. } | CallError::Lost { .. }) | Self::Behind { .. } => true,
            Self::Enclave(CallError::Refused(refusal)) => matches!(
                refusal.code,
                RefusalCode::Unprovisioned
                    | RefusalCode::Locked
                    | RefusalCode::Busy
                    | RefusalCode::Overloaded
                    | RefusalCode::ShuttingDown
            ),
            Self::Enclave(CallError::Unexpected { .. }) | Self::Store(_) | Self::Unexpected => false,
        }
    }
}
