//! The attestation loop: a real swtpm on one side, a fake enclave that appraises as the real one on the other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fake::{Fake, manifest};
use sealstone_agent::attest::{AttestError, AttestSettings, AttestState, Attestor};
use sealstone_agent::audit::Anchor;
use sealstone_agent::config::store::StoreConfig;
use sealstone_agent::enclave::CallError;
use sealstone_agent::shutdown::{Ender, Shutdown};
use sealstone_agent::store::Store;
use sealstone_agent::tpm::Tpm;
use sealstone_attestation::{Evidence, Expectations, Nonce, Purpose, UnixTime, VerifiedManifest, appraise};
use sealstone_wire::reply::{Phase, RefusalCode};
use support::rules::OPERATOR;
use support::swtpm::Swtpm;

const DEADLINE: Duration = Duration::from_secs(60);

/// The session's life in most stories: longer than they take.
const LONG: u64 = 600;

struct Node {
    fake: Fake,
    swtpm: Swtpm,
    tpm: Tpm,
    attestor: Attestor,
    /// Ends the agent process, as it were.
    ender: Ender,
}

impl Node {
    async fn start() -> Self {
        let (fake, swtpm) = (Fake::start(), Swtpm::start());
        let tpm = Tpm::spawn(&swtpm.config("deadline_s = 10")).unwrap();
        let (ender, attestor) = attestor(&fake, &swtpm, &tpm).await;
        Self { fake, swtpm, tpm, attestor, ender }
    }

    /// With a manifest that approves the machine as it is.
    async fn provisioned(session_ttl_s: u64) -> (Self, Vec<u8>) {
        let node = Self::start().await;
        let first = manifest(&node.tpm.enrolment().await.unwrap(), None, session_ttl_s);
        node.attestor.apply_manifest(&OPERATOR, first.clone(), Some("node-1".to_owned())).await.unwrap();
        node.ready().await;
        (node, first)
    }

    /// Another agent process on the same machine.
    async fn restart_agent(&mut self) {
        (self.ender, self.attestor) = attestor(&self.fake, &self.swtpm, &self.tpm).await;
    }

    async fn until(&self, what: impl FnMut(&AttestState) -> bool) -> AttestState {
        let mut state = self.attestor.state();
        let found = tokio::time::timeout(DEADLINE, state.wait_for(what)).await;
        found.unwrap_or_else(|_| panic!("still {:?}", self.attestor.state().borrow())).unwrap().clone()
    }

    async fn ready(&self) {
        self.until(|state| matches!(state, AttestState::Ready { .. })).await;
    }

    async fn failed(&self, expected: &str) -> String {
        let state =
            self.until(|state| matches!(state, AttestState::Failed { code, .. } if *code == expected)).await;
        let AttestState::Failed { detail, .. } = state else { unreachable!("waited for it") };
        detail
    }
}

async fn attestor(fake: &Fake, swtpm: &Swtpm, tpm: &Tpm) -> (Ender, Attestor) {
    let (ender, ended) = Shutdown::new();
    let settings = AttestSettings {
        state_dir: swtpm.directory.path().to_owned(),
        event_log: Some(swtpm.directory.path().join("event_log")),
        enrolment: None,
        ima_log: Some(swtpm.directory.path().join("ima_log")),
        pcr_poll: Duration::from_millis(100),
    };
    let enclave = fake.client(ended.clone());
    // Another one at each start: what is recorded is not what these stories are about.
    let records = tempfile::Builder::new().tempfile_in(swtpm.directory.path()).unwrap().path().to_owned();
    let store = Store::open(&StoreConfig::sqlite(records), "node-1").await.unwrap();
    let attestor = Attestor::spawn(enclave, tpm.clone(), store, Anchor::default(), settings, ended.ended());
    (ender, attestor)
}

fn now() -> UnixTime {
    UnixTime::from_secs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_provisioned_attests_and_follows_its_machine_only_with_approval() {
    let node = Node::start().await;
    node.until(|state| matches!(state, AttestState::Unprovisioned)).await;
    assert!(matches!(node.attestor.manifest().await, Err(AttestError::Unprovisioned)));

    let first = manifest(&node.tpm.enrolment().await.unwrap(), None, LONG);
    node.attestor.apply_manifest(&OPERATOR, first.clone(), Some("node-1".to_owned())).await.unwrap();
    node.ready().await;
    assert_eq!(node.attestor.manifest().await.unwrap().envelope(), first);

    // Nobody asks for anything: the loop sees the PCR change by itself, and the enclave refuses the state.
    node.swtpm.extend(7);
    let detail = node.failed("ATTESTATION_FAILED").await;
    assert!(detail.contains("boot-1") || detail.contains("state"), "{detail}");
    assert_eq!(node.fake.state().phase, Phase::Unlocked, "the session has ended");

    let second = manifest(&node.tpm.enrolment().await.unwrap(), Some(&first), LONG);
    let status = node.attestor.apply_manifest(&OPERATOR, second, None).await.unwrap();
    assert_eq!(status.manifest.unwrap().version, 2);
    node.ready().await;

    // PCR 8 is in no state: nothing happens.
    let attests = node.fake.state().attests;
    node.swtpm.extend(8);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.fake.state().attests, attests);
}

/// The log of a machine that measured nothing, in the crypto-agile format with a SHA-256 bank: its header alone.
fn log_of_nothing() -> Vec<u8> {
    let header = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0b\0\x20\0\0";
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    [&[0, 0, 0, 0, 3, 0, 0, 0][..], &[0; 20], &length, header].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_accepted_by_an_auditor_and_only_for_their_nonce() {
    let (node, envelope) = Node::provisioned(LONG).await;
    let log = log_of_nothing();
    std::fs::write(node.swtpm.directory.path().join("event_log"), &log).unwrap();
    let nonce: Nonce = "00112233445566778899aabbccddeeff".parse().unwrap();
    let taken = node.attestor.evidence(nonce.clone()).await.unwrap();
    assert_eq!(taken.event_log.as_ref().map(|log| log.0.as_slice()), Some(log.as_slice()));
    assert_eq!(taken.ima_log, None, "this machine has none");

    let evidence = Evidence::parse(&taken.to_json()).unwrap();
    let trusted = VerifiedManifest::danger_trust_as_given(&envelope).unwrap();
    let mut expected = Expectations {
        purpose: Purpose::Evidence,
        nonce: Some(nonce),
        challenger: None,
        node: Some("node-1".to_owned()),
        previous_clock: None,
        max_age: Some(Duration::from_secs(60)),
    };
    let verdict = appraise(&evidence, &trusted, &expected, now());
    assert!(verdict.accepted(), "{verdict:?}");
    expected.purpose = Purpose::Session;
    assert!(!appraise(&evidence, &trusted, &expected, now()).accepted());
    expected.purpose = Purpose::Evidence;
    let other: Nonce = "ff112233445566778899aabbccddeeff".parse().unwrap();
    expected.nonce = Some(other.clone());
    assert!(!appraise(&evidence, &trusted, &expected, now()).accepted());

    // Half a log proves nothing: one that is too long is named.
    let long = std::fs::File::create(node.swtpm.directory.path().join("event_log")).unwrap();
    long.set_len(9 * 1024 * 1024).unwrap();
    let found = node.attestor.evidence(other).await.unwrap_err();
    assert!(found.to_string().contains("event_log"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_renewed_before_it_ends_and_outlives_a_short_absence_of_the_tpm() {
    let (mut node, _) = Node::provisioned(10).await;
    let started = Instant::now();
    let mut state = node.attestor.state();
    // Renewed at 55 to 65 % of its life: never without a session.
    let renewed = tokio::time::timeout(DEADLINE, state.wait_for(|_| node.fake.state().attests >= 2));
    assert!(matches!(&*renewed.await.unwrap().unwrap(), AttestState::Ready { .. }));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());

    node.swtpm.kill();
    let gone = Instant::now();
    node.failed("TPM_FAILED").await;
    assert!(gone.elapsed() > Duration::from_secs(5), "the open session served on: {:?}", gone.elapsed());
    node.swtpm.restart();
    node.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_agent_and_a_locked_enclave_find_together_again() {
    let (mut node, first) = Node::provisioned(LONG).await;
    node.fake.state().phase = Phase::Locked;
    node.restart_agent().await;
    node.ready().await;
    assert_eq!(node.fake.state().unlocks, 1);

    // Without its manifest the agent knows not what to quote; the same manifest again mends that.
    std::fs::remove_file(node.swtpm.directory.path().join("manifest.json")).unwrap();
    node.restart_agent().await;
    let detail = node.failed("MANIFEST_MISSING").await;
    assert!(detail.contains("apply that manifest again"), "{detail}");
    node.attestor.apply_manifest(&OPERATOR, first.clone(), None).await.unwrap();
    node.ready().await;

    // A damaged copy is none.
    std::fs::write(node.swtpm.directory.path().join("manifest.json"), &first[1..]).unwrap();
    node.restart_agent().await;
    node.failed("MANIFEST_MISSING").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_whose_answer_was_lost_is_in_force_all_the_same() {
    let (mut node, first) = Node::provisioned(LONG).await;
    let second = manifest(&node.tpm.enrolment().await.unwrap(), Some(&first), LONG);
    node.fake.state().lose_next_answer = true;
    let found = node.attestor.apply_manifest(&OPERATOR, second.clone(), None).await.unwrap_err();
    assert!(matches!(found, AttestError::Enclave(CallError::Lost { .. })), "{found}");
    node.restart_agent().await;
    node.ready().await;
    assert_eq!(node.attestor.manifest().await.unwrap().envelope(), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_refused_changes_nothing() {
    let (mut node, first) = Node::provisioned(LONG).await;
    let found = node.attestor.apply_manifest(&OPERATOR, b"{}".to_vec(), None).await.unwrap_err();
    assert!(matches!(found, AttestError::Manifest(_)), "{found}");

    // Another first manifest: same version, other digest.
    let other = manifest(&node.tpm.enrolment().await.unwrap(), None, LONG - 1);
    let found = node.attestor.apply_manifest(&OPERATOR, other.clone(), None).await.unwrap_err();
    assert_eq!(found.code(), RefusalCode::ManifestRefused.name());
    let found = node.attestor.apply_manifest(&OPERATOR, other, Some("node-1".to_owned())).await.unwrap_err();
    assert_eq!(found.code(), RefusalCode::AlreadyProvisioned.name());
    node.restart_agent().await;
    node.ready().await;
    assert_eq!(node.attestor.manifest().await.unwrap().envelope(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_locked_stays_locked() {
    let (mut node, _) = Node::provisioned(LONG).await;
    node.attestor.lock(&OPERATOR).await.unwrap();
    node.failed("LOCKED_BY_OPERATOR").await;
    for _ in 0..100 {
        node.attestor.kick();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (phase, unlocks) = {
        let state = node.fake.state();
        (state.phase, state.unlocks)
    };
    assert_eq!((phase, unlocks), (Phase::Locked, 0));
    node.restart_agent().await;
    node.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_clients_cause_no_storm_of_quotes() {
    let (node, _) = Node::provisioned(LONG).await;
    node.swtpm.extend(0);
    node.failed("ATTESTATION_FAILED").await;
    let before = node.fake.state().attests;
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        node.attestor.kick();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let quotes = node.fake.state().attests - before;
    assert!((1..=6).contains(&quotes), "{quotes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_under_another_key_opens_no_session_and_makes_no_evidence() {
    let (mut node, _) = Node::provisioned(LONG).await;
    node.fake.state().forge_reports = true;
    let attests = node.fake.state().attests;
    node.restart_agent().await;
    node.failed("ENCLAVE_FAULT").await;
    assert_eq!(node.fake.state().attests, attests);
    let nonce = Nonce::from_bytes(&[1; 16]).unwrap();
    assert!(matches!(node.attestor.evidence(nonce).await, Err(AttestError::Report(_))));
}
