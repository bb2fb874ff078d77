//! What is SQLite's alone: files, locks, versions. What holds of every store is told in the stories.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use sealstone_attestation::{
    Algorithm, Binding, KeyId, PublicKey, Receipt, ReceiptHash, SessionId, Signature64, SignedReceipt,
};
use sqlx::{ConnectOptions, Connection as _};
use tempfile::TempDir;

use sealstone_attestation::RequestDigest;
use sealstone_wire::Epoch;

use super::*;

async fn open(path: &std::path::Path) -> Result<Store, StoreError> {
    Store::open(&StoreConfig::sqlite(path), "node-1").await
}

const NOW: UnixTime = UnixTime::from_secs(1_795_230_000);

struct Node {
    folder: TempDir,
    store: Store,
}

impl Node {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder.path().join("agent.db")).await.unwrap();
        store.begin_era(7, NOW).await.unwrap();
        Self { folder, store }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("agent.db")
    }

    /// Ends the process as `kill -9` does: the files stay as they are, nothing is finished or closed.
    async fn crash_and_restart(self) -> Self {
        let Self { folder, store } = self;
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        drop(store);
        let store = open(&copy.path().join("agent.db")).await.unwrap();
        store.begin_era(7, NOW).await.unwrap();
        Self { folder: copy, store }
    }
}

fn text(text: &str) -> PathText {
    text.try_into().unwrap()
}

fn public_key() -> PublicKey {
    let bytes = hex::decode("03e7d9e8b1ad5f49ff4dcfbf0205cfe59e26f69db6abb000c2e1eb71e458b3c156").unwrap();
    PublicKey::from_bytes(Algorithm::Es256, &bytes).unwrap()
}

fn nonce(nonce: u64) -> NonceKey {
    NonceKey { chain_id: 1, sender: Sender::asset(&text("acme"), &text("hot")), nonce }
}

fn record() -> AuditRow {
    AuditRow {
        time_ms: NOW.as_secs() * 1000,
        kind: "signed".to_owned(),
        code: None,
        tenant: None,
        sender: None,
        client: None,
        request: None,
        key_id: None,
        epoch: None,
        leaf: b"{}".to_vec(),
        leaf_hash: [8; 32],
    }
}

fn ask(number: u64, payload: &str) -> Reserve {
    Reserve {
        nonce: nonce(number),
        request: RequestDigest::of(format!("{number} {payload}").as_bytes()),
        key: ReservedKey::Session { hour: 498_675, binding: Binding::from_bytes([9; 32]), issued_at_ms: 77 },
        epoch_named: false,
        client: "uid:1000".to_owned(),
        idempotency: None,
        policy: None,
        demands: Vec::new(),
        now_ms: NOW.as_secs() * 1000,
        refusal: record().into(),
    }
}

fn answer(reservation: i64, sequence: u64, reserve: &Reserve) -> Answer {
    let receipt = Receipt {
        sequence,
        era: 7,
        previous: ReceiptHash::from_bytes([1; 32]),
        request: reserve.request,
        key_id: KeyId::from_bytes([2; 32]),
        epoch: 2,
        binding: Binding::from_bytes([3; 32]),
        session: SessionId::from_bytes([4; 16]),
        time: NOW,
        signature: Signature64::from_bytes([u8::try_from(sequence % 256).unwrap(); 64]),
    };
    Answer {
        reservation,
        receipt: SignedReceipt { receipt, report_signature: Signature64::from_bytes([6; 64]) },
        public_key: public_key(),
        digest: [7; 32],
        recovery_id: None,
        attested_until: NOW,
        audit: record(),
    }
}

async fn fresh(store: &Store, reserve: &Reserve) -> i64 {
    match store.reserve(reserve.clone()).await.unwrap() {
        Reserved::Fresh { id } => id,
        other => panic!("expected a fresh reservation, found {other:?}"),
    }
}

#[tokio::test]
async fn yesterdays_copy_of_the_store_lacks_todays_receipts() {
    let node = Node::new().await;
    let yesterday = node.crash_and_restart().await;
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(yesterday.path(), copy.path().join("agent.db")).unwrap();
    let today = ask(1, "x");
    let id = fresh(&yesterday.store, &today).await;
    yesterday.store.answer(answer(id, 1, &today)).await.unwrap();
    yesterday.store.begin_era(8, NOW).await.unwrap();
    let restored = open(&copy.path().join("agent.db")).await.unwrap();
    assert_eq!(restored.begin_era(7, NOW).await.unwrap().missing(1).collect::<Vec<_>>(), [1]);
    assert_eq!(restored.newest_era().await.unwrap(), Some(7));
    assert!(restored.reservation_of(&today.request).await.unwrap().is_none());
}

#[test]
fn no_two_senders_share_a_text() {
    let pairs = [("a", "b:c"), ("a:b", "c"), ("1:a", "b"), ("a", "b")];
    let mut texts: Vec<_> = pairs
        .iter()
        .flat_map(|(tenant, name)| {
            [Sender::asset(&text(tenant), &text(name)), Sender::session(&text(tenant), &text(name))]
        })
        .map(|sender| sender.as_str().to_owned())
        .collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 2 * pairs.len());
}

#[tokio::test]
async fn a_second_agent_is_refused_while_the_first_lives() {
    let node = Node::new().await;
    assert!(matches!(open(&node.path()).await, Err(StoreError::InUse { .. })));
    node.store.close().await;
    let path = node.path();
    let Node { folder: _folder, store } = node;
    drop(store);
    open(&path).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(&text, "this is a letter, and no database; it goes on for long enough to be read")
        .unwrap();
    let error = open(&text).await.unwrap_err();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error:?}");
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("this is a letter"));

    let other = folder.path().join("other.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&other).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (x); PRAGMA application_id = 7").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let error = open(&other).await.unwrap_err();
    assert!(error.to_string().contains("application id 0x7"), "{error}");
}

#[tokio::test]
async fn a_store_of_a_newer_release_is_refused() {
    let node = Node::new().await;
    let path = node.path();
    node.store.close().await;
    let Node { folder: _folder, store } = node;
    drop(store);
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::NewerVersion { known: 4, found: 99 }), "{error:?}");
}

#[tokio::test]
async fn a_folder_that_does_not_exist_or_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").join("agent.db");
    let error = open(&missing).await.unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert!(matches!(open(&folder.path().join("file/agent.db")).await, Err(StoreError::Open { .. })));
    // A folder in the file's place: nothing can be opened there, by root neither.
    std::fs::create_dir(folder.path().join("agent.db")).unwrap();
    assert!(matches!(open(&folder.path().join("agent.db")).await, Err(StoreError::Open { .. })));
}

#[tokio::test]
async fn only_the_owner_reads_the_files() {
    let node = Node::new().await;
    fresh(&node.store, &ask(1, "a")).await;
    for name in ["agent.db", "agent.db-wal", "agent.db.lock"] {
        let mode = std::fs::metadata(node.folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_with_its_reason_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let mut database = Sqlite::open(&path, "node-1").await.unwrap();
    // The database may grow no further, as on a full disk.
    sqlx::raw_sql("PRAGMA max_page_count = 60").execute(database.connection()).await.unwrap();
    let readers = Readers::Sqlite(Sqlite::readers(&path));
    let store = Store::start(Connection::Sqlite(Box::new(database)), readers.clone(), readers).await.unwrap();
    store.begin_era(7, NOW).await.unwrap();
    let mut number = 1;
    let error = loop {
        match store.reserve(ask(number, "first")).await {
            Ok(outcome) => assert!(matches!(outcome, Reserved::Fresh { .. })),
            Err(error) => break error,
        }
        number += 1;
    };
    assert!(matches!(error, StoreError::Full), "{error:?}");
    // The writer works on: what needs no room is done, and what was reserved before stands.
    assert!(matches!(store.reserve(ask(1, "second")).await.unwrap(), Reserved::NonceUsed));
    store.close().await;
    drop(store);
    let store = open(&path).await.unwrap();
    store.begin_era(7, NOW).await.unwrap();
    assert_eq!(store.counts().await.unwrap()["reserved"], number - 1);
    fresh(&store, &ask(number, "second")).await;
}

#[tokio::test]
async fn a_store_of_version_1_is_brought_to_this_one_with_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(include_str!("schema/sqlite_v1.sql")).execute(&mut connection).await.unwrap();
    let request = hex::encode(RequestDigest::of(b"1 signed").as_bytes());
    let open_request = hex::encode(RequestDigest::of(b"2 open").as_bytes());
    let key = hex::encode(public_key().as_bytes());
    let of = |byte: &str, length: usize| byte.repeat(length);
    let rows = format!(
        "PRAGMA application_id = 0x5345414c; PRAGMA user_version = 1; \
         INSERT INTO meta VALUES ('deployment', x'aa'), ('node', x'6e6f64652d31'), ('rolled_back', x'bb'); \
         INSERT INTO assets VALUES ('acmé', 'hot', 'ES256'); \
         INSERT INTO epochs VALUES ('acmé', 'hot', 0, x'{b32}', x'{k32}', x'{key}', 5); \
         INSERT INTO eras VALUES (7, 5, 1); \
         INSERT INTO reservations VALUES \
         (1, 1, 'asset:5:acmé:hot', 1, x'{request}', 0, NULL, NULL, NULL, 7, 0, 5, NULL, NULL), \
         (2, -1, 'asset:5:acmé:hot', -2, x'{open_request}', 0, NULL, NULL, NULL, 7, 0, 6, NULL, NULL); \
         INSERT INTO idempotency VALUES (1000, 'k', 1); \
         INSERT INTO receipts VALUES \
         (7, 1, 1, 'ES256', x'{key}', x'{b32}', NULL, x'{b32}', x'{k32}', 0, x'{b32}', x'{s16}', 6, x'{s64}', x'{s64}', 9)",
        b32 = of("03", 32),
        k32 = of("02", 32),
        s16 = of("04", 16),
        s64 = of("05", 64),
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(rows)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let store = open(&path).await.unwrap();
    let progress = store.begin_era(7, NOW).await.unwrap();
    assert_eq!((progress.through, store.newest_era().await.unwrap()), (1, Some(7)));
    assert_eq!(store.claim_deployment("deployment", b"other").await.unwrap(), [0xaa]);
    assert_eq!(store.claim("node", b"other").await.unwrap(), b"node-1");
    assert_eq!(store.meta("rolled_back").await.unwrap(), Some(vec![0xbb]));
    let asset = store.asset(&text("acmé"), &text("hot"), None).await.unwrap().unwrap();
    assert_eq!((asset.since, asset.retired_at), (UnixTime::from_secs(5), None));

    let sender = Sender::asset(&text("acmé"), &text("hot"));
    let signed = NonceKey { chain_id: 1, sender: sender.clone(), nonce: 1 };
    let key = ReservedKey::Asset { epoch: Epoch(0) };
    let again = Reserve { nonce: signed, request: RequestDigest::of(b"1 signed"), key, ..ask(1, "") };
    assert!(matches!(store.reserve(again.clone()).await.unwrap(), Reserved::Answered(_)));
    let named = |key: &str, reserve| Reserve {
        idempotency: Some(IdempotencyKey { client: "uid:1000".to_owned(), key: key.to_owned() }),
        ..reserve
    };
    assert!(matches!(store.reserve(named("k", again.clone())).await.unwrap(), Reserved::Answered(_)));
    assert!(matches!(store.reserve(named("k", ask(9, "other"))).await.unwrap(), Reserved::KeyReused));
    let open_nonce = NonceKey { chain_id: u64::MAX, sender, nonce: u64::MAX - 1 };
    let open = Reserve { nonce: open_nonce, request: RequestDigest::of(b"2 open"), ..again };
    assert!(matches!(store.reserve(open).await.unwrap(), Reserved::Open(open) if open.id == 2));
    // Nobody knows who may be signing it.
    assert!(!store.release(2, record()).await.unwrap());
    let fresh = fresh(&store, &ask(3, "new")).await;
    assert!(fresh > 2);
    store.answer(answer(fresh, 2, &ask(3, "new"))).await.unwrap();
    assert_eq!(store.audit_size().await.unwrap(), 1);
}

/// The statements that run with every signature use an index, whatever the tables hold.
#[tokio::test]
async fn no_statement_of_a_signature_searches_a_whole_table() {
    let folder = tempfile::tempdir().unwrap();
    let mut database = Sqlite::open(&folder.path().join("agent.db"), "node-1").await.unwrap();
    for sql in [
        "DELETE FROM spends WHERE (sender, name, at_ms, reservation) IN (SELECT s.sender, s.name, s.at_ms, \
         s.reservation FROM (VALUES ('a','b',1),('c','d',2)) AS v CROSS JOIN spends s WHERE s.sender = v.column1 \
         AND s.name = v.column2 AND s.at_ms <= v.column3 ORDER BY s.at_ms LIMIT 9) RETURNING sender, name, amount",
        "SELECT r.id FROM (VALUES (1,'a',1),(2,'b',2)) AS v CROSS JOIN reservations r LEFT JOIN receipts p ON \
         p.node = r.receipt_node AND p.era = r.receipt_era AND p.sequence = r.receipt_sequence WHERE \
         r.chain_id = v.column1 AND r.sender = v.column2 AND r.nonce = v.column3 AND r.generation = 0",
        "SELECT sender, retired_at FROM assets WHERE sender IN (VALUES ('a'),('b')) ORDER BY sender",
        "SELECT a.sender, (SELECT max(e.epoch) FROM epochs e WHERE e.tenant = a.tenant AND e.asset = a.asset) \
         FROM assets a WHERE a.sender IN (VALUES ('a'),('b'))",
        "SELECT w.total FROM (VALUES ('a','b')) AS v CROSS JOIN windows w WHERE w.sender = v.column1 \
         AND w.name = v.column2",
        "SELECT id FROM reservations WHERE id IN (VALUES (1),(2)) AND state IN ('voided', 'replaced')",
    ] {
        let plan = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
        let rows = plan.fetch_all(database.connection()).await.unwrap();
        let steps: Vec<String> = rows.iter().map(|row| sqlx::Row::get::<String, _>(row, 3)).collect();
        let scans: Vec<_> = steps
            .iter()
            .filter(|step| {
                step.starts_with("SCAN")
                    && !step.contains("VALUES CLAUSE")
                    && *step != "SCAN v"
                    && !step.ends_with("CONSTANT ROW")
            })
            .collect();
        assert!(scans.is_empty(), "{sql}\n{}", steps.join("\n"));
    }
}

/// A page costs what it holds, whatever the log holds: it comes from an index in its order, or is the records of one
/// sender.
#[tokio::test]
async fn no_page_of_the_audit_log_searches_or_sorts_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut database = Sqlite::open(&folder.path().join("agent.db"), "node-1").await.unwrap();
    let readers = Readers::Sqlite(Sqlite::readers(&folder.path().join("agent.db")));
    let any = AuditQuery::default;
    let is = |text: &str| Some(text.to_owned());
    let acme = || Some(std::collections::BTreeSet::from([text("acme")]));
    for (query, index) in [
        (any(), "audit_by_time"),
        (AuditQuery { from_ms: Some(5), until_ms: Some(9), ..any() }, "audit_by_time"),
        (AuditQuery { kind: is("signed"), ..any() }, "audit_by_time"),
        (AuditQuery { kind: is("refused"), from_ms: Some(5), ..any() }, "audit_by_kind"),
        (AuditQuery { code: is("X"), from_ms: Some(5), ..any() }, "audit_by_code"),
        (AuditQuery { client: is("uid:0"), from_ms: Some(5), ..any() }, "audit_by_client"),
        (AuditQuery { tenants: acme(), from_ms: Some(5), ..any() }, "audit_by_tenant"),
        (AuditQuery { sender: is("hot"), tenants: acme(), from_ms: Some(5), ..any() }, "audit_by_sender"),
        (AuditQuery { sender: is("hot"), from_ms: Some(5), ..any() }, "audit_by_sender"),
        (AuditQuery { request: Some([0; 32]), ..any() }, "audit_by_request"),
    ] {
        for newest_first in [false, true] {
            for after in [None, Some(AuditPlace { time_ms: 7, node: 0, index: 7 })] {
                let query = AuditQuery { newest_first, after, ..query.clone() };
                let (sql, _) = read::audit_page(&query, &readers, 0, 100).unwrap();
                let plan = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
                let rows = plan.fetch_all(database.connection()).await.unwrap();
                let steps: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, 3)).collect();
                assert!(steps[0].contains(&format!("USING INDEX {index}")), "{query:?}: {steps:?}");
                let sorts = steps.iter().any(|step| step.contains("TEMP B-TREE"));
                assert!(
                    !sorts || ["audit_by_sender", "audit_by_request"].contains(&index),
                    "{query:?}: {steps:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_store_of_version_2_is_brought_to_this_one_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    for statements in [include_str!("schema/sqlite_v1.sql"), include_str!("schema/sqlite_v2.sql")] {
        sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
    }
    let log = "PRAGMA application_id = 0x5345414c; PRAGMA user_version = 2; \
               INSERT INTO audit (idx, node, time_ms, kind, code, tenant, sender, leaf, leaf_hash) VALUES \
               (0, 0, 5, 'asset_created', NULL, 'acme', 'hot', x'7b7d', zeroblob(32)), \
               (1, 0, 6, 'refused', 'NONCE_ALREADY_USED', 'acme', 'hot', x'7b7d', zeroblob(32))";
    sqlx::raw_sql(log).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let store = open(&path).await.unwrap();
    assert_eq!(store.append(record()).await.unwrap(), 2);
    for (query, found) in [
        (AuditQuery::default(), 3),
        (AuditQuery { kind: Some("refused".to_owned()), ..AuditQuery::default() }, 1),
        (AuditQuery { kind: Some("signed".to_owned()), ..AuditQuery::default() }, 1),
        (AuditQuery { code: Some("NONCE_ALREADY_USED".to_owned()), ..AuditQuery::default() }, 1),
        (AuditQuery { sender: Some("hot".to_owned()), ..AuditQuery::default() }, 2),
    ] {
        assert_eq!(store.query(&query, 10).await.unwrap().len(), found, "{query:?}");
    }
    store.close().await;
    drop(store);
    // Once: it is of this version now.
    open(&path).await.unwrap();
}
