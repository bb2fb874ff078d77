//! The agent is killed at random moments while it signs: no nonce signs two payloads, and no answer is lost.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sealstone_swtpm_tests::node::sign_body;
use sealstone_swtpm_tests::{Node, http};

/// Kills of one run.
const KILLS: usize = 100;

/// Clients that sign meanwhile.
const CLIENTS: u64 = 4;

#[test]
fn killed_a_hundred_times_between_reserve_sign_and_commit_nothing_is_lost_and_nothing_signed_twice() {
    let mut node = Node::ready();
    node.create_asset("treasury", "ES256");
    let socket = node.socket();
    let over = AtomicBool::new(false);
    let answers: BTreeMap<u64, serde_json::Value> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (socket, over) = (socket.clone(), &over);
                scope.spawn(move || {
                    let mut answers = BTreeMap::new();
                    let mut nonce = client;
                    while !over.load(Ordering::Relaxed) {
                        let body = sign_body("treasury", nonce, &nonce.to_be_bytes()).to_string();
                        if let Ok(answer) = http::request(&socket, "POST", "/v1/sign", body.as_bytes())
                            && answer.status == 200
                        {
                            answers.insert(nonce, answer.json());
                            nonce += CLIENTS;
                        }
                    }
                    answers
                })
            })
            .collect();
        for _ in 0..KILLS {
            let mut random = [0; 1];
            getrandom::fill(&mut random).unwrap();
            // Long enough to come anywhere in a signature, short enough for a hundred.
            thread::sleep(Duration::from_millis(u64::from(random[0]) / 2));
            node.kill_agent();
            node.start_agent();
        }
        node.await_ready(true);
        over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert!(!answers.is_empty(), "nothing was signed between the kills");
    for (nonce, before) in &answers {
        let again = node.sign("treasury", *nonce, &nonce.to_be_bytes());
        assert_eq!(again.status, 200, "nonce {nonce}: {again:?}");
        assert_eq!(&again.json(), before, "nonce {nonce}");
        let other = node.sign("treasury", *nonce, b"something else");
        assert_eq!(other.code(), "NONCE_ALREADY_USED", "nonce {nonce}: {other:?}");
    }
    println!("{} signatures over {KILLS} kills", answers.len());
}
