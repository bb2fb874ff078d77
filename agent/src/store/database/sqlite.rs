//! SQLite: one file, one agent, an fsync at each commit.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqlStr};

use super::value::sqlite_arguments;
use super::{Row, Value};
use crate::store::StoreError;

/// `application_id` of the database file: "SEAL".
const APPLICATION_ID: i64 = 0x5345_414c;

/// Each version's statements, from the one before it. The number of a version is its place, from 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../schema/sqlite_v1.sql"),
    include_str!("../schema/sqlite_v2.sql"),
    include_str!("../schema/sqlite_v3.sql"),
    include_str!("../schema/sqlite_v4.sql"),
];

/// Page cache of the writer, in KiB: the newest pages of each tree, which is where signatures land.
const WRITER_CACHE_KIB: i64 = 2048;

/// Statements that the writer keeps prepared, some 20 KiB each: one for each number of reservations and of answers
/// that are committed together. What 16 signatures under way need.
const WRITER_STATEMENTS: usize = 256;

/// Page cache of each reader, in KiB: listings run through once.
const READER_CACHE_KIB: i64 = 256;

/// Connections that only read: listings and counts are rare, and each connection is a thread and a cache.
const READERS_MAX: u32 = 2;

/// Pages in the write-ahead log before they move into the database: about 4 MiB. More makes each move longer,
/// fewer makes moves more frequent; both are in the latency of the commit that they fall to.
const WAL_PAGES: i64 = 1000;

/// Bytes of the write-ahead log that are kept for reuse after such a move; overwriting is cheaper than growing.
const WAL_BYTES_KEPT: i64 = 16 * 1024 * 1024;

/// How long a connection waits for another of this process; the writer never holds the lock for so long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Owner only: reservations tell who pays whom, and when.
const FILE_MODE: u32 = 0o600;

/// The connection that writes, and the lock that makes it the only one.
#[derive(Debug)]
pub(crate) struct Sqlite {
    connection: SqliteConnection,
    _lock: Lock,
}

/// The store's lock. Held for as long as the store is open; the system drops it with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Sqlite {
    /// Opens or creates the store at `path`; brings an older one to this release's version.
    pub(crate) async fn open(path: &Path, node: &str) -> Result<Self, StoreError> {
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
        sqlx::query("UPDATE nodes SET name = $1 WHERE number = 0 AND name <> $1")
            .bind(node)
            .execute(&mut connection)
            .await?;
        Ok(Self { connection, _lock: lock })
    }

    /// Connections that only read.
    pub(crate) fn readers(path: &Path) -> SqlitePool {
        SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .connect_lazy_with(options(path, READER_CACHE_KIB).pragma("query_only", "1"))
    }

    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await?;
        Ok(())
    }

    pub(super) async fn roll_back(&mut self) {
        // The database may have done so by itself, as on a full disk; then this fails, rightly.
        let _ = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
    }

    pub(super) async fn execute(&mut self, sql: SqlStr, values: Vec<Value>) -> Result<u64, StoreError> {
        let done = sqlx::query_with(sql, sqlite_arguments(values)?).execute(&mut self.connection).await?;
        Ok(done.rows_affected())
    }

    pub(super) async fn fetch(&mut self, sql: SqlStr, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let rows = sqlx::query_with(sql, sqlite_arguments(values)?).fetch_all(&mut self.connection).await?;
        rows.iter().map(Row::from_sqlite).collect()
    }

    /// Runs statements that are one transaction with its own beginning and end: hand-overs between two threads, not
    /// rows, are what a transaction costs. `None`, and nothing is changed, if a row is not new.
    pub(crate) async fn at_once(
        &mut self,
        sql: SqlStr,
        values: Vec<Value>,
    ) -> Result<Option<Vec<Row>>, StoreError> {
        let arguments = sqlite_arguments(values)?;
        match sqlx::query_with(sql, arguments).fetch_all(&mut self.connection).await {
            Ok(rows) => rows.iter().map(Row::from_sqlite).collect::<Result<_, _>>().map(Some),
            Err(error) if error.as_database_error().is_some_and(|error| error.is_unique_violation()) => {
                self.roll_back().await;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.close().await?)
    }

    #[cfg(test)]
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
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

/// Makes this process the only one that may write to the store, or make it.
pub(crate) fn lock(path: &Path) -> Result<Lock, StoreError> {
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
pub(super) fn not_a_store(path: &Path, error: sqlx::Error) -> StoreError {
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

pub(super) async fn identify(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
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
    if done == migrations.len() {
        return Ok(());
    }
    // An index over a long log is sorted in a file, where its size is no matter.
    sqlx::raw_sql("PRAGMA temp_store = FILE").execute(&mut *connection).await?;
    for (version, statements) in (1..=known).zip(migrations).skip(done) {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::raw_sql(*statements).execute(&mut *transaction).await?;
        let stamp = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(stamp)).execute(&mut *transaction).await?;
        transaction.commit().await?;
    }
    sqlx::raw_sql("PRAGMA temp_store = MEMORY").execute(&mut *connection).await?;
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
