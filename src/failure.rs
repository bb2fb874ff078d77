//! What ends a command early: in words for people, in a stable form for programs.
//!
//! Every failure says what was expected, what was found and what to do next, and which exit code follows.

use std::borrow::Cow;

use serde_json::{Value, json};
use thiserror::Error;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or accepted.
    Done = 0,
    /// A check or a policy said no.
    Refused = 1,
    /// Unusable input, configuration or environment.
    Unusable = 2,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Refused => 1,
            Exit::Unusable => 2,
        })
    }
}

/// Why a command ended without an answer. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{detail}")]
pub(crate) struct Failure {
    exit: Exit,
    code: Cow<'static, str>,
    detail: String,
    action: String,
}

impl Failure {
    /// A check or a policy said no.
    pub(crate) fn refused(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self { exit: Exit::Refused, code: code.into(), detail: detail.into(), action: action.into() }
    }

    /// The input, the configuration or the environment cannot be used.
    pub(crate) fn unusable(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self { exit: Exit::Unusable, code: code.into(), detail: detail.into(), action: action.into() }
    }

    /// What the process ends with.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether it is the failure of this code.
    pub(crate) fn is_of(&self, code: &str) -> bool {
        self.code == code
    }

    /// Stable, for programs.
    #[cfg(test)]
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// The object of `--json`.
    pub(crate) fn json(&self) -> Value {
        json!({"error": {"code": self.code, "detail": self.detail, "action": self.action}})
    }

    /// The text for people.
    pub(crate) fn text(&self) -> String {
        let Self { exit: _, code, detail, action } = self;
        if action.is_empty() {
            format!("sealstone: {code}: {detail}\n")
        } else {
            format!("sealstone: {code}: {detail}\n  what to do: {action}\n")
        }
    }
}

/// An error and everything below it, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat their source in their own message.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_the_same_to_people_and_to_programs() {
        let failure =
            Failure::refused("THRESHOLD", "expected 2 signatures, found 1", "have another key sign");
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(
            failure.json(),
            json!({"error": {"code": "THRESHOLD", "detail": "expected 2 signatures, found 1", "action": "have another key sign"}})
        );
        let text = failure.text();
        assert!(text.contains("THRESHOLD: expected 2 signatures, found 1"));
        assert!(text.contains("what to do: have another key sign"));
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        #[derive(Debug, Error)]
        #[error("cannot read the file")]
        struct Outer(#[source] std::io::Error);
        #[derive(Debug, Error)]
        #[error("cannot start: {0}")]
        struct Repeats(#[source] Outer);
        let outer = Outer(std::io::Error::other("disk on fire"));
        assert_eq!(chain(&outer), "cannot read the file: disk on fire");
        assert_eq!(chain(&Repeats(outer)), "cannot start: cannot read the file: disk on fire");
    }
}
