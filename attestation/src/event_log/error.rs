//! Why bytes are no event log.

use thiserror::Error;

use crate::event_log::{EventLog, LogAlgorithm, header::ALGORITHMS_MAX, header::DIGEST_BYTES_MAX};

/// Where a log stops being one, and why. The log's maker, or whoever changed it, is at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("at byte {offset}, event {event}: {reason}")]
#[non_exhaustive]
pub struct EventLogError {
    /// The byte at which it was found.
    pub offset: usize,
    /// The number of the event that could not be read; the first has number 0.
    pub event: usize,
    /// What was wrong.
    pub reason: EventLogReason,
}

/// What was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EventLogReason {
    /// Some firmware hands over nothing.
    #[error("expected an event log, found no byte; this machine's firmware may hand over none")]
    Empty,
    /// Reserved, and never written.
    #[error("expected an event, found {found} bytes of padding")]
    OnlyPadding {
        /// Bytes given.
        found: usize,
    },
    /// Larger than any machine's.
    #[error("expected a log of at most {} bytes, found {found}", EventLog::BYTES_MAX)]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// More events than any machine's.
    #[error("expected at most {} events, found more", EventLog::EVENTS_MAX)]
    TooManyEvents,
    /// The log ends within an event.
    #[error(
        "expected {what}, found the end of the log after {found} bytes; a log that was cut proves nothing"
    )]
    Cut {
        /// What should have followed.
        what: &'static str,
        /// Bytes that did.
        found: usize,
    },
    /// No TPM has this PCR.
    #[error("expected an event of a PCR from 0 to 23, found {found}")]
    Pcr {
        /// The index.
        found: u32,
    },
    /// A header that does not hold together.
    #[error("expected {expected} in the header, found {found}")]
    Header {
        /// What should have been there.
        expected: &'static str,
        /// What was.
        found: usize,
    },
    /// A header with no algorithm, or with more than there are.
    #[error("expected 1 to {ALGORITHMS_MAX} algorithms in the header, found {found}")]
    AlgorithmCount {
        /// How many.
        found: usize,
    },
    /// A header that gives a digest a size that it cannot have.
    #[error("expected digests of 1 to {DIGEST_BYTES_MAX} bytes in the header, found {found}")]
    DigestSize {
        /// The size.
        found: usize,
    },
    /// A header that gives a known algorithm another size.
    #[error("expected digests of {} bytes for {algorithm} in the header, found {found}", algorithm.digest_len())]
    AlgorithmSize {
        /// The algorithm.
        algorithm: LogAlgorithm,
        /// The size.
        found: usize,
    },
    /// One algorithm twice, in the header or in an event.
    #[error("expected each algorithm once, found 0x{id:04x} again")]
    AlgorithmTwice {
        /// Its `TPM_ALG_ID`.
        id: u16,
    },
    /// A digest whose size nobody said.
    #[error("expected an algorithm that the header lists, found 0x{id:04x}")]
    UnlistedAlgorithm {
        /// Its `TPM_ALG_ID`.
        id: u16,
    },
    /// More digests than the header lists algorithms.
    #[error("expected at most {expected} digests, found {found}")]
    DigestCount {
        /// How many algorithms the header lists.
        expected: usize,
        /// How many digests the event says it has.
        found: usize,
    },
    /// A startup locality that no TPM has.
    #[error("expected the startup locality 0, 3 or 4, found {found}")]
    Locality {
        /// The locality.
        found: u8,
    },
    /// A startup locality event that is not one byte.
    #[error("expected one byte of startup locality, found {found}")]
    LocalityLength {
        /// Bytes after its signature.
        found: usize,
    },
}
