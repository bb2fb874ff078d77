//! What a limit counts when the enclave refuses, fails, or dies; and what a retired asset still answers.

use sealstone_attestation::audit::Record;
use sealstone_policy::engine::ReasonCode;

use super::*;

const VELOCITY: Code = Code::Policy(ReasonCode::VelocityExceeded);

/// A sender that signs once an hour.
fn slow(nonce: u64) -> SignCommand {
    let session = r#""session":{"sender":"slow","algorithm":"EdDSA"}"#;
    command(&format!(r#"{session},"nonce":{nonce},"payload":"00""#), None)
}

impl Agent {
    /// The newest record.
    async fn last_record(&self) -> Record {
        let size = self.store.audit_size().await.unwrap();
        let leaves = self.store.audit_leaves(size - 1, 1).await.unwrap();
        serde_json::from_slice(&leaves[0]).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_surely_was_not_signed_gives_back_what_it_took() {
    let node = Node::new();
    let agent = node.agent().await;
    for code in [RefusalCode::NotPermitted, RefusalCode::NoSession] {
        node.fake.fail_next(Fault::Refuse(code));
        assert_eq!(agent.code(slow(1)).await, Code::Enclave(code));
    }
    agent.sign(slow(2)).await.unwrap();
    assert_eq!(agent.code(slow(3)).await, VELOCITY);
    // The record names the window that was full, not the day's, which had room.
    let record = agent.last_record().await;
    let reasons: Vec<_> = record.reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!((record.code.as_deref(), reasons), (Some("VELOCITY_EXCEEDED"), vec!["VELOCITY_EXCEEDED"]));
    assert!(!agent.signing.dry_run(&slow(3)).await.unwrap().allowed);
    assert!(agent.signing.dry_run(&slow(2)).await.unwrap().allowed, "it is answered as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_signed_keeps_what_it_took_over_a_crash() {
    for fault in [Fault::EndBefore, Fault::EndAfter] {
        let node = Node::new();
        let agent = node.agent().await;
        node.fake.fail_next(fault);
        assert_eq!(agent.code(slow(1)).await, Code::OutcomeUnknown);
        agent.end().await;
        let agent = node.agent().await;
        assert_eq!(agent.code(slow(2)).await, VELOCITY);
        assert!(agent.signing.dry_run(&slow(1)).await.unwrap().allowed, "it has its room");
        agent.sign(slow(1)).await.unwrap();
        assert_eq!(agent.code(slow(2)).await, VELOCITY);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_asset_answers_what_it_answered_and_nothing_else() {
    let node = Node::new();
    let agent = node.agent().await;
    let first = agent.sign(pay(1, "a")).await.unwrap();
    // As another agent does it.
    let other = Assets::new(agent.store.clone(), agent.enclave.clone());
    let (tenant, asset) = ("acme".try_into().unwrap(), "hot".try_into().unwrap());
    other.retire(&rules::OPERATOR, &tenant, &asset).await.unwrap();
    assert_eq!(agent.code(pay(2, "a")).await, Code::AssetRetired);
    assert_eq!(agent.last_record().await.code.as_deref(), Some("ASSET_RETIRED"));
    let foretold = agent.signing.dry_run(&pay(2, "a")).await.unwrap();
    let codes: Vec<_> = foretold.reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["ASSET_RETIRED"]);
    assert_eq!(agent.sign(pay(1, "a")).await.unwrap(), first);
    assert!(agent.signing.dry_run(&pay(1, "a")).await.unwrap().allowed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_refuses_is_recorded_and_what_nobody_found_out_is_not() {
    let node = Node::new();
    let agent = node.agent().await;
    let unknown = command(r#""asset":"cold","nonce":1,"payload":"00""#, None);
    assert_eq!(agent.code(unknown).await, Code::AssetUnknown);
    let record = agent.last_record().await;
    assert_eq!((record.code.as_deref(), record.sender.as_deref()), (Some("ASSET_UNKNOWN"), Some("cold")));
    let hashed = command(r#""asset":"hot","nonce":1,"payload":"00","hash":"keccak256""#, None);
    assert_eq!(agent.code(hashed).await, Code::PayloadUnsuitable);
    assert_eq!(agent.last_record().await.code.as_deref(), Some("PAYLOAD_UNSUITABLE"));
    let before = agent.store.audit_size().await.unwrap();
    agent.attestation.send_replace(AttestState::Starting);
    assert_eq!(agent.code(pay(1, "a")).await, Code::Starting);
    assert_eq!(agent.store.audit_size().await.unwrap(), before);
}
