//! What can go wrong with the store.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

/// Why the store did not do what was asked. Cheap to clone: one failed commit answers every job in it.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// The file or its folder cannot be used.
    #[error("cannot open the store {path:?}; its folder must exist and be writable by the agent")]
    Open {
        /// The configured path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Another process holds the store.
    #[error("expected to be the only user of the store {path:?}, found another process that holds its lock")]
    InUse {
        /// The configured path.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("expected a Sealstone store in {path:?}, found {found}")]
    NotAStore {
        /// The configured path.
        path: PathBuf,
        /// What the file is.
        found: String,
    },
    /// A newer release wrote the store.
    #[error(
        "expected store version {known} or older, found {found}; run the release that wrote it, or a newer one"
    )]
    NewerVersion {
        /// The newest version that this release knows.
        known: i64,
        /// The store's.
        found: i64,
    },
    /// A setting that durability rests on did not take.
    #[error("expected the database setting {name} to be {expected}, found {found}")]
    Setting {
        /// The pragma.
        name: &'static str,
        /// Its value as it must be.
        expected: String,
        /// Its value.
        found: String,
    },
    /// No space is left for the store.
    #[error("the disk that holds the store is full; free some space and try again")]
    Full,
    /// The database failed.
    #[error("the database failed")]
    Database(#[source] Arc<sqlx::Error>),
    /// A row does not decode: the file was damaged or edited.
    #[error("expected {expected}, found something else; restore the newest backup")]
    Corrupt {
        /// What the row should hold.
        expected: &'static str,
    },
    /// A number beyond what the store holds.
    #[error("expected {what} below 2^63, found {found}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The number.
        found: u64,
    },
    /// A reservation was asked for before the enclave's era was recorded: a bug.
    #[error("expected the enclave's era to be recorded before a reservation")]
    NoEra,
    /// The enclave gave one sequence number to two signatures.
    #[error("expected sequence {sequence} of era {era} to be new, found it recorded for another reservation")]
    SequenceTaken {
        /// The era.
        era: u64,
        /// The sequence.
        sequence: u64,
    },
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
}

/// `SQLITE_FULL` (<https://www.sqlite.org/rescode.html>).
const SQLITE_FULL: &str = "13";

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let full = error.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == SQLITE_FULL);
        if full { Self::Full } else { Self::Database(Arc::new(error)) }
    }
}
