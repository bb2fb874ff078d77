//! Keeping the node attested: unlock the enclave, open a session, renew it before it ends, end it when the
//! machine's state changes.
//!
//! The enclave decides; this loop only carries quotes to it, early enough that no signature waits for the TPM.
//! If renewal cannot even be tried, because the TPM is away, the open session serves until its own end, which
//! the enclave sets; if the enclave refuses a quote, the session is over at once.

mod error;
mod evidence;
mod kept;
mod round;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sealstone_attestation::audit::{Record, RecordKind};
use sealstone_attestation::{Evidence, Nonce, PcrValues, UnixTime, VerifiedManifest};
use sealstone_wire::reply::{Session, Status};
use sealstone_wire::request::Request;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

pub use error::AttestError;

use crate::assets::Actor;
use crate::audit::{self, Anchor};
use crate::backoff::{BackOff, between};
use crate::clock;
use crate::enclave::{Connection, Enclave};
use crate::store::Store;
use crate::tpm::{Selection, Tpm};
use kept::KeptManifest;

/// First and longest wait after a failure.
const BACK_OFF: BackOff = BackOff::new(Duration::from_secs(2), Duration::from_secs(60));

/// Least time between two attempts, whoever kicks: clients that are refused must not turn into a storm of quotes.
const GAP_MIN: Duration = Duration::from_secs(1);

/// When a session is renewed, in hundredths of its life: what is left is for retries while the TPM is away.
const RENEW_AT: std::ops::RangeInclusive<u32> = 55..=65;

/// How often the PCRs are looked at while a session is open: one or two TPM commands, some 15 ms of a slow chip. It
/// bounds how long an honest agent goes on signing on a machine that has changed.
pub const PCR_POLL: Duration = Duration::from_secs(1);

/// What the loop needs to know.
#[derive(Clone, Debug)]
pub struct AttestSettings {
    /// Where the manifest is kept.
    pub state_dir: PathBuf,
    /// The firmware's event log, if evidence is to carry it.
    pub event_log: Option<PathBuf>,
    /// The record of the TPM's enrolment.
    pub enrolment: Option<PathBuf>,
    /// The kernel's IMA log, if evidence is to carry it.
    pub ima_log: Option<PathBuf>,
    /// How often the PCRs are looked at; [`PCR_POLL`].
    pub pcr_poll: Duration,
}

/// Whether the node can sign, as the loop last found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttestState {
    /// Not tried yet.
    Starting,
    /// The enclave has no root; a manifest must be applied.
    Unprovisioned,
    /// A session is open.
    Ready {
        /// As the enclave described it.
        session: Session,
        /// The unlock era.
        era: u64,
        /// The connection on which it was opened.
        generation: u64,
    },
    /// No session, and why.
    Failed {
        /// Stable, for programs.
        code: &'static str,
        /// Expected, found, what to do.
        detail: String,
        /// When this reason first held.
        since: UnixTime,
    },
}

/// A handle to the loop; clones share it.
#[derive(Clone, Debug)]
pub struct Attestor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    enclave: Enclave,
    tpm: Tpm,
    store: Store,
    anchor: Anchor,
    settings: AttestSettings,
    kept: KeptManifest,
    state: watch::Sender<AttestState>,
    kick: Notify,
    /// One at a time: what changes the enclave's life or opens a session. Challenges void each other.
    changing: Mutex<()>,
    locked_by_operator: AtomicBool,
}

impl Attestor {
    /// Starts the loop; it ends when `shutdown` does. What comes of it is recorded in `store`, and each quote binds the
    /// log's newest checkpoint. Must be called within a tokio runtime.
    pub fn spawn(
        enclave: Enclave,
        tpm: Tpm,
        store: Store,
        anchor: Anchor,
        settings: AttestSettings,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let attestor = Self(Arc::new(Shared {
            enclave,
            tpm,
            store,
            anchor,
            kept: KeptManifest::new(&settings.state_dir),
            settings,
            state: watch::Sender::new(AttestState::Starting),
            kick: Notify::new(),
            changing: Mutex::new(()),
            locked_by_operator: AtomicBool::new(false),
        }));
        let looping = attestor.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown => {}
                () = looping.keep_attested() => {}
            }
            looping.fail(&AttestError::ShuttingDown);
        });
        attestor
    }

    /// Whether the node can sign, and when that changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<AttestState> {
        self.0.state.subscribe()
    }

    /// Has the loop try now: somebody saw that there is no session.
    pub fn kick(&self) {
        self.0.kick.notify_one();
    }

    /// The manifest in force.
    ///
    /// # Errors
    /// See [`AttestError`]; [`AttestError::Unprovisioned`] if there is none.
    pub async fn manifest(&self) -> Result<Arc<VerifiedManifest>, AttestError> {
        let status = round::status(&self.0.enclave).await?;
        self.kept(&status)
    }

    /// Has the enclave take a manifest: as its first, provisioning this node under the name given, or as the
    /// successor of the one in force. Applying the one in force again does nothing, successfully.
    ///
    /// # Errors
    /// See [`AttestError`]. After [`CallError::Lost`](crate::enclave::CallError::Lost) the manifest may be in
    /// force; apply it again.
    pub async fn apply_manifest(
        &self,
        by: &Actor<'_>,
        envelope: Vec<u8>,
        provision_as: Option<String>,
    ) -> Result<Status, AttestError> {
        let manifest = VerifiedManifest::danger_trust_as_given(&envelope)?;
        let _changing = self.0.changing.lock().await;
        let Shared { enclave, tpm, kept, .. } = &*self.0;
        let status = round::status(enclave).await?;
        // If the one in force still lies where the next one goes, it moves to its place first.
        match self.kept(&status) {
            Ok(_) | Err(AttestError::Unprovisioned | AttestError::ManifestMissing { .. }) => {}
            Err(error) => return Err(error),
        }
        kept.prepare(&manifest)?;
        let in_force = status.manifest.as_ref().is_some_and(|current| current.digest == manifest.digest());
        let applied =
            if in_force { Ok(status) } else { round::apply(enclave, tpm, &envelope, provision_as).await };
        if let Ok(status) = &applied {
            self.kept(status)?;
            let act = by.act(RecordKind::ManifestApplied);
            self.record(Record { manifest: Some(manifest.digest()), ..audit::act(act, "") }).await;
        }
        self.kick();
        applied
    }

    /// Has the enclave wipe its root, until the agent is started again.
    ///
    /// # Errors
    /// See [`AttestError`]; then the node may still be unlocked.
    pub async fn lock(&self, by: &Actor<'_>) -> Result<(), AttestError> {
        let _changing = self.0.changing.lock().await;
        // First the flag: the loop must not unlock what was just locked.
        self.0.locked_by_operator.store(true, Ordering::Release);
        let locked = round::expect_done(&self.0.enclave, Request::Lock).await;
        match &locked {
            Ok(()) => {
                self.fail(&AttestError::LockedByOperator);
                self.record(audit::act(by.act(RecordKind::Locked), "")).await;
            }
            Err(_) => self.0.locked_by_operator.store(false, Ordering::Release),
        }
        locked
    }

    /// Evidence for an auditor, over their nonce.
    ///
    /// # Errors
    /// See [`AttestError`].
    pub async fn evidence(&self, nonce: Nonce) -> Result<Evidence, AttestError> {
        let Shared { enclave, tpm, settings, anchor, kept, .. } = &*self.0;
        let manifest = self.manifest().await?;
        let predecessors = kept.predecessors(&manifest)?;
        evidence::take(enclave, tpm, settings, &manifest, predecessors, anchor.newest().await, nonce).await
    }

    fn kept(&self, status: &Status) -> Result<Arc<VerifiedManifest>, AttestError> {
        let in_force = status.manifest.as_ref().ok_or(AttestError::Unprovisioned)?;
        self.0.kept.with_digest(in_force.digest)
    }

    async fn keep_attested(&self) {
        let mut connection = self.0.enclave.connection();
        let mut back_off = BACK_OFF.clone();
        let mut open: Option<Open> = None;
        loop {
            let up = match &*connection.borrow_and_update() {
                Connection::Up { generation } => Ok(*generation),
                Connection::Down { reason } => Err(reason.clone()),
            };
            let generation = match up {
                Ok(generation) => generation,
                Err(reason) => {
                    open = None;
                    self.fail(&AttestError::Enclave(crate::enclave::CallError::NotSent { reason }));
                    if connection.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
            };
            open = open.filter(|open| open.generation == generation);
            let tried = Instant::now();
            match self.attest(generation).await {
                Ok(opened) => {
                    back_off.reset();
                    let session = &opened.session;
                    let record = audit::base(
                        clock::now_ms(),
                        RecordKind::Attested,
                        format!("state {}", session.state),
                    );
                    let (session, binding) = (Some(session.id), Some(session.binding));
                    self.record(Record { session, binding, ..record }).await;
                    self.announce(AttestState::Ready {
                        session: opened.session.clone(),
                        era: opened.era,
                        generation,
                    });
                    let renew_at = tried + share(opened.life, RENEW_AT);
                    let opened = open.insert(opened);
                    tokio::select! {
                        () = sleep_until(renew_at) => {}
                        () = self.0.kick.notified() => {}
                        _ = connection.changed() => continue,
                        () = self.pcrs_differ(&opened.selection, &opened.pcrs) => {
                            open = None;
                            // Nothing is signed on a machine that may have left its state; a new quote decides.
                            self.announce(AttestState::Failed {
                                code: "PCRS_CHANGED",
                                detail: "the PCRs changed since the session was attested; attesting again".to_owned(),
                                since: clock::now(),
                            });
                        }
                    }
                    sleep_until(tried + GAP_MIN).await;
                }
                Err(error) => {
                    let serves = open.as_ref().is_some_and(|open| Instant::now() < open.ends);
                    if serves && !error.is_refusal() {
                        tracing::warn!(%error, "the session could not be renewed yet");
                    } else {
                        open = None;
                        if self.fail(&error) {
                            let record = audit::base(clock::now_ms(), RecordKind::AttestationFailed, "");
                            self.record(Record { code: Some(error.code().to_owned()), ..record }).await;
                        }
                    }
                    let mut again = Instant::now() + back_off.wait();
                    if let Some(open) = &open {
                        again = again.min(open.ends);
                    }
                    tokio::select! {
                        () = sleep_until(again) => {}
                        () = self.0.kick.notified() => {}
                        _ = connection.changed() => continue,
                    }
                    sleep_until(tried + GAP_MIN).await;
                }
            }
        }
    }

    /// Whatever it takes to open a session from where the enclave is now.
    async fn attest(&self, generation: u64) -> Result<Open, AttestError> {
        let _changing = self.0.changing.lock().await;
        let Shared { enclave, tpm, anchor, .. } = &*self.0;
        let status = if self.0.locked_by_operator.load(Ordering::Acquire) {
            return Err(AttestError::LockedByOperator);
        } else {
            round::unlocked(enclave, tpm).await?
        };
        let manifest = self.kept(&status)?;
        let started = Instant::now();
        let (session, pcrs) = round::open_session(enclave, tpm, generation, &manifest, anchor).await?;
        let life = manifest.manifest().session_ttl();
        let selection = manifest.manifest().quote_selection();
        Ok(Open { session, era: status.era, generation, selection, pcrs, life, ends: started + life })
    }

    /// Returns when the PCRs of the selection are no longer `quoted`. A TPM that does not answer is no change:
    /// renewal will find out.
    async fn pcrs_differ(&self, selection: &Selection, quoted: &PcrValues) {
        loop {
            sleep(self.0.settings.pcr_poll).await;
            match self.0.tpm.pcrs_of(selection).await {
                Ok(values) if values != *quoted => return,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the PCRs could not be looked at"),
            }
        }
    }

    /// Says why there is no session; `true` if that is news.
    fn fail(&self, error: &AttestError) -> bool {
        if matches!(error, AttestError::Unprovisioned) {
            return self.announce(AttestState::Unprovisioned);
        }
        let (code, detail) = (error.code(), error.to_string());
        let since = match &*self.0.state.borrow() {
            AttestState::Failed { code: earlier, since, .. } if *earlier == code => *since,
            _ => clock::now(),
        };
        self.announce(AttestState::Failed { code, detail, since })
    }

    /// Records what came of a quote, a manifest or a lock. None of them signs anything; what signs fails without its
    /// record.
    async fn record(&self, record: Record) {
        if let Err(error) = self.0.store.append(audit::row(&record)).await {
            tracing::error!(error = %crate::logging::chain(&error), kind = %record.kind, "not recorded");
        }
    }

    fn announce(&self, news: AttestState) -> bool {
        self.0.state.send_if_modified(|state| {
            if *state == news {
                return false;
            }
            match &news {
                AttestState::Starting => {}
                AttestState::Unprovisioned => tracing::warn!("the enclave is not provisioned"),
                AttestState::Ready { session, era, .. } => {
                    tracing::info!(state = session.state, era, until = %session.expires_at, "attested");
                }
                AttestState::Failed { code, detail, .. } => tracing::error!(code, detail, "not attested"),
            }
            *state = news;
            true
        })
    }
}

/// An open session, by this side's clock.
#[derive(Debug)]
struct Open {
    session: Session,
    era: u64,
    generation: u64,
    selection: Selection,
    /// As they were quoted.
    pcrs: PcrValues,
    life: Duration,
    ends: Instant,
}

/// A random share of a duration, in hundredths.
fn share(whole: Duration, hundredths: std::ops::RangeInclusive<u32>) -> Duration {
    between(whole * *hundredths.start() / 100, whole * *hundredths.end() / 100)
}
