//! Before anything is signed: which key would sign, what the rules say, and whether the nonce is free.

use sealstone_attestation::audit::RecordKind;
use sealstone_attestation::{Algorithm, PolicyDigest, PublicKey, UnixTime};
use sealstone_policy::engine::{Demand, Reason};
use sealstone_wire::api::{DryRun, ReasonBody};
use sealstone_wire::reply::Reply;
use sealstone_wire::request::Request;
use sealstone_wire::{KeyPath, PathText, key_path};

use super::judge::{Judged, judge};
use super::{Attested, SIGN_DEADLINE, SignCommand, Signer, Signing, nonce_used, suits, voided};
use crate::assets::public_key;
use crate::audit;
use crate::enclave::CallError;
use crate::failure::{Code, Failure};
use crate::store::{NonceKey, Recorded, RefusalRecord, Reserve, Reserved, ReservedKey};

/// The key that would sign.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// As it is reserved.
    pub(super) key: ReservedKey,
    /// The key; absent for a session key whose payload nobody reads, for it is not derived yet.
    public: Option<PublicKey>,
    /// Whether the asset has a newer epoch.
    old_epoch: bool,
    /// Whether the asset takes no new signatures.
    retired: bool,
}

/// A request that the rules let through, as far as they can tell without the sender's past.
struct Permitted {
    chosen: Chosen,
    policy: PolicyDigest,
    demands: Vec<Demand>,
}

enum Permission {
    Given(Permitted),
    /// The request was answered before, and is answered so again whatever the rules say now.
    Answered(Box<Recorded>),
}

/// What a request came to, before anything is done about it.
enum Weighed {
    /// By this key, it was judged so.
    Judged(Chosen, Box<Judged>),
    /// It was answered before, and would be refused now.
    Answered(Box<Recorded>),
}

/// What is to be done about a request.
pub(super) enum Decided {
    /// It is signed, in this reservation.
    Sign {
        /// The reservation.
        id: i64,
        /// With which key.
        key: ReservedKey,
        /// Whether this request made the reservation just now.
        fresh: bool,
        /// The rules that let it through.
        policy: PolicyDigest,
    },
    /// It was answered before.
    Answered(Box<Recorded>),
}

impl Signing {
    /// Judges a request and reserves its nonce.
    ///
    /// # Errors
    /// Every refusal, after it was recorded.
    pub(super) async fn reserve(
        &self,
        command: &SignCommand,
        attested: &Attested,
        now_ms: u64,
    ) -> Result<Decided, Failure> {
        let mut permitted = match self.permitted(command, attested, now_ms).await? {
            Permission::Given(permitted) => permitted,
            Permission::Answered(answer) => return Ok(Decided::Answered(answer)),
        };
        let mut reserved = self.store.reserve(asked(command, &permitted, now_ms)).await?;
        if let (Reserved::AssetChanged, Signer::Asset { tenant, asset }) = (&reserved, &command.signer) {
            // Another agent changed it. What the store says now is the newest.
            self.assets.forget(tenant, asset);
            permitted = match self.permitted(command, attested, now_ms).await? {
                Permission::Given(permitted) => permitted,
                Permission::Answered(answer) => return Ok(Decided::Answered(answer)),
            };
            reserved = self.store.reserve(asked(command, &permitted, now_ms)).await?;
        }
        let Permitted { chosen, policy, demands: _ } = permitted;
        let failure = match reserved {
            Reserved::Fresh { id } => return Ok(Decided::Sign { id, key: chosen.key, fresh: true, policy }),
            Reserved::Open(open) => {
                return Ok(Decided::Sign { id: open.id, key: open.key, fresh: false, policy });
            }
            Reserved::Answered(answer) => return Ok(Decided::Answered(answer)),
            // The store recorded it in the transaction in which it refused.
            Reserved::Refused(reasons) => return Err(Failure::refused(reasons)),
            Reserved::NonceUsed => nonce_used(&command.nonce),
            Reserved::Voided => voided(&command.nonce),
            Reserved::AssetChanged if chosen.retired => retired(),
            Reserved::AssetChanged => Failure::new(
                Code::AssetChanged,
                "expected an asset that signs in this epoch, found that it is being rotated; read it again",
            ),
            Reserved::KeyReused => Failure::new(
                Code::IdempotencyKeyReused,
                "expected this idempotency key with the request that it named first, found another request",
            ),
        };
        Err(self.refused(command, Some(policy), now_ms, failure).await)
    }

    /// What would happen to a request now. Nothing is reserved and nothing recorded.
    ///
    /// # Errors
    /// What keeps it from being judged at all.
    pub async fn dry_run(&self, command: &SignCommand) -> Result<DryRun, Failure> {
        // It works the store and the enclave as a request does.
        let _share = self.shares.take(&command.asker.client)?;
        let _slot = self.slot()?;
        let attested = self.attested().await?;
        let now_ms = self.clock.now_ms()?;
        let (chosen, judged) = match self.weigh(command, &attested, now_ms).await? {
            Weighed::Judged(chosen, judged) => (chosen, judged),
            Weighed::Answered(_) => {
                return Ok(DryRun {
                    allowed: true,
                    reasons: Vec::new(),
                    policy: self.rules.current().policy.digest().to_string(),
                    request_digest: command.request,
                    address: None,
                    facts: serde_json::Value::Null,
                });
            }
        };
        let Judged { judgement, address, facts } = *judged;
        let reasons = self.foreseen(command, &chosen, judgement.outcome, now_ms).await?;
        Ok(DryRun {
            allowed: reasons.is_empty(),
            reasons,
            policy: judgement.policy.to_string(),
            request_digest: command.request,
            address: address.map(|address| address.to_string()),
            facts: serde_json::to_value(facts).unwrap_or_default(),
        })
    }

    /// Every reason for which a request would be refused: its own, those of the sender's past, and what holds its nonce.
    async fn foreseen(
        &self,
        command: &SignCommand,
        chosen: &Chosen,
        outcome: Result<Vec<Demand>, Vec<Reason>>,
        now_ms: u64,
    ) -> Result<Vec<ReasonBody>, Failure> {
        let standing = self.store.standing(&command.nonce, &command.request).await?;
        // It is answered as before, whatever the rules say now.
        if matches!(standing, Some(Reserved::Answered(_))) {
            return Ok(Vec::new());
        }
        let resumed = match &standing {
            Some(Reserved::Open(open)) => Some(open.id),
            _ => None,
        };
        let mut reasons: Vec<ReasonBody> = match outcome {
            Err(reasons) => reasons.into_iter().map(said).collect(),
            Ok(demands) if standing.is_none() || resumed.is_some() => {
                let sender = &command.nonce.sender;
                let refused = self.store.would_refuse(sender, &demands, now_ms, resumed).await?;
                refused.into_iter().map(said).collect()
            }
            // It is another's nonce, or nobody's.
            Ok(_) => Vec::new(),
        };
        let failure = match standing {
            Some(Reserved::NonceUsed) => Some(nonce_used(&command.nonce)),
            Some(Reserved::Voided) => Some(voided(&command.nonce)),
            None if chosen.retired => Some(retired()),
            _ => None,
        };
        let held =
            failure.map(|Failure { code, detail, .. }| ReasonBody { code: code.name().to_owned(), detail });
        reasons.extend(held);
        Ok(reasons)
    }
}

impl Signing {
    /// The key that signs and what its rules demand, or what was recorded of the request before. A refusal is recorded.
    async fn permitted(
        &self,
        command: &SignCommand,
        attested: &Attested,
        now_ms: u64,
    ) -> Result<Permission, Failure> {
        let (policy, failure) = match self.weigh(command, attested, now_ms).await {
            Ok(Weighed::Answered(answer)) => return Ok(Permission::Answered(answer)),
            Ok(Weighed::Judged(chosen, judged)) => match judged.judgement.outcome {
                Ok(demands) => {
                    let policy = judged.judgement.policy;
                    return Ok(Permission::Given(Permitted { chosen, policy, demands }));
                }
                Err(reasons) => (Some(judged.judgement.policy), Failure::refused(reasons)),
            },
            // That the agent could not find out is no decision.
            Err(failure) if failure.code.status() >= 500 => return Err(failure),
            Err(failure) => (None, failure),
        };
        Err(self.refused(command, policy, now_ms, failure).await)
    }

    /// Judges a request by the key that would sign it now. Where there is none, or it is refused, what was recorded of
    /// the request decides: an answer is given again, and a reservation is judged by the key that was reserved, for what
    /// was permitted then stays so, whatever hour, session or epoch has begun since.
    async fn weigh(
        &self,
        command: &SignCommand,
        attested: &Attested,
        now_ms: u64,
    ) -> Result<Weighed, Failure> {
        let by_choice = match self.choose(command, attested).await {
            Ok(chosen) => self.judged(command, &chosen, now_ms).map(|judged| (chosen, judged)),
            Err(failure) => Err(failure),
        };
        if let Ok((_, Judged { judgement, .. })) = &by_choice
            && judgement.outcome.is_ok()
        {
            return by_choice.map(|(chosen, judged)| Weighed::Judged(chosen, Box::new(judged)));
        }
        match self.store.standing(&command.nonce, &command.request).await? {
            Some(Reserved::Answered(answer)) => Ok(Weighed::Answered(answer)),
            Some(Reserved::Open(open)) => {
                let chosen = self.reserved_before(command, open.key).await?;
                let judged = self.judged(command, &chosen, now_ms)?;
                Ok(Weighed::Judged(chosen, Box::new(judged)))
            }
            _ => by_choice.map(|(chosen, judged)| Weighed::Judged(chosen, Box::new(judged))),
        }
    }

    fn judged(&self, command: &SignCommand, chosen: &Chosen, now_ms: u64) -> Result<Judged, Failure> {
        let rules = self.rules.current();
        let now = UnixTime::from_secs(now_ms / 1000);
        judge(&rules, command, chosen.public.as_ref(), chosen.old_epoch, now)
    }

    /// Which key signs if the nonce is free.
    async fn choose(&self, command: &SignCommand, attested: &Attested) -> Result<Chosen, Failure> {
        match &command.signer {
            Signer::Asset { tenant, asset } => {
                let newest = self.assets.newest(tenant, asset).await?;
                let chosen = match command.epoch {
                    Some(epoch) => self.assets.in_epoch(tenant, asset, epoch).await?,
                    None => newest.clone(),
                };
                suits(chosen.algorithm, &command.payload)?;
                Ok(Chosen {
                    key: ReservedKey::Asset { epoch: chosen.epoch },
                    public: Some(chosen.public_key),
                    old_epoch: chosen.epoch != newest.epoch,
                    retired: newest.retired_at.is_some(),
                })
            }
            Signer::Session { tenant, sender, algorithm } => {
                let generation = attested.settled.generation;
                let now_ms = match self.enclave.call_in(generation, Request::Clock, SIGN_DEADLINE).await? {
                    Reply::Clock { now_ms } => now_ms,
                    other => return Err(CallError::unexpected("a clock", &other).into()),
                };
                let (hour, binding) = (key_path::hour_of(now_ms / 1000), attested.session.binding);
                let mut public = None;
                if command.is_read() {
                    let path = session_path(command, (tenant, sender), *algorithm, hour);
                    public = Some(public_key(&self.enclave, path, Some(binding)).await?.0);
                }
                let key = ReservedKey::Session { hour, binding, issued_at_ms: now_ms };
                Ok(Chosen { key, public, old_epoch: false, retired: false })
            }
        }
    }

    /// The key that was reserved: the asset's newest then, or named and permitted; a session's of the hour and state
    /// in which its nonce was given away.
    async fn reserved_before(&self, command: &SignCommand, key: ReservedKey) -> Result<Chosen, Failure> {
        let public = match (&command.signer, key) {
            (Signer::Asset { tenant, asset }, ReservedKey::Asset { epoch }) => {
                Some(self.assets.in_epoch(tenant, asset, epoch).await?.public_key)
            }
            (
                Signer::Session { tenant, sender, algorithm },
                ReservedKey::Session { hour, binding, issued_at_ms: _ },
            ) if command.is_read() => {
                let path = session_path(command, (tenant, sender), *algorithm, hour);
                Some(public_key(&self.enclave, path, Some(binding)).await?.0)
            }
            _ => None,
        };
        Ok(Chosen { key, public, old_epoch: false, retired: false })
    }

    /// Records a refusal; what could not be recorded is a failure of its own.
    async fn refused(
        &self,
        command: &SignCommand,
        policy: Option<PolicyDigest>,
        now_ms: u64,
        failure: Failure,
    ) -> Failure {
        let record = audit::decision(now_ms, RecordKind::Refused, command, policy);
        let codes: Vec<&str> = match failure.reasons.as_slice() {
            [] => vec![failure.code.name()],
            reasons => reasons.iter().map(|reason| reason.code.name()).collect(),
        };
        match self.store.append(audit::row(&audit::refusal(record, codes))).await {
            Ok(_) => failure,
            Err(error) => error.into(),
        }
    }
}

fn session_path(
    command: &SignCommand,
    (tenant, sender): (&PathText, &PathText),
    algorithm: Algorithm,
    hour: u64,
) -> KeyPath {
    let NonceKey { chain_id, sender: _, nonce } = &command.nonce;
    KeyPath::Session {
        tenant: tenant.clone(),
        sender: sender.clone(),
        chain_id: *chain_id,
        nonce: *nonce,
        hour,
        algorithm,
    }
}

fn asked(command: &SignCommand, permitted: &Permitted, now_ms: u64) -> Reserve {
    let Permitted { chosen, policy, demands } = permitted;
    let record = audit::decision(now_ms, RecordKind::Refused, command, Some(*policy));
    Reserve {
        nonce: command.nonce.clone(),
        request: command.request,
        key: chosen.key,
        epoch_named: chosen.old_epoch,
        client: command.asker.client.clone(),
        idempotency: command.idempotency(),
        policy: Some(*policy.as_bytes()),
        demands: demands.clone(),
        now_ms,
        refusal: RefusalRecord::new(move |reasons| {
            let codes = reasons.iter().map(|reason| reason.code.name());
            audit::row(&audit::refusal(record.clone(), codes))
        }),
    }
}

fn retired() -> Failure {
    Failure::new(
        Code::AssetRetired,
        "expected an asset that is in use, found that it was retired; use another",
    )
}

fn said(Reason { code, detail }: Reason) -> ReasonBody {
    ReasonBody { code: code.name().to_owned(), detail }
}
