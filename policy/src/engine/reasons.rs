//! The reasons of one judgement, while they are collected.

use super::reason::{Reason, ReasonCode};

/// Reasons as they are found; given back in one order, whatever the order in which they were found.
#[derive(Debug, Default)]
pub(crate) struct Reasons(Vec<Reason>);

/// Reasons of one code in an answer. A payload can move value a thousand times, and nobody reads a thousand lines.
const REASONS_PER_CODE_MAX: usize = 8;

impl Reasons {
    /// Adds one.
    pub(crate) fn push(&mut self, code: ReasonCode, detail: impl Into<String>) {
        self.0.push(Reason { code, detail: detail.into() });
    }

    /// All of them, each once, by code and text; at most [`REASONS_PER_CODE_MAX`] of a code.
    pub(super) fn in_order(mut self) -> Vec<Reason> {
        self.0.sort_unstable();
        self.0.dedup();
        let mut kept: Vec<Reason> = Vec::with_capacity(self.0.len());
        for reason in self.0 {
            let same = kept.iter().rev().take_while(|other| other.code == reason.code).count();
            if same < REASONS_PER_CODE_MAX {
                kept.push(reason);
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_come_in_one_order_each_once_and_are_bounded_without_losing_a_code() {
        let mut reasons = Reasons::default();
        for number in (0..100).rev() {
            reasons.push(ReasonCode::RecipientDenied, format!("{number:03}"));
            reasons.push(ReasonCode::RecipientDenied, format!("{number:03}"));
        }
        reasons.push(ReasonCode::ApprovalsMissing, "two");
        reasons.push(ReasonCode::PayloadMismatch, "nonce");
        let reasons = reasons.in_order();
        assert_eq!(reasons.len(), 2 + REASONS_PER_CODE_MAX);
        assert_eq!(reasons[0].to_string(), "PAYLOAD_MISMATCH: nonce");
        assert_eq!(reasons[1].detail, "000");
        assert_eq!(reasons.last().unwrap().code, ReasonCode::ApprovalsMissing);
    }
}
