//! PostgreSQL stores of earlier releases, brought to this one. SQLite's are the store's own tests.

use sealstone_agent::config::store::StoreConfig;
use sealstone_agent::store::{AuditQuery, Store, StoreError};
use sealstone_swtpm_tests::Postgres;

use crate::support::*;

/// What the release before this one made.
const VERSION_2: &str = include_str!("../../../agent/src/store/schema/postgres_v2.sql");

/// A node's log of three records: of a month that has a partition, and of one that has none.
const LOG: &str = "INSERT INTO nodes (number, name, instance, batch, audit_size) VALUES \
     (0, 'node-1', decode(repeat('00', 16), 'hex'), 5, 3); SELECT make_audit_partition(1795230000000); \
     INSERT INTO audit (node, idx, time_ms, kind, code, tenant, sender, leaf, leaf_hash) VALUES \
     (0, 0, 5, 'asset_created', NULL, 'acme', 'hot', '{}', sha256('0')), \
     (0, 1, 1795230000000, 'refused', 'NONCE_ALREADY_USED', 'acme', 'hot', '{}', sha256('1')), \
     (0, 2, 1795230000001, 'signed', NULL, 'acme', 'hot', '{}', sha256('2'))";

fn of_version_2() -> Postgres {
    let server = Postgres::start();
    server.sql(
        "keys",
        &format!(
            "CREATE SCHEMA sealstone; SET search_path = sealstone, pg_temp; {VERSION_2}; \
             INSERT INTO version (version) VALUES (2); {LOG}"
        ),
    );
    server
}

fn at(url: &str) -> StoreConfig {
    StoreConfig::postgres(url, None, None).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_of_version_2_is_brought_to_this_one_with_its_log_though_two_agents_start() {
    let server = of_version_2();
    let (config, other) = (at(&server.url()), at(&server.url()));
    let (store, other) = tokio::join!(Store::open(&config, "node-1"), Store::open(&other, "node-2"));
    let store = store.unwrap();
    other.unwrap();
    assert_eq!(server.sql("keys", "SELECT string_agg(version::text, ',') FROM sealstone.version"), "2,3,4");
    assert_eq!(store.append(record("signed")).await.unwrap(), 3);
    let any = AuditQuery::default;
    for (query, found) in [
        (any(), 4),
        (AuditQuery { kind: Some("refused".to_owned()), ..any() }, 1),
        (AuditQuery { kind: Some("signed".to_owned()), ..any() }, 2),
        (AuditQuery { code: Some("NONCE_ALREADY_USED".to_owned()), ..any() }, 1),
        (AuditQuery { sender: Some("hot".to_owned()), ..any() }, 4),
    ] {
        assert_eq!(store.query(&query, 10).await.unwrap().len(), found, "{query:?}");
    }
    // Old partitions and new ones have each index, whole; none is left of before.
    let of_each = "SELECT string_agg(DISTINCT n::text, ',') FROM (SELECT count(*) FILTER (WHERE i.indisvalid) AS n \
                   FROM pg_partition_tree('sealstone.audit') t JOIN pg_index i ON i.indrelid = t.relid GROUP BY t.relid) x";
    assert_eq!(server.sql("keys", of_each), "9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_whose_role_may_not_migrate_says_who_must() {
    let server = of_version_2();
    server.sql(
        "keys",
        "CREATE ROLE agent LOGIN; GRANT USAGE ON SCHEMA sealstone TO agent; \
                        GRANT SELECT ON ALL TABLES IN SCHEMA sealstone TO agent",
    );
    let refused = Store::open(&at(&server.url_of("agent", "keys")), "node-1").await;
    assert!(matches!(refused, Err(StoreError::Outdated { known: 4, found: 2 })), "{refused:?}");
    assert_eq!(server.sql("keys", "SELECT max(version) FROM sealstone.version"), "2");
}
