//! The rules of a whole log: what a log that nobody changed never breaks. Each that is broken is a finding.

use std::collections::BTreeMap;

use crate::{
    PcrIndex,
    event_log::{
        Event, EventLogError, EventType, Guid, Tie,
        header::Listed,
        parse::Framed,
        remark::{About, Remarks},
        separator, signature_list, startup, text, tie,
        variable::Variable,
    },
};

/// The PCR of the Secure Boot policy.
const POLICY_PCR: u8 = 7;

/// The variables that say what the Secure Boot policy is, each measured once before its PCR is closed.
pub(super) const POLICY_VARIABLES: [(Guid, &str); 5] = [
    (Guid::GLOBAL_VARIABLE, "SecureBoot"),
    (Guid::GLOBAL_VARIABLE, "PK"),
    (Guid::GLOBAL_VARIABLE, "KEK"),
    (Guid::IMAGE_SECURITY_DATABASE, "db"),
    (Guid::IMAGE_SECURITY_DATABASE, "dbx"),
];

/// The variable that says which devices are accepted.
const DEVICE_DATABASE: &str = "devdb";

/// What is said when the firmware hands over.
const EXIT_BOOT_SERVICES: &[u8] = b"Exit Boot Services Invocation";

/// Examines the events: ties them to their digests, and returns the startup locality.
pub(super) fn examine(framed: &mut Framed<'_>, remarks: &mut Remarks) -> Result<u8, EventLogError> {
    let Framed { events, listed, padding } = framed;
    for event in events.iter_mut() {
        event.tie = tie::tie(event);
    }
    let locality = startup::locality(events, remarks)?;
    separator::check(events, remarks);
    for (number, event) in events.iter().enumerate().filter(|(_, event)| event.extends()) {
        check_event(event, About::event(number, event.pcr), remarks);
    }
    check_policy(events, remarks);
    check_banks(events, listed.as_deref().unwrap_or_default(), remarks);
    let exited = |event: &Event<'_>| event.kind == EventType::EFI_ACTION && event.data == EXIT_BOOT_SERVICES;
    if !events.iter().any(exited) {
        let detail = "the log does not say that boot services were left: what was measured after that may be missing \
                      from it, or be in it";
        remarks.warning("exit_boot_services.missing", About::default(), detail.to_owned());
    }
    if *padding > 0 {
        remarks.warning(
            "padding",
            About::default(),
            format!("{padding} bytes of padding follow the last event"),
        );
    }
    Ok(locality)
}

fn check_event(event: &Event<'_>, about: About, remarks: &mut Remarks) {
    let kind = event.kind;
    if !kind.is_allowed() {
        let detail = format!("expected a type that the profile names for use, found {kind}");
        remarks.finding("type.unknown", about, detail);
    }
    if event.tie == Tie::Broken {
        let detail = format!("the data of this {kind} does not hash to its digest");
        remarks.finding("digest.mismatch", about, detail);
    }
    let late = matches!(
        kind,
        EventType::S_CRTM_CONTENTS
            | EventType::S_CRTM_VERSION
            | EventType::POST_CODE
            | EventType::POST_CODE2
            | EventType::EFI_PLATFORM_FIRMWARE_BLOB
            | EventType::EFI_PLATFORM_FIRMWARE_BLOB2
            | EventType::EFI_HCRTM_EVENT
    );
    if event.after_separator && late {
        remarks.warning("event.after_separator", about, format!("{kind} follows the separator of its PCR"));
    }
    // What the digest does not vouch for is shown as unverified; its form says nothing.
    if !event.tie.vouches() {
        return;
    }
    if matches!(kind, EventType::ACTION | EventType::EFI_ACTION)
        && let Err(error) = text::ascii(event.data)
    {
        remarks.finding("action.malformed", about, error.to_string());
    }
    if kind.is_variable() {
        match Variable::parse(event.data) {
            Err(error) => remarks.finding("variable.malformed", about, error.to_string()),
            Ok(variable) if variable.trailing > 0 => {
                let detail = format!("{} bytes follow the variable {:?}", variable.trailing, variable.name);
                remarks.warning("variable.padded", about, detail);
            }
            Ok(_) => {}
        }
    }
}

/// The rules of PCR 7. Every type that it may hold is one whose data is in the digest, so nothing that was measured into it
/// can be hidden by giving it another type; and each variable of the policy is there once, before the PCR is closed.
fn check_policy(events: &[Event<'_>], remarks: &mut Remarks) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, event) in events.iter().enumerate() {
        let policy = event.extends() && event.pcr.is_some_and(|pcr| pcr.get() == POLICY_PCR);
        if !policy {
            continue;
        }
        let about = About::event(number, event.pcr);
        match event.kind {
            EventType::SEPARATOR
            | EventType::ACTION
            | EventType::EFI_ACTION
            | EventType::EFI_VARIABLE_AUTHORITY
            | EventType::EFI_VARIABLE_DRIVER_CONFIG => {}
            // A type whose form were not looked at would be a hiding place for a separator.
            EventType::EFI_SPDM_DEVICE_POLICY | EventType::EFI_SPDM_DEVICE_AUTHORITY
                if is_device_database(event) => {}
            kind => {
                let detail =
                    format!("expected an event of the Secure Boot policy in PCR {POLICY_PCR}, found {kind}");
                remarks.finding("type.misplaced", about, detail);
                continue;
            }
        }
        if !event.kind.is_variable() || !event.tie.vouches() {
            continue;
        }
        let Ok(variable) = Variable::parse(event.data) else { continue };
        let known = POLICY_VARIABLES.iter().find(|(vendor, name)| variable.is(*vendor, name));
        if event.kind == EventType::EFI_VARIABLE_DRIVER_CONFIG {
            if event.after_separator {
                let detail = format!(
                    "expected the policy before the separator of PCR {POLICY_PCR}, found {:?} after it",
                    variable.name
                );
                remarks.finding("variable.late", about, detail);
            }
            let Some((_, name)) = known else { continue };
            if let Some(first) = seen.insert(name, number) {
                let detail = format!("expected {name:?} once, found it in event {first} and again");
                remarks.finding("variable.repeated", about, detail);
            }
            if *name != "SecureBoot"
                && let Err(error) = signature_list::parse_signature_lists(variable.content)
            {
                remarks.finding("signature_list.malformed", about, format!("{name:?}: {error}"));
            }
        } else if known.is_some_and(|(_, name)| !matches!(*name, "db" | "dbx")) {
            // A policy variable that is called an authority would be read by nobody.
            let detail = format!("expected what verified an image, found the variable {:?}", variable.name);
            remarks.finding("variable.misplaced", about, detail);
        } else if known.is_some()
            && signature_list::parse_authority(covered_content(event, &variable)).is_none()
        {
            let detail = format!(
                "expected the entry of {:?} that verified an image, found other content",
                variable.name
            );
            remarks.warning("authority.unreadable", about, detail);
        }
    }
}

/// Whether this is the database of accepted devices, or an entry of it, which the digest covers.
fn is_device_database(event: &Event<'_>) -> bool {
    event.tie == Tie::Whole
        && Variable::parse(event.data).is_ok_and(|variable| variable.name == DEVICE_DATABASE)
}

/// The content of a variable, without what C padded it with: only a certificate says where it ends.
pub(super) fn covered_content<'a>(event: &Event<'a>, variable: &Variable<'a>) -> &'a [u8] {
    let content = variable.content;
    match event.covered() {
        Some(covered) if covered.len() >= variable.content_range.end => content,
        // The range was checked against the data when the variable was read.
        _ => content.get(..0).unwrap_or_default(),
    }
}

/// Says which banks are not in every event, and which cannot be replayed.
fn check_banks(events: &[Event<'_>], listed: &[Listed], remarks: &mut Remarks) {
    for Listed { id, algorithm, .. } in listed {
        let Some(algorithm) = algorithm else {
            let detail =
                format!("the bank of algorithm 0x{id:04x} cannot be replayed: nothing is said about it");
            remarks.warning("algorithm.unknown", About::default(), detail);
            continue;
        };
        let without = |event: &&Event<'_>| event.extends() && event.digest(*algorithm).is_none();
        let missing = events.iter().skip(1).filter(without).count();
        if missing > 0 {
            let detail =
                format!("expected a {algorithm} digest in every event, found {missing} events without one");
            remarks.finding("digest.missing", About::default(), detail);
        }
    }
}

/// The PCR of the Secure Boot policy.
pub(super) fn policy_pcr() -> PcrIndex {
    PcrIndex::new(POLICY_PCR).expect("7 is below 24")
}
