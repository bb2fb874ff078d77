//! The command line that GRUB booted a kernel with, as PCR 8 has it among GRUB's commands.
//!
//! Whoever hands over a log can change what no digest covers: an event's type, and the prefix that says what a text is. So the
//! label is not asked. Every event must show the text that was hashed, each text that begins as a kernel's path does is a
//! command line, and every other one must be a command that is known to boot nothing by itself.

use super::boot::{GRUB_PCR, Labelled, events_of};
use crate::event_log::{Event, EventLog};

/// Commands that load a Linux kernel. Each is measured before the command line that it makes.
const KERNEL_COMMANDS: [&str; 2] = ["linux", "linuxefi"];

/// Commands that start no other code than GRUB's own, and functions of distributions, whose commands are measured themselves.
/// Not here: what loads other kernels, images or tables (`chainloader`, `multiboot`, `module`, `linux16`, `kernel`, `xen_*`,
/// `acpi`, `devicetree`), what leaves GRUB (`exit`), and what could take out the module that measures (`rmmod`).
const COMMANDS: [&str; 56] = [
    "[",
    "background_color",
    "background_image",
    "blscfg",
    "boot",
    "clear",
    "configfile",
    "cryptomount",
    "echo",
    "export",
    "false",
    "fwsetup",
    "gfxmode",
    "gptpriority",
    "hwmatch",
    "increment",
    "initrd",
    "initrdefi",
    "initrdfail",
    "insmod",
    "list_env",
    "load_env",
    "load_video",
    "loadfont",
    "loopback",
    "ls",
    "menuentry",
    "normal",
    "password",
    "password_pbkdf2",
    "probe",
    "read",
    "recordfail",
    "regexp",
    "return",
    "save_env",
    "savedefault",
    "search",
    "search.file",
    "search.fs_label",
    "search.fs_uuid",
    "serial",
    "set",
    "setparams",
    "shift",
    "sleep",
    "smbios",
    "source",
    "submenu",
    "terminal",
    "terminal_input",
    "terminal_output",
    "test",
    "true",
    "unset",
    "videoinfo",
];

/// The command line of PCR 8, without the kernel's own name; nothing if GRUB booted no kernel.
pub(super) fn line(log: &EventLog<'_>, labelled: &Labelled<'_>) -> Result<Option<String>, String> {
    let mut line = None;
    let (mut commands, mut kernels) = (0_usize, 0_usize);
    for (number, event) in events_of(log, GRUB_PCR) {
        let text = shown(event).ok_or_else(|| {
            format!(
                "expected every text of PCR {GRUB_PCR} in the event log, found event {number}, which only describes \
                 something"
            )
        })?;
        if text.starts_with(['/', '(']) {
            let (_, arguments) = text.split_once(' ').unwrap_or((text, ""));
            if line.replace(arguments.to_owned()).is_some() {
                return Err(format!(
                    "expected one measured command line, found several, the last in event {number}"
                ));
            }
            continue;
        }
        if labelled.contains_key(&number) {
            return Err(format!(
                "expected a command line that begins with a kernel's path, found event {number}"
            ));
        }
        commands += 1;
        match text.split(' ').next().unwrap_or_default() {
            word if KERNEL_COMMANDS.contains(&word) => kernels += 1,
            word if COMMANDS.contains(&word) || is_assignment(word) => {}
            word => {
                return Err(format!(
                    "expected commands of GRUB that are known to start nothing else, found {word:?} in event {number}"
                ));
            }
        }
    }
    if commands > 0 && kernels != usize::from(line.is_some()) {
        return Err(format!(
            "expected one command that loads a kernel for the one command line, found {kernels}"
        ));
    }
    Ok(line)
}

/// `name=value`, as GRUB runs an assignment.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// The text that was hashed. One in UTF-16 could be a command line that was given another label; GRUB measures none.
fn shown<'a>(event: &Event<'a>) -> Option<&'a str> {
    let text = event.covered()?;
    let text = std::str::from_utf8(text.strip_suffix(&[0]).unwrap_or(text)).ok()?;
    Some(text).filter(|text| !text.contains('\0'))
}
