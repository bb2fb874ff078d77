//! Pipelined requests to the enclave over its socket, as the agent sends them, while its audit log is kept.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use sealstone_attestation::Algorithm;
use sealstone_swtpm_tests::log::AuditLog;
use sealstone_swtpm_tests::{Node, direct};
use sealstone_wire::reply::Reply;
use sealstone_wire::request::Request;

use crate::measure::{histogram, micros};
use crate::primitive::MESSAGE;

/// How often the log is shown to the enclave: before it forgets receipts, which it does after some 2,000.
const LOG_EVERY: Duration = Duration::from_millis(200);

/// Keeps `depth` requests under way for `span`, as [`load`] does, and the log beside it, as an agent would.
pub(crate) fn drive(
    node: &Node,
    log: &mut AuditLog,
    algorithm: Algorithm,
    depth: usize,
    span: Duration,
) -> Histogram<u64> {
    let (stop, stopped) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || keep(node, log, &stopped));
        let latencies = load(node, algorithm, depth, span);
        drop(stop);
        latencies
    })
}

/// Logs every receipt until there is nobody left who could say stop, and then once more.
fn keep(node: &Node, log: &mut AuditLog, stopped: &Receiver<()>) {
    let mut client = direct::connect(node);
    let mut last = false;
    while !last {
        last = stopped.recv_timeout(LOG_EVERY) == Err(RecvTimeoutError::Disconnected);
        log.follow(&mut client).unwrap();
    }
}

/// Keeps `depth` requests under way for `span`; latencies in microseconds.
fn load(node: &Node, algorithm: Algorithm, depth: usize, span: Duration) -> Histogram<u64> {
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
