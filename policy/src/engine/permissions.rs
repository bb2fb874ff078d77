//! What an entry permits at all: chains, ways of reading, old epochs, allowances, times.

use super::reason::ReasonCode;
use super::reasons::Reasons;
use super::request::Request;
use crate::facts::{Format, MovementKind};
use crate::rules::{Chain, SenderRules};

pub(super) fn check(rules: &SenderRules, request: &Request<'_>, reasons: &mut Reasons) {
    let facts = request.facts;
    let chain = Chain { format: facts.format, id: request.chain_id };
    if !rules.chains.contains(&chain) {
        if rules.chains.iter().any(|known| known.format == facts.format) {
            let listed: Vec<String> = rules
                .chains
                .iter()
                .filter(|known| known.format == facts.format)
                .map(|known| known.id.to_string())
                .collect();
            let detail = format!("expected chain {}, found {}", listed.join(" or "), request.chain_id);
            reasons.push(ReasonCode::ChainNotAllowed, detail);
        } else {
            let detail = format!("expected a format of the entry's chains, found {}", name(facts.format));
            reasons.push(ReasonCode::FormatNotAllowed, detail);
        }
    }
    let permitted = match facts.format {
        Format::Opaque => rules.allow_opaque,
        Format::Evm | Format::Solana => rules.allow_unknown_calls,
    };
    // An opaque payload is unreadable whatever it is said to hold.
    if !permitted && (facts.format == Format::Opaque || !facts.unknown.is_empty()) {
        let found = facts.unknown.first().map_or("an opaque payload", String::as_str);
        let detail = format!("expected a payload that can be read whole, found {found}");
        reasons.push(ReasonCode::UnreadablePayload, detail);
    }
    if request.old_epoch && !rules.allow_old_epochs {
        let detail = "expected a key of the newest epoch, found an earlier one";
        reasons.push(ReasonCode::OldEpochNotAllowed, detail);
    }
    if !rules.windows.is_empty() && !rules.windows.iter().any(|window| window.contains(request.now)) {
        let detail = format!("expected a time within the entry's windows, found {}", request.now);
        reasons.push(ReasonCode::OutsideTimeWindow, detail);
    }
    for movement in &facts.movements {
        if movement.kind == MovementKind::Allowance && !rules.allow_allowances {
            let detail = format!("expected a transfer, found an allowance for {}", movement.recipient);
            reasons.push(ReasonCode::AllowanceNotAllowed, detail);
        }
    }
}

fn name(format: Format) -> &'static str {
    match format {
        Format::Opaque => "opaque",
        Format::Evm => "evm",
        Format::Solana => "solana",
    }
}
