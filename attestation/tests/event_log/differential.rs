//! What `tpm2_eventlog` of tpm2-tools says about the same logs.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use sealstone_attestation::PcrIndex;
use sealstone_attestation::event_log::{EventLog, EventType, LogAlgorithm};

use crate::builder::{LogBuilder, honest, honest_events};
use crate::corpus;

/// Banks that tpm2-tools replays.
const BANKS: [LogAlgorithm; 4] =
    [LogAlgorithm::Sha1, LogAlgorithm::Sha256, LogAlgorithm::Sha384, LogAlgorithm::Sha512];

/// Values by bank and PCR.
type Values = BTreeMap<String, BTreeMap<u8, String>>;

/// The values that `tpm2_eventlog` replays: the section `pcrs` of its YAML. `None` when it refuses the log.
fn tpm2_eventlog(bytes: &[u8]) -> Option<Values> {
    let file = std::env::temp_dir().join(format!("sealstone-event-log-{}-{:p}", std::process::id(), bytes));
    std::fs::write(&file, bytes).unwrap();
    let output = Command::new("tpm2_eventlog")
        .arg(&file)
        .output()
        .expect("tpm2_eventlog runs: apt-get install tpm2-tools");
    std::fs::remove_file(&file).unwrap();
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let section = text.rsplit_once("\npcrs:").map(|(_, section)| section)?;
    let mut values = Values::new();
    let mut bank = String::new();
    for line in section.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let (name, value) = (name.trim(), value.trim());
        if value.is_empty() {
            name.clone_into(&mut bank);
        } else {
            let digits = value.trim_start_matches("0x").to_lowercase();
            values.entry(bank.clone()).or_default().insert(name.parse().unwrap(), digits);
        }
    }
    Some(values)
}

/// Our values, of the banks that tpm2-tools knows.
fn ours(log: &EventLog<'_>) -> Values {
    let mut values = Values::new();
    for (bank, pcr, value) in log.replay().iter().filter(|(bank, _, _)| BANKS.contains(bank)) {
        values.entry(bank.name().to_owned()).or_default().insert(pcr.get(), hex::encode(value));
    }
    values
}

/// Checks that both say the same, but for PCRs with an event that extends nothing: tpm2-tools 5.4 extends it, and does not
/// read the startup locality from it; later versions do.
fn same(name: &str, bytes: &[u8]) {
    let theirs = tpm2_eventlog(bytes).unwrap_or_else(|| panic!("tpm2_eventlog refuses {name}"));
    let log = EventLog::parse(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    let extends_nothing: BTreeSet<u8> = log
        .events()
        .iter()
        .skip(1)
        .filter(|event| !event.extends())
        .filter_map(|event| event.pcr.map(PcrIndex::get))
        .collect();
    let comparable = |mut values: Values| {
        for bank in values.values_mut() {
            bank.retain(|pcr, _| !extends_nothing.contains(pcr));
        }
        values.retain(|_, bank| !bank.is_empty());
        values
    };
    assert_eq!(comparable(ours(&log)), comparable(theirs), "{name}");
}

#[test]
fn logs_of_our_own_replay_as_tpm2_tools_replays_them() {
    let mut sha1 = LogBuilder::sha1();
    honest_events(&mut sha1);
    let mut locality = LogBuilder::agile(&BANKS);
    locality.no_action(0, b"StartupLocality\0\x03");
    honest_events(&mut locality);
    let mut extended = honest(&BANKS);
    extended.measure(12, EventType::EVENT_TAG, &[1, 0, 0, 0, 1, 0, 0, 0, 9]);
    for (name, log) in [
        ("one bank", honest(&[LogAlgorithm::Sha256])),
        ("all banks", honest(&BANKS)),
        ("the older format", sha1),
        ("locality 3", locality),
        ("an event of PCR 12", extended),
    ] {
        same(name, &log.bytes());
    }
}

#[test]
fn real_logs_replay_as_tpm2_tools_replays_them() {
    for (entry, bytes) in corpus::logs() {
        match (EventLog::parse(&bytes), tpm2_eventlog(&bytes)) {
            (Ok(_), Some(_)) => same(&entry.path, &bytes),
            (Err(_), None) => {}
            // Vendor information that its event leaves out is read beyond the event by tpm2-tools.
            (Err(_), Some(_)) if entry.path.ends_with("/specid-vendordata.bin") => {}
            (ours, theirs) => {
                panic!("{}: we say {:?}, tpm2_eventlog {}", entry.path, ours.err(), theirs.is_some())
            }
        }
    }
}
