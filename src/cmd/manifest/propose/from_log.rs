//! A state from a measured-boot log: what the machine's PCRs will hold if it boots as the log says. No value is guessed.

use std::collections::{BTreeMap, BTreeSet};

use sealstone_attestation::event_log::{ComparedPcr, Comparison, EventLog, LogAlgorithm, Remark};
use sealstone_attestation::{PcrIndex, PcrValues};

use super::measured::PcrChoice;
use crate::boot::LogFile;
use crate::failure::Failure;
use crate::output::shown;

/// Findings that a refusal names; `sealstone eventlog` tells them all.
const FINDINGS_NAMED: usize = 3;

/// Into these the running system may extend after the firmware's log has ended: systemd's NvPCRs, phases, machine and file
/// systems.
const EXTENDED_LATER: [u8; 6] = [9, 11, 12, 13, 14, 15];

/// Where values come from that the log does not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Unlogged {
    /// The machine that the agent runs on, or the --enrolment.
    Node,
    /// The evidence that holds the log.
    Evidence,
}

/// A state's values and what approvers should know of them.
#[derive(Debug)]
pub(super) struct Predicted {
    pub(super) values: BTreeMap<PcrIndex, Vec<u8>>,
    pub(super) warnings: Vec<String>,
}

/// The values of these registers after the boot of this log; `others` has those that it does not reach.
pub(super) fn predicted(
    choice: &PcrChoice,
    file: &LogFile,
    others: Option<&PcrValues>,
    allow_findings: bool,
) -> Result<Predicted, Failure> {
    let log = file.log()?;
    let bank = LogAlgorithm::from(choice.bank);
    if !log.replay().banks().any(|found| found == bank) {
        let found: Vec<&str> = log.replay().banks().map(LogAlgorithm::name).collect();
        return Err(unreached(
            format!("expected the bank {} in {}, found {}", choice.bank, file.name(), found.join(", ")),
            "choose a bank of the log with --pcrs, or take the log on a machine that has this bank active",
        ));
    }
    refuse_gaps(choice, file, &log)?;
    let mut warnings = findings(file, &log, allow_findings)?;
    refuse_contradiction(choice, file, &log)?;
    let (mut values, mut missing) = (BTreeMap::new(), BTreeSet::new());
    for index in &choice.indices {
        let logged = log.replay().get(bank, *index);
        match (logged, others.and_then(|others| others.get(choice.bank, *index))) {
            (Some(value), _) => {
                values.insert(*index, value.to_vec());
            }
            (None, Some(value)) => {
                warnings.push(format!(
                    "the log has no event for PCR {index}: its value is the one that was read, not one that the log \
                     explains"
                ));
                values.insert(*index, value.to_vec());
            }
            (None, None) => {
                missing.insert(*index);
            }
        }
    }
    if !missing.is_empty() {
        return Err(unreached(
            format!("expected events for every PCR of the state, found none for {}", listed(&missing)),
            "leave them out with --pcrs, or take their values as they are read: --unlogged-from node or evidence",
        ));
    }
    let later: BTreeSet<PcrIndex> = values
        .keys()
        .copied()
        .filter(|index| EXTENDED_LATER.contains(&index.get()) && log.replay().get(bank, *index).is_some())
        .collect();
    if !later.is_empty() {
        warnings.push(format!(
            "the running system may extend PCR {} after the log ends; compare with what the TPM holds: \
             `sealstone eventlog LOG --pcrs JSON`",
            listed(&later)
        ));
    }
    if file.shown().is_some() {
        warnings.push(
            "the evidence of the log was not verified here: `sealstone verify` does, by its nonce".to_owned(),
        );
    }
    Ok(Predicted { values, warnings })
}

/// The replay passes over an event without a digest in the bank: what it gives then is no value that a machine ever measured,
/// so no word of the operator allows it.
fn refuse_gaps(choice: &PcrChoice, file: &LogFile, log: &EventLog<'_>) -> Result<(), Failure> {
    let bank = LogAlgorithm::from(choice.bank);
    let gaps: BTreeSet<PcrIndex> = log
        .events()
        .iter()
        .filter(|event| event.extends() && event.digest(bank).is_none())
        .filter_map(|event| event.pcr.filter(|pcr| choice.indices.contains(pcr)))
        .collect();
    if gaps.is_empty() {
        return Ok(());
    }
    Err(unreached(
        format!(
            "expected a digest in the bank {} for every event of {}, found events without one in PCR {}",
            choice.bank,
            file.name(),
            listed(&gaps)
        ),
        "choose with --pcrs a bank that every event has, or PCRs without such events",
    ))
}

/// Evidence with this log would be refused: so is a state that only such a boot has.
fn findings(file: &LogFile, log: &EventLog<'_>, allowed: bool) -> Result<Vec<String>, Failure> {
    let said = |finding: &Remark| {
        let event = finding.event.map_or_else(String::new, |event| format!(" in event {event}"));
        format!("{}{event}: {}", finding.code, shown(&finding.detail))
    };
    let named: Vec<String> = log.findings().iter().take(FINDINGS_NAMED).map(said).collect();
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let more = match log.findings().len() - named.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let named = format!("{}{more}", named.join("; "));
    if allowed {
        return Ok(vec![format!("evidence with this log would be refused: {named}")]);
    }
    Err(Failure::refused(
        "LOG_FINDINGS",
        format!("expected a log without findings in {}, found {named}", file.name()),
        "see `sealstone eventlog` for all of them; --allow-findings proposes the state nevertheless",
    ))
}

/// A log inside evidence that does not replay to what the quote beside it says describes no state of that machine.
fn refuse_contradiction(choice: &PcrChoice, file: &LogFile, log: &EventLog<'_>) -> Result<(), Failure> {
    let Some(shown) = file.shown() else { return Ok(()) };
    let differs = |compared: &ComparedPcr| match compared.comparison {
        Comparison::Matches | Comparison::Untouched => false,
        Comparison::Unlogged => compared.is_firmware_s(),
        _ => true,
    };
    let compared = log.compare(shown);
    let wrong: BTreeSet<PcrIndex> = compared
        .iter()
        .filter(|one| one.bank == choice.bank && choice.indices.contains(&one.pcr) && differs(one))
        .map(|one| one.pcr)
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(
        "LOG_CONTRADICTED",
        format!(
            "expected the log of {} to replay to the values of its quote, found others in PCR {}",
            file.name(),
            listed(&wrong)
        ),
        "do not propose this state: find out who changed the log, or what extended these PCRs",
    ))
}

pub(super) fn listed(indices: &BTreeSet<PcrIndex>) -> String {
    indices.iter().map(PcrIndex::to_string).collect::<Vec<_>>().join(", ")
}

fn unreached(detail: String, action: &str) -> Failure {
    Failure::unusable("LOG_INCOMPLETE", detail, action.to_owned())
}
