//! The host's clock is set while the agent runs, and before it starts: a day that did not pass empties no daily limit.

use std::path::{Path, PathBuf};
use std::process::Command;

use sealstone_swtpm_tests::process::binary;
use sealstone_swtpm_tests::transactions::{evm_body, sign};
use sealstone_swtpm_tests::{Node, trail};

use crate::support::{entry, payments, policy, refused, signed};

/// The library that sets a process's clock.
fn faketime() -> PathBuf {
    let architectures = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let found =
        architectures.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.is_file());
    found.expect("this story needs libfaketime: apt-get install libfaketime")
}

/// Starts the agent with the clock that this file says, as an offset from the machine's.
fn start_agent(node: &mut Node, clock: &Path) {
    node.start_agent_by(
        Command::new(binary("sealstone-agent"))
            .env("LD_PRELOAD", faketime())
            .env("FAKETIME_TIMESTAMP_FILE", clock)
            .env("FAKETIME_NO_CACHE", "1")
            // Only what can be set is: not the time since the machine started, nor that of files.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1"),
    );
    node.await_ready(true);
}

/// Sets the clock in one step.
fn set(clock: &Path, offset: &str) {
    let next = clock.with_extension("next");
    std::fs::write(&next, offset).unwrap();
    std::fs::rename(next, clock).unwrap();
}

#[test]
fn a_clock_that_is_set_empties_no_limit() {
    let rules = r#"rolling = [{ over = "24h", amounts = { USDC = "1000" } }]"#;
    let mut node = Node::ready_under(&policy("off", "", &entry("hot", rules)));
    node.create_asset("hot", "ES256K");
    node.kill_agent();
    let clock = node.path("clock");
    set(&clock, "+0");
    start_agent(&mut node, &clock);
    let payloads = payments(&[1000, 1, 999, 1000]);
    let pay = |node: &Node, nonce: usize| sign(node, &evm_body("hot", nonce as u64, &payloads[nonce]));
    let first = pay(&node, 0);
    signed(&first);
    refused(&pay(&node, 1), &["DAILY_LIMIT_EXCEEDED"]);

    for offset in ["+25h", "-25h"] {
        set(&clock, offset);
        let answer = pay(&node, 1);
        assert_eq!((answer.status, answer.code().as_str()), (503, "CLOCK_SET"), "{answer:?}");
        let foretold = node.api("POST", "/v1/sign?dry_run=true", &evm_body("hot", 1, &payloads[1]));
        assert_eq!(foretold.code(), "CLOCK_SET", "{foretold:?}");
        // Nor is a key old by such a clock.
        let old = node.try_get("/v1/assets?older_than_s=3600").unwrap();
        assert_eq!((old.status, old.code().as_str()), (503, "CLOCK_SET"), "{old:?}");
        // What was answered is answered.
        assert_eq!(pay(&node, 0).json(), first.json());
    }
    set(&clock, "+0");
    refused(&pay(&node, 1), &["DAILY_LIMIT_EXCEEDED"]);

    // A day later, as whoever restarts the agent says: the window is empty.
    node.kill_agent();
    set(&clock, "+25h");
    start_agent(&mut node, &clock);
    signed(&pay(&node, 1));
    signed(&pay(&node, 2));
    refused(&pay(&node, 3), &["DAILY_LIMIT_EXCEEDED"]);
    // And back again: a sender's time never goes back, so neither is yesterday's room there, nor today's.
    node.kill_agent();
    set(&clock, "+0");
    start_agent(&mut node, &clock);
    refused(&pay(&node, 3), &["DAILY_LIMIT_EXCEEDED"]);
    assert_eq!(trail::count(&node, "reservations"), 3);
}
