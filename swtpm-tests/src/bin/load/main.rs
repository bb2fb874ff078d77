//! Load on a node of its own: (a) the enclave over its socket, (b) the agent's HTTP API with distinct nonces and the
//! durable store, each at several depths, beside the bare primitive on all cores, in one run. See `scripts/bench`.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends with the reason")]

mod enclave;
mod http;
mod measure;
mod primitive;

use std::time::Duration;

use measure::{Processes, Sample};
use sealstone_attestation::Algorithm;
use sealstone_swtpm_tests::Node;
use sealstone_swtpm_tests::log::AuditLog;

/// Requests under way at once.
const DEPTHS: [usize; 3] = [1, 16, 64];

fn main() {
    let seconds = std::env::args()
        .nth(1)
        .map_or(5, |text| text.parse().expect("usage: load [SECONDS] per measurement"));
    let span = Duration::from_secs(seconds);
    let cores = std::thread::available_parallelism().unwrap().get();
    println!("{cores} cores, {seconds} s each; a signature is derive + public key + sign + verify\n");

    // A node for each: an agent whose enclave signs for somebody else says, rightly, that its store was rolled back.
    let (direct, node) = (ready(), ready());
    let mut log = AuditLog::default();
    println!(
        "{:<28}{:>9}{:>9}{:>10}{:>10}{:>10}   CPU agent/enclave",
        "", "req/s", "ratio", "p50 us", "p99 us", "p99.9 us"
    );
    for algorithm in Algorithm::ALL {
        // The primitive before and after, because these machines are noisy; the ratio is to their mean.
        let before = primitive::rate(algorithm, cores, span);
        println!("{:<28}{before:>9.0}", format!("{algorithm} bare, {cores} threads"));
        let samples: Vec<(String, Sample)> = DEPTHS
            .iter()
            .map(|depth| {
                let processes = Processes::watch(&direct);
                let histogram = enclave::drive(&direct, &mut log, algorithm, *depth, span);
                (format!("{algorithm} enclave, depth {depth}"), processes.sample(histogram, span))
            })
            .chain(DEPTHS.iter().map(|depth| {
                let processes = Processes::watch(&node);
                let histogram = http::drive(&node, algorithm, *depth, span);
                (format!("{algorithm} agent, depth {depth}"), processes.sample(histogram, span))
            }))
            .collect();
        let after = primitive::rate(algorithm, cores, span);
        println!("{:<28}{after:>9.0}", format!("{algorithm} bare again"));
        for (name, sample) in samples {
            sample.print(&name, (before + after) / 2.0);
        }
        println!();
    }
    println!("peak memory: {}", Processes::watch(&node).peaks());
}

/// A node with an asset of each algorithm.
fn ready() -> Node {
    let node = Node::ready();
    for algorithm in Algorithm::ALL {
        node.create_asset(algorithm.name(), algorithm.name());
    }
    node
}
