//! What an operator may do: list, void, free nonces after a re-organisation.

use sealstone_agent::store::{
    Answered, NoncesReleased, RELEASED_MAX, ReleaseNonces, ReservationQuery, ReservationState, Reserved,
    Voided,
};

use crate::support::*;

fn order(nonces: std::ops::RangeInclusive<u64>) -> ReleaseNonces {
    ReleaseNonces { chain_id: 1, sender: sender(), nonces, audit: record("nonces_released") }
}

on_both! {
    async fn a_voided_nonce_is_never_signed(place) {
        let mut place = place;
        let store = place.node("node-1").await;
        let lost = ask(1, "lost");
        let id = fresh(&store, &lost).await;
        let size = store.audit_size().await.unwrap();
        assert_eq!(store.void(id, record("voided")).await.unwrap(), Voided::Voided);
        assert_eq!(store.void(id, record("voided")).await.unwrap(), Voided::Voided);
        assert_eq!(store.audit_size().await.unwrap(), size + 1);
        assert!(!store.release(id, record("released")).await.unwrap());
        let store = place.crash(store).await;
        assert!(matches!(store.reserve(lost.clone()).await.unwrap(), Reserved::Voided));
        assert!(matches!(store.standing(&nonce(1), &lost.request).await.unwrap(), Some(Reserved::Voided)));
        assert!(matches!(store.reserve(ask(1, "other")).await.unwrap(), Reserved::NonceUsed));
        // Its signature was under way: the receipt is kept, and the signature given to nobody.
        let late = store.answer(answer(id, 1, &lost)).await.unwrap();
        assert_eq!(late, Answered { behind: 0, voided: true });
        assert!(matches!(store.reserve(lost).await.unwrap(), Reserved::Voided));
        let kept = store.reservation(id).await.unwrap().unwrap();
        assert_eq!((kept.state, kept.receipt), (ReservationState::Voided, Some((0, 7, 1))));

        let id = signed(&store, 2, &ask(2, "signed")).await;
        assert_eq!(store.void(id, record("voided")).await.unwrap(), Voided::Signed);
        assert_eq!(store.void(id + 1000, record("voided")).await.unwrap(), Voided::Unknown);
    }
}

on_both! {
    async fn nonces_of_a_reorganised_chain_are_signed_again_and_their_history_stays(place) {
        let mut place = place;
        let store = place.node("node-1").await;
        let first = signed(&store, 1, &ask(1, "first")).await;
        let second = signed(&store, 2, &ask(2, "first")).await;
        let third = fresh(&store, &ask(3, "open")).await;
        let open = store.release_nonces(order(1..=9)).await.unwrap();
        assert_eq!(open, NoncesReleased::StillOpen { reservation: third });
        assert!(matches!(store.reserve(ask(1, "second")).await.unwrap(), Reserved::NonceUsed));
        store.void(third, record("voided")).await.unwrap();
        let released = store.release_nonces(order(1..=9)).await.unwrap();
        assert_eq!(released, NoncesReleased::Released { reservations: vec![first, second, third] });
        let size = store.audit_size().await.unwrap();
        let again = store.release_nonces(order(1..=9)).await.unwrap();
        assert_eq!(again, NoncesReleased::Released { reservations: vec![] });
        assert_eq!(store.audit_size().await.unwrap(), size, "nothing changed, nothing is recorded");

        let store = place.crash(store).await;
        let anew = signed(&store, 3, &ask(1, "second")).await;
        let kept = store.reservation(anew).await.unwrap().unwrap();
        assert_eq!((kept.generation, kept.replaces, kept.state), (0, Some(first), ReservationState::Signed));
        let old = store.reservation(first).await.unwrap().unwrap();
        assert_eq!((old.generation, old.replaces, old.state), (1, None, ReservationState::Replaced));
        assert_eq!(old.receipt, Some((0, 7, 1)));
        assert!(matches!(store.reserve(ask(1, "first")).await.unwrap(), Reserved::NonceUsed));

        store.release_nonces(order(1..=1)).await.unwrap();
        let third_time = fresh(&store, &ask(1, "first")).await;
        let kept = store.reservation(third_time).await.unwrap().unwrap();
        assert_eq!(kept.replaces, Some(anew));
        assert_eq!(store.reservation(anew).await.unwrap().unwrap().generation, 2);
        assert_eq!(store.void(first, record("voided")).await.unwrap(), Voided::Replaced);
    }
}

on_both! {
    async fn open_reservations_are_listed_page_by_page(place) {
        let store = place.node("node-1").await;
        for number in 1..=30 {
            let reserve = ask(number, "x");
            match number % 3 {
                0 => drop(fresh(&store, &reserve).await),
                _ => drop(signed(&store, number, &reserve).await),
            }
        }
        let mut query = ReservationQuery { state: Some(ReservationState::Reserved), ..ReservationQuery::default() };
        let mut nonces = Vec::new();
        loop {
            let page = store.reservations(&query, 4).await.unwrap();
            let Some(last) = page.last() else { break };
            query.after = Some(last.id);
            nonces.extend(page.iter().map(|reservation| reservation.nonce.nonce));
        }
        assert_eq!(nonces, [3, 6, 9, 12, 15, 18, 21, 24, 27, 30]);
        let other = ReservationQuery { chain_id: Some(2), ..ReservationQuery::default() };
        assert!(store.reservations(&other, 10).await.unwrap().is_empty());
        let own = ReservationQuery { sender: Some(sender()), ..ReservationQuery::default() };
        assert_eq!(store.reservations(&own, 1000).await.unwrap().len(), 30);
    }
}

on_both! {
    async fn nonces_of_the_upper_half_are_in_the_range_too(place) {
        let store = place.node("node-1").await;
        for number in [0, 1, (1 << 63) - 1, 1 << 63, u64::MAX] {
            let id = fresh(&store, &ask(number, "x")).await;
            store.void(id, record("voided")).await.unwrap();
        }
        // Nonces of the upper half are stored as negative numbers, and are in the range all the same.
        let released = store.release_nonces(order(1..=u64::MAX - 1)).await.unwrap();
        assert!(matches!(released, NoncesReleased::Released { reservations } if reservations.len() == 3));
        assert!(matches!(store.reserve(ask(0, "x")).await.unwrap(), Reserved::Voided));
        assert!(matches!(store.reserve(ask(u64::MAX, "x")).await.unwrap(), Reserved::Voided));
    }
}

on_both! {
    async fn a_resumed_reservation_is_not_released(place) {
        let store = place.node("node-1").await;
        let reserve = ask(1, "x");
        let id = fresh(&store, &reserve).await;
        // Somebody else got it, and may be signing it.
        assert!(matches!(store.reserve(reserve).await.unwrap(), Reserved::Open(open) if open.id == id));
        assert!(!store.release(id, record("released")).await.unwrap());
    }
}

on_both! {
    async fn a_range_with_more_than_one_order_takes_is_left_alone(place) {
        let store = place.node("node-1").await;
        let tasks: Vec<_> = (0..=u64::try_from(RELEASED_MAX).unwrap())
            .map(|number| {
                let store = store.clone();
                tokio::spawn(async move { fresh(&store, &ask(number, "x")).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(store.release_nonces(order(0..=u64::MAX)).await.unwrap(), NoncesReleased::TooMany);
        assert!(matches!(store.reserve(ask(7, "x")).await.unwrap(), Reserved::Open(_)));
    }
}
