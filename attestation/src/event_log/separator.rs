//! Separators: the border, in each of the PCRs 0 to 7, between what the firmware measures and what comes later. Exactly one
//! each, and what it says is read from its digest.

use crate::{
    PcrIndex,
    event_log::{
        Event, EventType, Tie,
        remark::{About, Remarks},
    },
};

/// The PCRs that firmware closes.
pub(super) const FIRMWARE_PCRS: usize = 8;

/// What a separator's digest says.
enum Value {
    /// All is well: four zeros or four 0xff.
    Border,
    /// The firmware failed, and says so.
    Failure,
    /// No separator.
    Other,
}

fn value(event: &Event<'_>) -> Value {
    if event.is_digest_of(&[&[0; 4]]) || event.is_digest_of(&[&[0xff; 4]]) {
        return Value::Border;
    }
    let failed = event.is_digest_of(&[&1_u32.to_le_bytes()]) || event.is_digest_of(&[&1_u32.to_be_bytes()]);
    if failed { Value::Failure } else { Value::Other }
}

/// Checks every separator of the PCRs 0 to 7, and marks what follows them.
pub(super) fn check(events: &mut [Event<'_>], remarks: &mut Remarks) {
    let mut closed: [Option<usize>; FIRMWARE_PCRS] = [None; FIRMWARE_PCRS];
    let mut used = [false; FIRMWARE_PCRS];
    for (number, event) in events.iter_mut().enumerate() {
        let Some(pcr) = event.pcr.filter(|_| event.extends()) else { continue };
        let index = usize::from(pcr.get());
        // Other PCRs have other rules: Windows closes 12 to 14 with a word of its own.
        let Some(border) = closed.get_mut(index) else { continue };
        used[index] = true;
        let about = About::event(number, Some(pcr));
        event.after_separator = border.is_some();
        if event.kind != EventType::SEPARATOR {
            continue;
        }
        if let Some(first) = border {
            let detail = format!("expected one separator in PCR {pcr}, found another after event {first}");
            remarks.finding("separator.repeated", about, detail);
        }
        border.get_or_insert(number);
        check_one(event, about, pcr, remarks);
    }
    for (index, border) in closed.iter().enumerate() {
        let Some(pcr) = u8::try_from(index).ok().and_then(PcrIndex::new).filter(|_| border.is_none()) else {
            continue;
        };
        let detail = format!("expected a separator in PCR {pcr}, found none");
        if used[index] {
            // Without a border, what an operating system added later looks like the firmware's.
            remarks.finding("separator.missing", About::pcr(pcr), detail);
        } else {
            remarks.warning("pcr.unused", About::pcr(pcr), format!("{detail}, nor any other event"));
        }
    }
}

fn check_one(event: &mut Event<'_>, about: About, pcr: PcrIndex, remarks: &mut Remarks) {
    match value(event) {
        Value::Failure => {
            // The data tells why, and need not be what was hashed.
            if event.tie == Tie::Broken {
                event.tie = Tie::Described;
            }
            let detail = format!("the firmware failed in PCR {pcr}: its separator has the value of an error");
            remarks.finding("separator.error", about, detail);
        }
        Value::Border if event.data.len() != 4 => {
            let detail = format!(
                "expected the 4 bytes of a separator, found {} of which the first 4 were measured",
                event.data.len()
            );
            // Data that is not what was measured is found by its digest.
            remarks.warning("separator.padded", about, detail);
        }
        Value::Border => {}
        Value::Other => {
            let detail =
                format!("expected a separator of 4 bytes 0x00 or 0xff, found {} bytes", event.data.len());
            remarks.finding("separator.malformed", about, detail);
        }
    }
}
