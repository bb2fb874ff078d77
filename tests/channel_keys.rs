//! Stories of `channel`: a key is replaced in both configurations, step by step, and nothing else changes.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use std::os::unix::fs::PermissionsExt as _;

use support::Desk;
use toml::Table;

fn node() -> Desk {
    let desk = Desk::new();
    desk.done("init --dir node --new-authority me");
    desk
}

fn config(desk: &Desk, name: &str) -> Table {
    text(desk, name).parse().unwrap()
}

fn text(desk: &Desk, name: &str) -> String {
    String::from_utf8(desk.read(name)).unwrap()
}

/// What a configuration would be if these lines of it were others.
fn but(desk: &Desk, name: &str, without: &[&str]) -> Vec<String> {
    let lines = text(desk, name);
    lines.lines().filter(|line| !without.iter().any(|key| line.starts_with(key))).map(str::to_owned).collect()
}

const AGENT_LINES: [&str; 3] = ["key_file", "next_key_file", "public_keys"];
const ENCLAVE_LINES: [&str; 3] = ["channel_key_file", "next_channel_key_file", "agent_public_keys"];

#[test]
fn each_sides_key_is_replaced_in_two_steps_and_the_rest_stays() {
    let desk = node();
    let (agent, enclave) = ("node/agent.toml", "node/enclave.toml");
    let before = (but(&desk, agent, &AGENT_LINES), but(&desk, enclave, &ENCLAVE_LINES));
    for round in 2..4 {
        for (side, own_file, peer_file) in [("agent", agent, enclave), ("enclave", enclave, agent)] {
            let begun = desk.done(&format!("channel rotate --side {side} --dir node"));
            let [old, new] = ["key", "next_key"].map(|name| begun[name].as_str().unwrap().to_owned());
            assert_ne!(old, new);
            let file = format!("{side}-{round}.key");
            assert_eq!(begun["next_key_file"], file);
            let mode = std::fs::metadata(desk.at("node").join(&file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let keys = |name: &str| {
                let table = config(&desk, name);
                let of = if name == agent {
                    &table["enclave"]["public_keys"]
                } else {
                    &table["agent_public_keys"]
                };
                of.as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(keys(peer_file), [new.clone(), old.clone()], "the next one first");
            let shown = desk.done("channel show --dir node");
            assert_eq!((&shown[side]["key"], &shown[side]["next_key"]), (&begun["key"], &begun["next_key"]));
            assert_eq!(shown[side]["known_to_the_other"], true);
            desk.fails(&format!("channel rotate --side {side} --dir node"), 1, "ROTATION_UNDER_WAY");

            let ended = desk.done(&format!("channel retire --side {side} --dir node"));
            assert_eq!(ended["key"], new);
            assert_eq!(ended["retired"], old);
            assert_eq!(keys(peer_file), std::slice::from_ref(&new));
            let shown = desk.done("channel show --dir node");
            assert_eq!(shown[side]["key"], new);
            assert!(shown[side]["next_key"].is_null());
            assert!(text(&desk, own_file).contains(&format!("key_file = \"{file}\"")));
            desk.fails(&format!("channel retire --side {side} --dir node"), 1, "NO_ROTATION");
        }
    }
    assert_eq!((but(&desk, agent, &AGENT_LINES), but(&desk, enclave, &ENCLAVE_LINES)), before);
    // The retired keys' files are the operator's to destroy.
    assert!(desk.at("node/agent.key").exists() && desk.at("node/enclave-2.key").exists());
}

#[test]
fn where_the_other_side_is_elsewhere_its_line_is_printed() {
    let desk = node();
    desk.write("node/elsewhere.toml", desk.read("node/enclave.toml"));
    std::fs::remove_file(desk.at("node/enclave.toml")).unwrap();
    let begun = desk.done("channel rotate --side agent --dir node");
    let other = &begun["other_side"];
    assert_eq!((other["edited"].as_bool(), other["file"].as_str()), (Some(false), Some("enclave.toml")));
    let line: Table = other["line"].as_str().unwrap().parse().unwrap();
    assert_eq!(line["agent_public_keys"].as_array().unwrap().len(), 2);
    desk.done("channel show --dir node");
    desk.fails("channel rotate --side enclave --dir node", 2, "CHANNEL_CONFIG");
    let ended = desk.done("channel retire --side agent --dir node");
    let line: Table = ended["other_side"]["line"].as_str().unwrap().parse().unwrap();
    assert_eq!(line["agent_public_keys"].as_array().unwrap().len(), 1);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_changes() {
    let desk = node();
    let (agent, enclave) = (text(&desk, "node/agent.toml"), text(&desk, "node/enclave.toml"));
    let rotate = "channel rotate --side agent --dir node";
    let key_line = agent.lines().find(|line| line.starts_with("key_file")).unwrap().to_owned();
    let keys_line = enclave.lines().find(|line| line.starts_with("agent_public_keys")).unwrap().to_owned();
    let foreign = format!("agent_public_keys = [\"{}\"]", "09".repeat(32));
    let split = keys_line.replace('[', "[\n");
    for (name, from, to, exit, code) in [
        ("node/agent.toml", key_line.as_str(), "key_file = \"absent.key\"", 2, "CHANNEL_KEY"),
        ("node/agent.toml", key_line.as_str(), "key_file = 1", 2, "CHANNEL_CONFIG"),
        ("node/agent.toml", key_line.as_str(), "", 2, "CHANNEL_CONFIG"),
        ("node/agent.toml", key_line.as_str(), "key_file = ", 2, "CHANNEL_CONFIG"),
        ("node/enclave.toml", keys_line.as_str(), foreign.as_str(), 1, "CHANNEL_MISMATCH"),
        ("node/enclave.toml", keys_line.as_str(), "agent_public_keys = []", 2, "CHANNEL_CONFIG"),
        ("node/enclave.toml", keys_line.as_str(), "agent_public_keys = \"x\"", 2, "CHANNEL_CONFIG"),
        ("node/enclave.toml", keys_line.as_str(), split.as_str(), 2, "CHANNEL_CONFIG"),
    ] {
        let good = text(&desk, name);
        let changed = good.replace(from, to);
        assert_ne!(good, changed);
        desk.write(name, &changed);
        desk.fails(rotate, exit, code);
        assert_eq!(text(&desk, name), changed, "{to}");
        desk.write(name, &good);
        assert_eq!(text(&desk, "node/agent.toml"), agent, "{to}");
        assert!(!desk.at("node/agent-2.key").exists(), "{to}");
    }
    // A pair that would not talk is a refusal of `show`.
    desk.write("node/enclave.toml", enclave.replace(&keys_line, &foreign));
    let shown = desk.run("channel show --dir node");
    assert_eq!((shown.exit, &shown.json["agent"]["known_to_the_other"]), (1, &false.into()));
    for line in [
        "channel show --dir absent",
        "channel rotate --side agent --dir absent",
        "channel retire --side enclave --dir absent",
    ] {
        desk.fails(line, 2, "CHANNEL_CONFIG");
    }
    desk.fails("channel rotate --side both --dir node", 2, "USAGE");
    desk.fails("channel rotate --dir node", 2, "USAGE");
}
