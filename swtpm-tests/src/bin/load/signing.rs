//! The node beside the bare primitive: (a) the enclave over its socket, (b) the agent's HTTP API with distinct nonces and
//! the durable store.

use std::time::Duration;

use sealstone_attestation::Algorithm;
use sealstone_swtpm_tests::Node;
use sealstone_swtpm_tests::log::AuditLog;
use sealstone_swtpm_tests::node::sign_body;

use crate::measure::{Processes, Sample};
use crate::{DEPTHS, enclave, http, primitive};

pub(crate) fn run(span: Duration) {
    let cores = std::thread::available_parallelism().unwrap().get();
    println!(
        "{cores} cores, {} s each; a signature is derive + public key + sign + verify\n",
        span.as_secs()
    );

    // A node for each: an agent whose enclave signs for somebody else says, rightly, that its store was rolled back.
    let (direct, node) = (ready(), ready());
    let mut log = AuditLog::default();
    println!(
        "{:<28}{:>9}{:>9}{:>10}{:>10}{:>10}   CPU and sleeps of one: agent / enclave",
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
                let histogram = http::drive(&node.socket(), *depth, span, &|nonce| {
                    sign_body(algorithm.name(), nonce, &primitive::MESSAGE)
                });
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
