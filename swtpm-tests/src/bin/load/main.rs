//! Loads on nodes of their own, each figure beside what nothing can beat, in one run. See `scripts/bench`.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends with the reason")]

mod audit;
mod bare;
mod durable;
mod enclave;
mod http;
mod measure;
mod place;
mod primitive;
mod rotation;
mod signing;

use std::time::Duration;

const USAGE: &str =
    "usage: load signing|durable|rotation [SECONDS per measurement, 5], or: load audit [RECORDS, 10000000]";

/// Requests under way at once.
const DEPTHS: [usize; 3] = [1, 16, 64];

/// Records that 14,000 assets leave in some two months.
const RECORDS: u64 = 10_000_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().expect(USAGE);
    let number = arguments.next().map(|text| text.parse().expect(USAGE));
    let span = Duration::from_secs(number.unwrap_or(5));
    match what.as_str() {
        "signing" => signing::run(span),
        "durable" => durable::run(span),
        "rotation" => rotation::run(span),
        "audit" => audit::run(number.unwrap_or(RECORDS)),
        _ => panic!("{USAGE}"),
    }
}
