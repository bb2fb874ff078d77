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
    /// The clocks of this machine and of the database's are apart.
    #[error(
        "expected this machine's clock near the database server's ({server}), found {here}; correct whichever is wrong"
    )]
    ClockDrift {
        /// The server's time.
        server: sealstone_attestation::UnixTime,
        /// This machine's.
        here: sealstone_attestation::UnixTime,
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
    /// The database server cannot be reached, or cannot be spoken with.
    #[error("expected the database server to answer, found that it does not; jobs wait for {waited_s} s")]
    Unreachable {
        /// How long jobs waited.
        waited_s: u64,
        /// What went wrong last.
        #[source]
        source: Arc<StoreError>,
    },
    /// Another agent gave an idempotency key to a request at the same moment. The transaction is run again, and finds it.
    #[error("expected an idempotency key that no other agent uses meanwhile, found that one did; try again")]
    Overtaken,
    /// The server is a standby, which takes no writes.
    #[error("expected the primary server, found a standby; name the primary in the store's url")]
    Standby,
    /// Another agent of the same name took the node over. This one never writes again.
    #[error(
        "expected to be the only agent of this node, found that another agent of the same name was started since; \
         stop one of them, and start this one again if it is to go on"
    )]
    TakenOver,
    /// The database lacks transactions that were committed: it was restored, or a standby without them was promoted.
    #[error(
        "expected transaction {expected} of this node, found {found} as the newest: the database lost what it had \
         committed; start the agent again, which compares the store with the enclave"
    )]
    LostCommits {
        /// The newest that was committed.
        expected: i64,
        /// The newest that the database has.
        found: i64,
    },
    /// The migration needs rights that this role lacks.
    #[error(
        "expected store version {known}, found {found}; run `sealstone-agent --migrate` as the owner of the schema"
    )]
    Outdated {
        /// The version that this release needs.
        known: i64,
        /// The store's; 0 if there is none.
        found: i64,
    },
    /// A text with a NUL, which PostgreSQL cannot hold.
    #[error("expected a text without NUL characters; choose another name")]
    NulInText,
    /// A record that is too long for the log.
    #[error("expected a record of at most {} bytes, found {found}", super::audit::LEAF_MAX)]
    RecordTooLong {
        /// Its bytes.
        found: usize,
    },
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether it may be about one job of a transaction alone: then the others may succeed without it.
    pub(super) fn is_of_one_job(&self) -> bool {
        matches!(
            self,
            Self::Database(_)
                | Self::Corrupt { .. }
                | Self::TooLarge { .. }
                | Self::RecordTooLong { .. }
                | Self::NulInText
        )
    }
}

/// `SQLITE_FULL` (<https://www.sqlite.org/rescode.html>), and PostgreSQL's `disk_full`.
const FULL: [&str; 2] = ["13", "53100"];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        let full = code.is_some_and(|code| FULL.contains(&&*code));
        if full { Self::Full } else { Self::Database(Arc::new(error)) }
    }
}
