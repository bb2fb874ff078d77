//! What operators do: they clear up reservations, release nonces, retire assets, change the rules; each act is in the
//! audit log, and a client of one tenant sees that tenant alone.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::process::Signal;
use sealstone_swtpm_tests::http::{self, Answer};
use sealstone_swtpm_tests::node::{Node, sign_body};
use sealstone_swtpm_tests::pki::{self, Authority, Flaw};
use sealstone_swtpm_tests::wait::until;
use serde_json::{Value, json};

/// Entries of the long sanctions list.
const LISTED: usize = 200_000;

fn open_reservations(node: &Node) -> Vec<Value> {
    let answer = node.try_get("/v1/reservations?state=reserved").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["reservations"].as_array().unwrap().clone()
}

fn records(node: &Node, kind: &str) -> Vec<Value> {
    let found = node.cli(&["audit", "query", "--kind", kind, "--all", "--json"]).expect(0).json();
    found["records"].as_array().unwrap().clone()
}

/// Asks for a signature that the enclave does not make before `meanwhile` is over: it stands still.
fn while_it_signs(node: &mut Node, nonces: &[u64], meanwhile: impl FnOnce(&mut Node)) -> Vec<Option<Answer>> {
    node.enclave().signal(Signal::STOP);
    let socket = node.socket();
    let asking: Vec<_> = nonces
        .iter()
        .map(|nonce| {
            let (socket, body) = (socket.clone(), sign_body("treasury", *nonce, b"pay").to_string());
            thread::spawn(move || http::request(&socket, "POST", "/v1/sign", body.as_bytes()).ok())
        })
        .collect();
    until("the nonces to be reserved", || (open_reservations(node).len() == nonces.len()).then_some(()));
    meanwhile(node);
    asking.into_iter().map(|asked| asked.join().unwrap()).collect()
}

#[test]
fn what_a_crash_left_open_is_resumed_by_its_request_or_voided_by_an_operator() {
    let mut node = Node::ready();
    node.create_asset("treasury", "ES256");
    let _ = while_it_signs(&mut node, &[1, 2], |node| {
        node.kill_agent();
        node.kill_enclave();
    });
    node.start_enclave();
    node.start_agent();
    node.await_ready(true);

    let open = node.cli(&["reservation", "list", "--state", "reserved", "--json"]).expect(0).json();
    let open = open["reservations"].as_array().unwrap();
    assert_eq!(open.len(), 2, "{open:?}");
    let id_of = |nonce: u64| {
        let found = open.iter().find(|reservation| reservation["nonce"] == nonce).unwrap();
        found["id"].as_u64().unwrap().to_string()
    };
    // The same request resumes its own.
    assert_eq!(node.sign("treasury", 1, b"pay").status, 200);
    // The other one is given up.
    let id = id_of(2);
    let void = |id: &str, reason: &str| node.cli(&["reservation", "void", id, "--reason", reason, "--json"]);
    let voided = void(&id, "the desk gave it up").expect(0).json();
    assert_eq!((&voided["state"], &voided["nonce"]), (&json!("voided"), &json!(2)), "{voided}");
    assert_eq!(node.sign("treasury", 2, b"pay").code(), "NONCE_VOIDED");
    assert_eq!(node.sign("treasury", 2, b"other").code(), "NONCE_ALREADY_USED");
    // Again, it is voided still, and not recorded twice.
    let _ = void(&id, "again").expect(0);
    let shown = node.cli(&["reservation", "show", &id, "--json"]).expect(0).json();
    assert_eq!(shown, voided);

    assert_eq!(void(&id_of(1), "too late").expect(1).json()["error"]["code"], "RESERVATION_CLOSED");
    assert_eq!(void("999999", "none").json()["error"]["code"], "RESERVATION_UNKNOWN");
    for (body, status) in [
        (json!({}), 400),
        (json!({"reason": ""}), 400),
        (json!({"reason": "x".repeat(141)}), 400),
        (json!({"reason": "r", "force": true}), 400),
    ] {
        let answer = node.api("POST", &format!("/v1/reservations/{id}/void"), &body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    let records = records(&node, "voided");
    assert_eq!(records.len(), 1, "{records:?}");
    let record = &records[0]["record"];
    assert_eq!((&record["nonce"], &record["tenant"]), (&json!(2), &json!("acme")));
    assert!(record["detail"].as_str().unwrap().contains("the desk gave it up"), "{record}");
}

#[test]
fn a_signature_that_comes_after_its_reservation_was_voided_is_given_to_nobody() {
    let mut node = Node::ready();
    node.create_asset("treasury", "ES256");
    let answers = while_it_signs(&mut node, &[1], |node| {
        let id = open_reservations(node)[0]["id"].as_u64().unwrap();
        let answer = node.api("POST", &format!("/v1/reservations/{id}/void"), &json!({"reason": "too slow"}));
        assert_eq!(answer.json()["state"], "voided", "{answer:?}");
        node.enclave().signal(Signal::CONT);
    });
    let answer = answers[0].as_ref().unwrap();
    assert_eq!(answer.code(), "NONCE_VOIDED", "{answer:?}");
    assert!(!String::from_utf8_lossy(&answer.body).contains("signature"), "{answer:?}");
    node.await_ready(true);
    assert_eq!(node.sign("treasury", 1, b"pay").code(), "NONCE_VOIDED");
    assert_eq!(node.sign("treasury", 2, b"pay").status, 200);
}

#[test]
fn nonces_that_a_chain_gave_back_sign_something_else_and_name_what_they_replace() {
    let mut node = Node::ready();
    node.create_asset("treasury", "ES256");
    for nonce in 1..=3 {
        assert_eq!(node.sign("treasury", nonce, b"pay").status, 200);
    }
    let release = |node: &Node, from: &str, to: &str| {
        let whose = ["nonces", "release", "--tenant", "acme", "--asset", "treasury", "--chain-id", "1"];
        let which = ["--from", from, "--to", to, "--reason", "re-organisation", "--json"];
        node.cli(&[&whose[..], &which].concat())
    };
    assert_eq!(node.sign("treasury", 1, b"other").code(), "NONCE_ALREADY_USED");
    let replaced = release(&node, "1", "2").expect(0).json()["replaced"].clone();
    assert_eq!(replaced.as_array().unwrap().len(), 2, "{replaced}");
    assert_eq!(node.sign("treasury", 1, b"other").status, 200);
    assert_eq!(node.sign("treasury", 3, b"other").code(), "NONCE_ALREADY_USED");
    let listed = node.cli(&["reservation", "list", "--tenant", "acme", "--asset", "treasury", "--json"]);
    let listed = listed.expect(0).json()["reservations"].as_array().unwrap().clone();
    let newest = listed.iter().find(|one| one["nonce"] == 1 && one["generation"] == 0).unwrap();
    assert_eq!(newest["replaces"], replaced[0], "{newest}");
    assert_eq!(listed.iter().filter(|one| one["state"] == "replaced").count(), 2);
    // What was replaced cannot be voided, and what is not taken is not released.
    let id = replaced[0].to_string();
    let _ = node.cli(&["reservation", "void", &id, "--reason", "r"]).expect(1);
    assert_eq!(release(&node, "100", "200").expect(0).json(), json!({"replaced": []}));
    assert_eq!(release(&node, "2", "1").expect(2).json()["error"]["code"], "BAD_REQUEST");
    // An open one may be signed yet.
    let answers = while_it_signs(&mut node, &[4], |node| {
        assert_eq!(release(node, "3", "4").expect(1).json()["error"]["code"], "RESERVATION_OPEN");
        node.enclave().signal(Signal::CONT);
    });
    assert_eq!(answers[0].as_ref().unwrap().status, 200);
    let records = records(&node, "nonces_released");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["record"]["detail"], "nonces 1 to 2: re-organisation");
}

#[test]
fn a_retired_asset_signs_nothing_new_and_its_keys_stay() {
    let node = Node::ready();
    let first = node.create_asset("treasury", "ES256");
    node.create_asset("hot", "EdDSA");
    let before = node.sign("treasury", 1, b"pay").json();
    let second =
        node.cli(&["asset", "rotate", "--tenant", "acme", "--asset", "treasury", "--json"]).expect(0);
    let retire = || node.cli(&["asset", "retire", "--tenant", "acme", "--asset", "treasury", "--json"]);
    let retired = retire().expect(0).json();
    assert!(retired["retired_at"].is_string(), "{retired}");
    assert_eq!(retire().expect(0).json(), retired, "again");
    assert_eq!(node.sign("treasury", 2, b"pay").code(), "ASSET_RETIRED");
    let dry = node.api("POST", "/v1/sign?dry_run=true", &sign_body("treasury", 2, b"pay")).json();
    assert_eq!((&dry["allowed"], &dry["reasons"][0]["code"]), (&json!(false), &json!("ASSET_RETIRED")));
    let old = json!({"tenant": "acme", "asset": "treasury", "chain_id": 1, "nonce": 2, "payload": "00", "epoch": 0});
    assert_eq!(node.api("POST", "/v1/sign", &old).code(), "ASSET_RETIRED");
    let rotate = node.cli(&["asset", "rotate", "--tenant", "acme", "--asset", "treasury", "--json"]);
    assert_eq!(rotate.expect(1).json()["error"]["code"], "ASSET_RETIRED");
    // What was signed is answered as before, and every key can be read.
    assert_eq!(node.sign("treasury", 1, b"pay").json(), before);
    let epochs = node.cli(&["asset", "epochs", "--tenant", "acme", "--asset", "treasury", "--json"]);
    let epochs = epochs.expect(0).json()["epochs"].as_array().unwrap().clone();
    let keys: Vec<&Value> = epochs.iter().map(|epoch| &epoch["public_key"]).collect();
    assert_eq!(keys, [&first["public_key"], &second.json()["public_key"]]);
    let key = node.try_get("/v1/keys/acme/treasury?epoch=0").unwrap().json();
    assert_eq!(key["public_key"], first["public_key"]);
    // Nothing that is retired is due, and what is due is rotated.
    let _ = node.cli(&["asset", "rotate", "--older-than", "0s", "--json"]).expect(0);
    until("the newest epochs to be a second old", || {
        let due = node.try_get("/v1/assets?older_than_s=1").unwrap().json();
        (due["assets"].as_array().unwrap().len() == 1).then_some(())
    });
    let rotated =
        node.cli(&["asset", "rotate", "--older-than", "1s", "--tenant", "acme", "--json"]).expect(0);
    let rotated = rotated.json();
    assert!(rotated["failed"].as_array().unwrap().is_empty(), "{rotated}");
    assert!(rotated["rotated"].as_array().unwrap().iter().all(|asset| asset["asset"] == "hot"), "{rotated}");
    assert_eq!(records(&node, "asset_retired").len(), 1);
}

#[test]
fn lists_come_in_pages_and_a_client_of_one_tenant_sees_that_tenant_alone() {
    let mut node = Node::init();
    let authority = Authority::new(&node.folder(), "clients");
    let server = authority.server("server");
    let section = format!(
        "[api.tls]\nlisten = \"127.0.0.1:0\"\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\n\n\
         [[access.client]]\nname = \"narrow\"\ncertificate = {{ uri = \"{}\" }}\nroles = [\"operator\", \"auditor\"]\n\
         tenants = [\"acme\"]\n\n[store]\n",
        server.certificate,
        server.key,
        authority.certificate,
        pki::uri("narrow")
    );
    node.edit("agent.toml", |text| text.replace("[store]\n", &section));
    node.start_enclave();
    node.start_agent();
    let _ = node.approve_first();
    node.await_ready(true);
    for (tenant, asset) in [("acme", "a"), ("acme", "b"), ("acme", "c"), ("acme;", "d"), ("zeta", "e")] {
        let body = json!({"tenant": tenant, "asset": asset, "algorithm": "EdDSA"});
        assert_eq!(node.api("POST", "/v1/assets", &body).status, 200);
    }
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    for _ in 0..10 {
        let page = node.try_get(&format!("/v1/assets{query}")).unwrap().json();
        seen.extend(page["assets"].as_array().unwrap().iter().map(|asset| asset["asset"].clone()));
        let Some(next) = page.get("next") else { break };
        let text = |name: &str| next[name].as_str().unwrap().replace(';', "%3B");
        query = format!("?limit=2&after_tenant={}&after_asset={}", text("after_tenant"), text("after_asset"));
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    for query in
        ["limit=0", "limit=1001", "limit=-1", "limit=x", "after_asset=a", "after_tenant=acme", "none=1"]
    {
        assert_eq!(node.try_get(&format!("/v1/assets?{query}")).unwrap().status, 400, "{query}");
    }
    for path in
        ["/v1/reservations?asset=a", "/v1/reservations?tenant=a&asset=b&session=c", "/v1/audit?after=0"]
    {
        assert_eq!(node.try_get(path).unwrap().status, 400, "{path}");
    }
    assert_eq!(node.api("POST", "/v1/sign", &sign_body("a", 1, b"pay")).status, 200);
    let other = json!({"tenant": "zeta", "asset": "e", "chain_id": 1, "nonce": 1, "payload": "00"});
    assert_eq!(node.api("POST", "/v1/sign", &other).status, 403, "no rule, but a record");

    let narrow = authority.client("narrow", Flaw::None);
    let log = std::fs::read_to_string(node.path("agent.log")).unwrap();
    let port = log.split("tls=\"127.0.0.1:").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let url = format!("https://localhost:{port}");
    let text = |path: &std::path::Path| path.display().to_string();
    let (certificate, key, ca) = (text(&narrow.certificate), text(&narrow.key), text(&authority.certificate));
    let ask = |arguments: &[&str]| {
        let through =
            ["--url", &url, "--tls-certificate", &certificate, "--tls-key", &key, "--tls-ca", &ca, "--json"];
        node.cli(&[&through[..], arguments].concat())
    };
    let assets = ask(&["asset", "list"]).expect(0).json();
    let tenants: Vec<&Value> =
        assets["assets"].as_array().unwrap().iter().map(|asset| &asset["tenant"]).collect();
    assert_eq!(tenants, ["acme"; 3]);
    let covers = json!({"every_tenant": false, "every_age": true, "from_start": true});
    let empty = json!({"assets": [], "covers": covers});
    assert_eq!(ask(&["asset", "list", "--tenant", "zeta"]).expect(0).json(), empty);
    let all = node.cli(&["audit", "query", "--all", "--json"]).expect(0).json()["records"].clone();
    assert!(all.as_array().unwrap().iter().any(|entry| entry["record"]["tenant"] == "zeta"), "{all}");
    let seen = ask(&["audit", "query", "--all"]).expect(0).json()["records"].clone();
    let seen = seen.as_array().unwrap();
    assert!(!seen.is_empty() && seen.iter().all(|entry| entry["record"]["tenant"] == "acme"), "{seen:?}");
    assert_eq!(ask(&["audit", "query", "--tenant", "zeta"]).expect(0).json(), json!({"records": []}));
    let reservations = ask(&["reservation", "list"]).expect(0).json()["reservations"].clone();
    assert!(reservations.as_array().unwrap().iter().all(|one| one["tenant"] == "acme"), "{reservations}");
    for refused in [
        &["audit", "export", "exported"][..],
        &["asset", "retire", "--tenant", "zeta", "--asset", "e"],
        &["asset", "epochs", "--tenant", "zeta", "--asset", "e"],
        &["policy", "reload"],
    ] {
        assert_eq!(ask(refused).expect(1).json()["error"]["code"], "FORBIDDEN", "{refused:?}");
    }
}

#[test]
fn a_long_sanctions_list_is_swapped_without_one_failed_request_and_a_wrong_one_changes_nothing() {
    let mut node = Node::init();
    let write_list = |count: usize, name: &str| {
        let mut text = String::new();
        for number in 0..count {
            writeln!(text, "0x{number:040x}").unwrap();
        }
        std::fs::write(node.path("addresses.csv"), text).unwrap();
        let _ = node.cli(&["policy", "sanctions", "import", "addresses.csv", "-o", name, "--json"]).expect(0);
    };
    write_list(10, "short.list");
    write_list(LISTED, "long.list");
    std::fs::copy(node.path("short.list"), node.path("sanctions.list")).unwrap();
    node.edit("agent.toml", |text| text.replace("[policy]\n", "[policy]\nsanctions = \"sanctions.list\"\n"));
    node.start_enclave();
    node.start_agent();
    let _ = node.approve_first();
    node.await_ready(true);
    node.create_asset("treasury", "EdDSA");
    let count =
        |node: &Node| node.cli(&["policy", "show", "--json"]).expect(0).json()["sanctions"]["count"].clone();
    assert_eq!(count(&node), 10);

    let (over, signed) = (AtomicBool::new(false), AtomicU64::new(0));
    let socket = node.socket();
    thread::scope(|scope| {
        let signer = scope.spawn(|| {
            let mut nonce = 0;
            while !over.load(Ordering::Relaxed) {
                let body = sign_body("treasury", nonce, b"pay").to_string();
                let answer = http::request(&socket, "POST", "/v1/sign", body.as_bytes()).unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
                nonce += 1;
                signed.store(nonce, Ordering::Relaxed);
            }
        });
        for (file, entries) in [("long.list", LISTED), ("short.list", 10), ("long.list", LISTED)] {
            let before = signed.load(Ordering::Relaxed);
            std::fs::copy(node.path(file), node.path("sanctions.list")).unwrap();
            let reloaded = node.cli(&["policy", "reload", "--json"]).expect(0).json();
            assert_eq!(reloaded["replaced"], json!(["sanctions"]), "{reloaded}");
            assert_eq!(reloaded["policy"]["sanctions"]["count"], entries);
            until("signatures after the swap", || (signed.load(Ordering::Relaxed) > before).then_some(()));
        }
        // Nothing new is no change.
        let same = node.cli(&["policy", "reload", "--json"]).expect(0).json();
        assert_eq!(same["replaced"], json!([]), "{same}");
        let in_force = same["policy"].clone();
        let good = std::fs::read(node.path("sanctions.list")).unwrap();
        let cut = good[..good.len() - 1].to_vec();
        let mut flipped = good.clone();
        flipped[1000] ^= 1;
        for (what, bytes) in
            [("empty", Vec::new()), ("text", b"hello".to_vec()), ("cut", cut), ("flipped", flipped)]
        {
            std::fs::write(node.path("sanctions.list"), bytes).unwrap();
            let refused = node.cli(&["policy", "reload", "--json"]);
            assert_eq!(refused.json()["error"]["code"], "RULES_REFUSED", "{what}: {refused:?}");
            assert_eq!(node.cli(&["policy", "show", "--json"]).expect(0).json(), in_force, "{what}");
        }
        std::fs::write(node.path("sanctions.list"), &good).unwrap();
        over.store(true, Ordering::Relaxed);
        signer.join().unwrap();
    });
    // The signal does the same.
    std::fs::copy(node.path("short.list"), node.path("sanctions.list")).unwrap();
    node.agent().signal(Signal::HUP);
    until("the signal to be obeyed", || (count(&node) == 10).then_some(()));
    // A policy that is none changes nothing either.
    node.edit("policy.toml", |text| format!("{text}\nnonsense = true\n"));
    node.agent().signal(Signal::HUP);
    let log = node.path("agent.log");
    until("the agent to refuse", || {
        std::fs::read_to_string(&log).unwrap().contains("nothing was reloaded").then_some(())
    });
    assert_eq!(node.sign("treasury", 1 << 40, b"pay").status, 200);
    let loaded = records(&node, "sanctions_loaded");
    assert_eq!(loaded.len(), 5, "at start, three by request, one by signal: {loaded:?}");
    assert_eq!(loaded.iter().filter(|entry| entry["record"].get("client").is_some()).count(), 3);
}
