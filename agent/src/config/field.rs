//! What is wrong with one field of the configuration.

/// One field that is not acceptable: which, what was expected, what was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// The field's path, as in `tpm.tcti`.
    pub field: &'static str,
    /// Expected, found.
    pub reason: String,
}

impl FieldError {
    /// Of `field`, for `reason`.
    #[must_use]
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}
