//! The enclave's files are deleted, damaged, exchanged and restored from before: it opens nothing that it should
//! not, makes nothing anew, and says what to do.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use sealstone_attestation::Algorithm;
use sealstone_swtpm_tests::process::binary;
use sealstone_wire::reply::{Phase, RefusalCode};
use sealstone_wire::request::Request;
use serde_json::{Value, json};
use support::agent::{apply, asset, provision, unlock};
use support::authority::{Authority, successor};
use support::commands::flush_everything;
use support::{Agent, Stage, refused};

const STATE: &str = "enclave.state";

fn read(stage: &Stage) -> Vec<u8> {
    std::fs::read(stage.node.path(STATE)).unwrap()
}

/// Starts the enclave anew on this state file.
fn started_on(stage: &mut Stage, state: &[u8]) -> Agent {
    stage.node.kill_enclave();
    std::fs::write(stage.node.path(STATE), state).unwrap();
    stage.node.start_enclave();
    stage.connect()
}

/// Starts the enclave anew on a state file in which something is changed.
fn started_with(stage: &mut Stage, good: &[u8], change: impl FnOnce(&mut Value)) -> Agent {
    let mut state: Value = serde_json::from_slice(good).unwrap();
    change(&mut state);
    started_on(stage, state.to_string().as_bytes())
}

/// What the enclave says when it does not even start.
fn start_fails(stage: &Stage) -> String {
    let ended = Command::new(binary("sealstone-enclave"))
        .arg("--config")
        .arg(stage.node.path("enclave.toml"))
        .output();
    let ended = ended.unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    String::from_utf8(ended.stderr).unwrap()
}

#[test]
fn without_its_state_file_an_enclave_makes_no_second_root() {
    let (mut stage, mut agent, manifest) = Stage::provisioned();
    stage.attest(&mut agent).unwrap();
    let path = asset("treasury", Algorithm::Es256);
    let before = agent.public_key(&path, None).unwrap();
    stage.node.kill_enclave();
    let state = read(&stage);
    std::fs::remove_file(stage.node.path(STATE)).unwrap();
    stage.node.start_enclave();

    let mut agent = stage.connect();
    assert_eq!(agent.status().phase, Phase::Unprovisioned);
    refused(agent.honest(unlock(), stage.tpm()), RefusalCode::Unprovisioned, "provision first");
    agent.upload(&manifest).unwrap();
    let says = "a root was sealed before, but there is no state file; restore it";
    refused(agent.honest(provision(), stage.tpm()), RefusalCode::SealRollback, says);
    assert!(!stage.node.path(STATE).exists());

    // A relay that denies the counter changes nothing.
    agent.upload(&manifest).unwrap();
    let denied = agent.ceremony(provision(), &mut |command| {
        let nv_read = support::commands::code_of(command) == support::commands::NV_READ;
        if nv_read { Some(support::commands::error(0x28b)) } else { stage.tpm().transmit(command).ok() }
    });
    refused(denied, RefusalCode::TpmError, "TPM_CC_NV_Read");
    flush_everything(stage.tpm());

    let mut agent = started_on(&mut stage, &state);
    agent.honest(unlock(), stage.tpm()).unwrap();
    stage.attest(&mut agent).unwrap();
    assert_eq!(agent.public_key(&path, None).unwrap(), before);
}

#[test]
fn a_damaged_state_file_is_never_taken_for_none() {
    let (mut stage, _, _) = Stage::provisioned();
    stage.node.kill_enclave();
    let good = read(&stage);
    let text = String::from_utf8(good.clone()).unwrap();
    let state: Value = serde_json::from_str(&text).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut state = state.clone();
        change(&mut state);
        state.to_string().into_bytes()
    };
    let slot = state["slots"][0].clone();
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("empty", Vec::new(), "EOF"),
        ("one byte", b"{".to_vec(), "EOF"),
        ("half", good[..good.len() / 2].to_vec(), "EOF"),
        ("less its last byte", good[..good.trim_ascii_end().len() - 1].to_vec(), "EOF"),
        ("garbage", vec![0xff; 4096], "expected value"),
        ("zeros, as a crash of a careless file system leaves", vec![0; good.len()], "expected value"),
        ("more behind it", [&good[..], b"{}"].concat(), "trailing"),
        ("too much", vec![b' '; 5 * 1024 * 1024], "expected at most"),
        ("another format", changed(&|state| state["format"] = json!(2)), "expected format 1, found 2"),
        ("an unknown field", changed(&|state| state["root"] = json!("00")), "unknown field"),
        ("a root without a blob", changed(&|state| state["slots"] = json!([])), "found 0"),
        ("three blobs", changed(&|state| state["slots"] = json!([slot, slot, slot])), "found 3"),
    ];
    for (what, bytes, says) in cases {
        std::fs::write(stage.node.path(STATE), &bytes).unwrap();
        let said = start_fails(&stage);
        assert!(said.contains("state file") && said.contains(says), "{what}: {said}");
        assert_eq!(read(&stage), bytes, "{what}: it was overwritten");
    }
    std::fs::write(stage.node.path(STATE), &good).unwrap();
    stage.node.start_enclave();
    stage.connect().honest(unlock(), stage.tpm()).unwrap();
}

#[test]
fn a_state_file_from_before_a_reseal_is_refused_and_the_newest_one_works_again() {
    let (mut stage, mut agent, manifest) = Stage::provisioned();
    let mut olds = vec![read(&stage)];
    agent = {
        drop(agent);
        stage.reopened()
    };
    olds.push(read(&stage));
    // A manifest that was replaced comes back with its blob or not at all.
    let mut next = successor(&manifest);
    next.session_ttl_s = 60;
    agent.upload(&stage.authority.sign(&next)).unwrap();
    agent.honest(apply(), stage.tpm()).unwrap();
    let newest = read(&stage);
    for old in &olds {
        let mut agent = started_on(&mut stage, old);
        let says = "the state file is older than the TPM; restore the newest one";
        refused(agent.honest(unlock(), stage.tpm()), RefusalCode::SealRollback, says);
        assert_eq!(agent.status().phase, Phase::Locked);
        assert_eq!(&read(&stage), old, "a refused file is left alone");
    }

    // The old blob under the counter's present value: the policy is another.
    let counter = serde_json::from_slice::<Value>(&newest).unwrap()["slots"][0]["counter"].clone();
    let mut agent = started_with(&mut stage, &olds[1], |state| state["slots"][0]["counter"] = counter);
    refused(agent.honest(unlock(), stage.tpm()), RefusalCode::StateFile, "does not belong to this policy");

    // The present blob beside the old manifest, whose states are the same: the seal knows the least version.
    let old_manifest = serde_json::from_slice::<Value>(&olds[1]).unwrap()["slots"][0]["manifest"].clone();
    let mut agent = started_with(&mut stage, &newest, |state| state["slots"][0]["manifest"] = old_manifest);
    let says = "expected manifest version 2 or newer, found 1";
    refused(agent.honest(unlock(), stage.tpm()), RefusalCode::ManifestRollback, says);

    let mut agent = started_on(&mut stage, &newest);
    let status = agent.honest(unlock(), stage.tpm()).unwrap();
    assert_eq!(status.manifest.unwrap().version, 2);
}

#[test]
fn each_changed_part_of_a_state_file_has_its_own_reason() {
    let (mut stage, _, _) = Stage::provisioned();
    let good = read(&stage);
    let hex_with = |text: &Value, at: usize| {
        let mut bytes = hex::decode(text.as_str().unwrap()).unwrap();
        let at = if at < bytes.len() { at } else { bytes.len() - 1 };
        bytes[at] ^= 1;
        json!(hex::encode(bytes))
    };
    let strangers = Authority::new(2, &[7, 8, 9]);
    let mut foreign = stage.draft();
    foreign.authority = strangers.set();
    let foreign = String::from_utf8(strangers.sign(&foreign)).unwrap();
    let mut elsewhere = stage.draft();
    elsewhere.nodes[0].name = "node-2".to_owned();
    let elsewhere = String::from_utf8(stage.authority.sign(&elsewhere)).unwrap();
    let mut unsigned: Value = serde_json::from_str(
        serde_json::from_slice::<Value>(&good).unwrap()["slots"][0]["manifest"].as_str().unwrap(),
    )
    .unwrap();
    unsigned["signatures"].as_array_mut().unwrap().pop();

    type Change<'a> = Box<dyn Fn(&mut Value) + 'a>;
    let cases: Vec<(&str, Change<'_>, RefusalCode, &str)> = vec![
        (
            "the blob's private part",
            Box::new(|state| {
                let part = &mut state["slots"][0]["blob"]["private"];
                *part = hex_with(part, 40);
            }),
            RefusalCode::TpmError,
            "TPM_CC_Load",
        ),
        (
            "the blob's public part",
            Box::new(|state| {
                let part = &mut state["slots"][0]["blob"]["public"];
                *part = hex_with(part, 12);
            }),
            RefusalCode::StateFile,
            "does not belong to this policy",
        ),
        (
            "the blob's parent",
            Box::new(|state| {
                let part = &mut state["slots"][0]["blob"]["parent"];
                *part = hex_with(part, 20);
            }),
            RefusalCode::TpmNotEnrolled,
            "the TPM was cleared",
        ),
        (
            "a manifest of a foreign authority with the same states",
            Box::new(|state| state["slots"][0]["manifest"] = json!(foreign)),
            RefusalCode::ForeignAuthority,
            "foreign authority",
        ),
        (
            "a manifest that does not enrol this node",
            Box::new(|state| state["slots"][0]["manifest"] = json!(elsewhere)),
            RefusalCode::NotEnrolled,
            "node-1",
        ),
        (
            "a manifest with a signature too few",
            Box::new(|state| state["slots"][0]["manifest"] = json!(unsigned.to_string())),
            RefusalCode::ManifestRefused,
            "expected signatures by at least 2",
        ),
        (
            "no manifest",
            Box::new(|state| state["slots"][0]["manifest"] = json!("{}")),
            RefusalCode::ManifestRefused,
            "expected",
        ),
        (
            "another node's name",
            Box::new(|state| state["node"] = json!("node-2")),
            RefusalCode::NotEnrolled,
            "node-2",
        ),
        (
            "another counter's index",
            Box::new(|state| state["nv_index"] = json!(0x0185_ea16)),
            RefusalCode::SealRollback,
            "holds no counter at 0x0185ea16",
        ),
    ];
    for (what, change, code, says) in cases {
        let mut agent = started_with(&mut stage, &good, |state| change(state));
        let result = agent.honest(unlock(), stage.tpm());
        println!("{what}: {result:?}");
        refused(result, code, says);
        assert_eq!(agent.status().phase, Phase::Locked, "{what}");
        flush_everything(stage.tpm());
    }
    started_on(&mut stage, &good).honest(unlock(), stage.tpm()).unwrap();
}

#[test]
fn the_state_file_of_another_node_opens_nothing_here() {
    let (other, _, _) = Stage::provisioned();
    let theirs = read(&other);
    let (mut stage, _, _) = Stage::provisioned();
    let ours = read(&stage);
    let mut agent = started_on(&mut stage, &theirs);
    refused(agent.honest(unlock(), stage.tpm()), RefusalCode::TpmNotEnrolled, "another endorsement key");

    // Their check value beside our blob: our root is not the one whose addresses the file is about.
    let check = serde_json::from_slice::<Value>(&theirs).unwrap()["check"].clone();
    let mut agent = started_with(&mut stage, &ours, |state| state["check"] = check);
    refused(agent.honest(unlock(), stage.tpm()), RefusalCode::KeyMismatch, "check value");

    // Their blob under our manifest.
    let blob = serde_json::from_slice::<Value>(&theirs).unwrap()["slots"][0]["blob"].clone();
    let mut agent = started_with(&mut stage, &ours, |state| state["slots"][0]["blob"] = blob);
    let refusal = agent.honest(unlock(), stage.tpm()).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::TpmNotEnrolled, "{refusal:?}");
    started_on(&mut stage, &ours).honest(unlock(), stage.tpm()).unwrap();
}

#[test]
fn with_another_credential_nothing_opens_and_nothing_is_made() {
    let (mut stage, _, manifest) = Stage::provisioned();
    let path = stage.node.path("enclave.credential");
    let good = std::fs::read(&path).unwrap();
    stage.node.kill_enclave();
    std::fs::write(&path, "77".repeat(32)).unwrap();
    stage.node.start_enclave();
    let mut agent = stage.connect();
    refused(agent.honest(unlock(), stage.tpm()), RefusalCode::TpmError, "TPM_CC_NV_Read");
    assert_eq!(agent.status().phase, Phase::Locked);
    flush_everything(stage.tpm());

    // Together with a lost state file: the counter is somebody's, so no root is made.
    stage.node.kill_enclave();
    let state = read(&stage);
    std::fs::remove_file(stage.node.path(STATE)).unwrap();
    stage.node.start_enclave();
    let mut agent = stage.connect();
    agent.upload(&manifest).unwrap();
    let refusal = agent.honest(provision(), stage.tpm()).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::TpmError, "{refusal:?}");
    assert!(!stage.node.path(STATE).exists());
    flush_everything(stage.tpm());

    for damaged in ["", "zz", &"7".repeat(63), &"x".repeat(64)] {
        stage.node.kill_enclave();
        std::fs::write(&path, damaged).unwrap();
        let said = start_fails(&stage);
        assert!(said.contains("credential") && said.contains("64 hex digits"), "{said}");
        std::fs::write(&path, &good).unwrap();
        stage.node.start_enclave();
    }
    started_on(&mut stage, &state).honest(unlock(), stage.tpm()).unwrap();
}

#[test]
fn a_state_file_that_cannot_be_written_stops_before_the_counter_rises() {
    let (mut stage, mut agent, _) = Stage::provisioned();
    agent.ask(Request::Lock).unwrap();
    let era = agent.honest(unlock(), stage.tpm()).unwrap().era;
    agent.ask(Request::Lock).unwrap();
    // A folder where the new file is written: no permission keeps root out, this does.
    let beside = stage.node.path("enclave.state.new");
    std::fs::create_dir(&beside).unwrap();
    let (result, seen) = agent.watched(unlock(), stage.tpm());
    refused(result, RefusalCode::StateFile, "cannot write the state file");
    let code_of = support::commands::code_of;
    assert!(!seen.iter().any(|exchange| code_of(&exchange.command) == support::commands::NV_INCREMENT));
    std::fs::remove_dir(&beside).unwrap();
    assert_eq!(agent.honest(unlock(), stage.tpm()).unwrap().era, era + 1);
    let mut agent = stage.reopened();
    assert_eq!(agent.status().era, era + 2);
}
