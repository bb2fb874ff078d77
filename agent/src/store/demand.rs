//! What a policy asks of a sender's past: sums over rolling windows, checked where they are kept.

use std::fmt;
use std::sync::Arc;

use sealstone_policy::amount::Amount;

use super::audit::AuditRow;

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

/// Makes a row of what was refused.
type MakeRow = dyn Fn(&[RefusedDemand]) -> AuditRow + Send + Sync;

/// The record of a refusal by windows, made once it is known which of them have no room.
#[derive(Clone)]
pub struct RefusalRecord(Arc<MakeRow>);

impl RefusalRecord {
    /// Made by this function, of what was refused.
    #[must_use]
    pub fn new(of: impl Fn(&[RefusedDemand]) -> AuditRow + Send + Sync + 'static) -> Self {
        Self(Arc::new(of))
    }

    pub(super) fn of(&self, refused: &[RefusedDemand]) -> AuditRow {
        (self.0)(refused)
    }
}

impl From<AuditRow> for RefusalRecord {
    /// The same, whatever is refused.
    fn from(row: AuditRow) -> Self {
        Self::new(move |_| row.clone())
    }
}

impl fmt::Debug for RefusalRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefusalRecord")
    }
}
