//! The HTTP API while nothing behind it works: what a client is told, and what it cannot do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use sealstone_agent::access::{Access, Rate, Role, Rules};
use sealstone_agent::api::{BindError, Node, Server, router};
use sealstone_agent::assets::Assets;
use sealstone_agent::attest::{AttestSettings, Attestor, PCR_POLL};
use sealstone_agent::audit::{Anchor, Log};
use sealstone_agent::config::access::{AccessConfig, ClientConfig, Identity};
use sealstone_agent::config::api::ApiConfig;
use sealstone_agent::config::enclave::RawEnclave;
use sealstone_agent::config::store::StoreConfig;
use sealstone_agent::config::tpm::RawTpm;
use sealstone_agent::enclave::{Enclave, Endpoint};
use sealstone_agent::reconcile::Reconciler;
use sealstone_agent::rule_changes::RuleChanges;
use sealstone_agent::shutdown::{Ender, Shutdown};
use sealstone_agent::signing::Signing;
use sealstone_agent::store::Store;
use sealstone_agent::tpm::Tpm;
use sealstone_wire::api::{AssetCover, AssetList, NodeStatus, Problem};
use sealstone_wire::channel::ChannelKey;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(60);

/// An agent whose enclave and TPM are not there.
struct Agent {
    folder: tempfile::TempDir,
    ender: Ender,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn problem(&self) -> Problem {
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let problem: Problem = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem.status, self.status);
        assert_eq!(problem.kind, format!("urn:sealstone:problem:{}", problem.code.to_lowercase()));
        assert!(
            self.head.contains(&format!("x-request-id: {}", problem.request_id.to_lowercase())),
            "{self:?}"
        );
        problem
    }

    fn is_problem(&self, status: u16, code: &str) -> Problem {
        let problem = self.problem();
        assert_eq!((problem.status, problem.code.as_str()), (status, code), "{problem:?}");
        problem
    }
}

impl Agent {
    async fn start() -> Self {
        let own = rustix::process::getuid().as_raw();
        Self::with(client(own, &Role::ALL)).await
    }

    async fn with(client: ClientConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store =
            Store::open(&StoreConfig::sqlite(folder.path().join("agent.db")), "node-1").await.unwrap();
        let key = ChannelKey::generate().unwrap();
        let raw = RawEnclave {
            address: "unix:enclave.sock".to_owned(),
            key_file: "agent.key".into(),
            next_key_file: None,
            public_keys: vec![key.public().to_string()],
        };
        let enclave = Enclave::spawn(
            Endpoint::new(&raw.check(folder.path()).unwrap(), vec![key]),
            std::future::pending(),
        );
        // Port 1 is nobody's.
        let raw: RawTpm = toml::from_str("tcti = \"swtpm:port=1\"\ndeadline_s = 1").unwrap();
        let tpm = Tpm::spawn(&raw.check(folder.path(), folder.path()).unwrap()).unwrap();
        let settings = AttestSettings {
            state_dir: folder.path().to_owned(),
            event_log: None,
            enrolment: None,
            ima_log: None,
            pcr_poll: PCR_POLL,
        };
        let attestor = Attestor::spawn(
            enclave.clone(),
            tpm.clone(),
            store.clone(),
            Anchor::default(),
            settings,
            std::future::pending(),
        );
        let assets = Arc::new(Assets::new(store.clone(), enclave.clone()));
        let reconciler = Arc::new(Reconciler::new(store.clone(), enclave.clone(), false));
        let rules = support::rules::permissive(folder.path());
        let signing = Arc::new(Signing::new(
            store.clone(),
            enclave.clone(),
            Arc::clone(&assets),
            Arc::clone(&reconciler),
            Arc::clone(&rules),
            attestor.state(),
            || {},
        ));
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let access = access(client);
        let node = Node {
            rules: Arc::new(RuleChanges::new(rules, store.clone())),
            log: Log::new(store.clone()),
            store,
            enclave,
            tpm,
            attestor,
            assets,
            reconciler,
            signing,
            metrics,
            access: access.clone(),
        };
        let config = ApiConfig { socket: folder.path().join("agent.sock"), tls: None };
        let server = Server::bind(&config, access).await.unwrap();
        let (ender, shutdown) = Shutdown::new();
        let serving = tokio::spawn(server.run(router(node), shutdown.ended()));
        Self { folder, ender, serving }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    async fn raw(&self, request: &[u8]) -> Response {
        let mut stream = self.connect().await;
        // A server that has heard enough may stop listening.
        let _ = stream.write_all(request).await;
        read(&mut stream).await
    }

    async fn get(&self, target: &str) -> Response {
        self.raw(format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes()).await
    }

    async fn post(&self, target: &str, headers: &str, body: &str) -> Response {
        let length = body.len();
        let head =
            format!("POST {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n");
        self.raw(format!("{head}{headers}\r\n{body}").as_bytes()).await
    }

    async fn post_json(&self, target: &str, body: &str) -> Response {
        self.post(target, "content-type: application/json\r\n", body).await
    }
}

/// The client that a user is, for every tenant.
fn client(uid: u32, roles: &[Role]) -> ClientConfig {
    ClientConfig {
        name: "test".to_owned(),
        identity: Identity::User(uid),
        roles: roles.iter().copied().collect(),
        tenants: None,
        rate: Rate::default(),
    }
}

fn access(client: ClientConfig) -> Access {
    Access::new(Rules::load(&AccessConfig { clients: vec![client] }, None).unwrap())
}

async fn read(stream: &mut UnixStream) -> Response {
    let mut bytes = Vec::new();
    // An unread rest of the request makes the end abrupt, after the answer.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Response { status, head: head.to_lowercase(), body: body.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_which_nothing_works_says_so_and_serves_on() {
    let agent = Agent::start().await;
    assert_eq!(agent.get("/healthz").await.status, 200);
    assert_eq!(agent.get("/readyz").await.problem().status, 503);
    assert_eq!(agent.get("/metrics").await.status, 200);
    let status = agent.get("/v1/status").await;
    let status: NodeStatus = serde_json::from_str(&status.body).unwrap();
    assert_eq!((status.store.kind.as_str(), status.store.version), ("sqlite", Some(4)));
    let log = status.log.as_ref().unwrap();
    assert_eq!((log.size, log.uncovered_records, log.uncovered_receipts), (0, 0, None), "{log:?}");
    assert!(log.checkpoint.is_none() && log.uncovered_since.is_none());
    let policy = std::fs::read(agent.folder.path().join("policy.toml")).unwrap();
    assert_eq!(status.rules.policy, sealstone_attestation::Sha256Digest::of(&policy));
    assert!(!status.ready && status.enclave.is_none());
    assert!(status.reasons.iter().any(|reason| reason.code == "ENCLAVE_UNREACHABLE"), "{status:?}");
    assert!(status.reasons.iter().all(|reason| !reason.detail.is_empty() && !reason.action.is_empty()));
    let assets: Value = serde_json::from_str(&agent.get("/v1/assets").await.body).unwrap();
    let covers = serde_json::json!({ "every_tenant": true, "every_age": true, "from_start": true });
    assert_eq!(assets, serde_json::json!({ "assets": [], "covers": covers }));
    for (method, target, body) in [
        ("POST", "/v1/sign", r#"{"tenant":"a","asset":"b","nonce":1,"payload":"00"}"#),
        ("POST", "/v1/assets", r#"{"tenant":"a","asset":"b","algorithm":"ES256"}"#),
        ("POST", "/v1/assets/a/b/rotate", ""),
        ("POST", "/v1/lock", ""),
        ("GET", "/v1/keys/session?tenant=a&sender=b&nonce=1&algorithm=ES256", ""),
        ("GET", "/v1/evidence?nonce=00000000000000000000000000000000", ""),
        ("GET", "/v1/enrolment", ""),
        ("POST", "/v1/enrolment/activate", r#"{"credential":"00","encrypted_seed":"00"}"#),
        ("GET", "/v1/manifest", ""),
    ] {
        let response =
            if method == "GET" { agent.get(target).await } else { agent.post_json(target, body).await };
        assert_eq!(response.problem().status, 503, "{target}: {response:?}");
    }
    agent.get("/v1/keys/a/b").await.is_problem(404, "ASSET_UNKNOWN");
    agent.get("/v1/keys/a/b?epoch=3").await.is_problem(404, "ASSET_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_a_problem_document_with_its_code() {
    let agent = Agent::start().await;
    agent.get("/v2/sign").await.is_problem(404, "NOT_FOUND");
    agent.get("/v1/sign").await.is_problem(405, "METHOD_NOT_ALLOWED");
    agent.post("/v1/sign", "", "{}").await.is_problem(415, "UNSUPPORTED_MEDIA_TYPE");
    agent
        .post("/v1/sign", "content-type: text/plain\r\n", "{}")
        .await
        .is_problem(415, "UNSUPPORTED_MEDIA_TYPE");
    for body in [
        "",
        "{",
        "[]",
        "null",
        r#"{"tenant":"a","asset":"b","nonce":1,"payload":"00","limit":9}"#,
        r#"{"tenant":"","asset":"b","nonce":1,"payload":"00"}"#,
        r#"{"tenant":"a","asset":"b","nonce":-1,"payload":"00"}"#,
        r#"{"tenant":"a","asset":"b","nonce":18446744073709551616,"payload":"00"}"#,
        r#"{"tenant":"a","asset":"b","nonce":1,"payload":"zz"}"#,
        r#"{"tenant":"a","asset":"b","nonce":1,"payload":"00","hash":"md5"}"#,
    ] {
        agent.post_json("/v1/sign", body).await.is_problem(400, "BAD_REQUEST");
    }
    let nested = "[".repeat(100_000);
    agent.post_json("/v1/sign", &nested).await.is_problem(400, "BAD_REQUEST");
    let long = format!(r#"{{"tenant":"a","asset":"b","nonce":1,"payload":"{}"}}"#, "00".repeat(65 * 1024));
    agent.post_json("/v1/sign", &long).await.is_problem(413, "PAYLOAD_TOO_LARGE");
    agent.post_json("/v1/manifest", &"x".repeat(2 << 20)).await.is_problem(413, "PAYLOAD_TOO_LARGE");
    agent.post_json("/v1/manifest", "{}").await.is_problem(422, "MANIFEST_REFUSED");
    for target in [
        "/v1/evidence",
        "/v1/evidence?nonce=00",
        "/v1/evidence?nonce=zz",
        "/v1/evidence?nonce=00&more=1",
        "/v1/keys/session?tenant=a",
        "/v1/keys/session?tenant=a&sender=b&nonce=1&algorithm=RS256",
        "/v1/keys/a/b?epoch=x",
        "/v1/keys/a/%ff",
    ] {
        agent.get(target).await.is_problem(400, "BAD_REQUEST");
    }
    let key = "k".repeat(200);
    let headers = format!("content-type: application/json\r\nidempotency-key: {key}\r\n");
    let body = r#"{"tenant":"a","asset":"b","nonce":1,"payload":"00"}"#;
    agent.post("/v1/sign", &headers, body).await.is_problem(400, "BAD_REQUEST");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_taken_if_it_is_one_and_made_if_not() {
    let agent = Agent::start().await;
    let with = async |id: &str| {
        let text =
            format!("GET /none HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-request-id: {id}\r\n\r\n");
        agent.raw(text.as_bytes()).await.problem().request_id
    };
    assert_eq!(with("Trace-1_a.b").await, "Trace-1_a.b");
    let long = "x".repeat(65);
    let mut made = Vec::new();
    for bad in ["", "a b", "<script>", long.as_str()] {
        let id = with(bad).await;
        assert_ne!(id, bad);
        made.push(id);
    }
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_not_listed_is_told_so_and_served_nothing() {
    let own = rustix::process::getuid().as_raw();
    let agent = Agent::with(client(own + 1, &Role::ALL)).await;
    for target in ["/healthz", "/v1/status", "/none"] {
        let problem = agent.get(target).await.is_problem(403, "FORBIDDEN");
        assert!(problem.detail.contains(&format!("user {own}")), "{problem:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_approves_may_ask_what_would_happen_and_has_nothing_signed() {
    let own = rustix::process::getuid().as_raw();
    let agent = Agent::with(client(own, &[Role::Approver])).await;
    let body = r#"{"tenant":"acme","asset":"b","nonce":1,"payload":"00"}"#;
    for target in ["/v1/sign", "/v1/sign?dry_run=false"] {
        let refused = agent.post_json(target, body).await.is_problem(403, "FORBIDDEN");
        assert!(refused.detail.contains("role signer,"), "{refused:?}");
    }
    // Nothing works here, but that is another reason.
    assert_eq!(agent.post_json("/v1/sign?dry_run=true", body).await.problem().status, 503);
    let agent = Agent::with(client(own, &[Role::Operator, Role::Auditor, Role::Admin])).await;
    agent.post_json("/v1/sign?dry_run=true", body).await.is_problem(403, "FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_assets_says_what_it_leaves_out() {
    let own = rustix::process::getuid().as_raw();
    let covers = async |agent: &Agent, query: &str| {
        let list = agent.get(&format!("/v1/assets{query}")).await;
        let list: AssetList = serde_json::from_str(&list.body).unwrap();
        let AssetCover { every_tenant, every_age, from_start } = list.covers;
        (every_tenant, every_age, from_start)
    };
    let agent = Agent::with(client(own, &[Role::Operator])).await;
    for (query, expected) in [
        ("", (true, true, true)),
        ("?limit=1", (true, true, true)),
        ("?tenant=acme", (false, true, true)),
        ("?older_than_s=0", (true, false, true)),
        ("?after_tenant=acme&after_asset=a", (true, true, false)),
    ] {
        assert_eq!(covers(&agent, query).await, expected, "{query}");
    }
    // One that sees the rows of its tenants only, even if these were all that there are.
    let tenants = Some(["acme".parse().unwrap()].into());
    let agent = Agent::with(ClientConfig { tenants, ..client(own, &[Role::Operator]) }).await;
    assert_eq!(covers(&agent, "").await, (false, true, true));
    assert_eq!(covers(&agent, "?tenant=other").await, (false, true, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_role_or_the_tenant_is_told_so() {
    let own = rustix::process::getuid().as_raw();
    let tenants = Some(["acme".parse().unwrap()].into());
    let agent = Agent::with(ClientConfig { tenants, ..client(own, &[Role::Signer]) }).await;
    let create = |tenant: &str| format!(r#"{{"tenant":"{tenant}","asset":"b","algorithm":"ES256"}}"#);
    let refused = agent.post_json("/v1/assets", &create("acme")).await.is_problem(403, "FORBIDDEN");
    assert!(refused.detail.contains("role operator") && !refused.detail.contains("acme"), "{refused:?}");
    agent.post_json("/v1/lock", "").await.is_problem(403, "FORBIDDEN");
    agent.post_json("/v1/manifest", "{}").await.is_problem(403, "FORBIDDEN");
    let sign = |tenant: &str| format!(r#"{{"tenant":"{tenant}","asset":"b","nonce":1,"payload":"00"}}"#);
    assert_eq!(agent.post_json("/v1/sign", &sign("acme")).await.problem().status, 503);
    for target in ["/v1/keys/other/b", "/v1/keys/session?tenant=other&sender=b&nonce=1&algorithm=ES256"] {
        let refused = agent.get(target).await.is_problem(403, "FORBIDDEN");
        assert!(refused.detail.contains("tenant") && !refused.detail.contains("acme"), "{refused:?}");
    }
    agent.post_json("/v1/sign", &sign("other")).await.is_problem(403, "FORBIDDEN");
    agent.get("/v1/keys/acme/b").await.is_problem(404, "ASSET_UNKNOWN");
    assert_eq!(agent.get("/v1/status").await.status, 200);
    agent.get("/v2").await.is_problem(404, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let own = rustix::process::getuid().as_raw();
    let one = NonZeroU32::MIN;
    let rate = Rate { requests_per_second: one, burst: one };
    let agent = Agent::with(ClientConfig { rate, ..client(own, &[]) }).await;
    let limited = async {
        loop {
            let answer = agent.get("/healthz").await;
            if answer.status != 200 {
                return answer;
            }
        }
    };
    let limited = tokio::time::timeout(PATIENCE, limited).await.unwrap();
    limited.is_problem(429, "RATE_LIMITED");
    assert!(
        limited.head.contains("retry-after: 1") || limited.head.contains("retry-after: 2"),
        "{limited:?}"
    );
    // A wrong path costs a token as well.
    let limited = async { while agent.get("/none").await.status != 429 {} };
    tokio::time::timeout(PATIENCE, limited).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_one_client_s_bound_are_refused_until_others_end() {
    let agent = Agent::start().await;
    let mut open = Vec::new();
    for _ in 0..128 {
        let mut stream = agent.connect().await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        // It was accepted, not only queued.
        assert!(stream.read(&mut [0; 1]).await.unwrap() > 0);
        open.push(stream);
    }
    let refused = agent.get("/healthz").await;
    let problem = refused.is_problem(429, "RATE_LIMITED");
    assert!(problem.detail.contains("fewer than 128 connections of one client"), "{problem:?}");
    assert!(refused.head.contains("retry-after: 1"));
    drop(open);
    let served = async {
        while agent.get("/healthz").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_half_requests_harm_nobody() {
    let agent = Agent::start().await;
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(100));
    let long_head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024));
    for request in
        [b"\0\xff\x16\x03garbage\r\n\r\n".as_slice(), many_headers.as_bytes(), long_head.as_bytes()]
    {
        let status = agent.raw(request).await.status;
        assert!(matches!(status, 400 | 431), "{status}");
    }
    // The body never comes whole.
    let mut half = agent.connect().await;
    half.write_all(
        b"POST /v1/sign HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
    )
    .await
    .unwrap();
    half.shutdown().await.unwrap();
    drop(half);
    assert_eq!(agent.get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_idle_connections_close_and_the_socket_goes() {
    let agent = Agent::start().await;
    let mut idle = agent.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 1]).await.unwrap() > 0);
    let socket = agent.socket();
    let Agent { folder: _folder, ender, serving } = agent;
    ender.end();
    tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();
    assert!(!socket.exists());
    read(&mut idle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_socket_is_replaced_and_a_live_one_or_a_file_is_not() {
    let agent = Agent::start().await;
    let bind =
        async |socket: PathBuf| Server::bind(&ApiConfig { socket, tls: None }, access(client(0, &[]))).await;
    assert!(matches!(bind(agent.socket()).await, Err(BindError::InUse { .. })));
    let dead = agent.folder.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    drop(bind(dead).await.unwrap());
    let file = agent.folder.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    assert!(matches!(bind(file.clone()).await, Err(BindError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "kept");
    let missing = agent.folder.path().join("missing/agent.sock");
    assert!(matches!(bind(missing).await, Err(BindError::Io { .. })));
}
