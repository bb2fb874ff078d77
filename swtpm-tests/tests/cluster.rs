//! Three nodes of one deployment, each with its own enclave, on one PostgreSQL.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sealstone_swtpm_tests::cluster::Cluster;
use sealstone_swtpm_tests::http::Answer;
use sealstone_swtpm_tests::node::sign_body;
use sealstone_swtpm_tests::wait::until;
use sealstone_swtpm_tests::{Node, PgBouncer, Postgres};
use serde_json::{Value, json};

/// As many as the agents have between them in flight at once.
const AT_ONCE: usize = 64;

fn on(url: &str) -> impl Fn(&Node) + '_ {
    move |node| {
        node.edit("agent.toml", |text| text.replace("path = \"agent.db\"", &format!("url = \"{url}\"")))
    }
}

/// Everything at once, each request through the next node; the answers in the order of the requests.
fn at_once(cluster: &Cluster, bodies: &[(&str, &str, Value)]) -> Vec<Answer> {
    let barrier = Barrier::new(bodies.len());
    thread::scope(|scope| {
        let asked: Vec<_> = bodies
            .iter()
            .zip(cluster.nodes.iter().cycle())
            .map(|((method, path, body), node)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    node.api(method, path, body)
                })
            })
            .collect();
        asked.into_iter().map(|asked| asked.join().expect("it was answered")).collect()
    })
}

fn codes(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut codes = BTreeMap::new();
    for answer in answers {
        let code = if answer.status == 200 { "OK".to_owned() } else { text(&answer.json()["code"]) };
        *codes.entry(code).or_default() += 1;
    }
    codes
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn sign(asset: &str, nonce: u64, payload: &str) -> (&'static str, &'static str, Value) {
    ("POST", "/v1/sign", sign_body(asset, nonce, payload.as_bytes()))
}

/// Whatever the agents do at once, one nonce signs one payload, and the deployment has one log of it.
#[test]
fn one_nonce_signs_one_payload_whoever_asks_for_it_where() {
    let postgres = Postgres::start();
    let pooler = PgBouncer::before(&postgres);
    // Two directly and one through a pooler that gives each transaction another server connection.
    let direct = postgres.url();
    let pooled = pooler.url();
    let cluster = Cluster::ready(3, |node| {
        let url = if node.name() == "node-3" { &pooled } else { &direct };
        on(url)(node);
    });
    let [first, second, third] = &cluster.nodes[..] else { panic!("three nodes") };
    let created = first.create_asset("hot", "ES256K");
    assert_eq!(second.create_asset("hot", "ES256K")["public_key"], created["public_key"]);

    // Another payload in each request.
    let different: Vec<_> = (0..AT_ONCE).map(|number| sign("hot", 1, &format!("pay {number}"))).collect();
    let answers = at_once(&cluster, &different);
    let expected = BTreeMap::from([("OK".to_owned(), 1), ("NONCE_ALREADY_USED".to_owned(), AT_ONCE - 1)]);
    assert_eq!(codes(&answers), expected);
    let winner = answers.iter().position(|answer| answer.status == 200).expect("one was signed");
    let signature = answers[winner].json()["signature"].clone();
    for node in &cluster.nodes {
        let again = node.api("POST", "/v1/sign", &different[winner].2);
        assert_eq!((again.status, &again.json()["signature"]), (200, &signature));
    }

    // The same payload in each.
    let same: Vec<_> = (0..AT_ONCE).map(|_| sign("hot", 2, "pay bob")).collect();
    let answers = at_once(&cluster, &same);
    assert_eq!(codes(&answers), BTreeMap::from([("OK".to_owned(), AT_ONCE)]));
    let signature = &answers[0].json()["signature"];
    assert!(answers.iter().all(|answer| answer.json()["signature"] == *signature));

    // Rotations: one begins the epoch, and every node signs with it from then on.
    let rotations = vec![("POST", "/v1/assets/acme/hot/rotate", Value::Null); 3];
    let answers = at_once(&cluster, &rotations);
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(won >= 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.status, text(&answer.json()["code"])), (409, "ROTATION_CONFLICT".to_owned()));
    }
    let epochs: Vec<Value> = [(first, 3), (second, 4), (third, 5)]
        .map(|(node, nonce)| node.sign("hot", nonce, b"pay").json()["epoch"].clone())
        .to_vec();
    assert!(epochs.iter().all(|epoch| *epoch == json!(won)), "{epochs:?} after {won} rotations");

    // Each node has a log of its own without a gap, and its enclave signed the head.
    let rows = "SELECT n.name || ' ' || (count(*) = max(a.idx) + 1) FROM sealstone.audit a \
                JOIN sealstone.nodes n ON n.number = a.node GROUP BY n.name ORDER BY 1";
    assert_eq!(postgres.sql("keys", rows).trim(), "node-1 true\nnode-2 true\nnode-3 true");
    until("every log's head to be signed", || {
        let behind = "SELECT count(*) FROM sealstone.nodes n WHERE n.audit_size > \
                      (SELECT coalesce(max(size), 0) FROM sealstone.checkpoints c WHERE c.node = n.number)";
        (postgres.sql("keys", behind).trim() == "0").then_some(())
    });
}

/// The database crashes while three agents sign: what was answered stays, what was not is answered to who asks again.
#[test]
fn a_database_that_crashes_under_load_loses_nothing_and_repeats_nothing() {
    const EACH: u64 = 40;
    let mut postgres = Postgres::start();
    let url = postgres.url();
    let cluster = Cluster::ready(3, on(&url));
    let _ = cluster.nodes[0].create_asset("hot", "EdDSA");
    let made = AtomicUsize::new(0);
    let signatures: Vec<Value> = thread::scope(|scope| {
        let made = &made;
        let workers: Vec<_> = cluster
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| {
                scope.spawn(move || {
                    let first = index as u64 * EACH;
                    (first..first + EACH)
                        .map(|nonce| {
                            let signature = until("the signature", || {
                                let answer = node.sign("hot", nonce, format!("pay {nonce}").as_bytes());
                                assert!(answer.status == 200 || answer.status >= 500, "{answer:?}");
                                (answer.status == 200).then(|| answer.json()["signature"].clone())
                            });
                            made.fetch_add(1, Ordering::SeqCst);
                            signature
                        })
                        .collect::<Vec<Value>>()
                })
            })
            .collect();
        for so_many in [20, 60] {
            until("some signatures", || (made.load(Ordering::SeqCst) >= so_many).then_some(()));
            postgres.crash();
            postgres.power_on();
        }
        workers.into_iter().flat_map(|worker| worker.join().expect("it signed")).collect()
    });
    for (nonce, signature) in (0..).zip(&signatures) {
        let node = &cluster.nodes[0];
        let again = node.sign("hot", nonce, format!("pay {nonce}").as_bytes());
        assert_eq!((again.status, &again.json()["signature"]), (200, signature), "{nonce}");
        assert_eq!(node.sign("hot", nonce, b"another").json()["code"], json!("NONCE_ALREADY_USED"));
    }
}
