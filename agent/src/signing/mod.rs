//! The one use case: sign what a client asks for, once.
//!
//! Reserve the nonce durably, have the enclave sign, check what it returned, record it durably, answer. A crash
//! at any point leaves a reservation that the same request resumes and no other can take.

mod answer;
mod check;
mod command;
mod decide;
mod flights;
mod judge;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sealstone_attestation::audit::{Record, RecordKind};
use sealstone_wire::KeyPath;
use sealstone_wire::api::SignAnswer;
use sealstone_wire::reply::{RefusalCode, Reply, Session, Signed};
use sealstone_wire::request::{Request, SignRequest};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::access::Shares;
use crate::assets::Assets;
use crate::attest::AttestState;
use crate::audit;
use crate::clock::{self, SteadyClock};
use crate::enclave::{CallError, Enclave};
use crate::failure::{Code, Failure, open_session};
use crate::reconcile::{Reconciler, Settled};
use crate::rulebook::Rules;
use crate::store::{Answer, Answered, NonceKey, Reserved, ReservedKey, Store, StoreError};

use answer::{answer, recorded};
use check::Expected;
use command::Whole;
use decide::Decided;
use flights::Flights;

pub use command::{Asker, IDEMPOTENCY_KEY_MAX, SignCommand, Signer, plain, suits};

/// Signatures under way at once. Below what the enclave queues, so that signing alone never makes it refuse, and
/// what is left over serves the rest.
pub const IN_FLIGHT_MAX: usize = 192;

/// Signatures of one client under way at once: more than keep the enclave busy; half, so that one that runs wild leaves
/// the others theirs.
pub const IN_FLIGHT_OF_ONE_MAX: usize = IN_FLIGHT_MAX / 2;

/// How long the enclave may take for one signature: a full queue before it takes some 65 ms.
const SIGN_DEADLINE: Duration = Duration::from_secs(10);

/// Receipts that may lie beyond one that the store lacks, before that one is fetched: signatures end out of order,
/// but no more of them than are under way. Far below what the enclave keeps, for then it could not be fetched.
const BEHIND_MAX: u64 = 384;
const _: () = assert!(IN_FLIGHT_MAX < 384 && 384 < sealstone_wire::limits::RECEIPTS_KEPT / 2);

type Outcome = Result<Arc<SignAnswer>, Failure>;

/// Signs. Clones of the `Arc` around it share its bounds.
#[allow(missing_debug_implementations, reason = "holds a callback")]
pub struct Signing {
    store: Store,
    enclave: Enclave,
    assets: Arc<Assets>,
    reconciler: Arc<Reconciler>,
    rules: Arc<Rules>,
    clock: SteadyClock,
    attestation: watch::Receiver<AttestState>,
    /// Asks for a new session now.
    renew: Box<dyn Fn() + Send + Sync>,
    slots: Semaphore,
    shares: Shares,
    /// Requests under way, each judged by itself: only one that says all the same has the same outcome.
    requests: Flights<Whole>,
    /// Reservations being signed, by their number. Requests that were each let through and share one are signed once.
    signatures: Flights<i64>,
    /// Signatures that were begun in a reservation that another request had made.
    resumed: AtomicU64,
}

impl Signing {
    /// Over these parts; `renew` is called when the enclave says that its session is over.
    #[must_use]
    pub fn new(
        store: Store,
        enclave: Enclave,
        assets: Arc<Assets>,
        reconciler: Arc<Reconciler>,
        rules: Arc<Rules>,
        attestation: watch::Receiver<AttestState>,
        renew: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            store,
            enclave,
            assets,
            reconciler,
            rules,
            clock: SteadyClock::default(),
            attestation,
            renew: Box::new(renew),
            slots: Semaphore::new(IN_FLIGHT_MAX),
            shares: Shares::new(IN_FLIGHT_OF_ONE_MAX, "signatures under way"),
            requests: Flights::default(),
            signatures: Flights::default(),
            resumed: AtomicU64::new(0),
        }
    }

    /// Now, in Unix milliseconds, by the clock that decisions go by.
    ///
    /// # Errors
    /// [`Code::ClockSet`] if somebody set it.
    pub fn now_ms(&self) -> Result<u64, Failure> {
        Ok(self.clock.now_ms()?)
    }

    /// Signs, or answers as before. Once begun it goes on to its end, even if the caller no longer waits. The same
    /// request of the same client meanwhile waits for the same outcome; one that is let through by itself, for the
    /// same signature, waits for that.
    ///
    /// # Errors
    /// [`Failure`] says whether another request or the same one later may do.
    pub async fn sign(self: &Arc<Self>, command: SignCommand) -> Outcome {
        let began = Instant::now();
        let whole = command.whole();
        let outcome = self.requests.join_or_begin(whole, Arc::clone(self).fly(command)).await;
        let code = outcome.as_ref().map_or_else(|failure| failure.code.name(), |_| "OK");
        metrics::counter!("sealstone_sign_requests_total", "code" => code).increment(1);
        metrics::histogram!("sealstone_sign_seconds").record(began.elapsed());
        outcome
    }

    /// A place among the requests under way.
    fn slot(&self) -> Result<SemaphorePermit<'_>, Failure> {
        self.slots.try_acquire().map_err(|_| {
            Failure::new(
                Code::Overloaded,
                format!("expected fewer than {IN_FLIGHT_MAX} signatures under way, found as many; try again"),
            )
        })
    }

    async fn fly(self: Arc<Self>, command: SignCommand) -> Outcome {
        let _share = self.shares.take(&command.asker.client)?;
        let _slot = self.slot()?;
        let attested = match self.attested().await {
            Ok(attested) => attested,
            Err(failure) if failure.code == Code::StoreRolledBack => return Err(failure),
            Err(failure) => return self.as_before(&command, failure).await,
        };
        let now_ms = match self.clock.now_ms() {
            Ok(now_ms) => now_ms,
            Err(set) => return self.as_before(&command, set.into()).await,
        };
        let resumed = self.resumed.load(Ordering::SeqCst);
        match self.reserve(&command, &attested, now_ms).await? {
            Decided::Sign { id, key, fresh, policy } => {
                let record = audit::decision(clock::now_ms(), RecordKind::Signed, &command, Some(policy));
                let held = Held { id, key, fresh, resumed, record };
                let signing = Arc::clone(&self);
                let sign = async move { signing.have_signed(command, held, &attested).await };
                self.signatures.join_or_begin(id, sign).await
            }
            Decided::Answered(recorded) => {
                Ok(Arc::new(answer(&command, &recorded, attested.settled.unfunded)))
            }
        }
    }

    /// What was answered before is answered again, whatever keeps new requests from being signed.
    async fn as_before(&self, command: &SignCommand, failure: Failure) -> Outcome {
        match self.store.standing(&command.nonce, &command.request).await? {
            Some(Reserved::Answered(recorded)) => {
                Ok(Arc::new(answer(command, &recorded, self.reconciler.unfunded())))
            }
            Some(Reserved::NonceUsed) => Err(nonce_used(&command.nonce)),
            Some(Reserved::Voided) => Err(voided(&command.nonce)),
            _ => Err(failure),
        }
    }

    /// The open session, with the store reconciled to it.
    async fn attested(&self) -> Result<Attested, Failure> {
        let state = self.attestation.borrow().clone();
        let (session, era, generation) = open_session(&state)?;
        let settled = self.reconciler.settled(generation, era, session).await?;
        Ok(Attested { session: session.clone(), settled })
    }

    /// From the reservation to the recorded answer.
    async fn have_signed(&self, command: SignCommand, held: Held, attested: &Attested) -> Outcome {
        if !held.fresh {
            self.resumed.fetch_add(1, Ordering::SeqCst);
        }
        // Even since this request made the reservation, another may have been given it, and been faster.
        if !held.fresh || self.resumed.load(Ordering::SeqCst) != held.resumed {
            match self.store.standing(&command.nonce, &command.request).await? {
                Some(Reserved::Answered(recorded)) => {
                    return Ok(Arc::new(answer(&command, &recorded, attested.settled.unfunded)));
                }
                Some(Reserved::NonceUsed) => return Err(nonce_used(&command.nonce)),
                // Where nothing stands, it was voided and its nonce given free.
                Some(Reserved::Voided) | None => return Err(voided(&command.nonce)),
                Some(_) => {}
            }
        }
        let (request, expected, command) = match self.compose(command, held.key, &attested.settled).await {
            Ok(composed) => composed,
            Err(failure) => {
                self.release(&held).await;
                return Err(failure);
            }
        };
        let generation = attested.settled.generation;
        let signed = match self.enclave.call_in(generation, Request::Sign(request), SIGN_DEADLINE).await {
            Ok(Reply::Signed(signed)) => signed,
            Ok(other) => {
                self.reconciler.doubt();
                return Err(CallError::unexpected("a signature", &other).into());
            }
            Err(error) => {
                self.after_error(&error, &held).await;
                return Err(refusal(error, &held));
            }
        };
        if signed.receipt.receipt.era != expected.era {
            // The enclave was locked and unlocked in between. Its era goes into the store before its signatures.
            self.reconciler.doubt();
            let reason = format!("it is of era {}", signed.receipt.receipt.era);
            return Err(CallError::Lost { reason }.into());
        }
        if let Err(failure) = check::check(&signed, &expected, &attested.settled.report_key) {
            tracing::error!(request = %expected.request, detail = failure.detail, "the enclave's answer is wrong");
            self.reconciler.doubt();
            return Err(failure);
        }
        let recorded = recorded(&signed, held.key, &attested.session);
        let Signed { public_key, digest, recovery_id, receipt, .. } = *signed;
        let attested_until = recorded.attested_until;
        let record = Record { time_ms: clock::now_ms(), ..held.record };
        let audit = audit::row(&audit::signature(record, &receipt.receipt));
        let reservation = held.id;
        let stored = Answer { reservation, receipt, public_key, digest, recovery_id, attested_until, audit };
        match self.store.answer(stored).await {
            Ok(Answered { behind, voided: is_voided }) => {
                // A signature came after its caller had given up, and nobody has recorded it.
                if behind > BEHIND_MAX {
                    self.reconciler.doubt();
                }
                if is_voided {
                    return Err(voided(&command.nonce));
                }
            }
            Err(error) => {
                // It was signed and is not recorded: the same request, or reconciliation, completes it.
                self.reconciler.doubt();
                return Err(not_recorded(error));
            }
        }
        Ok(Arc::new(answer(&command, &recorded, attested.settled.unfunded)))
    }

    /// The request to the enclave, and what must come of it.
    async fn compose(
        &self,
        mut command: SignCommand,
        key: ReservedKey,
        settled: &Settled,
    ) -> Result<(SignRequest, Expected, SignCommand), Failure> {
        let payload =
            std::mem::replace(&mut command.payload, sealstone_wire::request::Payload::Message(Vec::new()));
        let (path, binding, recorded, issued_at_ms) = match (&command.signer, key) {
            (Signer::Asset { tenant, asset }, ReservedKey::Asset { epoch }) => {
                let known = self.assets.in_epoch(tenant, asset, epoch).await?;
                let path = KeyPath::Asset {
                    tenant: tenant.clone(),
                    asset: asset.clone(),
                    epoch,
                    algorithm: known.algorithm,
                };
                (path, known.binding, Some((known.public_key, known.key_id)), None)
            }
            (
                Signer::Session { tenant, sender, algorithm },
                ReservedKey::Session { hour, binding, issued_at_ms },
            ) => {
                let path = KeyPath::Session {
                    tenant: tenant.clone(),
                    sender: sender.clone(),
                    chain_id: command.nonce.chain_id,
                    nonce: command.nonce.nonce,
                    hour,
                    algorithm: *algorithm,
                };
                (path, binding, None, Some(issued_at_ms))
            }
            // The sender, and with it the request's digest, tells the two apart.
            _ => {
                return Err(Failure::new(
                    Code::StoreFailed,
                    "expected a reservation of the same kind of key",
                ));
            }
        };
        let algorithm = path.algorithm();
        let expected = Expected {
            request: command.request,
            algorithm,
            recorded,
            binding,
            epoch: path.receipt_epoch(),
            era: settled.era,
            digest: check::digest_of(&payload, command.payload_digest),
        };
        let key_id = recorded.map(|(_, key_id)| key_id);
        let request = SignRequest { path, binding, key_id, payload, request: command.request, issued_at_ms };
        Ok((request, expected, command))
    }

    /// The nonce is free again only if surely nothing was signed: the request was not written, or the enclave, to
    /// which it was written for the first time, refused it before signing.
    async fn after_error(&self, error: &CallError, held: &Held) {
        match error {
            CallError::NotSent { .. } => self.release(held).await,
            CallError::Lost { .. } | CallError::Unexpected { .. } => self.reconciler.doubt(),
            CallError::Refused(refusal) => {
                if refusal.code == RefusalCode::NoSession {
                    (self.renew)();
                }
                if !matches!(refusal.code, RefusalCode::ShuttingDown | RefusalCode::Internal) {
                    self.release(held).await;
                }
            }
        }
    }

    async fn release(&self, held: &Held) {
        let Held { id, key: _, fresh, resumed: _, record } = held;
        let record = Record { time_ms: clock::now_ms(), kind: RecordKind::Released, ..record.clone() };
        let record = audit::row(&record);
        if *fresh && let Err(error) = self.store.release(*id, record).await {
            // It stays with its request, which may resume it.
            tracing::warn!(error = %crate::logging::chain(&error), "a reservation could not be released");
        }
    }
}

/// A reservation under way.
struct Held {
    id: i64,
    /// With which key.
    key: ReservedKey,
    /// Whether this request made it just now, so that nothing else can have been written to the enclave for it.
    fresh: bool,
    /// [`Signing::resumed`] before the reservation was made.
    resumed: u64,
    /// What a record says of it.
    record: Record,
}

/// What a signature is made in.
struct Attested {
    session: Session,
    settled: Arc<Settled>,
}

/// What the enclave's error means to the client: of a reservation that is resumed, a refusal of its key is for good.
fn refusal(error: CallError, held: &Held) -> Failure {
    let failure = Failure::from(error);
    let for_good =
        matches!(failure.code, Code::Enclave(RefusalCode::SessionKeyExpired | RefusalCode::BindingRefused));
    if held.fresh || !for_good {
        return failure;
    }
    let key = match held.key {
        ReservedKey::Asset { epoch } => format!("epoch {epoch}"),
        ReservedKey::Session { hour, .. } => format!("the session key of hour {hour}"),
    };
    let Failure { code, detail, .. } = failure;
    Failure::new(
        code,
        format!(
            "{detail}; this nonce was given away with {key} and is signed by no other: use another nonce"
        ),
    )
}

/// The nonce belongs to this request, whatever failed: the store's own code would say that nothing was signed.
fn not_recorded(error: StoreError) -> Failure {
    match error {
        StoreError::SequenceTaken { .. } => error.into(),
        _ => Failure::new(
            Code::OutcomeUnknown,
            format!(
                "expected to record the signature, found: {}; send the same request again",
                crate::logging::chain(&error)
            ),
        ),
    }
}

fn voided(nonce: &NonceKey) -> Failure {
    Failure::new(
        Code::NonceVoided,
        format!(
            "expected nonce {} of this sender on chain {} to be this request's to sign, found that it was voided; use \
             another nonce",
            nonce.nonce, nonce.chain_id
        ),
    )
}

fn nonce_used(nonce: &NonceKey) -> Failure {
    Failure::new(
        Code::NonceAlreadyUsed,
        format!(
            "expected nonce {} of this sender on chain {} to be free or this request's, found it given to another \
             request; use another nonce",
            nonce.nonce, nonce.chain_id
        ),
    )
}
