//! The command line that an approved machine booted with, as its log has it and its approved values vouch for it.
//!
//! Two ways of booting are understood, and nothing else: GRUB, which measures its commands and the command line into PCR 8
//! and every file that it reads into PCR 9; and a unified kernel image without a command line of its own, whose stub
//! measures the line that it was given into PCR 12 and its sections into PCR 11.

use std::collections::BTreeMap;

use super::grub;
use crate::{
    State,
    event_log::{BootText, Event, EventLog, EventType},
};

/// The PCR of boot loaders and of kernels as images.
const IMAGES_PCR: u8 = 4;

/// The PCR of GRUB's commands, and of its command lines.
pub(super) const GRUB_PCR: u8 = 8;

/// The PCR of the files that GRUB reads, and of the initial file system that a kernel was handed.
const FILES_PCR: u8 = 9;

/// The PCR of the sections of a unified kernel image.
const SECTIONS_PCR: u8 = 11;

/// The PCR of the command lines that a stub was given, and of addons and credentials.
const STUB_PCR: u8 = 12;

/// The PCR of the extensions that a stub adds to the initial file system.
const EXTENSIONS_PCR: u8 = 13;

/// What has to be approved, however the machine booted. A PCR into which nothing was measured has zeros; that has to be
/// approved too, or a second command line could stand in it.
const ALWAYS: [(u8, &str); 4] = [
    (IMAGES_PCR, "the boot loader that measured the command line"),
    (GRUB_PCR, "GRUB's command line"),
    (STUB_PCR, "a stub's command line"),
    (FILES_PCR, "the kernel and its initial file system"),
];

/// What has to be approved besides, of a unified kernel image.
const UNIFIED: [(u8, &str); 2] =
    [(SECTIONS_PCR, "the kernel and its initial file system"), (EXTENSIONS_PCR, "extensions of it")];

/// The names of sections as systemd's stub measures them, each before its content.
const COMMAND_LINE_SECTION: &[u8] = b".cmdline\0";
const INITRD_SECTION: &[u8] = b".initrd\0";

/// Command lines by their events, of those that the digests cover.
pub(super) type Labelled<'f> = BTreeMap<usize, &'f BootText>;

/// A command line, without the kernel's own name, and where it was measured.
#[derive(Debug)]
pub(super) struct Booted {
    pub(super) line: String,
    pub(super) pcr: u8,
    /// Whether what was measured says where the initial file system is from. A unified kernel image need not have one.
    pub(super) initrd_measured: bool,
}

/// The one command line of the boot, if everything that decides on it was approved in this state.
pub(super) fn booted(log: &EventLog<'_>, state: &State) -> Result<Booted, String> {
    for (pcr, what) in ALWAYS {
        check_approved(log, state, pcr, what)?;
    }
    if !events_of(log, IMAGES_PCR).any(|(_, event)| event.kind != EventType::SEPARATOR) {
        return Err("expected the boot loader in PCR 4, found no event that names one".to_owned());
    }
    let facts = log.facts();
    let labelled: Labelled<'_> =
        facts.command_lines.iter().filter(|fact| fact.vouched).map(|fact| (fact.event, fact)).collect();
    match (grub::line(log, &labelled)?, stub_line(log, &labelled)?) {
        (Some(line), None) => {
            check_measured(log, FILES_PCR)?;
            Ok(Booted { line, pcr: GRUB_PCR, initrd_measured: true })
        }
        (None, Some(line)) => {
            for (pcr, what) in UNIFIED {
                check_approved(log, state, pcr, what)?;
            }
            let initrd_measured = check_sections(log)?;
            Ok(Booted { line, pcr: STUB_PCR, initrd_measured })
        }
        (Some(_), Some(_)) => {
            Err("expected one measured command line, found GRUB's in PCR 8 and a stub's in PCR 12".to_owned())
        }
        (None, None) => {
            Err("expected a measured command line in PCR 8 or 12, found none in the event log".to_owned())
        }
    }
}

/// The events that extended a PCR, by their numbers in the log.
pub(super) fn events_of<'l, 'a>(
    log: &'l EventLog<'a>,
    pcr: u8,
) -> impl Iterator<Item = (usize, &'l Event<'a>)> {
    let events = log.events().iter().enumerate();
    events.filter(move |(_, event)| event.extends() && event.pcr.is_some_and(|index| index.get() == pcr))
}

/// Finds that a PCR is approved, and that the log does not keep quiet about what was measured into it.
fn check_approved(log: &EventLog<'_>, state: &State, pcr: u8, what: &str) -> Result<(), String> {
    let Some((_, value)) = state.pcrs().iter().find(|(index, _)| index.get() == pcr) else {
        return Err(format!(
            "expected PCR {pcr}, which holds {what}, in the approved state, found it is not; approve a state with it"
        ));
    };
    // Files may also be measured by a kernel that has no log of it; who needs them in the log asks for that apart.
    let extended = pcr != FILES_PCR && value.iter().any(|byte| *byte != 0);
    if extended { check_measured(log, pcr) } else { Ok(()) }
}

fn check_measured(log: &EventLog<'_>, pcr: u8) -> Result<(), String> {
    if events_of(log, pcr).next().is_some() {
        return Ok(());
    }
    Err(format!("expected what was measured into PCR {pcr} in the event log, found no event of it"))
}

/// The command line that a stub was given. The boot loader before it measures the same once more.
fn stub_line(log: &EventLog<'_>, labelled: &Labelled<'_>) -> Result<Option<String>, String> {
    let mut line: Option<&str> = None;
    for (number, _) in events_of(log, STUB_PCR) {
        let fact = labelled.get(&number).ok_or_else(|| {
            format!("expected only command lines in PCR {STUB_PCR}, found event {number}, which only describes something")
        })?;
        // A text in UTF-16 may be hashed with or without its NUL; either way it is all there.
        let text = fact.text.trim_end_matches('\0');
        if line.is_some_and(|other| other != text) {
            // An addon's text is measured alone, and appended to what there is.
            return Err("expected one measured command line, found several that differ".to_owned());
        }
        line = Some(text);
    }
    Ok(line.map(str::to_owned))
}

/// Whether a unified kernel image has its own initial file system. With a command line of its own, of which the log has only
/// the digest, the measured line is not the whole one.
fn check_sections(log: &EventLog<'_>) -> Result<bool, String> {
    check_measured(log, SECTIONS_PCR)?;
    let mut initrd = false;
    for (number, event) in events_of(log, SECTIONS_PCR) {
        // By digest: what an event is called, no digest covers.
        if event
            .known_digests()
            .any(|(algorithm, digest)| algorithm.digest(&[COMMAND_LINE_SECTION]) == digest)
        {
            return Err(format!(
                "expected a unified kernel image without a command line of its own, found its section in event {number}"
            ));
        }
        initrd |= event.known_digests().next().is_some()
            && event.known_digests().all(|(algorithm, digest)| algorithm.digest(&[INITRD_SECTION]) == digest);
    }
    Ok(initrd)
}
