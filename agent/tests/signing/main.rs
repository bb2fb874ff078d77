//! Signing when the enclave, the store or the connection fails: no nonce signs two payloads, no answer is lost.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake;
mod limits;
mod repeats;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake::{Fake, Fault, session};
use sealstone_agent::assets::Assets;
use sealstone_agent::attest::AttestState;
use sealstone_agent::config::store::StoreConfig;
use sealstone_agent::enclave::{Connection, Enclave};
use sealstone_agent::failure::{Code, Failure};
use sealstone_agent::reconcile::Reconciler;
use sealstone_agent::signing::{Asker, IN_FLIGHT_MAX, IN_FLIGHT_OF_ONE_MAX, SignCommand, Signing};
use sealstone_agent::store::{IdempotencyKey, Store};
use sealstone_attestation::{Algorithm, DeploymentId, PublicKey, Signature64, UnixTime};
use sealstone_wire::api::SignAnswer;
use sealstone_wire::reply::{RefusalCode, Reply};
use sealstone_wire::request::Request;
use support::rules;
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(60);

/// An agent's signing parts over one store file, against one fake enclave.
struct Agent {
    store: Store,
    enclave: Enclave,
    signing: Arc<Signing>,
    attestation: watch::Sender<AttestState>,
    renewals: Arc<AtomicUsize>,
}

struct Node {
    fake: Fake,
    folder: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Self { fake: Fake::start(), folder: tempfile::tempdir().unwrap() }
    }

    fn store_path(&self) -> PathBuf {
        self.folder.path().join("agent.db")
    }

    async fn agent(&self) -> Agent {
        self.agent_that(false).await
    }

    async fn agent_that(&self, accepts_lost: bool) -> Agent {
        let enclave = self.fake.responder.client();
        let store = Store::open(&StoreConfig::sqlite(self.store_path()), "node-1").await.unwrap();
        let assets = Arc::new(Assets::new(store.clone(), enclave.clone()));
        let reconciler = Arc::new(Reconciler::new(store.clone(), enclave.clone(), accepts_lost));
        let (attestation, state) = watch::channel(AttestState::Starting);
        let renewals = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&renewals);
        let renew = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        let signing = Arc::new(Signing::new(
            store.clone(),
            enclave.clone(),
            Arc::clone(&assets),
            reconciler,
            rules::permissive(self.folder.path()),
            state,
            renew,
        ));
        let agent = Agent { store, enclave, signing, attestation, renewals };
        agent.attested(1).await;
        let (tenant, asset) = ("acme".try_into().unwrap(), "hot".try_into().unwrap());
        assets.create(&rules::OPERATOR, &tenant, &asset, Algorithm::EdDsa).await.unwrap();
        agent
    }

    fn era(&self) -> u64 {
        self.fake.state.lock().unwrap().era
    }
}

impl Agent {
    /// Waits for a connection of this generation or a later one, and attests on it in era 7.
    async fn attested(&self, at_least: u64) {
        self.attested_in(7, at_least).await;
    }

    async fn attested_in(&self, era: u64, at_least: u64) {
        let mut connection = self.enclave.connection();
        let up = connection
            .wait_for(|now| matches!(now, Connection::Up { generation } if *generation >= at_least));
        let generation = match &*tokio::time::timeout(DEADLINE, up).await.unwrap().unwrap() {
            Connection::Up { generation } => *generation,
            Connection::Down { .. } => unreachable!("waited for up"),
        };
        self.attestation.send_replace(AttestState::Ready { session: session(), era, generation });
    }

    async fn sign(&self, command: SignCommand) -> Result<Arc<SignAnswer>, Failure> {
        tokio::time::timeout(DEADLINE, self.signing.sign(command)).await.unwrap()
    }

    async fn code(&self, command: SignCommand) -> Code {
        self.sign(command).await.unwrap_err().code
    }

    /// Ends as `kill -9` does, as far as the parts know: nothing is finished. The store file stays.
    async fn end(self) {
        self.store.close().await;
    }
}

fn pay(nonce: u64, payload: &str) -> SignCommand {
    command(&format!(r#""asset":"hot","nonce":{nonce},"payload":"{}""#, hex::encode(payload)), None)
}

fn pay_by_session(nonce: u64, payload: &str) -> SignCommand {
    let session = r#""session":{"sender":"hot","algorithm":"EdDSA"}"#;
    command(&format!(r#"{session},"nonce":{nonce},"payload":"{}""#, hex::encode(payload)), None)
}

fn command(fields: &str, idempotency: Option<IdempotencyKey>) -> SignCommand {
    let body = format!(r#"{{"tenant":"acme",{fields}}}"#);
    let (client, idempotency) = match idempotency {
        Some(IdempotencyKey { client, key }) => (client, Some(key)),
        None => ("settlement".to_owned(), None),
    };
    let asker = Asker { client, idempotency, trace_id: "test".to_owned() };
    SignCommand::parse(serde_json::from_str(&body).unwrap(), asker).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_has_the_same_answer_ever_after() {
    let node = Node::new();
    let agent = node.agent().await;
    let first = agent.sign(pay(1, "bob 5")).await.unwrap();
    assert_eq!(agent.sign(pay(1, "bob 5")).await.unwrap(), first);
    assert_eq!(agent.code(pay(1, "eve 9")).await, Code::NonceAlreadyUsed);
    // The same names as a session's sender are another sender.
    let other = agent.sign(pay_by_session(1, "eve 9")).await.unwrap();
    assert_eq!((other.epoch, other.hour), (None, Some(fake::NOW_MS / 3_600_000)));
    agent.end().await;
    let agent = node.agent().await;
    assert_eq!(agent.sign(pay(1, "bob 5")).await.unwrap(), first);
    assert_eq!(node.fake.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_after_signing_is_fetched_and_not_signed_again() {
    let node = Node::new();
    let agent = node.agent().await;
    agent.sign(pay(1, "a")).await.unwrap();
    node.fake.fail_next(Fault::EndAfter);
    assert_eq!(agent.code(pay_by_session(2, "b")).await, Code::OutcomeUnknown);
    agent.attested(2).await;
    let found = agent.sign(pay_by_session(2, "b")).await.unwrap();
    assert_eq!((found.receipt.era, found.receipt.sequence), (7, 2));
    assert_eq!(found.attested_until, session().expires_at);
    assert_eq!(node.fake.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_lost_before_signing_keeps_its_nonce_and_is_resumed() {
    let node = Node::new();
    let agent = node.agent().await;
    node.fake.fail_next(Fault::EndBefore);
    assert_eq!(agent.code(pay_by_session(1, "a")).await, Code::OutcomeUnknown);
    agent.end().await;
    let agent = node.agent().await;
    assert_eq!(agent.code(pay_by_session(1, "b")).await, Code::NonceAlreadyUsed);
    // Resumed with the key of the reservation. A refusal now says nothing of the first attempt: the nonce stays.
    node.fake.fail_next(Fault::Refuse(RefusalCode::SessionKeyExpired));
    assert_eq!(agent.code(pay_by_session(1, "a")).await, Code::Enclave(RefusalCode::SessionKeyExpired));
    assert_eq!(agent.code(pay_by_session(1, "b")).await, Code::NonceAlreadyUsed);
    agent.sign(pay_by_session(1, "a")).await.unwrap();
    let state = node.fake.state.lock().unwrap();
    assert_eq!(state.asked.len(), 3);
    assert!(state.asked.iter().all(|asked| *asked == state.asked[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_frees_the_nonce_unless_it_leaves_doubt() {
    let node = Node::new();
    let agent = node.agent().await;
    for code in [RefusalCode::NotPermitted, RefusalCode::NoSession, RefusalCode::Overloaded] {
        node.fake.fail_next(Fault::Refuse(code));
        assert_eq!(agent.code(pay(1, "a")).await, Code::Enclave(code));
    }
    assert_eq!(agent.renewals.load(Ordering::SeqCst), 1);
    agent.sign(pay(1, "b")).await.unwrap();
    for (nonce, code) in [(2, RefusalCode::Internal), (3, RefusalCode::ShuttingDown)] {
        node.fake.fail_next(Fault::Refuse(code));
        assert_eq!(agent.code(pay(nonce, "a")).await, Code::Enclave(code));
        assert_eq!(agent.code(pay(nonce, "b")).await, Code::NonceAlreadyUsed);
        agent.sign(pay(nonce, "a")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_is_not_given_out_and_the_right_one_is_found() {
    let tampers: [fn(&mut sealstone_wire::reply::Signed); 8] = [
        |signed| signed.signature = Signature64::from_bytes([1; 64]),
        |signed| {
            signed.public_key =
                PublicKey::from(&ed25519_dalek::SigningKey::from_bytes(&[5; 32]).verifying_key())
        },
        |signed| signed.digest[0] ^= 1,
        |signed| signed.recovery_id = Some(0),
        |signed| signed.receipt.report_signature = Signature64::from_bytes([1; 64]),
        |signed| {
            signed.receipt.receipt.request = sealstone_attestation::RequestDigest::of(b"other");
            signed.receipt = fake::sign_receipt(signed.receipt.receipt.clone());
        },
        |signed| {
            signed.receipt.receipt.binding = sealstone_attestation::Binding::from_bytes([0; 32]);
            signed.receipt = fake::sign_receipt(signed.receipt.receipt.clone());
        },
        |signed| {
            signed.receipt.receipt.epoch = 9;
            signed.receipt = fake::sign_receipt(signed.receipt.receipt.clone());
        },
    ];
    let node = Node::new();
    let agent = node.agent().await;
    for (nonce, tamper) in (1..).zip(tampers) {
        node.fake.fail_next(Fault::Tamper(tamper));
        assert_eq!(agent.code(pay(nonce, "a")).await, Code::EnclaveFault, "tamper {nonce}");
        assert_eq!(agent.code(pay(nonce, "b")).await, Code::NonceAlreadyUsed);
        assert_eq!(agent.sign(pay(nonce, "a")).await.unwrap().receipt.sequence, nonce);
    }
    assert_eq!(node.fake.asked(), tampers.len());
    node.fake.fail_next(Fault::Answer(Box::new(Reply::Done)));
    assert_eq!(agent.code(pay(99, "a")).await, Code::EnclaveFault);
    agent.sign(pay(99, "a")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_at_once_spend_a_nonce_once() {
    let node = Node::new();
    let agent = Arc::new(node.agent().await);
    let sign_all = |payloads: Vec<String>, nonce| {
        let agent = Arc::clone(&agent);
        async move {
            let tasks: Vec<_> = payloads
                .into_iter()
                .map(|payload| {
                    let agent = Arc::clone(&agent);
                    tokio::spawn(async move { agent.sign(pay(nonce, &payload)).await })
                })
                .collect();
            let mut outcomes = Vec::new();
            for task in tasks {
                outcomes.push(task.await.unwrap());
            }
            outcomes
        }
    };
    let same = sign_all(vec!["same".to_owned(); 64], 1).await;
    let first = same[0].clone().unwrap();
    assert!(same.into_iter().all(|outcome| outcome.unwrap() == first));
    assert_eq!(node.fake.asked(), 1);
    let different = sign_all((0..64).map(|n| n.to_string()).collect(), 2).await;
    assert_eq!(different.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let refused = different.into_iter().filter_map(Result::err);
    assert!(refused.into_iter().all(|failure| failure.code == Code::NonceAlreadyUsed));
    assert_eq!(node.fake.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_be_under_way_are_refused_and_nothing_is_reserved_for_them() {
    let node = Node::new();
    let agent = Arc::new(node.agent().await);
    node.fake.state.lock().unwrap().hold = true;
    let by = |client: &str, nonce: u64| {
        let mut command = pay(nonce, "a");
        command.asker.client = client.to_owned();
        command
    };
    let mut held = Vec::new();
    let (all, of_one) = (u64::try_from(IN_FLIGHT_MAX).unwrap(), u64::try_from(IN_FLIGHT_OF_ONE_MAX).unwrap());
    for nonce in 0..all {
        // One client takes what it may, and is told so; another takes the rest.
        let client = if nonce < of_one { "wild" } else { "settlement" };
        if nonce == of_one {
            while node.fake.asked() < IN_FLIGHT_OF_ONE_MAX {
                tokio::task::yield_now().await;
            }
            let failure = agent.sign(by("wild", 1000)).await.unwrap_err();
            assert_eq!(failure.code.status(), 429, "{failure}");
            assert!(failure.detail.contains("96 signatures under way of one client"), "{failure}");
        }
        let (agent, command) = (Arc::clone(&agent), by(client, nonce));
        held.push(tokio::spawn(async move { agent.sign(command).await }));
    }
    while node.fake.asked() < IN_FLIGHT_MAX {
        tokio::task::yield_now().await;
    }
    assert_eq!(agent.code(by("third", 1000)).await, Code::Overloaded);
    agent.enclave.call(Request::Lock, DEADLINE).await.unwrap();
    for task in held {
        task.await.unwrap().unwrap();
    }
    agent.sign(pay(1000, "b")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lacks_a_signature_signs_nothing_until_an_operator_accepts_it() {
    let node = Node::new();
    let agent = node.agent().await;
    let first = agent.sign(pay(1, "a")).await.unwrap();
    agent.end().await;
    node.fake.sign_unasked(b"by a store of later");
    let agent = node.agent().await;
    let failure = agent.sign(pay(2, "a")).await.unwrap_err();
    assert_eq!(failure.code, Code::StoreRolledBack);
    assert!(failure.detail.contains("receipt 2 of era 7"), "{failure}");
    assert_eq!(agent.code(pay(1, "a")).await, Code::StoreRolledBack);
    agent.end().await;
    // A later era no longer shows it; the store itself remembers.
    {
        let mut state = node.fake.state.lock().unwrap();
        (state.last_used_era, state.era) = (7, 8);
        state.receipts.clear();
    }
    let agent = node.agent().await;
    agent.attested_in(node.era(), 1).await;
    assert_eq!(agent.code(pay(2, "a")).await, Code::StoreRolledBack);
    agent.end().await;
    let agent = node.agent_that(true).await;
    agent.attested_in(node.era(), 1).await;
    agent.sign(pay(2, "a")).await.unwrap();
    assert_eq!(agent.sign(pay(1, "a")).await.unwrap().signature, first.signature);
    agent.end().await;
    let agent = node.agent().await;
    agent.attested_in(node.era(), 1).await;
    agent.sign(pay(3, "a")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_the_enclave_no_longer_holds_and_an_era_never_seen_are_found() {
    for (expected, change) in [
        (
            "neither the store nor the enclave",
            (|state| {
                state.receipts.remove(0);
            }) as fn(&mut fake::State),
        ),
        ("seen era 6, in which the enclave signed", |state| {
            state.receipts.clear();
            state.last_used_era = 6;
        }),
    ] {
        let node = Node::new();
        node.fake.sign_unasked(b"one");
        node.fake.sign_unasked(b"two");
        change(&mut node.fake.state.lock().unwrap());
        let agent = node.agent().await;
        let failure = agent.sign(pay(1, "a")).await.unwrap_err();
        assert!(failure.code == Code::StoreRolledBack && failure.detail.contains(expected), "{failure}");
        assert_eq!(node.fake.asked(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_deployment_or_of_a_later_era_is_refused() {
    for change in [
        (|state| state.deployment = DeploymentId::from_bytes([2; 16])) as fn(&mut fake::State),
        |state| state.era = 6,
        |state| state.receipts.clear(),
    ] {
        let node = Node::new();
        let agent = node.agent().await;
        agent.sign(pay(1, "a")).await.unwrap();
        agent.end().await;
        change(&mut node.fake.state.lock().unwrap());
        let agent = node.agent().await;
        agent.attested_in(node.era(), 1).await;
        assert_eq!(agent.code(pay(2, "a")).await, Code::StoreForeign);
        assert_eq!(node.fake.asked(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_of_an_era_that_the_store_has_not_seen_is_first_reconciled() {
    let node = Node::new();
    let agent = node.agent().await;
    node.fake.fail_next(Fault::NextEra);
    assert_eq!(agent.code(pay(1, "a")).await, Code::OutcomeUnknown);
    agent.attested_in(8, 1).await;
    let found = agent.sign(pay(1, "a")).await.unwrap();
    assert_eq!((found.receipt.era, found.receipt.sequence), (8, 1));
    assert_eq!(node.fake.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_made_while_store_and_enclave_are_compared_is_no_foreign_one() {
    let node = Node::new();
    let agent = node.agent().await;
    agent.sign(pay(1, "a")).await.unwrap();
    node.fake.fail_next(Fault::Answer(Box::new(Reply::Done)));
    assert_eq!(agent.code(pay(2, "a")).await, Code::EnclaveFault);
    node.fake.state.lock().unwrap().stale_report = true;
    agent.sign(pay(3, "a")).await.unwrap();
    assert!(!node.fake.state.lock().unwrap().stale_report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_nobody_was_told_of_is_fetched_while_the_enclave_still_has_it() {
    let node = Node::new();
    let agent = Arc::new(node.agent().await);
    node.fake.fail_next(Fault::Mute);
    let waiting = {
        let agent = Arc::clone(&agent);
        tokio::spawn(async move { agent.sign(pay(0, "a")).await })
    };
    while node.fake.asked() < 1 {
        tokio::task::yield_now().await;
    }
    let others = 2 * u64::try_from(IN_FLIGHT_MAX).unwrap() + 2;
    for nonce in 1..=others {
        agent.sign(pay(nonce, "a")).await.unwrap();
    }
    let counts = agent.store.counts().await.unwrap();
    assert_eq!((counts["reserved"], counts["signed"]), (0, others + 1));
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_could_not_be_recorded_is_never_called_unsigned() {
    let node = Node::new();
    let agent = Arc::new(node.agent().await);
    node.fake.state.lock().unwrap().hold = true;
    let held = {
        let agent = Arc::clone(&agent);
        tokio::spawn(async move { agent.code(pay(1, "a")).await })
    };
    while node.fake.asked() < 1 {
        tokio::task::yield_now().await;
    }
    agent.store.close().await;
    agent.enclave.call(Request::Lock, DEADLINE).await.unwrap();
    assert_eq!(held.await.unwrap(), Code::OutcomeUnknown);
    drop(agent);
    let agent = node.agent().await;
    assert_eq!(agent.code(pay(1, "b")).await, Code::NonceAlreadyUsed);
    assert_eq!(agent.sign(pay(1, "a")).await.unwrap().receipt.sequence, 1);
    assert_eq!(node.fake.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_old_answers_are_given_and_new_ones_refused_with_the_reason() {
    let node = Node::new();
    let agent = node.agent().await;
    let first = agent.sign(pay(1, "a")).await.unwrap();
    let detail = "quote.state: expected an approved state".to_owned();
    agent.attestation.send_replace(AttestState::Failed {
        code: "ATTESTATION_FAILED",
        detail: detail.clone(),
        since: UnixTime::from_secs(1),
    });
    assert_eq!(agent.sign(pay(1, "a")).await.unwrap(), first);
    assert_eq!(agent.code(pay(1, "b")).await, Code::NonceAlreadyUsed);
    let failure = agent.sign(pay(2, "a")).await.unwrap_err();
    assert_eq!((failure.code.name(), failure.code.status()), ("ATTESTATION_FAILED", 503));
    assert!(failure.detail.contains(&detail));
    agent.attestation.send_replace(AttestState::Unprovisioned);
    assert_eq!(agent.code(pay(2, "a")).await.name(), "UNPROVISIONED");
    // Nothing was reserved for what was refused.
    agent.attested(1).await;
    agent.sign(pay(2, "b")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_signed_reserves_nothing() {
    let node = Node::new();
    let agent = node.agent().await;
    let unknown = command(r#""asset":"cold","nonce":1,"payload":"00""#, None);
    assert_eq!(agent.code(unknown).await, Code::AssetUnknown);
    let hashed = command(r#""asset":"hot","nonce":1,"payload":"00","hash":"keccak256""#, None);
    assert_eq!(agent.code(hashed).await, Code::PayloadUnsuitable);
    let digest = format!(r#""asset":"hot","nonce":1,"digest":"{}""#, "00".repeat(32));
    assert_eq!(agent.code(command(&digest, None)).await, Code::PayloadUnsuitable);
    assert!(agent.store.counts().await.unwrap().values().all(|count| *count == 0));
    assert_eq!(node.fake.asked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_names_one_request() {
    let node = Node::new();
    let agent = node.agent().await;
    let named = |nonce: u64| {
        let key = IdempotencyKey { client: "settlement".to_owned(), key: "k-1".to_owned() };
        command(&format!(r#""asset":"hot","nonce":{nonce},"payload":"00""#), Some(key))
    };
    let first = agent.sign(named(1)).await.unwrap();
    assert_eq!(agent.sign(named(1)).await.unwrap(), first);
    assert_eq!(agent.code(named(2)).await, Code::IdempotencyKeyReused);
}
