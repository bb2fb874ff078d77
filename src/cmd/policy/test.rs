//! `sealstone policy test`: what a policy says of requests, beside what its author means it to say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sealstone_policy::engine::Lists;
use serde_json::json;

use super::case::{Case, CaseCode, CaseReason, Cases, Expected, StandIns};
use super::{read_policy, read_prices, read_sanctions};
use crate::failure::Failure;
use crate::files;
use crate::output::{Answer, shown};

/// Cases of one file.
const CASES_MAX: usize = 10_000;

/// Judge requests by a policy and compare what it says with what is expected
///
/// CASES is TOML, or JSON if its name ends in .json. Each case has a request, with its payload or with what that does,
/// and `expect`, and for a refusal every code that it must carry. Approvers named in `approved_by` are taken to have signed. docs/cli.md describes the format.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone policy test policy.toml cases.toml\n  \
        sealstone policy test policy.toml cases.json --sanctions sanctions.list --prices prices.envelope --json")]
pub(in crate::cmd) struct Args {
    /// The policy (TOML)
    file: PathBuf,
    /// The cases (TOML or JSON)
    cases: PathBuf,
    /// Signed prices, for rules in the reference currency
    #[arg(long, value_name = "ENVELOPE")]
    prices: Option<PathBuf>,
    /// The sanctions list
    #[arg(long, value_name = "LIST")]
    sanctions: Option<PathBuf>,
}

pub(in crate::cmd) fn run(args: Args) -> Result<Answer, Failure> {
    let Args { file, cases, prices, sanctions } = args;
    let policy = read_policy(&file)?;
    let digest = policy.digest();
    let prices = prices.map(|path| read_prices(&path, &policy)).transpose()?;
    let sanctions = sanctions.map(|path| read_sanctions(&path)).transpose()?;
    let lists = Lists { sanctions: sanctions.as_ref(), prices: prices.as_ref() };
    let Cases { cases } = read_cases(&cases)?;
    let (keys, policy) = StandIns::take_over(policy)?;
    let mut text = String::new();
    let mut results = Vec::with_capacity(cases.len());
    let mut failed = 0;
    for case in &cases {
        let reasons = case.reasons(&policy, &lists, &keys)?;
        let passed = case.meets(&reasons);
        failed += usize::from(!passed);
        text.push_str(&described(case, &reasons, passed));
        results.push(json!({
            "name": case.name,
            "passed": passed,
            "decision": decision(&reasons),
            "reasons": reasons
                .iter()
                .map(|CaseReason { code, detail }| json!({"code": code.name(), "detail": detail}))
                .collect::<Vec<_>>(),
        }));
    }
    let passed = cases.len() - failed;
    text.push_str(&format!("{passed} passed, {failed} failed\n"));
    let json = json!({"policy": digest, "passed": passed, "failed": failed, "cases": results});
    Ok(Answer::verdict(failed == 0, json, text))
}

impl Case {
    /// Whether the policy said what was expected: the decision, and exactly the codes.
    fn meets(&self, reasons: &[CaseReason]) -> bool {
        let found: BTreeSet<CaseCode> = reasons.iter().map(|reason| reason.code).collect();
        (self.expect == Expected::Accepted) == found.is_empty() && found == self.codes
    }
}

fn decision(reasons: &[CaseReason]) -> &'static str {
    if reasons.is_empty() { "accepted" } else { "refused" }
}

fn described(case: &Case, reasons: &[CaseReason], passed: bool) -> String {
    let mark = if passed { "ok  " } else { "FAIL" };
    let mut text = format!("{mark}  {}: {}\n", shown(&case.name), decision(reasons));
    for CaseReason { code, detail } in reasons {
        text.push_str(&format!("        {}\n", shown(&format!("{}: {detail}", code.name()))));
    }
    if !passed {
        let codes: Vec<&str> = case.codes.iter().map(|code| code.name()).collect();
        let expected = match case.expect {
            Expected::Accepted => "accepted".to_owned(),
            Expected::Refused => format!("refused with exactly {}", codes.join(", ")),
        };
        text.push_str(&format!("        expected: {expected}\n"));
    }
    text
}

fn read_cases(path: &Path) -> Result<Cases, Failure> {
    let text = files::read_text(path, "cases")?;
    let as_json = path.extension().is_some_and(|extension| extension == "json");
    let parsed: Result<Cases, String> = if as_json {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    } else {
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
            format!("line {line}: {}", shown(error.message()))
        })
    };
    let cases = parsed
        .map_err(|found| not_cases(&format!("expected cases in {}, found: {found}", path.display())))?;
    if !(1..=CASES_MAX).contains(&cases.cases.len()) {
        let found = cases.cases.len();
        return Err(not_cases(&format!(
            "expected 1 to {CASES_MAX} cases in {}, found {found}",
            path.display()
        )));
    }
    for case in &cases.cases {
        // A refusal without its codes would be met by any other refusal.
        if (case.expect == Expected::Refused) == case.codes.is_empty() {
            return Err(not_a_case(&case.name, "expected codes for a refusal, and none for an acceptance"));
        }
    }
    Ok(cases)
}

/// A case that cannot be tried.
pub(super) fn not_a_case(name: &str, detail: &str) -> Failure {
    not_cases(&format!("case {:?}: {detail}", shown(name)))
}

fn not_cases(detail: &str) -> Failure {
    Failure::unusable("CASES", detail, "correct the cases; docs/cli.md describes them")
}

#[cfg(test)]
mod tests {
    use sealstone_policy::engine::ReasonCode;

    use super::*;

    fn case(expect: &str, codes: &[&str]) -> Case {
        let case = json!({
            "name": "n", "expect": expect, "codes": codes,
            "request": {
                "tenant": "t", "asset": "a", "chain_id": 1, "nonce": 0, "time": "2026-11-20T12:00:00Z",
                "facts": {"format": "opaque", "chain_id": null, "nonce": null, "movements": [], "fee": null, "unknown": []},
            },
        });
        serde_json::from_value(case).unwrap()
    }

    #[test]
    fn a_case_is_met_by_exactly_its_codes() {
        let reasons = [ReasonCode::SenderUnknown, ReasonCode::FeeTooHigh]
            .map(|code| CaseReason { code: CaseCode::Policy(code), detail: String::new() });
        assert!(case("refused", &["FEE_TOO_HIGH", "SENDER_UNKNOWN"]).meets(&reasons));
        assert!(!case("refused", &["FEE_TOO_HIGH"]).meets(&reasons));
        assert!(!case("refused", &["FEE_TOO_HIGH", "SENDER_UNKNOWN", "RECIPIENT_DENIED"]).meets(&reasons));
        assert!(!case("accepted", &[]).meets(&reasons));
        assert!(case("accepted", &[]).meets(&[]));
        assert!(!case("refused", &["FEE_TOO_HIGH"]).meets(&[]));
    }
}
