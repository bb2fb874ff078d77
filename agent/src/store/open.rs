//! Opening the store: one user, the right file, the right version, the settings that durability rests on.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::StoreError;

/// `application_id` of the database file: "SEAL".
const APPLICATION_ID: i64 = 0x5345_414c;

/// Each version's statements, from the one before it. The number of a version is its place, from 1.
const MIGRATIONS: &[&str] = &[include_str!("schema_v1.sql")];

/// Page cache of the writer, in KiB: the newest pages of each tree, which is where signatures land.
const WRITER_CACHE_KIB: i64 = 2048;

/// Statements that the writer keeps prepared, some 20 KiB each: one for each number of reservations and of answers
/// that are committed together. What 16 signatures under way need.
const WRITER_STATEMENTS: usize = 160;

/// Page cache of each reader, in KiB: listings run through once.
const READER_CACHE_KIB: i64 = 256;

/// Pages in the write-ahead log before they move into the database: about 4 MiB. More makes each move longer,
/// fewer makes moves more frequent; both are in the latency of the commit that they fall to.
const WAL_PAGES: i64 = 1000;

/// Bytes of the write-ahead log that are kept for reuse after such a move; overwriting is cheaper than growing.
const WAL_BYTES_KEPT: i64 = 16 * 1024 * 1024;

/// How long a connection waits for another of this process; the writer never holds the lock for so long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Owner only: reservations tell who pays whom, and when.
const FILE_MODE: u32 = 0o600;

/// The store's lock. Held for as long as the store is open; the system drops it with the process.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Opens or creates the store at `path`.
pub(super) async fn open(path: &Path) -> Result<(SqliteConnection, Lock), StoreError> {
    let lock = lock(path)?;
    let failed =
        |source: std::io::Error| StoreError::Open { path: path.to_owned(), source: Arc::new(source) };
    // The write-ahead log and the index beside it inherit the mode.
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(FILE_MODE)
        .open(path)
        .map_err(failed)?;
    let mut connection = options(path, WRITER_CACHE_KIB)
        .statement_cache_capacity(WRITER_STATEMENTS)
        .connect()
        .await
        .map_err(|error| not_a_store(path, error))?;
    identify(&mut connection, path).await?;
    migrate(&mut connection, MIGRATIONS).await?;
    for (name, expected) in [("journal_mode", "wal"), ("synchronous", "2"), ("foreign_keys", "1")] {
        check_setting(&mut connection, name, expected).await?;
    }
    Ok((connection, lock))
}

/// How readers connect.
pub(super) fn reader_options(path: &Path) -> SqliteConnectOptions {
    options(path, READER_CACHE_KIB).pragma("query_only", "1")
}

fn options(path: &Path, cache_kib: i64) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("cache_size", format!("-{cache_kib}"))
        .pragma("temp_store", "MEMORY")
        .pragma("trusted_schema", "OFF")
        .pragma("wal_autocheckpoint", WAL_PAGES.to_string())
        .pragma("journal_size_limit", WAL_BYTES_KEPT.to_string())
        .disable_statement_logging()
}

fn lock(path: &Path) -> Result<Lock, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        .open(PathBuf::from(name))
        .map_err(|source| StoreError::Open { path: path.to_owned(), source: Arc::new(source) })?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => {
            Err(StoreError::Open { path: path.to_owned(), source: Arc::new(source) })
        }
    }
}

/// `SQLITE_NOTADB` and `SQLITE_CANTOPEN` (<https://www.sqlite.org/rescode.html>).
fn not_a_store(path: &Path, error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|e| e.code()).map(|code| code.into_owned());
    match code.as_deref() {
        Some("26") => StoreError::NotAStore {
            path: path.to_owned(),
            found: "a file that is no SQLite database".to_owned(),
        },
        Some("14") => {
            StoreError::Open { path: path.to_owned(), source: Arc::new(ErrorKind::PermissionDenied.into()) }
        }
        _ => error.into(),
    }
}

async fn identify(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| not_a_store(path, error))?;
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await?;
    if id == APPLICATION_ID || (id == 0 && tables == 0) {
        return Ok(());
    }
    Err(StoreError::NotAStore {
        path: path.to_owned(),
        found: format!("an SQLite database of another program (application id {id:#x}, {tables} tables)"),
    })
}

/// Brings the store to the newest version, each step in its own transaction.
async fn migrate(connection: &mut SqliteConnection, migrations: &[&'static str]) -> Result<(), StoreError> {
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await?;
    let known = i64::try_from(migrations.len()).expect("there are few migrations");
    let done = match usize::try_from(found) {
        Ok(done) if done <= migrations.len() => done,
        _ => return Err(StoreError::NewerVersion { known, found }),
    };
    for (version, statements) in (1..=known).zip(migrations).skip(done) {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::raw_sql(*statements).execute(&mut *transaction).await?;
        let stamp = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(stamp)).execute(&mut *transaction).await?;
        transaction.commit().await?;
    }
    Ok(())
}

async fn check_setting(
    connection: &mut SqliteConnection,
    name: &'static str,
    expected: &str,
) -> Result<(), StoreError> {
    let query = match name {
        "journal_mode" => "SELECT journal_mode FROM pragma_journal_mode",
        "synchronous" => "SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous",
        _ => "SELECT CAST(foreign_keys AS TEXT) FROM pragma_foreign_keys",
    };
    let found: String = sqlx::query_scalar(query).fetch_one(connection).await?;
    if found == expected {
        Ok(())
    } else {
        Err(StoreError::Setting { name, expected: expected.to_owned(), found })
    }
}
