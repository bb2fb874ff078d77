//! Verdicts fail closed: every check of an appraisal is on its list from the start, as failed, and only its
//! own result takes it off.

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};

use crate::{
    appraisal::{
        any_quote::VOUCHING,
        level::{Level, Levels},
    },
    audit::{CoveredReceipts, TreeHash},
};

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it must be.
    Passed,
    /// Not as it must be, or not reached.
    Failed,
    /// Nothing was asked; only some checks may say so.
    NotApplicable,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// Stable, for programs.
    pub name: &'static str,
    /// Which question it helps to answer.
    pub level: Level,
    /// What was found.
    pub result: Outcome,
    /// Why, for people.
    pub detail: String,
}

/// The head of the audit log that a quote vouches for, as far as its verdict is accepted: whoever has the log can be
/// held to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogAnchor {
    /// Records.
    pub size: u64,
    /// The root of the tree over them.
    pub root: TreeHash,
    /// Which receipts are among them.
    pub receipts: CoveredReceipts,
    /// Receipts of the report's era that are not surely among them.
    pub lag: u64,
}

/// What an appraisal says: every check by name. Only an appraisal makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    checks: Vec<Check>,
    warnings: Vec<String>,
    log: Option<LogAnchor>,
}

impl Verdict {
    /// This verdict and another of the same evidence: accepted only if both are.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        // An empty verdict accepts nothing, and must not vanish in another.
        if other.checks.is_empty() {
            self.checks.clear();
        } else if !self.checks.is_empty() {
            self.checks.extend(other.checks);
        }
        self.warnings.extend(other.warnings);
        self.log = self.log.or(other.log);
        self
    }

    /// Whether there are checks and none failed. A check that was not reached counts as failed.
    #[must_use]
    pub fn accepted(&self) -> bool {
        !self.checks.is_empty() && self.first_failure().is_none()
    }

    /// The first check that failed.
    #[must_use]
    pub fn first_failure(&self) -> Option<&Check> {
        self.checks.iter().find(|check| check.result == Outcome::Failed)
    }

    /// All checks, in the order in which they are made.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The check of this name.
    #[must_use]
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }

    /// Whether this check was made and passed.
    #[must_use]
    pub fn passed(&self, name: &str) -> bool {
        self.check(name).is_some_and(|check| check.result == Outcome::Passed)
    }

    /// Whether the values of PCRs beside the quote are those that its key signed.
    #[must_use]
    pub fn vouches_for_values(&self) -> bool {
        VOUCHING.iter().all(|name| self.passed(name))
    }

    /// What is found of each level, judged by its own checks.
    #[must_use]
    pub fn levels(&self) -> Levels {
        Levels::judge(&self.checks)
    }

    /// What is allowed, but should be known.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The head of the audit log that was quoted; only if everything was accepted.
    #[must_use]
    pub fn log(&self) -> Option<&LogAnchor> {
        self.log.as_ref().filter(|_| self.accepted())
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut verdict = serializer.serialize_struct("Verdict", 5)?;
        verdict.serialize_field("accepted", &self.accepted())?;
        verdict.serialize_field("levels", &self.levels())?;
        verdict.serialize_field("checks", &self.checks)?;
        verdict.serialize_field("warnings", &self.warnings)?;
        verdict.serialize_field("log", &self.log())?;
        verdict.end()
    }
}

/// A check that an appraisal makes.
pub(crate) struct CheckSpec {
    name: &'static str,
    level: Level,
    may_be_not_applicable: bool,
}

impl CheckSpec {
    /// The check's name.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }
}

/// A check that must pass.
pub(crate) const fn mandatory(level: Level, name: &'static str) -> CheckSpec {
    CheckSpec { name, level, may_be_not_applicable: false }
}

/// A check that must pass unless nothing was asked.
pub(crate) const fn if_asked(level: Level, name: &'static str) -> CheckSpec {
    CheckSpec { name, level, may_be_not_applicable: true }
}

/// A verdict in the making.
pub(crate) struct Checklist {
    entries: Vec<(&'static CheckSpec, Option<(Outcome, String)>)>,
    warnings: Vec<String>,
    log: Option<LogAnchor>,
}

impl Checklist {
    /// Puts every check on the list, as not reached.
    pub(crate) fn new(specs: &[&'static [CheckSpec]]) -> Self {
        let entries = specs.iter().flat_map(|specs| specs.iter()).map(|spec| (spec, None)).collect();
        Self { entries, warnings: Vec::new(), log: None }
    }

    /// Records a check's result: the detail of a pass, or why it failed.
    pub(crate) fn record(&mut self, name: &'static str, result: Result<String, String>) {
        match result {
            Ok(detail) => self.set(name, Outcome::Passed, detail),
            Err(detail) => self.set(name, Outcome::Failed, detail),
        }
    }

    /// Records that nothing was asked. For a check that must pass, that is a failure.
    pub(crate) fn not_applicable(&mut self, name: &'static str, detail: &str) {
        self.set(name, Outcome::NotApplicable, detail.to_owned());
    }

    /// Adds a warning.
    pub(crate) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Sets the head of the audit log that was shown.
    pub(crate) fn anchor(&mut self, log: LogAnchor) {
        self.log = Some(log);
    }

    /// Whether this check passed.
    pub(crate) fn passed(&self, name: &str) -> bool {
        self.entries
            .iter()
            .any(|(spec, result)| spec.name == name && matches!(result, Some((Outcome::Passed, _))))
    }

    /// Ends the list; what was not reached has failed.
    pub(crate) fn verdict(self) -> Verdict {
        let first_failure = self
            .entries
            .iter()
            .find(|(_, result)| matches!(result, Some((Outcome::Failed, _))))
            .map_or("an earlier check", |(spec, _)| spec.name);
        let unreached = || (Outcome::Failed, format!("not reached: {first_failure} did not pass"));
        let checks = self
            .entries
            .iter()
            .map(|(spec, result)| {
                let (result, detail) = result.clone().unwrap_or_else(unreached);
                Check { name: spec.name, level: spec.level, result, detail }
            })
            .collect();
        Verdict { checks, warnings: self.warnings, log: self.log }
    }

    fn set(&mut self, name: &'static str, outcome: Outcome, detail: String) {
        let entry = self.entries.iter_mut().find(|(spec, _)| spec.name == name);
        let (spec, result) = entry.expect("appraisals record only checks of their own lists");
        let outcome = match outcome {
            Outcome::NotApplicable if !spec.may_be_not_applicable => Outcome::Failed,
            outcome => outcome,
        };
        // A failure is never taken back.
        if !matches!(result, Some((Outcome::Failed, _))) {
            *result = Some((outcome, detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SPECS: [CheckSpec; 3] = [
        mandatory(Level::Authentic, "one"),
        mandatory(Level::Fresh, "two"),
        if_asked(Level::StateApproved, "three"),
    ];

    fn passed(list: &mut Checklist, names: &[&'static str]) {
        for name in names {
            list.record(name, Ok(String::new()));
        }
    }

    #[test]
    fn a_verdict_accepts_only_when_every_check_was_made() {
        assert!(!Checklist::new(&[]).verdict().accepted());
        assert!(!Checklist::new(&[&SPECS]).verdict().accepted());
        let mut list = Checklist::new(&[&SPECS]);
        passed(&mut list, &["one", "two"]);
        let verdict = list.verdict();
        assert_eq!(verdict.first_failure().unwrap().name, "three");
        let mut list = Checklist::new(&[&SPECS]);
        passed(&mut list, &["one", "two", "three"]);
        assert!(list.verdict().accepted());
    }

    #[test]
    fn a_failure_is_never_taken_back() {
        let mut list = Checklist::new(&[&SPECS]);
        list.record("one", Err("wrong".to_owned()));
        passed(&mut list, &["one", "two", "three"]);
        let verdict = list.verdict();
        assert!(!verdict.accepted());
        assert_eq!(verdict.first_failure().unwrap().detail, "wrong");
    }

    #[test]
    fn a_mandatory_check_cannot_be_waived() {
        let mut list = Checklist::new(&[&SPECS]);
        passed(&mut list, &["one"]);
        list.not_applicable("two", "nobody asked");
        list.not_applicable("three", "nobody asked");
        let verdict = list.verdict();
        assert_eq!(verdict.check("two").unwrap().result, Outcome::Failed);
        assert_eq!(verdict.check("three").unwrap().result, Outcome::NotApplicable);
    }

    #[test]
    fn two_verdicts_together_accept_only_what_both_accept() {
        let verdict = |failing: &[&'static str]| {
            let mut list = Checklist::new(&[&SPECS]);
            passed(
                &mut list,
                &["one", "two", "three"].map(|name| if failing.contains(&name) { "one" } else { name }),
            );
            list.verdict()
        };
        let (good, bad, none) = (verdict(&[]), verdict(&["two"]), Checklist::new(&[]).verdict());
        assert!(good.clone().and(good.clone()).accepted());
        for (one, other) in [(&good, &bad), (&bad, &good), (&good, &none), (&none, &good), (&none, &none)] {
            assert!(!one.clone().and(other.clone()).accepted());
        }
    }

    #[test]
    fn a_verdict_as_json_names_every_check() {
        let mut list = Checklist::new(&[&SPECS]);
        passed(&mut list, &["one"]);
        list.record("two", Err("why".to_owned()));
        list.warn("known".to_owned());
        let json = serde_json::to_value(list.verdict()).unwrap();
        let expected = serde_json::json!({
            "accepted": false,
            "levels": {
                "authentic": {"result": "passed", "detail": "1 checks passed"},
                "fresh": {"result": "failed", "detail": "two: why"},
                "state_approved": {"result": "failed", "detail": "three: not reached: two did not pass"},
                "code_measured": {"result": "not_shown", "detail": "no manifest says how code is measured"},
            },
            "checks": [
                {"name": "one", "level": "authentic", "result": "passed", "detail": ""},
                {"name": "two", "level": "fresh", "result": "failed", "detail": "why"},
                {
                    "name": "three",
                    "level": "state_approved",
                    "result": "failed",
                    "detail": "not reached: two did not pass",
                },
            ],
            "warnings": ["known"],
            "log": null,
        });
        assert_eq!(json, expected);
    }
}
