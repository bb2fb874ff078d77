//! Rotations of assets' keys through the API, beside the store's own work for them.

use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use sealstone_swtpm_tests::Node;
use sealstone_swtpm_tests::node::POLICY;
use tokio::runtime::Runtime;

use crate::DEPTHS;
use crate::bare::{Bare, Commits};
use crate::http::post;
use crate::measure::{Beside, EXPLANATION, histogram, micros};
use crate::place::Place;

/// Measures each database.
pub(crate) fn run(span: Duration) {
    let runtime = Runtime::new().unwrap();
    println!("rotations, {} s each\n{EXPLANATION}\n", span.as_secs());
    for place in Place::both() {
        let node = place.node(POLICY);
        let most = *DEPTHS.iter().max().unwrap();
        for asset in 0..most {
            node.create_asset(&format!("asset-{asset}"), "ES256");
        }
        let bare = runtime.block_on(Bare::open(&place.store("bare"), most));
        Beside::heading(place.name());
        for depth in DEPTHS {
            let alone = |commits, span| runtime.block_on(bare.rotate(commits, depth, span));
            let beside = Beside {
                node: &node,
                span,
                sql: &|span| alone(Commits::Apart, span),
                store: &|span| alone(Commits::Together, span),
                whole: &|span| drive(&node, depth, span),
            };
            beside.print(&format!("depth {depth}"));
        }
        runtime.block_on(bare.close());
        println!();
    }
}

/// Keeps `depth` rotations under way for `span`, each of another asset on its own connection.
fn drive(node: &Node, depth: usize, span: Duration) -> Histogram<u64> {
    let end = Instant::now() + span;
    let mut latencies = histogram();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..depth)
            .map(|asset| {
                scope.spawn(move || {
                    let mut connection = BufReader::new(UnixStream::connect(node.socket()).unwrap());
                    let mut latencies = histogram();
                    while Instant::now() < end {
                        let began = Instant::now();
                        post(&mut connection, &format!("/v1/assets/acme/asset-{asset}/rotate"), "");
                        latencies.record(micros(began.elapsed())).unwrap();
                    }
                    latencies
                })
            })
            .collect();
        for client in clients {
            latencies.add(client.join().unwrap()).unwrap();
        }
    });
    latencies
}
