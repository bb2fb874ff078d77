//! The enclave as the agent sees it: one connection, many requests on it at once.
//!
//! A background task connects, keeps the connection alive and connects again. Requests are pipelined and found
//! again by their number. What matters most to the caller is the difference between [`CallError::NotSent`],
//! after which nothing happened, and [`CallError::Lost`], after which anything may have: a request counts as
//! lost from the moment before its first byte is written.

mod connect;
mod endpoint;
mod link;

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealstone_wire::limits::{QUEUE_MAX, RELAY_DEADLINE, TPM_COMMANDS_MAX};
use sealstone_wire::reply::{Refusal, Reply};
use sealstone_wire::request::{Request, RequestMessage};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

pub use endpoint::Endpoint;

use crate::tpm::{RelayError, TpmRelay};

/// Requests that may be in flight at once: as many as the enclave queues, so that one agent alone never makes
/// it refuse.
pub const IN_FLIGHT_MAX: usize = QUEUE_MAX;

/// Messages that may wait for the writer: every request in flight, and a relayed answer for each ceremony.
const OUTBOX_MAX: usize = IN_FLIGHT_MAX + 8;

/// How long a ceremony may say nothing. Within it the enclave waits for the relay at most
/// [`RELAY_DEADLINE`] and does arithmetic and disk writes of its own.
const CEREMONY_STEP_DEADLINE: Duration = RELAY_DEADLINE.saturating_add(Duration::from_secs(30));

/// Replies of one ceremony that may wait: it is strictly one question, one answer.
const CEREMONY_REPLIES_MAX: usize = 2;

/// A handle to the connection; clones share it.
#[derive(Clone, Debug)]
pub struct Enclave(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    outbox: mpsc::Sender<Outgoing>,
    slots: Arc<Semaphore>,
    next_id: AtomicU64,
    connection: watch::Receiver<Connection>,
    endpoint: watch::Sender<Arc<Endpoint>>,
}

/// Whether the enclave can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// No; says why.
    Down {
        /// For people.
        reason: String,
    },
    /// Yes.
    Up {
        /// Rises with each connection: what is known of the enclave holds within one.
        generation: u64,
    },
}

/// Why a request has no useful answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No byte of it was written: nothing happened, and nothing will.
    #[error("the enclave was not asked: {reason}")]
    NotSent {
        /// For people.
        reason: String,
    },
    /// It was written, at least in part, and no answer came: it may have been carried out.
    #[error("the enclave's answer is lost: {reason}")]
    Lost {
        /// For people.
        reason: String,
    },
    /// The enclave said no.
    #[error("the enclave refuses ({code}): {detail}", code = .0.code, detail = .0.detail)]
    Refused(Refusal),
    /// The enclave answered something else than what was asked: a bug on one side.
    #[error("expected {expected} from the enclave, found {found}")]
    Unexpected {
        /// The kind of reply that was due.
        expected: &'static str,
        /// The kind that came.
        found: &'static str,
    },
}

impl CallError {
    /// `reply` is not what was due.
    #[must_use]
    pub fn unexpected(expected: &'static str, reply: &Reply) -> Self {
        let found = match reply {
            Reply::Done => "done",
            Reply::Status(_) => "a status",
            Reply::Relay { .. } => "a TPM command",
            Reply::Challenge { .. } => "a challenge",
            Reply::Session(_) => "a session",
            Reply::Report { .. } => "a report",
            Reply::Clock { .. } => "a clock",
            Reply::PublicKey { .. } => "a public key",
            Reply::Signed(_) => "a signature",
            Reply::Receipts(_) => "receipts",
            Reply::Shares(_) => "shares",
            Reply::ExportedRoot(_) => "an exported root",
            Reply::Refused(_) => "a refusal",
            Reply::CheckpointBegun { .. } => "how far the audit log is",
            Reply::Checkpoint(_) => "an audit checkpoint",
            Reply::LogBegun { .. } => "a new audit log",
        };
        Self::Unexpected { expected, found }
    }
}

impl Enclave {
    /// Starts the background task; it ends when `shutdown` does, and then nothing is sent any more.
    ///
    /// Must be called within a tokio runtime.
    pub fn spawn(endpoint: Endpoint, shutdown: impl Future<Output = ()> + Send + 'static) -> Self {
        let (outbox, inbox) = mpsc::channel(OUTBOX_MAX);
        let (announce, connection) =
            watch::channel(Connection::Down { reason: "not connected yet".to_owned() });
        let endpoint = watch::Sender::new(Arc::new(endpoint));
        let supervisor = connect::Supervisor::new(endpoint.subscribe(), inbox, announce);
        tokio::spawn(supervisor.run(shutdown));
        Self(Arc::new(Shared {
            outbox,
            slots: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            next_id: AtomicU64::new(1),
            connection,
            endpoint,
        }))
    }

    /// Connects with these keys from now on, at the same address. A connection that is open serves until another one
    /// under them has taken its place, so that no request fails of it.
    pub fn replace_keys(&self, endpoint: Endpoint) {
        self.0.endpoint.send_replace(Arc::new(endpoint));
    }

    /// How the connection is, and when it changes.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.0.connection.clone()
    }

    /// Asks over whichever connection there is now.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(&self, request: Request, deadline: Duration) -> Result<Reply, CallError> {
        let generation = self.generation()?;
        self.call_in(generation, request, deadline).await
    }

    /// Asks over the connection of this generation and no other, for callers who checked something on it first.
    ///
    /// # Errors
    /// See [`CallError`]; [`CallError::NotSent`] if that connection is gone.
    pub async fn call_in(
        &self,
        generation: u64,
        request: Request,
        deadline: Duration,
    ) -> Result<Reply, CallError> {
        let end = Instant::now() + deadline;
        let (answer, answered) = oneshot::channel();
        let ticket = Arc::new(Ticket::default());
        self.post(generation, request, Waiter::Once(answer), &ticket)?;
        let outcome = match timeout_at(end, answered).await {
            Ok(outcome) => outcome.unwrap_or_else(|_| Err(ended())),
            Err(_) if ticket.withdraw() => {
                Err(CallError::NotSent { reason: format!("it could not be written within {deadline:?}") })
            }
            Err(_) => Err(CallError::Lost { reason: format!("no answer within {deadline:?}") }),
        };
        match outcome? {
            Reply::Refused(refusal) => Err(CallError::Refused(refusal)),
            reply => Ok(reply),
        }
    }

    /// Asks for what needs the TPM: commands that the enclave wants executed go to `relay` until it is done.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn ceremony(&self, request: Request, relay: &mut TpmRelay) -> Result<Reply, CallError> {
        let generation = self.generation()?;
        let (answer, mut answers) = mpsc::channel(CEREMONY_REPLIES_MAX);
        let ticket = Arc::new(Ticket::default());
        let id = self.post(generation, request, Waiter::Ceremony(answer), &ticket)?;
        for _ in 0..=TPM_COMMANDS_MAX {
            let outcome = match timeout_at(Instant::now() + CEREMONY_STEP_DEADLINE, answers.recv()).await {
                Ok(outcome) => outcome.unwrap_or_else(|| Err(ended())),
                Err(_) if ticket.withdraw() => {
                    Err(CallError::NotSent { reason: "it could not be written".to_owned() })
                }
                Err(_) => {
                    Err(CallError::Lost { reason: format!("no word within {CEREMONY_STEP_DEADLINE:?}") })
                }
            };
            match outcome? {
                Reply::Relay { step, command } => {
                    let response = match relay.transmit(&command).await {
                        Ok(response) => response,
                        Err(error) => {
                            let source = std::error::Error::source(&error).map(ToString::to_string);
                            match error {
                                RelayError::Unreachable(_) => tracing::warn!(%error, source, "relay"),
                                _ => tracing::error!(%error, "the enclave asked for what is not relayed"),
                            }
                            Vec::new()
                        }
                    };
                    self.post_relayed(generation, Request::Relayed { to: id, step, response }).await?;
                }
                Reply::Refused(refusal) => return Err(CallError::Refused(refusal)),
                reply => return Ok(reply),
            }
        }
        Err(CallError::Lost {
            reason: format!("expected at most {TPM_COMMANDS_MAX} TPM commands in one ceremony"),
        })
    }

    fn generation(&self) -> Result<u64, CallError> {
        match &*self.0.connection.borrow() {
            Connection::Up { generation } => Ok(*generation),
            Connection::Down { reason } => Err(CallError::NotSent { reason: reason.clone() }),
        }
    }

    fn post(
        &self,
        generation: u64,
        request: Request,
        waiter: Waiter,
        ticket: &Arc<Ticket>,
    ) -> Result<u64, CallError> {
        let not_sent = |reason: &str| CallError::NotSent { reason: reason.to_owned() };
        let overloaded = |_| not_sent("overloaded");
        let slot = Arc::clone(&self.0.slots).try_acquire_owned().map_err(overloaded)?;
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let open = Some(Open { waiter, _slot: slot });
        let message = RequestMessage { id, request };
        let outgoing = Outgoing { generation, message, ticket: Arc::clone(ticket), open };
        self.0.outbox.try_send(outgoing).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => not_sent("overloaded"),
            mpsc::error::TrySendError::Closed(_) => not_sent("the agent is shutting down"),
        })?;
        Ok(id)
    }

    /// A relayed answer is itself not answered, and takes no slot: its ceremony has one.
    async fn post_relayed(&self, generation: u64, request: Request) -> Result<(), CallError> {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let message = RequestMessage { id, request };
        let outgoing = Outgoing { generation, message, ticket: Arc::default(), open: None };
        self.0.outbox.send(outgoing).await.map_err(|_| ended())
    }
}

fn ended() -> CallError {
    CallError::Lost { reason: "the agent is shutting down".to_owned() }
}

/// One message for the writer.
#[derive(Debug)]
struct Outgoing {
    generation: u64,
    message: RequestMessage,
    ticket: Arc<Ticket>,
    open: Option<Open>,
}

/// A request that waits for its answer; its slot is free again when that came or the connection ended, not when
/// the caller lost patience: the enclave still works on it.
#[derive(Debug)]
struct Open {
    waiter: Waiter,
    _slot: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Waiter {
    Once(oneshot::Sender<Result<Reply, CallError>>),
    Ceremony(mpsc::Sender<Result<Reply, CallError>>),
}

impl Waiter {
    fn finish(self, outcome: Result<Reply, CallError>) {
        match self {
            // Who no longer waits has its answer already.
            Self::Once(sender) => drop(sender.send(outcome)),
            Self::Ceremony(sender) => drop(sender.try_send(outcome)),
        }
    }
}

impl Outgoing {
    /// It will not be written.
    fn refuse(self, reason: &str) {
        if let Some(open) = self.open {
            open.waiter.finish(Err(CallError::NotSent { reason: reason.to_owned() }));
        }
    }
}

/// Decides, once, whether a request is written or withdrawn.
#[derive(Debug, Default)]
struct Ticket(AtomicU8);

impl Ticket {
    const WRITTEN: u8 = 1;
    const WITHDRAWN: u8 = 2;

    /// By the writer, before the first byte: false if the caller gave up before.
    fn redeem(&self) -> bool {
        self.0.compare_exchange(0, Self::WRITTEN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// By the caller: false if the writer was faster.
    fn withdraw(&self) -> bool {
        self.0.compare_exchange(0, Self::WITHDRAWN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Requests that were written and not answered yet; bounded by the slots they hold.
#[derive(Debug, Default)]
struct Pending(Mutex<HashMap<u64, Open>>);

impl Pending {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn has_ceremony(&self) -> bool {
        self.lock().values().any(|open| matches!(open.waiter, Waiter::Ceremony(_)))
    }
}
