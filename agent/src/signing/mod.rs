//! The one use case: sign what a client asks for, once.
//!
//! Reserve the nonce durably, have the enclave sign, check what it returned, record it durably, answer. A crash
//! at any point leaves a reservation that the same request resumes and no other can take.

mod answer;
mod check;
mod command;
mod flights;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sealstone_attestation::RequestDigest;
use sealstone_wire::api::SignAnswer;
use sealstone_wire::reply::{RefusalCode, Reply, Session, Signed};
use sealstone_wire::request::{Request, SignRequest};
use sealstone_wire::{KeyPath, key_path};
use tokio::sync::{Semaphore, watch};

use crate::assets::Assets;
use crate::attest::AttestState;
use crate::audit::Record;
use crate::clock;
use crate::enclave::{CallError, Enclave};
use crate::failure::{Code, Failure, open_session};
use crate::reconcile::{Reconciler, Settled};
use crate::store::{
    Answer, Answered, NonceKey, RefusedDemand, Reserve, Reserved, ReservedKey, Store, StoreError,
};

use answer::{answer, recorded};
use check::Expected;
use flights::Flights;

pub use command::{IDEMPOTENCY_KEY_MAX, SignCommand, Signer, suits};

/// Signatures under way at once. Below what the enclave queues, so that signing alone never makes it refuse, and
/// what is left over serves the rest.
pub const IN_FLIGHT_MAX: usize = 192;

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
    attestation: watch::Receiver<AttestState>,
    /// Asks for a new session now.
    renew: Box<dyn Fn() + Send + Sync>,
    slots: Semaphore,
    flights: Flights,
}

impl Signing {
    /// Over these parts; `renew` is called when the enclave says that its session is over.
    #[must_use]
    pub fn new(
        store: Store,
        enclave: Enclave,
        assets: Arc<Assets>,
        reconciler: Arc<Reconciler>,
        attestation: watch::Receiver<AttestState>,
        renew: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            store,
            enclave,
            assets,
            reconciler,
            attestation,
            renew: Box::new(renew),
            slots: Semaphore::new(IN_FLIGHT_MAX),
            flights: Flights::default(),
        }
    }

    /// Signs, or answers as before. Once begun it goes on to its end, even if the caller no longer waits; the
    /// same request meanwhile waits for the same outcome.
    ///
    /// # Errors
    /// [`Failure`] says whether another request or the same one later may do.
    pub async fn sign(self: &Arc<Self>, command: SignCommand) -> Outcome {
        let began = Instant::now();
        let name = *command.request.as_bytes();
        let signing = Arc::clone(self);
        let outcome = self.flights.join_or_begin(name, async move { signing.fly(command).await }).await;
        let code = outcome.as_ref().map_or_else(|failure| failure.code.name(), |_| "OK");
        metrics::counter!("sealstone_sign_requests_total", "code" => code).increment(1);
        metrics::histogram!("sealstone_sign_seconds").record(began.elapsed());
        outcome
    }

    async fn fly(&self, command: SignCommand) -> Outcome {
        let Ok(_slot) = self.slots.try_acquire() else {
            return Err(Failure::new(
                Code::Overloaded,
                format!("expected fewer than {IN_FLIGHT_MAX} signatures under way, found as many; try again"),
            ));
        };
        let attested = match self.attested().await {
            Ok(attested) => attested,
            Err(failure) if failure.code == Code::StoreRolledBack => return Err(failure),
            // What was answered before is answered again, session or not.
            Err(failure) => {
                return match self.store.standing(&command.nonce, &command.request).await? {
                    Some(Reserved::Answered(recorded)) => {
                        Ok(Arc::new(answer(&command, &recorded, self.reconciler.unfunded())))
                    }
                    Some(Reserved::NonceUsed) => Err(nonce_used(&command.nonce)),
                    Some(Reserved::Voided) => Err(voided(&command.nonce)),
                    _ => Err(failure),
                };
            }
        };
        let (key, reserved) = self.reserve(&command, &attested).await?;
        match reserved {
            Reserved::Fresh { id } => self.have_signed(command, id, key, true, &attested).await,
            Reserved::Open(open) => self.have_signed(command, open.id, open.key, false, &attested).await,
            Reserved::Answered(recorded) => {
                Ok(Arc::new(answer(&command, &recorded, attested.settled.unfunded)))
            }
            Reserved::NonceUsed => Err(nonce_used(&command.nonce)),
            Reserved::Voided => Err(voided(&command.nonce)),
            Reserved::AssetChanged => Err(Failure::new(
                Code::AssetRetired,
                "expected an asset that signs, found that it was retired, or is being rotated; read it again",
            )),
            Reserved::Refused(refused) => Err(limited(&refused)),
            Reserved::KeyReused => Err(Failure::new(
                Code::IdempotencyKeyReused,
                "expected this idempotency key with the request that it named first, found another request",
            )),
        }
    }

    /// Reserves the nonce with the key that signs if it is free.
    async fn reserve(
        &self,
        command: &SignCommand,
        attested: &Attested,
    ) -> Result<(ReservedKey, Reserved), Failure> {
        let client = command.idempotency.as_ref().map_or_else(String::new, |name| name.client.clone());
        let refusal = Record::new("refused").request(&command.nonce, command.request, &client).row();
        let mut reserve = Reserve {
            nonce: command.nonce.clone(),
            request: command.request,
            key: self.choose_key(command, attested).await?,
            epoch_named: false,
            client,
            idempotency: command.idempotency.clone(),
            policy: None,
            demands: Vec::new(),
            now_ms: clock::now_ms(),
            refusal,
        };
        let reserved = self.store.reserve(reserve.clone()).await?;
        let (Reserved::AssetChanged, Signer::Asset { tenant, asset }) = (&reserved, &command.signer) else {
            return Ok((reserve.key, reserved));
        };
        // Another agent changed it. What the store says now is the newest.
        self.assets.forget(tenant, asset);
        reserve.key = self.choose_key(command, attested).await?;
        let reserved = self.store.reserve(reserve.clone()).await?;
        Ok((reserve.key, reserved))
    }

    /// The open session, with the store reconciled to it.
    async fn attested(&self) -> Result<Attested, Failure> {
        let state = self.attestation.borrow().clone();
        let (session, era, generation) = open_session(&state)?;
        let settled = self.reconciler.settled(generation, era, session).await?;
        Ok(Attested { session: session.clone(), settled })
    }

    /// Which key signs if the nonce is free.
    async fn choose_key(&self, command: &SignCommand, attested: &Attested) -> Result<ReservedKey, Failure> {
        match &command.signer {
            Signer::Asset { tenant, asset } => {
                let asset = self.assets.newest(tenant, asset).await?;
                suits(asset.algorithm, &command.payload)?;
                Ok(ReservedKey::Asset { epoch: asset.epoch })
            }
            Signer::Session { .. } => {
                let generation = attested.settled.generation;
                let now_ms = match self.enclave.call_in(generation, Request::Clock, SIGN_DEADLINE).await? {
                    Reply::Clock { now_ms } => now_ms,
                    other => return Err(CallError::unexpected("a clock", &other).into()),
                };
                Ok(ReservedKey::Session {
                    hour: key_path::hour_of(now_ms / 1000),
                    binding: attested.session.binding,
                    issued_at_ms: now_ms,
                })
            }
        }
    }

    /// From the reservation to the recorded answer. `fresh` says that this request made the reservation just now,
    /// so that nothing else can have been written to the enclave for it.
    async fn have_signed(
        &self,
        command: SignCommand,
        reservation: i64,
        key: ReservedKey,
        fresh: bool,
        attested: &Attested,
    ) -> Outcome {
        let held = Held { reservation, fresh, nonce: command.nonce.clone(), request: command.request };
        let (request, expected, command) = match self.compose(command, key, &attested.settled).await {
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
                return Err(error.into());
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
        let recorded = recorded(&signed, key, &attested.session);
        let Signed { public_key, digest, recovery_id, receipt, .. } = *signed;
        let attested_until = recorded.attested_until;
        let client = command.idempotency.as_ref().map_or("", |name| name.client.as_str());
        let record = Record::new("signed").request(&command.nonce, command.request, client);
        let audit = record.receipt(&receipt.receipt).row();
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
        let Held { reservation, fresh, nonce, request } = held;
        let record = Record::new("released").request(nonce, *request, "").row();
        if *fresh && let Err(error) = self.store.release(*reservation, record).await {
            // It stays with its request, which may resume it.
            tracing::warn!(error = %crate::logging::chain(&error), "a reservation could not be released");
        }
    }
}

/// A reservation under way. `fresh` says that this request made it just now.
struct Held {
    reservation: i64,
    fresh: bool,
    nonce: NonceKey,
    request: RequestDigest,
}

/// What a signature is made in.
struct Attested {
    session: Session,
    settled: Arc<Settled>,
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

fn limited(refused: &[RefusedDemand]) -> Failure {
    let code = refused.first().map_or("LIMIT_EXCEEDED", |first| first.demand.code);
    let each: Vec<_> = refused
        .iter()
        .map(|RefusedDemand { demand, used }| {
            format!("{}: {used} used and {} asked for of {}", demand.window, demand.add, demand.limit)
        })
        .collect();
    Failure::new(
        Code::LimitExceeded(code),
        format!("expected room in each window, found {}", each.join("; ")),
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
