//! A node with a measured-boot log is updated: its operator drafts and plans the next state from the log, and an auditor reads
//! the verdicts on pages, in a real browser.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

#[path = "../../attestation/tests/event_log/builder.rs"]
mod builder;

use std::path::PathBuf;

use builder::{LogBuilder, honest};
use sealstone_attestation::event_log::{EventLog, LogAlgorithm};
use sealstone_swtpm_tests::wait::until;
use sealstone_swtpm_tests::{Node, browser};
use serde_json::{Value, json};

const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The machine starts anew and measures what this log says.
fn boot(node: &mut Node, log: &LogBuilder) {
    node.tpm.power_off();
    node.tpm.power_on();
    let bytes = log.bytes();
    for event in EventLog::parse(&bytes).unwrap().events() {
        if let (Some(pcr), Some(digest), true) =
            (event.pcr, event.digest(LogAlgorithm::Sha256), event.extends())
        {
            node.tpm.extend_digest(pcr.get(), digest);
        }
    }
    std::fs::write(node.path("boot.log"), bytes).unwrap();
}

/// A node that was approved after the honest boot, whose agent hands over the log.
fn ready() -> Node {
    let mut node = Node::init();
    boot(&mut node, &honest(&[LogAlgorithm::Sha256]));
    node.edit("agent.toml", |text| {
        text.replace("/sys/kernel/security/tpm0/binary_bios_measurements", "boot.log")
    });
    node.start_enclave();
    node.start_agent();
    let _ = node.approve_first();
    node.await_ready(true);
    node
}

/// The next boot: a newer loader after the first one.
fn updated() -> LogBuilder {
    let mut log = honest(&[LogAlgorithm::Sha256]);
    log.image("\\EFI\\debian\\grubx64.efi", b"a newer loader");
    log
}

fn attest(node: &Node, out: &str) {
    let _ = node.cli(&["attest", "--nonce", NONCE, "-o", out]).expect(0);
}

/// Where pages and screenshots are left to be looked at.
fn artefacts() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    let folder = root.join("target/artefacts");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Nothing but the page was asked for, nothing was refused or said, and anybody can read it.
fn readable(seen: &Value) {
    let page = seen["page"].as_str().unwrap();
    assert_eq!(seen["console"], json!([]), "{page}: errors, or violations of the page's policy");
    assert_eq!((&seen["scripts"], &seen["styled"]), (&json!(0), &json!(true)), "{page}");
    let requests = seen["requests"].as_array().unwrap();
    assert!(!requests.is_empty(), "{page}: expected the browser to say what it asked for");
    for request in requests {
        let request = request.as_str().unwrap();
        assert!(request.starts_with("file://") && request.ends_with(page), "{page} asked for {request}");
    }
    let looks = seen["looks"].as_array().unwrap();
    assert_eq!(looks.len(), 4, "{page}");
    for look in looks {
        let name = format!("{page}, {}", look["look"]);
        assert_eq!(look["wide"], false, "{name}: wider than its window");
        assert_eq!(look["axe"]["violations"], json!([]), "{name}");
        assert_eq!(look["axe"]["contrast"], true, "{name}: contrast was judged");
        assert!(look["axe"]["passes"].as_u64().unwrap() > 25, "{name}: {look}");
        assert!(PathBuf::from(look["screenshot"].as_str().unwrap()).is_file(), "{name}");
    }
}

#[test]
fn verdicts_on_a_node_are_pages_that_a_browser_shows_to_everybody() {
    let mut node = ready();
    let folder = artefacts();
    attest(&node, "accepted.json");
    // A reboot into a state that nobody approved. The running enclave still shows it.
    boot(&mut node, &updated());
    node.await_ready(false);
    attest(&node, "refused.json");

    let mut pages = Vec::new();
    for (name, code) in [("accepted", 0), ("refused", 1)] {
        let (page, evidence) = (folder.join(format!("node-{name}.html")), format!("{name}.json"));
        let path = page.display().to_string();
        let verify =
            ["verify", &evidence, "--manifest", "m1.json", "--nonce", NONCE, "--html", &path, "--json"];
        let verdict = node.cli(&verify).expect(code).json();
        assert_eq!(verdict["accepted"], code == 0, "{verdict}");
        pages.push(page);
    }
    let refused = std::fs::read_to_string(&pages[1]).unwrap();
    assert!(
        refused.contains("grubx64.efi") && refused.contains(" of its events lead to the approved value"),
        "why"
    );

    // A page that breaks its own policy, to know that this would be noticed.
    let broken = folder.join("node-broken.html");
    let accepted = std::fs::read_to_string(&pages[0]).unwrap();
    let hole = "<script>document.title = 'run'</script><img src=\"x.png\"><p style=\"color:#888\">x</p>";
    std::fs::write(&broken, accepted.replace("<main>", &format!("<main>{hole}"))).unwrap();
    pages.push(broken);

    let seen = browser::look(&folder, &pages);
    readable(&seen[0]);
    readable(&seen[1]);
    assert_eq!(seen[0]["title"], "Accepted: evidence of node-1");
    assert_eq!(seen[1]["title"], "Refused: evidence of node-1");
    assert_eq!(seen[2]["title"], "Accepted: evidence of node-1", "the policy stops a script");
    assert!(seen[2]["console"].as_array().unwrap().len() >= 3, "{}", seen[2]["console"]);
    let rules = seen[2]["looks"][0]["axe"]["violations"].to_string();
    assert!(rules.contains("image-alt"), "{rules}");
}

#[test]
fn the_next_state_is_drafted_from_its_log_planned_approved_and_attested() {
    let mut node = ready();
    let before = node.create_asset("treasury", "ES256");
    attest(&node, "now.json");

    // The log of a machine of the same model that was updated first.
    let next = updated();
    std::fs::write(node.path("staging.log"), next.bytes()).unwrap();
    let mut propose = vec!["manifest", "propose", "--from", "m1.json", "--state", "boot-2"];
    propose.extend(["--from-eventlog", "staging.log", "--current-eventlog", "now.json", "--json"]);
    let forgotten = [&propose[..], &["--predecessor", "boot-1", "-o", "forgotten.json"]].concat();
    let listed = [&propose[..], &["--replaces", "boot-1", "--keep-active", "-o", "m2.json"]].concat();
    let _ = node.cli(&forgotten).expect(0);
    let diff = node.cli(&listed).expect(0).json()["diff"].clone();
    assert_eq!(diff["against"][0]["differs"].as_array().unwrap().len(), 1, "{diff}");
    let added = &diff["by_logs"]["changes"]["pcrs"][0]["added"];
    assert!(added[0]["description"].as_str().unwrap().contains("grubx64.efi"), "{diff}");

    let stranded = node.cli(&["manifest", "plan", "forgotten.json", "--agent", "--json"]).expect(1).json();
    assert_eq!(stranded["assets"]["stranded"][0]["key_id"], before["key_id"], "{stranded}");
    let plan = node.cli(&["manifest", "plan", "m2.json", "--agent", "--json"]).expect(0).json();
    assert_eq!(plan["assets"]["unlocked"][0]["unlocked_under"], json!(["boot-2"]), "{plan}");

    let _ = node.cli(&["manifest", "sign", "m2.json", "--key", "alice.key"]).expect(0);
    let _ = node.cli(&["manifest", "apply", "m2.json"]).expect(0);
    boot(&mut node, &next);
    node.await_ready(true);
    let signed = node.sign("treasury", 1, b"after the update");
    assert_eq!((signed.status, &signed.json()["key_id"]), (200, &before["key_id"]), "{signed:?}");
    attest(&node, "after.json");
    let verdict = node
        .cli(&["verify", "after.json", "--manifest", "m2.json", "--nonce", NONCE, "--json"])
        .expect(0)
        .json();
    let event_log = verdict["checks"].as_array().unwrap().iter().find(|check| check["name"] == "event_log");
    assert_eq!(event_log.unwrap()["result"], "passed", "{verdict}");
}

/// A driver of a browser that goes wrong in this way, told by what it runs. It is waited for this long to say its port, in which
/// even a busy machine has started it.
fn broken_driver(folder: &std::path::Path, script: &str, seconds: u32) -> std::process::Output {
    use std::os::unix::fs::PermissionsExt as _;
    let driver = folder.join("chromedriver");
    let child = "sleep 300 >/dev/null & echo $! > child; echo $$ > driver";
    std::fs::write(&driver, format!("#!/bin/sh\ncd {}\n{child}\n{script}\n", folder.display())).unwrap();
    std::fs::set_permissions(&driver, std::fs::Permissions::from_mode(0o755)).unwrap();
    let clients = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");
    let open = format!(
        "import sys; sys.path.insert(0, sys.argv[1]); import browser; browser.START_DEADLINE_S = {seconds}; \
         browser.Driver(sys.argv[2])"
    );
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut python = std::process::Command::new(sealstone_swtpm_tests::clients::program("python"));
    python.args(["-B", "-c", &open, clients]).arg(folder).env("PATH", path).output().unwrap()
}

#[test]
fn a_browser_that_does_not_open_leaves_nothing_running() {
    let listening = "echo 'ChromeDriver was started successfully on port 1.'; exec sleep 300";
    for (script, seconds, said) in [
        ("exec sleep 300", 10, "to say its port within 10 s"),
        // It ends, and does not keep anybody waiting.
        ("exit 1", 300, "to say its port within 300 s, found b''"),
        // It says that it listens, and nobody does: its session fails.
        (listening, 300, "refused"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = broken_driver(folder.path(), script, seconds);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(said), "{script}: {error}");
        for name in ["driver", "child"] {
            let id = std::fs::read_to_string(folder.path().join(name)).unwrap();
            // It was killed, which a busy machine gets round to; and may stay in the table until whoever inherited it looks.
            until(&format!("the end of the {name} of {script:?}"), || {
                let state = std::fs::read_to_string(format!("/proc/{}/stat", id.trim()));
                state
                    .map_or(true, |stat| stat.rsplit(") ").next().unwrap().starts_with(['Z', 'X']))
                    .then_some(())
            });
        }
    }
}
