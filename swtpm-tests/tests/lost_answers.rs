//! The link between agent and enclave is cut after a request was written: the answers to a signature and to a checkpoint
//! are lost, one after the other. Nothing is signed twice, and the log is whole.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

#[path = "support/state_file.rs"]
#[allow(dead_code, unreachable_pub, reason = "other stories share it, and change it as well")]
mod state_file;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use sealstone_swtpm_tests::node::sign_body;
use sealstone_swtpm_tests::wait::until;
use sealstone_swtpm_tests::{Node, direct, http};
use sealstone_wire::client::Client;
use sealstone_wire::reply::Reply;
use sealstone_wire::request::Request;
use serde_json::json;

const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// What becomes of what the enclave answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Pass,
    /// None of it arrives.
    Vanish,
    /// It arrives until the enclave has signed a head of more records than this; that answer is lost with the link.
    EndAtHeadAfter(u64),
}

/// Stands between agent and enclave.
struct Link {
    answers: Arc<Mutex<Answers>>,
    open: Arc<Mutex<Vec<UnixStream>>>,
}

impl Link {
    /// Has the agent of a node dial it. Serves until the story ends.
    fn before(node: &Node) -> Self {
        node.edit("agent.toml", |text| text.replace("enclave.sock", "link.sock"));
        let listener = UnixListener::bind(node.path("link.sock")).unwrap();
        let (enclave, state_file) = (node.path("enclave.sock"), node.path("enclave.state"));
        let link = Self { answers: Arc::new(Mutex::new(Answers::Pass)), open: Arc::default() };
        let (answers, open) = (Arc::clone(&link.answers), Arc::clone(&link.open));
        thread::spawn(move || {
            for agent in listener.incoming() {
                let agent = agent.unwrap();
                let Ok(enclave) = UnixStream::connect(&enclave) else { continue };
                open.lock().unwrap().extend([agent.try_clone().unwrap(), enclave.try_clone().unwrap()]);
                let (from, to) = (agent.try_clone().unwrap(), enclave.try_clone().unwrap());
                thread::spawn(move || carry(from, to, || true));
                let (answers, state_file) = (Arc::clone(&answers), state_file.clone());
                let mut passes = move || passes(&answers, &state_file);
                thread::spawn(move || carry(enclave, agent, &mut passes));
            }
        });
        link
    }

    fn set(&self, answers: Answers) {
        *self.answers.lock().unwrap() = answers;
    }

    fn get(&self) -> Answers {
        *self.answers.lock().unwrap()
    }

    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Carries bytes one way; ends both ways when `passes` says so.
fn carry(mut from: UnixStream, mut to: UnixStream, mut passes: impl FnMut() -> bool) {
    let mut bytes = [0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if !passes() || to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Whether the link stands after an answer has come; it waits where answers vanish, until they no longer do.
fn passes(answers: &Mutex<Answers>, state_file: &Path) -> bool {
    let now = *answers.lock().unwrap();
    match now {
        Answers::Pass => true,
        Answers::Vanish => {
            until("the story to end the silence", || {
                (*answers.lock().unwrap() != Answers::Vanish).then_some(())
            });
            false
        }
        // The head is on disk before its checkpoint leaves.
        Answers::EndAtHeadAfter(size) => {
            let stands = head(state_file) <= size;
            if !stands {
                *answers.lock().unwrap() = Answers::Pass;
            }
            stands
        }
    }
}

/// Records under the newest head that the enclave has signed.
fn head(path: &Path) -> u64 {
    let state = state_file::newest(&std::fs::read(path).unwrap());
    state["log_head"]["size"].as_u64().unwrap_or(0)
}

/// What the enclave has signed in this era, by its receipts.
fn signatures(enclave: &mut Client) -> Vec<String> {
    match enclave.call(Request::Receipts { from: 1 }).unwrap() {
        Reply::Receipts(receipts) => {
            receipts.iter().map(|signed| hex::encode(signed.signature.as_bytes())).collect()
        }
        other => panic!("expected receipts, found {other:?}"),
    }
}

#[test]
fn a_signature_and_a_checkpoint_whose_answers_are_lost_are_found_and_nothing_is_signed_twice() {
    let mut node = Node::ready();
    node.create_asset("treasury", "ES256");
    node.kill_agent();
    let link = Link::before(&node);
    node.start_agent();
    node.await_ready(true);
    assert_eq!(node.sign("treasury", 1, b"before").status, 200);
    let mut enclave = direct::connect(&node);

    // Signed, and nobody hears of it.
    link.set(Answers::Vanish);
    let asking = {
        let (socket, body) = (node.socket(), sign_body("treasury", 2, b"pay").to_string());
        thread::spawn(move || http::request(&socket, "POST", "/v1/sign", body.as_bytes()).unwrap())
    };
    let made = until("the enclave to have signed", || {
        let made = signatures(&mut enclave);
        (made.len() == 2).then(|| made[1].clone())
    });
    // The next checkpoint covers it; that answer is lost as well.
    link.set(Answers::EndAtHeadAfter(head(&node.path("enclave.state"))));
    link.cut();
    let lost = asking.join().unwrap();
    assert_eq!((lost.status, lost.code().as_str()), (503, "OUTCOME_UNKNOWN"), "{lost:?}");
    until("the checkpoint's answer to be lost", || (link.get() == Answers::Pass).then_some(()));

    let found = until("the answer to be found", || {
        let answer = node.sign("treasury", 2, b"pay");
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!(found["signature"], made, "{found}");
    assert_eq!(found["receipt"]["sequence"], 2, "{found}");
    assert_eq!(node.sign("treasury", 2, b"pay").json(), found);
    assert_eq!(node.sign("treasury", 2, b"other").code(), "NONCE_ALREADY_USED");
    node.await_ready(true);
    assert_eq!(node.sign("treasury", 3, b"after").status, 200);
    assert_eq!(signatures(&mut enclave).len(), 3, "each once");

    until("every record to be under a checkpoint", || {
        let log = node.try_get("/v1/status")?.json()["log"].clone();
        (log["uncovered_records"] == 0).then_some(())
    });
    let _ = node.cli(&["attest", "--nonce", NONCE, "-o", "evidence.json"]).expect(0);
    let _ = node.cli(&["audit", "export", "log"]).expect(0);
    let authority = node.cli(&["authority", "digest", "alice.pub", "--threshold", "1"]).expect(0);
    let report =
        ["--report", "evidence.json", "--nonce", NONCE, "--authority", authority.stdout.trim(), "--json"];
    let verdict = node.cli(&[&["audit", "verify", "log"], &report[..]].concat()).expect(0).json();
    assert_eq!((&verdict["complete"], &verdict["warnings"]), (&json!(true), &json!([])), "{verdict}");
    assert_eq!(verdict["receipts"][0]["up_to"], 3, "{verdict}");
}
