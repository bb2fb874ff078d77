//! Judges a request by a policy.
//!
//! Rules that need nothing but the request are decided here, and every reason is collected. Rules about the sender's
//! past come out as [`Demand`]s, which the store checks while it holds the sender's row.

mod amounts;
mod declared;
mod demand;
mod permissions;
mod reason;
mod reasons;
mod recipients;
mod request;

use sealstone_attestation::PolicyDigest;

use crate::approvals;
use crate::prices::Prices;
use crate::rules::Policy;
use crate::sanctions::SanctionsList;

pub use demand::Demand;
pub use reason::{Reason, ReasonCode, UnknownReasonCode};
pub use request::{Approval, Declared, Request, Signer};

pub(crate) use reasons::Reasons;

/// What a policy says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a judgement that nobody looks at refuses nothing"]
pub struct Judgement {
    /// The rules that it was judged by, for the record of the decision.
    pub policy: PolicyDigest,
    /// What the store must still check, or every reason for the refusal, in a stable order.
    pub outcome: Result<Vec<Demand>, Vec<Reason>>,
}

/// What is known of the world outside the policy, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lists<'a> {
    /// Sanctioned addresses.
    pub sanctions: Option<&'a SanctionsList>,
    /// What currencies are worth.
    pub prices: Option<&'a Prices>,
}

/// Judges a request. Nothing is permitted but by the one entry that applies to its sender.
pub fn judge(policy: &Policy, request: &Request<'_>, lists: &Lists<'_>) -> Judgement {
    let mut reasons = Reasons::default();
    declared::check(policy, request, &mut reasons);
    let approvers = approvals::approvers(policy, &request.request, request.approvals, &mut reasons);
    let mut demands = Vec::new();
    if let Some(rules) = policy.rules(request.tenant, &request.signer) {
        permissions::check(rules, request, &mut reasons);
        recipients::check(rules, request, lists.sanctions, &mut reasons);
        let totals = amounts::Totals::of(policy, rules, request, lists.prices, &mut reasons);
        totals.check(rules, &mut reasons);
        totals.check_approvals(rules, &approvers, &mut reasons);
        demands = totals.demands(rules);
    } else {
        let (kind, name) = match request.signer {
            Signer::Asset(asset) => ("asset", asset),
            Signer::Session(sender) => ("session sender", sender),
        };
        let found = format!("tenant {:?}, {kind} {:?}", request.tenant.as_str(), name.as_str());
        reasons.push(ReasonCode::SenderUnknown, format!("expected a sender with an entry, found {found}"));
        if policy.requires_sanctions() {
            recipients::screen(request.facts, lists.sanctions, &mut reasons);
        }
    }
    let reasons = reasons.in_order();
    let outcome = if reasons.is_empty() { Ok(demands) } else { Err(reasons) };
    Judgement { policy: policy.digest(), outcome }
}
