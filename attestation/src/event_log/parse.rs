//! The framing of a log: events one after the other, to the last byte (TCG PC Client Platform Firmware Profile).

use crate::{
    PcrIndex,
    event_log::{
        Event, EventDigest, EventLog, EventType, LogAlgorithm,
        cursor::Cursor,
        error::{EventLogError, EventLogReason},
        header::{self, Listed},
        tie::Tie,
    },
};

/// Bytes of a SHA-1 digest, the only one of the older format.
const SHA1_BYTES: usize = 20;

/// What the framing of a log holds.
pub(super) struct Framed<'a> {
    pub(super) events: Vec<Event<'a>>,
    /// The algorithms of a crypto-agile log; `None` for one in the SHA-1 format.
    pub(super) listed: Option<Vec<Listed>>,
    /// Bytes after the last event, all of one value.
    pub(super) padding: usize,
}

/// Reads every event, or says where the log stops being one.
pub(super) fn parse(bytes: &[u8]) -> Result<Framed<'_>, EventLogError> {
    let fail = |offset, event, reason| EventLogError { offset, event, reason };
    if bytes.is_empty() {
        return Err(fail(0, 0, EventLogReason::Empty));
    }
    if bytes.len() > EventLog::BYTES_MAX {
        return Err(fail(0, 0, EventLogReason::TooLong { found: bytes.len() }));
    }
    let padded_from = padded_from(bytes);
    if padded_from == 0 {
        return Err(fail(0, 0, EventLogReason::OnlyPadding { found: bytes.len() }));
    }
    let mut cursor = Cursor::new(bytes);
    let first = sha1_event(&mut cursor).map_err(|reason| fail(cursor.position(), 0, reason))?;
    let listed = match first.kind {
        EventType::NO_ACTION => header::parse(first.data).transpose().map_err(|reason| fail(0, 0, reason))?,
        _ => None,
    };
    let mut events = vec![first];
    while cursor.position() < bytes.len() {
        let offset = cursor.position();
        // Zeros would also read as events that extend nothing; only a pure rest is no event.
        if offset >= padded_from {
            break;
        }
        if events.len() == EventLog::EVENTS_MAX {
            return Err(fail(offset, events.len(), EventLogReason::TooManyEvents));
        }
        let event = match &listed {
            Some(listed) => agile_event(&mut cursor, listed),
            None => sha1_event(&mut cursor),
        };
        events.push(event.map_err(|reason| fail(cursor.position(), events.len(), reason))?);
    }
    Ok(Framed { events, listed, padding: cursor.rest().len() })
}

/// Where the rest of the log is nothing but zeros, or nothing but 0xff: firmware reserves more than it fills.
fn padded_from(bytes: &[u8]) -> usize {
    let Some(last) = bytes.last().filter(|last| matches!(last, 0x00 | 0xff)) else { return bytes.len() };
    bytes.iter().rposition(|byte| byte != last).map_or(0, |position| position + 1)
}

/// `TCG_PCR_EVENT`.
fn sha1_event<'a>(cursor: &mut Cursor<'a>) -> Result<Event<'a>, EventLogReason> {
    let offset = cursor.position();
    let (pcr, kind) = place(cursor)?;
    let bytes = cursor.take(SHA1_BYTES).ok_or_else(|| cut(cursor, "a SHA-1 digest"))?;
    let digests = vec![EventDigest { id: LogAlgorithm::Sha1.id(), bytes }];
    let data = data(cursor)?;
    Ok(Event { offset, pcr, kind, digests, data, tie: Tie::Described, after_separator: false })
}

/// `TCG_PCR_EVENT2`.
fn agile_event<'a>(cursor: &mut Cursor<'a>, listed: &[Listed]) -> Result<Event<'a>, EventLogReason> {
    let offset = cursor.position();
    let (pcr, kind) = place(cursor)?;
    let count = cursor.length32().ok_or_else(|| cut(cursor, "the number of digests"))?;
    if count > listed.len() {
        return Err(EventLogReason::DigestCount { expected: listed.len(), found: count });
    }
    let mut digests: Vec<EventDigest<'a>> = Vec::with_capacity(count);
    for _ in 0..count {
        let id = cursor.u16().ok_or_else(|| cut(cursor, "the algorithm of a digest"))?;
        let Some(Listed { size, .. }) = listed.iter().find(|listed| listed.id == id) else {
            return Err(EventLogReason::UnlistedAlgorithm { id });
        };
        if digests.iter().any(|digest| digest.id == id) {
            return Err(EventLogReason::AlgorithmTwice { id });
        }
        let bytes = cursor.take(*size).ok_or_else(|| cut(cursor, "a digest of its algorithm's size"))?;
        digests.push(EventDigest { id, bytes });
    }
    let data = data(cursor)?;
    Ok(Event { offset, pcr, kind, digests, data, tie: Tie::Described, after_separator: false })
}

/// The PCR and the type. Only an event that extends nothing may name a PCR that no TPM has: Windows ends its log so.
fn place(cursor: &mut Cursor<'_>) -> Result<(Option<PcrIndex>, EventType), EventLogReason> {
    let index = cursor.u32().ok_or_else(|| cut(cursor, "the PCR of an event"))?;
    let kind = EventType::new(cursor.u32().ok_or_else(|| cut(cursor, "the type of an event"))?);
    let pcr = u8::try_from(index).ok().and_then(PcrIndex::new);
    if pcr.is_none() && kind != EventType::NO_ACTION {
        return Err(EventLogReason::Pcr { found: index });
    }
    Ok((pcr, kind))
}

fn data<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], EventLogReason> {
    let length = cursor.length32().ok_or_else(|| cut(cursor, "the length of an event's data"))?;
    cursor.take(length).ok_or_else(|| cut(cursor, "the data of an event, of the length that is stated"))
}

fn cut(cursor: &Cursor<'_>, what: &'static str) -> EventLogReason {
    EventLogReason::Cut { what, found: cursor.rest().len() }
}
