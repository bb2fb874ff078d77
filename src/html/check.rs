//! The verdict on the page: four levels, and the checks below each.

use sealstone_attestation::{Check, Level, LevelResult, Outcome, Verdict};

use super::text::Shown;

/// A level with its checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LevelShown {
    /// For links within the page.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// What the level asks.
    pub(crate) question: &'static str,
    pub(crate) result: Mark,
    pub(crate) detail: Shown,
    pub(crate) checks: Vec<CheckShown>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckShown {
    pub(crate) name: &'static str,
    pub(crate) result: Mark,
    pub(crate) detail: Shown,
}

/// A result: a word and a sign, so that no colour is needed to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Passed,
    Failed,
    NotShown,
    NotApplicable,
}

impl Mark {
    /// The name of its style.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Passed => "mark good",
            Self::Failed => "mark bad",
            Self::NotShown => "mark gap",
            Self::NotApplicable => "mark none",
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotShown => "not shown",
            Self::NotApplicable => "not asked",
        }
    }

    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Passed => "✓",
            Self::Failed => "✗",
            Self::NotShown => "?",
            Self::NotApplicable => "–",
        }
    }
}

impl From<Outcome> for Mark {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Passed => Self::Passed,
            Outcome::Failed => Self::Failed,
            Outcome::NotApplicable => Self::NotApplicable,
        }
    }
}

impl From<LevelResult> for Mark {
    fn from(result: LevelResult) -> Self {
        match result {
            LevelResult::Passed => Self::Passed,
            LevelResult::Failed => Self::Failed,
            LevelResult::NotShown => Self::NotShown,
        }
    }
}

/// All four levels, each with its checks.
pub(crate) fn levels(verdict: &Verdict) -> Vec<LevelShown> {
    let levels = verdict.levels();
    let shown = levels.iter().map(|(level, finding)| {
        let (title, question) = titled(level);
        let checks = verdict.checks().iter().filter(|check| check.level == level);
        LevelShown {
            id: level.name(),
            title,
            question,
            result: finding.result.into(),
            detail: Shown::of(&finding.detail),
            checks: checks.map(CheckShown::of).collect(),
        }
    });
    shown.collect()
}

impl CheckShown {
    fn of(check: &Check) -> Self {
        Self { name: check.name, result: check.result.into(), detail: Shown::of(&check.detail) }
    }
}

const fn titled(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::Authentic => ("Authentic", "Did that TPM and that enclave make it, and is it unchanged?"),
        Level::Fresh => ("Fresh", "Was it made for the nonce that was asked, and not taken from before?"),
        Level::StateApproved => ("State approved", "Is the machine in a state that its owners approved?"),
        Level::CodeMeasured => ("Code measured", "Is it shown what ran after the boot?"),
    }
}
