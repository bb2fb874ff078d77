//! The state file: the sealed root, the manifest that it was sealed under, and what must not be forgotten.
//!
//! Nothing in it is secret. No root or manifest of it is believed before the TPM has unsealed: the seal holds the
//! authority's digest and the least manifest version, and the TPM's counter says which slot is in force. The newest
//! era used, the TPM's clock and the log's head are the enclave user's own notes: who can write the file can change
//! them.
//!
//! After [`StateFile::open`] the file is only read and written at positions of the open descriptor and synced: the
//! enclave needs no file system any more. [`places`] has the layout, `docs/state-file.md` what an operator must know.

pub mod places;

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use sealstone_attestation::{ClockInfo, PublicKey, UnixTime, audit::TreeHash};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::places::{Found, Position};
use crate::durable;
use crate::notice::notice;
use crate::tpm::SealedBlob;

/// The format that this version reads and writes.
const FORMAT: u32 = 2;

/// Permission bits that the file must not have: it is this user's own.
const FOREIGN_BITS: u32 = 0o077;

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
    /// The newest head of the audit log that was signed; absent before the first, also in files of before there was
    /// a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_head: Option<LogHead>,
}

/// A head of the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogHead {
    /// Leaves.
    pub size: u64,
    /// The root over them.
    pub root: TreeHash,
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
    /// It cannot be written; the state before is whole on the disk, and the new one may be there too.
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
            log_head: None,
        }
    }

    /// Whether a root was sealed, so that provisioning anew would abandon it.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.check.is_some()
    }

    /// What a record's body says.
    ///
    /// # Errors
    /// Why it is no state of this format.
    pub fn from_json(body: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if state.format != FORMAT {
            return Err(format!("expected format {FORMAT}, found {}", state.format));
        }
        let slots = state.slots.len();
        if slots > 2 || (slots == 0) != state.check.is_none() {
            return Err(format!("expected one or two sealed slots with a check value, found {slots}"));
        }
        Ok(state)
    }
}

/// The open file, which no other process can open as long as this lives.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    file: File,
    /// The newest record that surely is on disk; the next one goes to the other place. A record whose write failed
    /// is not it, even if it reads well: the disk may not have it.
    newest: Mutex<Option<Position>>,
}

impl StateFile {
    /// Opens the file, or makes an empty one, for this process alone, and takes the room that it will ever need.
    ///
    /// # Errors
    /// [`StateFileError`]: a file that is there but cannot be used is never taken for none.
    pub fn open(path: &Path) -> Result<Self, StateFileError> {
        let write = |source| StateFileError::Write { path: path.to_owned(), source };
        let read = |source| StateFileError::Read { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(write)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateFileError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(write(source)),
        }
        let found = places::find(&file).map_err(read)?;
        if let Found::Damaged(reason) = found {
            return Err(StateFileError::Damaged { path: path.to_owned(), reason });
        }
        if file.metadata().map_err(read)?.permissions().mode() & FOREIGN_BITS != 0 {
            file.set_permissions(Permissions::from_mode(0o600)).map_err(write)?;
        }
        take_room(&file).map_err(write)?;
        let newest = match found {
            Found::Record { position, body, other_torn } => {
                if other_torn {
                    notice(
                        "the state file's last write was cut short or is damaged; the state before it counts",
                    );
                }
                // What was read may be in memory alone, after a crash or a sync that failed. The next record will
                // go over the only other one, so this one must be on disk: the same bytes over themselves.
                let bytes = places::record(position.sequence(), &body).map_err(write)?;
                file.write_all_at(&bytes, position.offset()).map_err(write)?;
                file.sync_all().map_err(write)?;
                Some(position)
            }
            Found::Nothing | Found::FirstTorn | Found::Damaged(_) => {
                // A new file's name must be on disk before anything in the file counts.
                durable::sync_folder(path).map_err(write)?;
                None
            }
        };
        Ok(Self { path: path.to_owned(), file, newest: Mutex::new(newest) })
    }

    /// Reads the state; `None` if none was ever stored.
    ///
    /// A first store that was cut short counts as none. It is no root that is forgotten so: the first store is a
    /// provisioning's, before the counter is defined, and a file in which a root was sealed has both its places
    /// written. Were it forgotten after all, the TPM's counter refuses a second provisioning.
    ///
    /// # Errors
    /// [`StateFileError`]: a file that is there but cannot be used is never taken for none.
    pub fn load(&self) -> Result<Option<State>, StateFileError> {
        let damaged = |reason| StateFileError::Damaged { path: self.path.clone(), reason };
        let found = places::find(&self.file);
        match found.map_err(|source| StateFileError::Read { path: self.path.clone(), source })? {
            Found::Nothing | Found::FirstTorn => Ok(None),
            // A newest record that is whole and not understood is of another version. The one before is no way out.
            Found::Record { body, .. } => State::from_json(&body).map(Some).map_err(damaged),
            Found::Damaged(reason) => Err(damaged(reason)),
        }
    }

    /// Writes the state beside the one before; it is on disk when this returns.
    ///
    /// # Errors
    /// [`StateFileError::Write`].
    pub fn store(&self, state: &State) -> Result<(), StateFileError> {
        let write = |source| StateFileError::Write { path: self.path.clone(), source };
        let body = serde_json::to_vec_pretty(state).map_err(|error| write(io::Error::other(error)))?;
        // A panic while this was held left it as it was: it changes last.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let (position, record) = places::next(*newest, &body).map_err(write)?;
        self.file.write_all_at(&record, position.offset()).map_err(write)?;
        self.file.sync_data().map_err(write)?;
        *newest = Some(position);
        Ok(())
    }
}

/// So that a full disk is found at start, not between two steps of a re-seal. The length stays: an empty file says
/// that nothing was ever stored. Where the file system cannot do it, a full disk fails a store.
fn take_room(file: &File) -> io::Result<()> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, places::FILE_LEN) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn state(time: u64) -> State {
        State::provisioning("node-1", 0x0180_0000, UnixTime::from_secs(time))
    }

    fn floor(file: &StateFile) -> Option<UnixTime> {
        file.load().unwrap().map(|state| state.time_floor)
    }

    #[test]
    fn a_state_file_has_one_holder_even_after_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("enclave.state");
        let held = StateFile::open(&path).unwrap();
        assert!(matches!(StateFile::open(&path), Err(StateFileError::InUse { .. })));
        held.store(&state(0)).unwrap();
        assert!(matches!(StateFile::open(&path), Err(StateFileError::InUse { .. })));
        drop(held);
        StateFile::open(&path).unwrap();
    }

    #[test]
    fn a_new_file_is_empty_and_private_and_a_stored_state_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("enclave.state");
        let mut file = StateFile::open(&path).unwrap();
        assert_eq!(floor(&file), None);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.mode() & 0o777), (0, 0o600));
        for time in 1..=5 {
            file.store(&state(time)).unwrap();
            assert_eq!(floor(&file), Some(UnixTime::from_secs(time)));
            drop(file);
            file = StateFile::open(&path).unwrap();
            assert_eq!(floor(&file), Some(UnixTime::from_secs(time)));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing lies beside it");
        drop(file);
        fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
        StateFile::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_copy_is_a_state_file_and_a_torn_newest_record_gives_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("enclave.state"), folder.path().join("copy"));
        let file = StateFile::open(&path).unwrap();
        file.store(&state(1)).unwrap();
        file.store(&state(2)).unwrap();
        fs::copy(&path, &copy).unwrap();
        assert_eq!(floor(&StateFile::open(&copy).unwrap()), Some(UnixTime::from_secs(2)));
        let mut bytes = fs::read(&copy).unwrap();
        bytes.pop();
        fs::write(&copy, &bytes).unwrap();
        let copied = StateFile::open(&copy).unwrap();
        assert_eq!(floor(&copied), Some(UnixTime::from_secs(1)));
        copied.store(&state(3)).unwrap();
        drop(copied);
        assert_eq!(floor(&StateFile::open(&copy).unwrap()), Some(UnixTime::from_secs(3)));
    }

    #[test]
    fn a_damaged_file_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("enclave.state");
        for damaged in [b"{".to_vec(), vec![0xff; 4096], b"sealstone-state-3\n".to_vec()] {
            fs::write(&path, &damaged).unwrap();
            assert!(matches!(StateFile::open(&path), Err(StateFileError::Damaged { .. })));
            assert_eq!(fs::read(&path).unwrap(), damaged);
        }
        // Whole records, but not of this format: the older one is not taken instead.
        let body = serde_json::to_vec(&state(1)).unwrap();
        let newer = String::from_utf8(body.clone()).unwrap().replace("\"format\":2", "\"format\":3");
        let mut bytes = places::record(1, &body).unwrap();
        bytes.resize(usize::try_from(places::PLACE_LEN).unwrap(), 0);
        bytes.extend(places::record(2, newer.as_bytes()).unwrap());
        fs::write(&path, &bytes).unwrap();
        let refused = StateFile::open(&path).unwrap().load().unwrap_err();
        assert!(refused.to_string().contains("expected format 2, found 3"), "{refused}");
    }

    #[test]
    fn what_cannot_be_a_state_file_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(StateFile::open(folder.path()), Err(StateFileError::Write { .. })));
        let nowhere = folder.path().join("no/such/folder");
        assert!(matches!(StateFile::open(&nowhere), Err(StateFileError::Write { .. })));
        // Takes everything, keeps nothing.
        assert!(matches!(StateFile::open(Path::new("/dev/null")), Err(StateFileError::Write { .. })));
    }
}
