//! Stories of an auditor with a measured-boot log, at the command line.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

#[path = "../attestation/tests/event_log/builder.rs"]
mod builder;
mod support;

use std::path::PathBuf;

use builder::{COMMAND_LINE, LogBuilder, honest};
use sealstone_attestation::event_log::{EventType, LogAlgorithm};
use serde_json::{Value, json};
use support::Desk;

const BANKS: [LogAlgorithm; 2] = [LogAlgorithm::Sha1, LogAlgorithm::Sha256];

const PCRS: [u32; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/// A folder with this log, and what the TPM beside it holds.
fn desk(log: &LogBuilder) -> Desk {
    let desk = Desk::new();
    desk.write("log.bin", log.bytes());
    desk.write("pcrs.json", serde_json::to_vec(&log.quoted(&PCRS)).unwrap());
    desk
}

fn codes(json: &Value) -> Vec<&str> {
    json["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

#[test]
fn a_log_is_told_as_json_and_as_text() {
    let log = honest(&BANKS);
    let desk = desk(&log);
    let json = desk.done("eventlog log.bin");
    assert_eq!(json["format"], "crypto-agile");
    assert_eq!(json["events"], log.offsets.len());
    assert_eq!(json["startup_locality"], 0);
    assert_eq!((&json["findings"], &json["warnings"]), (&json!([]), &json!([])));
    assert_eq!(json["banks"]["sha256"]["7"], hex::encode(log.pcr(LogAlgorithm::Sha256, 7)));
    assert_eq!(json["banks"]["sha1"]["0"], hex::encode(log.pcr(LogAlgorithm::Sha1, 0)));
    assert_eq!(json["banks"].as_object().unwrap().len(), 2);
    assert_eq!(json["facts"]["secure_boot"], json!({"state": "on", "event": 3}));
    assert_eq!(json["facts"]["command_lines"][0]["text"], COMMAND_LINE);
    assert_eq!(json["timeline"].as_array().unwrap().len(), log.offsets.len());
    assert!(json.get("accepted").is_none(), "nothing was compared");

    let output = desk.command("eventlog log.bin").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for expected in ["crypto-agile", "on (event 3)", COMMAND_LINE, "not compared with a TPM", "EV_SEPARATOR"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn a_log_is_compared_with_what_a_tpm_gave() {
    let mut log = honest(&BANKS);
    let desk = desk(&log);
    let json = desk.done("eventlog log.bin --pcrs pcrs.json");
    assert_eq!((&json["accepted"], json["compared"].as_array().unwrap().len()), (&json!(true), 20));
    assert_eq!(json["compared"][0], json!({"bank": "sha1", "pcr": 0, "result": "matches"}));

    log.extend(LogAlgorithm::Sha256, 4, &[1; 32]);
    desk.write("pcrs.json", serde_json::to_vec(&log.quoted(&PCRS)).unwrap());
    let outcome = desk.run("eventlog log.bin --pcrs pcrs.json");
    assert_eq!((outcome.exit, &outcome.json["accepted"]), (1, &json!(false)));
    let output = desk.command("eventlog log.bin --pcrs pcrs.json").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("sha256  4 DIFFERS"));
}

#[test]
fn a_log_that_lies_is_told_and_refused_where_it_is_judged() {
    let mut log = honest(&BANKS);
    log.measure(7, EventType::SEPARATOR, &[0; 4]);
    log.event(5, EventType::EFI_ACTION, b"evil", b"\x1b[2Jgood");
    let desk = desk(&log);
    assert_eq!(codes(&desk.done("eventlog log.bin")), ["separator.repeated", "digest.mismatch"]);
    let outcome = desk.run("eventlog log.bin --pcrs pcrs.json");
    assert_eq!((outcome.exit, &outcome.json["accepted"]), (1, &json!(false)));
    let output = desk.command("eventlog log.bin").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("FINDING separator.repeated") && text.contains("! unverified: "), "{text}");
    assert!(!text.contains('\x1b'));
}

#[test]
fn what_is_no_log_or_no_values_is_unusable() {
    let log = honest(&BANKS);
    let desk = desk(&log);
    desk.write("cut.bin", &log.bytes()[..log.bytes().len() - 1]);
    let cut = desk.fails("eventlog cut.bin", 2, "EVENT_LOG");
    assert!(
        cut.detail().contains("at byte ") && cut.detail().contains("a log that was cut"),
        "{}",
        cut.detail()
    );
    desk.write("text", "no log");
    desk.fails("eventlog text", 2, "EVENT_LOG");
    desk.write("empty", "");
    desk.fails("eventlog empty", 2, "FILE_EMPTY");
    desk.fails("eventlog absent", 2, "FILE_UNREADABLE");
    for bad in [
        "{}",
        "[]",
        "{\"sha256\": {}}",
        "{\"sha256\": {\"24\": \"00\"}}",
        "{\"sha256\": {\"0\": \"00\"}}",
        "x",
    ] {
        desk.write("bad.json", bad);
        desk.fails("eventlog log.bin --pcrs bad.json", 2, "PCR_VALUES");
    }
}

#[test]
fn real_logs_are_told_as_the_index_says() {
    let folder = std::env::var_os("SEALSTONE_CORPORA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora"), PathBuf::from);
    let Ok(index) = std::fs::read(folder.join("eventlogs_index.json")) else {
        println!("no event logs of real machines in {}: none was checked", folder.display());
        return;
    };
    let index: Value = serde_json::from_slice(&index).unwrap();
    let desk = Desk::new();
    for entry in index.as_array().unwrap() {
        let path = folder.join(entry["path"].as_str().unwrap());
        let line = format!("eventlog {}", path.display());
        if entry["parse"] != "ok" {
            desk.fails(&line, 2, "EVENT_LOG");
            continue;
        }
        let json = desk.done(&line);
        for key in ["format", "events", "startup_locality"] {
            assert_eq!(json[key], entry[key], "{key} of {line}");
        }
        assert_eq!(json["banks"], entry["replayed"], "{line}");
    }
}
