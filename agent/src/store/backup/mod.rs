//! A copy of the store for a bad day: taken while an agent runs, encrypted to age recipients (<https://age-encryption.org/v1>)
//! before it reaches a disk, and put back only where no store is.
//!
//! SQLite is read page by page in one transaction, PostgreSQL by `pg_dump`: neither writes anything unencrypted. A
//! restored store is as old as its copy; [`Reconciler`](crate::reconcile::Reconciler) finds out whether it may sign.

mod error;
mod program;
mod sealed;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;

use super::database::{postgres, snapshot};
use crate::config::store::{Location, StoreConfig};
use sealed::{Opened, Partial, Sealed};

pub use error::BackupError;

/// Recipients of one copy: each adds a line to its header, and an organisation has fewer.
pub const RECIPIENTS_MAX: usize = 16;

/// How a SQLite database begins.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// How an archive of `pg_dump` begins.
const POSTGRES: &[u8] = b"PGDMP";

/// Who can open a copy: the public half of an age identity.
#[derive(Clone)]
pub struct Recipient(age::x25519::Recipient);

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recipient({})", self.0)
    }
}

impl FromStr for Recipient {
    type Err = BackupError;

    fn from_str(text: &str) -> Result<Self, BackupError> {
        text.parse().map(Self).map_err(|_| BackupError::Recipient)
    }
}

/// Writes a copy of the store, encrypted to each of the recipients, to a file that does not exist yet. An agent may
/// use the store meanwhile: the copy is as the store was at one moment. Returns the file's length.
///
/// # Errors
/// [`BackupError`]; there is then no file.
pub async fn backup(config: &StoreConfig, out: &Path, recipients: &[Recipient]) -> Result<u64, BackupError> {
    let mut sealed = Sealed::create(out, recipients)?;
    match config.location() {
        Location::Sqlite(path) => snapshot::pages(path, |page| sealed.write(page)).await?,
        Location::Postgres(servers) => program::dump(&servers.primary, |block| sealed.write(block))?,
    }
    sealed.finish()
}

/// Puts a copy back into the place that the configuration names, where no store is.
///
/// # Errors
/// [`BackupError`]; there is then no store.
pub async fn restore(config: &StoreConfig, copy: &Path, identity: &Path) -> Result<(), BackupError> {
    let mut opened = Opened::open(copy, identity)?;
    match config.location() {
        Location::Sqlite(path) => restore_file(path, copy, &mut opened),
        Location::Postgres(servers) => {
            if postgres::has_schema(servers.primary.clone()).await? {
                return Err(BackupError::StoreExists { place: config.to_string() });
            }
            let first = first_block(copy, &mut opened, POSTGRES)?;
            program::restore(&servers.primary, first, || opened.next())
        }
    }
}

fn restore_file(path: &Path, copy: &Path, opened: &mut Opened) -> Result<(), BackupError> {
    let _lock = snapshot::lock(path)?;
    if snapshot::files(path).iter().any(|file| file.symlink_metadata().is_ok()) {
        return Err(BackupError::StoreExists { place: path.display().to_string() });
    }
    let mut block = Some(first_block(copy, opened, SQLITE)?);
    let partial = Partial::beside(path);
    let failed = |source| BackupError::writing(partial.path(), source);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(partial.path())
        .map_err(failed)?;
    while let Some(bytes) = block {
        file.write_all(&bytes).map_err(failed)?;
        block = opened.next()?;
    }
    file.sync_all().map_err(failed)?;
    partial.put(path)
}

/// The first block of a copy, if it begins as this kind of store does.
fn first_block(copy: &Path, opened: &mut Opened, expected: &'static [u8]) -> Result<Vec<u8>, BackupError> {
    let block = opened.next()?.unwrap_or_default();
    let kind = |bytes: &[u8]| match bytes {
        _ if bytes.starts_with(SQLITE) => "a SQLite store",
        _ if bytes.starts_with(POSTGRES) => "a PostgreSQL store",
        _ => "something else",
    };
    if block.starts_with(expected) {
        return Ok(block);
    }
    Err(BackupError::OtherKind { copy: copy.to_owned(), expected: kind(expected), found: kind(&block) })
}
