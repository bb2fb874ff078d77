//! What is PostgreSQL's alone: several agents, lost connections, servers that forget, poolers, replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sealstone_agent::config::store::StoreConfig;
use sealstone_agent::store::{AuditQuery, Reserve, Reserved, Store, StoreError};
use sealstone_attestation::Algorithm;
use sealstone_swtpm_tests::{PgBouncer, Postgres};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

fn at(url: &str) -> StoreConfig {
    StoreConfig::postgres(url, None, None).unwrap()
}

async fn node(url: &str, name: &str) -> Store {
    let store = Store::open(&at(url), name).await.unwrap();
    store.begin_era(7, NOW).await.unwrap();
    store.begin_epoch(epoch(0, Algorithm::Es256), record("asset_created")).await.unwrap();
    store
}

async fn three(server: &Postgres) -> [Store; 3] {
    // All at once, on an empty database.
    let open = |name: &'static str| {
        let url = server.url();
        tokio::spawn(async move { node(&url, name).await })
    };
    let [a, b, c] = [open("a"), open("b"), open("c")];
    [a.await.unwrap(), b.await.unwrap(), c.await.unwrap()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_agents_start_at_once_and_give_one_nonce_to_exactly_one() {
    let server = Postgres::start();
    let stores = three(&server).await;
    let tasks: Vec<_> = (0..64)
        .map(|payload| {
            let store = stores[payload % 3].clone();
            tokio::spawn(async move { store.reserve(ask(1, &payload.to_string())).await.unwrap() })
        })
        .collect();
    let mut given = 0;
    for task in tasks {
        match task.await.unwrap() {
            Reserved::Fresh { .. } => given += 1,
            Reserved::NonceUsed => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(given, 1);
    // Each node has its own log, without a gap; all are found in one query.
    for store in &stores {
        store.append(record("admin")).await.unwrap();
    }
    let logs = stores[0].query(&AuditQuery::default(), 100).await.unwrap();
    assert_eq!(logs.len(), 4, "one asset, and an act of each");
    let own = AuditQuery { own: true, ..AuditQuery::default() };
    assert!(stores[1].query(&own, 100).await.unwrap().iter().all(|entry| entry.node == "b"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_agents_never_take_more_of_a_window_than_there_is() {
    let server = Postgres::start();
    let stores = three(&server).await;
    let tasks: Vec<_> = (0..150_u64)
        .map(|number| {
            let store = stores[usize::try_from(number % 3).unwrap()].clone();
            let reserve = Reserve { demands: vec![demand(60, 3, 100)], ..ask(number, "spend") };
            tokio::spawn(async move { store.reserve(reserve).await.unwrap() })
        })
        .collect();
    let mut given = 0;
    for task in tasks {
        given += usize::from(matches!(task.await.unwrap(), Reserved::Fresh { .. }));
    }
    assert_eq!(given, 33);
    assert_eq!(server.sql("keys", "SELECT total FROM sealstone.windows"), "99");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_of_the_same_name_takes_over_for_good() {
    let server = Postgres::start();
    let first = node(&server.url(), "node-1").await;
    let other = node(&server.url(), "node-2").await;
    fresh(&first, &ask(1, "x")).await;
    let second = node(&server.url(), "node-1").await;
    for _ in 0..2 {
        assert!(matches!(first.reserve(ask(2, "x")).await, Err(StoreError::TakenOver)));
        assert!(matches!(first.append(record("admin")).await, Err(StoreError::TakenOver)));
    }
    fresh(&second, &ask(2, "x")).await;
    fresh(&other, &ask(3, "x")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_crashes_and_restarts_under_load_loses_nothing_and_repeats_nothing() {
    let mut server = Postgres::start();
    let [a, b, _] = three(&server).await;
    let done = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for (worker, store) in (0_u64..16).zip([a.clone(), b.clone()].into_iter().cycle()) {
        let done = Arc::clone(&done);
        tasks.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            for number in 0..60 {
                let number = worker * 1000 + number;
                let reserve = Reserve { demands: vec![demand(3600, 1, 100_000)], ..ask(number, "load") };
                // Never `Open`: that would be a commit that was repeated.
                let id = fresh(&store, &reserve).await;
                let sequence = (worker / 2) * 1000 + number % 1000 + 1;
                store.answer(answer(id, sequence, &reserve)).await.unwrap();
                ids.push((number, id));
                done.fetch_add(1, Ordering::SeqCst);
            }
            ids
        }));
    }
    for round in 1..=3 {
        while done.load(Ordering::SeqCst) < round * 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::task::block_in_place(|| {
            if round == 2 {
                server.stop()
            } else {
                server.crash()
            }
            server.power_on();
        });
    }
    let mut ids = Vec::new();
    for task in tasks {
        ids.extend(task.await.unwrap());
    }
    assert_eq!(ids.len(), 960);
    for (number, _) in ids {
        let reserve = ask(number, "load");
        assert!(matches!(a.reserve(reserve).await.unwrap(), Reserved::Answered(_)), "{number}");
    }
    let count = |sql: &str| server.sql("keys", sql);
    assert_eq!(count("SELECT count(*) FROM sealstone.reservations"), "960");
    assert_eq!(count("SELECT count(*) FROM sealstone.receipts"), "960");
    assert_eq!(count("SELECT total FROM sealstone.windows"), "960");
    assert_eq!(count("SELECT count(*) FROM sealstone.audit WHERE kind = 'signed'"), "960");
    assert_eq!(
        count(
            "SELECT bool_and(size = audit_size AND size = newest + 1) FROM (SELECT n.audit_size, count(*) AS size, \
               max(a.idx) AS newest FROM sealstone.nodes n JOIN sealstone.audit a ON a.node = n.number GROUP BY n.number) x"
        ),
        "t"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_whose_answer_was_lost_is_looked_up() {
    let server = Postgres::start();
    let store = node(&server.url(), "node-1").await;
    // A trigger that runs with the commit, and lasts: the connection is ended meanwhile.
    server.sql(
        "keys",
        "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON sealstone.idempotency DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION public.slow()",
    );
    let reserve = named("uid:0", "k", ask(1, "x"));
    let task = tokio::spawn({
        let (store, reserve) = (store.clone(), reserve.clone());
        async move { store.reserve(reserve).await }
    });
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE query LIKE '%audit_size%COMMIT%' AND pid <> pg_backend_pid() AND state = 'active'";
    while tokio::task::block_in_place(|| server.sql("keys", ended)) == "0" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let outcome = task.await.unwrap().unwrap();
    assert!(matches!(outcome, Reserved::Fresh { .. }), "{outcome:?}");
    assert_eq!(server.sql("keys", "SELECT count(*) FROM sealstone.reservations"), "1");
}

/// Stands between agent and server. Once `armed`, the next commit passes, its answer does not, and the connection ends.
async fn proxy(to: u16, armed: Arc<AtomicBool>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let armed = Arc::clone(&armed);
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
                loop {
                    tokio::select! {
                        read = client.read(&mut asked) => {
                            let Ok(length @ 1..) = read else { return };
                            let commits = asked[..length].windows(24).any(|text| text == b"UPDATE nodes SET audit_s");
                            if server.write_all(&asked[..length]).await.is_err() {
                                return;
                            }
                            if commits && armed.swap(false, Ordering::SeqCst) {
                                // The server has committed when it answers.
                                let _ = server.read(&mut answered).await;
                                return;
                            }
                        }
                        read = server.read(&mut answered) => {
                            let Ok(length @ 1..) = read else { return };
                            if client.write_all(&answered[..length]).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_stands_is_not_repeated_though_its_answer_was_lost() {
    let server = Postgres::start();
    let armed = Arc::new(AtomicBool::new(false));
    let port = proxy(server.port(), Arc::clone(&armed)).await;
    let store = node(&format!("postgres://owner@127.0.0.1:{port}/keys?sslmode=disable"), "node-1").await;
    armed.store(true, Ordering::SeqCst);
    // The log's second record: a commit that was repeated would make it the third, too.
    assert_eq!(store.append(record("admin")).await.unwrap(), 1);
    assert!(!armed.load(Ordering::SeqCst), "the commit's answer was lost");
    assert_eq!(store.audit_size().await.unwrap(), 2);
    assert_eq!(store.append(record("admin")).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_era_that_began_though_its_answer_was_lost_is_the_one_that_signs() {
    let server = Postgres::start();
    let armed = Arc::new(AtomicBool::new(false));
    let port = proxy(server.port(), Arc::clone(&armed)).await;
    let store = node(&format!("postgres://owner@127.0.0.1:{port}/keys?sslmode=disable"), "node-1").await;
    let before = ask(1, "x");
    for sequence in 1..=3 {
        signed(&store, sequence, &ask(sequence, "x")).await;
    }
    armed.store(true, Ordering::SeqCst);
    let progress = store.begin_era(8, NOW).await.unwrap();
    assert!(!armed.load(Ordering::SeqCst), "the commit's answer was lost");
    assert_eq!((progress.era, progress.newest()), (8, 0));
    // What follows is of the new era: its first receipt leaves no gap.
    let reserve = ask(9, "x");
    let id = fresh(&store, &reserve).await;
    let mut first = answer(id, 1, &reserve);
    first.receipt.receipt.era = 8;
    assert_eq!(store.answer(first).await.unwrap().behind, 0);
    let seen = format!("SELECT era, sequence_seen FROM sealstone.reservations WHERE id = {id}");
    assert_eq!(server.sql("keys", &seen), "8|0");
    let next = fresh(&store, &ask(10, "x")).await;
    let seen = format!("SELECT era, sequence_seen FROM sealstone.reservations WHERE id = {next}");
    assert_eq!(server.sql("keys", &seen), "8|1");
    assert!(matches!(store.reserve(before).await.unwrap(), Reserved::Answered(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deadlock_and_a_serialization_failure_are_run_again() {
    let server = Postgres::start();
    let store = node(&server.url(), "node-1").await;
    for (nonce, code) in [(1, "40P01"), (2, "40001")] {
        server.sql(
            "keys",
            &format!(
                "CREATE SEQUENCE public.times_{code}; CREATE FUNCTION public.fail_{code}() RETURNS trigger LANGUAGE plpgsql \
                 AS $$ BEGIN IF nextval('public.times_{code}') <= 3 THEN RAISE EXCEPTION 'again' USING ERRCODE = '{code}'; \
                 END IF; RETURN NULL; END $$; CREATE TRIGGER fail_{code} AFTER INSERT ON sealstone.reservations \
                 FOR EACH ROW EXECUTE FUNCTION public.fail_{code}()"
            ),
        );
        fresh(&store, &ask(nonce, "x")).await;
        assert_eq!(server.sql("keys", &format!("SELECT last_value FROM public.times_{code}")), "4");
    }
    assert_eq!(server.sql("keys", "SELECT count(*) FROM sealstone.reservations"), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_does_not_keep_what_it_commits_is_refused() {
    let server = Postgres::start();
    let store = node(&server.url(), "node-1").await;
    fresh(&store, &ask(1, "x")).await;
    for (nonce, name) in [(2, "fsync"), (3, "full_page_writes"), (4, "synchronous_commit")] {
        let set = |value: &str| {
            server.sql("keys", &format!("ALTER SYSTEM SET {name} = {value}"));
            server.sql("keys", "SELECT pg_reload_conf()");
            let shown = format!("SELECT current_setting('{name}')");
            sealstone_swtpm_tests::wait::until(name, || (server.sql("keys", &shown) == value).then_some(()));
        };
        set("off");
        // While it runs: each transaction looks.
        sealstone_swtpm_tests::wait::until("the refusal", || {
            let reserved = tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(store.reserve(ask(nonce, "x")))
            });
            matches!(reserved, Err(StoreError::Setting { name: found, .. }) if found == name).then_some(())
        });
        // And at the start.
        let opened = Store::open(&at(&server.url()), "node-2").await;
        assert!(matches!(opened, Err(StoreError::Setting { .. })), "{opened:?}");
        set("on");
    }
    sealstone_swtpm_tests::wait::until("the server to be taken again", || {
        let reserved = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(store.reserve(ask(9, "x")))
        });
        reserved.is_ok().then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standby_is_refused_and_serves_listings() {
    let primary = Postgres::start();
    let store = node(&primary.url(), "node-1").await;
    store.append(record("admin")).await.unwrap();
    let mut standby = Postgres::standby_of(&primary);
    let opened = Store::open(&at(&standby.url()), "node-1").await;
    assert!(opened.is_err(), "{opened:?}");
    let both = StoreConfig::postgres(&primary.url(), Some(&standby.url()), None).unwrap();
    let store = Store::open(&both, "node-1").await.unwrap();
    sealstone_swtpm_tests::wait::until("the replica", || {
        let found = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(store.query(&AuditQuery::default(), 10))
        });
        (found.unwrap().len() == 2).then_some(())
    });
    // Listings are the replica's: without it there are none, and everything else goes on.
    tokio::task::block_in_place(|| standby.stop());
    assert!(store.query(&AuditQuery::default(), 10).await.is_err());
    store.begin_era(7, NOW).await.unwrap();
    fresh(&store, &ask(1, "x")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_lost_commits_is_refused() {
    let mut primary = Postgres::start();
    let store = node(&primary.url(), "node-1").await;
    fresh(&store, &ask(1, "x")).await;
    // Restored to an earlier state, as by the promotion of a standby that lagged.
    tokio::task::block_in_place(|| {
        primary.sql("keys", "UPDATE sealstone.nodes SET batch = batch - 1");
        primary.stop();
        primary.power_on();
    });
    for _ in 0..2 {
        let refused = store.reserve(ask(2, "x")).await;
        assert!(matches!(refused, Err(StoreError::LostCommits { .. })), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn through_a_pooler_in_transaction_mode_nothing_changes() {
    let server = Postgres::start();
    let pooler = PgBouncer::before(&server);
    let a = node(&pooler.url(), "a").await;
    let b = node(&pooler.url(), "b").await;
    let tasks: Vec<_> = (0..200_u64)
        .map(|number| {
            let store = if number % 2 == 0 { a.clone() } else { b.clone() };
            tokio::spawn(async move {
                let reserve = Reserve { demands: vec![demand(60, 1, 1000)], ..ask(number, "pooled") };
                let id = fresh(&store, &reserve).await;
                store.answer(answer(id, number / 2 + 1, &reserve)).await.unwrap();
                let standing = store.standing(&reserve.nonce, &reserve.request).await.unwrap();
                assert!(matches!(standing, Some(Reserved::Answered(_))));
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(a.query(&AuditQuery::default(), 1000).await.unwrap().len(), 201);
    assert_eq!(a.counts().await.unwrap()["signed"], 100);
    assert!(matches!(b.reserve(ask(0, "other")).await.unwrap(), Reserved::NonceUsed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_log_and_the_receipts_are_append_only_for_the_owner_too() {
    let server = Postgres::start();
    let store = node(&server.url(), "node-1").await;
    let id = signed(&store, 1, &ask(1, "x")).await;
    store
        .add_checkpoint(sealstone_agent::store::CheckpointRow {
            size: 1,
            root: [1; 32],
            note: b"note".to_vec(),
        })
        .await
        .unwrap();
    for _ in 0..256 {
        store.append(record("admin")).await.unwrap();
    }
    let partition = server.sql(
        "keys",
        "SELECT max(relid::regclass::text) FROM pg_partition_tree('sealstone.audit') WHERE isleaf \
         AND relid::regclass::text ~ '_[0-9]+$'",
    );
    for statement in [
        "UPDATE sealstone.audit SET code = 'x'".to_owned(),
        "DELETE FROM sealstone.audit".to_owned(),
        "TRUNCATE sealstone.audit".to_owned(),
        "TRUNCATE sealstone.audit_other".to_owned(),
        format!("TRUNCATE {partition}"),
        "UPDATE sealstone.audit_tiles SET idx = 9".to_owned(),
        "DELETE FROM sealstone.audit_tiles".to_owned(),
        "TRUNCATE sealstone.audit_tiles".to_owned(),
        "UPDATE sealstone.checkpoints SET size = 9".to_owned(),
        "DELETE FROM sealstone.checkpoints".to_owned(),
        "TRUNCATE sealstone.checkpoints".to_owned(),
        "UPDATE sealstone.receipts SET sequence = 9".to_owned(),
        "DELETE FROM sealstone.receipts".to_owned(),
        "TRUNCATE sealstone.receipts".to_owned(),
        "TRUNCATE sealstone.reservations CASCADE".to_owned(),
        format!("DELETE FROM sealstone.reservations WHERE id = {id}"),
        format!("UPDATE sealstone.reservations SET receipt_sequence = 9 WHERE id = {id}"),
        format!("UPDATE sealstone.reservations SET nonce = 9 WHERE id = {id}"),
    ] {
        let refused = server.try_sql(sealstone_swtpm_tests::postgres::OWNER, "keys", &statement);
        assert!(
            refused.as_ref().is_err_and(|error| error.contains("append-only")),
            "{statement}: {refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_with_a_lesser_role_writes_and_may_change_nothing() {
    let server = Postgres::start();
    server.sql("keys", "CREATE ROLE agent LOGIN");
    let agent = server.url_of("agent", "keys");
    let refused = Store::open(&at(&agent), "node-1").await;
    assert!(matches!(refused, Err(StoreError::Outdated { known: 4, found: 0 })), "{refused:?}");
    Store::migrate(&at(&server.url()), "node-1").await.unwrap();
    // The grants are those of the documentation.
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema.md")).unwrap();
    let grants: String =
        document.lines().filter(|line| line.starts_with("GRANT ")).collect::<Vec<_>>().join("\n");
    assert!(grants.contains("make_audit_partition"), "{grants}");
    server.sql("keys", &grants);
    let store = node(&agent, "node-1").await;
    let reserve = Reserve { demands: vec![demand(60, 1, 10)], ..named("uid:0", "k", ask(1, "x")) };
    signed(&store, 1, &reserve).await;
    let id = fresh(&store, &Reserve { demands: vec![demand(60, 1, 10)], ..ask(2, "x") }).await;
    assert!(store.release(id, record("released")).await.unwrap());
    let id = fresh(&store, &ask(3, "x")).await;
    store.void(id, record("voided")).await.unwrap();
    for _ in 0..256 {
        store.append(record("admin")).await.unwrap();
    }
    store.claim("name", b"value").await.unwrap();
    store.danger_forget("name").await.unwrap();
    store.begin_epoch(epoch(1, Algorithm::Es256), record("asset_rotated")).await.unwrap();
    store.retire(&text("acme"), &text("hot"), NOW, record("asset_retired")).await.unwrap();
    store.close().await;
    for statement in [
        "UPDATE sealstone.audit SET code = 'x'",
        "DELETE FROM sealstone.audit",
        "DELETE FROM sealstone.receipts",
        "TRUNCATE sealstone.audit_tiles",
        "DROP TABLE sealstone.audit",
        "ALTER TABLE sealstone.audit DISABLE TRIGGER ALL",
        "CREATE TABLE sealstone.mine (x BIGINT)",
        "UPDATE sealstone.checkpoints SET size = 1",
    ] {
        assert!(server.try_sql("agent", "keys", statement).is_err(), "{statement}");
    }
    let months = "SELECT count(*) FROM pg_partition_tree('sealstone.audit') WHERE isleaf";
    assert!(server.sql("keys", months).parse::<u32>().unwrap() >= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_schema_of_another_program_or_a_newer_release_is_left_alone() {
    let server = Postgres::start();
    server.sql("keys", "CREATE SCHEMA sealstone; CREATE TABLE sealstone.theirs (x BIGINT)");
    let refused = Store::open(&at(&server.url()), "node-1").await;
    assert!(matches!(refused, Err(StoreError::NotAStore { .. })), "{refused:?}");
    server.sql("keys", "DROP SCHEMA sealstone CASCADE");
    node(&server.url(), "node-1").await.close().await;
    server.sql("keys", "INSERT INTO sealstone.version VALUES (99)");
    let refused = Store::open(&at(&server.url()), "node-1").await;
    assert!(matches!(refused, Err(StoreError::NewerVersion { known: 4, found: 99 })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn jobs_wait_for_a_server_that_is_gone_and_no_longer_than_they_may() {
    let mut server = Postgres::start();
    let store = node(&server.url(), "node-1").await;
    tokio::task::block_in_place(|| server.stop());
    let began = std::time::Instant::now();
    let error = store.reserve(ask(1, "x")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(30));
    tokio::task::block_in_place(|| server.power_on());
    fresh(&store, &ask(1, "x")).await;
}
