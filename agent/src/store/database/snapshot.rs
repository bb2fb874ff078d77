//! A SQLite store as it is at one moment, page by page, while its agent writes on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row as _};

use super::sqlite::{identify, not_a_store};
use crate::store::StoreError;

pub(crate) use super::sqlite::lock;

/// Pages that are read at once: 1 MiB.
const PAGES: i64 = 256;

/// How long the agent may hold the database: only while it starts or ends.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The database with what SQLite keeps beside it.
pub(crate) fn files(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-journal"].map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    })
}

/// Hands on the pages in their order, which make the database's file: all as one transaction sees them, so that the
/// write-ahead log is in them as far as it was committed.
pub(crate) async fn pages<E: From<StoreError>>(
    path: &Path,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("query_only", "1")
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|error| not_a_store(path, error))?;
    identify(&mut connection, path).await?;
    sqlx::raw_sql("BEGIN").execute(&mut connection).await.map_err(StoreError::from)?;
    let count: i64 = sqlx::query_scalar("SELECT page_count FROM pragma_page_count")
        .fetch_one(&mut connection)
        .await
        .map_err(StoreError::from)?;
    if count == 0 {
        return Err(StoreError::NotAStore { path: path.to_owned(), found: "an empty file".to_owned() }.into());
    }
    let mut first = 1;
    while first <= count {
        let last = count.min(first + PAGES - 1);
        for page in some(&mut connection, first, last).await? {
            each(&page)?;
        }
        first = last + 1;
    }
    // It has only read.
    let _ = connection.close().await;
    Ok(())
}

/// Pages from one to another. `sqlite_dbpage` finds a page by its number, but runs through all for a range.
async fn some(connection: &mut SqliteConnection, first: i64, last: i64) -> Result<Vec<Vec<u8>>, StoreError> {
    let sql = "WITH RECURSIVE wanted (number) AS (SELECT $1 UNION ALL SELECT number + 1 FROM wanted WHERE number < $2) \
               SELECT page.pgno, page.data FROM wanted CROSS JOIN sqlite_dbpage page ON page.pgno = wanted.number";
    let rows = sqlx::query(sql).bind(first).bind(last).fetch_all(connection).await?;
    let mut found = Vec::with_capacity(rows.len());
    for (number, row) in (first..).zip(&rows) {
        if row.try_get::<i64, _>(0)? != number {
            break;
        }
        found.push(row.try_get(1)?);
    }
    if i64::try_from(found.len()) == Ok(last - first + 1) {
        Ok(found)
    } else {
        Err(StoreError::Corrupt { expected: "each page of the database" })
    }
}
