//! Approvals: people's signatures over one request.

use std::collections::BTreeSet;

use sealstone_attestation::{RequestDigest, lp};

use crate::engine::{Approval, ReasonCode, Reasons};
use crate::rules::Policy;

/// Separates approvals from everything else that an approver's key signs.
const LABEL: &[u8] = b"sealstone/approval/v1";

/// Approvals of one request: as many as an authority set has keys. Each costs the verification of a signature.
pub const APPROVALS_MAX: usize = 32;

/// What an approver signs: `lp("sealstone/approval/v1") ‖ lp(approver) ‖ request digest`. ES256 signs its SHA-256,
/// EdDSA the message itself. `None` for a name that no policy can have.
#[must_use]
pub fn approval_message(approver: &str, request: &RequestDigest) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(128);
    lp(&mut message, LABEL).ok()?;
    lp(&mut message, approver.as_bytes()).ok()?;
    message.extend_from_slice(request.as_bytes());
    Some(message)
}

/// Who approved the request, each once. An approval that is not one is a reason to refuse, whether it was needed or
/// not: whoever sent it takes it for one.
pub(crate) fn approvers<'p>(
    policy: &'p Policy,
    request: &RequestDigest,
    approvals: &[Approval],
    reasons: &mut Reasons,
) -> BTreeSet<&'p str> {
    let mut approvers = BTreeSet::new();
    if approvals.len() > APPROVALS_MAX {
        let detail = format!("expected at most {APPROVALS_MAX} approvals, found {}", approvals.len());
        reasons.push(ReasonCode::ApprovalInvalid, detail);
        return approvers;
    }
    for Approval { approver, signature } in approvals {
        // The name is the client's until the policy knows it.
        let Some((name, key)) = policy.approvers().get_key_value(approver) else {
            let found: String = approver.chars().take(64).collect();
            let detail = format!("expected an approver whom the policy names, found {found:?}");
            reasons.push(ReasonCode::ApprovalInvalid, detail);
            continue;
        };
        let verified = approval_message(name, request)
            .is_some_and(|message| key.verify_message(&message, signature).is_ok());
        if verified {
            approvers.insert(name.as_str());
        } else {
            let detail =
                format!("expected {name:?}'s signature over this request, found one that does not verify");
            reasons.push(ReasonCode::ApprovalInvalid, detail);
        }
    }
    approvers
}
