//! What a request for a key must keep to: the manifest's permissions, the attested state, the size of a payload, the
//! age of a request for a session key; and how each is refused.

use sealstone_attestation::{Binding, KeyId, PayloadKind};
use sealstone_wire::key_path::{KeyPath, hour_of};
use sealstone_wire::limits::{MESSAGE_MAX, SESSION_REQUEST_TTL};
use sealstone_wire::reply::RefusalCode;
use sealstone_wire::request::Payload;

use crate::clock;
use crate::core::Unlocked;
use crate::refuse::{Refuse, refuse};
use crate::session::OpenSession;
use crate::signing_key::SignError;

/// That a key of this binding may be derived in the session's state.
pub(crate) fn permit_binding(
    unlocked: &Unlocked,
    session: &OpenSession,
    binding: Binding,
) -> Result<(), Refuse> {
    unlocked
        .manifest
        .manifest()
        .may_derive(binding, &session.state, unlocked.now())
        .map_err(|error| refuse(RefusalCode::BindingRefused, error.to_string()))
}

/// Whether the manifest lets this path sign this kind of payload.
pub(crate) fn permits(unlocked: &Unlocked, path: &KeyPath, kind: PayloadKind) -> bool {
    let manifest = unlocked.manifest.manifest();
    match path {
        KeyPath::Asset { tenant, asset, algorithm, .. } => {
            manifest.permits_asset(tenant.as_str(), asset.as_str(), *algorithm, kind)
        }
        KeyPath::Session { tenant, sender, algorithm, .. } => {
            manifest.permits_session(tenant.as_str(), sender.as_str(), *algorithm, kind)
        }
    }
}

/// The refusal when it does not.
pub(crate) fn not_permitted(path: &KeyPath, kind: Option<PayloadKind>) -> Refuse {
    let what = match path {
        KeyPath::Asset { tenant, asset, .. } => {
            format!("tenant {:?}, asset {:?}", tenant.as_str(), asset.as_str())
        }
        KeyPath::Session { tenant, sender, .. } => {
            format!("tenant {:?}, sender {:?}", tenant.as_str(), sender.as_str())
        }
    };
    let how = match kind {
        Some(PayloadKind::Digest) => "a bare digest",
        Some(PayloadKind::Message) => "a message",
        None => "anything",
    };
    let detail = format!("the manifest permits no {} signature over {how} for {what}", path.algorithm());
    refuse(RefusalCode::NotPermitted, detail)
}

/// The refusal of a key that is not the recorded one.
pub(crate) fn key_mismatch(recorded: Option<KeyId>, derived: KeyId) -> Refuse {
    let recorded = recorded.map_or_else(|| "none".to_owned(), |recorded| recorded.to_string());
    let detail = format!(
        "expected key {recorded}, derived {derived}: the root, the binding or the record is not the one this address was made with"
    );
    refuse(RefusalCode::KeyMismatch, detail)
}

/// The refusal when a key does not sign.
pub(crate) fn not_signed(error: SignError) -> Refuse {
    let code = match error {
        SignError::KeccakForEdDsa | SignError::DigestForEdDsa => RefusalCode::PayloadUnsuitable,
        SignError::SelfCheck => RefusalCode::Internal,
    };
    refuse(code, error.to_string())
}

/// What kind of payload this is, if it is not too long.
pub(crate) fn payload_kind(payload: &Payload) -> Result<PayloadKind, Refuse> {
    match payload {
        Payload::Digest(_) => Ok(PayloadKind::Digest),
        Payload::Message(message) | Payload::MessageKeccak(message) if message.len() <= MESSAGE_MAX => {
            Ok(PayloadKind::Message)
        }
        Payload::Message(message) | Payload::MessageKeccak(message) => {
            let detail =
                format!("expected a message of at most {MESSAGE_MAX} bytes, found {}", message.len());
            Err(refuse(RefusalCode::Malformed, detail))
        }
    }
}

/// A session key is for the current state, the enclave's current hour, and 5 s.
pub(crate) fn check_session_request(
    session: &OpenSession,
    binding: Binding,
    hour: u64,
    issued_at_ms: Option<u64>,
) -> Result<(), Refuse> {
    if binding != session.binding {
        let detail = format!(
            "a session key is bound to the current state: expected binding {}, found {binding}",
            session.binding
        );
        return Err(refuse(RefusalCode::BindingRefused, detail));
    }
    let issued = issued_at_ms.ok_or_else(|| {
        refuse(RefusalCode::Malformed, "a session key's request says when the enclave's clock was asked")
    })?;
    if hour_of(issued / 1000) != hour {
        let detail = format!("expected hour {} of the issue time, found {hour}", hour_of(issued / 1000));
        return Err(refuse(RefusalCode::SessionKeyExpired, detail));
    }
    let now = clock::unix_ms();
    let age_max = u64::try_from(SESSION_REQUEST_TTL.as_millis()).unwrap_or(u64::MAX);
    match now.checked_sub(issued) {
        Some(age) if age <= age_max => Ok(()),
        Some(age) => {
            let detail = format!(
                "expected a request of at most {age_max} ms by the enclave's clock, found {age} ms; ask the clock again"
            );
            Err(refuse(RefusalCode::SessionKeyExpired, detail))
        }
        None => Err(refuse(
            RefusalCode::SessionKeyExpired,
            "the issue time is in the future of the enclave's clock",
        )),
    }
}
