//! What PCR 0 began with (TCG PC Client Platform Firmware Profile): the locality that started the TPM,
//! or the hardware root of trust that measured before.

use crate::event_log::{
    Event, EventLogError, EventType,
    error::EventLogReason,
    remark::{About, Remarks},
};

/// Begins the data of the event that tells the locality.
const SIGNATURE: &[u8; 16] = b"StartupLocality\0";

/// The locality that only hardware has: it measures before the firmware runs.
const HARDWARE: u8 = 4;

/// The locality that PCR 0 began with.
pub(super) fn locality(events: &[Event<'_>], remarks: &mut Remarks) -> Result<u8, EventLogError> {
    let mut stated: Option<u8> = None;
    let mut hardware = false;
    let mut measured = false;
    for (number, event) in events.iter().enumerate() {
        let about = About::event(number, event.pcr);
        if let Some(found) = stated_by(event) {
            let reason = |reason| EventLogError { offset: event.offset, event: number, reason };
            let found = found.map_err(reason)?;
            if stated.is_some() {
                let detail = "expected the startup locality once, found it again".to_owned();
                remarks.finding("startup_locality.repeated", about, detail);
            } else if measured {
                let detail = "expected the startup locality before PCR 0 is measured into".to_owned();
                remarks.finding("startup_locality.late", about, detail);
            }
            stated = stated.or(Some(found));
        }
        if !event.extends() || event.pcr.is_none_or(|pcr| pcr.get() != 0) {
            continue;
        }
        if event.kind == EventType::EFI_HCRTM_EVENT {
            if measured && !hardware {
                let detail = "expected the hardware root of trust to measure before the firmware".to_owned();
                remarks.finding("hcrtm.late", about, detail);
            } else {
                hardware = true;
            }
        }
        measured = true;
    }
    if hardware && stated.is_some_and(|stated| stated != HARDWARE) {
        let detail = format!("expected the startup locality {HARDWARE} of a hardware root of trust");
        remarks.finding("hcrtm.locality", About::default(), detail);
    }
    Ok(stated.unwrap_or(if hardware { HARDWARE } else { 0 }))
}

fn stated_by(event: &Event<'_>) -> Option<Result<u8, EventLogReason>> {
    if event.kind != EventType::NO_ACTION || event.pcr.is_none_or(|pcr| pcr.get() != 0) {
        return None;
    }
    let locality = event.data.strip_prefix(SIGNATURE)?;
    Some(match locality {
        [found @ (0 | 3 | 4)] => Ok(*found),
        [found] => Err(EventLogReason::Locality { found: *found }),
        other => Err(EventLogReason::LocalityLength { found: other.len() }),
    })
}
