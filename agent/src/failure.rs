//! What a client is told when something was not done: a stable code, an HTTP status, and what to do.
//!
//! Every error of the HTTP API is one of these; `docs/api.md` lists them.

use std::fmt;

use sealstone_policy::engine::{Reason, ReasonCode};
use sealstone_wire::reply::{Refusal, RefusalCode, Session};

use crate::attest::{AttestError, AttestState};
use crate::clock::ClockSet;
use crate::enclave::CallError;
use crate::store::StoreError;

/// Seconds after which an overloaded agent may be asked again. In-flight signatures last milliseconds; one
/// second is the least that `Retry-After` can say.
const RETRY_AFTER_S: u32 = 1;

/// One failure. Cheap to clone: identical requests that wait for one outcome share it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Failure {
    /// Stable, for programs.
    pub code: Code,
    /// Expected, found, what to do; safe to log.
    pub detail: String,
    /// Of a refusal by policy: every reason, the first of which gives the code and the detail.
    pub reasons: Vec<Reason>,
}

impl Failure {
    /// Of this code, with this detail.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), reasons: Vec::new() }
    }

    /// A refusal by policy.
    #[must_use]
    pub fn refused(reasons: Vec<Reason>) -> Self {
        match reasons.first() {
            Some(Reason { code, detail }) => {
                Self { code: Code::Policy(*code), detail: detail.clone(), reasons }
            }
            None => Self::new(Code::Forbidden, "expected the policy's reasons, found none"),
        }
    }
}

impl From<ClockSet> for Failure {
    fn from(set: ClockSet) -> Self {
        Self::new(Code::ClockSet, set.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, detail } = refusal;
        Self::new(Code::Enclave(code), detail)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Full => Code::StoreFull,
            StoreError::TakenOver => Code::StoreTakenOver,
            StoreError::ClockDrift { .. } => Code::ClockSet,
            StoreError::LostCommits { .. } => Code::StoreRolledBack,
            StoreError::SequenceTaken { .. } => Code::EnclaveFault,
            StoreError::NulInText => Code::BadRequest,
            _ => Code::StoreFailed,
        };
        Self::new(code, crate::logging::chain(&error))
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(refusal) => refusal.into(),
            CallError::NotSent { reason } if reason == "overloaded" => Self::new(
                Code::Overloaded,
                "expected room for another request to the enclave, found none; try again",
            ),
            CallError::NotSent { reason } => Self::new(
                Code::EnclaveUnreachable,
                format!(
                    "expected the enclave to be reachable, found that it is not: {reason}; nothing was signed"
                ),
            ),
            CallError::Lost { reason } => Self::new(
                Code::OutcomeUnknown,
                format!(
                    "expected the enclave's answer, found it lost: {reason}; send the same request again"
                ),
            ),
            error @ CallError::Unexpected { .. } => Self::new(Code::EnclaveFault, error.to_string()),
        }
    }
}

impl From<AttestError> for Failure {
    fn from(error: AttestError) -> Self {
        let code = match error {
            AttestError::Enclave(error) => return error.into(),
            AttestError::Tpm(_) => Code::TpmFailed,
            AttestError::Report(_) => Code::EnclaveFault,
            AttestError::Manifest(_) => Code::Enclave(RefusalCode::ManifestRefused),
            AttestError::Unprovisioned => Code::Enclave(RefusalCode::Unprovisioned),
            AttestError::ShuttingDown => Code::Enclave(RefusalCode::ShuttingDown),
            AttestError::ManifestMissing { .. }
            | AttestError::LockedByOperator
            | AttestError::ManifestChanged
            | AttestError::File { .. } => Code::NotAttested(error.code()),
        };
        Self::new(code, crate::logging::chain(&error))
    }
}

/// The open session with its era and connection.
///
/// # Errors
/// Why a node in this state signs nothing.
pub fn open_session(state: &AttestState) -> Result<(&Session, u64, u64), Failure> {
    match state {
        AttestState::Ready { session, era, generation } => Ok((session, *era, *generation)),
        AttestState::Starting => {
            Err(Failure::new(Code::Starting, "expected an attested session, found the node still starting"))
        }
        AttestState::Unprovisioned => Err(Failure::new(
            Code::Enclave(RefusalCode::Unprovisioned),
            "expected a provisioned enclave, found one without a root; apply a signed manifest that enrols this node",
        )),
        AttestState::Failed { code, detail, since } => Err(Failure::new(
            Code::NotAttested(code),
            format!("expected an attested session, found none since {since}: {detail}"),
        )),
    }
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request does not parse or breaks a bound.
    BadRequest,
    /// The client is unknown, or lacks the role or the tenant.
    Forbidden,
    /// The client asks more often than its rate allows, or has as much under way as one client may.
    RateLimited {
        /// After which it may ask again.
        retry_after_s: u32,
    },
    /// No such route.
    NotFound,
    /// No such asset, or not in that epoch.
    AssetUnknown,
    /// The route does not take that method.
    MethodNotAllowed,
    /// The request took too long.
    Timeout,
    /// Another request has the nonce.
    NonceAlreadyUsed,
    /// The idempotency key names another request.
    IdempotencyKeyReused,
    /// The asset exists with another algorithm.
    AssetExists,
    /// Another rotation began that epoch first.
    RotationConflict,
    /// The body or the payload is longer than its bound.
    PayloadTooLarge,
    /// The body is not JSON.
    UnsupportedMediaType,
    /// The payload does not suit the key's algorithm.
    PayloadUnsuitable,
    /// The payload is none of its format.
    PayloadMalformed,
    /// The policy refuses; holds the first reason.
    Policy(ReasonCode),
    /// The nonce was given up by an operator.
    NonceVoided,
    /// The asset takes no new signatures.
    AssetRetired,
    /// The asset began a new epoch meanwhile.
    AssetChanged,
    /// No such reservation.
    ReservationUnknown,
    /// The reservation was answered, or its nonce was freed.
    ReservationClosed,
    /// A reservation may be signed yet.
    ReservationOpen,
    /// The rules on disk cannot be used.
    RulesRefused,
    /// The host's clock was set.
    ClockSet,
    /// As many requests are under way as may be.
    Overloaded,
    /// The agent has not finished its start.
    Starting,
    /// The request did not reach the enclave; nothing was signed.
    EnclaveUnreachable,
    /// The request reached the enclave and the answer did not come back.
    OutcomeUnknown,
    /// The enclave's answer is not what it must be.
    EnclaveFault,
    /// The store lacks what the enclave signed.
    StoreRolledBack,
    /// The store belongs to another node or deployment.
    StoreForeign,
    /// Another agent of the same name writes to the store.
    StoreTakenOver,
    /// The disk is full.
    StoreFull,
    /// The store failed.
    StoreFailed,
    /// The TPM failed.
    TpmFailed,
    /// The node is not attested; holds the code of the reason.
    NotAttested(&'static str),
    /// The enclave refused.
    Enclave(RefusalCode),
}

impl Code {
    /// The agent's own codes: all but [`Self::Policy`], [`Self::NotAttested`] and [`Self::Enclave`], which pass on those of others. A test
    /// fails when one is missing.
    pub const OWN: [Self; 34] = [
        Self::BadRequest,
        Self::Forbidden,
        Self::RateLimited { retry_after_s: RETRY_AFTER_S },
        Self::NotFound,
        Self::AssetUnknown,
        Self::MethodNotAllowed,
        Self::Timeout,
        Self::NonceAlreadyUsed,
        Self::IdempotencyKeyReused,
        Self::AssetExists,
        Self::RotationConflict,
        Self::PayloadMalformed,
        Self::NonceVoided,
        Self::AssetRetired,
        Self::AssetChanged,
        Self::ReservationUnknown,
        Self::ReservationClosed,
        Self::ReservationOpen,
        Self::RulesRefused,
        Self::ClockSet,
        Self::StoreTakenOver,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::PayloadUnsuitable,
        Self::Overloaded,
        Self::Starting,
        Self::EnclaveUnreachable,
        Self::OutcomeUnknown,
        Self::EnclaveFault,
        Self::StoreRolledBack,
        Self::StoreForeign,
        Self::StoreFull,
        Self::StoreFailed,
        Self::TpmFailed,
    ];

    /// The code as problem documents and logs carry it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "BAD_REQUEST",
            Self::Forbidden => "FORBIDDEN",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::NotFound => "NOT_FOUND",
            Self::AssetUnknown => "ASSET_UNKNOWN",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::Timeout => "TIMEOUT",
            Self::NonceAlreadyUsed => "NONCE_ALREADY_USED",
            Self::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            Self::AssetExists => "ASSET_EXISTS",
            Self::RotationConflict => "ROTATION_CONFLICT",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::PayloadUnsuitable => RefusalCode::PayloadUnsuitable.name(),
            Self::PayloadMalformed => "PAYLOAD_MALFORMED",
            Self::Policy(reason) => reason.name(),
            Self::NonceVoided => "NONCE_VOIDED",
            Self::AssetRetired => "ASSET_RETIRED",
            Self::AssetChanged => "ASSET_CHANGED",
            Self::ReservationUnknown => "RESERVATION_UNKNOWN",
            Self::ReservationClosed => "RESERVATION_CLOSED",
            Self::ReservationOpen => "RESERVATION_OPEN",
            Self::RulesRefused => "RULES_REFUSED",
            Self::ClockSet => "CLOCK_SET",
            Self::Overloaded => RefusalCode::Overloaded.name(),
            Self::Starting => "STARTING",
            Self::EnclaveUnreachable => "ENCLAVE_UNREACHABLE",
            Self::OutcomeUnknown => "OUTCOME_UNKNOWN",
            Self::EnclaveFault => "ENCLAVE_FAULT",
            Self::StoreRolledBack => "STORE_ROLLED_BACK",
            Self::StoreForeign => "STORE_FOREIGN",
            Self::StoreTakenOver => "STORE_TAKEN_OVER",
            Self::StoreFull => "STORE_FULL",
            Self::StoreFailed => "STORE_FAILED",
            Self::TpmFailed => "TPM_FAILED",
            Self::NotAttested(code) => code,
            Self::Enclave(code) => code.name(),
        }
    }

    /// The HTTP status: 4xx where another request would do, 503 where the same one may do later.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Policy(ReasonCode::PayloadMismatch) => 422,
            Self::Forbidden | Self::Policy(_) => 403,
            Self::NotFound | Self::AssetUnknown | Self::ReservationUnknown => 404,
            Self::MethodNotAllowed => 405,
            Self::NonceAlreadyUsed
            | Self::IdempotencyKeyReused
            | Self::AssetExists
            | Self::RotationConflict => 409,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::PayloadUnsuitable | Self::PayloadMalformed | Self::RulesRefused => 422,
            Self::NonceVoided
            | Self::AssetRetired
            | Self::AssetChanged
            | Self::ReservationClosed
            | Self::ReservationOpen => 409,
            Self::RateLimited { .. } => 429,
            Self::EnclaveFault => 502,
            Self::Overloaded
            | Self::Starting
            | Self::EnclaveUnreachable
            | Self::OutcomeUnknown
            | Self::StoreRolledBack
            | Self::StoreForeign
            | Self::StoreTakenOver
            | Self::StoreFailed
            | Self::TpmFailed
            | Self::ClockSet
            | Self::NotAttested(_) => 503,
            Self::Timeout => 504,
            Self::StoreFull => 507,
            Self::Enclave(code) => status_of_refusal(code),
        }
    }

    /// A short title, the same for each code.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is not well formed",
            Self::Forbidden => "This client may not do that",
            Self::RateLimited { .. } => "The client asks too much",
            Self::NotFound => "There is no such resource",
            Self::AssetUnknown => "There is no such asset",
            Self::MethodNotAllowed => "The resource does not take this method",
            Self::Timeout => "The request took too long",
            Self::NonceAlreadyUsed => "The nonce belongs to another request",
            Self::IdempotencyKeyReused => "The idempotency key names another request",
            Self::AssetExists => "The asset exists with another algorithm",
            Self::RotationConflict => "Another rotation came first",
            Self::PayloadTooLarge => "The request is too large",
            Self::UnsupportedMediaType => "The body must be JSON",
            Self::PayloadUnsuitable => "The payload does not suit the key",
            Self::PayloadMalformed => "The payload is none of its format",
            Self::Policy(_) => "The policy refuses",
            Self::NonceVoided => "The nonce was given up",
            Self::AssetRetired => "The asset is retired",
            Self::AssetChanged => "The asset changed meanwhile",
            Self::ReservationUnknown => "There is no such reservation",
            Self::ReservationClosed => "The reservation is not open",
            Self::ReservationOpen => "A reservation is open",
            Self::RulesRefused => "The rules cannot be used",
            Self::ClockSet => "The clock was set",
            Self::Overloaded => "Too many requests are under way",
            Self::Starting => "The node is starting",
            Self::EnclaveUnreachable => "The enclave cannot be reached",
            Self::OutcomeUnknown => "The enclave's answer was lost",
            Self::EnclaveFault => "The enclave's answer is wrong",
            Self::StoreRolledBack => "The store is older than the enclave's signatures",
            Self::StoreForeign => "The store belongs to another node",
            Self::StoreTakenOver => "Another agent writes to the store",
            Self::StoreFull => "The disk is full",
            Self::StoreFailed => "The store failed",
            Self::TpmFailed => "The TPM failed",
            Self::NotAttested(_) => "The node is not attested",
            Self::Enclave(_) => "The enclave refused",
        }
    }

    /// Seconds after which the same request may succeed, where that is known.
    #[must_use]
    pub fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::RateLimited { retry_after_s } => Some(retry_after_s),
            Self::Overloaded | Self::Starting | Self::OutcomeUnknown => Some(RETRY_AFTER_S),
            Self::Enclave(RefusalCode::Overloaded | RefusalCode::Busy | RefusalCode::AuditBehind) => {
                Some(RETRY_AFTER_S)
            }
            _ => None,
        }
    }
}

fn status_of_refusal(code: RefusalCode) -> u16 {
    match code {
        RefusalCode::Malformed => 400,
        RefusalCode::NotPermitted | RefusalCode::BindingRefused => 403,
        RefusalCode::AlreadyProvisioned
        | RefusalCode::AlreadyUnlocked
        | RefusalCode::ManifestConflict
        | RefusalCode::ManifestRollback
        | RefusalCode::KeyMismatch
        | RefusalCode::SessionKeyExpired => 409,
        RefusalCode::ManifestRefused
        | RefusalCode::ForeignAuthority
        | RefusalCode::OtherDeployment
        | RefusalCode::NotEnrolled
        | RefusalCode::PayloadUnsuitable => 422,
        RefusalCode::Internal => 500,
        RefusalCode::Unsupported => 501,
        RefusalCode::Overloaded
        | RefusalCode::Busy
        | RefusalCode::Unprovisioned
        | RefusalCode::Locked
        | RefusalCode::NoSession
        | RefusalCode::AttestationFailed
        | RefusalCode::NoChallenge
        | RefusalCode::TpmError
        | RefusalCode::TpmNotAuthentic
        | RefusalCode::TpmNotEnrolled
        | RefusalCode::TpmUnreachable
        | RefusalCode::SealRollback
        | RefusalCode::SealStateMismatch
        | RefusalCode::StateFile
        | RefusalCode::ShuttingDown
        | RefusalCode::AuditMismatch
        | RefusalCode::AuditBehind => 503,
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This file, in which each variant has an arm in [`Code::name`].
    const SOURCE: &str = include_str!("failure.rs");

    #[test]
    fn every_own_code_is_listed() {
        let names = SOURCE.split("pub fn name(self)").nth(1).unwrap().split("pub fn status").next().unwrap();
        let arms = names.lines().filter(|line| line.contains("=>")).count();
        // Three arms pass on the codes of others.
        assert_eq!(Code::OWN.len(), arms - 3, "a variant of Code is not in Code::OWN");
        let listed: std::collections::BTreeSet<&str> = Code::OWN.iter().map(|code| code.name()).collect();
        assert_eq!(listed.len(), Code::OWN.len(), "each once");
    }
}
