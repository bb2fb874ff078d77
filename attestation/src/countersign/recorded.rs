//! A verdict as a record holds it: the same JSON, but what somebody wrote, where a [`Verdict`] is what an appraisal found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Level, LevelResult, LogAnchor, Outcome, Verdict};

/// What is said to have been found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedVerdict {
    /// Whether nothing failed.
    pub accepted: bool,
    /// What was found of each level, by its name.
    pub levels: BTreeMap<String, RecordedFinding>,
    /// Every check, in order.
    pub checks: Vec<RecordedCheck>,
    /// What is allowed, but should be known.
    pub warnings: Vec<String>,
    /// The head of the audit log that was quoted.
    pub log: Option<LogAnchor>,
}

/// One level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedFinding {
    /// What was found.
    pub result: LevelResult,
    /// The first reason, for people.
    pub detail: String,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedCheck {
    /// Its name.
    pub name: String,
    /// Which question it helps to answer.
    pub level: Level,
    /// What was found.
    pub result: Outcome,
    /// Why, for people.
    pub detail: String,
}

impl RecordedVerdict {
    /// Whether it agrees with itself: accepted only if there are checks of which none failed, each level as its checks say, and
    /// with a log only if it was accepted.
    pub(super) fn is_consistent(&self) -> bool {
        let failed = self.checks.iter().any(|check| check.result == Outcome::Failed);
        let results = LevelResult::of_checks(self.checks.iter().map(|check| (check.level, check.result)));
        let levels = Level::ALL
            .into_iter()
            .zip(results)
            .all(|(level, result)| self.levels.get(level.name()).is_some_and(|found| found.result == result));
        self.accepted == (!self.checks.is_empty() && !failed)
            && self.levels.len() == Level::ALL.len()
            && levels
            && (self.accepted || self.log.is_none())
    }
}

impl From<&Verdict> for RecordedVerdict {
    fn from(verdict: &Verdict) -> Self {
        let finding = |(level, found): (Level, &crate::LevelFinding)| {
            (level.name().to_owned(), RecordedFinding { result: found.result, detail: found.detail.clone() })
        };
        let check = |check: &crate::Check| RecordedCheck {
            name: check.name.to_owned(),
            level: check.level,
            result: check.result,
            detail: check.detail.clone(),
        };
        Self {
            accepted: verdict.accepted(),
            levels: verdict.levels().iter().map(finding).collect(),
            checks: verdict.checks().iter().map(check).collect(),
            warnings: verdict.warnings().to_vec(),
            log: verdict.log().copied(),
        }
    }
}
