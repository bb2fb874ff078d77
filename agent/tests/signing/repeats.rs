//! The same request again, in other words, by another client, in another hour, after a rotation.

use sealstone_agent::assets::Assets;
use sealstone_agent::store::ReservationQuery;
use sealstone_attestation::audit::{Record, RecordKind};
use sealstone_policy::engine::ReasonCode;

use super::*;

const HOUR_MS: u64 = 3_600_000;

/// The program of notes, `MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr`.
const MEMO: &str = "054a535a992921064d24e87160da387c7c35b5ddbc92bb81e41fa8404105448d";

/// By this client, with these fields beside those of [`pay`].
fn pay_as(client: &str, key: Option<&str>, fields: &str) -> SignCommand {
    let body = format!(r#"{{"tenant":"acme","asset":"hot","nonce":1,"payload":"aa"{fields}}}"#);
    let asker =
        Asker { client: client.to_owned(), idempotency: key.map(str::to_owned), trace_id: "test".to_owned() };
    SignCommand::parse(serde_json::from_str(&body).unwrap(), asker).unwrap()
}

/// A message that names its payer, who must be the key that signs, and holds a memo.
fn note_by_session(nonce: u64) -> SignCommand {
    let mut message = vec![1, 0, 1, 2];
    message.extend_from_slice(fake::public_key().as_bytes());
    message.extend_from_slice(&hex::decode(MEMO).unwrap());
    message.extend_from_slice(&[7; 32]);
    message.extend_from_slice(&[1, 1, 0, 2, b'h', b'i']);
    let fields = r#""session":{"sender":"notes","algorithm":"EdDSA"},"chain_id":900,"format":"solana""#;
    command(&format!(r#"{fields},"nonce":{nonce},"payload":"{}""#, hex::encode(message)), None)
}

impl Agent {
    /// Every record of a decision.
    async fn decisions(&self) -> Vec<Record> {
        let leaves = self.store.audit_leaves(0, 1000).await.unwrap();
        let records = leaves.iter().map(|leaf| serde_json::from_slice::<Record>(leaf).unwrap());
        records.filter(|record| matches!(record.kind, RecordKind::Signed | RecordKind::Refused)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_what_is_under_way_is_judged_by_what_they_say_themselves() {
    let node = Node::new();
    let agent = Arc::new(node.agent().await);
    let used = command(r#""asset":"hot","nonce":9,"payload":"00""#, None);
    let used = SignCommand { asker: pay_as("desk", Some("k"), "").asker, ..used };
    agent.sign(used).await.unwrap();
    node.fake.state.lock().unwrap().hold = true;
    let spawn = |command: SignCommand| {
        let agent = Arc::clone(&agent);
        tokio::spawn(async move { agent.sign(command).await })
    };
    let first = spawn(pay_as("settlement", None, ""));
    while node.fake.asked() < 2 {
        tokio::task::yield_now().await;
    }
    // What nobody reads has no amount; the request that is under way did not say that it had.
    let lies = agent.sign(pay_as("settlement", None, r#","amount":"5""#)).await.unwrap_err();
    assert_eq!(lies.code, Code::Policy(ReasonCode::PayloadMismatch), "{lies}");
    let lies = agent.decisions().await.pop().unwrap();
    assert_eq!((lies.kind, lies.code.as_deref()), (RecordKind::Refused, Some("PAYLOAD_MISMATCH")));
    // A key that names another request.
    assert_eq!(agent.code(pay_as("desk", Some("k"), "")).await, Code::IdempotencyKeyReused);
    let reused = agent.decisions().await.pop().unwrap();
    assert_eq!((reused.kind, reused.client.as_deref()), (RecordKind::Refused, Some("desk")));
    // Let through by themselves, they share the one signature.
    let others = [spawn(pay_as("desk", None, "")), spawn(pay_as("settlement", None, ""))];
    while agent.store.reservations(&Default::default(), 10).await.unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    agent.enclave.call(Request::Lock, DEADLINE).await.unwrap();
    let first = first.await.unwrap().unwrap();
    for other in others {
        assert_eq!(other.await.unwrap().unwrap(), first);
    }
    assert_eq!(agent.sign(pay_as("desk", None, "")).await.unwrap(), first);
    assert_eq!(node.fake.asked(), 2, "each nonce once");
}

#[test]
fn a_request_that_comes_late_to_its_own_reservation_finds_what_another_signed_in_it() {
    // What runs in either stands still while it is not asked to go on: store and enclave's client are with the others.
    let [others, late] =
        [(), ()].map(|()| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    let node = Node::new();
    let agent = others.block_on(node.agent());
    // From here on a request reads nothing of the store before it asks for its reservation.
    others.block_on(agent.sign(pay(9, "first"))).unwrap();
    let reserving = {
        let signing = Arc::clone(&agent.signing);
        late.spawn(async move { signing.sign(pay_as("settlement", None, "")).await })
    };
    // Until it waits for the store, which does nothing meanwhile: more turns than it has steps.
    (0..64).for_each(|_| late.block_on(tokio::task::yield_now()));
    let resumed = others.block_on(async {
        let reserved = async {
            while agent.store.reservations(&ReservationQuery::default(), 2).await.unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, reserved).await.unwrap();
        agent.sign(pay_as("desk", None, "")).await.unwrap()
    });
    let (done, outcome) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || done.send(late.block_on(reserving).unwrap()));
    let reserved = others.block_on(async { tokio::time::timeout(DEADLINE, outcome).await });
    let reserved = reserved.unwrap().unwrap().unwrap();
    assert_eq!(reserved, resumed);
    assert_eq!(node.fake.asked(), 2, "each nonce once");
    others.block_on(agent.end());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_given_again_though_its_key_cannot_be_had_any_more() {
    let node = Node::new();
    let agent = node.agent().await;
    let first = agent.sign(note_by_session(1)).await.unwrap();
    for code in [RefusalCode::NotPermitted, RefusalCode::SessionKeyExpired, RefusalCode::NoSession] {
        node.fake.state.lock().unwrap().keyless = Some(code);
        assert_eq!(agent.sign(note_by_session(1)).await.unwrap(), first, "{code:?}");
        assert!(agent.signing.dry_run(&note_by_session(1)).await.unwrap().allowed, "{code:?}");
        assert_eq!(agent.code(note_by_session(2)).await, Code::Enclave(code));
    }
    {
        let mut state = node.fake.state.lock().unwrap();
        (state.keyless, state.now_ms) = (None, fake::NOW_MS + HOUR_MS);
    }
    assert_eq!(agent.sign(note_by_session(1)).await.unwrap(), first, "an hour later");
    // The key of this hour is another one, and the message is not its to sign.
    assert_eq!(agent.code(note_by_session(2)).await, Code::Policy(ReasonCode::PayloadMismatch));
    assert_eq!(node.fake.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_request_is_resumed_with_the_key_of_the_hour_in_which_it_began() {
    let node = Node::new();
    let agent = node.agent().await;
    node.fake.fail_next(Fault::EndBefore);
    assert_eq!(agent.code(note_by_session(1)).await, Code::OutcomeUnknown);
    agent.attested(2).await;
    node.fake.state.lock().unwrap().now_ms += HOUR_MS;
    // The enclave may find that it is too late for that key: then another nonce is needed, and the client is told.
    node.fake.fail_next(Fault::Refuse(RefusalCode::SessionKeyExpired));
    let late = agent.sign(note_by_session(1)).await.unwrap_err();
    assert_eq!(late.code, Code::Enclave(RefusalCode::SessionKeyExpired));
    let hour = fake::NOW_MS / HOUR_MS;
    assert!(late.detail.contains(&format!("hour {hour}")) && late.detail.contains("another nonce"), "{late}");
    let signed = agent.sign(note_by_session(1)).await.unwrap();
    assert_eq!(signed.hour, Some(hour));
    let state = node.fake.state.lock().unwrap();
    assert_eq!(state.asked.len(), 3);
    assert!(state.asked.iter().all(|asked| *asked == state.asked[0]), "with the same key each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_named_its_epoch_is_resumed_in_it_after_a_rotation() {
    let node = Node::new();
    let agent = node.agent().await;
    let named =
        |nonce: u64| command(&format!(r#""asset":"hot","epoch":0,"nonce":{nonce},"payload":"aa""#), None);
    node.fake.fail_next(Fault::EndBefore);
    assert_eq!(agent.code(named(1)).await, Code::OutcomeUnknown);
    agent.attested(2).await;
    let assets = Assets::new(agent.store.clone(), agent.enclave.clone());
    let (tenant, asset) = ("acme".try_into().unwrap(), "hot".try_into().unwrap());
    assets.rotate(&rules::OPERATOR, &tenant, &asset).await.unwrap();
    drop(assets);
    agent.end().await;
    let agent = node.agent().await;
    assert_eq!(agent.code(named(2)).await, Code::Policy(ReasonCode::OldEpochNotAllowed));
    assert!(agent.signing.dry_run(&named(1)).await.unwrap().allowed);
    assert_eq!(agent.sign(named(1)).await.unwrap().epoch.unwrap().0, 0);
    assert_eq!(node.fake.asked(), 2);
}
