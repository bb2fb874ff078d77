//! Copies of the store: taken while the node signs, opened by their recipients only, put back only where no store is,
//! and refused by the agent when the enclave has signed since.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;
use sealstone_agent::config::store::StoreConfig;
use sealstone_agent::store::{PAGE_MAX, Reservation, ReservationQuery, Store};
use sealstone_swtpm_tests::process::{Running, binary};
use sealstone_swtpm_tests::wait::until;
use sealstone_swtpm_tests::{Node, Postgres};
use serde_json::json;

/// How a SQLite database and an archive of `pg_dump` begin.
const SQLITE: &[u8] = b"SQLite format 3\0";
const POSTGRES: &[u8] = b"PGDMP";

/// A node with its store, and a place where a second one can be.
struct Place {
    // Before the server, which it uses.
    node: Node,
    server: Option<Postgres>,
}

impl Place {
    fn sqlite() -> Self {
        Self { node: Node::ready(), server: None }
    }

    fn postgres() -> Self {
        let server = Postgres::start();
        let mut node = Node::init();
        let url = format!("url = \"{}\"", server.url());
        node.edit("agent.toml", |text| text.replace("path = \"agent.db\"", &url));
        assert!(fs::read_to_string(node.path("agent.toml")).unwrap().contains(&url));
        node.start_enclave();
        node.start_agent();
        let _ = node.approve_first();
        node.await_ready(true);
        Self { node, server: Some(server) }
    }

    /// A configuration whose store is another, of this name, which is not there yet.
    fn elsewhere(&self, name: &str) -> String {
        let own = fs::read_to_string(self.node.path("agent.toml")).unwrap();
        let text = match &self.server {
            None => own.replace("path = \"agent.db\"", &format!("path = \"{name}.db\"")),
            Some(server) => {
                server.sql("postgres", &format!("CREATE DATABASE {name}"));
                own.replace(&server.url(), &server.url_of(sealstone_swtpm_tests::postgres::OWNER, name))
            }
        };
        let file = format!("{}.toml", name.replace('/', "-"));
        fs::write(self.node.path(&file), text).unwrap();
        file
    }

    /// Whether there is no store of that name, nor a part of one.
    fn is_empty(&self, name: &str) -> bool {
        match &self.server {
            None => ["", "-wal", ".partial"]
                .iter()
                .all(|suffix| !self.node.path(&format!("{name}.db{suffix}")).exists()),
            Some(server) => {
                let sql = "SELECT count(*) FROM pg_namespace WHERE nspname = 'sealstone'";
                server.sql(name, sql) == "0"
            }
        }
    }

    async fn store(&self, name: &str) -> Store {
        let config = match &self.server {
            None => StoreConfig::sqlite(self.node.path(&format!("{name}.db"))),
            Some(server) => {
                let url = server.url_of(sealstone_swtpm_tests::postgres::OWNER, name);
                StoreConfig::postgres(&url, None, None).unwrap()
            }
        };
        Store::open(&config, self.node.name()).await.unwrap()
    }

    /// The name of the node's own store.
    fn own(&self) -> &'static str {
        if self.server.is_some() { "keys" } else { "agent" }
    }

    fn magic(&self) -> &'static [u8] {
        if self.server.is_some() { POSTGRES } else { SQLITE }
    }

    /// Takes the node's store away, as a lost disk does, and puts the copy in its place.
    fn replace(&self, copy: &str, identity: &str) {
        match &self.server {
            None => {
                for suffix in ["", "-wal", "-shm"] {
                    let _ = fs::remove_file(self.node.path(&format!("agent.db{suffix}")));
                }
            }
            Some(server) => drop(server.sql("keys", "DROP SCHEMA sealstone CASCADE")),
        }
        let restored = agent(&self.node, "agent.toml", &["--restore", copy, "--identity", identity]);
        assert_eq!(restored.0, 0, "{}", restored.1);
    }
}

/// Runs the agent to its end: its exit code, and what it said.
fn agent(node: &Node, config: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(binary("sealstone-agent"));
    command.arg("--config").arg(node.path(config)).args(arguments).current_dir(node.folder());
    said(&command.output().unwrap())
}

fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// A new age identity in a file of the node; its recipient.
fn identity(node: &Node, name: &str) -> String {
    let made = run("age-keygen", &["-o", name], &node.folder());
    assert!(made.status.success(), "{made:?}");
    let shown = run("age-keygen", &["-y", name], &node.folder());
    String::from_utf8(shown.stdout).unwrap().trim().to_owned()
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Output {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    output.unwrap_or_else(|error| panic!("cannot run {program}: {error}; install it: apt-get install age"))
}

fn backup(node: &Node, out: &str, recipient: &str) {
    let made = agent(node, "agent.toml", &["--backup", out, "--recipient", recipient]);
    assert_eq!(made.0, 0, "{}", made.1);
    assert!(!node.path(&format!("{out}.partial")).exists());
    assert_eq!(fs::metadata(node.path(out)).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Everything of the log and each reservation.
async fn contents(store: &Store) -> (Vec<Vec<u8>>, Vec<Reservation>) {
    let mut leaves = Vec::new();
    loop {
        let page = store.audit_leaves(leaves.len().try_into().unwrap(), PAGE_MAX).await.unwrap();
        if page.is_empty() {
            break;
        }
        leaves.extend(page);
    }
    let mut reservations: Vec<Reservation> = Vec::new();
    loop {
        let after = reservations.last().map(|last| last.id);
        let query = ReservationQuery { after, ..ReservationQuery::default() };
        let page = store.reservations(&query, PAGE_MAX).await.unwrap();
        if page.is_empty() {
            return (leaves, reservations);
        }
        reservations.extend(page);
    }
}

macro_rules! on_both {
    ($(#[$about:meta])* fn $name:ident($place:ident) $body:block) => {
        mod $name {
            use super::*;

            $(#[$about])*
            fn story($place: Place) $body

            #[test]
            fn on_sqlite() {
                story(Place::sqlite());
            }

            #[test]
            fn on_postgresql() {
                story(Place::postgres());
            }
        }
    };
}

on_both! {
    fn a_copy_taken_under_load_is_of_one_moment_and_one_at_rest_is_equal(place) {
        let mut place = place;
        let node = &mut place.node;
        node.create_asset("treasury", "ES256");
        let (own, other) = (identity(node, "own.key"), identity(node, "other.key"));
        let (stop, signed) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (node, stop, signed) = (&*node, &stop, &signed);
                scope.spawn(move || {
                    let mut nonce = worker;
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(node.sign("treasury", nonce, b"load").status, 200);
                        signed.fetch_add(1, Ordering::Relaxed);
                        nonce += 4;
                    }
                });
            }
            let wait = |more: u64| {
                let from = signed.load(Ordering::Relaxed);
                until("signatures", || (signed.load(Ordering::Relaxed) >= from + more).then_some(()));
            };
            wait(40);
            let both = ["--backup", "load.age", "--recipient", &own, "--recipient", &other];
            let made = agent(node, "agent.toml", &both);
            assert_eq!(made.0, 0, "{}", made.1);
            wait(40);
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(node.take_agent().terminate().code(), Some(0));
        backup(node, "rest.age", &own);

        let sealed = fs::read(node.path("rest.age")).unwrap();
        for plain in [SQLITE, POSTGRES, b"treasury"] {
            assert!(!sealed.windows(plain.len()).any(|window| window == plain));
        }
        // Each recipient alone opens it; the first time by age itself.
        let plain = run("age", &["-d", "-i", "other.key", "load.age"], &place.node.folder());
        assert!(plain.status.success() && plain.stdout.starts_with(place.magic()), "{:?}", plain.stderr);
        for (name, copy, key) in [("loaded", "load.age", "other.key"), ("rested", "rest.age", "own.key")] {
            let config = place.elsewhere(name);
            let restored = agent(&place.node, &config, &["--restore", copy, "--identity", key]);
            assert_eq!(restored.0, 0, "{}", restored.1);
        }
        if place.server.is_none() {
            assert!(fs::read(place.node.path("loaded.db")).unwrap() == plain.stdout);
            let check = Command::new("sqlite3")
                .arg(place.node.path("loaded.db"))
                .arg("PRAGMA integrity_check; PRAGMA foreign_key_check;")
                .output()
                .unwrap_or_else(|error| panic!("{error}; install it: apt-get install sqlite3"));
            assert_eq!(String::from_utf8_lossy(&check.stdout), "ok\n", "{check:?}");
        }

        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let mut found = Vec::new();
            for name in [place.own(), "loaded", "rested"] {
                let store = place.store(name).await;
                found.push(contents(&store).await);
                store.close().await;
            }
            let (own, loaded, rested) = (&found[0], &found[1], &found[2]);
            assert!(own == rested && !own.0.is_empty() && !own.1.is_empty());
            // The log up to a moment; and of each reservation what it was then.
            assert!(loaded.0.len() > 40 && loaded.0.len() < own.0.len() && own.0.starts_with(&loaded.0));
            assert!(loaded.1.len() >= 40 && loaded.1.len() < own.1.len());
            for (then, now) in loaded.1.iter().zip(&own.1) {
                assert!(then.id == now.id && (then.receipt == now.receipt || then.receipt.is_none()));
            }
        });
    }
}

on_both! {
    fn what_is_wrong_is_named_and_nothing_is_left_of_it(place) {
        let mut place = place;
        place.node.create_asset("treasury", "ES256");
        assert_eq!(place.node.sign("treasury", 1, b"x").status, 200);
        assert_eq!(place.node.take_agent().terminate().code(), Some(0));
        let node = &place.node;
        let own = identity(node, "own.key");
        identity(node, "foreign.key");
        let refused = |config: &str, arguments: &[&str], expected: &str| {
            let (code, said) = agent(node, config, arguments);
            assert!(code == 2 && said.contains(expected), "{arguments:?}: {code} {said}");
        };
        backup(node, "copy.age", &own);
        let good = fs::read(node.path("copy.age")).unwrap();
        refused("agent.toml", &["--backup", "x.age"], "--recipient");
        refused("agent.toml", &["--backup", "x.age", "--recipient", "age1nobody"], "expected an age recipient");
        refused("agent.toml", &["--backup", "copy.age", "--recipient", &own], "expected no file \"copy.age\", found one");
        refused("agent.toml", &["--backup", "none/x.age", "--recipient", &own], "cannot write \"none/x.age.partial\"");
        refused("agent.toml", &["--restore", "copy.age", "--identity", "own.key"], "expected no store at");
        assert_eq!(fs::read(node.path("copy.age")).unwrap(), good);

        let config = place.elsewhere("second");
        let restore = |copy: &str, key: &str, expected: &str| {
            refused(&config, &["--restore", copy, "--identity", key], expected);
            // A server ends the transaction of a program that was ended when it finds out.
            until("nothing to be left", || place.is_empty("second").then_some(()));
        };
        restore("copy.age", "foreign.key", "found that it was made for others");
        restore("copy.age", "alice.key", "expected an age identity");
        restore("copy.age", "none.key", "cannot read \"none.key\"");
        restore("none.age", "own.key", "cannot read \"none.age\"");
        let header = good.windows(5).position(|window| window == b"\n--- ").unwrap() + 49;
        let mut damaged: Vec<Vec<u8>> =
            [header + 16, header + 100, good.len() / 2, good.len() - 17, good.len() - 1]
                .map(|length| good[..length].to_vec())
                .into();
        for at in [header - 10, header + 20, good.len() / 2, good.len() - 1] {
            let mut changed = good.clone();
            changed[at] ^= 1;
            damaged.push(changed);
        }
        damaged.push([&good[..], b"x"].concat());
        for bytes in damaged {
            fs::write(node.path("bad.age"), bytes).unwrap();
            restore("bad.age", "own.key", "\"bad.age\"");
        }
        for (bytes, expected) in [(&b"hello"[..], "a file that age does not read"), (b"", "a file that age does not read")] {
            fs::write(node.path("bad.age"), bytes).unwrap();
            restore("bad.age", "own.key", expected);
        }
        // A copy of something else, which age made.
        for (text, expected) in [(&b"hello"[..], "found one of something else"), (b"SQLite format 3\0", "a SQLite store"), (b"PGDMP", "a PostgreSQL store")] {
            if text == place.magic() {
                continue;
            }
            fs::write(node.path("text"), text).unwrap();
            let _ = fs::remove_file(node.path("bad.age"));
            assert!(run("age", &["-r", &own, "-o", "bad.age", "text"], &node.folder()).status.success());
            restore("bad.age", "own.key", expected);
        }
        let (code, said) = agent(node, &config, &["--restore", "copy.age", "--identity", "own.key"]);
        assert_eq!(code, 0, "{said}");
        refused(&config, &["--restore", "copy.age", "--identity", "own.key"], "expected no store at");
        if let Some(server) = &place.server {
            server.sql("postgres", "CREATE ROLE stranger LOGIN");
            let url = server.url();
            let theirs = server.url_of("stranger", "keys");
            node.edit("agent.toml", |text| text.replace(&url, &theirs));
            refused("agent.toml", &["--backup", "x.age", "--recipient", &own], "pg_dump failed");
            assert!(!node.path("x.age").exists() && !node.path("x.age.partial").exists());
        }
    }
}

on_both! {
    fn a_full_disk_leaves_no_half_file(place) {
        let node = &place.node;
        let own = identity(node, "own.key");
        backup(node, "copy.age", &own);
        fs::create_dir(node.path("small")).unwrap();
        let (code, said) = on_a_small_disk(node, "agent.toml", &["--backup", "small/x.age", "--recipient", &own]);
        assert!(code == 2 && said.contains("the disk that holds \"small/x.age.partial\" is full"), "{said}");
        assert!(said.contains("left: []"), "{said}");
        if place.server.is_none() {
            let config = place.elsewhere("small/second");
            let (code, said) = on_a_small_disk(node, &config, &["--restore", "copy.age", "--identity", "own.key"]);
            assert!(code == 2 && said.contains("is full") && said.contains("left: [second.db.lock]"), "{said}");
        }
    }
}

/// Runs the agent while the node's folder `small` is a disk of four pages; then says what is left there.
fn on_a_small_disk(node: &Node, config: &str, arguments: &[&str]) -> (i32, String) {
    let script = "mount -t tmpfs -o size=16k none small && \"$@\"; code=$?; echo \"left: [$(ls -A small)]\"; exit $code";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command.arg(binary("sealstone-agent")).arg("--config").arg(node.path(config)).args(arguments);
    said(&command.current_dir(node.folder()).output().unwrap())
}

on_both! {
    fn a_store_restored_from_before_a_signature_signs_nothing_until_somebody_answers_for_it(place) {
        let mut place = place;
        place.node.create_asset("treasury", "ES256");
        let before = place.node.sign("treasury", 1, b"before");
        assert_eq!(before.status, 200, "{before:?}");
        let own = identity(&place.node, "own.key");
        backup(&place.node, "copy.age", &own);
        // Nothing was signed since: it is as good as the store.
        assert_eq!(place.node.take_agent().terminate().code(), Some(0));
        place.replace("copy.age", "own.key");
        place.node.start_agent();
        place.node.await_ready(true);
        assert_eq!(place.node.sign("treasury", 1, b"before").json(), before.json());

        assert_eq!(place.node.sign("treasury", 2, b"since").status, 200);
        assert_eq!(place.node.take_agent().terminate().code(), Some(0));
        place.replace("copy.age", "own.key");
        place.node.start_agent();
        until("the verdict", || {
            let answer = place.node.sign("treasury", 2, b"another payload");
            assert_ne!(answer.status, 200, "{answer:?}");
            (answer.code() == "STORE_ROLLED_BACK").then_some(())
        });
        assert_eq!(place.node.take_agent().terminate().code(), Some(0));
        let accepting = Running::start(
            Command::new(binary("sealstone-agent"))
                .arg("--danger-accept-lost-receipts")
                .arg("--config")
                .arg(place.node.path("agent.toml")),
            &place.node.path("agent.log"),
            "nothing: it is built here",
        );
        place.node.await_ready(true);
        assert_eq!(place.node.sign("treasury", 3, b"accepted").status, 200);
        assert_eq!(accepting.terminate().code(), Some(0));
    }
}

on_both! {
    /// The copy has the reservation, and the enclave still has its receipt: nothing is lost.
    fn a_restored_store_is_completed_with_receipts_that_the_enclave_still_has(place) {
        let mut place = place;
        place.node.create_asset("treasury", "ES256");
        assert_eq!(place.node.sign("treasury", 1, b"before").status, 200);
        let own = identity(&place.node, "own.key");
        let node = &mut place.node;
        node.enclave().signal(Signal::STOP);
        let node = &place.node;
        let signed = std::thread::scope(|scope| {
            let asked = scope.spawn(|| node.sign("treasury", 2, b"under way"));
            until("the reservation", || {
                let reserved = json!(node.try_get("/v1/status")?.json()["reservations"]["reserved"]);
                (reserved == json!(1)).then_some(())
            });
            backup(node, "copy.age", &own);
            let pid = rustix::process::Pid::from_raw(node.enclave_pid().try_into().unwrap()).unwrap();
            rustix::process::kill_process(pid, Signal::CONT).unwrap();
            asked.join().unwrap()
        });
        // The answer, whether it was in time or not, is found again by the same request.
        let signed = if signed.status == 200 {
            signed
        } else {
            until("the signature", || {
                let again = place.node.sign("treasury", 2, b"under way");
                (again.status == 200).then_some(again)
            })
        };
        assert_eq!(place.node.take_agent().terminate().code(), Some(0));
        place.replace("copy.age", "own.key");
        place.node.start_agent();
        place.node.await_ready(true);
        let again = place.node.sign("treasury", 2, b"under way");
        assert_eq!((again.status, &again.json()["signature"]), (200, &signed.json()["signature"]), "{again:?}");
        assert_eq!(place.node.sign("treasury", 2, b"another").code(), "NONCE_ALREADY_USED");
        assert_eq!(place.node.sign("treasury", 3, b"since").status, 200);
    }
}

#[test]
fn a_stores_file_that_is_none_is_not_copied() {
    let node = Node::init();
    let own = identity(&node, "own.key");
    let refused = |expected: &str| {
        let (code, said) = agent(&node, "agent.toml", &["--backup", "x.age", "--recipient", &own]);
        assert!(code == 2 && said.contains(expected), "{said}");
        assert!(!node.path("x.age").exists() && !node.path("x.age.partial").exists());
    };
    refused("cannot open the store");
    assert!(!node.path("agent.db").exists());
    File::create(node.path("agent.db")).unwrap();
    refused("expected a Sealstone store");
    fs::write(node.path("agent.db"), "hello, this is no database at all").unwrap();
    refused("expected a Sealstone store");
}
