//! Clients that send too much, too slowly, half, at once or too late: each is told so, and a node with everything
//! behind it signs on, each nonce once.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sealstone_swtpm_tests::Node;
use sealstone_swtpm_tests::http::{self, Answer};
use sealstone_swtpm_tests::node::sign_body;
use sealstone_swtpm_tests::wait::{PATIENCE, until};
use serde_json::Value;

/// Clients at once; the agent admits 256.
const CLIENTS: u64 = 200;

fn ready() -> Node {
    let node = Node::ready();
    node.create_asset("treasury", "ES256");
    node
}

fn open(node: &Node) -> UnixStream {
    let stream = UnixStream::connect(node.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn head(path: &str, fields: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\ncontent-type: application/json\r\n{fields}\r\n")
        .into_bytes()
}

/// What came back: the status code, or 0 when nothing did.
fn status_of(stream: &mut UnixStream) -> u16 {
    let mut bytes = Vec::new();
    // The agent may close before it has read everything; what it said before that counts.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

fn request(node: &Node, body: &Value) -> Answer {
    node.api("POST", "/v1/sign", body)
}

/// Sends each body from a client of its own, all at once; who is told to come again, does.
fn at_once(node: &Node, bodies: &[Value]) -> Vec<Answer> {
    let socket = node.socket();
    thread::scope(|scope| {
        let clients: Vec<_> = bodies
            .iter()
            .map(|body| {
                let (socket, body) = (&socket, body.to_string());
                scope.spawn(move || {
                    until("a free place", || {
                        let answer = http::request(socket, "POST", "/v1/sign", body.as_bytes()).unwrap();
                        let crowded = matches!(
                            (answer.status, answer.code().as_str()),
                            (503, "OVERLOADED") | (429, "RATE_LIMITED")
                        );
                        (!crowded).then_some(answer)
                    })
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn too_much_is_refused_without_being_read() {
    let node = ready();
    let cases: Vec<(&str, Vec<u8>, &[u16])> = vec![
        (
            "a body of 4 GiB",
            [head("/v1/sign", "content-length: 4294967296\r\n"), vec![b' '; 1_048_576]].concat(),
            &[413],
        ),
        ("a body of 2^64", head("/v1/sign", "content-length: 18446744073709551616\r\n"), &[400, 413]),
        ("a negative body", head("/v1/sign", "content-length: -1\r\n"), &[400]),
        ("two lengths", head("/v1/sign", "content-length: 2\r\ncontent-length: 3\r\n"), &[400]),
        (
            "an asset of 1 MiB",
            [head("/v1/assets", "content-length: 1048576\r\n"), vec![b' '; 1_048_576]].concat(),
            &[413],
        ),
        (
            "a manifest of more than 1 MiB",
            [head("/v1/manifest", "content-length: 1048577\r\n"), vec![b' '; 1_048_577]].concat(),
            &[413],
        ),
        (
            "chunks without end",
            [head("/v1/sign", "transfer-encoding: chunked\r\n"), b"8000\r\n".to_vec(), vec![b' '; 0x8000]]
                .concat()
                .into_iter()
                .chain([&b"\r\n8000\r\n"[..], &[b' '; 0x8000]].concat().repeat(16))
                .collect(),
            &[413],
        ),
        (
            "a chunk of 2^63",
            [head("/v1/sign", "transfer-encoding: chunked\r\n"), b"7fffffffffffffff\r\n{".to_vec()].concat(),
            &[413, 400],
        ),
        ("a long header", head("/v1/sign", &format!("x: {}\r\n", "y".repeat(20 * 1024))), &[431]),
        ("many headers", head("/v1/sign", &"x: y\r\n".repeat(100)), &[431]),
        (
            "a long path",
            format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(20 * 1024)).into_bytes(),
            &[414, 431, 404],
        ),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[0, 400, 505]),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), &[0, 400]),
        ("zeros", vec![0; 32 * 1024], &[0, 400, 431]),
    ];
    for (what, bytes, expected) in cases {
        let mut stream = open(&node);
        // It may close before everything is written.
        let _ = stream.write_all(&bytes);
        let begin = Instant::now();
        if expected.contains(&0) || what.contains("2^63") {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let status = status_of(&mut stream);
        assert!(expected.contains(&status), "{what}: {status}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{what}: {:?}", begin.elapsed());
    }
    assert_eq!(request(&node, &sign_body("treasury", 1, b"x")).status, 200);
}

#[test]
fn slow_clients_are_given_up_and_hold_up_nobody() {
    let node = ready();
    let begin = Instant::now();
    // Half a head, half a body, a byte at a time, and no word at all.
    let mut slow: Vec<UnixStream> = (0..50).map(|_| open(&node)).collect();
    for (number, stream) in slow.iter_mut().enumerate() {
        match number % 3 {
            0 => stream.write_all(b"POST /v1/sign HTTP/1.1\r\nhost: ag").unwrap(),
            1 => {
                stream.write_all(&head("/v1/sign", "content-length: 200\r\n")).unwrap();
                stream.write_all(b"{\"tenant\"").unwrap();
            }
            _ => {}
        }
    }
    for nonce in 0..20 {
        let begin = Instant::now();
        assert_eq!(request(&node, &sign_body("treasury", nonce, b"x")).status, 200);
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
    thread::scope(|scope| {
        let (mut drip, node) = (open(&node), &node);
        let dripping = scope.spawn(move || {
            let body = sign_body("treasury", 1_000, b"dripped").to_string();
            let mut bytes = head("/v1/sign", &format!("content-length: {}\r\n", body.len()));
            bytes.extend_from_slice(body.as_bytes());
            // So slow that it would take minutes.
            for byte in bytes {
                if drip.write_all(&[byte]).is_err() || begin.elapsed() > PATIENCE {
                    break;
                }
                thread::sleep(Duration::from_secs(1));
            }
            begin.elapsed()
        });
        for (number, stream) in slow.iter_mut().enumerate() {
            let status = status_of(stream);
            assert!([0, 408, 504].contains(&status), "client {number}: {status}");
        }
        let waited = begin.elapsed();
        assert!(waited < Duration::from_secs(45), "{waited:?}");
        assert!(dripping.join().unwrap() < PATIENCE);
        assert_eq!(
            request(node, &sign_body("treasury", 1_000, b"other")).status,
            200,
            "its nonce was never taken"
        );
    });
}

#[test]
fn half_a_request_takes_no_nonce_and_a_whole_one_is_finished_without_its_client() {
    let node = ready();
    let body = sign_body("treasury", 1, b"first").to_string();
    let whole =
        [head("/v1/sign", &format!("content-length: {}\r\n", body.len())), body.into_bytes()].concat();
    for cut in [1, 20, whole.len() / 2, whole.len() - 1] {
        let mut stream = open(&node);
        stream.write_all(&whole[..cut]).unwrap();
    }
    // Nobody waits for this one any more when it is signed.
    let other = sign_body("treasury", 2, b"second").to_string();
    let mut stream = open(&node);
    stream
        .write_all(
            &[head("/v1/sign", &format!("content-length: {}\r\n", other.len())), other.into_bytes()].concat(),
        )
        .unwrap();
    drop(stream);

    assert_eq!(request(&node, &sign_body("treasury", 1, b"another")).status, 200);
    // Either the agent saw that nobody waits before it reserved, or the nonce is spent; never half.
    let again = request(&node, &sign_body("treasury", 2, b"second"));
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(request(&node, &sign_body("treasury", 2, b"second")).json(), again.json());
    assert_eq!(request(&node, &sign_body("treasury", 2, b"third")).code(), "NONCE_ALREADY_USED");
}

#[test]
fn two_hundred_clients_at_once_get_two_hundred_signatures() {
    let node = ready();
    let bodies: Vec<Value> =
        (0..CLIENTS).map(|nonce| sign_body("treasury", nonce, &nonce.to_be_bytes())).collect();
    let answers = at_once(&node, &bodies);
    let mut sequences = BTreeSet::new();
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        let receipt = answer.json()["receipt"].clone();
        assert!(sequences.insert(receipt["sequence"].as_u64().unwrap()), "one receipt each");
    }
    // All of them again, at once: the same answers, nothing signed anew.
    let again = at_once(&node, &bodies);
    for (first, again) in answers.iter().zip(&again) {
        assert_eq!(first.json(), again.json());
    }
    let next = request(&node, &sign_body("treasury", CLIENTS, b"next")).json();
    let newest = sequences.last().unwrap();
    assert_eq!(next["receipt"]["sequence"].as_u64().unwrap(), newest + 1, "{next}");
}

#[test]
fn of_two_hundred_payloads_for_one_nonce_one_is_signed() {
    let node = ready();
    let bodies: Vec<Value> =
        (0..CLIENTS).map(|number| sign_body("treasury", 7, &number.to_be_bytes())).collect();
    let answers = at_once(&node, &bodies);
    let signed: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(signed.len(), 1, "{}", answers.len());
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.status, answer.code().as_str()), (409, "NONCE_ALREADY_USED"), "{answer:?}");
    }
    // One payload two hundred times is one signature.
    let body = sign_body("treasury", 8, b"the same");
    let answers = at_once(&node, &vec![body; usize::try_from(CLIENTS).unwrap()]);
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json(), answers[0].json());
    }
    let next = request(&node, &sign_body("treasury", 9, b"next")).json();
    assert_eq!(next["receipt"]["sequence"], 3, "{next}");
}

#[test]
fn a_user_who_is_not_listed_gets_nothing_signed() {
    let mut node = ready();
    assert_eq!(node.take_agent().terminate().code(), Some(0));
    // Anybody but the user of this story: `nobody` on Debian.
    node.edit("agent.toml", |text| text.replace("uid = 0\n", "uid = 65534\n"));
    node.start_agent();
    for (method, path) in
        [("POST", "/v1/sign"), ("GET", "/v1/status"), ("GET", "/healthz"), ("GET", "/metrics")]
    {
        let answer = node.api(method, path, &sign_body("treasury", 1, b"x"));
        assert_eq!((answer.status, answer.code().as_str()), (403, "FORBIDDEN"), "{path}: {answer:?}");
    }
    assert_eq!(node.take_agent().terminate().code(), Some(0));
    node.edit("agent.toml", |text| text.replace("uid = 65534\n", "uid = 0\n"));
    node.start_agent();
    node.await_ready(true);
    assert_eq!(request(&node, &sign_body("treasury", 1, b"x")).status, 200);
}

#[test]
fn an_agent_that_is_told_to_end_finishes_what_it_has_begun_and_loses_nothing() {
    let mut node = ready();
    let socket = node.socket();
    let mut idle = open(&node);
    let (answers, waited) = thread::scope(|scope| {
        let clients: Vec<_> = (0..20u64)
            .map(|client| {
                let socket = &socket;
                scope.spawn(move || {
                    let mut answers = Vec::new();
                    for number in 0.. {
                        let nonce = client + 20 * number;
                        let body = sign_body("treasury", nonce, &nonce.to_be_bytes()).to_string();
                        match http::request(socket, "POST", "/v1/sign", body.as_bytes()) {
                            Ok(answer) => answers.push((nonce, answer)),
                            // The socket is gone, or the connection was not admitted any more.
                            Err(_) => break,
                        }
                    }
                    answers
                })
            })
            .collect();
        until("signatures", || (node.sign("treasury", 1_000_000, b"x").status == 200).then_some(()));
        let begin = Instant::now();
        let mut agent = node.take_agent();
        agent.signal(Signal::TERM);
        let status = until("the agent to end", || agent.exited());
        assert_eq!(status.code(), Some(0), "an orderly end");
        let answers: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (answers, begin.elapsed())
    });
    assert!(waited < Duration::from_secs(15), "{waited:?}");
    assert_eq!(status_of(&mut idle), 0, "an idle connection is closed");
    assert!(!socket.exists(), "the socket is gone");

    node.start_agent();
    node.await_ready(true);
    let mut signed = 0;
    for (nonce, answer) in &answers {
        if answer.status == 200 {
            signed += 1;
            let again = node.sign("treasury", *nonce, &nonce.to_be_bytes());
            assert_eq!(again.json(), answer.json(), "nonce {nonce}");
        } else {
            assert_eq!(answer.status, 503, "{answer:?}");
        }
    }
    assert!(signed > 0, "something was signed before the end");
}
