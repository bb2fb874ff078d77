//! What is judged is what is signed: the payload is read, and what it does is held to the rules.

use sealstone_attestation::{PublicKey, UnixTime};
use sealstone_policy::address::address_of;
use sealstone_policy::decode::{DecodeError, decode};
use sealstone_policy::engine::{self, Declared, Judgement, Reason, ReasonCode, Request};
use sealstone_policy::facts::{Address, Facts, Format};
use sealstone_wire::request::Payload;

use super::{SignCommand, Signer};
use crate::failure::{Code, Failure};
use crate::rulebook::Rulebook;

/// What a request came to.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    /// By which rules, and how.
    pub(super) judgement: Judgement,
    /// The address that would sign, where the format has addresses.
    pub(super) address: Option<Address>,
    /// What the payload was read to do; `None` if it could not be read.
    pub(super) facts: Option<Facts>,
}

/// Judges a request by a rulebook. `key` is the key that would sign; only opaque payloads are judged without one.
///
/// # Errors
/// [`Code::PayloadUnsuitable`] when the format is not for such a key, [`Code::PayloadMalformed`] when the payload is
/// none of its format.
pub(super) fn judge(
    rules: &Rulebook,
    command: &SignCommand,
    key: Option<&PublicKey>,
    old_epoch: bool,
    now: UnixTime,
) -> Result<Judged, Failure> {
    let (facts, address) = match read(command, key) {
        Ok(read) => read,
        Err(Unread::Mismatch(detail)) => {
            let reason = Reason { code: ReasonCode::PayloadMismatch, detail };
            let judgement = Judgement { policy: rules.policy.digest(), outcome: Err(vec![reason]) };
            return Ok(Judged { judgement, address: None, facts: None });
        }
        Err(Unread::Refused(failure)) => return Err(failure),
    };
    let (tenant, name) = command.named();
    let request = Request {
        tenant,
        signer: match command.signer {
            Signer::Asset { .. } => engine::Signer::Asset(name),
            Signer::Session { .. } => engine::Signer::Session(name),
        },
        chain_id: command.nonce.chain_id,
        nonce: command.nonce.nonce,
        declared: Declared {
            recipient: command.recipient.as_ref(),
            amount: command.amount.as_ref(),
            currency: command.currency.as_deref(),
        },
        old_epoch,
        facts: &facts,
        request: command.request,
        approvals: &command.approvals,
        now,
    };
    let judgement = engine::judge(&rules.policy, &request, &rules.lists());
    Ok(Judged { judgement, address, facts: Some(facts) })
}

/// Why a payload has no facts.
enum Unread {
    /// It is another's to sign.
    Mismatch(String),
    /// It is no payload of its format, or the key is not for it.
    Refused(Failure),
}

fn read(command: &SignCommand, key: Option<&PublicKey>) -> Result<(Facts, Option<Address>), Unread> {
    let refused = |code, detail: String| Unread::Refused(Failure::new(code, detail));
    let bytes = match &command.payload {
        _ if command.format == Format::Opaque => return Ok((Facts::opaque(), None)),
        Payload::Message(bytes) | Payload::MessageKeccak(bytes) => bytes,
        Payload::Digest(_) => {
            return Err(refused(
                Code::PayloadUnsuitable,
                "expected a payload to read, found a digest".to_owned(),
            ));
        }
    };
    let key = key.ok_or_else(|| {
        refused(Code::PayloadUnsuitable, "expected a key that has an address, found none".to_owned())
    })?;
    let sender = address_of(command.format, key)
        .map_err(|error| refused(Code::PayloadUnsuitable, error.to_string()))?;
    match decode(command.format, bytes, &sender, command.recipient.as_slice()) {
        Ok(facts) => Ok((facts, Some(sender))),
        Err(error @ DecodeError::SenderMismatch { .. }) => Err(Unread::Mismatch(error.to_string())),
        Err(error) => Err(refused(Code::PayloadMalformed, error.to_string())),
    }
}
