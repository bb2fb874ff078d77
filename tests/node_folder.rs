//! Stories of `init` and `authority`: what lies in a node's folder, and what is never overwritten.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::json;
use support::Desk;

fn contents(desk: &Desk, dir: &str) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(desk.at(dir))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn a_node_is_made_once_and_the_same_command_changes_nothing() {
    let desk = Desk::new();
    let line = "init --dir node --node n1 --new-authority me --tcti swtpm:host=127.0.0.1,port=2321";
    assert_eq!(desk.done(line)["created"], true);
    let before = contents(&desk, "node");
    let names: Vec<&str> = before.keys().map(String::as_str).collect();
    let expected = [
        "agent.key",
        "agent.toml",
        "enclave.credential",
        "enclave.key",
        "enclave.toml",
        "manifest.json",
        "me.key",
        "me.pub",
        "policy.toml",
    ];
    assert_eq!(names, expected);
    for secret in ["agent.key", "enclave.key", "enclave.credential", "me.key"] {
        let mode = std::fs::metadata(desk.at("node").join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let state = std::fs::metadata(desk.at("node/state")).unwrap();
    assert!(state.is_dir() && state.permissions().mode() & 0o077 == 0);
    assert_eq!(desk.done(line)["created"], false);
    assert_eq!(contents(&desk, "node"), before);

    // Other options, edits and missing files are refused, and nothing changes either.
    for other in [
        "init --dir node --node n2 --new-authority me --tcti swtpm:host=127.0.0.1,port=2321",
        "init --dir node --node n1 --new-authority me",
        "init --dir node --node n1 --new-authority me --tcti tabrmd: --enclave-address vsock:3:5000",
    ] {
        desk.fails(other, 2, "DIR_NOT_EMPTY");
    }
    assert_eq!(contents(&desk, "node"), before);
    std::fs::remove_file(desk.at("node/enclave.key")).unwrap();
    let outcome = desk.fails(line, 2, "DIR_NOT_EMPTY");
    assert!(outcome.detail().contains("enclave.key"), "{}", outcome.detail());
    assert!(!desk.at("node/enclave.key").exists());
}

#[test]
fn the_configurations_name_each_other() {
    let desk = Desk::new();
    let made = desk.done(r#"init --dir node --new-authority me --enclave-address unix-vsock:v.sock:5000"#);
    let toml = |name: &str| -> toml::Table { String::from_utf8(desk.read(name)).unwrap().parse().unwrap() };
    let (agent, enclave) = (toml("node/agent.toml"), toml("node/enclave.toml"));
    assert_eq!(agent["node"].as_str(), Some("node-1"));
    assert_eq!(agent["enclave"]["address"].as_str(), Some("unix-vsock:v.sock:5000"));
    assert_eq!(enclave["listen"].as_str(), Some("vsock:4294967295:5000"));
    assert_eq!(enclave["authority"].as_str(), made["authority"].as_str());
    assert_ne!(agent["enclave"]["public_keys"][0].as_str(), enclave["agent_public_keys"][0].as_str());
    let credential = desk.read("node/enclave.credential");
    assert_eq!((credential.len(), hex::decode(credential).is_ok()), (64, true));
    let skeleton = desk.json("node/manifest.json");
    assert_eq!((&skeleton["states"], &skeleton["nodes"]), (&json!([]), &json!([])));
}

#[test]
fn a_folder_in_use_a_file_and_a_bad_name_are_refused_without_a_trace() {
    let desk = Desk::new();
    desk.done("authority new alice");
    desk.done("authority new bob");
    desk.write("file", "x");
    std::fs::create_dir(desk.at("used")).unwrap();
    desk.write("used/thing", "x");
    for (line, code) in [
        ("init --dir used --authority alice.pub", "DIR_NOT_EMPTY"),
        ("init --dir file --authority alice.pub", "DIR"),
        ("init --dir file/sub --authority alice.pub", "DIR"),
        ("init --dir node", "USAGE"),
        ("init --dir node --authority alice.pub --enclave-address tcp:1.2.3.4:5", "USAGE"),
        ("init --dir node --authority alice.key", "KEY_UNREADABLE"),
        ("init --dir node --authority absent.pub", "FILE_UNREADABLE"),
        ("init --dir node --authority alice.pub --authority bob.pub", "THRESHOLD_NEEDED"),
        ("init --dir node --authority alice.pub --authority bob.pub --threshold 3", "THRESHOLD"),
        ("init --dir node --authority alice.pub --threshold 0", "THRESHOLD"),
        ("init --dir node --authority alice.pub --authority alice.pub --threshold 1", "AUTHORITY"),
        ("init --dir node --authority alice.pub --new-authority alice --threshold 1", "AUTHORITY"),
        ("init --dir node --new-authority agent", "NAME"),
        ("init --dir node --new-authority ../x", "NAME"),
    ] {
        desk.fails(line, 2, code);
        assert!(!desk.at("node").exists() || contents(&desk, "node").is_empty(), "{line}");
    }
    assert_eq!(contents(&desk, "used").len(), 1);
}

#[test]
fn an_authority_key_is_never_replaced() {
    let desk = Desk::new();
    desk.done("authority new alice");
    let before = (desk.read("alice.key"), desk.read("alice.pub"));
    desk.fails("authority new alice", 2, "FILE_EXISTS");
    std::fs::remove_file(desk.at("alice.key")).unwrap();
    desk.fails("authority new alice --algorithm ES256", 2, "FILE_EXISTS");
    assert!(!desk.at("alice.key").exists(), "a pair or nothing");
    assert_eq!(desk.read("alice.pub"), before.1);
    for (line, code) in [
        ("authority new bob --algorithm ES256K", "ALGORITHM"),
        ("authority new bob --algorithm RS256", "USAGE"),
        ("authority new a/b", "NAME"),
        ("authority new ..", "NAME"),
        ("authority new bob --out absent", "FILE_UNWRITABLE"),
        ("authority digest", "USAGE"),
        ("authority digest alice.pub absent.pub --threshold 1", "FILE_UNREADABLE"),
    ] {
        desk.fails(line, 2, code);
    }
}

#[test]
fn the_digest_of_a_set_depends_on_keys_and_threshold_alone() {
    let desk = Desk::new();
    for name in ["alice", "bob"] {
        desk.done(&format!("authority new {name}"));
    }
    std::fs::copy(desk.at("alice.pub"), desk.at("renamed.pub")).unwrap();
    let digest =
        |line: &str| desk.done(&format!("authority digest {line}"))["authority"].as_str().unwrap().to_owned();
    assert_eq!(digest("alice.pub bob.pub --threshold 2"), digest("bob.pub renamed.pub --threshold 2"));
    assert_ne!(digest("alice.pub bob.pub --threshold 2"), digest("alice.pub bob.pub --threshold 1"));
    assert_ne!(digest("alice.pub"), digest("bob.pub"));
    desk.fails("authority digest alice.pub renamed.pub --threshold 1", 2, "AUTHORITY");
}

#[test]
fn a_closed_terminal_is_no_error() {
    let desk = Desk::new();
    desk.done("authority new alice");
    for line in [
        "--help",
        "authority digest alice.pub",
        "authority digest alice.pub --json",
        "authority digest absent --json",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = desk.command(line).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let expected = if line.contains("absent") { 2 } else { 0 };
        assert_eq!(output.status.code(), Some(expected), "{line}: {output:?}");
        assert!(output.stderr.is_empty(), "{line}: {output:?}");
    }
    // A full disk is one: a program waits for the answer.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = desk.command("authority digest alice.pub").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
