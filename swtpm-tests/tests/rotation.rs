//! Assets are rotated: of many rotations at once each epoch has one, the new key is bound to the state attested now, and
//! what the old one signed verifies still.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

use std::sync::Barrier;
use std::thread;

use ed25519_dalek::{Signature, VerifyingKey};
use sealstone_swtpm_tests::{Node, http};
use serde_json::{Value, json};

/// Rotations at once.
const AT_ONCE: usize = 16;

#[test]
fn of_many_rotations_at_once_each_epoch_has_one_and_the_others_are_told() {
    let node = Node::ready();
    node.create_asset("treasury", "ES256");
    let (socket, start) = (node.socket(), Barrier::new(AT_ONCE));
    let answers: Vec<http::Answer> = thread::scope(|scope| {
        let asking: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    http::request(&socket, "POST", "/v1/assets/acme/treasury/rotate", b"").unwrap()
                })
            })
            .collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!won.is_empty());
    for answer in lost {
        assert_eq!((answer.status, answer.code().as_str()), (409, "ROTATION_CONFLICT"), "{answer:?}");
    }
    let mut epochs: Vec<u64> = won.iter().map(|answer| answer.json()["epoch"].as_u64().unwrap()).collect();
    epochs.sort_unstable();
    let expected: Vec<u64> = (1..=epochs.len() as u64).collect();
    assert_eq!(epochs, expected, "no epoch twice, and none left out");
    let listed = node.try_get("/v1/assets/acme/treasury/epochs").unwrap().json();
    assert_eq!(listed["epochs"].as_array().unwrap().len(), epochs.len() + 1);
    let newest = node.try_get("/v1/keys/acme/treasury").unwrap().json();
    assert_eq!(newest["epoch"], epochs.len());
    assert_eq!(node.sign("treasury", 1, b"pay").json()["epoch"], epochs.len());
}

#[test]
fn after_a_firmware_update_the_next_epoch_is_of_the_new_state_and_the_old_key_verifies_still() {
    let node = Node::ready();
    let first = node.create_asset("treasury", "EdDSA");
    let before = node.sign("treasury", 1, b"pay").json();
    // The firmware changes, and the machine measures it; a manifest with a succession approves it.
    node.tpm.extend(0, b"a firmware update");
    node.await_ready(false);
    let _ = node
        .cli(&[
            "manifest",
            "propose",
            "--from",
            "m1.json",
            "--state",
            "boot-2",
            "--replaces",
            "boot-1",
            "--grace",
            "forever",
            "-o",
            "m2.json",
        ])
        .expect(0);
    let _ = node.cli(&["manifest", "sign", "m2.json", "--key", "alice.key"]).expect(0);
    let _ = node.cli(&["manifest", "apply", "m2.json"]).expect(0);
    node.await_ready(true);
    // Until it is rotated the asset signs with the key of the old state.
    assert_eq!(node.sign("treasury", 2, b"pay").json()["public_key"], first["public_key"]);
    let rotated =
        node.cli(&["asset", "rotate", "--tenant", "acme", "--asset", "treasury", "--json"]).expect(0).json();
    assert_ne!(rotated["binding"], first["binding"], "another state");
    assert_ne!(rotated["public_key"], first["public_key"]);
    let session =
        node.try_get("/v1/keys/session?tenant=acme&sender=s&nonce=1&algorithm=EdDSA").unwrap().json();
    assert_eq!(rotated["binding"], session["binding"], "the state that is attested now");
    let after = node.sign("treasury", 3, b"pay").json();
    assert_eq!((&after["epoch"], &after["public_key"]), (&json!(1), &rotated["public_key"]));
    // The old key is read, and verifies what it signed.
    let old = node.try_get("/v1/keys/acme/treasury?epoch=0").unwrap().json();
    assert_eq!(old["public_key"], first["public_key"]);
    assert!(verifies(&old, &before) && verifies(&rotated, &after));
    assert!(!verifies(&rotated, &before) && !verifies(&old, &after));
    // The old epoch signs where the policy permits it, and nowhere else.
    let body = |nonce: u64| json!({"tenant": "acme", "asset": "treasury", "chain_id": 1, "nonce": nonce, "payload": hex::encode(b"pay"), "epoch": 0});
    assert_eq!(node.api("POST", "/v1/sign", &body(4)).json()["public_key"], first["public_key"]);
    node.edit("policy.toml", |text| text.replace("allow_old_epochs = true", "allow_old_epochs = false"));
    let _ = node.cli(&["policy", "reload"]).expect(0);
    let refused = node.api("POST", "/v1/sign", &body(5));
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(node.sign("treasury", 5, b"pay").status, 200);
}

fn verifies(key: &Value, answer: &Value) -> bool {
    let bytes = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
    let key = VerifyingKey::from_bytes(&bytes(&key["public_key"]).try_into().unwrap()).unwrap();
    let signature = Signature::from_bytes(&bytes(&answer["signature"]).try_into().unwrap());
    key.verify_strict(b"pay", &signature).is_ok()
}
