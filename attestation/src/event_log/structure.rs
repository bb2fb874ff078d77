//! Why the data of an event is not the structure that its type says.

use thiserror::Error;

/// What was expected of an event's data.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StructureError {
    /// The data ends too early.
    #[error("expected {what}, found the end of the data")]
    Short {
        /// What should have followed.
        what: &'static str,
    },
    /// A size that does not fit what it counts.
    #[error("expected {what}, found {found}")]
    Size {
        /// What would fit.
        what: &'static str,
        /// The size given.
        found: usize,
    },
    /// Not text of its encoding.
    #[error("expected {what}")]
    Text {
        /// What was expected.
        what: &'static str,
    },
}

impl StructureError {
    pub(super) const fn short(what: &'static str) -> Self {
        Self::Short { what }
    }

    pub(super) const fn size(what: &'static str, found: usize) -> Self {
        Self::Size { what, found }
    }
}
