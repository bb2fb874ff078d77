//! The TPM as the agent uses it: keys, PCRs, quotes, and the enclave's relay.
//!
//! ESAPI blocks, so one thread owns it. Whoever wants the TPM first takes the only permit, so a quote and a
//! ceremony never meet in its few places; every wait has a deadline, so a TPM that hangs blocks nobody but
//! that thread. After each use nothing stays loaded.

mod certificate;
mod error;
mod keys;
mod pcrs;
mod relay;
mod transport;
mod worker;

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use sealstone_attestation::{Credential, PcrValues, PublicArea, QuoteEvidence};
use sealstone_wire::api::{Enrolment, TpmStatus};
use sealstone_wire::request::TpmHints;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

pub use error::TpmError;
pub use pcrs::Selection;
pub use relay::{RelayError, TpmRelay};

use crate::config::tpm::TpmConfig;
use transport::Transport;
use worker::{Job, Worker};

/// Callers that may wait at once. The attestation loop and evidence make two; clients that ask for evidence
/// at the same time wait here, and beyond this number are told to try again.
const CALLERS_MAX: usize = 32;

/// Jobs on their way to the thread: a call that is under way and, after it timed out, the next.
const JOBS_MAX: usize = CALLERS_MAX;

/// A handle to the thread that owns the TPM. It ends with the last handle.
#[derive(Clone, Debug)]
pub struct Tpm(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: TpmConfig,
    jobs: SyncSender<Job>,
    /// One permit: whoever holds it has the TPM to itself.
    bus: Arc<Semaphore>,
    callers: Semaphore,
    health: Arc<Mutex<Health>>,
}

/// What the newest command showed.
#[derive(Clone, Debug, Default)]
struct Health {
    reachable: bool,
    fault: Option<String>,
}

/// Who speaks for this machine: what a manifest enrols and evidence carries.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The endorsement key.
    pub ek: PublicArea,
    /// The attestation key.
    pub ak: PublicArea,
    /// The endorsement key's certificate, DER, if the TPM has one.
    pub ek_certificate: Option<Vec<u8>>,
}

impl Tpm {
    /// Starts the thread. The TPM is not touched before the first call, so the agent starts without it.
    ///
    /// # Errors
    /// [`TpmError::ThreadEnded`] if the system has no thread left.
    pub fn spawn(config: &TpmConfig) -> Result<Self, TpmError> {
        let health = Arc::new(Mutex::new(Health::default()));
        let (jobs, inbox) = std::sync::mpsc::sync_channel::<Job>(JOBS_MAX);
        let mut worker = Worker::new(config.clone(), Arc::clone(&health));
        std::thread::Builder::new()
            .name("tpm".to_owned())
            .spawn(move || {
                while let Ok(job) = inbox.recv() {
                    job(&mut worker);
                }
            })
            .map_err(|_| TpmError::ThreadEnded)?;
        Ok(Self(Arc::new(Shared {
            config: config.clone(),
            jobs,
            bus: Arc::new(Semaphore::new(1)),
            callers: Semaphore::new(CALLERS_MAX),
            health,
        })))
    }

    /// What a manifest needs to know of this machine. The first call ever creates the attestation key.
    ///
    /// # Errors
    /// See [`TpmError`].
    pub async fn enrolment(&self) -> Result<Enrolment, TpmError> {
        self.call(Worker::enrolment).await
    }

    /// Opens a credential that an enrolling authority made for this TPM's keys.
    ///
    /// # Errors
    /// See [`TpmError`]; [`TpmError::Credential`] if it was made for others.
    pub async fn activate(&self, credential: Credential) -> Result<Vec<u8>, TpmError> {
        self.call(move |worker| worker.activate(&credential)).await
    }

    /// Both public keys and the certificate.
    ///
    /// # Errors
    /// See [`TpmError`].
    pub async fn identity(&self) -> Result<Identity, TpmError> {
        self.call(Worker::identity).await
    }

    /// What helps the enclave to find the endorsement key.
    ///
    /// # Errors
    /// See [`TpmError`].
    pub async fn hints(&self) -> Result<TpmHints, TpmError> {
        self.call(Worker::hints).await
    }

    /// Quotes these PCRs with the attestation key. The values returned are those that were quoted.
    ///
    /// # Errors
    /// See [`TpmError`]; [`TpmError::PcrsUnstable`] if PCRs keep changing.
    pub async fn quote(
        &self,
        selection: &Selection,
        qualifying: [u8; 32],
    ) -> Result<QuoteEvidence, TpmError> {
        let selection = selection.clone();
        self.call(move |worker| worker.quote(&selection, qualifying)).await
    }

    /// Every PCR of the active SHA-2 banks.
    ///
    /// # Errors
    /// See [`TpmError`].
    pub async fn pcrs(&self) -> Result<PcrValues, TpmError> {
        self.call(Worker::pcrs).await
    }

    /// The PCRs of one selection.
    ///
    /// # Errors
    /// See [`TpmError`]; [`TpmError::NoSuchPcr`] if one is not active.
    pub async fn pcrs_of(&self, selection: &Selection) -> Result<PcrValues, TpmError> {
        let selection = selection.clone();
        self.call(move |worker| worker.pcrs_of(&selection)).await
    }

    /// The TPM to the enclave alone, until the relay is dropped.
    ///
    /// # Errors
    /// [`TpmError::Occupied`] if it does not come free, [`TpmError::Unreachable`] if a device does not open.
    pub async fn relay(&self) -> Result<TpmRelay, TpmError> {
        let permit = self.permit(Instant::now() + self.0.config.deadline).await?;
        let transport = Transport::open(&self.0.config.relay).map_err(|error| TpmError::Unreachable {
            tcti: self.0.config.tcti.to_string(),
            detail: error.to_string(),
        })?;
        Ok(TpmRelay::new(self.clone(), transport, permit))
    }

    /// How the TPM was when it was last used. Never blocks.
    #[must_use]
    pub fn status(&self) -> TpmStatus {
        let Health { reachable, fault } =
            self.0.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        TpmStatus { tcti: self.0.config.tcti.to_string(), reachable, fault }
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Worker) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        let _caller = self.0.callers.try_acquire().map_err(|_| TpmError::Overloaded { max: CALLERS_MAX })?;
        let end = Instant::now() + self.0.config.deadline;
        let permit = self.permit(end).await?;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            let result = work(worker);
            // Before the answer: who hears it may ask again at once.
            drop(permit);
            let _ = answer.send(result);
        });
        self.0.jobs.try_send(job).map_err(|_| TpmError::ThreadEnded)?;
        match timeout_at(end, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(TpmError::ThreadEnded),
            Err(_) => {
                let error = TpmError::Timeout { seconds: self.0.config.deadline.as_secs() };
                let mut health = self.0.health.lock().unwrap_or_else(PoisonError::into_inner);
                *health = Health { reachable: false, fault: Some(error.to_string()) };
                Err(error)
            }
        }
    }

    async fn permit(&self, end: Instant) -> Result<OwnedSemaphorePermit, TpmError> {
        timeout_at(end, Arc::clone(&self.0.bus).acquire_owned())
            .await
            .map_err(|_| TpmError::Occupied { seconds: self.0.config.deadline.as_secs() })?
            .map_err(|_| TpmError::ThreadEnded)
    }

    /// Has the thread do something that blocks while `permit` stays taken, without waiting for it.
    fn run_detached(&self, work: impl FnOnce() + Send + 'static, permit: OwnedSemaphorePermit) {
        let job: Job = Box::new(move |_| {
            work();
            drop(permit);
        });
        if self.0.jobs.try_send(job).is_err() {
            tracing::error!("the thread that owns the TPM has ended");
        }
    }
}
