//! The record of a refusal by a sender's windows: what it says is known only where they are kept.

use std::fmt;
use std::sync::Arc;

use sealstone_policy::engine::Reason;

use super::audit::AuditRow;

/// Makes a row of the reasons.
type MakeRow = dyn Fn(&[Reason]) -> AuditRow + Send + Sync;

/// The record of a refusal by windows, made once it is known which of them have no room.
#[derive(Clone)]
pub struct RefusalRecord(Arc<MakeRow>);

impl RefusalRecord {
    /// Made by this function, of the reasons.
    #[must_use]
    pub fn new(of: impl Fn(&[Reason]) -> AuditRow + Send + Sync + 'static) -> Self {
        Self(Arc::new(of))
    }

    pub(super) fn of(&self, reasons: &[Reason]) -> AuditRow {
        (self.0)(reasons)
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
