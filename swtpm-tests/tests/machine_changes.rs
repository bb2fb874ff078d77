//! The machine leaves its approved state, loses its TPM, or is rebooted; the node signs only in between.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

use sealstone_swtpm_tests::wait::until;
use sealstone_swtpm_tests::{Node, trail};
use serde_json::json;

fn phase(node: &Node) -> String {
    let status = node.try_get("/v1/status").map(|answer| answer.json());
    status.and_then(|status| status["enclave"]["phase"].as_str().map(str::to_owned)).unwrap_or_default()
}

#[test]
fn a_changed_pcr_stops_signing_also_after_a_restart_and_a_reboot_into_the_approved_state_resumes_it() {
    let mut node = Node::ready();
    let asset = node.create_asset("treasury", "ES256");
    assert_eq!(node.sign("treasury", 1, b"before").status, 200);

    node.tpm.extend(7, b"an unapproved boot loader");
    node.await_ready(false);
    let refused = node.sign("treasury", 2, b"after");
    assert_eq!(refused.status, 503, "{refused:?}");
    until("the enclave to have judged the new quote", || {
        let refused = node.sign("treasury", 2, b"after");
        assert_eq!(refused.status, 503, "{refused:?}");
        (refused.code() == "ATTESTATION_FAILED").then(|| {
            assert!(refused.json()["detail"].as_str().unwrap().contains("state.approved"), "{refused:?}");
        })
    });

    until("what was found out to be recorded", || {
        let failed = |record: &serde_json::Value| {
            record["kind"] == "attestation_failed" && record["code"] == "ATTESTATION_FAILED"
        };
        trail::records(&node).iter().any(failed).then_some(())
    });

    node.kill_enclave();
    node.start_enclave();
    until("the enclave to be locked", || (phase(&node) == "locked").then_some(()));
    let refused = node.sign("treasury", 2, b"after");
    assert_eq!(refused.status, 503, "{refused:?}");
    until("the reason to be the seal", || {
        (node.sign("treasury", 2, b"after").code() == "SEAL_STATE_MISMATCH").then_some(())
    });
    // An answer that was given stays given: it needs no key.
    assert_eq!(node.sign("treasury", 1, b"before").status, 200);

    node.reboot_machine();
    node.await_ready(true);
    let signed = node.sign("treasury", 2, b"after");
    assert_eq!(signed.status, 200, "{signed:?}");
    assert_eq!(signed.json()["key_id"], asset["key_id"]);
}

#[test]
fn an_enclave_that_was_killed_signs_again_under_the_same_keys_in_a_new_era() {
    let mut node = Node::ready();
    node.create_asset("treasury", "ES256K");
    let before = node.sign("treasury", 1, b"x").json();
    node.kill_enclave();
    let down = node.sign("treasury", 2, b"x");
    assert_eq!(down.status, 503, "{down:?}");
    node.start_enclave();
    node.await_ready(true);
    let after = node.sign("treasury", 2, b"x").json();
    assert_eq!(before["public_key"], after["public_key"], "{after}");
    assert!(after["receipt"]["era"].as_u64() > before["receipt"]["era"].as_u64());
    assert_eq!(node.sign("treasury", 1, b"x").json(), before);
}

#[test]
fn an_agent_that_was_killed_answers_as_before() {
    let mut node = Node::ready();
    node.create_asset("treasury", "EdDSA");
    let before = node.sign("treasury", 1, b"x").json();
    node.kill_agent();
    node.start_agent();
    node.await_ready(true);
    assert_eq!(node.sign("treasury", 1, b"x").json(), before);
    assert_eq!(node.sign("treasury", 1, b"y").code(), "NONCE_ALREADY_USED");
    assert_eq!(node.sign("treasury", 2, b"y").status, 200);
}

#[test]
fn a_tpm_that_is_gone_or_hangs_ends_the_session_in_time_and_its_return_is_noticed() {
    let mut node = Node::init();
    // The shortest session that a manifest may ask for, so that the story need not wait for the usual one.
    node.edit("manifest.json", |text| {
        let mut draft: serde_json::Value = serde_json::from_str(&text).unwrap();
        draft["session_ttl_s"] = json!(10);
        draft.to_string()
    });
    // A hung TPM is given up sooner than a slow discrete chip would deserve.
    node.edit("agent.toml", |text| text.replace("[tpm]\n", "[tpm]\ndeadline_s = 2\n"));
    node.start_enclave();
    node.start_agent();
    let _ = node.approve_first();
    node.await_ready(true);
    node.create_asset("treasury", "ES256");

    node.tpm.freeze();
    node.await_ready(false);
    let refused = node.sign("treasury", 1, b"x");
    assert_eq!(refused.status, 503, "{refused:?}");
    node.tpm.thaw();
    node.await_ready(true);
    assert_eq!(node.sign("treasury", 1, b"x").status, 200);

    node.tpm.power_off();
    node.await_ready(false);
    node.tpm.power_on();
    node.measure_boot();
    node.await_ready(true);
    assert_eq!(node.sign("treasury", 2, b"x").status, 200);
}

#[test]
fn a_wiped_enclave_signs_only_after_it_was_unlocked_again() {
    let mut node = Node::ready();
    node.create_asset("treasury", "ES256");
    let status = node.take_enclave().terminate();
    assert_eq!(status.code(), Some(0), "an orderly end");
    let log = std::fs::read_to_string(node.path("enclave.log")).unwrap();
    assert!(log.contains("wiped"), "{log}");
    node.start_enclave();
    node.await_ready(true);
    assert_eq!(node.sign("treasury", 1, b"x").status, 200);
}
