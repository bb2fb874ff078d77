//! The audit log: no gap, nothing changed, everything found.

use std::collections::BTreeSet;

use sealstone_agent::store::{AuditPlace, AuditQuery, AuditRow, CheckpointRow, StoreError};
use sealstone_attestation::Algorithm;
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

on_both! {
    async fn a_filter_that_no_record_can_match_is_refused_before_the_database_is_asked(place) {
        let store = place.node("node-1").await;
        let nul = || Some("a\0b".to_owned());
        let any = AuditQuery::default;
        for query in [
            AuditQuery { tenants: Some(BTreeSet::from([text("a\0b")])), ..any() },
            AuditQuery { tenants: Some(BTreeSet::from([text("acme"), text("a\0b")])), ..any() },
            AuditQuery { sender: nul(), ..any() },
            AuditQuery { kind: nul(), ..any() },
            AuditQuery { code: nul(), ..any() },
            AuditQuery { client: nul(), ..any() },
        ] {
            let refused = store.query(&query, 10).await;
            assert!(matches!(refused, Err(StoreError::NulInText)), "{query:?}: {refused:?}");
        }
        let far = AuditQuery { from_ms: Some(u64::MAX), ..any() };
        assert!(matches!(store.query(&far, 10).await, Err(StoreError::TooLarge { .. })));
        // What is strange and can be is searched for.
        for strange in ["'; DROP TABLE audit; --", "\u{10ffff}", "%", "\\", "\u{1}"] {
            let query = AuditQuery { sender: Some(strange.to_owned()), ..any() };
            assert_eq!(store.query(&query, 10).await.unwrap(), [], "{strange}");
        }
        assert_eq!(store.query(&any(), 10).await.unwrap().len(), 1);
    }
}

type Matches = Box<dyn Fn(&AuditRow) -> bool>;

on_both! {
    async fn every_filter_finds_its_records_in_pages_of_either_order(place) {
        let store = place.node("node-1").await;
        let key = *epoch(0, Algorithm::Es256).key_id.as_bytes();
        for number in 0..60_u64 {
            let of = |every: u64| number % every == 0;
            let row = AuditRow {
                time_ms: NOW_MS + number / 3,
                kind: if of(4) { "refused" } else { "signed" }.to_owned(),
                code: of(4).then(|| if of(8) { "DAILY_LIMIT_EXCEEDED" } else { "VELOCITY_EXCEEDED" }.to_owned()),
                tenant: (!of(10)).then(|| if of(3) { "acme" } else { "beta" }.to_owned()),
                sender: (!of(10)).then(|| if of(2) { "hot" } else { "cold" }.to_owned()),
                client: Some(if of(7) { "uid:7" } else { "uid:0" }.to_owned()),
                // The asset's in some records that are its own; a key that no asset has in others.
                key_id: Some(if of(6) && !of(10) { key } else { [7; 32] }),
                ..record("x")
            };
            store.append(row).await.unwrap();
        }
        let all = store.query(&AuditQuery::default(), 100).await.unwrap();
        assert_eq!(all.len(), 61);
        let tenants = |names: &[&str]| Some(names.iter().map(|name| text(name)).collect::<BTreeSet<_>>());
        let any = AuditQuery::default;
        let is = |text: &str| Some(text.to_owned());
        let queries: Vec<(AuditQuery, Matches)> = vec![
            (any(), Box::new(|_| true)),
            (AuditQuery { kind: is("signed"), ..any() }, Box::new(|row| row.kind == "signed")),
            (AuditQuery { kind: is("refused"), ..any() }, Box::new(|row| row.kind == "refused")),
            (AuditQuery { kind: is("locked"), ..any() }, Box::new(|_| false)),
            (AuditQuery { code: is("VELOCITY_EXCEEDED"), ..any() }, Box::new(|row| row.code.as_deref() == Some("VELOCITY_EXCEEDED"))),
            (AuditQuery { client: is("uid:7"), ..any() }, Box::new(|row| row.client.as_deref() == Some("uid:7"))),
            (AuditQuery { key_id: Some(key), ..any() }, Box::new(move |row| row.key_id == Some(key))),
            (AuditQuery { key_id: Some([7; 32]), ..any() }, Box::new(|row| row.key_id == Some([7; 32]))),
            (
                AuditQuery { key_id: Some(key), sender: is("cold"), ..any() },
                Box::new(|_| false),
            ),
            (AuditQuery { sender: is("hot"), ..any() }, Box::new(|row| row.sender.as_deref() == Some("hot"))),
            (AuditQuery { tenants: tenants(&["beta"]), ..any() }, Box::new(|row| row.tenant.as_deref() == Some("beta"))),
            (AuditQuery { tenants: tenants(&["acme", "beta"]), ..any() }, Box::new(|row| row.tenant.is_some())),
            (AuditQuery { tenants: tenants(&[]), ..any() }, Box::new(|_| false)),
            (
                AuditQuery { tenants: tenants(&["acme"]), sender: is("hot"), kind: is("refused"), ..any() },
                Box::new(|row| {
                    (row.tenant.as_deref(), row.sender.as_deref(), &*row.kind) == (Some("acme"), Some("hot"), "refused")
                }),
            ),
            (
                AuditQuery { from_ms: Some(NOW_MS + 5), until_ms: Some(NOW_MS + 9), ..any() },
                Box::new(|row| (NOW_MS + 5..NOW_MS + 9).contains(&row.time_ms)),
            ),
        ];
        for (query, matches) in queries {
            let mut expected: Vec<_> = all.iter().filter(|entry| matches(&entry.row)).cloned().collect();
            for newest_first in [false, true] {
                let mut query = AuditQuery { newest_first, ..query.clone() };
                let mut found = Vec::new();
                loop {
                    let page = store.query(&query, 7).await.unwrap();
                    let Some(last) = page.last() else { break };
                    query.after = Some(last.place);
                    found.extend(page);
                }
                assert_eq!(found, expected, "{query:?}");
                expected.reverse();
            }
        }
    }
}
