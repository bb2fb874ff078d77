//! Both sides of the channel get other keys while clients sign: where nothing restarts, no request fails.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use sealstone_swtpm_tests::node::sign_body;
use sealstone_swtpm_tests::process::binary;
use sealstone_swtpm_tests::wait::until;
use sealstone_swtpm_tests::{Node, http};
use sealstone_wire::channel::ChannelKey;
use serde_json::Value;

/// Clients that sign all the time.
const CLIENTS: usize = 4;

/// Signatures before and after whatever happens under load.
const SIGNATURES: u64 = 300;

/// Says in the agent's log that a connection was replaced, and between which keys.
const TAKEN_OVER: &str = "another connection to the enclave has taken over";

/// A node whose clients never reuse a nonce.
struct Story {
    node: Node,
    next_nonce: AtomicU64,
}

impl Story {
    fn start() -> Self {
        let node = Node::ready();
        node.create_asset("treasury", "ES256");
        Self { node, next_nonce: AtomicU64::new(0) }
    }

    /// Has clients sign while `action` runs, and some time before and after; returns how many signed. Fails if a
    /// single request did.
    fn under_load(&self, action: impl FnOnce()) -> u64 {
        let (over, signed, failed) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Vec::new()));
        let (socket, nonces) = (self.node.socket(), &self.next_nonce);
        let client = |socket: PathBuf| {
            while !over.load(Ordering::Relaxed) {
                let nonce = nonces.fetch_add(1, Ordering::Relaxed);
                let body = sign_body("treasury", nonce, &nonce.to_be_bytes()).to_string();
                match http::request(&socket, "POST", "/v1/sign", body.as_bytes()) {
                    Ok(answer) if answer.status == 200 => drop(signed.fetch_add(1, Ordering::Relaxed)),
                    other => failed.lock().unwrap().push(format!("nonce {nonce}: {other:?}")),
                }
            }
        };
        let more = |what: &str| {
            let goal = signed.load(Ordering::Relaxed) + SIGNATURES;
            until(what, || {
                let enough = signed.load(Ordering::Relaxed) >= goal || !failed.lock().unwrap().is_empty();
                enough.then_some(())
            });
        };
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| client(socket.clone()))).collect();
            more("signatures before");
            // Clients end even if the action fails.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(action));
            if done.is_ok() {
                more("signatures after");
            }
            over.store(true, Ordering::Relaxed);
            for client in clients {
                client.join().unwrap();
            }
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        let failed = failed.into_inner().unwrap();
        assert!(failed.is_empty(), "{} requests failed: {:#?}", failed.len(), &failed[..failed.len().min(5)]);
        signed.into_inner()
    }

    /// Restarts the enclave, as the only step that interrupts signing.
    fn restart_enclave(&mut self) {
        self.node.kill_enclave();
        self.node.start_enclave();
        self.node.await_ready(true);
        until("a signature", || {
            let nonce = self.next_nonce.fetch_add(1, Ordering::Relaxed);
            (self.node.sign("treasury", nonce, b"after a restart").status == 200).then_some(())
        });
    }

    /// Has the agent read its keys anew while clients sign; waits until another connection has taken over, between these
    /// keys.
    fn reload_under_load(&self, agent: &Value, enclave: &Value) {
        let agent_pid = Pid::from_raw(self.node.pids().0.try_into().unwrap()).unwrap();
        let before = self.taken_over().len();
        let signed = self.under_load(|| {
            kill_process(agent_pid, Signal::HUP).unwrap();
            let line = until("another connection", || self.taken_over().get(before).cloned());
            for key in [agent, enclave] {
                assert!(line.contains(key.as_str().unwrap()), "{key}: {line}");
            }
        });
        assert_eq!(self.taken_over().len(), before + 1);
        println!("{signed} signatures, none failed");
    }

    fn taken_over(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.node.path("agent.log")).unwrap();
        log.lines().filter(|line| line.contains(TAKEN_OVER)).map(str::to_owned).collect()
    }

    fn channel(&self, verb: &str, side: &str) -> Value {
        self.node.cli(&["channel", verb, "--side", side, "--dir", ".", "--json"]).expect(0).json()
    }

    /// The keys in use, as the folder says.
    fn keys(&self) -> [Value; 2] {
        let shown = self.node.cli(&["channel", "show", "--dir", ".", "--json"]).expect(0).json();
        ["agent", "enclave"].map(|side| shown[side]["key"].clone())
    }

    /// The enclave's key as its own report names it, for an auditor.
    fn reported(&self) -> String {
        let _ = self.node.cli(&["attest", "--nonce", &"ab".repeat(16), "-o", "evidence.json"]).expect(0);
        let evidence: Value =
            serde_json::from_slice(&std::fs::read(self.node.path("evidence.json")).unwrap()).unwrap();
        let payload = STANDARD.decode(evidence["report"]["payload"].as_str().unwrap()).unwrap();
        let report: Value = serde_json::from_slice(&payload).unwrap();
        std::fs::remove_file(self.node.path("evidence.json")).unwrap();
        report["channel_key"].as_str().unwrap().to_owned()
    }
}

#[test]
fn both_sides_get_another_key_and_no_request_fails_but_for_the_enclaves_restarts() {
    let mut story = Story::start();
    let [agent, enclave] = story.keys();
    assert_eq!(story.reported(), enclave.as_str().unwrap());

    // The agent's key: the enclave is told first, at its own time, then the agent moves while clients sign.
    let begun = story.channel("rotate", "agent");
    assert_eq!(begun["key"], agent);
    let next_agent = begun["next_key"].clone();
    story.restart_enclave();
    story.reload_under_load(&next_agent, &enclave);

    // The enclave's key: it answers under both after its restart, and the agent moves while clients sign.
    let begun = story.channel("rotate", "enclave");
    let next_enclave = begun["next_key"].clone();
    story.restart_enclave();
    assert_eq!(story.reported(), enclave.as_str().unwrap(), "on a connection under the key in use");
    story.reload_under_load(&next_agent, &next_enclave);
    assert_eq!(story.reported(), next_enclave.as_str().unwrap(), "on one under the next key");

    // Both old keys go: first the agent, while clients sign, and at last the enclave.
    for side in ["agent", "enclave"] {
        story.channel("retire", side);
    }
    story.reload_under_load(&next_agent, &next_enclave);
    for file in ["agent.key", "enclave.key"] {
        std::fs::remove_file(story.node.path(file)).unwrap();
    }
    story.restart_enclave();
    assert_eq!(story.keys(), [next_agent, next_enclave]);
    story.under_load(|| ());
}

#[test]
fn whichever_side_restarts_first_the_two_never_refuse_each_other() {
    for side in ["agent", "enclave"] {
        for agent_first in [true, false] {
            let mut story = Story::start();
            for verb in ["rotate", "retire"] {
                story.channel(verb, side);
                let restart_agent = |story: &mut Story| {
                    story.node.kill_agent();
                    story.node.start_agent();
                    story.node.await_ready(true);
                };
                if agent_first {
                    restart_agent(&mut story);
                    story.restart_enclave();
                } else {
                    story.restart_enclave();
                    restart_agent(&mut story);
                }
            }
            let log = std::fs::read_to_string(story.node.path("agent.log")).unwrap();
            let key = &story.keys()[usize::from(side == "enclave")];
            let last = log.lines().rfind(|line| line.contains("connected to the enclave")).unwrap();
            assert!(last.contains(key.as_str().unwrap()), "{side}, agent first: {agent_first}: {last}");
        }
    }
}

#[test]
fn an_agent_that_is_told_of_useless_keys_goes_on_with_those_it_has() {
    let story = Story::start();
    let good = std::fs::read_to_string(story.node.path("agent.toml")).unwrap();
    let agent_pid = Pid::from_raw(story.node.pids().0.try_into().unwrap()).unwrap();
    let said =
        |what: &str| std::fs::read_to_string(story.node.path("agent.log")).unwrap().matches(what).count();
    // A stranger's key file, and an enclave that is not this one.
    let stranger = ChannelKey::create(&story.node.path("stranger.key")).unwrap().public().to_string();
    let [_, enclave] = story.keys();
    let cases = [
        (good.replace("\"agent.key\"", "\"absent.key\""), "nothing was reloaded"),
        (good.replace("enclave.sock", "other.sock"), "nothing was reloaded"),
        ("no configuration".to_owned(), "nothing was reloaded"),
        (good.replace("\"agent.key\"", "\"stranger.key\""), "no connection under the new keys yet"),
        (good.replace(enclave.as_str().unwrap(), &stranger), "no connection under the new keys yet"),
    ];
    for (text, says) in cases {
        let before = said(says);
        std::fs::write(story.node.path("agent.toml"), text).unwrap();
        story.under_load(|| {
            kill_process(agent_pid, Signal::HUP).unwrap();
            until(says, || (said(says) > before).then_some(()));
        });
    }
    assert!(story.taken_over().is_empty());
    std::fs::write(story.node.path("agent.toml"), good).unwrap();
    let [agent, enclave] = story.keys();
    story.reload_under_load(&agent, &enclave);
}

#[test]
fn a_withdrawn_key_opens_nothing_and_an_enclave_without_its_next_key_does_not_start() {
    let mut story = Story::start();
    story.channel("rotate", "agent");
    story.channel("retire", "agent");
    story.node.kill_enclave();
    story.node.start_enclave();
    // Nobody told the agent: it still has the key that was withdrawn.
    until("the agent to be refused", || {
        let status = story.node.try_get("/v1/status")?.json();
        let reasons = status["reasons"].to_string();
        (reasons.contains("agent_public_keys")).then_some(())
    });
    kill_process(Pid::from_raw(story.node.pids().0.try_into().unwrap()).unwrap(), Signal::HUP).unwrap();
    story.node.await_ready(true);

    story.node.kill_enclave();
    let key = "channel_key_file = \"enclave.key\"\n";
    for (next, says) in [("absent.key", "absent.key"), ("enclave.key", "expected another key")] {
        let text = std::fs::read_to_string(story.node.path("enclave.toml")).unwrap();
        let with = text.replace(key, &format!("{key}next_channel_key_file = \"{next}\"\n"));
        assert_ne!(with, text);
        std::fs::write(story.node.path("other.toml"), with).unwrap();
        let ended = Command::new(binary("sealstone-enclave"))
            .arg("--config")
            .arg(story.node.path("other.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
    assert!(!story.node.path("absent.key").exists(), "a next key is never made here");
}
