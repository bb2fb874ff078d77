//! Signing requests with distinct nonces to the agent's HTTP API, over connections that are kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::Value;

use crate::measure::{histogram, micros};

/// Nonces are spent for good, so they go on from one measurement to the next.
static NONCE: AtomicU64 = AtomicU64::new(0);

/// Keeps `depth` requests under way for `span`, each on its own connection; latencies in microseconds.
pub(crate) fn drive(
    socket: &Path,
    depth: usize,
    span: Duration,
    body: &(dyn Fn(u64) -> Value + Sync),
) -> Histogram<u64> {
    let end = Instant::now() + span;
    let parts: Vec<Histogram<u64>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..depth)
            .map(|_| {
                scope.spawn(|| {
                    let stream = UnixStream::connect(socket).unwrap();
                    let mut connection = BufReader::new(stream);
                    let mut latencies = histogram();
                    while Instant::now() < end {
                        let nonce = NONCE.fetch_add(1, Ordering::Relaxed);
                        let body = body(nonce).to_string();
                        let began = Instant::now();
                        post(&mut connection, "/v1/sign", &body);
                        latencies.record(micros(began.elapsed())).unwrap();
                    }
                    latencies
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let mut latencies = histogram();
    for part in parts {
        latencies.add(part).unwrap();
    }
    latencies
}

/// One request that must succeed.
pub(crate) fn post(connection: &mut BufReader<UnixStream>, path: &str, body: &str) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: agent\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.get_mut().write_all(request.as_bytes()).unwrap();
    let mut head = String::new();
    let mut length = 0;
    loop {
        let begin = head.len();
        connection.read_line(&mut head).unwrap();
        let line = head[begin..].trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.strip_prefix("content-length: ") {
            length = text.parse().unwrap();
        }
    }
    let mut answer = vec![0; length];
    connection.read_exact(&mut answer).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}{}", String::from_utf8_lossy(&answer));
}
