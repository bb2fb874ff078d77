//! The enclave's own way to the TPM for the length of one ceremony.
//!
//! The agent passes commands on without understanding them: their sessions are salted to the endorsement key
//! and encrypted. It still keeps house: only commands that ceremonies need, only handles that this ceremony
//! opened, nothing left loaded afterwards, and nobody else at the TPM meanwhile, because without a resource
//! manager three objects fill it.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use sealstone_wire::limits::TPM_FRAME_MAX;
use tokio::sync::OwnedSemaphorePermit;

use super::Tpm;
use super::transport::{FLUSH_CONTEXT, HEADER, Transport, response_size, word};

/// How long one relayed command may take. Shorter than the enclave's own patience
/// ([`RELAY_DEADLINE`](sealstone_wire::limits::RELAY_DEADLINE)), so that it hears "unreachable" from us.
const COMMAND_DEADLINE: Duration = Duration::from_secs(55);

/// Commands that a ceremony uses (TCG TPM 2.0 Part 2, section 6.5.2). What is missing on purpose: Clear,
/// HierarchyControl, HierarchyChangeAuth, EvictControl, NV_UndefineSpace and the dictionary-attack commands.
const ALLOWED: [(u32, &str); 19] = [
    (0x176, "StartAuthSession"),
    (FLUSH_CONTEXT, "FlushContext"),
    (CREATE_PRIMARY, "CreatePrimary"),
    (0x153, "Create"),
    (LOAD, "Load"),
    (0x15e, "Unseal"),
    (0x17e, "PCR_Read"),
    (0x17b, "GetRandom"),
    (0x12a, "NV_DefineSpace"),
    (0x169, "NV_ReadPublic"),
    (0x14e, "NV_Read"),
    (0x134, "NV_Increment"),
    (0x17f, "PolicyPCR"),
    (0x171, "PolicyOR"),
    (0x149, "PolicyNV"),
    (0x16b, "PolicyAuthValue"),
    (0x180, "PolicyRestart"),
    (0x173, "ReadPublic"),
    (0x17a, "GetCapability"),
];

const CREATE_PRIMARY: u32 = 0x131;
const LOAD: u32 = 0x157;
const START_AUTH_SESSION: u32 = 0x176;

/// Warnings that say the TPM's memory is full: OBJECT_MEMORY, SESSION_MEMORY, MEMORY, SESSION_HANDLES and
/// OBJECT_HANDLES (Part 2, section 6.6.3).
const FULL: std::ops::RangeInclusive<u32> = 0x902..=0x906;

/// Exclusive use of the TPM; given back when dropped, after what the ceremony left loaded was flushed.
#[derive(Debug)]
pub struct TpmRelay {
    tpm: Tpm,
    /// `None` only after a device did not answer in time: its descriptor is stuck in another thread.
    transport: Option<Transport>,
    permit: Option<OwnedSemaphorePermit>,
    opened: BTreeSet<u32>,
}

/// Why a command was not executed, or its answer not had.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The enclave asked for what no ceremony needs.
    #[error("expected a command of the ceremonies' allow-list, found command code {code:#x}")]
    NotAllowed {
        /// The command code.
        code: u32,
    },
    /// The enclave asked to flush what is not its own.
    #[error("expected a handle that this ceremony opened, found {handle:#010x}")]
    ForeignHandle {
        /// The handle.
        handle: u32,
    },
    /// Longer than TPMs take.
    #[error("expected at most {TPM_FRAME_MAX} bytes of command, found {found}")]
    TooLarge {
        /// Bytes.
        found: usize,
    },
    /// No command at all.
    #[error("expected a TPM command with a header that states its size, found {found} bytes")]
    Malformed {
        /// Bytes.
        found: usize,
    },
    /// The TPM cannot be reached, or gave no answer.
    #[error("the TPM cannot be reached")]
    Unreachable(#[source] io::Error),
}

impl TpmRelay {
    pub(super) fn new(tpm: Tpm, transport: Transport, permit: OwnedSemaphorePermit) -> Self {
        Self { tpm, transport: Some(transport), permit: Some(permit), opened: BTreeSet::new() }
    }

    /// Has the TPM execute one command.
    ///
    /// # Errors
    /// A command that is refused was not sent; after [`RelayError::Unreachable`] nobody knows.
    pub async fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, RelayError> {
        let code = self.admit(command)?;
        let mut response = self.execute(command.to_vec()).await?;
        if word(&response, 6).is_some_and(|code| FULL.contains(&code)) {
            let keep = self.opened.clone();
            let flushed = self.blocking(move |transport| {
                if transport.is_managed() {
                    return Ok(false);
                }
                tracing::warn!(
                    "the TPM is full: flushing objects and sessions that a predecessor left loaded"
                );
                transport.flush_left_behind(&keep, COMMAND_DEADLINE).map(|()| true)
            });
            if flushed.await? {
                response = self.execute(command.to_vec()).await?;
            }
        }
        self.keep_house(code, command, &response);
        Ok(response)
    }

    /// Checks the frame and the allow-list; gives the command code.
    fn admit(&self, command: &[u8]) -> Result<u32, RelayError> {
        let found = command.len();
        if found > TPM_FRAME_MAX {
            return Err(RelayError::TooLarge { found });
        }
        let (Some(size), Some(code)) = (response_size(command), word(command, 6)) else {
            return Err(RelayError::Malformed { found });
        };
        if size != found {
            return Err(RelayError::Malformed { found });
        }
        if !ALLOWED.iter().any(|(allowed, _)| *allowed == code) {
            return Err(RelayError::NotAllowed { code });
        }
        if code == FLUSH_CONTEXT {
            let handle = word(command, HEADER).ok_or(RelayError::Malformed { found })?;
            if !self.opened.contains(&handle) {
                return Err(RelayError::ForeignHandle { handle });
            }
        }
        Ok(code)
    }

    async fn execute(&mut self, command: Vec<u8>) -> Result<Vec<u8>, RelayError> {
        self.blocking(move |transport| transport.transmit(&command, COMMAND_DEADLINE)).await
    }

    /// Runs one blocking exchange; the transport is lost if it does not end in time.
    async fn blocking<T: Send + 'static>(
        &mut self,
        exchange: impl FnOnce(&mut Transport) -> io::Result<T> + Send + 'static,
    ) -> Result<T, RelayError> {
        let lost =
            |why: &str| RelayError::Unreachable(io::Error::new(io::ErrorKind::TimedOut, why.to_owned()));
        let mut transport = self.transport.take().ok_or_else(|| lost("an earlier command got no answer"))?;
        let task = tokio::task::spawn_blocking(move || {
            let result = exchange(&mut transport);
            (transport, result)
        });
        let (transport, result) = tokio::time::timeout(COMMAND_DEADLINE + Duration::from_secs(1), task)
            .await
            .map_err(|_| lost("the TPM did not answer in time"))?
            .map_err(|error| RelayError::Unreachable(io::Error::other(error)))?;
        self.transport = Some(transport);
        result.map_err(RelayError::Unreachable)
    }

    /// Remembers what is loaded, so that it can be flushed however the ceremony ends.
    fn keep_house(&mut self, code: u32, command: &[u8], response: &[u8]) {
        if word(response, 6) != Some(0) {
            return;
        }
        match code {
            CREATE_PRIMARY | LOAD | START_AUTH_SESSION => self.opened.extend(word(response, HEADER)),
            FLUSH_CONTEXT => {
                if let Some(handle) = word(command, HEADER) {
                    self.opened.remove(&handle);
                }
            }
            _ => {}
        }
    }
}

impl Drop for TpmRelay {
    fn drop(&mut self) {
        let left = std::mem::take(&mut self.opened);
        let (Some(permit), Some(mut transport)) = (self.permit.take(), self.transport.take()) else { return };
        if left.is_empty() || transport.is_managed() {
            return;
        }
        // Flushing blocks, and the permit must stay taken until it is done: the owning thread does it.
        self.tpm.run_detached(
            move || {
                if let Err(error) = transport.flush(left, COMMAND_DEADLINE) {
                    tracing::warn!(%error, "what an unfinished ceremony left loaded was not flushed");
                }
            },
            permit,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_that_changes_owners_or_lockout_is_on_the_list() {
        // Clear, ClearControl, HierarchyControl, HierarchyChangeAuth, ChangePPS, ChangeEPS, EvictControl,
        // NV_UndefineSpace, NV_UndefineSpaceSpecial, DictionaryAttackLockReset, DictionaryAttackParameters.
        for code in [0x126, 0x127, 0x121, 0x129, 0x125, 0x124, 0x120, 0x122, 0x11f, 0x139, 0x13a] {
            assert!(ALLOWED.iter().all(|(allowed, _)| *allowed != code), "{code:#x}");
        }
    }
}
