//! What a policy asks of a sender's past: sums over rolling windows, checked where they are kept.

use sealstone_policy::amount::Amount;

/// A window of a sender that must have room, and what a signature takes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The window's stable name; it contains the length, so that another length is another window.
    pub window: String,
    /// Its length.
    pub seconds: u32,
    /// What the request adds.
    pub add: Amount,
    /// The most that the window may hold.
    pub limit: Amount,
    /// The reason's code if it has no room.
    pub code: &'static str,
}

impl Demand {
    /// Whether a window that holds `used` has room.
    #[must_use]
    pub fn has_room(&self, used: &Amount) -> bool {
        used.plus(&self.add) <= self.limit
    }
}

/// A demand that was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedDemand {
    /// What was demanded.
    pub demand: Demand,
    /// What the window held.
    pub used: Amount,
}
