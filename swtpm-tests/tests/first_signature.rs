//! A node is brought up, signs in every algorithm, answers a repeated request alike, and refuses a second payload
//! for a spent nonce. Signatures are verified by libraries used directly, not by the project's own code.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

use ed25519_dalek::Verifier;
use k256::ecdsa::signature::hazmat::PrehashVerifier;
use sealstone_swtpm_tests::Node;
use sealstone_swtpm_tests::node::sign_body;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn bytes(value: &Value, field: &str) -> Vec<u8> {
    hex::decode(value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))).unwrap()
}

#[test]
fn a_node_signs_in_every_algorithm_and_each_signature_verifies_independently() {
    let node = Node::ready();
    for (nonce, algorithm) in ["ES256", "ES256K", "EdDSA"].into_iter().enumerate() {
        let asset = node.create_asset(algorithm, algorithm);
        let payloads = [&b"pay 1 to bob"[..], &[0], &[0; 4096], &[0xff; 60 * 1024]];
        for (number, payload) in payloads.into_iter().enumerate() {
            let nonce = u64::try_from(nonce * 10 + number).unwrap();
            let answer = node.sign(algorithm, nonce, payload);
            assert_eq!(answer.status, 200, "{answer:?}");
            let signed = answer.json();
            assert_eq!(signed["algorithm"], algorithm);
            assert_eq!(signed["key_id"], asset["key_id"]);
            assert_eq!(signed["signer"], "enclave");
            assert_eq!(signed["unfunded"], true);
            let signature = bytes(&signed, "signature");
            let public_key = bytes(&signed, "public_key");
            let digest = Sha256::digest(payload);
            assert_eq!(bytes(&signed, "digest"), digest.to_vec());
            match algorithm {
                "ES256" => {
                    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&public_key).unwrap();
                    let signature = p256::ecdsa::Signature::from_slice(&signature).unwrap();
                    key.verify_prehash(&digest, &signature).unwrap();
                    assert_eq!(signature.normalize_s(), signature, "low S");
                    assert_eq!(bytes(&signed, "der"), signature.to_der().as_bytes());
                }
                "ES256K" => {
                    let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(&public_key).unwrap();
                    let signature = k256::ecdsa::Signature::from_slice(&signature).unwrap();
                    key.verify_prehash(&digest, &signature).unwrap();
                    let id = u8::try_from(signed["recovery_id"].as_u64().unwrap()).unwrap();
                    let id = k256::ecdsa::RecoveryId::from_byte(id).unwrap();
                    assert_eq!(
                        k256::ecdsa::VerifyingKey::recover_from_prehash(&digest, &signature, id).unwrap(),
                        key
                    );
                }
                _ => {
                    let key =
                        ed25519_dalek::VerifyingKey::from_bytes(&public_key.try_into().unwrap()).unwrap();
                    key.verify(payload, &ed25519_dalek::Signature::from_slice(&signature).unwrap()).unwrap();
                    assert_eq!(signed["der"], Value::Null);
                }
            }
        }
    }
}

#[test]
fn the_same_request_has_the_same_answer_and_a_spent_nonce_signs_nothing_else() {
    let node = Node::ready();
    node.create_asset("treasury", "ES256");
    let first = node.sign("treasury", 7, b"pay 1 to bob");
    assert_eq!(first.status, 200, "{first:?}");
    let again = node.sign("treasury", 7, b"pay 1 to bob");
    assert_eq!(first.json(), again.json());
    let other = node.sign("treasury", 7, b"pay 2 to bob");
    assert_eq!((other.status, other.code().as_str()), (409, "NONCE_ALREADY_USED"));
    // The chain is part of the nonce's name.
    let mut elsewhere = sign_body("treasury", 7, b"pay 2 to bob");
    elsewhere["chain_id"] = json!(2);
    assert_eq!(node.api("POST", "/v1/sign", &elsewhere).status, 200);
    // And so is the asset.
    node.create_asset("other", "ES256");
    assert_eq!(node.sign("other", 7, b"pay 2 to bob").status, 200);
}

#[test]
fn keccak_and_session_keys_sign_and_what_has_no_permission_does_not() {
    let node = Node::ready();
    node.create_asset("eth", "ES256K");
    node.create_asset("sol", "EdDSA");
    let mut body = sign_body("eth", 1, b"rlp");
    body["hash"] = json!("keccak256");
    let signed = node.api("POST", "/v1/sign", &body);
    assert_eq!(signed.status, 200, "{signed:?}");
    // Keccak-256 of "rlp" is not its SHA-256.
    assert_ne!(bytes(&signed.json(), "digest"), Sha256::digest(b"rlp").to_vec());

    let digest =
        json!({"tenant": "acme", "asset": "eth", "chain_id": 1, "nonce": 2, "digest": "11".repeat(32)});
    let refused = node.api("POST", "/v1/sign", &digest);
    assert_eq!((refused.status, refused.code().as_str()), (403, "NOT_PERMITTED"), "{refused:?}");
    let mut body = sign_body("sol", 1, b"message");
    body["hash"] = json!("keccak256");
    let refused = node.api("POST", "/v1/sign", &body);
    assert!((400..500).contains(&refused.status), "{refused:?}");

    let session = |nonce: u64| json!({"tenant": "acme", "session": {"sender": "hot", "algorithm": "ES256"}, "chain_id": 1, "nonce": nonce, "payload": "00"});
    let first = node.api("POST", "/v1/sign", &session(1));
    let second = node.api("POST", "/v1/sign", &session(2));
    assert_eq!((first.status, second.status), (200, 200), "{first:?} {second:?}");
    assert_ne!(first.json()["public_key"], second.json()["public_key"], "each session key is new");
    assert_eq!(first.json(), node.api("POST", "/v1/sign", &session(1)).json());
}

#[test]
fn bad_requests_are_named_and_change_nothing() {
    let node = Node::ready();
    node.create_asset("treasury", "ES256");
    let good = sign_body("treasury", 1, b"x");
    let change = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let cases = [
        ("unknown asset", change("asset", json!("nobody")), 404),
        ("empty tenant", change("tenant", json!("")), 400),
        ("long tenant", change("tenant", json!("x".repeat(256))), 400),
        ("negative nonce", change("nonce", json!(-1)), 400),
        ("fractional nonce", change("nonce", json!(1.5)), 400),
        ("huge nonce", change("nonce", json!(1e30)), 400),
        ("no hex", change("payload", json!("zz")), 400),
        ("odd hex", change("payload", json!("abc")), 400),
        ("both payload and digest", change("digest", json!("00".repeat(32))), 400),
        ("unknown field", change("amounts", json!("1")), 400),
        ("an amount that nobody can read", change("amount", json!("1")), 422),
        ("an amount that is none", change("amount", json!("1.0")), 400),
        ("unknown hash", change("hash", json!("md5")), 400),
        ("nothing to sign", change("payload", json!("")), 400),
        ("payload beyond the limit", change("payload", json!("00".repeat(60 * 1024 + 1))), 413),
        ("not an object", json!([1]), 400),
    ];
    for (what, body, status) in cases {
        let answer = node.api("POST", "/v1/sign", &body);
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(
            answer.head.to_ascii_lowercase().contains("application/problem+json"),
            "{what}: {}",
            answer.head
        );
        let problem = answer.json();
        assert!(
            !problem["code"].as_str().unwrap().is_empty() && problem["status"] == status,
            "{what}: {problem}"
        );
    }
    let answer =
        node.api("POST", "/v1/assets", &json!({"tenant": "acme", "asset": "x", "algorithm": "RS256"}));
    assert_eq!(answer.status, 400);
    assert_eq!(node.try_get("/v1/nothing").unwrap().status, 404);
    assert_eq!(node.api("DELETE", "/v1/sign", &Value::Null).status, 405);
    // None of it spent nonce 1.
    assert_eq!(node.api("POST", "/v1/sign", &good).status, 200);
}
