//! Pages of the audit log of a big deployment: 14,000 assets, 60 days, as many records as is asked for.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use sealstone_agent::config::store::StoreConfig;
use sealstone_agent::store::{AuditQuery, Store};
use sealstone_swtpm_tests::Postgres;
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

/// Records made by one statement.
const AT_ONCE: u64 = 200_000;

/// How long making them may take on each database; what is there by then is measured.
const MAKING: Duration = Duration::from_secs(20 * 60);

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
        let made = make(&place, &config, records, now - DAYS * DAY_MS, DAYS * DAY_MS / records.max(1));
        println!("{}: {made} records, made in {} s", place.name(), began.elapsed().as_secs());
        if made < records {
            println!("{} wanted; making more would take too long here", records);
        }
        println!("{:<44}{:>10}{:>10}{:>10}", "", "p50 ms", "p99 ms", "most ms");
        runtime.block_on(measure(&store, now));
        println!();
    }
}

fn make(place: &Place, config: &StoreConfig, records: u64, first_ms: u64, step_ms: u64) -> u64 {
    if let Place::Postgres(server) = place {
        for day in (0..=DAYS).step_by(15) {
            server.sql("log", &format!("SELECT sealstone.make_audit_partition({})", first_ms + day * DAY_MS));
        }
    }
    let end = Instant::now() + MAKING;
    let mut made = 0;
    while made < records && Instant::now() < end {
        let next = records.min(made + AT_ONCE);
        match place {
            Place::Postgres(server) => postgres(server, made, next, first_ms, step_ms),
            Place::Sqlite(_) => sqlite(config, made, next, first_ms, step_ms),
        }
        made = next;
    }
    if let Place::Postgres(server) = place {
        server.sql("log", "VACUUM ANALYZE sealstone.audit");
    }
    made
}

/// Most records are of signatures; a few hundredths are of other kinds. Assets come in an order that looks like none.
const KIND: &str =
    "CASE WHEN i % 50 = 0 THEN 'refused' WHEN i % 5003 = 0 THEN 'asset_rotated' ELSE 'signed' END";
const CODE: &str =
    "CASE WHEN i % 250 = 0 THEN 'VELOCITY_EXCEEDED' WHEN i % 50 = 0 THEN 'DAILY_LIMIT_EXCEEDED' END";

/// The tenant and the asset of a record.
fn sender() -> String {
    let [most, some, few] = TENANTS;
    let asset = format!("(i * 7919 % {ASSETS})");
    format!(
        "CASE WHEN {asset} % 100 < 90 THEN '{most}' WHEN {asset} % 100 < 99 THEN '{some}' ELSE '{few}' END, \
         'asset-' || {asset}"
    )
}

fn tenant_of(asset: u64) -> &'static str {
    TENANTS[usize::from(asset % 100 >= 90) + usize::from(asset % 100 >= 99)]
}

fn postgres(server: &Postgres, from: u64, until: u64, first_ms: u64, step_ms: u64) {
    let sql = format!(
        "INSERT INTO sealstone.audit SELECT 0, i, {first_ms} + i * {step_ms}, {KIND}, {CODE}, {sender}, 'uid:0', sha256(int8send(i)), sha256(int8send(i % {ASSETS})), 0, \
         decode(repeat('7b', 640), 'hex'), sha256(int8send(-i)) FROM generate_series({from}::bigint, {last}) AS i",
        sender = sender(),
        last = until - 1
    );
    server.sql("log", &sql);
}

fn sqlite(config: &StoreConfig, from: u64, until: u64, first_ms: u64, step_ms: u64) {
    let sql = format!(
        "WITH RECURSIVE s (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM s WHERE i < {last}) \
         INSERT INTO audit (node, idx, time_ms, kind, code, tenant, sender, client, request, key_id, epoch, leaf, \
         leaf_hash) SELECT 0, i, {first_ms} + i * {step_ms}, {KIND}, {CODE}, {sender}, 'uid:0', randomblob(32), \
         zeroblob(32), 0, zeroblob(640), randomblob(32) FROM s",
        sender = sender(),
        last = until - 1
    );
    let done = Command::new("sqlite3").arg(config.path().unwrap()).arg(sql).output();
    let done = done.unwrap_or_else(|error| panic!("{error}; install it: apt-get install sqlite3"));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
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
    // An hour somewhere in the days.
    let hour = |number: u64| {
        let from_ms = now - QUERIED_DAYS * DAY_MS + number * 104_729 % (QUERIED_DAYS * 24 - 1) * 3_600_000;
        AuditQuery { from_ms: Some(from_ms), until_ms: Some(from_ms + 3_600_000), ..AuditQuery::default() }
    };
    type Make<'a> = Box<dyn Fn(u64) -> AuditQuery + 'a>;
    let queries: [(&str, Make<'_>); 12] = [
        ("an asset's, 30 days, oldest first", Box::new(asset)),
        ("an asset's, 30 days, newest first", Box::new(|number| newest(asset(number)))),
        ("an asset's in any tenant, newest first", Box::new(|number| newest(anybody(number)))),
        ("of the commonest kind, 30 days", Box::new(|_| newest(kind("signed")))),
        ("refusals, 30 days", Box::new(|_| newest(kind("refused")))),
        ("of a rare kind, 30 days", Box::new(|_| newest(kind("asset_rotated")))),
        ("with one code, 30 days", Box::new(|_| newest(code.clone()))),
        ("of a big tenant, newest first", Box::new(|_| newest(tenant(TENANTS[0])))),
        ("of a small tenant, newest first", Box::new(|_| newest(tenant(TENANTS[2])))),
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
