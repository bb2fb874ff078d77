//! A node's audit log, exported and verified: whole and anchored over everything that a node does and over restarts; and
//! whatever is changed in it, in the folder or in the store's file, is found and named by its index.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use sealstone_attestation::audit::{Checkpoint, EntryBundle, Note};
use sealstone_swtpm_tests::Node;
use sealstone_swtpm_tests::node::Ran;
use sealstone_swtpm_tests::wait::until;
use serde_json::{Value, json};

const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// More than a whole bundle.
const SIGNATURES: u64 = 300;

fn records(node: &Node) -> Vec<Value> {
    let found = node.cli(&["audit", "query", "--all", "--json"]).expect(0).json();
    found["records"].as_array().unwrap().clone()
}

/// Waits until every record is under a signed head.
fn await_checkpoint(node: &Node) -> u64 {
    until("the newest record to be under a checkpoint", || {
        let answer = node.try_get("/v1/audit/log/checkpoint").filter(|answer| answer.status == 200)?;
        let note = Note::parse(&answer.body).unwrap();
        let head = Checkpoint::from_text(note.danger_unverified_text()).unwrap();
        (head.size == records(node).len() as u64).then_some(head.size)
    })
}

fn authority(node: &Node) -> String {
    let digest = node.cli(&["authority", "digest", "alice.pub", "--threshold", "1"]).expect(0);
    digest.stdout.trim().to_owned()
}

fn verify(node: &Node, folder: &str) -> Ran {
    let authority = authority(node);
    let evidence = ["--report", "evidence.json", "--nonce", NONCE, "--authority", &authority, "--json"];
    node.cli(&[&["audit", "verify", folder], &evidence[..]].concat())
}

fn attest_and_export(node: &Node, folder: &str) -> Value {
    let _ = await_checkpoint(node);
    let _ = node.cli(&["attest", "--nonce", NONCE, "-o", "evidence.json"]).expect(0);
    node.cli(&["audit", "export", folder, "--json"]).expect(0).json()
}

/// A node that did whatever nodes do without being broken.
fn busy() -> Node {
    let node = Node::ready();
    node.create_asset("treasury", "ES256");
    node.create_asset("old", "EdDSA");
    for nonce in 0..SIGNATURES {
        assert_eq!(node.sign("treasury", nonce, b"pay").status, 200);
    }
    assert_eq!(node.sign("treasury", 0, b"other").code(), "NONCE_ALREADY_USED");
    assert_eq!(node.api("POST", "/v1/assets/acme/treasury/rotate", &Value::Null).status, 200);
    assert_eq!(node.api("POST", "/v1/assets/acme/old/retire", &Value::Null).status, 200);
    let release = json!({"tenant": "acme", "asset": "treasury", "chain_id": 1, "from": 1, "to": 1, "reason": "re-organisation"});
    assert_eq!(node.api("POST", "/v1/nonces/release", &release).status, 200);
    assert_eq!(node.sign("treasury", 1, b"other").status, 200);
    // The manifest permits no digest, which only the enclave knows: what it reserved is given back.
    let digest = json!({"tenant": "acme", "asset": "treasury", "chain_id": 1, "nonce": 9_000, "digest": "11".repeat(32)});
    assert_eq!(node.api("POST", "/v1/sign", &digest).code(), "NOT_PERMITTED");
    node.edit("policy.toml", |text| format!("# another\n{text}"));
    let _ = node.cli(&["policy", "reload"]).expect(0);
    node
}

#[test]
fn everything_a_node_does_is_exported_verified_and_anchored_also_after_restarts() {
    let mut node = busy();
    let exported = attest_and_export(&node, "log");
    let size = exported["size"].as_u64().unwrap();
    let verdict = verify(&node, "log").expect(0).json();
    assert_eq!((&verdict["complete"], &verdict["signed"]), (&json!(true), &json!(true)), "{verdict}");
    assert_eq!(verdict["size"], size);
    assert!(verdict["anchored"]["size"].as_u64().unwrap() <= size, "{verdict}");
    assert_eq!(verdict["receipts"][0]["up_to"], SIGNATURES + 1, "{verdict}");

    // The evidence holds the newest checkpoint.
    let evidence: Value =
        serde_json::from_str(&std::fs::read_to_string(node.path("evidence.json")).unwrap()).unwrap();
    let in_evidence = hex::decode(evidence["checkpoint"].as_str().unwrap()).unwrap();
    let in_folder = std::fs::read(node.path("log/checkpoint")).unwrap();
    let head =
        |note: &[u8]| Checkpoint::from_text(Note::parse(note).unwrap().danger_unverified_text()).unwrap();
    assert_eq!(head(&in_evidence), head(&in_folder));

    // One signature is proved to whoever has only the report key.
    let request = node.sign("treasury", 7, b"pay").json()["request_digest"].as_str().unwrap().to_owned();
    let _ = node.cli(&["audit", "prove", "log", "--request", &request, "-o", "proof"]).expect(0);
    let key = verdict["verifier_key"].as_str().unwrap();
    let proved = node.cli(&["audit", "check-proof", "proof", "--key", key, "--json"]).expect(0);
    assert!(proved.stdout.contains(&request), "{proved:?}");

    // The same log goes on after agent and enclave were restarted, and what was exported is kept.
    node.kill_agent();
    node.kill_enclave();
    node.start_enclave();
    node.start_agent();
    node.await_ready(true);
    assert_eq!(node.sign("treasury", 5_000, b"pay").status, 200);
    let _ = node.cli(&["lock"]).expect(0);
    node.kill_agent();
    node.start_agent();
    node.await_ready(true);
    let again = attest_and_export(&node, "log");
    assert!(again["size"].as_u64().unwrap() > size && again["before"] == size, "{again}");
    assert!(again["kept"].as_u64().unwrap() >= 2, "the whole bundle and its tile: {again}");
    let verdict = verify(&node, "log").expect(0).json();
    assert_eq!(verdict["complete"], true, "{verdict}");

    let records = records(&node);
    let kinds: BTreeSet<&str> =
        records.iter().map(|entry| entry["record"]["kind"].as_str().unwrap()).collect();
    for kind in [
        "started",
        "policy_loaded",
        "attested",
        "manifest_applied",
        "asset_created",
        "asset_rotated",
        "asset_retired",
        "signed",
        "refused",
        "released",
        "nonces_released",
        "locked",
    ] {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
    let released = records.iter().find(|entry| entry["record"]["kind"] == "released").unwrap();
    assert_eq!(
        (&released["record"]["nonce"], &released["record"]["sender"]),
        (&json!(9_000), &json!("treasury"))
    );
    let status = node.cli(&["status", "--json"]).expect(0).json();
    assert!(status["log"]["size"].as_u64().unwrap() >= records.len() as u64, "{status}");
    assert_eq!(
        (&status["store"]["kind"], &status["store"]["version"]),
        (&json!("sqlite"), &json!(4)),
        "{status}"
    );
    // In a line each, and as one object whichever way it is asked for.
    let lines = node.cli(&["audit", "query", "--all"]).expect(0).stdout;
    assert_eq!(lines.lines().count(), records.len());
    let object = node.cli(&["audit", "query", "--all", "--format", "json"]).expect(0).json();
    assert_eq!(object["records"].as_array().unwrap().len(), records.len());
    // As a table, each record is a row.
    let _ = node.cli(&["audit", "query", "--all", "--format", "csv", "-o", "all.csv"]).expect(0);
    let table = std::fs::read_to_string(node.path("all.csv")).unwrap();
    assert_eq!(table.lines().count(), records.len() + 1);
    // Pages, in both orders, hold each record once.
    for order in ["", "&newest_first=true"] {
        let mut seen = BTreeSet::new();
        let mut after = String::new();
        loop {
            let page = node.try_get(&format!("/v1/audit?limit=100{order}{after}")).unwrap().json();
            for entry in page["records"].as_array().unwrap() {
                assert!(seen.insert(entry["index"].as_u64().unwrap()), "twice: {entry}");
            }
            let Some(next) = page.get("next") else { break };
            after = format!("&after={}", next.as_str().unwrap());
        }
        assert_eq!(seen.len(), records.len());
    }
    for path in [
        "tile/0/001",
        "tile/0/0",
        "tile/0/000.p/256",
        "tile/8/000",
        "tile/entries/x000/000",
        "tile/../status",
    ] {
        let answer = node.try_get(&format!("/v1/audit/log/{path}")).unwrap();
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    // What no record can have is a bad filter, not a fault of the store.
    for filter in ["tenant", "sender", "client", "code"] {
        let answer = node.try_get(&format!("/v1/audit?{filter}=a%00b")).unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (400, "BAD_REQUEST"), "{filter}: {answer:?}");
    }
}

#[test]
fn whatever_is_changed_in_the_folder_is_found_and_named_by_its_index() {
    let node = busy();
    let size = attest_and_export(&node, "log")["size"].as_u64().unwrap();
    let _ = verify(&node, "log").expect(0);
    let whole = std::fs::read(node.path("log/tile/entries/000")).unwrap();
    let (entries, _) = EntryBundle::split(&whole);
    let entries: Vec<Vec<u8>> = entries.into_iter().map(<[u8]>::to_vec).collect();
    assert_eq!(entries.len(), 256);
    let changed = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut changed = entries.clone();
        change(&mut changed);
        changed
    };
    let doctored = |entry: &[u8]| {
        String::from_utf8(entry.to_vec()).unwrap().replacen("\"time_ms\":1", "\"time_ms\":2", 1).into_bytes()
    };
    for (what, index, doctored) in [
        ("changed", 100, changed(&|entries| entries[100] = doctored(&entries[100]))),
        ("dropped", 100, changed(&|entries| drop(entries.remove(100)))),
        ("inserted", 100, changed(&|entries| entries.insert(100, entries[99].clone()))),
        ("re-ordered", 100, changed(&|entries| entries.swap(100, 101))),
        ("truncated", 255, changed(&|entries| drop(entries.pop()))),
    ] {
        let mut bytes = Vec::new();
        for entry in &doctored {
            EntryBundle::append(&mut bytes, entry).unwrap();
        }
        std::fs::write(node.path("log/tile/entries/000"), bytes).unwrap();
        let verdict = verify(&node, "log").expect(1).json();
        assert_eq!(verdict["complete"], false, "{what}");
        let flaws = verdict["flaws"].as_array().unwrap();
        assert!(flaws.iter().any(|flaw| flaw["index"] == index), "{what}: {flaws:?}");
    }
    std::fs::write(node.path("log/tile/entries/000"), &whole).unwrap();
    let _ = verify(&node, "log").expect(0);
    // The last records gone, and with them their files: the head says how many there are.
    let edge = format!("log/tile/entries/001.p/{}", size - 256);
    std::fs::remove_file(node.path(&edge)).unwrap();
    let verdict = verify(&node, "log").expect(1).json();
    assert!(verdict["flaws"].as_array().unwrap().iter().any(|flaw| flaw["index"] == 256), "{verdict}");
    // What is missing is brought again.
    let _ = node.cli(&["audit", "export", "log", "--json"]).expect(0);
    let _ = verify(&node, "log").expect(0);
}

/// Lets records be changed and moved, as whoever owns the machine may.
const OPEN: &str = "DROP TRIGGER audit_not_changed; DROP TRIGGER audit_not_deleted;";

/// Moves the records from an index on by one place, up or down. Two steps, so that no two ever have one index.
fn moved(from: u64, by: i64) -> String {
    format!(
        "UPDATE audit SET idx = idx + 1000000 WHERE idx >= {from}; \
         UPDATE audit SET idx = idx - 1000000 + {by} WHERE idx >= 1000000;"
    )
}

/// Puts a copy of one record at another, free index.
fn copied(from: &str, to: &str) -> String {
    let columns =
        "node, time_ms, kind, code, tenant, sender, client, request, key_id, epoch, leaf, leaf_hash";
    format!("INSERT INTO audit (idx, {columns}) SELECT {to}, {columns} FROM audit WHERE idx = {from};")
}

#[test]
fn whatever_is_changed_dropped_inserted_or_re_ordered_in_the_store_s_file_is_found_in_what_is_exported() {
    let mut node = busy();
    let _ = await_checkpoint(&node);
    let _ = node.cli(&["attest", "--nonce", NONCE, "-o", "evidence.json"]).expect(0);
    assert!(node.take_agent().terminate().success());
    let text = std::fs::read_to_string(node.path("agent.toml")).unwrap();
    let name = text.split("[store]").nth(1).and_then(|rest| rest.split("path = \"").nth(1)).unwrap();
    let store = node.path(name.split('"').next().unwrap());
    let whole = std::fs::read(&store).unwrap();
    let newest = "(SELECT max(idx) FROM audit)";
    // Each leaves as many records as there were, so that nothing but what they say shows it.
    for (what, doctored) in [
        (
            "changed",
            "UPDATE audit SET leaf = CAST(replace(CAST(leaf AS TEXT), '\"time_ms\":1', '\"time_ms\":2') AS BLOB) \
             WHERE idx = 100;"
                .to_owned(),
        ),
        (
            "dropped",
            ["DELETE FROM audit WHERE idx = 100;", &moved(101, -1), &copied(newest, &format!("{newest} + 1"))].concat(),
        ),
        (
            "inserted",
            [&moved(100, 1), &copied("99", "100"), "DELETE FROM audit WHERE idx = (SELECT max(idx) FROM audit);"].concat(),
        ),
        (
            "re-ordered",
            "UPDATE audit SET idx = 1000000 WHERE idx = 100; UPDATE audit SET idx = 100 WHERE idx = 101; \
             UPDATE audit SET idx = 101 WHERE idx = 1000000;"
                .to_owned(),
        ),
    ] {
        std::fs::write(&store, &whole).unwrap();
        sql(&store, &format!("{OPEN} {doctored}"));
        node.start_agent();
        let folder = format!("log-{what}");
        let _ = node.cli(&["audit", "export", &folder, "--json"]).expect(0);
        let verdict = verify(&node, &folder).expect(1).json();
        assert_eq!(verdict["complete"], false, "{what}: {verdict}");
        let flaws = verdict["flaws"].as_array().unwrap();
        assert!(flaws.iter().any(|flaw| flaw["index"] == 100), "{what}: {flaws:?}");
        node.kill_agent();
        for suffix in ["-wal", "-shm"] {
            let mut beside = store.clone().into_os_string();
            beside.push(suffix);
            let _ = std::fs::remove_file(beside);
        }
    }
    // Nothing of that is the machine's fault: what was there before is whole.
    std::fs::write(&store, &whole).unwrap();
    node.start_agent();
    node.await_ready(true);
    let _ = node.cli(&["audit", "export", "log", "--json"]).expect(0);
    let _ = verify(&node, "log").expect(0);
}

/// Runs SQL on a database that nobody else has open, as whoever owns the machine may.
fn sql(store: &Path, text: &str) {
    let ran = Command::new("sqlite3").arg(store).arg(text).output();
    let ran = ran
        .unwrap_or_else(|error| panic!("cannot start sqlite3: {error}; install it: apt-get install sqlite3"));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}
