//! Pipelined requests to the enclave over its socket, as the agent sends them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use sealstone_attestation::Algorithm;
use sealstone_swtpm_tests::{Node, direct};
use sealstone_wire::reply::Reply;
use sealstone_wire::request::Request;

use crate::measure::{histogram, micros};
use crate::primitive::MESSAGE;

/// Keeps `depth` requests under way for `span`; latencies in microseconds.
pub(crate) fn drive(node: &Node, algorithm: Algorithm, depth: usize, span: Duration) -> Histogram<u64> {
    let mut client = direct::connect(node);
    let request = Request::Sign(direct::request(node, algorithm, &MESSAGE));
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
