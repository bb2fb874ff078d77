//! Whom the policy does not know, what a dry run changes, and what a stricter policy changes of what was answered.

use sealstone_swtpm_tests::http::Answer;
use sealstone_swtpm_tests::transactions::{evm_body, reasons, sign, usdc};
use sealstone_swtpm_tests::{Node, clients, trail};
use serde_json::{Value, json};

use crate::support::{entry, named, payments, policy, refused, signed};

const TABLES: [&str; 6] = ["audit", "reservations", "spends", "windows", "senders", "idempotency"];

fn dry_run(node: &Node, body: &Value) -> Answer {
    node.api("POST", "/v1/sign?dry_run=true", body)
}

#[test]
fn whom_no_entry_names_signs_nothing() {
    let node = Node::ready_under(&policy("off", "", &entry("hot", "")));
    let payloads = payments(&[1]);
    for asset in ["hot", "Hot"] {
        node.create_asset(asset, "ES256K");
    }
    let body = |asset: &str| evm_body(asset, 0, &payloads[0]);
    refused(&sign(&node, &body("Hot")), &["SENDER_UNKNOWN"]);
    let mut session = body("hot");
    session["session"] = json!({"sender": "hot", "algorithm": "ES256K"});
    session.as_object_mut().unwrap().remove("asset");
    refused(&sign(&node, &session), &["SENDER_UNKNOWN"]);
    // The policy's word for an asset makes none.
    let answer = sign(&node, &body("cold"));
    assert_eq!((answer.status, answer.code().as_str()), (404, "ASSET_UNKNOWN"), "{answer:?}");
    let codes: Vec<_> = trail::decisions(&node).iter().map(|record| record["code"].clone()).collect();
    assert_eq!(codes, ["SENDER_UNKNOWN", "SENDER_UNKNOWN", "ASSET_UNKNOWN"]);
    signed(&sign(&node, &body("hot")));
    let mut other = body("hot");
    other["tenant"] = json!("Acme");
    assert_eq!(sign(&node, &other).code(), "ASSET_UNKNOWN");
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_signing_then_does() {
    let rules = r#"rolling = [{ over = "24h", amounts = { USDC = "1000" } }]
velocity = [{ over = "1h", count = 4 }]"#;
    let node = Node::ready_under(&policy("off", "", &entry("hot", rules)));
    node.create_asset("hot", "ES256K");
    let payloads = payments(&[600, 401, 400, 0, 1, 0, 0]);
    let mut bodies: Vec<Value> =
        (0..).zip(&payloads[..6]).map(|(nonce, payload)| evm_body("hot", nonce, payload)).collect();
    // The same again, another request for its nonce, a wrong word of the payload, and no transaction at all.
    bodies.push(bodies[0].clone());
    bodies.push(evm_body("hot", 0, &clients::build(&[usdc(0, 7)])[0]));
    let mut wrong = evm_body("hot", 6, &payloads[6]);
    wrong["amount"] = json!("7");
    bodies.push(wrong);
    bodies.push(evm_body("hot", 9, b"none"));
    let mut allowed = Vec::new();
    for body in &bodies {
        let before: Vec<_> = TABLES.map(|table| trail::count(&node, table)).into();
        let (first, second) = (dry_run(&node, body), dry_run(&node, body));
        let of = |answer: &Answer| {
            (answer.status, answer.json()["allowed"].clone(), answer.json()["detail"].clone())
        };
        assert_eq!(of(&first), of(&second));
        let after: Vec<_> = TABLES.map(|table| trail::count(&node, table)).into();
        assert_eq!(before, after, "{body}");
        let said = first.json();
        let done = sign(&node, body);
        if first.status != 200 {
            assert_eq!((first.status, first.code()), (done.status, done.code()), "{body}");
            continue;
        }
        assert_eq!(said["allowed"], json!(done.status == 200), "{said} {done:?}");
        allowed.push(done.status == 200);
        if done.status == 200 {
            assert_eq!(said["request_digest"], done.json()["request_digest"]);
            assert_eq!(reasons(&said), Vec::<String>::new(), "{said}");
        } else if done.json()["reasons"].is_array() {
            assert_eq!(reasons(&said), reasons(&done.json()), "{said}");
        } else {
            assert!(reasons(&said).contains(&done.code()), "{said} {done:?}");
        }
    }
    assert_eq!(allowed, [true, false, true, true, false, true, true, false, false]);
    // The record names the rule that refused, and not the one that had room.
    let refusals =
        trail::decisions(&node).into_iter().filter(|record| record["code"] == "DAILY_LIMIT_EXCEEDED");
    let recorded: Vec<_> = refusals.map(|record| reasons(&record)).collect();
    assert_eq!(recorded, [named(&["DAILY_LIMIT_EXCEEDED"]), named(&["DAILY_LIMIT_EXCEEDED"])]);
    let full = dry_run(&node, &bodies[4]).json();
    assert_eq!(reasons(&full), named(&["DAILY_LIMIT_EXCEEDED", "VELOCITY_EXCEEDED"]), "{full}");
}

#[test]
fn a_stricter_policy_takes_no_answer_back() {
    let wide = policy("off", "", &entry("hot", ""));
    let mut node = Node::ready_under(&wide);
    node.create_asset("hot", "ES256K");
    let payloads = payments(&[500, 500]);
    let body = |nonce: usize| evm_body("hot", nonce as u64, &payloads[nonce]);
    let first = sign(&node, &body(0));
    signed(&first);
    for (stricter, code) in [
        (policy("off", "", &entry("hot", r#"transaction = { USDC = "499" }"#)), "TRANSACTION_LIMIT_EXCEEDED"),
        (policy("required", "", &entry("hot", "")), "SANCTIONS_UNAVAILABLE"),
        (policy("off", "", &entry("cold", "")), "SENDER_UNKNOWN"),
    ] {
        node.set_policy(&stricter);
        node.restart_agent();
        let again = sign(&node, &body(0));
        assert_eq!((again.status, again.json()), (200, first.json()), "{code}");
        assert_eq!(dry_run(&node, &body(0)).json()["allowed"], true, "{code}");
        refused(&sign(&node, &body(1)), &[code]);
    }
    assert_eq!(trail::signatures(&node), 1);
    node.set_policy(&wide);
    node.restart_agent();
    signed(&sign(&node, &body(1)));
}
