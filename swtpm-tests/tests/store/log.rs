//! The audit log: no gap, nothing changed, everything found.

use sealstone_agent::store::{AuditPlace, AuditQuery, AuditRow, CheckpointRow, StoreError};
use sha2::{Digest, Sha256};

use crate::support::*;

fn node_hash(left: &[u8], right: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The tree's root, by the definition of RFC 9162.
fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    if let [leaf] = leaves {
        return *leaf;
    }
    let split = leaves.len().next_power_of_two() / 2;
    node_hash(&root(&leaves[..split]), &root(&leaves[split..]))
}

on_both! {
    async fn records_have_no_gap_and_full_tiles_hold_their_hashes(place) {
        let mut place = place;
        let mut store = place.node("node-1").await;
        let mut sequence = 0;
        // With a restart in the middle of a tile.
        for round in 0..2 {
            let tasks: Vec<_> = (0..250_u64)
                .map(|number| {
                    let store = store.clone();
                    let number = round * 1000 + number;
                    tokio::spawn(async move {
                        match number % 5 {
                            0 => drop(store.append(record("admin")).await.unwrap()),
                            1 => {
                                let id = fresh(&store, &ask(number, "gone")).await;
                                assert!(store.release(id, record("released")).await.unwrap());
                            }
                            _ => drop(fresh(&store, &ask(number, "signed")).await),
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            for number in (0..250).map(|number| round * 1000 + number).filter(|number| number % 5 > 1) {
                sequence += 1;
                let reserve = ask(number, "signed");
                let open = store.reservation_of(&reserve.request).await.unwrap().unwrap();
                store.answer(answer(open.id, sequence, &reserve)).await.unwrap();
            }
            store = place.crash(store).await;
        }
        let size = store.audit_size().await.unwrap();
        assert_eq!(size, 501);
        let leaves = store.audit_leaves(0, 1000).await.unwrap();
        let hashes = store.audit_leaf_hashes(0, 1000).await.unwrap();
        assert_eq!((leaves.len(), hashes.len()), (501, 501));
        for (leaf, hash) in leaves.iter().zip(&hashes) {
            let expected: [u8; 32] = Sha256::new().chain_update([0]).chain_update(leaf).finalize().into();
            assert_eq!(*hash, expected);
        }
        assert_eq!(store.audit_tile(0, 0).await.unwrap(), Some(hashes[..256].concat()));
        assert_eq!(store.audit_tile(0, 1).await.unwrap(), None);
        assert_eq!(store.audit_leaves(499, 1000).await.unwrap(), leaves[499..]);
    }
}

on_both! {
    async fn a_tile_of_the_second_level_is_made_of_roots(place) {
        let store = place.node("node-1").await;
        let mut tasks = Vec::new();
        for _ in 0..256 * 256 - 1 {
            let store = store.clone();
            tasks.push(tokio::spawn(async move { store.append(record("admin")).await.unwrap() }));
        }
        let mut indexes = Vec::new();
        for task in tasks {
            indexes.push(task.await.unwrap());
        }
        indexes.sort_unstable();
        assert_eq!(indexes, (1..65_536).collect::<Vec<_>>());
        let hashes = store.audit_leaf_hashes(0, 65_536).await.unwrap();
        let tile = store.audit_tile(1, 0).await.unwrap().unwrap();
        for (number, hash) in tile.chunks(32).enumerate() {
            assert_eq!(hash, root(&hashes[number * 256..][..256]), "{number}");
        }
        assert_eq!(store.audit_tile(0, 255).await.unwrap(), Some(hashes[255 * 256..].concat()));
    }
}

on_both! {
    async fn records_are_found_by_what_they_say_and_page_by_page(place) {
        let store = place.node("node-1").await;
        let first_ms = NOW_MS + 1;
        for number in 0..40_u8 {
            let row = AuditRow {
                time_ms: first_ms + u64::from(number / 2),
                kind: if number % 2 == 0 { "signed" } else { "refused" }.to_owned(),
                code: (number % 2 == 1).then(|| "LIMIT".to_owned()),
                tenant: Some(if number < 20 { "acme" } else { "other" }.to_owned()),
                sender: Some("hot".to_owned()),
                client: Some(format!("client-{}", number % 4)),
                request: Some([number; 32]),
                key_id: Some([number % 3; 32]),
                epoch: Some(u64::from(number)),
                ..record("signed")
            };
            store.append(row).await.unwrap();
        }
        let count = |query: AuditQuery| {
            let store = store.clone();
            async move { store.query(&query, 1000).await.unwrap().len() }
        };
        let all = || AuditQuery { from_ms: Some(first_ms), ..AuditQuery::default() };
        assert_eq!(count(all()).await, 40);
        assert_eq!(count(AuditQuery { until_ms: Some(first_ms + 5), ..all() }).await, 10);
        assert_eq!(count(AuditQuery { kind: Some("refused".to_owned()), ..all() }).await, 20);
        assert_eq!(count(AuditQuery { code: Some("LIMIT".to_owned()), own: true, ..all() }).await, 20);
        assert_eq!(count(AuditQuery { code: Some("' OR 1=1 --".to_owned()), ..all() }).await, 0);
        let of_acme =
            AuditQuery { tenants: Some([text("acme")].into()), sender: Some("hot".to_owned()), ..all() };
        assert_eq!(count(of_acme).await, 20);
        assert_eq!(count(AuditQuery { client: Some("client-3".to_owned()), ..all() }).await, 10);
        assert_eq!(count(AuditQuery { key_id: Some([2; 32]), ..all() }).await, 13);
        assert_eq!(count(AuditQuery { request: Some([7; 32]), ..AuditQuery::default() }).await, 1);

        for newest_first in [false, true] {
            let mut query = AuditQuery { newest_first, ..all() };
            let mut places: Vec<AuditPlace> = Vec::new();
            loop {
                let page = store.query(&query, 7).await.unwrap();
                let Some(last) = page.last() else { break };
                query.after = Some(last.place);
                places.extend(page.iter().map(|entry| entry.place));
            }
            let mut sorted = places.clone();
            sorted.sort_unstable();
            sorted.dedup();
            if newest_first {
                sorted.reverse();
            }
            assert_eq!((places.len(), places), (40, sorted));
        }
        let entry = &store.query(&all(), 1).await.unwrap()[0];
        assert_eq!((entry.node.as_str(), entry.row.request), ("node-1", Some([0; 32])));
        assert_eq!(store.audit_leaves(entry.place.index, 1).await.unwrap(), std::slice::from_ref(&entry.row.leaf));
    }
}

on_both! {
    async fn the_newest_checkpoint_is_kept_and_the_first_of_a_size_stays(place) {
        let store = place.node("node-1").await;
        assert_eq!(store.checkpoint(None).await.unwrap(), None);
        let checkpoint = |size, note: &str| CheckpointRow { size, root: [9; 32], note: note.into() };
        for (size, note) in [(3, "three"), (9, "nine"), (9, "other"), (5, "five")] {
            store.add_checkpoint(checkpoint(size, note)).await.unwrap();
        }
        assert_eq!(store.checkpoint(None).await.unwrap(), Some(checkpoint(9, "nine")));
        assert_eq!(store.checkpoint(Some(8)).await.unwrap(), Some(checkpoint(5, "five")));
        assert_eq!(store.checkpoint(Some(2)).await.unwrap(), None);
    }
}

on_both! {
    async fn a_record_that_is_too_long_fails_alone(place) {
        let store = place.node("node-1").await;
        let long = AuditRow { leaf: vec![b'x'; 16 * 1024 + 1], ..record("admin") };
        assert!(matches!(store.append(long).await, Err(StoreError::RecordTooLong { found: 16_385 })));
        let late = AuditRow { time_ms: u64::MAX, ..record("admin") };
        assert!(matches!(store.append(late).await, Err(StoreError::TooLarge { .. })));
        // A time of which no partition was made is a record like any other.
        let odd = AuditRow { time_ms: 1, ..record("admin") };
        assert_eq!(store.append(odd).await.unwrap(), 1);
    }
}
