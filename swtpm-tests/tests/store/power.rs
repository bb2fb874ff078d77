//! The power goes: what was written and not synced is lost, in part or whole, and nothing that was answered is.
//!
//! A child signs on SQLite under strace, which shows each write and each sync. From them comes what a disk would hold
//! that lost its power at any of these calls: all that was synced, and of the rest nothing, everything, or some
//! sectors. On each such disk the store opens, and has every answer that the child had by then.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use sealstone_agent::config::store::StoreConfig;
use sealstone_agent::store::{Reserved, Store};

use crate::support::*;

/// Where the child works; without it the child's story is empty.
const FOLDER: &str = "SEALSTONE_STORY_POWER_CUT";

/// Signatures of the child.
const SIGNATURES: u64 = 25;

/// What a disk writes in one piece.
const SECTOR: usize = 512;

#[derive(Debug)]
enum Event {
    Write {
        file: String,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: String,
        length: usize,
    },
    Sync {
        file: String,
    },
    /// The child had the answer to this one.
    Answered(u64),
}

#[tokio::test]
async fn the_child_that_loses_its_power() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let store = Store::open(&StoreConfig::sqlite(folder.join("agent.db")), "node-1").await.unwrap();
    store.begin_era(7, NOW).await.unwrap();
    store
        .begin_epoch(epoch(0, sealstone_attestation::Algorithm::Es256), record("asset_created"))
        .await
        .unwrap();
    let mut answered = std::fs::File::create(folder.join("answered")).unwrap();
    for number in 1..=SIGNATURES {
        signed(&store, number, &ask(number, "x")).await;
        answered.write_all(format!("{number}.").as_bytes()).unwrap();
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_at_any_moment_loses_nothing_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let status = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-xx",
            "-s",
            "70000",
            "-e",
            "trace=pwrite64,write,fdatasync,fsync,ftruncate",
            "-o",
        ])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "power::the_child_that_loses_its_power"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap_or_else(|error| panic!("cannot run strace: {error}; install it: apt-get install strace"));
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
    let events = events(&std::fs::read_to_string(&trace).unwrap());
    let syncs = events.iter().filter(|event| matches!(event, Event::Sync { .. })).count();
    assert!(
        syncs >= 2 * 25,
        "a reservation and an answer each sync, found {syncs} of {} events",
        events.len()
    );
    let first =
        events.iter().position(|event| matches!(event, Event::Answered(1))).expect("the first answer");
    let mut seed = 1;
    for cut in first..=events.len() {
        for lost in [Lost::All, Lost::Nothing, Lost::Some] {
            // Everything is looked at after an answer; in between, some of it.
            let at_answer = matches!(events.get(cut.saturating_sub(1)), Some(Event::Answered(_)));
            if !at_answer && lost != Lost::Some {
                continue;
            }
            seed += 1;
            let (disk, answered) = disk(&events[..cut], lost, seed);
            look(&disk, answered, &format!("cut after call {cut}, {lost:?} lost, seed {seed}")).await;
        }
    }
}

/// Of what was written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    All,
    Some,
    Nothing,
}

async fn look(disk: &BTreeMap<String, Vec<u8>>, answered: u64, what: &str) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in disk {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let opened = Store::open(&StoreConfig::sqlite(folder.path().join("agent.db")), "node-1").await;
    let store = opened.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let progress = store.begin_era(7, NOW).await.unwrap();
    assert!(progress.through >= answered, "{what}: {answered} were answered, {} are held", progress.through);
    // The log has as many records as there are receipts, and the asset's.
    assert_eq!(store.audit_size().await.unwrap(), progress.through + 1, "{what}");
    for number in 1..=answered {
        let reserve = ask(number, "x");
        let standing = store.standing(&reserve.nonce, &reserve.request).await.unwrap();
        assert!(matches!(standing, Some(Reserved::Answered(_))), "{what}: {number}: {standing:?}");
    }
    store.close().await;
}

/// What the disk holds after these calls, and how many answers the child had.
fn disk(events: &[Event], lost: Lost, mut seed: u64) -> (BTreeMap<String, Vec<u8>>, u64) {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut pending: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    let mut answered = 0;
    for event in events {
        match event {
            Event::Write { file, .. } | Event::Truncate { file, .. } => {
                pending.entry(file).or_default().push(event)
            }
            Event::Sync { file } => {
                for event in pending.remove(file.as_str()).unwrap_or_default() {
                    apply(files.entry(file.clone()).or_default(), event, |_| true);
                }
            }
            Event::Answered(number) => answered = *number,
        }
    }
    for (file, events) in pending {
        for event in events {
            let keep = |_: usize| match lost {
                Lost::All => false,
                Lost::Nothing => true,
                Lost::Some => {
                    // xorshift: any mixture does.
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    seed.is_multiple_of(2)
                }
            };
            apply(files.entry(file.to_owned()).or_default(), event, keep);
        }
    }
    (files, answered)
}

fn apply(file: &mut Vec<u8>, event: &Event, mut keep: impl FnMut(usize) -> bool) {
    match event {
        Event::Write { offset, bytes, .. } => {
            for (sector, piece) in bytes.chunks(SECTOR).enumerate() {
                if keep(sector) {
                    let from = offset + sector * SECTOR;
                    file.resize(file.len().max(from + piece.len()), 0);
                    file[from..from + piece.len()].copy_from_slice(piece);
                }
            }
        }
        Event::Truncate { length, .. } => {
            if keep(0) {
                file.resize(*length, 0);
            }
        }
        Event::Sync { .. } | Event::Answered(_) => {}
    }
}

/// Reads what strace wrote. A write counts from its beginning, a sync from its end.
fn events(trace: &str) -> Vec<Event> {
    let mut syncing: BTreeMap<&str, String> = BTreeMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("<... fdatasync resumed>") || rest.starts_with("<... fsync resumed>") {
            events.extend(syncing.remove(thread).map(|file| Event::Sync { file }));
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        let Some(file) = arguments.split_once('<').and_then(|(_, file)| file.split_once('>')) else {
            continue;
        };
        let (path, arguments) = file;
        let path = String::from_utf8(bytes(path)).unwrap_or_else(|_| path.to_owned());
        let path = if path.is_empty() { file.0.to_owned() } else { path };
        let Some(file) = Path::new(&path).file_name().and_then(|name| name.to_str()).map(str::to_owned)
        else {
            continue;
        };
        let is_store = file == "agent.db" || file == "agent.db-wal";
        match name {
            "pwrite64" | "write" if file == "answered" => {
                let text = String::from_utf8(bytes(arguments)).unwrap();
                events.push(Event::Answered(text.trim_end_matches('.').parse().unwrap()));
            }
            "pwrite64" if is_store => {
                let content = bytes(arguments);
                let numbers = arguments.rsplit_once('"').unwrap().1;
                let offset =
                    numbers.split([',', ')', '<', ' ']).filter(|text| !text.is_empty()).nth(1).unwrap();
                events.push(Event::Write { file, offset: offset.parse().unwrap(), bytes: content });
            }
            "ftruncate" if is_store => {
                let length = arguments.split([',', ')', '<', ' ']).find(|text| !text.is_empty()).unwrap();
                events.push(Event::Truncate { file, length: length.parse().unwrap() });
            }
            "fdatasync" | "fsync" if is_store => {
                if rest.contains("<unfinished") {
                    syncing.insert(thread, file);
                } else {
                    events.push(Event::Sync { file });
                }
            }
            _ => {}
        }
    }
    events
}

/// The bytes of a text in which strace wrote each as `\xNN`.
fn bytes(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).filter_map(|piece| u8::from_str_radix(piece.get(..2)?, 16).ok()).collect()
}
