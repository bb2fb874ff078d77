//! Two agents on one PostgreSQL at the same moment: whoever waited for the other decides by what the other left.

use sealstone_agent::config::store::StoreConfig;
use sealstone_agent::store::{NonceKey, Reserve, Reserved, ReservedKey, Sender, Store};
use sealstone_attestation::{Algorithm, Binding};
use sealstone_swtpm_tests::Postgres;
use sealstone_swtpm_tests::wait::until;
use sealstone_wire::Epoch;

use crate::support::*;

async fn node(server: &Postgres, name: &str) -> Store {
    let config = StoreConfig::postgres(&server.url(), None, None).unwrap();
    let store = Store::open(&config, name).await.unwrap();
    store.begin_era(7, NOW).await.unwrap();
    store.begin_epoch(epoch(0, Algorithm::Es256), record("asset_created")).await.unwrap();
    store
}

/// Has the next transaction that inserts into this table wait, before it commits, until another one waits for it.
fn hold_the_next(server: &Postgres, table: &str) {
    server.sql(
        "keys",
        &format!(
            "CREATE SEQUENCE public.held; CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('public.held') > 1 THEN RETURN NULL; END IF; \
             FOR attempt IN 1..1000 LOOP \
             IF EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted) THEN RETURN NULL; END IF; \
             PERFORM pg_sleep(0.005); END LOOP; RAISE EXCEPTION 'nobody waits'; END $$; \
             CREATE TRIGGER hold AFTER INSERT ON sealstone.{table} FOR EACH ROW EXECUTE FUNCTION public.hold()"
        ),
    );
}

fn await_held(server: &Postgres) {
    let called = "SELECT last_value FROM pg_sequences WHERE sequencename = 'held'";
    let held = || (server.sql("keys", called) == "1").then_some(());
    tokio::task::block_in_place(|| until("a transaction that is held", held));
}

async fn reserve_while_another_agent_rotates(isolation: &str) {
    let server = Postgres::start();
    server.sql("keys", &format!("ALTER DATABASE keys SET default_transaction_isolation = '{isolation}'"));
    let (a, b) = (node(&server, "a").await, node(&server, "b").await);
    hold_the_next(&server, "epochs");
    let rotation = tokio::spawn(async move {
        a.begin_epoch(epoch(1, Algorithm::Es256), record("asset_rotated")).await.unwrap()
    });
    await_held(&server);
    // It waits for the rotation, and must then know of it.
    let late = b.reserve(ask(1, "late")).await.unwrap();
    assert!(matches!(late, Reserved::AssetChanged), "{late:?}");
    assert!(rotation.await.unwrap());
    let named = Reserve { epoch_named: true, ..ask(1, "late") };
    fresh(&b, &named).await;
    fresh(&b, &Reserve { key: ReservedKey::Asset { epoch: Epoch(1) }, ..ask(2, "new") }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reservation_that_waited_for_a_rotation_gets_no_key_of_the_epoch_before() {
    reserve_while_another_agent_rotates("read committed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nor_does_it_where_the_database_s_transactions_are_stricter_by_default() {
    reserve_while_another_agent_rotates("repeatable read").await;
}

/// The same of another sender, so that nothing but an idempotency key makes the two meet.
fn other_sender(reserve: Reserve) -> Reserve {
    let sender = Sender::session(&text("acme"), &text("desk"));
    let key = ReservedKey::Session { hour: 498_675, binding: Binding::from_bytes([9; 32]), issued_at_ms: 77 };
    Reserve { nonce: NonceKey { sender, ..reserve.nonce }, key, ..reserve }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_idempotency_key_names_one_request_though_two_agents_are_asked_at_once() {
    let server = Postgres::start();
    let (a, b) = (node(&server, "a").await, node(&server, "b").await);
    hold_the_next(&server, "idempotency");
    let first = named("uid:0", "k", ask(1, "first"));
    let task = tokio::spawn({
        let (a, first) = (a.clone(), first.clone());
        async move { a.reserve(first).await.unwrap() }
    });
    await_held(&server);
    let neighbour = tokio::spawn({
        let b = b.clone();
        async move { b.reserve(other_sender(ask(7, "neighbour"))).await.unwrap() }
    });
    let second = b.reserve(named("uid:0", "k", other_sender(ask(1, "second")))).await.unwrap();
    assert!(matches!(second, Reserved::KeyReused), "{second:?}");
    let first_outcome = task.await.unwrap();
    assert!(matches!(first_outcome, Reserved::Fresh { .. }), "{first_outcome:?}");
    // Neither a neighbour nor the same request suffers.
    assert!(matches!(neighbour.await.unwrap(), Reserved::Fresh { .. }));
    assert!(matches!(b.reserve(first).await.unwrap(), Reserved::Open(_)));
    assert_eq!(server.sql("keys", "SELECT count(*) FROM sealstone.reservations"), "2");
}
