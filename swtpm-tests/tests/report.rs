//! The report of a real node in the hands of somebody who did not ask for it: whose challenge it answers, through which
//! authorities it is approved, which code it shows, and that its schema describes it.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

#[path = "../../attestation/tests/event_log/builder.rs"]
mod builder;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use builder::{LogBuilder, utf16};
use sealstone_attestation::event_log::{EventLog, EventType, LogAlgorithm};
use sealstone_swtpm_tests::node::Ran;
use sealstone_swtpm_tests::{Node, clients};
use serde_json::{Value, json};

const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

const HASH: &str = "6af0869bb4f7acdc9ec11fc0e363bce77f4972c6da00722ef47bd501da9ec626";

fn levels(verdict: &Value) -> [&str; 4] {
    ["authentic", "fresh", "state_approved", "code_measured"]
        .map(|level| verdict["levels"][level]["result"].as_str().unwrap())
}

fn digest_of(node: &Node, key: &str) -> String {
    let digest = node.cli(&["authority", "digest", key, "--json"]).expect(0).json();
    digest["authority"].as_str().unwrap().to_owned()
}

fn read(node: &Node, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(node.path(name)).unwrap()).unwrap()
}

#[test]
fn a_stranger_verifies_by_the_challenger_s_key_and_the_schema_describes_what_they_got() {
    let node = Node::ready();
    let _ = node.cli(&["authority", "new", "auditor"]).expect(0);
    let _ = node.cli(&["authority", "new", "other"]).expect(0);
    let new = [
        "challenge",
        "new",
        "--key",
        "auditor.key",
        "--node",
        "node-1",
        "--valid",
        "600",
        "-o",
        "challenge.json",
    ];
    let _ = node.cli(&new).expect(0);
    let _ = node.cli(&["attest", "--challenge", "challenge.json", "-o", "evidence.json"]).expect(0);
    let verify = |key: &str| {
        node.cli(&["verify", "evidence.json", "--manifest", "m1.json", "--challenger", key, "--json"])
    };
    let verdict = verify("auditor.pub").expect(0).json();
    assert_eq!(levels(&verdict), ["passed", "passed", "passed", "not_shown"]);
    assert!(
        verdict["levels"]["fresh"]["detail"].as_str().unwrap().contains("\"auditor\" chose the nonce"),
        "{verdict}"
    );
    let verdict = verify("other.pub").expect(1).json();
    assert_eq!(levels(&verdict), ["passed", "failed", "passed", "not_shown"]);

    // Evidence of another nonce with this record is no answer to it.
    let _ = node.cli(&["attest", "--nonce", NONCE, "-o", "unasked.json"]).expect(0);
    let mut moved = read(&node, "unasked.json");
    moved["challenge"] = read(&node, "challenge.json");
    std::fs::write(node.path("moved.json"), moved.to_string()).unwrap();
    let run =
        node.cli(&["verify", "moved.json", "--manifest", "m1.json", "--challenger", "auditor.pub", "--json"]);
    assert_eq!(levels(&run.expect(1).json()), ["passed", "failed", "passed", "not_shown"]);

    let answer = node.try_get(&format!("/v1/evidence?nonce={NONCE}")).unwrap();
    assert_eq!(answer.status, 200);
    for file in ["evidence.json", "unasked.json"] {
        validate(&node, file);
    }
}

/// Holds a file of evidence, and what its envelopes hold, to the schema.
fn validate(node: &Node, file: &str) {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/evidence.schema.json");
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let (schema, evidence) = (read(&schema), read(&node.path(file)));
    let mut cases = vec![json!({"schema": schema, "document": evidence})];
    for name in ["report", "challenge"].into_iter().filter(|name| evidence.get(name).is_some()) {
        let mut part = schema["$defs"][name].clone();
        part["$defs"] = schema["$defs"].clone();
        let payload = STANDARD.decode(evidence[name]["payload"].as_str().unwrap()).unwrap();
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        cases.push(json!({"schema": part, "document": payload}));
    }
    let mut wider = evidence.clone();
    wider["extra"] = json!(1);
    let mut answers = clients::schemas(&cases);
    assert!(answers.iter().all(Value::is_null), "{file}: {answers:?}");
    answers = clients::schemas(&[json!({"schema": schema, "document": wider})]);
    assert!(answers[0].is_string(), "a field that nobody knows is allowed");
}

#[test]
fn whoever_pinned_an_authority_verifies_after_it_handed_over() {
    let mut node = Node::ready();
    let _ = node.cli(&["authority", "new", "bob"]).expect(0);
    let (alice, bob) = (digest_of(&node, "alice.pub"), digest_of(&node, "bob.pub"));
    let step = |arguments: &[&str], signers: &[&str], output: &str| {
        let propose = [&["manifest", "propose"], arguments, &["-o", output]].concat();
        let _ = node.cli(&propose).expect(0);
        for key in signers {
            let _ = node.cli(&["manifest", "sign", output, "--key", key]).expect(0);
        }
        let _ = node.cli(&["manifest", "apply", output]).expect(0);
        node.await_ready(true);
    };
    step(&["--from", "m1.json", "--authority", "bob.pub"], &["alice.key", "bob.key"], "m2.json");
    step(&["--from", "m2.json", "--set-session-ttl", "60"], &["bob.key"], "m3.json");
    node.restart_agent();
    node.await_ready(true);
    let _ = node.cli(&["attest", "--nonce", NONCE, "-o", "evidence.json"]).expect(0);
    let evidence = read(&node, "evidence.json");
    assert_eq!(evidence["predecessors"].as_array().unwrap().len(), 2);
    let verify = |file: &str, authority: &str| {
        node.cli(&["verify", file, "--nonce", NONCE, "--authority", authority, "--json"])
    };
    assert_eq!(levels(&verify("evidence.json", &alice).expect(0).json())[..3], ["passed"; 3]);
    let _ = verify("evidence.json", &bob).expect(0);
    let _ = verify("evidence.json", &"ab".repeat(32)).expect(1);
    validate(&node, "evidence.json");

    let cut = |kept: &[usize]| {
        let mut cut = evidence.clone();
        let all = evidence["predecessors"].as_array().unwrap();
        cut["predecessors"] = kept.iter().map(|place| all[*place].clone()).collect();
        std::fs::write(node.path("cut.json"), cut.to_string()).unwrap();
        let _ = verify("cut.json", &bob).expect(0);
        let verdict = verify("cut.json", &alice).expect(1).json();
        assert_eq!(verdict["checks"][0]["name"], "manifest.approved", "{verdict}");
    };
    for kept in [&[][..], &[0], &[1], &[1, 0]] {
        cut(kept);
    }
}

fn judged(node: &Node, file: &str) -> Ran {
    node.cli(&["verify", file, "--manifest", "m1.json", "--nonce", NONCE, "--json"])
}

/// A boot through GRUB, as the firmware's log has it.
fn boot(line: &str) -> LogBuilder {
    let mut log = LogBuilder::agile(&[LogAlgorithm::Sha256]);
    log.measure(0, EventType::S_CRTM_VERSION, &utf16("1.0\0")).secure_boot(1).separators();
    log.image("\\EFI\\debian\\shimx64.efi", b"shim")
        .event(9, EventType::IPL, b"kernel", b"/vmlinuz\0")
        .grub("grub_cmd: ", &format!("linux /vmlinuz {line}"))
        .grub("kernel_cmdline: ", &format!("/vmlinuz {line}"))
        .grub("grub_cmd: ", "initrd /initrd.img")
        .event(9, EventType::IPL, b"initrd", b"/initrd.img\0")
        .exit_boot_services();
    log
}

/// Powers the machine off and on, into what this log says.
fn reboot_into(node: &mut Node, log: &LogBuilder) {
    node.tpm.power_off();
    node.tpm.power_on();
    let bytes = log.bytes();
    for event in EventLog::parse(&bytes).unwrap().events().iter().filter(|event| event.extends()) {
        node.tpm.extend_digest(event.pcr.unwrap().get(), event.digest(LogAlgorithm::Sha256).unwrap());
    }
    std::fs::write(node.path("boot.log"), bytes).unwrap();
}

#[test]
fn a_machine_that_booted_with_dm_verity_shows_its_code() {
    let mut node = Node::init();
    let log = boot(&format!("ro roothash={HASH}"));
    reboot_into(&mut node, &log);
    let log_path = node.path("boot.log").display().to_string();
    node.edit("agent.toml", |text| {
        let kept: Vec<&str> =
            text.lines().filter(|line| !line.trim_start().starts_with("event_log")).collect();
        kept.join("\n").replace("[tpm]\n", &format!("[tpm]\nevent_log = {log_path:?}\n"))
    });
    let mut draft = read(&node, "manifest.json");
    draft["code"] = json!("verity");
    std::fs::write(node.path("manifest.json"), draft.to_string()).unwrap();
    node.start_enclave();
    node.start_agent();
    let propose = [
        "manifest",
        "propose",
        "--draft",
        "manifest.json",
        "--node",
        "node-1",
        "--state",
        "boot-1",
        "--pcrs",
        "sha256:0,4,7,8,9,12",
        "-o",
        "m1.json",
    ];
    let _ = node.cli(&propose).expect(0);
    let _ = node.cli(&["manifest", "sign", "m1.json", "--key", "alice.key"]).expect(0);
    let _ = node.cli(&["manifest", "apply", "m1.json", "--provision", "node-1", "--json"]).expect(0);
    node.await_ready(true);

    let _ = node.cli(&["attest", "--nonce", NONCE, "-o", "evidence.json"]).expect(0);
    let verdict = judged(&node, "evidence.json").expect(0).json();
    assert_eq!(levels(&verdict), ["passed"; 4], "{verdict}");
    assert!(verdict["levels"]["code_measured"]["detail"].as_str().unwrap().contains(HASH), "{verdict}");

    // Without its log, or with one of another boot, the same quote shows no code.
    let mut silent = read(&node, "evidence.json");
    silent.as_object_mut().unwrap().remove("event_log");
    std::fs::write(node.path("silent.json"), silent.to_string()).unwrap();
    assert_eq!(
        levels(&judged(&node, "silent.json").expect(1).json()),
        ["passed", "passed", "passed", "failed"]
    );

    // The next boot is without verity: another PCR 8, which nobody approved.
    reboot_into(&mut node, &boot("ro root=/dev/sda2"));
    node.await_ready(false);
    let _ = node.cli(&["attest", "--nonce", NONCE, "-o", "other.json"]).expect(0);
    let verdict = judged(&node, "other.json").expect(1).json();
    assert_eq!(levels(&verdict), ["passed", "passed", "failed", "failed"], "{verdict}");
}
