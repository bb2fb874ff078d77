//! The appraisal of a node's event log: whether it explains the PCR values that the quote vouches for.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    PcrBank, PcrIndex, PcrValues,
    appraisal::{any_quote::vouched_for, verdict::Checklist},
    event_log::{ComparedPcr, Comparison, EventLog},
};

/// The PCRs that a log must explain, by bank.
type Selection = BTreeMap<PcrBank, BTreeSet<PcrIndex>>;

/// The check's name.
const CHECK: &str = "event_log";

/// Warnings that are repeated in a verdict; the log itself tells them all.
const WARNINGS_MAX: usize = 16;

/// Checks the log of evidence, if there is one, and answers with it if it passed. It adds nothing to the quote's values, which
/// the manifest approves by themselves: it shows what they are made of, and must not contradict them.
pub(crate) fn check_event_log<'a>(
    list: &mut Checklist,
    log: Option<&'a [u8]>,
    quoted: &PcrValues,
    selection: &Selection,
) -> Option<EventLog<'a>> {
    match log {
        None => list.not_applicable(CHECK, "no event log in the evidence"),
        Some([]) => {
            list.not_applicable(CHECK, "an empty event log: this machine's firmware hands over none");
        }
        Some(bytes) => return check_explains(list, bytes, quoted, selection),
    }
    None
}

/// Checks a log that somebody asks about: it must explain every quoted value.
pub(crate) fn check_given_log(list: &mut Checklist, bytes: &[u8], quoted: &PcrValues) {
    let mut selection = Selection::new();
    for (bank, index, _) in quoted.iter() {
        selection.entry(bank).or_default().insert(index);
    }
    _ = check_explains(list, bytes, quoted, &selection);
}

fn check_explains<'a>(
    list: &mut Checklist,
    bytes: &'a [u8],
    quoted: &PcrValues,
    selection: &Selection,
) -> Option<EventLog<'a>> {
    // Values that the quote does not vouch for cannot be explained.
    if !vouched_for(list) {
        return None;
    }
    let log = match EventLog::parse(bytes) {
        Ok(log) => log,
        Err(error) => {
            list.record(CHECK, Err(format!("expected an event log, found none: {error}")));
            return None;
        }
    };
    for warning in log.warnings().iter().take(WARNINGS_MAX) {
        list.warn(format!("event log: {}: {}", warning.code, warning.detail));
    }
    match explained(&log, quoted, selection) {
        Ok(Explained { tied: false, detail }) => list.not_applicable(CHECK, &detail),
        Ok(Explained { tied: true, detail }) => {
            list.record(CHECK, Ok(detail));
            return Some(log);
        }
        Err(reason) => list.record(CHECK, Err(reason)),
    }
    None
}

/// What a log without contradiction says.
struct Explained {
    /// Whether at least one selected value is what the log replays to: else nothing vouches for it.
    tied: bool,
    detail: String,
}

fn explained(log: &EventLog<'_>, quoted: &PcrValues, selection: &Selection) -> Result<Explained, String> {
    if let [first, others @ ..] = log.findings() {
        let event = first.event.map_or_else(String::new, |event| format!(" in event {event}"));
        let more = if others.is_empty() { String::new() } else { format!(", and {} more", others.len()) };
        return Err(format!("expected no findings, found {}{event}: {}{more}", first.code, first.detail));
    }
    let (mut matching, mut untouched, mut unlogged) = (Vec::new(), Vec::new(), Vec::new());
    let compared = log.compare(quoted);
    let selected = compared.iter().filter(|compared| {
        selection.get(&compared.bank).is_some_and(|indices| indices.contains(&compared.pcr))
    });
    for value in selected {
        let ComparedPcr { bank, pcr, comparison } = value;
        let name = format!("{bank}:{pcr}");
        match comparison {
            Comparison::Matches => matching.push(name),
            Comparison::Untouched => untouched.push(name),
            // The manifest names its value, and the state was found by it; the log says nothing about it.
            Comparison::Unlogged if !value.is_firmware_s() => unlogged.push(name),
            Comparison::Unlogged => {
                return Err(format!("expected the firmware's log to explain {name}, found no event for it"));
            }
            Comparison::NoBank => {
                return Err(format!("expected a log with the bank {bank}, found none"));
            }
            Comparison::Differs { after: Some(after), .. } => {
                return Err(format!(
                    "expected the log to replay to the quoted value of {name}, found that it is reached after {after} \
                     of its events; the log runs ahead of the quote"
                ));
            }
            Comparison::Differs { after: None, .. } => return Err(differs(&name, pcr.get())),
        }
    }
    let list = |what: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("; {what}: {}", names.join(", ")),
    };
    let detail = format!(
        "{} events without findings{}{}{}",
        log.events().len(),
        list("explained", &matching),
        list("never extended", &untouched),
        list("not in the log, known by the approved value alone", &unlogged)
    );
    Ok(Explained { tied: !matching.is_empty(), detail })
}

fn differs(name: &str, pcr: u8) -> String {
    // systemd measures NvPCRs into 9, phases of the boot into 11, the machine and its file systems into 15; the kernel's
    // IMA measures into 10.
    let later = match pcr {
        9..=15 => {
            "; the system may have measured into it after the firmware's log ended, which this log cannot show"
        }
        _ => "",
    };
    format!("expected the log to replay to the quoted value of {name}, found another value{later}")
}
