//! Stories of the store: who gets a nonce, what survives, what is refused.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use sealstone_attestation::{
    Algorithm, Binding, KeyId, PublicKey, Receipt, ReceiptHash, SessionId, Signature64, SignedReceipt,
};
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_795_230_000);

struct Node {
    folder: TempDir,
    store: Store,
}

impl Node {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("agent.db")).await.unwrap();
        store.begin_era(7, NOW).await.unwrap();
        Self { folder, store }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("agent.db")
    }

    /// Ends the process as `kill -9` does: the files stay as they are, nothing is finished or closed.
    async fn crash_and_restart(self) -> Self {
        let Self { folder, store } = self;
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        drop(store);
        let store = Store::open(&copy.path().join("agent.db")).await.unwrap();
        store.begin_era(7, NOW).await.unwrap();
        Self { folder: copy, store }
    }
}

fn text(text: &str) -> PathText {
    text.try_into().unwrap()
}

fn public_key() -> PublicKey {
    let bytes = hex::decode("03e7d9e8b1ad5f49ff4dcfbf0205cfe59e26f69db6abb000c2e1eb71e458b3c156").unwrap();
    PublicKey::from_bytes(Algorithm::Es256, &bytes).unwrap()
}

fn nonce(nonce: u64) -> NonceKey {
    NonceKey { chain_id: 1, sender: Sender::asset(&text("acme"), &text("hot")), nonce }
}

fn ask(number: u64, payload: &str) -> Reserve {
    Reserve {
        nonce: nonce(number),
        request: RequestDigest::of(format!("{number} {payload}").as_bytes()),
        key: ReservedKey::Asset { epoch: Epoch(2) },
        idempotency: None,
        now: NOW,
    }
}

fn named(client: &str, key: &str, reserve: Reserve) -> Reserve {
    Reserve {
        idempotency: Some(IdempotencyKey { client: client.to_owned(), key: key.to_owned() }),
        ..reserve
    }
}

fn answer(reservation: i64, sequence: u64, reserve: &Reserve) -> Answer {
    let receipt = Receipt {
        sequence,
        era: 7,
        previous: ReceiptHash::from_bytes([1; 32]),
        request: reserve.request,
        key_id: KeyId::from_bytes([2; 32]),
        epoch: 2,
        binding: Binding::from_bytes([3; 32]),
        session: SessionId::from_bytes([4; 16]),
        time: NOW,
        signature: Signature64::from_bytes([u8::try_from(sequence % 256).unwrap(); 64]),
    };
    Answer {
        reservation,
        receipt: SignedReceipt { receipt, report_signature: Signature64::from_bytes([6; 64]) },
        public_key: public_key(),
        digest: [7; 32],
        recovery_id: None,
        attested_until: NOW,
    }
}

async fn fresh(store: &Store, reserve: &Reserve) -> i64 {
    match store.reserve(reserve.clone()).await.unwrap() {
        Reserved::Fresh { id } => id,
        other => panic!("expected a fresh reservation, found {other:?}"),
    }
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer_and_another_gets_none() {
    let node = Node::new().await;
    let first = ask(1, "pay bob 5");
    let id = fresh(&node.store, &first).await;
    assert!(
        matches!(node.store.reserve(first.clone()).await.unwrap(), Reserved::Open(open) if open.id == id)
    );
    node.store.answer(answer(id, 1, &first)).await.unwrap();
    for _ in 0..2 {
        let Reserved::Answered(recorded) = node.store.reserve(first.clone()).await.unwrap() else { panic!() };
        assert_eq!((recorded.era, recorded.sequence), (7, 1));
        assert_eq!(recorded.signature, Signature64::from_bytes([1; 64]));
        assert_eq!((recorded.public_key, recorded.key), (public_key(), first.key));
    }
    assert!(matches!(node.store.reserve(ask(1, "pay eve 9")).await.unwrap(), Reserved::NonceUsed));
    assert!(matches!(
        node.store.standing(&nonce(1), &ask(1, "pay eve 9").request).await.unwrap(),
        Some(Reserved::NonceUsed)
    ));
    assert!(node.store.standing(&nonce(2), &first.request).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_requests_for_one_nonce_give_it_to_exactly_one() {
    let node = Node::new().await;
    let tasks: Vec<_> = (0..64)
        .map(|payload| {
            let store = node.store.clone();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_conflict_fails_no_neighbour_in_its_transaction() {
    let node = Node::new().await;
    fresh(&node.store, &ask(500, "first")).await;
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let store = node.store.clone();
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
    assert_eq!(node.store.counts().await.unwrap()["reserved"], 181);
}

#[tokio::test]
async fn reservations_and_answers_that_share_a_transaction_are_each_kept() {
    let node = Node::new().await;
    let mut open: Vec<(i64, Reserve)> = Vec::new();
    let (mut number, mut sequence) = (0, 0);
    // More of either than one statement takes, none of either, and in every other round a nonce that is gone.
    for (round, asks) in [3, 16, 1, 40, 0, 5, 17, 0].into_iter().enumerate() {
        let answers: Vec<_> = std::mem::take(&mut open)
            .into_iter()
            .map(|(id, reserve)| {
                sequence += 1;
                let (store, answer) = (node.store.clone(), answer(id, sequence, &reserve));
                tokio::spawn(async move { store.answer(answer).await })
            })
            .collect();
        let reserves: Vec<_> = (0..asks)
            .map(|_| {
                number += 1;
                let (store, reserve) = (node.store.clone(), ask(number, "first"));
                tokio::spawn(async move { (fresh(&store, &reserve).await, reserve) })
            })
            .collect();
        if round % 2 == 1 {
            let again = node.store.reserve(ask(1, "second")).await.unwrap();
            assert!(matches!(again, Reserved::NonceUsed), "{again:?}");
        }
        for answer in answers {
            answer.await.unwrap().unwrap();
        }
        for reserve in reserves {
            open.push(reserve.await.unwrap());
        }
    }
    let node = node.crash_and_restart().await;
    assert_eq!((number, sequence), (82, 82));
    assert_eq!(node.store.begin_era(7, NOW).await.unwrap().through, sequence);
    for number in 1..=number {
        let answered = node.store.reserve(ask(number, "first")).await.unwrap();
        assert!(matches!(answered, Reserved::Answered(_)), "{number}: {answered:?}");
    }
}

#[tokio::test]
async fn the_number_of_a_released_reservation_is_not_given_again() {
    let node = Node::new().await;
    let released = fresh(&node.store, &ask(1, "a")).await;
    node.store.release(released).await.unwrap();
    assert_ne!(fresh(&node.store, &ask(2, "b")).await, released);
}

#[tokio::test]
async fn a_crash_between_reserve_and_answer_leaves_the_reservation_to_its_request() {
    let node = Node::new().await;
    let lost = ask(1, "lost");
    let session = Reserve {
        nonce: NonceKey { sender: Sender::session(&text("acme"), &text("hot")), ..nonce(1) },
        key: ReservedKey::Session { hour: 498_675, binding: Binding::from_bytes([9; 32]), issued_at_ms: 77 },
        ..ask(1, "session")
    };
    let id = fresh(&node.store, &lost).await;
    fresh(&node.store, &session).await;
    let node = node.crash_and_restart().await;
    assert!(matches!(node.store.reserve(ask(1, "other")).await.unwrap(), Reserved::NonceUsed));
    assert!(
        matches!(node.store.reserve(session.clone()).await.unwrap(), Reserved::Open(open) if open.key == session.key)
    );
    assert_eq!(node.store.reservation_of(&lost.request).await.unwrap().map(|open| open.id), Some(id));
    node.store.answer(answer(id, 1, &lost)).await.unwrap();
    let node = node.crash_and_restart().await;
    assert!(matches!(node.store.reserve(lost).await.unwrap(), Reserved::Answered(_)));
}

#[tokio::test]
async fn a_released_nonce_is_free_again_and_an_answered_one_never() {
    let node = Node::new().await;
    let first = named("a", "k", ask(1, "first"));
    let id = fresh(&node.store, &first).await;
    node.store.release(id).await.unwrap();
    let second = named("a", "k", ask(1, "second"));
    let id = fresh(&node.store, &second).await;
    node.store.answer(answer(id, 1, &second)).await.unwrap();
    node.store.release(id).await.unwrap();
    assert!(matches!(node.store.reserve(second).await.unwrap(), Reserved::Answered(_)));
    assert!(matches!(node.store.reserve(ask(1, "first")).await.unwrap(), Reserved::NonceUsed));
}

#[tokio::test]
async fn an_idempotency_key_names_one_request_of_one_client() {
    let node = Node::new().await;
    let first = named("a", "k", ask(1, "a"));
    let id = fresh(&node.store, &first).await;
    assert!(
        matches!(node.store.reserve(first.clone()).await.unwrap(), Reserved::Open(open) if open.id == id)
    );
    assert!(matches!(node.store.reserve(named("a", "k", ask(2, "a"))).await.unwrap(), Reserved::KeyReused));
    // The refused request left its nonce free, and another client's key is another key.
    fresh(&node.store, &named("b", "k", ask(2, "a"))).await;
    assert!(matches!(node.store.reserve(named("a", "new", ask(2, "b"))).await.unwrap(), Reserved::NonceUsed));
    fresh(&node.store, &named("a", "new", ask(3, "b"))).await;
}

#[tokio::test]
async fn one_sequence_answers_one_reservation_and_the_first_answer_stays() {
    let node = Node::new().await;
    let (a, b) = (ask(1, "a"), ask(2, "b"));
    let (a_id, b_id) = (fresh(&node.store, &a).await, fresh(&node.store, &b).await);
    node.store.answer(answer(a_id, 1, &a)).await.unwrap();
    node.store.answer(answer(a_id, 1, &a)).await.unwrap();
    let taken = node.store.answer(answer(b_id, 1, &b)).await;
    assert!(matches!(taken, Err(StoreError::SequenceTaken { era: 7, sequence: 1 })));
    node.store.answer(answer(a_id, 2, &a)).await.unwrap();
    let Reserved::Answered(recorded) = node.store.reserve(a).await.unwrap() else { panic!() };
    assert_eq!(recorded.sequence, 1);
    assert!(matches!(node.store.reserve(b).await.unwrap(), Reserved::Open(_)));
}

#[tokio::test]
async fn a_restart_knows_which_receipts_are_missing() {
    let node = Node::new().await;
    for number in [1, 2, 4, 6] {
        let ask = ask(number, "x");
        let id = fresh(&node.store, &ask).await;
        node.store.answer(answer(id, number, &ask)).await.unwrap();
    }
    let node = node.crash_and_restart().await;
    let progress = node.store.begin_era(7, NOW).await.unwrap();
    assert_eq!((progress.through, progress.newest()), (2, 6));
    assert_eq!(progress.missing(8).collect::<Vec<_>>(), [3, 5, 7, 8]);
    assert_eq!(node.store.counts().await.unwrap()["signed"], 4);
    node.store.danger_accept_gap(7, 8).await.unwrap();
    let node = node.crash_and_restart().await;
    assert_eq!(node.store.begin_era(7, NOW).await.unwrap().missing(8).count(), 0);
    assert_eq!(node.store.newest_era().await.unwrap(), Some(7));
}

#[tokio::test]
async fn yesterdays_copy_of_the_store_lacks_todays_receipts() {
    let node = Node::new().await;
    let yesterday = node.crash_and_restart().await;
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(yesterday.path(), copy.path().join("agent.db")).unwrap();
    let today = ask(1, "x");
    let id = fresh(&yesterday.store, &today).await;
    yesterday.store.answer(answer(id, 1, &today)).await.unwrap();
    yesterday.store.begin_era(8, NOW).await.unwrap();
    let restored = Store::open(&copy.path().join("agent.db")).await.unwrap();
    assert_eq!(restored.begin_era(7, NOW).await.unwrap().missing(1).collect::<Vec<_>>(), [1]);
    assert_eq!(restored.newest_era().await.unwrap(), Some(7));
    assert!(restored.reservation_of(&today.request).await.unwrap().is_none());
}

#[tokio::test]
async fn nothing_is_reserved_before_the_era_is_known_and_a_claim_stands() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("agent.db")).await.unwrap();
    assert!(matches!(store.reserve(ask(1, "a")).await, Err(StoreError::NoEra)));
    assert_eq!(store.claim("deployment", b"one").await.unwrap(), b"one");
    assert_eq!(store.claim("deployment", b"two").await.unwrap(), b"one");
    store.close().await;
    assert!(matches!(store.reserve(ask(1, "a")).await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn an_epoch_follows_the_one_before_it() {
    let node = Node::new().await;
    let epoch = |number, algorithm| AssetEpoch {
        tenant: text("acme"),
        asset: text("hot"),
        algorithm,
        epoch: Epoch(number),
        binding: Binding::from_bytes([3; 32]),
        key_id: public_key().key_id(),
        public_key: public_key(),
        since: NOW,
    };
    let begin = |number, algorithm| node.store.begin_epoch(epoch(number, algorithm));
    assert!(!begin(1, Algorithm::Es256).await.unwrap());
    assert!(begin(0, Algorithm::Es256).await.unwrap());
    for (number, algorithm) in
        [(0, Algorithm::Es256), (2, Algorithm::Es256), (1, Algorithm::EdDsa), (0, Algorithm::EdDsa)]
    {
        assert!(!begin(number, algorithm).await.unwrap(), "{number} {algorithm}");
    }
    assert!(begin(1, Algorithm::Es256).await.unwrap());
    let newest = node.store.asset(&text("acme"), &text("hot"), None).await.unwrap().unwrap();
    assert_eq!(newest, epoch(1, Algorithm::Es256));
    assert_eq!(node.store.assets().await.unwrap(), [newest]);
    let first = node.store.asset(&text("acme"), &text("hot"), Some(Epoch(0))).await.unwrap();
    assert_eq!(first, Some(epoch(0, Algorithm::Es256)));
    assert!(node.store.asset(&text("acme"), &text("hot"), Some(Epoch(9))).await.unwrap().is_none());
    assert!(node.store.asset(&text("ac"), &text("mehot"), None).await.unwrap().is_none());
}

#[test]
fn no_two_senders_share_a_text() {
    let pairs = [("a", "b:c"), ("a:b", "c"), ("1:a", "b"), ("a", "b")];
    let mut texts: Vec<_> = pairs
        .iter()
        .flat_map(|(tenant, name)| {
            [Sender::asset(&text(tenant), &text(name)), Sender::session(&text(tenant), &text(name))]
        })
        .map(|sender| sender.as_str().to_owned())
        .collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 2 * pairs.len());
}

#[tokio::test]
async fn the_largest_numbers_and_strangest_texts_come_back() {
    let node = Node::new().await;
    let strange = text("a\0'; DROP TABLE reservations; --\u{202e}");
    let mut reserve = ask(1, "x");
    reserve.nonce =
        NonceKey { chain_id: u64::MAX, sender: Sender::asset(&strange, &strange), nonce: u64::MAX };
    let id = fresh(&node.store, &reserve).await;
    node.store.answer(answer(id, 1, &reserve)).await.unwrap();
    assert!(matches!(node.store.reserve(reserve.clone()).await.unwrap(), Reserved::Answered(_)));
    reserve.nonce.nonce -= 1;
    fresh(&node.store, &reserve).await;
    assert!(matches!(node.store.begin_era(u64::MAX, NOW).await, Err(StoreError::TooLarge { .. })));
    // The refusal left the writer working.
    fresh(&node.store, &ask(2, "y")).await;
}

#[tokio::test]
async fn a_second_agent_is_refused_while_the_first_lives() {
    let node = Node::new().await;
    assert!(matches!(Store::open(&node.path()).await, Err(StoreError::InUse { .. })));
    node.store.close().await;
    let path = node.path();
    let Node { folder: _folder, store } = node;
    drop(store);
    Store::open(&path).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(&text, "this is a letter, and no database; it goes on for long enough to be read")
        .unwrap();
    let error = Store::open(&text).await.unwrap_err();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error:?}");
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("this is a letter"));

    let other = folder.path().join("other.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&other).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (x); PRAGMA application_id = 7").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let error = Store::open(&other).await.unwrap_err();
    assert!(error.to_string().contains("application id 0x7"), "{error}");
}

#[tokio::test]
async fn a_store_of_a_newer_release_is_refused() {
    let node = Node::new().await;
    let path = node.path();
    node.store.close().await;
    let Node { folder: _folder, store } = node;
    drop(store);
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::NewerVersion { known: 1, found: 99 }), "{error:?}");
}

#[tokio::test]
async fn a_folder_that_does_not_exist_or_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").join("agent.db");
    let error = Store::open(&missing).await.unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert!(matches!(Store::open(&folder.path().join("file/agent.db")).await, Err(StoreError::Open { .. })));
    // A folder in the file's place: nothing can be opened there, by root neither.
    std::fs::create_dir(folder.path().join("agent.db")).unwrap();
    assert!(matches!(Store::open(&folder.path().join("agent.db")).await, Err(StoreError::Open { .. })));
}

#[tokio::test]
async fn only_the_owner_reads_the_files() {
    let node = Node::new().await;
    fresh(&node.store, &ask(1, "a")).await;
    for name in ["agent.db", "agent.db-wal", "agent.db.lock"] {
        let mode = std::fs::metadata(node.folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_with_its_reason_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let (mut connection, lock) = open::open(&path).await.unwrap();
    // The database may grow no further, as on a full disk.
    sqlx::raw_sql("PRAGMA max_page_count = 40").execute(&mut connection).await.unwrap();
    let store = Store::start(connection, lock, &path, 1);
    store.begin_era(7, NOW).await.unwrap();
    let mut number = 1;
    let error = loop {
        match store.reserve(ask(number, "first")).await {
            Ok(outcome) => assert!(matches!(outcome, Reserved::Fresh { .. })),
            Err(error) => break error,
        }
        number += 1;
    };
    assert!(matches!(error, StoreError::Full), "{error:?}");
    // The writer works on: what needs no room is done, and what was reserved before stands.
    assert!(matches!(store.reserve(ask(1, "second")).await.unwrap(), Reserved::NonceUsed));
    store.close().await;
    drop(store);
    let store = Store::open(&path).await.unwrap();
    store.begin_era(7, NOW).await.unwrap();
    assert_eq!(store.counts().await.unwrap()["reserved"], number - 1);
    fresh(&store, &ask(number, "second")).await;
}
