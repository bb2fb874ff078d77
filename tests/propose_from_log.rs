//! Stories of an operator who drafts the next state from a measured-boot log: of a staging machine, or of the machine itself
//! after a reboot.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

#[path = "../attestation/tests/event_log/builder.rs"]
mod builder;
mod support;

use builder::{LogBuilder, honest, utf16};
use sealstone_attestation::event_log::{EventType, LogAlgorithm};
use sealstone_attestation::{Base64Bytes, Envelope, Purpose};
use serde_json::{Value, json};
use support::evidence::evidence;
use support::{Desk, FIRST, enrolment};

const BANKS: [LogAlgorithm; 2] = [LogAlgorithm::Sha1, LogAlgorithm::Sha256];

const ALL: [u32; 24] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];

/// The next boot, of a machine like the honest one: another kernel, by another loader.
fn updated() -> LogBuilder {
    let mut log = honest(&BANKS);
    log.image("\\EFI\\debian\\grubx64.efi", b"a newer loader");
    log.grub("kernel_cmdline: ", "/vmlinuz-6.13 root=/dev/mapper/root ro");
    log
}

/// What an agent says of a machine whose TPM has what this log extended.
fn enrolled(log: &LogBuilder) -> Value {
    let mut read = enrolment(1, 0);
    read["pcrs"] = serde_json::to_value(log.quoted(&ALL)).unwrap();
    read
}

/// A manifest in `v1` with the state `boot-1`, of these PCRs of the honest boot, whose log is in `now.bin`.
fn desk(pcrs: &str) -> Desk {
    let desk = Desk::with_node(&["alice"], 1);
    let log = honest(&BANKS);
    desk.write("enrolment.json", enrolled(&log).to_string());
    desk.write("now.bin", log.bytes());
    desk.write("next.bin", updated().bytes());
    desk.done(&format!("{FIRST} --pcrs {pcrs}"));
    desk
}

const NEXT: &str =
    "manifest propose --from v1 --state boot-2 --replaces boot-1 --from-eventlog next.bin -o v2";

fn state(desk: &Desk, name: &str) -> Value {
    let envelope = Envelope::parse(&desk.read("v2")).unwrap();
    let manifest: Value = serde_json::from_slice(&envelope.payload).unwrap();
    manifest["states"].as_array().unwrap().iter().find(|state| state["name"] == name).unwrap().clone()
}

#[test]
fn the_next_state_has_the_bank_and_pcrs_of_the_one_before_and_the_logs_values() {
    let desk = desk("sha256:0,4,7,8");
    // No agent runs and no enrolment is given: nothing but the log is asked.
    let answer = desk.done(NEXT);
    let log = updated();
    let proposed = state(&desk, "boot-2");
    let expected: serde_json::Map<String, Value> = [0, 4, 7, 8]
        .iter()
        .map(|pcr| (pcr.to_string(), hex::encode(log.pcr(LogAlgorithm::Sha256, *pcr)).into()))
        .collect();
    assert_eq!((&proposed["bank"], &proposed["pcrs"]), (&json!("sha256"), &Value::Object(expected)));
    let against = &answer["diff"]["against"][0];
    assert_eq!((&against["state"], &against["same"]), (&json!("boot-1"), &json!([0, 7])));
    let differs: Vec<&Value> =
        against["differs"].as_array().unwrap().iter().map(|differs| &differs["pcr"]).collect();
    assert_eq!(differs, [4, 8]);
    assert_eq!(against["differs"][0]["new"], proposed["pcrs"]["4"]);
    assert_eq!(answer["diff"]["by_logs"], Value::Null);
    assert_eq!(answer["warnings"], json!([]));
}

#[test]
fn with_the_log_of_now_the_events_that_account_for_each_change_are_named() {
    let desk = desk("sha256:0,4,7,8");
    let answer = desk.done(&format!("{NEXT} --current-eventlog now.bin"));
    let by_logs = &answer["diff"]["by_logs"];
    assert_eq!(by_logs["since"], "boot-1");
    let pcrs = by_logs["changes"]["pcrs"].as_array().unwrap();
    assert_eq!(pcrs.iter().map(|pcr| &pcr["pcr"]).collect::<Vec<_>>(), [4, 8]);
    assert_eq!((&pcrs[0]["removed"], &pcrs[0]["reordered"]), (&json!([]), &json!(false)));
    assert!(pcrs[0]["added"][0]["description"].as_str().unwrap().contains("grubx64.efi"));
    let added = by_logs["changes"]["facts_added"].as_array().unwrap();
    let kernel = added.iter().find(|fact| fact["what"] == "kernel").unwrap();
    assert_eq!((&kernel["said"], &kernel["vouched"]), (&json!("/vmlinuz-6.13 (by GRUB)"), &json!(true)));

    std::fs::remove_file(desk.at("v2")).unwrap();
    let output = desk.command(&format!("{NEXT} --current-eventlog now.bin")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in
        ["against the active boot-1", "same: PCR 0, 7", "+ kernel: = /vmlinuz-6.13", "+ event", "by the logs"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn a_firmware_update_and_other_keys_are_told() {
    let desk = desk("sha256:0,7");
    let mut log = LogBuilder::agile(&BANKS);
    log.measure(0, EventType::S_CRTM_VERSION, &utf16("2.0\0"))
        .secure_boot(0)
        .separators()
        .exit_boot_services();
    desk.write("next.bin", log.bytes());
    let answer = desk.done(&format!("{NEXT} --current-eventlog now.bin"));
    let changes = &answer["diff"]["by_logs"]["changes"];
    let said = |side: &str, what: &str| {
        let facts = changes[side].as_array().unwrap().iter();
        facts.filter(|fact| fact["what"] == what).map(|fact| fact["said"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (said("facts_removed", "secure boot"), said("facts_added", "secure boot")),
        (vec![json!("on")], vec![json!("off")])
    );
    assert_eq!(said("facts_removed", "firmware version"), [json!("\"1.0\"")]);
    assert_eq!(said("facts_added", "firmware version"), [json!("\"2.0\"")]);
}

#[test]
fn a_pcr_that_the_log_does_not_reach_is_never_guessed() {
    let desk = desk("sha256:0,4,11,15");
    let outcome = desk.fails(NEXT, 2, "LOG_INCOMPLETE");
    assert!(outcome.detail().contains("found none for 11, 15"), "{}", outcome.detail());
    assert!(!desk.at("v2").exists());
    // Read from the machine by an explicit word, and said.
    let mut read = updated();
    read.extend(LogAlgorithm::Sha256, 11, &[7; 32]);
    desk.write("enrolment.json", enrolled(&read).to_string());
    let answer = desk.done(&format!("{NEXT} --unlogged-from node --enrolment enrolment.json"));
    let proposed = state(&desk, "boot-2");
    assert_eq!(proposed["pcrs"]["11"], hex::encode(read.pcr(LogAlgorithm::Sha256, 11)));
    assert_eq!(proposed["pcrs"]["15"], "00".repeat(32));
    let warnings = answer["warnings"].to_string();
    assert!(
        warnings.contains("no event for PCR 11") && warnings.contains("no event for PCR 15"),
        "{warnings}"
    );
    std::fs::remove_file(desk.at("v2")).unwrap();
    desk.fails(&format!("{NEXT} --unlogged-from evidence"), 2, "UNLOGGED");
    // A bank that the log lacks.
    desk.fails(&format!("{NEXT} --pcrs sha384:0,4"), 2, "LOG_INCOMPLETE");
    assert!(!desk.at("v2").exists());
}

#[test]
fn a_pcr_that_the_system_may_extend_later_is_told() {
    let desk = desk("sha256:0,4,9");
    let answer = desk.done(NEXT);
    assert!(answer["warnings"][0].as_str().unwrap().contains("extend PCR 9 after"), "{}", answer["warnings"]);
}

#[test]
fn a_log_that_evidence_would_be_refused_for_is_refused_unless_asked() {
    let desk = desk("sha256:0,4,7");
    let mut log = updated();
    log.measure(7, EventType::SEPARATOR, &[0; 4]);
    desk.write("next.bin", log.bytes());
    let outcome = desk.fails(NEXT, 1, "LOG_FINDINGS");
    assert!(outcome.detail().contains("separator.repeated"), "{}", outcome.detail());
    assert!(!desk.at("v2").exists());
    let answer = desk.done(&format!("{NEXT} --allow-findings"));
    assert!(answer["warnings"][0].as_str().unwrap().contains("would be refused"), "{}", answer["warnings"]);
}

#[test]
fn an_event_without_the_bank_is_refused_whatever_is_allowed() {
    let sha1 = |text: &[u8]| (LogAlgorithm::Sha1.id(), LogAlgorithm::Sha1.digest(&[text]));
    // PCR 4 has events in the bank before and after; PCR 12 has none but this.
    let desk = desk("sha256:0,4,12");
    let mut log = updated();
    for pcr in [4, 8, 12] {
        log.raw(pcr, EventType::IPL.code(), &[sha1(b"in one bank")], b"in one bank");
    }
    log.grub("kernel_cmdline: ", "after").image("\\EFI\\last.efi", b"last");
    desk.write("next.bin", log.bytes());
    desk.write("enrolment.json", enrolled(&log).to_string());
    let read = "--unlogged-from node --enrolment enrolment.json";
    for allowed in ["", "--allow-findings", read, &format!("--allow-findings {read}")] {
        let outcome = desk.fails(&format!("{NEXT} {allowed}"), 2, "LOG_INCOMPLETE");
        let detail = outcome.detail();
        assert!(detail.starts_with("expected a digest in the bank sha256 for every event of "), "{detail}");
        assert!(detail.ends_with("found events without one in PCR 4, 12"), "{allowed}: {detail}");
        assert!(!desk.at("v2").exists(), "{allowed}");
    }
    // Of PCRs that no such event extends, and in a bank that all have, nothing was passed over.
    desk.fails(&format!("{NEXT} --pcrs sha256:0,7"), 1, "LOG_FINDINGS");
    desk.done(&format!("{NEXT} --pcrs sha256:0,7 --allow-findings"));
    assert_eq!(state(&desk, "boot-2")["pcrs"]["7"], hex::encode(log.pcr(LogAlgorithm::Sha256, 7)),);
}

#[test]
fn evidence_is_a_log_too_and_must_not_contradict_itself() {
    let desk = desk("sha256:0,4,7");
    let log = updated();
    let mut shown = evidence(&desk.read("v1"), 1, 0, Purpose::Evidence);
    shown.event_log = Some(Base64Bytes(log.bytes()));
    shown.quote.pcrs = log.quoted(&[0, 4, 7]);
    desk.write("next.bin", shown.to_json());
    let answer = desk.done(&format!("{NEXT} --current-eventlog now.bin"));
    assert_eq!(state(&desk, "boot-2")["pcrs"]["4"], hex::encode(log.pcr(LogAlgorithm::Sha256, 4)));
    assert!(answer["warnings"].to_string().contains("not verified here"), "{}", answer["warnings"]);
    std::fs::remove_file(desk.at("v2")).unwrap();

    shown.quote.pcrs = honest(&BANKS).quoted(&[0, 4, 7]);
    desk.write("next.bin", shown.to_json());
    let outcome = desk.fails(NEXT, 1, "LOG_CONTRADICTED");
    assert!(outcome.detail().contains("in PCR 4"), "{}", outcome.detail());
    shown.event_log = None;
    desk.write("next.bin", shown.to_json());
    desk.fails(NEXT, 2, "EVENT_LOG");
    desk.write("next.bin", "{}");
    desk.fails(NEXT, 2, "EVENT_LOG");
    assert!(!desk.at("v2").exists());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let desk = desk("sha256:0,4,7");
    desk.write("text", "no log");
    // The log of now is of no active state.
    desk.fails(&format!("{NEXT} --current-eventlog next.bin"), 2, "CURRENT_EVENT_LOG");
    desk.fails(&format!("{NEXT} --current-eventlog text"), 2, "EVENT_LOG");
    desk.fails(&NEXT.replace("next.bin", "text"), 2, "EVENT_LOG");
    desk.fails(&NEXT.replace("next.bin", "absent"), 2, "FILE_UNREADABLE");
    desk.fails("manifest propose --from v1 --from-eventlog next.bin -o v2", 2, "USAGE");
    desk.fails("manifest propose --from v1 --state s --allow-findings -o v2", 2, "USAGE");
    // The same boot again: no new state.
    desk.fails(&NEXT.replace("next.bin", "now.bin"), 2, "PROPOSAL");
    assert!(!desk.at("v2").exists());
}

#[test]
fn a_hostile_log_cannot_forge_a_line() {
    let desk = desk("sha256:0,4,8");
    let mut log = updated();
    log.grub("kernel_cmdline: ", "x\nproposed in v9\u{1b}[2J\u{202e}y");
    desk.write("next.bin", log.bytes());
    let output = desk.command(&format!("{NEXT} --current-eventlog now.bin")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("x\\nproposed in v9\\u{1b}[2J\\u{202e}y"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.lines().any(|line| line.starts_with("proposed in v9")));
}

#[test]
fn the_first_manifest_can_be_drafted_from_a_log() {
    let desk = Desk::with_node(&["alice"], 1);
    desk.write("next.bin", updated().bytes());
    desk.done(
        "manifest propose --draft node/manifest.json --node node-1 --state boot-1 --enrolment enrolment.json \
         --from-eventlog next.bin -o v2",
    );
    let expected = hex::encode(updated().pcr(LogAlgorithm::Sha256, 7));
    assert_eq!(state(&desk, "boot-1")["pcrs"]["7"], expected);
}
