//! What `GET /metrics` tells (Prometheus text format). Names and labels are listed in `docs/api.md`.

use std::time::Duration;

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of durations, in seconds: a commit takes tenths of a millisecond, a signature milliseconds, a
/// ceremony seconds.
const SECONDS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.012, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Upper bounds of the jobs in one commit.
const JOBS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0];

/// How often samples are folded into their buckets when nobody reads them; until then each takes memory.
const UPKEEP_EVERY: Duration = Duration::from_secs(2);

/// Begins to count, for this process. Called once, by `main`, within the runtime.
///
/// # Errors
/// If something counts already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_jobs".to_owned()), &JOBS)?
        .install_recorder()?;
    describe_counter!(
        "sealstone_sign_requests_total",
        "Requests to sign, by outcome code (OK or a problem's code)"
    );
    describe_histogram!("sealstone_sign_seconds", "From a parsed request to its outcome");
    describe_histogram!("sealstone_store_commit_seconds", "One transaction of the store, with its fsync");
    describe_histogram!("sealstone_store_commit_jobs", "Jobs in one transaction");
    describe_counter!("sealstone_store_commit_failures_total", "Transactions that failed");
    describe_counter!("sealstone_store_retries_total", "Transactions that were run again");
    describe_counter!("sealstone_store_reconnects_total", "Connections to the database server made again");
    describe_counter!("sealstone_http_responses_total", "HTTP responses, by route and status");
    describe_counter!("sealstone_http_connections_refused_total", "Connections refused, by reason");
    describe_counter!(
        "sealstone_tls_handshakes_failed_total",
        "TLS handshakes that came to nothing, by reason (refused, slow, crowded, no_certificate)"
    );
    describe_gauge!(
        "sealstone_tls_certificate_expires_seconds",
        "Seconds until the certificate of [api.tls] ends; negative when it has ended"
    );
    describe_gauge!("sealstone_http_connections", "Open HTTP connections");
    describe_gauge!("sealstone_ready", "1 if a signature would be made now");
    describe_gauge!(
        "sealstone_session_expires_timestamp_seconds",
        "End of the attested session, Unix time; 0 if none"
    );
    describe_gauge!(
        "sealstone_enclave_protection_active",
        "1 if the enclave measured this protection as active, as of its last answer"
    );
    describe_gauge!("sealstone_unfunded", "1 if no verified recovery shares exist");
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP_EVERY).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}
