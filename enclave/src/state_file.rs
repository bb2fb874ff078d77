//! The state file: the sealed root, the manifest that it was sealed under, and what must not be forgotten.
//!
//! Nothing in it is secret. No root or manifest of it is believed before the TPM has unsealed: the seal holds the
//! authority's digest and the least manifest version, and the TPM's counter says which slot is in force. The newest
//! era used and the TPM's clock are the enclave user's own notes: who can write the file can change them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sealstone_attestation::{ClockInfo, PublicKey, UnixTime};
use sealstone_wire::limits::MANIFEST_MAX;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::durable;
use crate::tpm::SealedBlob;

/// The format that this version reads and writes.
const FORMAT: u32 = 1;

/// Bytes of a state file: two slots with their manifests as JSON text, and little else.
const STATE_FILE_MAX: usize = 4 * MANIFEST_MAX;

/// What the enclave keeps on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    format: u32,
    /// This node's name in the manifest.
    pub node: String,
    /// Where the counter is.
    pub nv_index: u32,
    /// Public half of the root's check key; absent until the first root is sealed.
    pub check: Option<PublicKey>,
    /// One sealed blob, or two while a re-seal is under way. Empty only while provisioning is under way.
    pub slots: Vec<Slot>,
    /// The newest era in which something was signed.
    pub last_signed_era: u64,
    /// The TPM's clock as of the newest session, against a quote from its past.
    pub clock: Option<ClockInfo>,
    /// The newest signed time seen.
    pub time_floor: UnixTime,
}

/// One sealed blob and the manifest that its policy comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// The counter's value at which the blob unseals.
    pub counter: u64,
    /// The sealed payload.
    pub blob: SealedBlob,
    /// The manifest's envelope.
    pub manifest: String,
}

/// Why a state file cannot be used.
#[derive(Debug, Error)]
pub enum StateFileError {
    /// It cannot be read.
    #[error("cannot read the state file {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written; what is on disk is what was there before.
    #[error("cannot write the state file {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Two processes would each write what they remember over the other's newest blob, and the root would be lost.
    #[error(
        "expected to be alone with the state file {path}, found another enclave that uses it; end that one first"
    )]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// It is no state file, or a damaged one.
    #[error(
        "{path} is no state file of format {FORMAT}: {reason}; restore it from a backup, or move it away only if the root is truly abandoned"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
}

impl State {
    /// What is written before the counter is defined, so that a crash in between can be told from a lost file.
    #[must_use]
    pub fn provisioning(node: &str, nv_index: u32, time_floor: UnixTime) -> Self {
        Self {
            format: FORMAT,
            node: node.to_owned(),
            nv_index,
            check: None,
            slots: Vec::new(),
            last_signed_era: 0,
            clock: None,
            time_floor,
        }
    }

    /// Whether a root was sealed, so that provisioning anew would abandon it.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.check.is_some()
    }
}

/// The file, by its path.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file at this path, which need not exist.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Keeps every other process from holding this state file, for as long as the result lives.
    ///
    /// The lock is on a file beside it, because each [`store`](Self::store) replaces the file itself.
    ///
    /// # Errors
    /// [`StateFileError::InUse`], or [`StateFileError::Write`] when the lock's file cannot be made.
    pub fn hold(&self) -> Result<File, StateFileError> {
        let write = |source| StateFileError::Write { path: self.path.clone(), source };
        let mut beside = self.path.clone().into_os_string();
        beside.push(".lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(beside);
        let lock = lock.map_err(write)?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(StateFileError::InUse { path: self.path.clone() }),
            Err(TryLockError::Error(source)) => Err(write(source)),
        }
    }

    /// Reads the state; `None` if there is no file.
    ///
    /// # Errors
    /// [`StateFileError`]: a file that is there but cannot be used is never taken for none.
    pub fn load(&self) -> Result<Option<State>, StateFileError> {
        let bytes = match durable::read_capped(&self.path, STATE_FILE_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateFileError::Read { path: self.path.clone(), source }),
        };
        let damaged = |reason: String| StateFileError::Damaged { path: self.path.clone(), reason };
        let state: State = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if state.format != FORMAT {
            return Err(damaged(format!("expected format {FORMAT}, found {}", state.format)));
        }
        let slots = state.slots.len();
        if slots > 2 || (slots == 0) != state.check.is_none() {
            return Err(damaged(format!(
                "expected one or two sealed slots with a check value, found {slots}"
            )));
        }
        Ok(Some(state))
    }

    /// Writes the state; it is on disk when this returns.
    ///
    /// # Errors
    /// [`StateFileError::Write`].
    pub fn store(&self, state: &State) -> Result<(), StateFileError> {
        let write = |source| StateFileError::Write { path: self.path.clone(), source };
        let bytes = serde_json::to_vec_pretty(state).map_err(|error| write(io::Error::other(error)))?;
        durable::replace(&self.path, &bytes).map_err(write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_file_has_one_holder_even_after_it_was_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("enclave.state");
        let (one, other) = (StateFile::at(&path), StateFile::at(&path));
        let held = one.hold().unwrap();
        assert!(matches!(other.hold(), Err(StateFileError::InUse { .. })));
        one.store(&State::provisioning("node-1", 0x0180_0000, UnixTime::from_secs(0))).unwrap();
        assert!(matches!(other.hold(), Err(StateFileError::InUse { .. })));
        drop(held);
        other.hold().unwrap();
    }
}
