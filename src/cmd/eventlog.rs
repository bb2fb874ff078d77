//! `sealstone eventlog`: read a measured-boot log, replay it, and say what it is worth.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sealstone_attestation::event_log::{ComparedPcr, Comparison, Event, EventLog, Facts, Remark};
use sealstone_attestation::{PcrBank, PcrValues};
use serde_json::{Value, json};

use super::pcr_file;
use crate::boot;
use crate::failure::Failure;
use crate::files;
use crate::output::{Answer, fields, json_of, shown};

/// Read and replay a measured-boot event log
///
/// Prints what the PCRs must hold if the log is true, what the log says about the boot, and every finding: a rule that a
/// log that nobody changed never breaks. A log alone proves nothing. With --pcrs it is compared with the values that a TPM
/// gave, and refused (exit code 1) if it does not explain them or has findings.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone eventlog /sys/kernel/security/tpm0/binary_bios_measurements\n  \
        sealstone eventlog log.bin --pcrs quoted.json --json")]
pub(super) struct Args {
    /// The log, as the kernel gives it
    file: PathBuf,
    /// PCR values that a TPM gave, as JSON: {"sha256": {"0": "HEX"}}
    #[arg(long, value_name = "JSON")]
    pcrs: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<Answer, Failure> {
    let bytes = files::read(&args.file, "an event log", EventLog::BYTES_MAX)?;
    let log = EventLog::parse(&bytes).map_err(|error| {
        Failure::unusable(
            "EVENT_LOG",
            format!("expected an event log in {}, found none: {error}", args.file.display()),
            "give the log whole, as the kernel has it in /sys/kernel/security/tpm0/binary_bios_measurements",
        )
    })?;
    let compared = match &args.pcrs {
        Some(path) => Some(log.compare(&read_values(path)?)),
        None => None,
    };
    let facts = log.facts();
    let subjects = boot::subjects(&facts);
    let json = json_report(&log, &facts, &subjects, compared.as_deref());
    let text = text_report(&log, compared.as_deref());
    Ok(match compared {
        None => Answer::done(json, text),
        Some(compared) => {
            let accepted = log.findings().is_empty() && compared.iter().all(is_explained);
            Answer::verdict(accepted, json, text)
        }
    })
}

fn read_values(path: &Path) -> Result<PcrValues, Failure> {
    let values = pcr_file::read_named(path)?;
    if values.is_empty() {
        return Err(Failure::unusable(
            "PCR_VALUES",
            format!("expected at least one PCR value in {}, found none", path.display()),
            "give the values that the TPM quoted: comparing with nothing proves nothing",
        ));
    }
    Ok(values)
}

/// Whether a value is what the log says, or one that the firmware's log need not explain.
fn is_explained(compared: &ComparedPcr) -> bool {
    match compared.comparison {
        Comparison::Matches | Comparison::Untouched => true,
        Comparison::Unlogged => !compared.is_firmware_s(),
        _ => false,
    }
}

fn json_report(
    log: &EventLog<'_>,
    facts: &Facts<'_>,
    subjects: &BTreeMap<String, String>,
    compared: Option<&[ComparedPcr]>,
) -> Value {
    let timeline: Vec<Value> = log
        .events()
        .iter()
        .enumerate()
        .map(|(number, event)| {
            json!({
                "event": number,
                "offset": event.offset,
                "pcr": event.pcr,
                "type": event.kind,
                "tie": event.tie.name(),
                "after_separator": event.after_separator,
                "description": event.describe(),
            })
        })
        .collect();
    let mut report = json!({
        "format": log.format().name(),
        "events": log.events().len(),
        "banks": log.replay(),
        "startup_locality": log.startup_locality(),
        "findings": log.findings(),
        "warnings": log.warnings(),
        "padding": log.padding(),
        "facts": facts,
        "subjects": subjects,
        "timeline": timeline,
    });
    if let Some(compared) = compared {
        report["compared"] = json_of(&compared);
        report["not_compared"] = json_of(&not_compared(log, compared));
        report["accepted"] = (log.findings().is_empty() && compared.iter().all(is_explained)).into();
    }
    report
}

fn text_report(log: &EventLog<'_>, compared: Option<&[ComparedPcr]>) -> String {
    let banks: Vec<&str> = log.replay().banks().map(|bank| bank.name()).collect();
    let mut rows = vec![
        ("format", log.format().name().to_owned()),
        ("events", log.events().len().to_string()),
        ("banks", banks.join(", ")),
        ("startup locality", log.startup_locality().to_string()),
    ];
    rows.extend(fact_rows(log, compared));
    let mut text = fields(&rows);
    text.push_str(
        "\nevents (=: the digest covers the data; ~: it covers something that the data only describes)\n",
    );
    for (number, event) in log.events().iter().enumerate() {
        text.push_str(&timeline_line(number, event));
    }
    text.push_str("\nreplayed values\n");
    for (bank, pcr, value) in log.replay().iter() {
        text.push_str(&format!("{bank} {pcr:>2} {}\n", hex::encode(value)));
    }
    push_remarks(&mut text, "warning", log.warnings());
    push_remarks(&mut text, "FINDING", log.findings());
    match compared {
        None => text.push_str("\nnot compared with a TPM: give the values that it quoted with --pcrs\n"),
        Some(compared) => push_compared(&mut text, log, compared),
    }
    text
}

/// What the log says about the boot. What no digest covers is marked.
fn fact_rows(log: &EventLog<'_>, compared: Option<&[ComparedPcr]>) -> Vec<(&'static str, String)> {
    // Digests of a bank that was not compared are what somebody wrote.
    let mut banks = compared.into_iter().flatten().map(|one| one.bank);
    let bank = match compared {
        None => Some(PcrBank::Sha256),
        Some(_) => banks.find(|bank| bank.is_acceptable()),
    };
    boot::facts(log, bank).into_iter().map(|fact| (fact.what, fact.line())).collect()
}

fn timeline_line(number: usize, event: &Event<'_>) -> String {
    let pcr = event.pcr.map_or_else(|| "-".to_owned(), |pcr| pcr.to_string());
    let mark = match event.tie.name() {
        "broken" => "!",
        "described" => "~",
        "not_extended" => " ",
        _ => "=",
    };
    let unverified = if mark == "!" { "unverified: " } else { "" };
    format!("{number:>5} PCR {pcr:>2} {:<32} {mark} {unverified}{}\n", event.kind, shown(&event.describe()))
}

/// The log's banks of which no value was given: nothing vouches for their digests.
fn not_compared(log: &EventLog<'_>, compared: &[ComparedPcr]) -> Vec<&'static str> {
    let given = |bank: Option<PcrBank>| compared.iter().any(|one| Some(one.bank) == bank);
    log.replay().banks().filter(|bank| !given(bank.bank())).map(|bank| bank.name()).collect()
}

fn push_remarks(text: &mut String, kind: &str, remarks: &[Remark]) {
    for remark in remarks {
        let event = remark.event.map_or_else(String::new, |event| format!(" (event {event})"));
        text.push_str(&format!("{kind} {}{event}: {}\n", remark.code, shown(&remark.detail)));
    }
}

fn push_compared(text: &mut String, log: &EventLog<'_>, compared: &[ComparedPcr]) {
    text.push_str("\ncompared with the given values\n");
    for one in compared {
        let result = match &one.comparison {
            Comparison::Matches => "matches".to_owned(),
            Comparison::Differs { after: Some(after), .. } => {
                format!("DIFFERS: the value is reached after {after} of its events, the log runs ahead")
            }
            Comparison::Differs { after: None, .. } => "DIFFERS".to_owned(),
            Comparison::Untouched => "never extended".to_owned(),
            Comparison::Unlogged if is_explained(one) => "not in this log".to_owned(),
            Comparison::Unlogged => "NOT IN THE LOG, though the firmware extended it".to_owned(),
            Comparison::NoBank => "NO SUCH BANK in the log".to_owned(),
            _ => "unknown".to_owned(),
        };
        text.push_str(&format!("{} {:>2} {result}\n", one.bank, one.pcr));
    }
    let not_compared = not_compared(log, compared);
    if !not_compared.is_empty() {
        let banks = not_compared.join(", ");
        text.push_str(&format!("not compared: the bank {banks}; its digests are what the log says\n"));
    }
    let accepted = log.findings().is_empty() && compared.iter().all(is_explained);
    text.push_str(if accepted { "accepted\n" } else { "refused\n" });
}
