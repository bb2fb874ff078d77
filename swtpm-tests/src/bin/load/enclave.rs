//! Pipelined requests to the enclave over its socket, as the agent sends them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use sealstone_attestation::{Algorithm, RequestDigest};
use sealstone_swtpm_tests::Node;
use sealstone_wire::KeyPath;
use sealstone_wire::address::Address;
use sealstone_wire::channel::{ChannelKey, ChannelPublic};
use sealstone_wire::client::Client;
use sealstone_wire::key_path::Epoch;
use sealstone_wire::reply::Reply;
use sealstone_wire::request::{Payload, Request, SignRequest};

use crate::measure::{histogram, micros};
use crate::primitive::MESSAGE;

/// Keeps `depth` requests under way for `span`; latencies in microseconds.
pub(crate) fn drive(node: &Node, algorithm: Algorithm, depth: usize, span: Duration) -> Histogram<u64> {
    let mut client = connect(node);
    let request = request(node, algorithm);
    let mut latencies = histogram();
    let mut sent = HashMap::with_capacity(depth);
    let mut next = 0_u64;
    let end = Instant::now() + span;
    for _ in 0..depth {
        sent.insert(next, Instant::now());
        client.queue(next, request.clone()).unwrap();
        next += 1;
    }
    client.flush().unwrap();
    while !sent.is_empty() {
        let answer = client.recv().unwrap();
        assert!(matches!(answer.reply, Reply::Signed(_)), "{:?}", answer.reply);
        let began = sent.remove(&answer.id).unwrap();
        latencies.record(micros(began.elapsed())).unwrap();
        if Instant::now() < end {
            sent.insert(next, Instant::now());
            client.send(next, request.clone()).unwrap();
            next += 1;
        }
    }
    latencies
}

fn connect(node: &Node) -> Client {
    let config = std::fs::read_to_string(node.path("agent.toml")).unwrap();
    let public: ChannelPublic = config
        .lines()
        .find_map(|line| line.strip_prefix("public_keys = "))
        .map(|text| text.trim_matches(['[', ']', '"']).parse().unwrap())
        .unwrap();
    let address: Address = format!("unix:{}", node.path("enclave.sock").display()).parse().unwrap();
    let key = ChannelKey::from_file(&node.path("agent.key")).unwrap();
    Client::connect(&address, &key, &public).unwrap()
}

fn request(node: &Node, algorithm: Algorithm) -> Request {
    let asset = node.api("GET", &format!("/v1/keys/acme/{algorithm}"), &serde_json::Value::Null).json();
    Request::Sign(SignRequest {
        path: KeyPath::Asset {
            tenant: "acme".try_into().unwrap(),
            asset: algorithm.name().try_into().unwrap(),
            epoch: Epoch(0),
            algorithm,
        },
        binding: asset["binding"].as_str().unwrap().parse().unwrap(),
        key_id: Some(asset["key_id"].as_str().unwrap().parse().unwrap()),
        payload: Payload::Message(MESSAGE.to_vec()),
        request: RequestDigest::of(b"load"),
        issued_at_ms: None,
    })
}
