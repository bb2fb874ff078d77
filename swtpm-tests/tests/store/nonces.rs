//! Who gets a nonce, and what a crash leaves.

use sealstone_agent::store::{NonceKey, Reserve, Reserved, ReservedKey, Sender, Store, StoreError};
use sealstone_attestation::{Binding, Signature64};

use crate::support::*;

on_both! {
    async fn the_same_request_gets_the_same_answer_and_another_gets_none(place) {
        let store = place.node("node-1").await;
        let first = ask(1, "pay bob 5");
        let id = fresh(&store, &first).await;
        assert!(
            matches!(store.reserve(first.clone()).await.unwrap(), Reserved::Open(open) if open.id == id)
        );
        store.answer(answer(id, 1, &first)).await.unwrap();
        for _ in 0..2 {
            let Reserved::Answered(recorded) = store.reserve(first.clone()).await.unwrap() else { panic!() };
            assert_eq!((recorded.era, recorded.sequence), (7, 1));
            assert_eq!(recorded.signature, Signature64::from_bytes([1; 64]));
            assert_eq!((recorded.public_key, recorded.key), (public_key(), first.key));
        }
        assert!(matches!(store.reserve(ask(1, "pay eve 9")).await.unwrap(), Reserved::NonceUsed));
        assert!(matches!(
            store.standing(&nonce(1), &ask(1, "pay eve 9").request).await.unwrap(),
            Some(Reserved::NonceUsed)
        ));
        assert!(store.standing(&nonce(2), &first.request).await.unwrap().is_none());
    }
}

on_both! {
    async fn sixty_four_requests_for_one_nonce_give_it_to_exactly_one(place) {
        let store = place.node("node-1").await;
        let tasks: Vec<_> = (0..64)
            .map(|payload| {
                let store = store.clone();
                tokio::spawn(async move { store.reserve(ask(1, &payload.to_string())).await.unwrap() })
            })
            .collect();
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap());
        }
        assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Reserved::Fresh { .. })).count(), 1);
        assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Reserved::NonceUsed)).count(), 63);
    }
}

on_both! {
    async fn a_conflict_fails_no_neighbour_in_its_transaction(place) {
        let store = place.node("node-1").await;
        fresh(&store, &ask(500, "first")).await;
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let store = store.clone();
                // Every tenth wants the nonce that is gone.
                let number = if number % 10 == 0 { 500 } else { number };
                tokio::spawn(async move { (number, store.reserve(ask(number, "second")).await.unwrap()) })
            })
            .collect();
        for task in tasks {
            let (number, outcome) = task.await.unwrap();
            match outcome {
                Reserved::NonceUsed => assert_eq!(number, 500),
                Reserved::Fresh { .. } => assert_ne!(number, 500),
                other => panic!("{number}: {other:?}"),
            }
        }
        assert_eq!(store.counts().await.unwrap()["reserved"], 181);
    }
}

on_both! {
    async fn reservations_and_answers_that_share_a_transaction_are_each_kept(place) {
        let mut place = place;
        let store = place.node("node-1").await;
        let mut open: Vec<(i64, Reserve)> = Vec::new();
        let (mut number, mut sequence) = (0, 0);
        // More of either than one statement takes, none of either, and in every other round a nonce that is gone.
        for (round, asks) in [3, 16, 1, 40, 0, 5, 17, 0].into_iter().enumerate() {
            let answers: Vec<_> = std::mem::take(&mut open)
                .into_iter()
                .map(|(id, reserve)| {
                    sequence += 1;
                    let (store, answer) = (store.clone(), answer(id, sequence, &reserve));
                    tokio::spawn(async move { store.answer(answer).await })
                })
                .collect();
            let reserves: Vec<_> = (0..asks)
                .map(|_| {
                    number += 1;
                    let (store, reserve) = (store.clone(), ask(number, "first"));
                    tokio::spawn(async move { (fresh(&store, &reserve).await, reserve) })
                })
                .collect();
            if round % 2 == 1 {
                let again = store.reserve(ask(1, "second")).await.unwrap();
                assert!(matches!(again, Reserved::NonceUsed), "{again:?}");
            }
            for answer in answers {
                answer.await.unwrap().unwrap();
            }
            for reserve in reserves {
                open.push(reserve.await.unwrap());
            }
        }
        let store = place.crash(store).await;
        assert_eq!((number, sequence), (82, 82));
        assert_eq!(store.begin_era(7, NOW).await.unwrap().through, sequence);
        for number in 1..=number {
            let answered = store.reserve(ask(number, "first")).await.unwrap();
            assert!(matches!(answered, Reserved::Answered(_)), "{number}: {answered:?}");
        }
    }
}

on_both! {
    async fn the_number_of_a_released_reservation_is_not_given_again(place) {
        let store = place.node("node-1").await;
        let released = fresh(&store, &ask(1, "a")).await;
        assert!(store.release(released, record("released")).await.unwrap());
        assert_ne!(fresh(&store, &ask(2, "b")).await, released);
    }
}

on_both! {
    async fn a_crash_between_reserve_and_answer_leaves_the_reservation_to_its_request(place) {
        let mut place = place;
        let store = place.node("node-1").await;
        let lost = ask(1, "lost");
        let session = Reserve {
            nonce: NonceKey { sender: Sender::session(&text("acme"), &text("hot")), ..nonce(1) },
            key: ReservedKey::Session { hour: 498_675, binding: Binding::from_bytes([9; 32]), issued_at_ms: 77 },
            ..ask(1, "session")
        };
        let id = fresh(&store, &lost).await;
        fresh(&store, &session).await;
        let store = place.crash(store).await;
        assert!(matches!(store.reserve(ask(1, "other")).await.unwrap(), Reserved::NonceUsed));
        assert!(
            matches!(store.reserve(session.clone()).await.unwrap(), Reserved::Open(open) if open.key == session.key)
        );
        assert_eq!(store.reservation_of(&lost.request).await.unwrap().map(|open| open.id), Some(id));
        store.answer(answer(id, 1, &lost)).await.unwrap();
        let store = place.crash(store).await;
        assert!(matches!(store.reserve(lost).await.unwrap(), Reserved::Answered(_)));
    }
}

on_both! {
    async fn a_released_nonce_is_free_again_and_an_answered_one_never(place) {
        let store = place.node("node-1").await;
        let first = named("uid:1000", "k", ask(1, "first"));
        let id = fresh(&store, &first).await;
        store.release(id, record("released")).await.unwrap();
        let second = named("uid:1000", "k", ask(1, "second"));
        let id = fresh(&store, &second).await;
        store.answer(answer(id, 1, &second)).await.unwrap();
        store.release(id, record("released")).await.unwrap();
        assert!(matches!(store.reserve(second).await.unwrap(), Reserved::Answered(_)));
        assert!(matches!(store.reserve(ask(1, "first")).await.unwrap(), Reserved::NonceUsed));
    }
}

on_both! {
    async fn an_idempotency_key_names_one_request_of_one_client(place) {
        let store = place.node("node-1").await;
        let first = named("uid:1000", "k", ask(1, "a"));
        let id = fresh(&store, &first).await;
        assert!(
            matches!(store.reserve(first.clone()).await.unwrap(), Reserved::Open(open) if open.id == id)
        );
        assert!(matches!(store.reserve(named("uid:1000", "k", ask(2, "a"))).await.unwrap(), Reserved::KeyReused));
        // The refused request left its nonce free, and another client's key is another key.
        fresh(&store, &named("uid:1001", "k", ask(2, "a"))).await;
        assert!(matches!(
            store.reserve(named("uid:1000", "new", ask(2, "b"))).await.unwrap(),
            Reserved::NonceUsed
        ));
        fresh(&store, &named("uid:1000", "new", ask(3, "b"))).await;
    }
}

on_both! {
    async fn one_sequence_answers_one_reservation_and_the_first_answer_stays(place) {
        let store = place.node("node-1").await;
        let (a, b) = (ask(1, "a"), ask(2, "b"));
        let (a_id, b_id) = (fresh(&store, &a).await, fresh(&store, &b).await);
        store.answer(answer(a_id, 1, &a)).await.unwrap();
        store.answer(answer(a_id, 1, &a)).await.unwrap();
        let taken = store.answer(answer(b_id, 1, &b)).await;
        assert!(matches!(taken, Err(StoreError::SequenceTaken { era: 7, sequence: 1 })));
        store.answer(answer(a_id, 2, &a)).await.unwrap();
        let Reserved::Answered(recorded) = store.reserve(a).await.unwrap() else { panic!() };
        assert_eq!(recorded.sequence, 1);
        assert!(matches!(store.reserve(b).await.unwrap(), Reserved::Open(_)));
    }
}

on_both! {
    async fn a_restart_knows_which_receipts_are_missing(place) {
        let mut place = place;
        let store = place.node("node-1").await;
        for number in [1, 2, 4, 6] {
            let ask = ask(number, "x");
            let id = fresh(&store, &ask).await;
            store.answer(answer(id, number, &ask)).await.unwrap();
        }
        let store = place.crash(store).await;
        let progress = store.begin_era(7, NOW).await.unwrap();
        assert_eq!((progress.through, progress.newest()), (2, 6));
        assert_eq!(progress.missing(8).collect::<Vec<_>>(), [3, 5, 7, 8]);
        assert_eq!(store.counts().await.unwrap()["signed"], 4);
        store.danger_accept_gap(7, 8).await.unwrap();
        let store = place.crash(store).await;
        assert_eq!(store.begin_era(7, NOW).await.unwrap().missing(8).count(), 0);
        assert_eq!(store.newest_era().await.unwrap(), Some(7));
    }
}

on_both! {
    async fn nothing_is_reserved_before_the_era_is_known_and_a_claim_stands(place) {
        let store = Store::open(&place.config(), "node-1").await.unwrap();
        assert!(matches!(store.reserve(ask(1, "a")).await, Err(StoreError::NoEra)));
        assert_eq!(store.claim("deployment", b"one").await.unwrap(), b"one");
        assert_eq!(store.claim("deployment", b"two").await.unwrap(), b"one");
        store.close().await;
        assert!(matches!(store.reserve(ask(1, "a")).await, Err(StoreError::Closed)));
    }
}

on_both! {
    async fn the_largest_numbers_and_strangest_texts_come_back(place) {
        let store = place.node("node-1").await;
        // PostgreSQL has no texts with a NUL: they are refused, and fail nobody else.
        let nul = Reserve { client: "a\0b".to_owned(), ..ask(9, "x") };
        match place.is_shared() {
            true => assert!(matches!(store.reserve(nul).await, Err(StoreError::NulInText))),
            false => drop(fresh(&store, &nul).await),
        }
        let strange = text("a'; DROP TABLE reservations; --\u{202e}");
        let session =
            ReservedKey::Session { hour: 498_675, binding: Binding::from_bytes([9; 32]), issued_at_ms: 77 };
        let mut reserve = Reserve { key: session, ..ask(1, "x") };
        reserve.nonce =
            NonceKey { chain_id: u64::MAX, sender: Sender::asset(&strange, &strange), nonce: u64::MAX };
        let id = fresh(&store, &reserve).await;
        store.answer(answer(id, 1, &reserve)).await.unwrap();
        assert!(matches!(store.reserve(reserve.clone()).await.unwrap(), Reserved::Answered(_)));
        reserve.nonce.nonce -= 1;
        fresh(&store, &reserve).await;
        assert!(matches!(store.begin_era(u64::MAX, NOW).await, Err(StoreError::TooLarge { .. })));
        // The refusal left the writer working.
        fresh(&store, &ask(2, "y")).await;
    }
}
