//! A measured-boot log: parsed whole, examined, and replayed.

use crate::{
    PcrValues,
    event_log::{
        ComparedPcr, Event, EventLogError, Facts, LogAlgorithm, Remark, Replay, examine, facts, parse,
        remark::Remarks, replay,
    },
};

/// The format of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// Events with a digest for each bank.
    CryptoAgile,
    /// Events with a SHA-1 digest, by older firmware.
    Sha1Legacy,
}

impl LogFormat {
    /// Stable, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CryptoAgile => "crypto-agile",
            Self::Sha1Legacy => "sha1-legacy",
        }
    }
}

/// A log that was read to its last byte. What it says is worth what its PCRs are compared with: see
/// [`compare`](Self::compare).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLog<'a> {
    format: LogFormat,
    events: Vec<Event<'a>>,
    startup_locality: u8,
    padding: usize,
    replay: Replay,
    remarks: Remarks,
}

impl<'a> EventLog<'a> {
    /// Bytes of a log: real ones have 10 to 200 KiB, and firmware reserves up to a few MiB.
    pub const BYTES_MAX: usize = 16 * 1024 * 1024;

    /// Events of a log: real ones have some hundred.
    pub const EVENTS_MAX: usize = 65_536;

    /// Reads a log (`/sys/kernel/security/tpm0/binary_bios_measurements`).
    ///
    /// # Errors
    /// [`EventLogError`] says at which byte it stops being one, and why.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EventLogError> {
        let mut framed = parse::parse(bytes)?;
        let mut remarks = Remarks::default();
        let startup_locality = examine::examine(&mut framed, &mut remarks)?;
        let parse::Framed { events, listed, padding } = framed;
        let (format, banks) = match listed {
            Some(listed) => (
                LogFormat::CryptoAgile,
                listed.iter().filter_map(|listed| listed.algorithm).collect::<Vec<_>>(),
            ),
            None => (LogFormat::Sha1Legacy, vec![LogAlgorithm::Sha1]),
        };
        let replay = Replay::of(&events, banks.into_iter(), startup_locality);
        Ok(Self { format, events, startup_locality, padding, replay, remarks })
    }

    /// The format.
    #[must_use]
    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// All events, a header among them.
    #[must_use]
    pub fn events(&self) -> &[Event<'a>] {
        &self.events
    }

    /// The locality that PCR 0 began with: 0, 3 or 4.
    #[must_use]
    pub fn startup_locality(&self) -> u8 {
        self.startup_locality
    }

    /// Bytes of padding after the last event.
    #[must_use]
    pub fn padding(&self) -> usize {
        self.padding
    }

    /// What the PCRs must hold if the log is true.
    #[must_use]
    pub fn replay(&self) -> &Replay {
        &self.replay
    }

    /// Why the log is not to be believed. Empty for a log that nobody changed, on firmware that keeps to the profile.
    #[must_use]
    pub fn findings(&self) -> &[Remark] {
        &self.remarks.findings
    }

    /// What should be known, and refutes nothing.
    #[must_use]
    pub fn warnings(&self) -> &[Remark] {
        &self.remarks.warnings
    }

    /// Compares each of these values with what the log says. They prove something only if they were quoted.
    #[must_use]
    pub fn compare(&self, values: &PcrValues) -> Vec<ComparedPcr> {
        replay::compare(&self.events, &self.replay, self.startup_locality, values)
    }

    /// What the log says about the boot.
    #[must_use]
    pub fn facts(&self) -> Facts<'a> {
        facts::facts(self)
    }
}
