//! Pages of the audit log of a big deployment: 14,000 assets, 60 days, as many records as is asked for.

mod fill;

use std::time::{Duration, Instant, SystemTime};

use sealstone_agent::store::{AuditQuery, Store};
use tokio::runtime::Runtime;

use crate::measure::{histogram, micros};
use crate::place::Place;

/// Assets of the deployment.
const ASSETS: u64 = 14_000;

/// Tenants of the deployment: nine tenths of the assets, nearly a tenth, a hundredth.
const TENANTS: [&str; 3] = ["acme", "beta", "tiny"];

/// Days that the records are spread over; queries are for the last half of them.
const DAYS: u64 = 60;
const QUERIED_DAYS: u64 = 30;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Records of a page.
const PAGE: usize = 100;

/// Times that each query is asked.
const TIMES: u64 = 300;

/// Measures both databases.
pub(crate) fn run(records: u64) {
    let runtime = Runtime::new().unwrap();
    println!(
        "{ASSETS} assets, {DAYS} days; pages of {PAGE} records; target: p99 below 100 ms on PostgreSQL\n"
    );
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let now = u64::try_from(now).unwrap();
    for place in Place::both() {
        let config = place.store("log");
        // Open from before: what is made behind its back has no tree, with which no store would open.
        let store = runtime.block_on(Store::open(&config, "node-1")).unwrap();
        let began = Instant::now();
        let made = fill::fill(&place, &config, records, now - DAYS * DAY_MS, DAYS * DAY_MS / records.max(1));
        println!("{}: {made} records, made in {} s", place.name(), began.elapsed().as_secs());
        if made < records {
            println!("{} wanted; making more would take too long here", records);
        }
        println!("{:<44}{:>10}{:>10}{:>10}", "", "p50 ms", "p99 ms", "most ms");
        runtime.block_on(measure(&store, now));
        println!();
    }
}

fn tenant_of(asset: u64) -> &'static str {
    TENANTS[usize::from(asset % 100 >= 90) + usize::from(asset % 100 >= 99)]
}

async fn measure(store: &Store, now: u64) {
    let days = AuditQuery {
        from_ms: Some(now - QUERIED_DAYS * DAY_MS),
        until_ms: Some(now),
        ..AuditQuery::default()
    };
    let newest = |query: AuditQuery| AuditQuery { newest_first: true, ..query };
    let kind = |kind: &str| AuditQuery { kind: Some(kind.to_owned()), ..days.clone() };
    let of =
        |tenants: &[&str]| Some(tenants.iter().map(|name| (*name).try_into().expect("a name")).collect());
    let tenant = |name: &str| AuditQuery { tenants: of(&[name]), ..AuditQuery::default() };
    let anybody = |number: u64| AuditQuery {
        sender: Some(format!("asset-{}", number * 104_729 % ASSETS)),
        ..days.clone()
    };
    let asset =
        |number: u64| AuditQuery { tenants: of(&[tenant_of(number * 104_729 % ASSETS)]), ..anybody(number) };
    let code = AuditQuery { code: Some("VELOCITY_EXCEEDED".to_owned()), ..days.clone() };
    let client = |name: &str| AuditQuery { client: Some(name.to_owned()), ..days.clone() };
    let key = |number: u64| {
        let key = format!("{:032}", number * 104_729 % ASSETS);
        AuditQuery { key_id: Some(key.into_bytes().try_into().expect("32 digits")), ..days.clone() }
    };
    // An hour somewhere in the days.
    let hour = |number: u64| {
        let from_ms = now - QUERIED_DAYS * DAY_MS + number * 104_729 % (QUERIED_DAYS * 24 - 1) * 3_600_000;
        AuditQuery { from_ms: Some(from_ms), until_ms: Some(from_ms + 3_600_000), ..AuditQuery::default() }
    };
    type Make<'a> = Box<dyn Fn(u64) -> AuditQuery + 'a>;
    let queries: [(&str, Make<'_>); 15] = [
        ("an asset's, 30 days, oldest first", Box::new(asset)),
        ("an asset's, 30 days, newest first", Box::new(|number| newest(asset(number)))),
        ("an asset's in any tenant, newest first", Box::new(|number| newest(anybody(number)))),
        ("of the commonest kind, 30 days", Box::new(|_| newest(kind("signed")))),
        ("refusals, 30 days", Box::new(|_| newest(kind("refused")))),
        ("of a rare kind, 30 days", Box::new(|_| newest(kind("asset_rotated")))),
        ("with one code, 30 days", Box::new(|_| newest(code.clone()))),
        ("of a big tenant, newest first", Box::new(|_| newest(tenant(TENANTS[0])))),
        ("of a small tenant, newest first", Box::new(|_| newest(tenant(TENANTS[2])))),
        ("of a busy client, 30 days", Box::new(|_| newest(client("uid:3")))),
        ("of a rare client, 30 days", Box::new(|_| newest(client("uid:rare")))),
        ("with one key, 30 days", Box::new(|number| newest(key(number)))),
        ("of an hour, oldest first", Box::new(hour)),
        ("of 30 days, oldest first", Box::new(|_| days.clone())),
        ("the newest of all", Box::new(|_| newest(AuditQuery::default()))),
    ];
    for (name, query) in queries {
        let mut latencies = histogram();
        for number in 0..TIMES {
            let query = query(number);
            let began = Instant::now();
            let page = store.query(&query, PAGE).await.unwrap();
            latencies.record(micros(began.elapsed())).unwrap();
            assert!(!page.is_empty(), "{name}");
        }
        let at =
            |quantile| Duration::from_micros(latencies.value_at_quantile(quantile)).as_secs_f64() * 1000.0;
        println!("{name:<44}{:>10.1}{:>10.1}{:>10.1}", at(0.5), at(0.99), at(1.0));
    }
    store.close().await;
}
