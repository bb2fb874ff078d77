//! Assets: created, rotated, retired, listed.

use sealstone_agent::store::{AssetEpoch, AssetQuery, Reserve, Reserved, ReservedKey, Sender};
use sealstone_attestation::{Algorithm, UnixTime};
use sealstone_wire::Epoch;

use crate::support::*;

on_both! {
    async fn an_epoch_follows_the_one_before_it(place) {
        let store = place.node("node-1").await;
        let begin = |number, algorithm| store.begin_epoch(epoch(number, algorithm), record("asset_rotated"));
        let before = store.audit_size().await.unwrap();
        for (number, algorithm) in
            [(0, Algorithm::Es256), (2, Algorithm::Es256), (1, Algorithm::EdDsa), (0, Algorithm::EdDsa)]
        {
            assert!(!begin(number, algorithm).await.unwrap(), "{number} {algorithm}");
        }
        assert_eq!(store.audit_size().await.unwrap(), before);
        assert!(begin(1, Algorithm::Es256).await.unwrap());
        assert_eq!(store.audit_size().await.unwrap(), before + 1);
        let newest = store.asset(&text("acme"), &text("hot"), None).await.unwrap().unwrap();
        assert_eq!(newest, epoch(1, Algorithm::Es256));
        assert_eq!(store.assets(&AssetQuery::default(), 10).await.unwrap(), [newest]);
        let first = store.asset(&text("acme"), &text("hot"), Some(Epoch(0))).await.unwrap();
        assert_eq!(first, Some(epoch(0, Algorithm::Es256)));
        assert!(store.asset(&text("acme"), &text("hot"), Some(Epoch(9))).await.unwrap().is_none());
        assert!(store.asset(&text("ac"), &text("mehot"), None).await.unwrap().is_none());
        let all = store.epochs(&text("acme"), &text("hot"), None, 10).await.unwrap();
        assert_eq!(all, [epoch(0, Algorithm::Es256), epoch(1, Algorithm::Es256)]);
        assert_eq!(store.epochs(&text("acme"), &text("hot"), Some(Epoch(0)), 10).await.unwrap(), all[1..]);
    }
}

on_both! {
    async fn of_many_rotations_at_once_one_is_made(place) {
        let store = place.node("node-1").await;
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    store.begin_epoch(epoch(1, Algorithm::Es256), record("asset_rotated")).await.unwrap()
                })
            })
            .collect();
        let mut begun = 0;
        for task in tasks {
            begun += usize::from(task.await.unwrap());
        }
        assert_eq!(begun, 1);
        assert_eq!(store.epochs(&text("acme"), &text("hot"), None, 10).await.unwrap().len(), 2);
    }
}

on_both! {
    async fn a_retired_asset_gets_no_new_nonce_and_keeps_its_answers(place) {
        let store = place.node("node-1").await;
        signed(&store, 1, &ask(1, "before")).await;
        fresh(&store, &ask(2, "open")).await;
        let retire = || async { store.retire(&text("acme"), &text("hot"), NOW, record("asset_retired")).await };
        assert!(retire().await.unwrap());
        assert!(!retire().await.unwrap());
        assert!(!store.retire(&text("acme"), &text("none"), NOW, record("asset_retired")).await.unwrap());
        assert!(matches!(store.reserve(ask(3, "after")).await.unwrap(), Reserved::AssetChanged));
        assert!(matches!(store.reserve(ask(1, "before")).await.unwrap(), Reserved::Answered(_)));
        assert!(matches!(store.reserve(ask(2, "open")).await.unwrap(), Reserved::Open(_)));
        assert!(!store.begin_epoch(epoch(1, Algorithm::Es256), record("asset_rotated")).await.unwrap());
        let kept = store.asset(&text("acme"), &text("hot"), None).await.unwrap().unwrap();
        assert_eq!((kept.retired_at, kept.public_key), (Some(NOW), public_key()));
    }
}

on_both! {
    async fn a_request_signs_with_the_newest_epoch_unless_it_names_one(place) {
        let store = place.node("node-1").await;
        fresh(&store, &ask(1, "x")).await;
        assert!(store.begin_epoch(epoch(1, Algorithm::Es256), record("asset_rotated")).await.unwrap());
        assert!(matches!(store.reserve(ask(2, "x")).await.unwrap(), Reserved::AssetChanged));
        fresh(&store, &Reserve { epoch_named: true, ..ask(2, "x") }).await;
        fresh(&store, &Reserve { key: ReservedKey::Asset { epoch: Epoch(1) }, ..ask(3, "x") }).await;
        let mut unknown = ask(4, "x");
        unknown.nonce.sender = Sender::asset(&text("acme"), &text("cold"));
        assert!(matches!(store.reserve(unknown).await.unwrap(), Reserved::AssetChanged));
    }
}

on_both! {
    async fn assets_are_listed_page_by_page_and_by_age(place) {
        let store = place.node("node-1").await;
        for number in 0..25_u64 {
            let asset = AssetEpoch {
                tenant: text(if number % 2 == 0 { "acme" } else { "Zeta" }),
                asset: text(&format!("a{number:02}")),
                since: UnixTime::from_secs(NOW.as_secs() + number),
                ..epoch(0, Algorithm::Es256)
            };
            assert!(store.begin_epoch(asset, record("asset_created")).await.unwrap());
        }
        let mut query = AssetQuery::default();
        let mut found = Vec::new();
        loop {
            let page = store.assets(&query, 10).await.unwrap();
            let Some(last) = page.last() else { break };
            query.after = Some((last.tenant.clone(), last.asset.clone()));
            found.extend(page.into_iter().map(|asset| format!("{}/{}", asset.tenant, asset.asset)));
        }
        let mut sorted = found.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!((found.len(), &found), (26, &sorted), "by bytes: capitals first");
        let zeta = AssetQuery { tenants: Some([text("Zeta")].into()), ..AssetQuery::default() };
        assert_eq!(store.assets(&zeta, 100).await.unwrap().len(), 12);
        let old = AssetQuery { epoch_before: Some(UnixTime::from_secs(NOW.as_secs() + 3)), ..AssetQuery::default() };
        // Three of the new ones, and `hot`.
        assert_eq!(store.assets(&old, 100).await.unwrap().len(), 4);
        store.retire(&text("acme"), &text("hot"), NOW, record("asset_retired")).await.unwrap();
        assert_eq!(store.assets(&old, 100).await.unwrap().len(), 3);
    }
}
