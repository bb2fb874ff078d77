//! Who receives: allow and deny lists, and the sanctions list.

use super::reason::ReasonCode;
use super::reasons::Reasons;
use super::request::Request;
use crate::facts::Facts;
use crate::rules::SenderRules;
use crate::sanctions::SanctionsList;

pub(super) fn check(
    rules: &SenderRules,
    request: &Request<'_>,
    sanctions: Option<&SanctionsList>,
    reasons: &mut Reasons,
) {
    if rules.screened {
        screen(request.facts, sanctions, reasons);
    }
    for movement in &request.facts.movements {
        let recipient = &movement.recipient;
        if rules.denied.contains(recipient) {
            let detail = format!("expected a recipient that is not denied, found {recipient}");
            reasons.push(ReasonCode::RecipientDenied, detail);
        }
        if rules.allowed.as_ref().is_some_and(|allowed| !allowed.contains(recipient)) {
            let detail = format!("expected a recipient of the allow list, found {recipient}");
            reasons.push(ReasonCode::RecipientNotAllowed, detail);
        }
        // An allow list may name the account itself. That its owner is on no list, nobody can say.
        if !movement.recipient_proven && (rules.screened || !rules.denied.is_empty()) {
            let detail = format!("expected a recipient whose owner is shown, found the account {recipient}");
            reasons.push(ReasonCode::RecipientUnproven, detail);
        }
    }
}

/// Looks up everybody whom a payload names: recipients, spenders and token contracts.
pub(super) fn screen(facts: &Facts, sanctions: Option<&SanctionsList>, reasons: &mut Reasons) {
    let Some(sanctions) = sanctions else {
        reasons.push(ReasonCode::SanctionsUnavailable, "expected a sanctions list, found none loaded");
        return;
    };
    for movement in &facts.movements {
        let recipient = movement.recipient.as_str();
        // `evm:<chain>:<contract>`, `solana:<mint>`; `native` is nobody.
        let currency = movement.currency.as_str();
        let contract = currency.rsplit_once(':').map_or(currency, |(_, contract)| contract);
        for (what, text) in [("recipient", recipient), ("token contract", contract)] {
            if sanctions.contains_text(text) {
                let detail = format!("expected nobody of the sanctions list, found the {what} {text}");
                reasons.push(ReasonCode::RecipientSanctioned, detail);
            }
        }
    }
}
