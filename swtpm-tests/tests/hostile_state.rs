//! The enclave's files are deleted, damaged, exchanged and restored from before: it opens nothing that it should
//! not, makes nothing anew, and says what to do.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use sealstone_attestation::Algorithm;
use sealstone_swtpm_tests::process::binary;
use sealstone_wire::reply::{Phase, RefusalCode};
use sealstone_wire::request::Request;
use serde_json::{Value, json};
use support::agent::{apply, asset, provision, signing, unlock};
use support::authority::{Authority, successor};
use support::commands::flush_everything;
use support::state_file::{self, PLACE_LEN, newest};
use support::{Agent, Stage, refused};

const STATE: &str = "enclave.state";

/// Starts the enclave anew on this state file.
fn started_on(stage: &mut Stage, state: &[u8]) -> Agent {
    stage.node.kill_enclave();
    std::fs::write(stage.node.path(STATE), state).unwrap();
    stage.node.start_enclave();
    stage.connect()
}

/// Starts the enclave anew on a state file in which something is changed.
fn started_with(stage: &mut Stage, good: &[u8], change: impl FnOnce(&mut Value)) -> Agent {
    started_on(stage, &state_file::changed(good, change))
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
    let state = stage.state_file();
    std::fs::remove_file(stage.node.path(STATE)).unwrap();
    stage.node.start_enclave();

    let mut agent = stage.connect();
    assert_eq!(agent.status().phase, Phase::Unprovisioned);
    refused(agent.honest(unlock(), stage.tpm()), RefusalCode::Unprovisioned, "provision first");
    agent.upload(&manifest).unwrap();
    let says = "a root was sealed before, but the state file holds nothing; restore it";
    refused(agent.honest(provision(), stage.tpm()), RefusalCode::SealRollback, says);
    assert!(stage.state_file().is_empty());

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
    let good = stage.state_file();
    let slot = newest(&good)["slots"][0].clone();
    let changed = |change: &dyn Fn(&mut Value)| state_file::changed(&good, change);
    let body = newest(&good).to_string();
    let cases: [(&str, Vec<u8>, &str); 14] = [
        ("one byte", b"{".to_vec(), "the format before"),
        ("the state alone", body.clone().into_bytes(), "the format before"),
        ("another version", b"sealstone-state-3\n".to_vec(), "begins with"),
        ("garbage", vec![0xff; 4096], "begins with"),
        ("zeros, as a crash of a careless file system leaves", vec![0; good.len()], "begins with"),
        ("a byte changed in both records", state_file::damaged(&good, &[0, 1]), "SHA-256"),
        ("half of a later record alone", good[..200].to_vec(), "expected a record of"),
        (
            "the second record alone",
            [&vec![0; PLACE_LEN], &good[PLACE_LEN..PLACE_LEN + 99]].concat(),
            "second place: expected a record of",
        ),
        ("too much", [&good[..], &vec![0; PLACE_LEN]].concat(), "expected at most"),
        ("no state", state_file::with_body(&good, b"7"), "invalid type"),
        ("another format", changed(&|state| state["format"] = json!(3)), "expected format 2, found 3"),
        ("an unknown field", changed(&|state| state["root"] = json!("00")), "unknown field"),
        ("a root without a blob", changed(&|state| state["slots"] = json!([])), "found 0"),
        ("three blobs", changed(&|state| state["slots"] = json!([slot, slot, slot])), "found 3"),
    ];
    for (what, bytes, says) in cases {
        std::fs::write(stage.node.path(STATE), &bytes).unwrap();
        let said = start_fails(&stage);
        assert!(said.contains("state file") && said.contains(says), "{what}: {said}");
        assert!(stage.state_file() == bytes, "{what}: it was overwritten");
    }
    std::fs::write(stage.node.path(STATE), &good).unwrap();
    stage.node.start_enclave();
    stage.connect().honest(unlock(), stage.tpm()).unwrap();
}

#[test]
fn a_torn_or_damaged_record_gives_the_one_before_and_never_a_second_root() {
    let (mut stage, mut agent, manifest) = Stage::provisioned();
    let binding = stage.attest(&mut agent).unwrap().binding;
    let path = asset("treasury", Algorithm::Es256);
    let before = agent.public_key(&path, None).unwrap();
    // Right after the provisioning, after an unlock, and after a signature: whatever was written last.
    for moment in ["provisioned", "unlocked", "signed"] {
        if moment == "signed" {
            agent.sign(signing(&path, binding, Some(before.key_id()))).unwrap();
        }
        for (what, worse) in [
            ("torn", state_file::torn as fn(&[u8]) -> Vec<u8>),
            ("damaged", |file| state_file::damaged(file, &[0])),
        ] {
            let good = stage.state_file();
            let mut agent = started_on(&mut stage, &worse(&good));
            assert_eq!(agent.status().phase, Phase::Locked, "{moment}, {what}");
            agent.upload(&manifest).unwrap();
            refused(agent.honest(provision(), stage.tpm()), RefusalCode::AlreadyProvisioned, "has a root");
            agent.honest(unlock(), stage.tpm()).unwrap();
            stage.attest(&mut agent).unwrap();
            assert_eq!(agent.public_key(&path, None).unwrap(), before, "{moment}, {what}");
        }
        agent = stage.reopened();
        stage.attest(&mut agent).unwrap();
    }
}

#[test]
fn a_first_store_that_was_cut_short_bricks_nothing_and_hides_no_root() {
    let mut stage = Stage::new();
    let manifest = stage.authority.sign(&stage.draft());
    let first = state_file::record(1, b"the state of a provisioning that has just begun");
    for cut in [1, 18, 26, 62, first.len() - 1] {
        let mut agent = started_on(&mut stage, &first[..cut]);
        assert_eq!(agent.status().phase, Phase::Unprovisioned, "{cut} bytes");
    }
    let mut agent = started_on(&mut stage, &vec![0; first.len()]);
    agent.upload(&manifest).unwrap();
    agent.honest(provision(), stage.tpm()).unwrap();
    stage.reopened();
    let sealed = stage.state_file();

    // The same bytes in place of a sealed root: the counter tells.
    let mut agent = started_on(&mut stage, &first[..30]);
    assert_eq!(agent.status().phase, Phase::Unprovisioned);
    agent.upload(&manifest).unwrap();
    let says = "a root was sealed before, but the state file holds nothing; restore it";
    refused(agent.honest(provision(), stage.tpm()), RefusalCode::SealRollback, says);
    assert!(stage.state_file() == first[..30]);
    started_on(&mut stage, &sealed).honest(unlock(), stage.tpm()).unwrap();
}

#[test]
fn a_state_file_from_before_a_reseal_is_refused_and_the_newest_one_works_again() {
    let (mut stage, mut agent, manifest) = Stage::provisioned();
    let mut olds = vec![stage.state_file()];
    agent = {
        drop(agent);
        stage.reopened()
    };
    olds.push(stage.state_file());
    // A manifest that was replaced comes back with its blob or not at all.
    let mut next = successor(&manifest);
    next.session_ttl_s = 60;
    agent.upload(&stage.authority.sign(&next)).unwrap();
    agent.honest(apply(), stage.tpm()).unwrap();
    let latest = stage.state_file();
    for old in &olds {
        let mut agent = started_on(&mut stage, old);
        let says = "the state file is older than the TPM; restore the newest one";
        refused(agent.honest(unlock(), stage.tpm()), RefusalCode::SealRollback, says);
        assert_eq!(agent.status().phase, Phase::Locked);
        assert!(&stage.state_file() == old, "a refused file is left alone");
    }

    // The old blob under the counter's present value: the policy is another.
    let counter = newest(&latest)["slots"][0]["counter"].clone();
    let mut agent = started_with(&mut stage, &olds[1], |state| state["slots"][0]["counter"] = counter);
    refused(agent.honest(unlock(), stage.tpm()), RefusalCode::StateFile, "does not belong to this policy");

    // The present blob beside the old manifest, whose states are the same: the seal knows the least version.
    let old_manifest = newest(&olds[1])["slots"][0]["manifest"].clone();
    let mut agent = started_with(&mut stage, &latest, |state| state["slots"][0]["manifest"] = old_manifest);
    let says = "expected manifest version 2 or newer, found 1";
    refused(agent.honest(unlock(), stage.tpm()), RefusalCode::ManifestRollback, says);

    let mut agent = started_on(&mut stage, &latest);
    let status = agent.honest(unlock(), stage.tpm()).unwrap();
    assert_eq!(status.manifest.unwrap().version, 2);
}

#[test]
fn each_changed_part_of_a_state_file_has_its_own_reason() {
    let (mut stage, _, _) = Stage::provisioned();
    let good = stage.state_file();
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
    let mut unsigned: Value =
        serde_json::from_str(newest(&good)["slots"][0]["manifest"].as_str().unwrap()).unwrap();
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
    let theirs = other.state_file();
    let (mut stage, _, _) = Stage::provisioned();
    let ours = stage.state_file();
    let mut agent = started_on(&mut stage, &theirs);
    refused(agent.honest(unlock(), stage.tpm()), RefusalCode::TpmNotEnrolled, "another endorsement key");

    // Their check value beside our blob: our root is not the one whose addresses the file is about.
    let check = newest(&theirs)["check"].clone();
    let mut agent = started_with(&mut stage, &ours, |state| state["check"] = check);
    refused(agent.honest(unlock(), stage.tpm()), RefusalCode::KeyMismatch, "check value");

    // Their blob under our manifest.
    let blob = newest(&theirs)["slots"][0]["blob"].clone();
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
    let state = stage.state_file();
    std::fs::remove_file(stage.node.path(STATE)).unwrap();
    stage.node.start_enclave();
    let mut agent = stage.connect();
    agent.upload(&manifest).unwrap();
    let refusal = agent.honest(provision(), stage.tpm()).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::TpmError, "{refusal:?}");
    assert!(stage.state_file().is_empty());
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
    let (mut stage, _, _) = Stage::provisioned();
    stage.node.kill_enclave();
    // A write beyond the limit fails instead of ending the process, as on a full disk.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(binary("sealstone-enclave"));
    stage.node.start_enclave_by(&mut limited);
    let mut agent = stage.connect();
    let era = agent.honest(unlock(), stage.tpm()).unwrap().era;
    agent.ask(Request::Lock).unwrap();
    let before = stage.state_file();
    limit_files(&stage, Some(0));
    let (result, seen) = agent.watched(unlock(), stage.tpm());
    refused(result, RefusalCode::StateFile, "cannot write the state file");
    let code_of = support::commands::code_of;
    assert!(!seen.iter().any(|exchange| code_of(&exchange.command) == support::commands::NV_INCREMENT));
    assert!(stage.state_file() == before);
    limit_files(&stage, None);
    assert_eq!(agent.honest(unlock(), stage.tpm()).unwrap().era, era + 1);
    let mut agent = stage.reopened();
    assert_eq!(agent.status().era, era + 2);
}

/// How long the enclave's files may grow.
fn limit_files(stage: &Stage, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(stage.node.enclave_pid()).unwrap());
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

#[test]
fn a_state_file_that_another_enclave_uses_is_not_opened() {
    let (stage, mut agent, _) = Stage::provisioned();
    let said = start_fails(&stage);
    assert!(said.contains("found another enclave that uses it"), "{said}");
    assert_eq!(agent.status().phase, Phase::Unlocked);
}
