//! The two databases behind one face: the same statements, with `$1` placeholders, on SQLite and on PostgreSQL.
//!
//! What differs is here and in `schema/`: how a transaction begins and is committed, who may write, which errors
//! pass. Everything above speaks of rows and values.

pub(crate) mod postgres;
pub(crate) mod snapshot;
pub(crate) mod sql;
pub(crate) mod sqlite;
mod value;

use sqlx::SqlStr;

pub(crate) use value::{Row, Value, values};

use super::StoreError;
use postgres::Postgres;
use sqlite::Sqlite;

/// The connection that writes.
#[derive(Debug)]
pub(crate) enum Connection {
    Sqlite(Box<Sqlite>),
    Postgres(Box<Postgres>),
}

/// How a transaction ended that did not do what was asked.
#[derive(Debug)]
pub(crate) enum Unfinished {
    /// Nothing of it stands, and it would fail again.
    Failed(StoreError),
    /// Nothing of it stands, and it may succeed if it is run again on this connection.
    Again(StoreError),
    /// The connection is gone, before the commit was asked for: nothing of it stands.
    Lost(StoreError),
    /// The commit was asked for and its outcome is not known.
    Doubtful(StoreError),
}

impl Connection {
    /// Begins a transaction that writes, and makes sure that this agent may write: on PostgreSQL that the node is
    /// still this agent's, and that what is committed is durable.
    pub(crate) async fn begin(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => database.begin().await,
            Self::Postgres(database) => database.begin().await,
        }
    }

    /// Commits; `audit_size` is the number of the node's audit records with this transaction.
    pub(crate) async fn commit(&mut self, audit_size: i64) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => database.commit().await,
            Self::Postgres(database) => database.commit(audit_size).await,
        }
    }

    /// Undoes what was begun.
    pub(crate) async fn roll_back(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => {
                database.roll_back().await;
                Ok(())
            }
            Self::Postgres(database) => database.roll_back().await,
        }
    }

    /// Runs a statement; says how many rows it changed.
    pub(crate) async fn execute(
        &mut self,
        sql: impl Into<Statement>,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        let Statement(sql) = sql.into();
        match self {
            Self::Sqlite(database) => database.execute(sql, values).await,
            Self::Postgres(database) => database.execute(sql, values).await,
        }
    }

    /// Runs a statement; its rows.
    pub(crate) async fn fetch(
        &mut self,
        sql: impl Into<Statement>,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        let Statement(sql) = sql.into();
        match self {
            Self::Sqlite(database) => database.fetch(sql, values).await,
            Self::Postgres(database) => database.fetch(sql, values).await,
        }
    }

    /// Rows of one statement. On SQLite each number of rows is a prepared statement of its own, which this bounds; on
    /// PostgreSQL every statement is a journey, and a transaction has at most so many jobs.
    pub(crate) fn rows_max(&self) -> usize {
        match self {
            Self::Sqlite(_) => 16,
            Self::Postgres(_) => 256,
        }
    }

    /// Whether other agents may write to the same database.
    pub(crate) fn shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// The lock that this database needs on rows that are read in order to be changed. SQLite has one writer.
    pub(crate) fn for_update(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "",
            Self::Postgres(_) => " FOR UPDATE",
        }
    }

    /// What an error while the transaction ran, or while it was committed, says about it.
    pub(crate) fn judge(&self, error: StoreError, committing: bool) -> Unfinished {
        match self {
            Self::Sqlite(_) => Unfinished::Failed(error),
            Self::Postgres(_) => postgres::judge(error, committing),
        }
    }

    pub(crate) async fn close(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => database.close().await,
            Self::Postgres(database) => database.close().await,
        }
    }
}

/// The text of a statement.
#[derive(Clone, Debug)]
pub(crate) struct Statement(SqlStr);

impl From<&'static str> for Statement {
    fn from(text: &'static str) -> Self {
        Self(SqlStr::from_static(text))
    }
}

impl From<String> for Statement {
    fn from(text: String) -> Self {
        Self(sql::built(text))
    }
}

impl From<SqlStr> for Statement {
    fn from(text: SqlStr) -> Self {
        Self(text)
    }
}

/// Connections that only read: listings, counts and lookups outside the writer's transaction.
#[derive(Clone, Debug)]
pub(crate) enum Readers {
    Sqlite(sqlx::sqlite::SqlitePool),
    Postgres(postgres::Pool),
}

impl Readers {
    /// Runs one statement that reads.
    pub(crate) async fn fetch(
        &self,
        sql: impl Into<Statement>,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        let Statement(sql) = sql.into();
        match self {
            Self::Sqlite(pool) => {
                let arguments = value::sqlite_arguments(values)?;
                let rows = sqlx::query_with(sql, arguments).fetch_all(pool).await?;
                rows.iter().map(Row::from_sqlite).collect()
            }
            Self::Postgres(pool) => pool.fetch(sql, values).await,
        }
    }

    /// Has the table before it searched by this index, where the database can be told.
    pub(crate) fn indexed_by(&self, index: &'static str) -> String {
        match self {
            Self::Sqlite(_) => format!(" INDEXED BY {index}"),
            Self::Postgres(_) => String::new(),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}
