//! Limits: exact to the last unit, shared by whatever comes at once, kept over crashes, and given back where nothing can
//! have been signed.

use std::thread;

use rustix::process::Signal;
use sealstone_agent::clock;
use sealstone_swtpm_tests::http;
use sealstone_swtpm_tests::transactions::{evm_body, sign};
use sealstone_swtpm_tests::wait::until;
use sealstone_swtpm_tests::{Node, trail};

use crate::support::{entry, payments, policy, refused, signed};

const DAY: &str = r#"rolling = [{ over = "24h", amounts = { USDC = "1000" } }]"#;

/// Requests at once.
const PARALLEL: usize = 32;

#[test]
fn what_a_rule_permits_is_signed_to_the_last_unit_and_not_one_more() {
    let mut node = Node::ready_under(&policy(
        "off",
        "",
        &(entry("*", DAY)
            + &entry("one", r#"transaction = { USDC = "700" }"#)
            + &entry("often", r#"velocity = [{ over = "1h", count = 3 }]"#)),
    ));
    for asset in ["day", "other", "one", "often"] {
        node.create_asset(asset, "ES256K");
    }
    let amounts = [600, 401, 400, 1, 0, 1000, 701, 700];
    let payloads = payments(&amounts);
    let pay =
        |node: &Node, asset: &str, nonce: usize| sign(node, &evm_body(asset, nonce as u64, &payloads[nonce]));
    signed(&pay(&node, "day", 0));
    refused(&pay(&node, "day", 1), &["DAILY_LIMIT_EXCEEDED"]);
    signed(&pay(&node, "day", 2));
    refused(&pay(&node, "day", 3), &["DAILY_LIMIT_EXCEEDED"]);
    // What moves nothing is not held up, and a repeated request takes nothing again.
    signed(&pay(&node, "day", 4));
    signed(&pay(&node, "day", 0));
    // Each sender has windows of its own.
    signed(&pay(&node, "other", 5));
    refused(&pay(&node, "other", 3), &["DAILY_LIMIT_EXCEEDED"]);

    refused(&pay(&node, "one", 6), &["TRANSACTION_LIMIT_EXCEEDED"]);
    signed(&pay(&node, "one", 7));

    for nonce in 0..3 {
        signed(&pay(&node, "often", nonce));
    }
    refused(&pay(&node, "often", 3), &["VELOCITY_EXCEEDED"]);
    signed(&pay(&node, "often", 2));

    let record = trail::decisions(&node).into_iter().filter(|record| record["kind"] == "refused");
    let codes: Vec<_> = record.map(|record| record["code"].as_str().unwrap().to_owned()).collect();
    let (daily, transaction) = ("DAILY_LIMIT_EXCEEDED", "TRANSACTION_LIMIT_EXCEEDED");
    assert_eq!(codes, [daily, daily, daily, transaction, "VELOCITY_EXCEEDED"]);

    // A crash empties nothing.
    node.restart_agent();
    refused(&pay(&node, "day", 3), &["DAILY_LIMIT_EXCEEDED"]);
    refused(&pay(&node, "often", 3), &["VELOCITY_EXCEEDED"]);
}

#[test]
fn of_many_at_once_exactly_as_many_are_signed_as_the_limit_allows() {
    let node = Node::ready_under(&policy("off", "", &entry("hot", DAY)));
    node.create_asset("hot", "ES256K");
    // Ten of a hundred fit into a thousand.
    let payloads = payments(&[100; PARALLEL]);
    let answers: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..)
            .zip(&payloads)
            .map(|(nonce, payload)| {
                let node = &node;
                scope.spawn(move || sign(node, &evm_body("hot", nonce, payload)))
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let (good, bad): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(good.len(), 10, "{good:?}");
    bad.iter().for_each(|answer| refused(answer, &["DAILY_LIMIT_EXCEEDED"]));
    assert_eq!((trail::signatures(&node), trail::count(&node, "reservations")), (10, 10));
    let decisions = trail::decisions(&node);
    let of = |kind: &str| decisions.iter().filter(|record| record["kind"] == kind).count();
    assert_eq!((of("signed"), of("refused"), decisions.len()), (10, 22, 32));
}

#[test]
fn a_crash_gives_nothing_back_and_what_surely_was_not_signed_takes_nothing() {
    let mut node = Node::ready_under(&policy("off", "", &entry("hot", DAY)));
    node.create_asset("hot", "ES256K");
    let payloads = payments(&[1000, 1000, 1]);
    let body = |nonce: usize| evm_body("hot", nonce as u64, &payloads[nonce]);
    // Without an enclave nothing is taken.
    node.kill_enclave();
    let unavailable = sign(&node, &body(0));
    assert_eq!(unavailable.status, 503, "{unavailable:?}");
    assert_eq!(trail::count(&node, "reservations") + trail::count(&node, "spends"), 0);
    node.start_enclave();
    node.await_ready(true);

    // The agent dies while the enclave has the request.
    node.enclave().signal(Signal::STOP);
    let (socket, request) = (node.socket(), body(1).to_string());
    let waiting = thread::spawn(move || http::request(&socket, "POST", "/v1/sign", request.as_bytes()));
    until("the reservation", || (trail::count(&node, "reservations") == 1).then_some(()));
    node.kill_agent();
    assert!(waiting.join().unwrap().is_err(), "nobody answered");
    node.enclave().signal(Signal::CONT);
    node.start_agent();
    node.await_ready(true);
    refused(&sign(&node, &body(2)), &["DAILY_LIMIT_EXCEEDED"]);
    // It is the same request's still.
    signed(&sign(&node, &body(1)));
    assert_eq!(trail::count(&node, "spends"), 1);
}

#[test]
fn outside_its_time_windows_a_sender_signs_nothing() {
    let days = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];
    // Days from now on which it is neither now nor soon.
    let today = usize::try_from(clock::now().as_secs() / 86_400).unwrap();
    let later: Vec<_> = (2..6).map(|day| days[(today + day) % 7]).collect();
    let window =
        |days: &[&str]| format!("windows = [{{ days = {days:?}, from = \"00:00\", to = \"24:00\" }}]");
    let entries = entry("open", &window(&days)) + &entry("closed", &window(&later));
    let node = Node::ready_under(&policy("off", "", &entries));
    let payloads = payments(&[1]);
    for asset in ["open", "closed"] {
        node.create_asset(asset, "ES256K");
    }
    signed(&sign(&node, &evm_body("open", 0, &payloads[0])));
    refused(&sign(&node, &evm_body("closed", 0, &payloads[0])), &["OUTSIDE_TIME_WINDOW"]);
}
