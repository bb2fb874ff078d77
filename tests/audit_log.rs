//! Stories of an auditor with a log: whatever was changed, dropped, inserted, re-ordered or cut is found, and one
//! record is proven to somebody who has other tools.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use sealstone_attestation::audit::{
    Checkpoint, CoveredReceipts, EntryBundle, Frontier, LeafHash, Origin, ReceiptReference, Record,
    RecordKind, Tile, TileWriter, TreeHash,
};
use sealstone_attestation::{
    Binding, Envelope, KeyId, Manifest, Purpose, Receipt, ReceiptHash, RequestDigest, SessionId, Signature64,
    UnixTime,
};
use serde_json::{Value, json};
use support::evidence::{NONCE, enclave, evidence_with};
use support::{Desk, Outcome};

/// Records: two whole bundles and some.
const SIZE: usize = 600;

/// The era of the second half of the log; the first half is of the one before.
const ERA: u64 = 2;

/// A desk with a node's log in `log`.
struct Log {
    desk: Desk,
    origin: Origin,
    leaves: Vec<Vec<u8>>,
    /// The newest receipt of [`ERA`].
    receipts: (u64, ReceiptHash),
}

impl Log {
    fn new() -> Self {
        let desk = Desk::with_proposal(&["alice"], 1);
        desk.done("manifest sign v1 --key alice.key");
        let envelope = Envelope::parse(&desk.read("v1")).unwrap();
        let manifest = Manifest::from_payload(&envelope.payload).unwrap();
        let origin = Origin::new(manifest.deployment(), manifest.nodes()[0].name()).unwrap();
        let (leaves, receipts) = leaves();
        let log = Self { desk, origin, leaves, receipts };
        log.export();
        log
    }

    /// Writes the folder, as a node exports it.
    fn export(&self) {
        let _ = fs::remove_dir_all(self.desk.at("log"));
        let mut writer = TileWriter::new();
        let mut files = Vec::new();
        for leaf in &self.leaves {
            files.extend(writer.push(leaf).unwrap());
        }
        files.extend(writer.partial());
        for file in files {
            self.write(&file.path, &file.bytes);
        }
        let head = self.head(self.leaves.len(), ERA, self.receipts.0);
        self.write("checkpoint", &sign(&enclave(), &head));
    }

    fn head(&self, size: usize, era: u64, sequence: u64) -> Checkpoint {
        let mut tree = Frontier::new();
        self.leaves[..size].iter().for_each(|leaf| tree.push(LeafHash::of(leaf)));
        let receipts = CoveredReceipts { era, sequence };
        Checkpoint { origin: self.origin.clone(), size: size as u64, root: tree.root(), receipts }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.desk.at("log").join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Changes the entries of one bundle, and nothing else.
    fn edit(&self, bundle: u64, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let path = EntryBundle::of_log(SIZE as u64, bundle).unwrap().path();
        let bytes = fs::read(self.at(&path)).unwrap();
        let mut entries: Vec<Vec<u8>> =
            EntryBundle::split(&bytes).0.into_iter().map(<[u8]>::to_vec).collect();
        change(&mut entries);
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| EntryBundle::append(&mut bytes, entry).unwrap());
        self.write(&path, &bytes);
    }

    fn verify(&self, options: &str) -> Outcome {
        self.desk.run(&format!("audit verify log {options}"))
    }

    fn key(&self) -> String {
        format!("--key {}", hex::encode(enclave().verifying_key().to_bytes()))
    }

    fn complete(&self, options: &str) -> Value {
        let outcome = self.verify(options);
        assert_eq!((outcome.exit, &outcome.json["complete"]), (0, &json!(true)), "{}", outcome.json);
        outcome.json
    }

    /// Refused, and the first flaw is this one; then the log is made whole again.
    fn found(&self, what: &str, index: impl Into<Value>, says: &str) {
        let outcome = self.verify(&self.key());
        let flaw = &outcome.json["flaws"][0];
        assert_eq!((outcome.exit, &outcome.json["complete"]), (1, &json!(false)), "{what}: {}", outcome.json);
        assert_eq!(flaw["index"], index.into(), "{what}: {}", outcome.json);
        assert!(flaw["detail"].as_str().unwrap().contains(says), "{what}: {}", outcome.json);
        self.export();
    }
}

/// Two eras of signatures, and refusals between them.
fn leaves() -> (Vec<Vec<u8>>, (u64, ReceiptHash)) {
    let mut leaves = Vec::new();
    let mut newest = (0, Receipt::genesis(1));
    for index in 0..SIZE as u64 {
        if index == SIZE as u64 / 2 {
            newest = (0, Receipt::genesis(ERA));
        }
        let mut record = Record::new(1_795_230_000_000 + index, RecordKind::Refused);
        if index % 3 != 0 {
            let receipt = Receipt {
                sequence: newest.0 + 1,
                era: if index < SIZE as u64 / 2 { 1 } else { ERA },
                previous: newest.1,
                request: RequestDigest::of(&index.to_be_bytes()),
                key_id: KeyId::from_bytes([1; 32]),
                epoch: 0,
                binding: Binding::from_bytes([2; 32]),
                session: SessionId::from_bytes([3; 16]),
                time: UnixTime::from_secs(1_795_230_000 + index),
                signature: Signature64::from_bytes([4; 64]),
            };
            newest = (receipt.sequence, receipt.hash());
            record = Record {
                request: Some(receipt.request),
                key_id: Some(receipt.key_id),
                epoch: Some(receipt.epoch),
                binding: Some(receipt.binding),
                session: Some(receipt.session),
                receipt: Some(ReceiptReference::of(&receipt)),
                ..Record::new(1_795_230_000_000 + index, RecordKind::Signed)
            };
        }
        leaves.push(record.to_leaf().unwrap());
    }
    (leaves, newest)
}

fn sign(key: &SigningKey, head: &Checkpoint) -> Vec<u8> {
    let sign = |text: &[u8]| Signature64::from_bytes(key.sign(text).to_bytes());
    head.sign(&key.verifying_key().to_bytes(), sign).unwrap()
}

#[test]
fn a_whole_log_is_complete_and_contains_every_checkpoint_of_it() {
    let log = Log::new();
    let unsigned = log.complete("");
    assert_eq!((&unsigned["size"], &unsigned["signed"]), (&json!(600), &json!(false)));
    assert!(unsigned["warnings"][0].as_str().unwrap().contains("nobody's signature was checked"));
    let found = log.complete(&log.key());
    assert_eq!(
        (&found["signed"], &found["anchored"], &found["warnings"]),
        (&json!(true), &json!(null), &json!([]))
    );
    let era = |era: u64| json!({"era": era, "up_to": 200, "gap": false, "unproven": 0});
    assert_eq!(found["receipts"], json!([era(1), era(2)]));
    let vkey = found["verifier_key"].as_str().unwrap();
    log.complete(&format!("--key {vkey}"));

    let mut options = log.key();
    for size in [0, 1, 255, 256, 257, 300, 599, 600] {
        let (era, sequence) =
            if size <= 300 { (1, size as u64 / 3 * 2) } else { (2, (size as u64 - 300) / 3 * 2) };
        log.desk.write(&format!("at-{size}"), sign(&enclave(), &log.head(size, era, sequence)));
        options.push_str(&format!(" --checkpoint at-{size}"));
    }
    log.complete(&options);
    let text = log.desk.command(&format!("audit verify log {options}")).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("complete to size 600, root "), "{text}");
    assert!(!text.contains("anchored"), "{text}");
}

#[test]
fn a_log_begun_in_place_of_a_lost_one_is_complete_only_for_who_knows_of_the_loss() {
    let mut log = Log::new();
    let [one, two] = [1, 2].map(|byte| TreeHash::from_bytes([byte; 32]));
    let begun = |root: &TreeHash| Record::log_begun(1, 7, root).to_leaf().unwrap();
    log.leaves[0] = begun(&one);
    log.leaves[300] = begun(&two);
    log.export();
    log.found("a loss", 0, "begun in place of the log of 7 records with root AQEB");
    let key = log.key();
    let options = |roots: &[&TreeHash]| {
        roots.iter().fold(key.clone(), |all, root| format!("{all} --lost-log {}", root.to_base64()))
    };
    // Knowing of one loss is not knowing of the other.
    for (known, unknown) in [(&one, 300), (&two, 0)] {
        let outcome = log.verify(&options(&[known]));
        assert_eq!((outcome.exit, &outcome.json["complete"]), (1, &json!(false)), "{}", outcome.json);
        assert_eq!(outcome.json["flaws"].as_array().unwrap().len(), 1, "{}", outcome.json);
        assert_eq!(outcome.json["flaws"][0]["index"], unknown, "{}", outcome.json);
    }
    let text = log.desk.command(&format!("audit verify log {}", options(&[&one]))).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("--lost-log") && text.contains("refused") && !text.contains("complete to"),
        "{text}"
    );
    let found = log.complete(&options(&[&one, &two]));
    assert_eq!(found["begun"].as_array().unwrap().len(), 2, "{found}");
    assert_eq!(found["warnings"].as_array().unwrap().len(), 2, "{found}");

    // However many there are, the one that nobody knows of is a refusal.
    for index in (0..300).step_by(3) {
        log.leaves[index] = begun(&one);
    }
    log.export();
    let outcome = log.verify(&options(&[&one]));
    assert_eq!((outcome.exit, &outcome.json["flaws"][0]["index"]), (1, &json!(300)), "{}", outcome.json);
    // Another spelling names no log that anybody can know of.
    log.leaves[300] = Record {
        detail: Some(format!("in place of the log of 07 records with root {}", one.to_base64())),
        ..Record::new(1, RecordKind::LogBegun)
    }
    .to_leaf()
    .unwrap();
    log.export();
    assert_eq!(log.verify(&options(&[&one])).exit, 1);
    log.desk.fails("audit verify log --lost-log AAAA", 2, "USAGE");
}

#[test]
fn a_record_that_was_changed_dropped_inserted_or_moved_is_named() {
    let log = Log::new();
    let other = Record::new(1, RecordKind::Admin).to_leaf().unwrap();
    for (place, index) in [(0, 256), (100, 356), (255, 511)] {
        log.edit(1, |entries| entries[place] = other.clone());
        log.found("changed", index, "was changed");
    }
    for (place, index) in [(0, 512), (40, 552), (87, 599)] {
        log.edit(2, |entries| drop(entries.remove(place)));
        log.found("dropped", index, "is missing");
    }
    for (place, index) in [(0, 0), (10, 10)] {
        log.edit(0, |entries| entries.insert(place, other.clone()));
        // The bundle has a record too many, which is said of the file.
        log.found("inserted", index, "was inserted");
        log.edit(0, |entries| entries.swap(place, place + 1));
        log.found("swapped", index, "re-ordered");
    }
    log.edit(0, |entries| {
        let last = entries.pop().unwrap();
        entries.insert(3, last);
    });
    log.found("moved", 3, "was inserted");
    log.edit(2, |entries| entries[5] = b"{}".to_vec());
    log.found("no record", 517, "is none");
    log.edit(2, |entries| entries.push(other.clone()));
    log.found("one too many", Value::Null, "more than the log's records");
}

#[test]
fn a_log_that_was_written_anew_does_not_lead_to_its_checkpoint() {
    let other = Record::new(1, RecordKind::Admin).to_leaf().unwrap();
    let mut log = Log::new();
    let (genuine, whole) = (fs::read(log.at("checkpoint")).unwrap(), log.leaves.clone());
    log.desk.write("early", sign(&enclave(), &log.head(255, 1, 170)));
    let mut rewritten = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        log.leaves = whole.clone();
        change(&mut log.leaves);
        log.export();
        log.write("checkpoint", &genuine);
        let outcome = log.verify(&format!("{} --checkpoint early", log.key()));
        assert_eq!(outcome.exit, 1, "{}", outcome.json);
        outcome.json["flaws"].clone()
    };
    // Record and tiles, consistently: only the checkpoints tell, and how far they agree.
    let flaws = rewritten(&|leaves| leaves[400] = other.clone());
    assert_eq!(flaws[0]["index"], 255, "{flaws}");
    assert!(flaws[0]["detail"].as_str().unwrap().contains("between record 255 and record 600"), "{flaws}");
    let flaws = rewritten(&|leaves| leaves[3] = other.clone());
    assert!(flaws[0]["detail"].as_str().unwrap().contains("between record 0 and record 255"), "{flaws}");
    // A record less: the receipt in it is missed by name, and the log is shorter than its checkpoint says.
    let flaws = rewritten(&|leaves| drop(leaves.remove(301)));
    let flaws = flaws.to_string();
    assert!(flaws.contains("record 512 is missing"), "{flaws}");
    assert!(flaws.contains("receipt 1 of era 2 is missing"), "{flaws}");
    let flaws = rewritten(&|leaves| leaves.truncate(300)).to_string();
    assert!(flaws.contains("record 256 is missing"), "{flaws}");
    let flaws = rewritten(&|leaves| leaves.push(other.clone())).to_string();
    assert!(flaws.contains("tile/0/002.p/88"), "{flaws}");
}

#[test]
fn files_that_are_absent_or_damaged_are_named() {
    let log = Log::new();
    let path = EntryBundle::of_log(600, 1).unwrap().path();
    fs::remove_file(log.at(&path)).unwrap();
    log.found("no bundle", 256, "record 256 is missing");
    let bytes = fs::read(log.at(&path)).unwrap();
    log.write(&path, &bytes[..bytes.len() - 1]);
    log.found("a cut bundle", 511, "record 511 is missing");
    log.write(&path, b"");
    log.found("an empty bundle", 256, "record 256 is missing");
    for (level, index) in [(0, 0), (0, 2), (1, 0)] {
        let tile = Tile::of_tree(600, level, index).unwrap().path();
        let mut bytes = fs::read(log.at(&tile)).unwrap();
        fs::remove_file(log.at(&tile)).unwrap();
        log.found("no tile", Value::Null, &tile);
        log.write(&tile, &bytes[1..]);
        log.found("a cut tile", Value::Null, &tile);
        bytes[32] ^= 1;
        log.write(&tile, &bytes);
        if level == 0 {
            log.found("a changed hash", index * 256 + 1, "the record itself is the right one");
        } else {
            log.found("a changed hash above", Value::Null, &tile);
        }
    }
    // A whole file stands for the partial one that an older checkpoint needs.
    log.write("checkpoint", &sign(&enclave(), &log.head(250, 1, 166)));
    log.complete(&log.key());
    fs::remove_file(log.at("checkpoint")).unwrap();
    log.desk.fails("audit verify log", 2, "FILE_UNREADABLE");
    log.desk.fails("audit verify v1", 2, "FILE_UNREADABLE");
}

#[test]
fn receipts_must_be_there_once_and_say_what_their_records_say() {
    let mut log = Log::new();
    let whole = log.leaves.clone();
    let mut with = |says: &str, change: &dyn Fn(&mut Vec<Record>)| {
        let mut records: Vec<Record> = whole.iter().map(|leaf| Record::parse(leaf).unwrap()).collect();
        change(&mut records);
        log.leaves = records.iter().map(|record| record.to_leaf().unwrap()).collect();
        // The enclave itself signs this log, which it never does.
        log.export();
        let outcome = log.verify(&log.key());
        let found = outcome.json.to_string();
        assert!(found.contains(says), "{says}: {found}");
        outcome.exit
    };
    assert_eq!(with("receipt 2 of era 2 is missing", &|records| records[302].receipt = None), 1);
    assert_eq!(
        with("record 304 names receipt 1 of era 2, which another", &|records| {
            records[304] = records[301].clone();
        }),
        1
    );
    assert_eq!(
        with("record 302 says something else than receipt 2 of era 2", &|records| {
            records[302].epoch = Some(1);
        }),
        1
    );
    assert_eq!(
        with("record 304 says something else than receipt 3 of era 2", &|records| {
            records[302].receipt.as_mut().unwrap().hash = ReceiptHash::of(b"");
        }),
        1
    );
    // Out of order is in order: threads finish as they like.
    assert_eq!(with("\"complete\":true", &|records| records.swap(301, 305)), 0);
    // What cannot be computed is said.
    assert_eq!(
        with("1 records do not say enough", &|records| {
            records[302].receipt.as_mut().unwrap().signature = None;
        }),
        0
    );
    // An earlier era's newest receipts may be lost; a gap is said.
    assert_eq!(with("later receipts are logged, but not receipt 2", &|records| records[2].receipt = None), 0);
}

#[test]
fn a_checkpoint_of_another_log_key_or_size_is_refused() {
    let log = Log::new();
    let head = log.head(600, ERA, 200);
    let foreign = SigningKey::from_bytes(&[8; 32]);
    let key = log.key();
    let other_key = format!("--key {}", hex::encode(foreign.verifying_key().to_bytes()));
    log.desk.fails(&format!("audit verify log {other_key}"), 1, "CHECKPOINT_NOT_BELIEVED");
    log.desk.write("foreign", sign(&foreign, &head));
    log.desk.fails(&format!("audit verify log {key} --checkpoint foreign"), 1, "CHECKPOINT_NOT_BELIEVED");
    let origin = Origin::new(log.origin.deployment(), "node-9").unwrap();
    log.desk.write("other", sign(&enclave(), &Checkpoint { origin: origin.clone(), ..head.clone() }));
    log.desk.fails(&format!("audit verify log {key} --checkpoint other"), 1, "OTHER_LOG");
    let named = Checkpoint::key(&origin, &enclave().verifying_key().to_bytes()).unwrap().to_text();
    log.desk.fails(&format!("audit verify log --key {named}"), 1, "CHECKPOINT_NOT_BELIEVED");
    log.desk.write("text", "no note\n");
    log.desk.fails(&format!("audit verify log {key} --checkpoint text"), 2, "CHECKPOINT");

    // A fork, and a log that was cut.
    let forked =
        Checkpoint { root: sealstone_attestation::audit::TreeHash::empty(), size: 500, ..head.clone() };
    log.desk.write("fork", sign(&enclave(), &forked));
    let outcome = log.verify(&format!("{key} --checkpoint fork"));
    assert!(
        outcome.json["flaws"].to_string().contains("between record 0 and record 500"),
        "{}",
        outcome.json
    );
    log.desk.write("longer", sign(&enclave(), &Checkpoint { size: 601, ..head }));
    let outcome = log.verify(&format!("{key} --checkpoint longer"));
    assert_eq!((outcome.exit, &outcome.json["flaws"][0]["index"]), (1, &json!(600)));
    assert!(outcome.json["flaws"].to_string().contains("the log was cut"), "{}", outcome.json);
}

#[test]
fn a_log_is_anchored_by_evidence_that_is_accepted_and_by_nothing_less() {
    let log = Log::new();
    let authority = log.desk.done("authority digest alice.pub")["authority"].as_str().unwrap().to_owned();
    let options = format!("--report evidence.json --nonce {NONCE} --authority {authority}");
    let show = |sequence: u64, hash: ReceiptHash, checkpoint: Vec<u8>| {
        let evidence = evidence_with(&log.desk.read("v1"), 1, 0, Purpose::Evidence, |report| {
            (report.era, report.sequence, report.receipt_head) = (ERA, sequence, hash);
            checkpoint
        });
        log.desk.write("evidence.json", evidence.to_json());
    };
    let (newest, hash) = log.receipts;
    let quoted = sign(&enclave(), &log.head(450, ERA, 100));
    show(newest, hash, quoted.clone());
    let found = log.complete(&options);
    assert_eq!((&found["anchored"]["size"], &found["anchored"]["lag"]), (&json!(450), &json!(100)));
    let text = log.desk.command(&format!("audit verify log {options}")).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("anchored to size 450 by evidence.json; 100 receipts of the report may not be in it"),
        "{text}"
    );
    log.complete(&format!("{options} {}", log.key()));
    log.desk.fails(
        &format!(
            "audit verify log {options} --key {}",
            hex::encode(SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes())
        ),
        1,
        "OTHER_KEY",
    );
    let other = options.replace(NONCE, &"ff".repeat(16));
    log.desk.fails(&format!("audit verify log {other}"), 1, "EVIDENCE_REFUSED");
    log.desk.fails(
        &format!("audit verify log --report evidence.json --nonce {NONCE} --authority {}", "ab".repeat(32)),
        1,
        "EVIDENCE_REFUSED",
    );
    log.desk.fails("audit verify log --report evidence.json", 2, "USAGE");
    log.desk.fails(&format!("audit verify log --nonce {NONCE}"), 2, "USAGE");

    // A log that is not the quoted one, nor has the receipt that the report names.
    let fork =
        Checkpoint { root: sealstone_attestation::audit::TreeHash::empty(), ..log.head(450, ERA, 100) };
    show(newest, hash, sign(&enclave(), &fork));
    let outcome = log.verify(&options);
    assert_eq!((outcome.exit, &outcome.json["anchored"]), (1, &json!(null)), "{}", outcome.json);
    show(newest, ReceiptHash::of(b""), quoted);
    let outcome = log.verify(&options);
    assert!(
        outcome.json["flaws"][0]["detail"].as_str().unwrap().contains("than the enclave's report"),
        "{}",
        outcome.json
    );
    show(newest, hash, Vec::new());
    let outcome = log.verify(&options);
    assert_eq!(
        (outcome.exit, &outcome.json["complete"], &outcome.json["anchored"]),
        (1, &json!(true), &json!(null))
    );
}

#[test]
fn one_record_is_proven_to_whoever_has_the_key() {
    let log = Log::new();
    let key = log.key();
    for index in [0, 1, 255, 256, 599] {
        let file = format!("{index}.tlog-proof");
        let made = log.desk.done(&format!("audit prove log --index {index} -o {file}"));
        assert_eq!((&made["index"], &made["size"]), (&json!(index), &json!(600)));
        let checked = log.desk.done(&format!("audit check-proof {file} {key}"));
        assert_eq!((&checked["accepted"], &checked["record"]), (&json!(true), &made["record"]));
    }
    let request = RequestDigest::of(&304_u64.to_be_bytes());
    let made = log.desk.done(&format!("audit prove log --request {request} -o one"));
    assert_eq!((&made["index"], &made["record"]["kind"]), (&json!(304), &json!("signed")));
    let text = log.desk.command(&format!("audit check-proof one {key}")).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("record 304 of 600") && text.ends_with("accepted\n"), "{text}");

    log.desk.fails("audit prove log --index 600 -o two", 2, "INDEX");
    log.desk.fails(&format!("audit prove log --request {} -o two", "00".repeat(32)), 1, "NOT_LOGGED");
    log.desk.fails("audit prove log --index 1 -o one", 2, "FILE_EXISTS");
    log.desk.fails("audit prove log -o two", 2, "USAGE");
    log.desk.fails(&format!("audit prove log --index 1 --request {request} -o two"), 2, "USAGE");
    // Another key, another record, another format.
    let foreign =
        format!("--key {}", hex::encode(SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes()));
    let refused = |line: &str| {
        let outcome = log.desk.run(line);
        assert_eq!((outcome.exit, &outcome.json["accepted"]), (1, &json!(false)), "{}", outcome.json);
    };
    refused(&format!("audit check-proof one {foreign}"));
    let text = String::from_utf8(log.desk.read("one")).unwrap();
    let leaf = STANDARD.encode(&log.leaves[305]);
    let lines: Vec<&str> = text.lines().collect();
    log.desk.write("lie", text.replace(lines[1], &format!("extra {leaf}")));
    refused(&format!("audit check-proof lie {key}"));
    log.desk.write("moved", text.replace("index 304", "index 305"));
    refused(&format!("audit check-proof moved {key}"));
    log.desk.write("v2", text.replace("@v1", "@v2"));
    log.desk.fails(&format!("audit check-proof v2 {key}"), 2, "PROOF");
    // A log whose tiles do not lead to its checkpoint proves nothing.
    log.edit(1, |entries| entries[48] = Record::new(1, RecordKind::Admin).to_leaf().unwrap());
    log.desk.fails("audit prove log --index 304 -o two", 1, "LOG_DAMAGED");
    log.edit(1, |entries| drop(entries.pop()));
    log.desk.fails("audit prove log --index 511 -o two", 1, "LOG_DAMAGED");
    fs::remove_file(log.at("tile/0/000")).unwrap();
    log.desk.fails("audit prove log --index 3 -o two", 1, "LOG_DAMAGED");
}

/// What docs/audit.md tells a third party to do, with libraries that are not ours.
#[test]
fn a_third_party_checks_a_proof_with_other_tools() {
    let log = Log::new();
    log.desk.done("audit prove log --index 304 -o one.tlog-proof");
    let verifier_key = log.complete(&log.key())["verifier_key"].as_str().unwrap().to_owned();

    let proof = String::from_utf8(log.desk.read("one.tlog-proof")).unwrap();
    let (head, note) = proof.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
    let record = STANDARD.decode(lines.next().unwrap().strip_prefix("extra ").unwrap()).unwrap();
    let index = lines.next().unwrap().strip_prefix("index ").unwrap().parse().unwrap();
    let hashes = lines.map(|line| tlog_tiles::Hash::parse_hash(line).unwrap()).collect();

    let verifier = signed_note::StandardVerifier::new(&verifier_key).unwrap();
    let note = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
    let (verified, _) = note.verify(&signed_note::VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!(verified[0].name(), log.origin.to_string());
    let head = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
    let leaf = tlog_tiles::record_hash(&record);
    tlog_tiles::check_record(&hashes, head.size(), *head.hash(), index, leaf).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["request"], RequestDigest::of(&304_u64.to_be_bytes()).to_string());
}
