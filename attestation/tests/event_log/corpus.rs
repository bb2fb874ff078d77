//! Logs of real machines, and what another parser says about them.
//!
//! Data of other projects stays out of this repository: it is read from the folder that `SEALSTONE_CORPORA` names (default:
//! `../shared/corpora` beside the workspace). Without that folder the tests say so, and check nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sealstone_attestation::HexBytes;
use sealstone_attestation::event_log::{EventLog, LogAlgorithm, SecureBoot};
use serde::Deserialize;

/// Logs that must not have findings, and those that have them, each explained in `docs/interop.md`.
const FINDINGS: &[(&str, &[&str])] = &[
    ("gdc-host.bin", &["digest.mismatch"]),
    ("uefi_log.bin", &["type.unknown"]),
    ("event-uefiaction.bin", &["separator.missing", "digest.missing", "digest.missing"]),
    ("event-uefiservices.bin", &["separator.missing"]),
    ("event-uefivar.bin", &["separator.missing", "digest.missing", "digest.missing"]),
    ("event.bin", &["separator.missing"]),
];

#[derive(Deserialize)]
pub(crate) struct Indexed {
    pub(crate) path: String,
    parse: String,
    events: Option<usize>,
    format: Option<String>,
    banks: Option<Vec<String>>,
    startup_locality: Option<u8>,
    trailing: Option<usize>,
    replayed: Option<BTreeMap<String, BTreeMap<u8, HexBytes>>>,
    #[serde(default)]
    expected: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    #[serde(default)]
    pcrs: BTreeMap<String, BTreeMap<u8, HexBytes>>,
}

/// The folder, if it is there.
pub(crate) fn corpora() -> Option<PathBuf> {
    let folder = std::env::var_os("SEALSTONE_CORPORA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
        PathBuf::from,
    );
    if folder.join("eventlogs_index.json").exists() {
        return Some(folder);
    }
    println!("no event logs of real machines in {}: none was checked", folder.display());
    None
}

/// Every log of the index, with its bytes.
pub(crate) fn logs() -> Vec<(Indexed, Vec<u8>)> {
    let Some(folder) = corpora() else { return Vec::new() };
    let index = std::fs::read(folder.join("eventlogs_index.json")).unwrap();
    let index: Vec<Indexed> = serde_json::from_slice(&index).unwrap();
    index
        .into_iter()
        .map(|entry| (std::fs::read(folder.join(&entry.path)).unwrap(), entry))
        .map(|(b, e)| (e, b))
        .collect()
}

#[test]
fn real_logs_have_the_events_banks_and_values_that_another_parser_finds() {
    let mut checked = 0;
    for (entry, bytes) in logs() {
        let path = &entry.path;
        let parsed = EventLog::parse(&bytes);
        if entry.parse != "ok" {
            assert!(parsed.is_err(), "{path}: expected no log, as the index says: {}", entry.parse);
            continue;
        }
        let log = parsed.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(Some(log.events().len()), entry.events, "{path}");
        assert_eq!(Some(log.format().name().to_owned()), entry.format, "{path}");
        assert_eq!(Some(log.startup_locality()), entry.startup_locality, "{path}");
        assert_eq!(Some(log.padding()), entry.trailing, "{path}");
        let banks: Vec<String> = log.replay().banks().map(|bank| bank.name().to_owned()).collect();
        assert_eq!(Some(banks), entry.banks, "{path}");
        let replayed: BTreeMap<String, BTreeMap<u8, HexBytes>> =
            serde_json::from_value(serde_json::to_value(log.replay()).unwrap()).unwrap();
        assert_eq!(Some(replayed), entry.replayed, "{path}");
        checked += 1;
    }
    println!("{checked} real logs checked");
}

#[test]
fn real_logs_replay_to_what_their_machines_quoted() {
    for (entry, bytes) in logs() {
        let Ok(log) = EventLog::parse(&bytes) else { continue };
        for (bank, values) in entry.expected.iter().flat_map(|expected| &expected.pcrs) {
            let bank = LogAlgorithm::ALL.into_iter().find(|algorithm| algorithm.name() == bank).unwrap();
            for (pcr, value) in values {
                let pcr = (*pcr).try_into().unwrap();
                if let Some(replayed) = log.replay().get(bank, pcr) {
                    assert_eq!(replayed, value.0, "{}: PCR {pcr} of bank {bank}", entry.path);
                }
            }
        }
    }
}

#[test]
fn real_logs_have_no_findings_but_those_that_are_explained() {
    for (entry, bytes) in logs() {
        let Ok(log) = EventLog::parse(&bytes) else { continue };
        let name = entry.path.rsplit('/').next().unwrap();
        let expected = FINDINGS.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, codes)| codes);
        let found: Vec<&str> = log.findings().iter().map(|finding| finding.code).collect();
        assert_eq!(found, expected, "{name}: {:?}", log.findings());
    }
}

#[test]
fn a_log_cut_at_any_byte_is_no_log_or_is_caught() {
    for (entry, bytes) in logs().iter().filter(|(_, bytes)| bytes.len() < 20_000) {
        let Ok(whole) = EventLog::parse(bytes) else { continue };
        for length in 0..bytes.len() {
            let Ok(cut) = EventLog::parse(&bytes[..length]) else { continue };
            // Only a border between events, or what looks like padding there, leaves a log, and a shorter one.
            assert!(cut.events().len() < whole.events().len(), "{} cut to {length} bytes", entry.path);
            assert_eq!(cut.events(), &whole.events()[..cut.events().len()].to_vec());
        }
    }
}

#[test]
fn secure_boot_is_read_where_it_was_measured_and_unknown_elsewhere() {
    for (name, state) in [
        ("gce-cos-85-no-nonce.eventlog.bin", "on"),
        ("ubuntu-2104-no-secure-boot.bin", "off"),
        ("arch-linux-workstation.bin", "unknown"),
        ("event-uefivar.bin", "unknown"),
        ("event-moklisttrusted.bin", "on"),
    ] {
        let Some((_, bytes)) = logs().into_iter().find(|(entry, _)| entry.path.ends_with(name)) else {
            continue;
        };
        let found = match EventLog::parse(&bytes).unwrap().facts().secure_boot {
            SecureBoot::On { .. } => "on",
            SecureBoot::Off { .. } => "off",
            _ => "unknown",
        };
        assert_eq!(found, state, "{name}");
    }
}
