//! PostgreSQL: one database for several agents, each of them the only writer of its node.
//!
//! Nothing outlives a transaction on the server but rows: no named statement, no setting, no session's lock. So a
//! pooler in transaction mode may stand in between. Every transaction begins with the node's row: it is locked, is
//! still this agent's, and counts the transaction, so that the outcome of a lost commit can be looked up.

use std::sync::Arc;
use std::time::Duration;

use sealstone_attestation::UnixTime;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, SqlStr};
use tokio::time::timeout;

use super::value::postgres_arguments;
use super::{Row, Unfinished, Value, sql};
use crate::clock;
use crate::store::StoreError;

/// How long a connection, with TLS and authentication, may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// How long one statement may take: the longest waits for another agent's transaction with the same senders.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(10);

/// Connections that only read. Each is a process of the server.
const READERS_MAX: u32 = 4;

/// Begins a transaction in which every statement sees what was committed before it, whatever the server's default is:
/// what is read after a lock was waited for is what the lock's last holder left.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// What each transaction sets for itself: where its tables are, and that the server ends it if this agent is gone
/// (a cut network would hold the node's lock for as long as TCP waits).
const LOCAL: &str =
    "SET LOCAL search_path = sealstone, pg_temp; SET LOCAL idle_in_transaction_session_timeout = 10000";

/// What durability rests on, and the server's clock. `synchronous_commit` may be anything but off.
const DURABLE: &str = "current_setting('fsync'), current_setting('full_page_writes'), \
     current_setting('synchronous_commit'), pg_is_in_recovery(), \
     CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";

/// How far the clocks of agent and server may be apart. The agents of one database share the windows of limits, and one
/// whose clock is a day ahead would empty them for all.
const DRIFT_MAX: Duration = Duration::from_secs(30);

/// The server, and what this agent is there.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    options: Hidden,
    /// The node's number.
    pub(crate) node: i64,
    instance: [u8; 16],
    /// The node's newest transaction that was committed.
    batch: i64,
    /// Whether the one after it may have been.
    doubtful: bool,
}

/// Options with a password in them: never shown.
#[derive(Clone)]
pub(crate) struct Hidden(pub(crate) PgConnectOptions);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PgConnectOptions(..)")
    }
}

/// The connection that writes.
#[derive(Debug)]
pub(crate) struct Postgres {
    connection: PgConnection,
    server: Server,
}

/// What a transaction of the node finds when its agent connected anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resumed {
    /// Whether the transaction in doubt was committed.
    pub(crate) committed: bool,
    /// The number of the node's audit records.
    pub(crate) audit_size: i64,
}

impl Server {
    /// Connects, and takes the node over from whoever wrote for it: that agent never writes again.
    pub(crate) async fn take_over(options: PgConnectOptions, node: &str) -> Result<Self, StoreError> {
        let options = plain(options);
        let mut connection = connect(&options).await?;
        let mut instance = [0; 16];
        getrandom::fill(&mut instance).map_err(|_| StoreError::Corrupt { expected: "random bytes" })?;
        raw(&mut connection, format!("{BEGIN}; {LOCAL}")).await?;
        raw(&mut connection, format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
        check_durable(&raw(&mut connection, format!("SELECT {DURABLE}")).await?)?;
        let sql = "INSERT INTO nodes (number, name, instance) SELECT coalesce(max(number) + 1, 0), $1, $2 FROM nodes \
                   ON CONFLICT (name) DO UPDATE SET instance = excluded.instance RETURNING number, batch";
        let values = vec![node.into(), (&instance).into()];
        let rows = fetch(&mut connection, SqlStr::from_static(sql), values).await?;
        let row = rows.first().ok_or(StoreError::Corrupt { expected: "the node's row" })?;
        let server = Self {
            options: Hidden(options),
            node: row.int(0)?,
            instance,
            batch: row.int(1)?,
            doubtful: false,
        };
        raw(&mut connection, "COMMIT".to_owned()).await?;
        let _ = connection.close().await;
        Ok(server)
    }

    /// Connects, begins a transaction that holds the node's row, and says what became of the one in doubt: whatever
    /// still ran on a connection that was lost has ended when the row is held.
    pub(crate) async fn resume(&self) -> Result<(Postgres, Resumed), StoreError> {
        let mut connection = connect(&self.options.0).await?;
        let Self { node, batch, doubtful, .. } = *self;
        let sql = format!(
            "{BEGIN}; {LOCAL}; SELECT batch, audit_size, instance = {} FROM nodes WHERE number = {node} FOR UPDATE",
            bytes(&self.instance)
        );
        let rows = raw(&mut connection, sql).await?;
        let row = rows.first().ok_or(StoreError::LostCommits { expected: batch, found: 0 })?;
        let found = row.int(0)?;
        if row.int(2)? == 0 {
            return Err(StoreError::TakenOver);
        }
        let committed = doubtful && found == batch + 1;
        if found != batch && !committed {
            return Err(StoreError::LostCommits { expected: batch, found });
        }
        check_durable(&raw(&mut connection, format!("SELECT {DURABLE}")).await?)?;
        let server = Self { batch: found, doubtful: false, ..self.clone() };
        Ok((Postgres { connection, server }, Resumed { committed, audit_size: row.int(1)? }))
    }
}

impl Postgres {
    /// What is to be remembered when this connection is lost.
    pub(crate) fn server(&self, doubtful: bool) -> Server {
        Server { doubtful, ..self.server.clone() }
    }

    /// Ends the transaction that [`Server::resume`] began.
    pub(crate) async fn resumed(&mut self) -> Result<(), StoreError> {
        raw(&mut self.connection, "COMMIT".to_owned()).await?;
        Ok(())
    }

    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        let Server { node, batch, .. } = self.server;
        let sql = format!(
            "{BEGIN}; {LOCAL}; UPDATE nodes SET batch = {} WHERE number = {node} AND batch = {batch} AND instance = {} \
             RETURNING {DURABLE}",
            batch + 1,
            bytes(&self.server.instance)
        );
        let rows = raw(&mut self.connection, sql).await?;
        if !rows.is_empty() {
            return check_durable(&rows);
        }
        let sql = format!(
            "SELECT batch, instance = {} FROM nodes WHERE number = {node}",
            bytes(&self.server.instance)
        );
        let rows = raw(&mut self.connection, sql).await?;
        match rows.first() {
            Some(row) if row.int(1)? == 0 => Err(StoreError::TakenOver),
            Some(row) => Err(StoreError::LostCommits { expected: batch, found: row.int(0)? }),
            None => Err(StoreError::LostCommits { expected: batch, found: 0 }),
        }
    }

    pub(super) async fn commit(&mut self, audit_size: i64) -> Result<(), StoreError> {
        let node = self.server.node;
        let sql = format!("UPDATE nodes SET audit_size = {audit_size} WHERE number = {node}; COMMIT");
        raw(&mut self.connection, sql).await?;
        self.server.batch += 1;
        Ok(())
    }

    pub(super) async fn roll_back(&mut self) -> Result<(), StoreError> {
        raw(&mut self.connection, "ROLLBACK".to_owned()).await.map(drop)
    }

    /// Has the server make the partitions of the audit log for these times; says how many there are.
    pub(crate) async fn make_partitions(&mut self, times_ms: &[i64]) -> Result<usize, StoreError> {
        let mut made = 0;
        for at_ms in times_ms {
            raw(&mut self.connection, format!("{BEGIN}; {LOCAL}")).await?;
            let sql = SqlStr::from_static("SELECT make_audit_partition($1)");
            match fetch(&mut self.connection, sql, vec![(*at_ms).into()]).await {
                Ok(rows) => {
                    made += usize::from(rows.first().map(|row| row.int(0)).transpose()? == Some(1));
                    raw(&mut self.connection, "COMMIT".to_owned()).await?;
                }
                Err(error) => {
                    self.roll_back().await?;
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    pub(super) async fn execute(&mut self, sql: SqlStr, values: Vec<Value>) -> Result<u64, StoreError> {
        let query = sqlx::query_with(sql, postgres_arguments(values)?).persistent(false);
        Ok(in_time(query.execute(&mut self.connection)).await?.rows_affected())
    }

    pub(super) async fn fetch(&mut self, sql: SqlStr, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        fetch(&mut self.connection, sql, values).await
    }

    pub(super) async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.close().await?)
    }
}

/// What an error says about the transaction in which it came.
pub(super) fn judge(error: StoreError, committing: bool) -> Unfinished {
    let StoreError::Database(source) = &error else {
        return match error {
            StoreError::Standby => Unfinished::Lost(error),
            StoreError::Overtaken => Unfinished::Again(error),
            error => Unfinished::Failed(error),
        };
    };
    let code = source.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        // Serialization failure, deadlock, lock not available.
        Some("40001" | "40P01" | "55P03") => Unfinished::Again(error),
        // A transaction that only reads: the server became a standby.
        Some("25006") => Unfinished::Lost(error),
        // The server or the pooler ends the connection. It may have committed before.
        Some(code) if code.starts_with("57P") || code.starts_with("08") || code == "25P03" => {
            lost(error, committing)
        }
        Some(_) => Unfinished::Failed(error),
        None => match &**source {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => lost(error, committing),
            _ => Unfinished::Failed(error),
        },
    }
}

fn lost(error: StoreError, committing: bool) -> Unfinished {
    if committing { Unfinished::Doubtful(error) } else { Unfinished::Lost(error) }
}

/// Whether a server that gave this error may be asked again: it is starting, stopping, full, or not there.
pub(crate) fn may_recover(error: &StoreError) -> bool {
    match error {
        StoreError::Standby => true,
        StoreError::Database(source) => {
            let code = source.as_database_error().and_then(|error| error.code());
            match code.as_deref() {
                // PgBouncer reports all of its own errors as 08P01.
                Some(code) => {
                    ["57P", "08", "53", "40", "55P", "25006"].iter().any(|class| code.starts_with(class))
                }
                None => matches!(
                    &**source,
                    sqlx::Error::Io(_)
                        | sqlx::Error::Tls(_)
                        | sqlx::Error::Protocol(_)
                        | sqlx::Error::PoolTimedOut
                ),
            }
        }
        _ => false,
    }
}

fn check_durable(rows: &[Row]) -> Result<(), StoreError> {
    let row = rows.first().ok_or(StoreError::Corrupt { expected: "the server's settings" })?;
    if row.int(3)? == 1 {
        return Err(StoreError::Standby);
    }
    for (column, name) in [(0, "fsync"), (1, "full_page_writes"), (2, "synchronous_commit")] {
        let found = row.text(column)?;
        if found == "off" {
            let expected = "on".to_owned();
            return Err(StoreError::Setting { name, expected, found: found.to_owned() });
        }
    }
    let (here, server) = (clock::now_ms(), row.unsigned(4, "the server's clock")?);
    let apart = Duration::from_millis(here.abs_diff(server));
    if apart > DRIFT_MAX {
        let shown = |time_ms: u64| UnixTime::from_secs(time_ms / 1000);
        return Err(StoreError::ClockDrift { server: shown(server), here: shown(here) });
    }
    Ok(())
}

/// Connections that only read, of the primary or of a replica.
#[derive(Clone, Debug)]
pub(crate) struct Pool(PgPool);

impl Pool {
    pub(crate) fn new(options: PgConnectOptions) -> Self {
        Self(
            PgPoolOptions::new()
                .max_connections(READERS_MAX)
                .acquire_timeout(CONNECT_DEADLINE)
                .connect_lazy_with(plain(options)),
        )
    }

    pub(super) async fn fetch(&self, sql: SqlStr, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        // Refused before the server is asked, and a connection lost.
        if values.iter().any(Value::has_nul) {
            return Err(StoreError::NulInText);
        }
        let mut connection = self.0.acquire().await?;
        let read = async {
            raw(&mut connection, format!("BEGIN READ ONLY; {LOCAL}")).await?;
            let rows = fetch(&mut connection, sql, values).await?;
            raw(&mut connection, "COMMIT".to_owned()).await?;
            Ok(rows)
        };
        let outcome = read.await;
        if outcome.is_err() {
            // It may be in the middle of something.
            connection.close_on_drop();
        }
        outcome
    }

    pub(super) async fn close(&self) {
        self.0.close().await;
    }
}

/// The lock under which migrations run and nodes are made, for the length of a transaction: "SEAL" and a one.
const LOCK: i64 = 0x5345_414c_0000_0001;

/// Each version's statements, from the one before it: the first is made from nothing.
const MIGRATIONS: [(i64, &str); 3] = [
    (2, include_str!("../schema/postgres_v2.sql")),
    (3, include_str!("../schema/postgres_v3.sql")),
    (4, include_str!("../schema/postgres_v4.sql")),
];

/// The newest version.
const VERSION: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// How long a migration may take, or wait for another agent's: an index of a log of ten million records takes minutes
/// on a slow disk.
const MIGRATION_DEADLINE: Duration = Duration::from_secs(3600);

/// Brings the database to this release's version. Agents that start at once wait for each other.
pub(crate) async fn migrate(options: PgConnectOptions) -> Result<(), StoreError> {
    let mut connection = connect(&plain(options)).await?;
    raw_within(
        MIGRATION_DEADLINE,
        &mut connection,
        format!("{BEGIN}; SET LOCAL search_path = pg_catalog; SELECT pg_advisory_xact_lock({LOCK})"),
    )
    .await?;
    let found = version(&mut connection).await?;
    if found > VERSION {
        return Err(StoreError::NewerVersion { known: VERSION, found });
    }
    for (version, statements) in MIGRATIONS.iter().filter(|(version, _)| *version > found) {
        let statements = format!(
            "CREATE SCHEMA IF NOT EXISTS sealstone; SET LOCAL search_path = sealstone, pg_temp; {statements}; \
             INSERT INTO version (version) VALUES ({version})"
        );
        let done = raw_within(MIGRATION_DEADLINE, &mut connection, statements).await;
        done.map_err(|error| match &error {
            StoreError::Database(source)
                if source.as_database_error().and_then(|error| error.code()).as_deref() == Some("42501") =>
            {
                StoreError::Outdated { known: VERSION, found }
            }
            _ => error,
        })?;
    }
    let sql = "SELECT count(*) FROM pg_tables WHERE schemaname = 'sealstone' AND tablename = 'audit' \
               AND tableowner = current_user";
    let owned = raw(&mut connection, sql.to_owned()).await?;
    if owned.first().map(|row| row.int(0)).transpose()? == Some(1) {
        tracing::warn!(
            "this agent's role owns the store's tables, so that it could change the audit log; give it a role of its own \
             (docs/schema.md)"
        );
    }
    raw(&mut connection, "COMMIT".to_owned()).await?;
    let _ = connection.close().await;
    Ok(())
}

/// Whether there is a schema of the store's name, also an empty one.
pub(crate) async fn has_schema(options: PgConnectOptions) -> Result<bool, StoreError> {
    let mut connection = connect(&plain(options)).await?;
    let sql = "SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = 'sealstone'";
    let rows = raw(&mut connection, sql.to_owned()).await?;
    let _ = connection.close().await;
    rows.first().map_or(Ok(true), |row| Ok(row.int(0)? > 0))
}

/// The schema's version; 0 if there is none.
async fn version(connection: &mut PgConnection) -> Result<i64, StoreError> {
    let sql = "SELECT count(*), count(*) FILTER (WHERE c.relname = 'version') FROM pg_class c \
               JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'sealstone'";
    let rows = raw(connection, sql.to_owned()).await?;
    let row = rows.first().ok_or(StoreError::Corrupt { expected: "a count of tables" })?;
    let tables = row.int(0)?;
    if tables == 0 {
        return Ok(0);
    }
    if row.int(1)? == 0 {
        return Err(StoreError::NotAStore {
            path: "schema sealstone".into(),
            found: format!("a schema of another program ({tables} tables and indexes)"),
        });
    }
    let rows = raw(connection, "SELECT coalesce(max(version), 0) FROM sealstone.version".to_owned()).await?;
    rows.first().map_or(Ok(0), |row| row.int(0))
}

/// Options for a pooler in transaction mode, too: no statement is kept, no setting is asked for at the start.
fn plain(options: PgConnectOptions) -> PgConnectOptions {
    options
        .statement_cache_capacity(0)
        .extra_float_digits(None)
        .application_name("sealstone-agent")
        .disable_statement_logging()
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    match timeout(CONNECT_DEADLINE, options.connect()).await {
        Ok(connection) => Ok(connection?),
        Err(_) => Err(timed_out()),
    }
}

fn timed_out() -> StoreError {
    StoreError::Database(Arc::new(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

/// Bytes as a literal.
fn bytes(bytes: &[u8]) -> String {
    format!("'\\x{}'::bytea", hex::encode(bytes))
}

/// Statements without values, which are one journey. Their text is of constants, numbers and hex only.
async fn raw(connection: &mut PgConnection, text: String) -> Result<Vec<Row>, StoreError> {
    raw_within(STATEMENT_DEADLINE, connection, text).await
}

async fn raw_within(
    deadline: Duration,
    connection: &mut PgConnection,
    text: String,
) -> Result<Vec<Row>, StoreError> {
    let rows = within(deadline, sqlx::raw_sql(sql::built(text)).fetch_all(connection)).await?;
    rows.iter().map(Row::from_postgres).collect()
}

async fn fetch(
    connection: &mut PgConnection,
    sql: SqlStr,
    values: Vec<Value>,
) -> Result<Vec<Row>, StoreError> {
    let query = sqlx::query_with(sql, postgres_arguments(values)?).persistent(false);
    let rows = in_time(query.fetch_all(connection)).await?;
    rows.iter().map(Row::from_postgres).collect()
}

async fn in_time<T>(query: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    within(STATEMENT_DEADLINE, query).await
}

/// A server that does not answer in time is left: the connection is not used after such an error.
async fn within<T>(
    deadline: Duration,
    query: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match timeout(deadline, query).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(timed_out()),
    }
}
