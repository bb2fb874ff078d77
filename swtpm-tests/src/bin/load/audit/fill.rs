//! Fills an audit log in bulk, as no agent may: behind the store's back, without its indexes, and without waiting for the
//! disk. The indexes are made again at the end, each in one go, exactly as the schema has them.
//!
//! Of ten million records most of the time would go into indexes whose next entry is anywhere: a page is read and written
//! for each record. What is measured afterwards is the same: the same rows under the same indexes.

use std::process::Command;
use std::time::{Duration, Instant};

use sealstone_agent::config::store::StoreConfig;
use sealstone_swtpm_tests::Postgres;

use super::{ASSETS, DAY_MS, DAYS, TENANTS};
use crate::place::Place;

/// Records made by one statement.
const AT_ONCE: u64 = 250_000;

/// How long making records may take on each database; what is there by then is indexed and measured.
const MAKING: Duration = Duration::from_secs(10 * 60);

/// Memory for sorting an index, in MiB.
const SORT_MIB: u32 = 256;

/// Most records are of signatures; a few hundredths are of other kinds. Assets come in an order that looks like none.
const KIND: &str =
    "CASE WHEN i % 50 = 0 THEN 'refused' WHEN i % 5003 = 0 THEN 'asset_rotated' ELSE 'signed' END";
const CODE: &str =
    "CASE WHEN i % 250 = 0 THEN 'VELOCITY_EXCEEDED' WHEN i % 50 = 0 THEN 'DAILY_LIMIT_EXCEEDED' END";

/// Ten clients ask for nearly all, and one for little.
const CLIENT: &str = "CASE WHEN i % 5003 = 0 THEN 'uid:rare' ELSE 'uid:' || (i % 10) END";

/// Fills the log with as many records, evenly from a time on; how many were made in time.
pub(super) fn fill(place: &Place, config: &StoreConfig, records: u64, first_ms: u64, step_ms: u64) -> u64 {
    let database = match place {
        Place::Sqlite(_) => Bulk::Sqlite(config),
        Place::Postgres(server) => Bulk::Postgres(server),
    };
    database.prepare(first_ms);
    let indexes = database.drop_indexes();
    let end = Instant::now() + MAKING;
    let mut made = 0;
    while made < records && Instant::now() < end {
        let next = records.min(made + AT_ONCE);
        database.insert(made, next, first_ms, step_ms);
        made = next;
    }
    database.make_indexes(&indexes);
    made
}

/// A database, past the store.
enum Bulk<'p> {
    Sqlite(&'p StoreConfig),
    Postgres(&'p Postgres),
}

impl Bulk<'_> {
    /// Makes the assets with their keys, and the partitions.
    fn prepare(&self, first_ms: u64) {
        let tenant = tenant("i");
        let asset = |schema: &str, numbers: &str| {
            format!(
                "INSERT INTO {schema}assets (tenant, asset, sender, algorithm) SELECT {tenant}, 'asset-' || i, \
                 'asset:4:' || {tenant} || ':asset-' || i, 'ES256' FROM {numbers}"
            )
        };
        let epoch = |schema: &str, key: &str, bytes: [&str; 2], numbers: &str| {
            let [binding, public_key] = bytes;
            format!(
                "INSERT INTO {schema}epochs (tenant, asset, epoch, binding, key_id, public_key, since) \
                 SELECT {tenant}, 'asset-' || i, 0, {binding}, {key}, {public_key}, 0 FROM {numbers}"
            )
        };
        match self {
            Self::Sqlite(_) => {
                let all = format!(
                    "(WITH RECURSIVE s (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {ASSETS}) SELECT i FROM s)"
                );
                self.sql(&asset("", &all));
                self.sql(&epoch("", &sqlite_key("i"), ["zeroblob(32)", "zeroblob(33)"], &all));
            }
            Self::Postgres(_) => {
                let all = format!("generate_series(0, {ASSETS} - 1) AS i");
                let bytes = ["decode(repeat('00', 32), 'hex')", "decode(repeat('00', 33), 'hex')"];
                self.sql(&asset("sealstone.", &all));
                self.sql(&epoch("sealstone.", &postgres_key("i"), bytes, &all));
                for day in (0..=DAYS).step_by(15) {
                    self.sql(&format!("SELECT sealstone.make_audit_partition({})", first_ms + day * DAY_MS));
                }
            }
        }
    }

    /// Drops every index but the primary key's, which grows at its end; the statements that make them again.
    fn drop_indexes(&self) -> Vec<String> {
        let list = match self {
            Self::Sqlite(_) => {
                "SELECT name || '=' || sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'audit' AND sql IS NOT NULL"
            }
            // A partitioned table's definition is of the table alone; without ONLY it is of the partitions too.
            Self::Postgres(_) => {
                "SELECT 'sealstone.' || indexname || '=' || replace(indexdef, ' ON ONLY ', ' ON ') FROM pg_indexes \
                 WHERE schemaname = 'sealstone' AND tablename = 'audit' AND indexname LIKE 'audit_by_%'"
            }
        };
        let listed = self.sql(list);
        let (names, statements): (Vec<_>, Vec<_>) =
            listed.lines().map(|line| line.split_once('=').unwrap()).unzip();
        assert!(names.len() >= 5, "the indexes of the schema, found {names:?}");
        for name in names {
            self.sql(&format!("DROP INDEX {name}"));
        }
        statements.into_iter().map(str::to_owned).collect()
    }

    fn insert(&self, from: u64, until: u64, first_ms: u64, step_ms: u64) {
        let last = until - 1;
        let asset = format!("(i * 7919 % {ASSETS})");
        let tenant = tenant(&asset);
        let row = format!(
            "0, i, {first_ms} + i * {step_ms}, {KIND}, {CODE}, {tenant}, 'asset-' || {asset}, {CLIENT}"
        );
        let columns =
            "node, idx, time_ms, kind, code, tenant, sender, client, request, key_id, epoch, leaf, leaf_hash";
        let sql = match self {
            Self::Sqlite(_) => format!(
                "WITH RECURSIVE s (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM s WHERE i < {last}) \
                 INSERT INTO audit ({columns}) SELECT {row}, randomblob(32), {}, 0, zeroblob(640), \
                 randomblob(32) FROM s",
                sqlite_key(&asset)
            ),
            Self::Postgres(_) => format!(
                "INSERT INTO sealstone.audit ({columns}) SELECT {row}, sha256(int8send(i)), {}, 0, \
                 decode(repeat('7b', 640), 'hex'), sha256(int8send(-i)) FROM generate_series({from}::bigint, {last}) AS i",
                postgres_key(&asset)
            ),
        };
        self.sql(&sql);
    }

    fn make_indexes(&self, statements: &[String]) {
        for statement in statements {
            self.sql(statement);
        }
        match self {
            Self::Sqlite(_) => self.sql("PRAGMA wal_checkpoint(TRUNCATE)"),
            Self::Postgres(_) => self.sql("VACUUM ANALYZE sealstone.audit"),
        };
    }

    /// Runs a statement in a session that does not wait for the disk, nor checks what is known of each row.
    fn sql(&self, statement: &str) -> String {
        match self {
            Self::Sqlite(config) => {
                let path = config.path().unwrap();
                let settings = format!("PRAGMA synchronous = OFF; PRAGMA cache_size = -{}", SORT_MIB * 1024);
                let done = Command::new("sqlite3")
                    .env("SQLITE_TMPDIR", path.parent().unwrap())
                    .arg(path)
                    .args([&settings, statement])
                    .output();
                let done =
                    done.unwrap_or_else(|error| panic!("{error}; install it: apt-get install sqlite3"));
                assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
                String::from_utf8(done.stdout).unwrap()
            }
            // Statements of one string are one transaction, in which no VACUUM runs.
            Self::Postgres(server) if statement.starts_with("VACUUM") => server.sql("log", statement),
            Self::Postgres(server) => server.sql(
                "log",
                &format!(
                    "SET synchronous_commit = off; SET session_replication_role = replica; \
                     SET maintenance_work_mem = '{SORT_MIB}MB'; {statement}"
                ),
            ),
        }
    }
}

/// The tenant of an asset's number, as an expression.
fn tenant(asset: &str) -> String {
    let [most, some, few] = TENANTS;
    format!(
        "CASE WHEN {asset} % 100 < 90 THEN '{most}' WHEN {asset} % 100 < 99 THEN '{some}' ELSE '{few}' END"
    )
}

/// The key of an asset's number: that, in 32 digits.
fn sqlite_key(asset: &str) -> String {
    format!("CAST(printf('%032d', {asset}) AS BLOB)")
}

/// The same.
fn postgres_key(asset: &str) -> String {
    format!("convert_to(lpad(({asset})::text, 32, '0'), 'UTF8')")
}
