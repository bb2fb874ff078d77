//! Whether what a client declared is true of the payload: what is judged is what is signed.

use std::fmt::Display;

use super::reason::ReasonCode;
use super::reasons::Reasons;
use super::request::{Declared, Request};
use crate::amount::Amount;
use crate::rules::Policy;

/// Characters of a declared currency that a reason repeats.
const NAME_CHARS_MAX: usize = 64;

pub(super) fn check(policy: &Policy, request: &Request<'_>, reasons: &mut Reasons) {
    let facts = request.facts;
    if let Some(found) = facts.chain_id {
        same("chain id", &request.chain_id, &found, reasons);
    }
    if let Some(found) = facts.nonce {
        same("nonce", &request.nonce, &found, reasons);
    }
    let Declared { recipient, amount, currency } = request.declared;
    let declared = recipient.is_some() || amount.is_some() || currency.is_some();
    if declared && facts.movements.is_empty() {
        let detail = "expected a payload that shows the declared recipient, amount or currency, found one that moves \
                      nothing readable";
        reasons.push(ReasonCode::PayloadMismatch, detail);
        return;
    }
    for movement in &facts.movements {
        if let Some(expected) = recipient {
            same("recipient", expected, &movement.recipient, reasons);
        }
        if let Some(expected) = currency {
            // The client's own text; the policy's names are shorter and plain.
            let expected: String =
                expected.chars().take(NAME_CHARS_MAX).flat_map(char::escape_debug).collect();
            let found = policy.currency_name(&movement.currency).unwrap_or(movement.currency.as_str());
            same("currency", &expected, &found, reasons);
        }
    }
    if let Some(expected) = amount {
        let one_currency = facts.movements.iter().all(|other| other.currency == facts.movements[0].currency);
        if one_currency {
            let found = facts.movements.iter().fold(Amount::ZERO, |sum, movement| sum.plus(&movement.amount));
            same("amount", expected, &found, reasons);
        } else {
            let detail = "amount: expected a payload that moves one currency, found several";
            reasons.push(ReasonCode::PayloadMismatch, detail);
        }
    }
}

fn same(field: &str, expected: &dyn Display, found: &dyn Display, reasons: &mut Reasons) {
    let (expected, found) = (expected.to_string(), found.to_string());
    if expected != found {
        reasons.push(
            ReasonCode::PayloadMismatch,
            format!("{field}: expected {expected} as declared, found {found} in the payload"),
        );
    }
}
