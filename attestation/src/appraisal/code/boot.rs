//! The command line that an approved machine booted with, as its log has it and its approved values vouch for it.
//!
//! Whoever hands over a log can change what no digest covers: an event's type, and the prefix that says what a text is. So the
//! label is not asked. In the PCR that holds the command line every event must show the text that was hashed, and each text
//! that could be a command line is one.

use crate::{
    State,
    event_log::{Event, EventLog, SecureBoot},
};

/// The PCRs into which command lines are measured: GRUB's, and systemd's stub's.
const COMMAND_LINE_PCRS: [u8; 2] = [8, 12];

/// The PCR of boot loaders and of kernels as images.
const IMAGES_PCR: u8 = 4;

/// The PCR of the Secure Boot policy: who signs boot loaders.
const POLICY_PCR: u8 = 7;

/// The PCR of the files that GRUB reads, and of initial file systems.
const FILES_PCR: u8 = 9;

/// The PCR of the sections of a unified kernel image.
const SECTIONS_PCR: u8 = 11;

/// A command line, without the kernel's own name, and where it was measured.
#[derive(Debug)]
pub(super) struct Booted {
    pub(super) line: String,
    pub(super) pcr: u8,
}

/// The one command line of the boot, if everything that decides on it was approved in this state.
pub(super) fn booted(log: &EventLog<'_>, state: &State) -> Result<Booted, String> {
    let approved = |pcr: u8| state.pcrs().keys().any(|index| index.get() == pcr);
    let mut found: Option<Booted> = None;
    for pcr in COMMAND_LINE_PCRS {
        check_in_log(log, state, pcr)?;
        for line in lines_of(log, pcr)? {
            if found.as_ref().is_some_and(|other| other.line != line) {
                return Err("expected one measured command line, found several that differ".to_owned());
            }
            found.get_or_insert(Booted { line, pcr });
        }
    }
    let booted =
        found.ok_or("expected a measured command line in PCR 8 or 12, found none in the event log")?;
    if !approved(booted.pcr) {
        let pcr = booted.pcr;
        return Err(format!(
            "expected PCR {pcr}, which holds the command line, in the approved state, found it is not"
        ));
    }
    let signed = approved(POLICY_PCR) && matches!(log.facts().secure_boot, SecureBoot::On { .. });
    if !approved(IMAGES_PCR) && !signed {
        return Err(
            "expected the boot loader that measured the command line to be approved (PCR 4, or PCR 7 with Secure Boot on), \
             found that any could have"
                .to_owned(),
        );
    }
    let unified = approved(SECTIONS_PCR) && !log.facts().stub_sections.is_empty();
    if !approved(FILES_PCR) && !unified {
        return Err(
            "expected the kernel and its initial file system to be approved (PCR 9, or PCR 11 of a unified kernel image), \
             found that any could have read the command line"
                .to_owned(),
        );
    }
    Ok(booted)
}

/// An approved value of which the log has no event hides what was measured, unless nothing was.
fn check_in_log(log: &EventLog<'_>, state: &State, pcr: u8) -> Result<(), String> {
    let value = state.pcrs().iter().find(|(index, _)| index.get() == pcr).map(|(_, value)| value);
    let extended = value.is_some_and(|value| value.iter().any(|byte| *byte != 0));
    if !extended || events_of(log, pcr).next().is_some() {
        return Ok(());
    }
    Err(format!("expected what was measured into PCR {pcr} in the event log, found no event of it"))
}

fn events_of<'l, 'a>(log: &'l EventLog<'a>, pcr: u8) -> impl Iterator<Item = (usize, &'l Event<'a>)> {
    let events = log.events().iter().enumerate();
    events.filter(move |(_, event)| event.extends() && event.pcr.is_some_and(|index| index.get() == pcr))
}

/// Every text of a PCR that could be a command line.
fn lines_of(log: &EventLog<'_>, pcr: u8) -> Result<Vec<String>, String> {
    let facts = log.facts();
    let mut lines = Vec::new();
    for (number, event) in events_of(log, pcr) {
        let labelled = facts.command_lines.iter().find(|fact| fact.event == number && fact.vouched);
        // A text in UTF-16 may be hashed with or without its NUL; either way it is all there.
        if let Some(fact) = labelled.filter(|fact| fact.source != "GRUB") {
            lines.push(fact.text.trim_end_matches('\0').to_owned());
            continue;
        }
        let text = shown(event).ok_or_else(|| {
            format!("expected every text of PCR {pcr} in the event log, found event {number}, which only describes something")
        })?;
        // GRUB measures a command line from the kernel's path on, and commands by their names.
        if text.starts_with(['/', '(']) {
            let (_, arguments) = text.split_once(' ').unwrap_or((text, ""));
            lines.push(arguments.to_owned());
        } else if labelled.is_some() {
            return Err(format!(
                "expected a command line that begins with a kernel's path, found event {number}"
            ));
        }
    }
    Ok(lines)
}

/// The text that was hashed. One in UTF-16 that is not labelled as such could be a command line that was given another label.
fn shown<'a>(event: &Event<'a>) -> Option<&'a str> {
    let text = event.covered()?;
    let text = std::str::from_utf8(text.strip_suffix(&[0]).unwrap_or(text)).ok()?;
    Some(text).filter(|text| !text.contains('\0'))
}
