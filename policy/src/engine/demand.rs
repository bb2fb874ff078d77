//! What a request needs of the sender's past: room in a rolling window. Whoever keeps the past checks it.

use serde::Serialize;

use super::reason::{Reason, ReasonCode};
use crate::amount::Amount;

/// Room that must be left in one of the sender's rolling windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Demand {
    /// The window's stable name within its sender: `amount:USDC:86400`, `reference:86400`, `count:60`.
    pub window: String,
    /// How far back the window looks.
    pub seconds: u32,
    /// What this request adds.
    pub add: Amount,
    /// The most that the window may hold with it.
    pub limit: Amount,
    /// Why it is refused if there is no room.
    pub code: ReasonCode,
}

impl Demand {
    /// Whether there is room beside what the window holds.
    ///
    /// # Errors
    /// The reason for the refusal, when `used` and what this adds are more than the limit.
    pub fn check(&self, used: &Amount) -> Result<(), Reason> {
        if used.plus(&self.add) <= self.limit {
            return Ok(());
        }
        let Self { window, seconds, add, limit, code } = self;
        let detail = format!(
            "{window}: expected at most {limit} within {seconds} s, found {used} used and {add} more"
        );
        Err(Reason { code: *code, detail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_exactly_its_limit() {
        let huge: Amount =
            "115792089237316195423570985008687907853269984665640564039457584007913129639936".parse().unwrap();
        let one = Amount::from(1_u64);
        for (used, add, limit, taken) in [
            (Amount::ZERO, one.clone(), one.clone(), true),
            (one.clone(), one.clone(), one.clone(), false),
            (huge.clone(), Amount::ZERO, huge.clone(), true),
            (huge.clone(), one.clone(), huge.clone(), false),
            (huge.minus(&one), one.clone(), huge.clone(), true),
            (Amount::ZERO, one.clone(), Amount::ZERO, false),
        ] {
            let demand = Demand {
                window: "amount:ETH:60".to_owned(),
                seconds: 60,
                add,
                limit,
                code: ReasonCode::RollingLimitExceeded,
            };
            assert_eq!(demand.check(&used).is_ok(), taken, "{used} {demand:?}");
        }
    }
}
