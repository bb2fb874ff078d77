//! Rolling windows: exact to the last unit, whatever runs at once.

use sealstone_agent::store::{Reserve, Reserved};
use sealstone_policy::amount::Amount;
use sealstone_policy::engine::{Demand, ReasonCode};

use crate::support::*;

fn spend(number: u64, at_ms: u64, demands: Vec<Demand>) -> Reserve {
    Reserve { demands, now_ms: at_ms, ..ask(number, "spend") }
}

on_both! {
    async fn a_window_takes_what_fits_and_gives_room_again_when_its_time_is_over(place) {
        let store = place.node("node-1").await;
        fresh(&store, &spend(1, NOW_MS, vec![demand(60, 70, 100)])).await;
        fresh(&store, &spend(2, NOW_MS + 1_000, vec![demand(60, 30, 100)])).await;
        let before = store.audit_size().await.unwrap();
        let Reserved::Refused(refused) =
            store.reserve(spend(3, NOW_MS + 2_000, vec![demand(60, 1, 100)])).await.unwrap()
        else {
            panic!("expected no room")
        };
        assert_eq!((refused.len(), refused[0].code), (1, ReasonCode::RollingLimitExceeded));
        assert!(refused[0].detail.contains("at most 100 within 60 s, found 100 used and 1 more"), "{refused:?}");
        assert_eq!(store.audit_size().await.unwrap(), before + 1);
        // The nonce was not given; nothing was taken.
        let at = |ms: u64| NOW_MS + ms;
        let none = store.reserve(spend(3, at(59_999), vec![demand(60, 1, 100)])).await.unwrap();
        assert!(matches!(none, Reserved::Refused(_)), "{none:?}");
        fresh(&store, &spend(3, at(60_000), vec![demand(60, 70, 100)])).await;
        let none = store.reserve(spend(4, at(60_999), vec![demand(60, 1, 100)])).await.unwrap();
        assert!(matches!(none, Reserved::Refused(_)), "{none:?}");
        fresh(&store, &spend(4, at(61_000), vec![demand(60, 30, 100)])).await;
    }
}

on_both! {
    async fn every_window_that_has_no_room_is_named_and_none_is_taken_of(place) {
        let store = place.node("node-1").await;
        let count = |limit: u64| Demand { window: "count:60".to_owned(), ..demand(60, 1, limit) };
        fresh(&store, &spend(1, NOW_MS, vec![demand(60, 100, 100), count(1)])).await;
        let both = store.reserve(spend(2, NOW_MS, vec![demand(60, 1, 100), demand(3600, 1, 100), count(1)])).await;
        let Reserved::Refused(refused) = both.unwrap() else { panic!("expected no room") };
        let names: Vec<_> = refused.iter().filter_map(|reason| reason.detail.split(": ").next()).collect();
        assert_eq!(names, ["amount:USD:60", "count:60"]);
        // The window that had room was not taken of.
        fresh(&store, &spend(3, NOW_MS, vec![demand(3600, 100, 100)])).await;
        // The same request again spends nothing.
        let again = store.reserve(spend(3, NOW_MS, vec![demand(3600, 100, 100)])).await.unwrap();
        assert!(matches!(again, Reserved::Open(_)), "{again:?}");
    }
}

on_both! {
    async fn a_release_gives_back_and_a_void_does_not(place) {
        let mut place = place;
        let store = place.node("node-1").await;
        let huge: Amount = "115792089237316195423570985008687907853269984665640564039457584007913129639935".parse().unwrap();
        let whole = |number| {
            let demand = Demand { add: huge.clone(), limit: huge.clone(), ..demand(60, 0, 0) };
            spend(number, NOW_MS, vec![demand])
        };
        let id = fresh(&store, &whole(1)).await;
        assert!(matches!(store.reserve(whole(2)).await.unwrap(), Reserved::Refused(_)));
        assert!(store.release(id, record("released")).await.unwrap());
        assert!(!store.release(id, record("released")).await.unwrap());
        let id = fresh(&store, &whole(2)).await;
        store.void(id, record("voided")).await.unwrap();
        let store = place.crash(store).await;
        assert!(matches!(store.reserve(whole(3)).await.unwrap(), Reserved::Refused(_)));
    }
}

on_both! {
    async fn time_does_not_run_backwards_for_a_sender(place) {
        let store = place.node("node-1").await;
        fresh(&store, &spend(1, NOW_MS + 30_000, vec![demand(60, 50, 100)])).await;
        // A clock that is set back: what is spent then counts from the newest time that was seen.
        fresh(&store, &spend(2, NOW_MS - 3_600_000, vec![demand(60, 50, 100)])).await;
        let none = store.reserve(spend(3, NOW_MS + 89_999, vec![demand(60, 1, 100)])).await.unwrap();
        assert!(matches!(none, Reserved::Refused(_)), "{none:?}");
        fresh(&store, &spend(3, NOW_MS + 90_000, vec![demand(60, 100, 100)])).await;
    }
}

on_both! {
    async fn requests_at_once_never_take_more_than_there_is(place) {
        let store = place.node("node-1").await;
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let store = store.clone();
                tokio::spawn(async move {
                    store.reserve(spend(number, NOW_MS, vec![demand(60, 7, 700)])).await.unwrap()
                })
            })
            .collect();
        let mut given = 0;
        for task in tasks {
            given += usize::from(matches!(task.await.unwrap(), Reserved::Fresh { .. }));
        }
        assert_eq!(given, 100);
        // What was refused has its record: the asset's, and a hundred.
        assert_eq!(store.audit_size().await.unwrap(), 101);
    }
}

on_both! {
    async fn a_reservation_that_left_its_window_is_judged_and_counted_when_it_is_resumed(place) {
        let store = place.node("node-1").await;
        let at = |ms: u64| NOW_MS + ms;
        let first = |ms: u64| spend(1, at(ms), vec![demand(60, 70, 100)]);
        let id = fresh(&store, &first(0)).await;
        fresh(&store, &spend(2, at(60_000), vec![demand(60, 70, 100)])).await;
        // Its own spend is over, and another has the room.
        let before = store.audit_size().await.unwrap();
        for ms in [60_000, 119_999] {
            let refused = store.reserve(first(ms)).await.unwrap();
            assert!(matches!(&refused, Reserved::Refused(reasons) if reasons.len() == 1), "{refused:?}");
        }
        assert_eq!(store.audit_size().await.unwrap(), before + 2, "each refusal is recorded");
        let foreseen = store.would_refuse(&sender(), &first(0).demands, at(119_999), Some(id)).await.unwrap();
        assert_eq!(foreseen.len(), 1);
        // It stayed open, and counts from now on.
        let open = store.reserve(first(120_000)).await.unwrap();
        assert!(matches!(open, Reserved::Open(open) if open.id == id), "{open:?}");
        let full = store.reserve(spend(3, at(179_999), vec![demand(60, 31, 100)])).await.unwrap();
        assert!(matches!(full, Reserved::Refused(_)), "{full:?}");
        fresh(&store, &spend(3, at(179_999), vec![demand(60, 30, 100)])).await;
    }
}

on_both! {
    async fn a_reservation_in_its_window_is_resumed_without_a_limit_and_counts_anew(place) {
        let store = place.node("node-1").await;
        let at = |ms: u64| NOW_MS + ms;
        let first = |ms: u64| spend(1, at(ms), vec![demand(60, 70, 100)]);
        let id = fresh(&store, &first(0)).await;
        fresh(&store, &spend(2, at(1_000), vec![demand(60, 30, 100)])).await;
        // The window is full, with it in it.
        assert_eq!(store.would_refuse(&sender(), &first(0).demands, at(50_000), Some(id)).await.unwrap(), []);
        assert_eq!(store.would_refuse(&sender(), &first(0).demands, at(50_000), None).await.unwrap().len(), 1);
        for _ in 0..2 {
            let open = store.reserve(first(50_000)).await.unwrap();
            assert!(matches!(open, Reserved::Open(open) if open.id == id), "{open:?}");
        }
        // It may be signed now, so it leaves the window a minute from now, and not before.
        let full = store.reserve(spend(3, at(109_999), vec![demand(60, 31, 100)])).await.unwrap();
        assert!(matches!(full, Reserved::Refused(_)), "{full:?}");
        fresh(&store, &spend(3, at(110_000), vec![demand(60, 100, 100)])).await;
    }
}

on_both! {
    async fn a_window_that_a_reservation_was_made_without_is_taken_of_when_it_is_resumed(place) {
        let store = place.node("node-1").await;
        // The rules had no limits then, and have two now. One transaction has twins of it.
        let bare = fresh(&store, &spend(1, NOW_MS, Vec::new())).await;
        let limited = spend(1, NOW_MS, vec![demand(60, 60, 100), demand(3600, 60, 1000)]);
        let (one, other) = tokio::join!(store.reserve(limited.clone()), store.reserve(limited));
        for open in [one.unwrap(), other.unwrap()] {
            assert!(matches!(open, Reserved::Open(open) if open.id == bare), "{open:?}");
        }
        let full = store.reserve(spend(2, NOW_MS, vec![demand(60, 41, 100)])).await.unwrap();
        assert!(matches!(full, Reserved::Refused(_)), "{full:?}");
        fresh(&store, &spend(2, NOW_MS, vec![demand(60, 40, 100)])).await;
    }
}
