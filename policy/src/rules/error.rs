//! Why a policy is refused.

use thiserror::Error;

use super::Policy;

/// Characters of the policy's own text that an error repeats.
const FOUND_CHARS_MAX: usize = 80;

/// Characters of the parser's message; it may repeat a name of any length.
const DETAIL_CHARS_MAX: usize = 300;

/// A policy that is not taken: it is wrong in its author's hands, before it judges anything.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// Larger than any policy needs to be.
    #[error("expected a policy of at most {} bytes, found {found}", Policy::BYTES_MAX)]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// Not TOML, or not of a policy's shape.
    #[error("line {line}: {detail}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What the parser says, in one line.
        detail: String,
    },
    /// A rule that says nothing sensible.
    #[error("{field}: expected {expected}, found {found}")]
    Field {
        /// Where: the rule and its field.
        field: String,
        /// What may stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
}

impl PolicyError {
    /// A field with something else than what may stand there.
    pub(super) fn field(
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Field { field: field.into(), expected: expected.into(), found: found.into() }
    }

    /// What the TOML parser says, without the source's text around it.
    pub(super) fn malformed(text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        let detail: String = error.message().chars().take(DETAIL_CHARS_MAX).collect();
        Self::Malformed { line, detail: detail.escape_debug().to_string() }
    }
}

/// An item of a table by its name, as TOML writes it.
pub(super) fn item(table: &str, name: &str) -> String {
    format!("{table}.{}", quoted(name))
}

/// A text of the policy as an error repeats it: quoted, escaped, cut.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(FOUND_CHARS_MAX).collect::<String>())
}

/// Refuses a list that is longer than its bound.
pub(super) fn bounded(field: &str, found: usize, max: usize) -> Result<(), PolicyError> {
    if found <= max {
        return Ok(());
    }
    Err(PolicyError::field(field, format!("at most {max}"), found.to_string()))
}
