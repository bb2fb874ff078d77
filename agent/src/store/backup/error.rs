//! What can go wrong with a copy of the store.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use thiserror::Error;

use crate::store::StoreError;

/// Why a store was not copied, or not put back.
#[derive(Debug, Error)]
pub enum BackupError {
    /// A recipient that is none.
    #[error("expected an age recipient (age1…, the public key that age-keygen prints), found something else")]
    Recipient,
    /// No recipient, or too many.
    #[error("expected 1 to {} recipients, found {found}", super::RECIPIENTS_MAX)]
    Recipients {
        /// How many.
        found: usize,
    },
    /// The copy's file is there already.
    #[error("expected no file {path:?}, found one; name another: a copy never replaces one")]
    FileExists {
        /// The file.
        path: PathBuf,
    },
    /// No space is left.
    #[error("the disk that holds {path:?} is full; free some space and try again")]
    Full {
        /// The file that was written.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {path:?}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The recipients' keys could not be used.
    #[error("cannot encrypt to these recipients")]
    Encrypt(#[source] age::EncryptError),
    /// The key file is none.
    #[error(
        "expected an age identity (AGE-SECRET-KEY-1…, as age-keygen writes it) in {path:?}, found something else"
    )]
    Identity {
        /// The key file.
        path: PathBuf,
    },
    /// The copy is for others.
    #[error(
        "expected an identity that opens {copy:?}, found that it was made for others; name the key file of one of its recipients"
    )]
    OtherRecipients {
        /// The copy.
        copy: PathBuf,
    },
    /// The file is no copy.
    #[error("expected a copy that --backup wrote in {copy:?}, found a file that age does not read")]
    NotABackup {
        /// The file.
        copy: PathBuf,
    },
    /// The copy was cut short or changed.
    #[error("expected {copy:?} whole and unchanged, found it cut short or changed; take another copy of it")]
    Damaged {
        /// The copy.
        copy: PathBuf,
    },
    /// A copy of the other database, or of something else.
    #[error(
        "expected a copy of {expected} in {copy:?}, found one of {found}; configure [store] as it was when it was made"
    )]
    OtherKind {
        /// The copy.
        copy: PathBuf,
        /// What the configuration names.
        expected: &'static str,
        /// What the copy is of.
        found: &'static str,
    },
    /// There is a store already.
    #[error(
        "expected no store at {place}, found one; move it away first, for what was signed since the copy is only there"
    )]
    StoreExists {
        /// Where.
        place: String,
    },
    /// A program of PostgreSQL is missing.
    #[error("cannot run {program}; install it: apt-get install postgresql-client")]
    Program {
        /// Its name.
        program: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program of PostgreSQL failed.
    #[error("{program} failed ({status}); what it says is above")]
    Failed {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
    },
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BackupError {
    pub(super) fn writing(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Write { path, source },
        }
    }
}
