//! A log as it is handed over: the kernel's file, or the one inside evidence.

use std::path::Path;

use sealstone_attestation::event_log::EventLog;
use sealstone_attestation::{Evidence, PcrValues};

use crate::failure::{Failure, chain};
use crate::files;

/// Begins JSON, and no log: an event's PCR would be 123.
const EVIDENCE_BEGINS: u8 = b'{';

/// The bytes of a log.
#[derive(Debug)]
pub(crate) struct LogFile {
    name: String,
    bytes: Vec<u8>,
    /// What the quote beside it says, if it lay in evidence. The quote was not verified.
    shown: Option<PcrValues>,
}

impl LogFile {
    /// Reads either.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let bytes = files::read(path, "an event log, or evidence with one", Evidence::BYTES_MAX)?;
        if bytes.first() != Some(&EVIDENCE_BEGINS) {
            return Ok(Self { name, bytes, shown: None });
        }
        let evidence = Evidence::parse(&bytes).map_err(|error| no_log(&name, &chain(&error)))?;
        match evidence.event_log {
            Some(log) if !log.0.is_empty() => {
                Ok(Self { name, bytes: log.0, shown: Some(evidence.quote.pcrs) })
            }
            _ => Err(no_log(&name, "evidence without one")),
        }
    }

    /// What the file is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The values that were shown with it.
    pub(crate) fn shown(&self) -> Option<&PcrValues> {
        self.shown.as_ref()
    }

    /// The log.
    pub(crate) fn log(&self) -> Result<EventLog<'_>, Failure> {
        EventLog::parse(&self.bytes).map_err(|error| no_log(&self.name, &error.to_string()))
    }
}

fn no_log(name: &str, found: &str) -> Failure {
    Failure::unusable(
        "EVENT_LOG",
        format!("expected an event log in {name}, found none: {found}"),
        "give the log whole, as the kernel has it in /sys/kernel/security/tpm0/binary_bios_measurements, or evidence \
         that holds it",
    )
}
