//! Several people approve one request with their own keys: enough of them, each once, that request and no other.

use sealstone_swtpm_tests::http::{Answer, request_with};
use sealstone_swtpm_tests::transactions::{evm_body, sign, usdc};
use sealstone_swtpm_tests::{Node, clients, trail};
use serde_json::{Value, json};

use crate::support::{entry, key, policy, refused, signed};

/// A node with two of three approvers above 100 units, and payments of 101, 101 and 100.
fn scene() -> (Node, Vec<Vec<u8>>) {
    let mut node = Node::init();
    let approvers = [("alice", "ES256"), ("bob", "EdDSA"), ("carol", "ES256")];
    let keys: String = approvers
        .iter()
        .map(|(name, algorithm)| format!("{name} = {}\n", key(&node, &format!("the-{name}"), algorithm)))
        .collect();
    let _ = key(&node, "mallory", "EdDSA");
    let rule = r#"approvals = [{ above = { USDC = "100" }, threshold = 2, of = ["alice", "bob", "carol"] }]"#;
    node.set_policy(&policy("off", &format!("[approvers]\n{keys}"), &entry("hot", rule)));
    node.start_enclave();
    node.start_agent();
    let _ = node.approve_first();
    node.await_ready(true);
    node.create_asset("hot", "ES256K");
    let payloads = clients::build(&[usdc(0, 101), usdc(1, 101), usdc(2, 100)]);
    for (nonce, payload) in payloads.iter().enumerate() {
        std::fs::write(node.path(&format!("{nonce}.bin")), payload).unwrap();
    }
    (node, payloads)
}

/// What the dry run says of a payment.
fn foretold(node: &Node, nonce: u64, exit: i32) -> Value {
    cli_sign(node, nonce, &[], "--dry-run").expect(exit).json()
}

fn cli_sign(node: &Node, nonce: u64, approvals: &[&str], more: &str) -> sealstone_swtpm_tests::node::Ran {
    let (nonce, file) = (nonce.to_string(), format!("{nonce}.bin"));
    let mut arguments =
        vec!["sign", "--tenant", "acme", "--asset", "hot", "--chain-id", "1", "--nonce", &nonce];
    arguments.extend(["--format", "evm", "--payload-file", &file, "--json", more]);
    approvals.iter().for_each(|approval| arguments.extend(["--approval", approval]));
    arguments.retain(|argument| !argument.is_empty());
    node.cli(&arguments)
}

/// An approval by a key under a name.
fn approve(node: &Node, request: &str, name: &str, key: &str) -> Value {
    let key = format!("{key}.key");
    node.cli(&["approve", "--request", request, "--as", name, "--key", &key, "--json"]).expect(0).json()
}

#[test]
fn two_of_three_approve_on_the_command_line() {
    let (node, _) = scene();
    let said = foretold(&node, 0, 1);
    assert_eq!(said["reasons"][0]["code"], "APPROVALS_MISSING", "{said}");
    let request = said["request_digest"].as_str().unwrap();
    let alone = approve(&node, request, "alice", "the-alice")["approval"].as_str().unwrap().to_owned();
    let ran = cli_sign(&node, 0, &[&alone], "").expect(1);
    assert!(ran.stdout.contains("APPROVALS_MISSING") || ran.stderr.contains("APPROVALS_MISSING"), "{ran:?}");
    for second in ["bob", "carol"] {
        let other = approve(&node, request, second, &format!("the-{second}"));
        let answer = cli_sign(&node, 0, &[&alone, other["approval"].as_str().unwrap()], "").expect(0).json();
        assert_eq!(answer["request_digest"], said["request_digest"]);
    }
    // A small payment needs nobody.
    assert_eq!(foretold(&node, 2, 0)["allowed"], true);
    let _ = cli_sign(&node, 2, &[], "").expect(0);
    assert_eq!(trail::signatures(&node), 2);
}

#[test]
fn what_is_no_approval_of_this_request_by_this_person_refuses_it() {
    let (node, payloads) = scene();
    let digest = |nonce| foretold(&node, nonce, 1)["request_digest"].as_str().unwrap().to_owned();
    let (this, other) = (digest(0), digest(1));
    let body = |approvals: &[&Value]| {
        let approvals: Vec<_> = approvals
            .iter()
            .map(|made| json!({"approver": made["approver"], "signature": made["signature"]}))
            .collect();
        let mut body = evm_body("hot", 0, &payloads[0]);
        body["approvals"] = json!(approvals);
        body
    };
    let [alice, bob] = ["alice", "bob"].map(|name| approve(&node, &this, name, &format!("the-{name}")));
    let again = approve(&node, &this, "alice", "the-alice");
    for approvals in [&[][..], &[&alice], &[&alice, &again]] {
        refused(&sign(&node, &body(approvals)), &["APPROVALS_MISSING"]);
    }
    let elsewhere = approve(&node, &other, "bob", "the-bob");
    let borrowed = approve(&node, &this, "bob", "the-alice");
    let nobody = approve(&node, &this, "mallory", "mallory");
    for bad in [&elsewhere, &borrowed, &nobody] {
        refused(&sign(&node, &body(&[&alice, bad])), &["APPROVAL_INVALID", "APPROVALS_MISSING"]);
        // Whoever sends it takes it for one, even where it was not needed.
        refused(&sign(&node, &body(&[&alice, &bob, bad])), &["APPROVAL_INVALID"]);
    }
    assert_eq!((trail::signatures(&node), trail::count(&node, "reservations")), (0, 0));
    signed(&sign(&node, &body(&[&alice, &bob])));
    // Approvals of one request are none of the next.
    let mut next = body(&[&alice, &bob]);
    next["nonce"] = json!(1);
    next["payload"] = json!(hex::encode(&payloads[1]));
    let both = ["APPROVAL_INVALID", "APPROVAL_INVALID", "APPROVALS_MISSING"];
    refused(&sign(&node, &next), &both);
}

#[test]
fn a_request_under_one_idempotency_key_waits_for_its_approvals() {
    let (node, payloads) = scene();
    let keyed = |body: &Value| -> Answer {
        let (headers, body) = ("idempotency-key: payout-1\r\n", body.to_string());
        request_with(&node.socket(), "POST", "/v1/sign", headers, body.as_bytes()).unwrap()
    };
    let bare = evm_body("hot", 0, &payloads[0]);
    refused(&keyed(&bare), &["APPROVALS_MISSING"]);
    let request = foretold(&node, 0, 1)["request_digest"].as_str().unwrap().to_owned();
    let approvals = ["bob", "carol"].map(|name| {
        let made = approve(&node, &request, name, &format!("the-{name}"));
        json!({"approver": made["approver"], "signature": made["signature"]})
    });
    let mut approved = bare.clone();
    approved["approvals"] = json!(approvals);
    let first = keyed(&approved);
    signed(&first);
    // Answered once, it needs nobody's word again.
    for repeated in [keyed(&approved), keyed(&bare), sign(&node, &bare)] {
        assert_eq!(repeated.json(), first.json());
    }
    assert_eq!(keyed(&evm_body("hot", 2, &payloads[2])).code(), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(trail::signatures(&node), 1);
}
