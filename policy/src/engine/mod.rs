//! Judges a request by a policy.
//!
//! Rules that need nothing but the request are decided here, and every reason is collected. Rules about the sender's
//! past come out as [`Demand`]s, which the store checks while it holds the sender's row.

mod demand;
mod reason;
mod request;

use sealstone_attestation::PolicyDigest;

pub use demand::Demand;
pub use reason::{Reason, ReasonCode, UnknownReasonCode};
pub use request::{Approval, Declared, Request, Signer};

/// What a policy says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a judgement that nobody looks at refuses nothing"]
pub struct Judgement {
    /// The rules that it was judged by, for the record of the decision.
    pub policy: PolicyDigest,
    /// What the store must still check, or every reason for the refusal, in a stable order.
    pub outcome: Result<Vec<Demand>, Vec<Reason>>,
}
