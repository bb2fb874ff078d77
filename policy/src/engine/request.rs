//! What is judged: a request as its client declared it, and what its payload was read to do.

use sealstone_attestation::{RequestDigest, Signature64, UnixTime};
use sealstone_wire::PathText;

use crate::amount::Amount;
use crate::facts::{Address, Facts};

/// One request to sign, well formed, with its payload's facts.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Who owns the sender.
    pub tenant: &'a PathText,
    /// Whose key would sign.
    pub signer: Signer<'a>,
    /// The chain that the client declared. For Solana, which names none in its messages, the only one.
    pub chain_id: u64,
    /// The nonce that the client declared.
    pub nonce: u64,
    /// What else the client declared.
    pub declared: Declared<'a>,
    /// Whether the key is of an epoch before the asset's newest one.
    pub old_epoch: bool,
    /// What the payload does.
    pub facts: &'a Facts,
    /// Names the request; approvals sign it.
    pub request: RequestDigest,
    /// Who approved it, as they say.
    pub approvals: &'a [Approval],
    /// The time at which it is judged.
    pub now: UnixTime,
}

/// Whose key would sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer<'a> {
    /// An asset's.
    Asset(&'a PathText),
    /// A session sender's.
    Session(&'a PathText),
}

/// What a client may declare beside the payload; each field that it declares must be true of the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared<'a> {
    /// Who receives every movement.
    pub recipient: Option<&'a Address>,
    /// The sum of the movements.
    pub amount: Option<&'a Amount>,
    /// The policy's name of the currency of every movement.
    pub currency: Option<&'a str>,
}

/// One approver's signature over a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Approval {
    /// Who, by the policy's name.
    pub approver: String,
    /// Over [`approval_message`](crate::approvals::approval_message).
    pub signature: Signature64,
}
