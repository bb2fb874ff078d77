//! The primary dies under load and its synchronous standby is promoted: nothing that was answered is lost or repeated,
//! and neither the old server nor an agent that was replaced writes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use sealstone_agent::config::store::StoreConfig;
use sealstone_agent::store::{Reserve, Reserved, Store, StoreError};
use sealstone_attestation::Algorithm;
use sealstone_swtpm_tests::Postgres;
use sealstone_swtpm_tests::wait::until;

use crate::support::*;

/// An address that the operator moves from one server to another: its port.
async fn address(to: Arc<AtomicU16>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let to = to.load(Ordering::SeqCst);
            tokio::spawn(async move {
                // A server that is gone ends the connection, as a network does.
                if let Ok(mut server) = tokio::net::TcpStream::connect(("127.0.0.1", to)).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    port
}

async fn node(port: u16, name: &str) -> Store {
    let url = format!("postgres://owner@127.0.0.1:{port}/keys?sslmode=disable");
    let store = Store::open(&StoreConfig::postgres(&url, None, None).unwrap(), name).await.unwrap();
    store.begin_era(7, NOW).await.unwrap();
    store.begin_epoch(epoch(0, Algorithm::Es256), record("asset_created")).await.unwrap();
    store
}

/// A standby without which the primary commits nothing.
fn synchronous_standby_of(primary: &Postgres) -> Postgres {
    let standby = Postgres::standby_of(primary);
    primary.sql("keys", "ALTER SYSTEM SET synchronous_standby_names = '*'");
    primary.sql("keys", "SELECT pg_reload_conf()");
    let state = "SELECT sync_state FROM pg_stat_replication";
    until("a synchronous standby", || (primary.sql("keys", state) == "sync").then_some(()));
    standby
}

fn limited(number: u64) -> Reserve {
    Reserve { demands: vec![demand(3600, 1, 100_000)], ..ask(number, "load") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standby_is_promoted_under_load_and_nothing_that_was_answered_is_lost() {
    let mut primary = Postgres::start();
    let place = Arc::new(AtomicU16::new(primary.port()));
    let port = address(Arc::clone(&place)).await;
    let (a, b) = (node(port, "a").await, node(port, "b").await);
    let mut standby = tokio::task::block_in_place(|| synchronous_standby_of(&primary));
    let done = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0_u64..8)
        .zip([a.clone(), b.clone()].into_iter().cycle())
        .map(|(worker, store)| {
            let done = Arc::clone(&done);
            tokio::spawn(async move {
                for number in 1..=40 {
                    // Never `Open`: that would be a commit that was repeated.
                    let reserve = limited(worker * 1000 + number);
                    let id = fresh(&store, &reserve).await;
                    let sequence = (worker / 2) * 1000 + number;
                    store.answer(answer(id, sequence, &reserve)).await.unwrap();
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    while done.load(Ordering::SeqCst) < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::task::block_in_place(|| {
        primary.crash();
        standby.promote();
    });
    place.store(standby.port(), Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    for number in (0..8).flat_map(|worker| (1..=40).map(move |number| worker * 1000 + number)) {
        let answered = a.reserve(limited(number)).await.unwrap();
        assert!(matches!(answered, Reserved::Answered(_)), "{number}: {answered:?}");
    }
    for (sql, count) in [
        ("SELECT count(*) FROM sealstone.reservations", "320"),
        ("SELECT count(*) FROM sealstone.receipts", "320"),
        ("SELECT total FROM sealstone.windows", "320"),
        ("SELECT count(*) FROM sealstone.audit WHERE kind = 'signed'", "320"),
    ] {
        assert_eq!(tokio::task::block_in_place(|| standby.sql("keys", sql)), count, "{sql}");
    }

    // An agent that takes its node over on the new primary is the only one that writes for it.
    let successor = node(port, "b").await;
    assert!(matches!(b.reserve(limited(9001)).await, Err(StoreError::TakenOver)));
    fresh(&successor, &limited(9001)).await;

    // The old primary comes back, and somebody moves the address to it: it lacks what was committed since.
    tokio::task::block_in_place(|| {
        standby.crash();
        primary.power_on();
    });
    place.store(primary.port(), Ordering::SeqCst);
    for store in [&a, &successor] {
        for _ in 0..2 {
            let refused = store.reserve(limited(9002)).await;
            assert!(
                matches!(refused, Err(StoreError::LostCommits { .. } | StoreError::TakenOver)),
                "{refused:?}"
            );
        }
    }
}
