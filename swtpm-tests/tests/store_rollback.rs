//! The agent's database is restored from before, exchanged or deleted: what the enclave has signed since is missed,
//! and nothing more is signed, so that no spent nonce is taken for a free one.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;

use sealstone_swtpm_tests::process::{Running, binary};
use sealstone_swtpm_tests::wait::until;
use sealstone_swtpm_tests::{Node, trail};
use serde_json::{Value, json};

/// The database with what SQLite keeps beside it.
const FILES: [&str; 3] = ["agent.db", "agent.db-wal", "agent.db-shm"];

fn remove(node: &Node) {
    for file in FILES {
        let _ = std::fs::remove_file(node.path(file));
    }
}

/// A copy as a backup makes it: while nobody writes.
fn backed_up(node: &mut Node) -> PathBuf {
    assert_eq!(node.take_agent().terminate().code(), Some(0));
    let copy = node.path("agent.db.backup");
    std::fs::copy(node.path("agent.db"), &copy).unwrap();
    node.start_agent();
    node.await_ready(true);
    copy
}

/// Stops the agent, puts the copy in the database's place, and starts it again.
fn restore(node: &mut Node, copy: &PathBuf) {
    assert_eq!(node.take_agent().terminate().code(), Some(0));
    remove(node);
    std::fs::copy(copy, node.path("agent.db")).unwrap();
    node.start_agent();
}

fn restart_enclave(node: &mut Node) {
    node.kill_enclave();
    node.start_enclave();
}

/// Waits until the newest checkpoint covers every record; of how many.
fn covered(node: &Node) -> u64 {
    until("every record to be under a checkpoint", || {
        let log = node.try_get("/v1/status")?.json()["log"].clone();
        (log["uncovered_records"] == 0 && log["checkpoint"]["size"] == log["size"])
            .then(|| log["size"].as_u64().unwrap())
    })
}

/// A request that needs no asset.
fn session_body(nonce: u64) -> Value {
    let session = json!({"sender": "hot", "algorithm": "ES256"});
    json!({"tenant": "acme", "session": session, "chain_id": 1, "nonce": nonce, "payload": "00"})
}

/// Nothing is signed, for this reason; and status and readiness say it too.
#[track_caller]
fn refuses(node: &Node, code: &str) {
    until("the verdict", || {
        let answer = node.sign("treasury", 50, b"after");
        assert_ne!(answer.status, 200, "{answer:?}");
        (answer.code() == code).then_some(())
    });
    let answer = node.sign("treasury", 51, b"after");
    assert_eq!((answer.status, answer.code().as_str()), (503, code), "{answer:?}");
    assert!(!answer.json()["detail"].as_str().unwrap().is_empty());
    // Also what was signed: the very nonce whose record is lost.
    let answer = node.sign("treasury", 2, b"another payload");
    assert_eq!((answer.status, answer.code().as_str()), (503, code), "{answer:?}");
    assert_eq!(node.api("POST", "/v1/sign", &session_body(9)).code(), code);
    node.await_ready(false);
    let status = node.try_get("/v1/status").unwrap().json();
    assert!(status["reasons"].to_string().contains(code), "{status}");
    assert_eq!(node.try_get("/readyz").unwrap().status, 503);
    assert_eq!(node.try_get("/healthz").unwrap().status, 200);
}

#[test]
fn a_store_from_before_a_signature_of_the_same_era_signs_nothing_until_somebody_answers_for_it() {
    let mut node = Node::ready();
    node.create_asset("treasury", "ES256");
    assert_eq!(node.sign("treasury", 1, b"before").status, 200);
    let copy = backed_up(&mut node);
    let signed = node.sign("treasury", 2, b"since");
    assert_eq!(signed.status, 200, "{signed:?}");
    let lost = covered(&node);
    let _ = node.cli(&["audit", "export", "lost"]).expect(0);
    restore(&mut node, &copy);
    refuses(&node, "STORE_ROLLED_BACK");

    // The verdict outlives the agent, and the era in which it could be seen.
    node.kill_agent();
    restart_enclave(&mut node);
    node.start_agent();
    refuses(&node, "STORE_ROLLED_BACK");

    // An operator answers for it, once: then the agent goes on.
    assert_eq!(node.take_agent().terminate().code(), Some(0));
    let agent = Running::start(
        Command::new(binary("sealstone-agent"))
            .args(["--danger-accept-lost-receipts", "--danger-begin-new-log"])
            .arg("--config")
            .arg(node.path("agent.toml")),
        &node.path("agent.log"),
        "nothing: it is built here",
    );
    node.await_ready(true);
    assert_eq!(node.sign("treasury", 3, b"accepted").status, 200);
    covered(&node);
    assert_eq!(agent.terminate().code(), Some(0));
    node.start_agent();
    node.await_ready(true);
    assert_eq!(node.sign("treasury", 4, b"onwards").status, 200);
    assert_eq!(node.sign("treasury", 1, b"other").code(), "NONCE_ALREADY_USED");

    // Both are in the log that was begun, once; and whoever verifies it is told of the one that is lost.
    covered(&node);
    let kinds: Vec<_> = trail::records(&node).into_iter().map(|record| record["kind"].clone()).collect();
    for kind in ["receipts_accepted_lost", "log_begun"] {
        assert_eq!(kinds.iter().filter(|other| **other == kind).count(), 1, "{kind}: {kinds:?}");
    }
    let _ = node.cli(&["audit", "export", "new"]).expect(0);
    let verdict = node.cli(&["audit", "verify", "new", "--json"]).expect(1).json();
    let begun = verdict["flaws"][0]["detail"].as_str().unwrap();
    assert!(begun.contains(&format!("in place of the log of {lost} records")), "{verdict}");
    assert_eq!(verdict["complete"], false, "{verdict}");
    let (_, root) = begun.split_once("with root ").unwrap();
    let known = ["audit", "verify", "new", "--lost-log", root.split_once(',').unwrap().0, "--json"];
    let verdict = node.cli(&known).expect(0).json();
    assert_eq!(verdict["complete"], true, "{verdict}");
    let begun = verdict["begun"][0]["detail"].as_str().unwrap();
    assert!(verdict["warnings"].to_string().contains(begun), "{verdict}");
    let against = ["audit", "verify", "new", "--checkpoint", "lost/checkpoint", "--json"];
    let verdict = node.cli(&against).expect(1).json();
    assert_eq!(verdict["complete"], false, "{verdict}");
}

#[test]
fn a_store_from_before_an_era_in_which_something_was_signed_signs_nothing() {
    let mut node = Node::ready();
    node.create_asset("treasury", "ES256");
    assert_eq!(node.sign("treasury", 1, b"before").status, 200);
    let copy = backed_up(&mut node);
    restart_enclave(&mut node);
    node.await_ready(true);
    assert_eq!(node.sign("treasury", 2, b"since").status, 200);
    assert_eq!(node.take_agent().terminate().code(), Some(0));
    restart_enclave(&mut node);
    remove(&node);
    std::fs::copy(&copy, node.path("agent.db")).unwrap();
    node.start_agent();
    refuses(&node, "STORE_ROLLED_BACK");
}

#[test]
fn a_deleted_store_signs_nothing_once_something_was_signed() {
    let mut node = Node::ready();
    node.create_asset("treasury", "ES256");
    assert_eq!(node.sign("treasury", 1, b"before").status, 200);
    for enclave_too in [false, true] {
        node.kill_agent();
        remove(&node);
        if enclave_too {
            restart_enclave(&mut node);
        }
        node.start_agent();
        until("the verdict", || {
            let status = node.try_get("/v1/status")?.json();
            status["reasons"].to_string().contains("STORE_ROLLED_BACK").then_some(())
        });
        let asset = json!({"tenant": "acme", "asset": "treasury", "algorithm": "ES256"});
        let created = node.api("POST", "/v1/assets", &asset);
        assert_eq!((created.status, created.code().as_str()), (503, "STORE_ROLLED_BACK"), "{created:?}");
        let answer = node.sign("treasury", 1, b"another payload");
        assert_ne!(answer.status, 200, "{answer:?}");
        let answer = node.api("POST", "/v1/sign", &session_body(1));
        assert_eq!((answer.status, answer.code().as_str()), (503, "STORE_ROLLED_BACK"), "{answer:?}");
    }
}

#[test]
fn a_deleted_store_is_no_loss_as_long_as_nothing_was_signed() {
    let mut node = Node::ready();
    let asset = node.create_asset("treasury", "ES256");
    node.kill_agent();
    remove(&node);
    node.start_agent();
    node.await_ready(true);
    assert_eq!(node.create_asset("treasury", "ES256")["key_id"], asset["key_id"]);
    assert_eq!(node.sign("treasury", 1, b"x").status, 200);
}

#[test]
fn a_store_that_lacks_nothing_is_taken_back() {
    let mut node = Node::ready();
    node.create_asset("treasury", "ES256");
    let signed = node.sign("treasury", 1, b"before");
    let copy = backed_up(&mut node);
    restore(&mut node, &copy);
    node.await_ready(true);
    assert_eq!(node.sign("treasury", 1, b"before").json(), signed.json());
    assert_eq!(node.sign("treasury", 2, b"since").status, 200);
}

#[test]
fn the_store_of_another_node_signs_nothing() {
    let mut other = Node::ready();
    other.create_asset("treasury", "ES256");
    assert_eq!(other.sign("treasury", 1, b"theirs").status, 200);
    let copy = backed_up(&mut other);
    let mut node = Node::ready();
    node.create_asset("treasury", "ES256");
    assert_eq!(node.sign("treasury", 1, b"ours").status, 200);
    let ours = backed_up(&mut node);
    restore(&mut node, &copy);
    refuses(&node, "STORE_FOREIGN");
    restore(&mut node, &ours);
    node.await_ready(true);
    assert_eq!(node.sign("treasury", 2, b"ours").status, 200);
}

#[test]
fn a_damaged_store_stops_the_agent_with_a_reason() {
    let mut node = Node::ready();
    node.create_asset("treasury", "ES256");
    assert_eq!(node.take_agent().terminate().code(), Some(0));
    let good = std::fs::read(node.path("agent.db")).unwrap();
    for (what, bytes) in [
        ("garbage", vec![0xff; 8192]),
        ("text", b"hello".to_vec()),
        ("half", good[..good.len() / 2].to_vec()),
    ] {
        remove(&node);
        std::fs::write(node.path("agent.db"), &bytes).unwrap();
        let mut agent = Running::start(
            Command::new(binary("sealstone-agent")).arg("--config").arg(node.path("agent.toml")),
            &node.path("damaged.log"),
            "nothing: it is built here",
        );
        // Either it does not start, or it starts and signs nothing: it never begins a new store over an old one.
        let ended = until(what, || match agent.exited() {
            Some(status) => Some(Some(status)),
            None => node.try_get("/healthz").map(|_| None),
        });
        let log = std::fs::read_to_string(node.path("damaged.log")).unwrap();
        match ended {
            Some(status) => {
                assert!(status.code() == Some(2) && log.contains("agent.db"), "{what}: {status} {log}")
            }
            None => {
                let answer = node.sign("treasury", 1, b"x");
                assert_ne!(answer.status, 200, "{what}: {answer:?}");
            }
        }
        assert_eq!(std::fs::read(node.path("agent.db")).unwrap().len(), bytes.len(), "{what}");
    }
    remove(&node);
    std::fs::write(node.path("agent.db"), &good).unwrap();
    node.start_agent();
    node.await_ready(true);
    assert_eq!(node.sign("treasury", 1, b"x").status, 200);
}
