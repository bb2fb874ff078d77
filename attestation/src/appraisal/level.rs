//! The four questions that a verdict answers. They are never mixed: each has its own checks.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};

use crate::appraisal::verdict::{Check, Outcome};

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Whether the evidence is what it claims to be: made by that TPM and that enclave, and not changed since.
    Authentic,
    /// Whether it was made for whoever appraises it, and not taken from before.
    Fresh,
    /// Whether the machine is in a state that its owners approved.
    StateApproved,
    /// Whether what ran after the boot is shown, and not only what booted.
    CodeMeasured,
}

/// What is found of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LevelResult {
    /// Shown: at least one of its checks passed and none failed.
    Passed,
    /// Refuted, or not reached.
    Failed,
    /// Nothing was asked of it: a gap, which the detail names.
    NotShown,
}

/// One level's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LevelFinding {
    /// What was found.
    pub result: LevelResult,
    /// The first reason, for people.
    pub detail: String,
}

/// The result of each level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels([LevelFinding; 4]);

impl Level {
    /// Every level, each resting on the ones before it.
    pub const ALL: [Self; 4] = [Self::Authentic, Self::Fresh, Self::StateApproved, Self::CodeMeasured];

    /// Stable, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authentic => "authentic",
            Self::Fresh => "fresh",
            Self::StateApproved => "state_approved",
            Self::CodeMeasured => "code_measured",
        }
    }

    /// The checks whose details say best what a passed level rests on.
    const fn heads(self) -> &'static [&'static str] {
        match self {
            Self::Authentic => &["signature.valid"],
            Self::Fresh => &["challenge", "evidence.nonce", "nonce.answered", "statement.nonce"],
            Self::StateApproved => &["state.approved"],
            Self::CodeMeasured => &["code.measured"],
        }
    }

    /// What is missing where an appraisal makes no check of this level at all.
    const fn gap(self) -> &'static str {
        match self {
            Self::Authentic => "nothing was checked",
            Self::Fresh => "nobody's nonce was compared",
            Self::StateApproved => "no manifest says which states are approved",
            Self::CodeMeasured => "no manifest says how code is measured",
        }
    }
}

impl LevelResult {
    /// What checks say of each level, in the order of [`Level::ALL`]: each by its own, except that on what is not authentic
    /// nothing passes, as under a forged signature.
    pub(crate) fn of_checks(checks: impl Iterator<Item = (Level, Outcome)> + Clone) -> [Self; 4] {
        let authentic = Self::alone(Level::Authentic, checks.clone());
        Level::ALL.map(|level| match Self::alone(level, checks.clone()) {
            Self::Passed => authentic,
            other => other,
        })
    }

    /// What a level's own checks say of it.
    fn alone(level: Level, checks: impl Iterator<Item = (Level, Outcome)> + Clone) -> Self {
        let mut outcomes = checks.filter(|(of, _)| *of == level).map(|(_, outcome)| outcome);
        if outcomes.clone().any(|outcome| outcome == Outcome::Failed) {
            Self::Failed
        } else if outcomes.any(|outcome| outcome == Outcome::Passed) {
            Self::Passed
        } else {
            Self::NotShown
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Levels {
    /// Judges each level, with the reasons.
    pub(crate) fn judge(checks: &[Check]) -> Self {
        let outcomes = || checks.iter().map(|check| (check.level, check.result));
        let judged = LevelResult::of_checks(outcomes());
        Self(Level::ALL.map(|level| {
            let (alone, result) = (LevelResult::alone(level, outcomes()), judged[level as usize]);
            let detail = match (alone, result) {
                (LevelResult::Passed, LevelResult::Failed) => {
                    let why = detail_of(Level::Authentic, LevelResult::Failed, checks);
                    format!("not reached: not authentic, {why}")
                }
                (LevelResult::Passed, LevelResult::NotShown) => {
                    "nothing shows that this is authentic".to_owned()
                }
                _ => detail_of(level, alone, checks),
            };
            LevelFinding { result, detail }
        }))
    }

    /// This level's result.
    #[must_use]
    pub fn of(&self, level: Level) -> &LevelFinding {
        &self.0[level as usize]
    }

    /// Each level with its result.
    pub fn iter(&self) -> impl Iterator<Item = (Level, &LevelFinding)> {
        Level::ALL.into_iter().zip(&self.0)
    }
}

impl Serialize for Levels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (level, finding) in self.iter() {
            map.serialize_entry(level.name(), finding)?;
        }
        map.end()
    }
}

/// The reason for what a level's own checks say.
fn detail_of(level: Level, result: LevelResult, checks: &[Check]) -> String {
    let of_level = || checks.iter().filter(|check| check.level == level);
    let reason = |check: &Check| format!("{}: {}", check.name, check.detail);
    match result {
        LevelResult::Failed => {
            of_level().find(|check| check.result == Outcome::Failed).map_or_else(String::new, reason)
        }
        LevelResult::NotShown => of_level().next().map_or_else(|| level.gap().to_owned(), reason),
        LevelResult::Passed => {
            let passed = || of_level().filter(|check| check.result == Outcome::Passed);
            let mut heads = level.heads().iter();
            let head = heads.find_map(|name| passed().find(|check| check.name == *name));
            let count = format!("{} checks passed", passed().count());
            head.map_or(count.clone(), |head| format!("{count}; {}", reason(head)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, level: Level, result: Outcome) -> Check {
        Check { name, level, result, detail: "why".to_owned() }
    }

    fn results(checks: &[Check]) -> [LevelResult; 4] {
        let levels = Levels::judge(checks);
        Level::ALL.map(|level| levels.of(level).result)
    }

    use Outcome::{Failed as F, NotApplicable as N, Passed as P};

    #[test]
    fn each_level_is_judged_by_its_own_checks() {
        let with = |fresh, state, code| {
            results(&[
                check("signature.valid", Level::Authentic, P),
                check("evidence.nonce", Level::Fresh, fresh),
                check("state.approved", Level::StateApproved, state),
                check("code.measured", Level::CodeMeasured, code),
            ])
        };
        use LevelResult::{Failed, NotShown, Passed};
        assert_eq!(with(P, P, P), [Passed, Passed, Passed, Passed]);
        assert_eq!(with(F, P, N), [Passed, Failed, Passed, NotShown]);
        assert_eq!(with(P, F, P), [Passed, Passed, Failed, Passed]);
        assert_eq!(with(P, N, F), [Passed, Passed, NotShown, Failed]);
    }

    #[test]
    fn nothing_passes_on_what_is_not_authentic() {
        let all = |authentic| {
            [
                check("signature.valid", Level::Authentic, authentic),
                check("evidence.nonce", Level::Fresh, P),
                check("state.approved", Level::StateApproved, P),
                check("code.measured", Level::CodeMeasured, N),
            ]
        };
        use LevelResult::{Failed, NotShown};
        assert_eq!(results(&all(F)), [Failed, Failed, Failed, NotShown]);
        assert_eq!(results(&all(N)), [NotShown; 4]);
        assert_eq!(results(&all(F)[1..]), [NotShown; 4]);
        assert_eq!(results(&[]), [NotShown; 4]);
        let levels = Levels::judge(&all(F));
        assert_eq!(
            levels.of(Level::StateApproved).detail,
            "not reached: not authentic, signature.valid: why"
        );
    }

    #[test]
    fn one_failure_outweighs_every_pass() {
        for place in 0..3 {
            let mut checks = [check("one", Level::Fresh, P), check("two", Level::Fresh, P)].to_vec();
            checks.insert(place, check("three", Level::Fresh, F));
            checks.push(check("signature.valid", Level::Authentic, P));
            let levels = Levels::judge(&checks);
            assert_eq!(levels.of(Level::Fresh).detail, "three: why");
            assert_eq!(levels.of(Level::Fresh).result, LevelResult::Failed);
        }
    }

    #[test]
    fn levels_as_json_are_named() {
        let levels = Levels::judge(&[check("signature.valid", Level::Authentic, P)]);
        let expected = serde_json::json!({
            "authentic": {"result": "passed", "detail": "1 checks passed; signature.valid: why"},
            "fresh": {"result": "not_shown", "detail": "nobody's nonce was compared"},
            "state_approved": {"result": "not_shown", "detail": "no manifest says which states are approved"},
            "code_measured": {"result": "not_shown", "detail": "no manifest says how code is measured"},
        });
        assert_eq!(serde_json::to_value(&levels).unwrap(), expected);
    }
}
