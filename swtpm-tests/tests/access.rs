//! Who may ask what, on the socket and on the network: roles, tenants, certificates good and bad, rates, and rules that
//! change while clients are connected.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sealstone_swtpm_tests::Node;
use sealstone_swtpm_tests::http::Answer;
use sealstone_swtpm_tests::node::sign_body;
use sealstone_swtpm_tests::pki::{self, Authority, Flaw, Identity};
use sealstone_swtpm_tests::tls::Connection;
use sealstone_swtpm_tests::wait::{PATIENCE, until};
use serde_json::{Value, json};

/// Each route, a request to it, and who may ask: signer, operator, approver, auditor, admin, a client without any role.
const ROUTES: [(&str, &str, &str, &str); 29] = [
    ("POST", "/v1/sign", r#"{"tenant":"acme","asset":"none","nonce":1,"payload":"00"}"#, "s-----"),
    (
        "POST",
        "/v1/sign?dry_run=true",
        r#"{"tenant":"acme","asset":"none","nonce":1,"payload":"00"}"#,
        "s-p---",
    ),
    ("GET", "/v1/assets", "", "so-u--"),
    ("POST", "/v1/assets", r#"{"tenant":"acme","asset":"hot","algorithm":"ES256"}"#, "-o----"),
    ("POST", "/v1/assets/acme/none/rotate", "", "-o----"),
    ("GET", "/v1/keys/session?tenant=acme&sender=s&nonce=1&algorithm=ES256", "", "so-u--"),
    ("GET", "/v1/keys/acme/none", "", "so-u--"),
    ("POST", "/v1/assets/acme/none/retire", "", "-o----"),
    ("GET", "/v1/assets/acme/none/epochs", "", "so-u--"),
    ("GET", "/v1/reservations", "", "-o-u--"),
    ("GET", "/v1/reservations/999", "", "-o-u--"),
    ("POST", "/v1/reservations/999/void", r#"{"reason":"none"}"#, "-o----"),
    (
        "POST",
        "/v1/nonces/release",
        r#"{"tenant":"acme","asset":"none","chain_id":1,"from":1,"to":2,"reason":"none"}"#,
        "-o----",
    ),
    ("GET", "/v1/policy", "", "-o-ua-"),
    ("POST", "/v1/policy/reload", "", "----a-"),
    ("GET", "/v1/audit", "", "---u--"),
    ("GET", "/v1/audit/log/checkpoint", "", "---u--"),
    ("GET", "/v1/audit/log/tile/0/000.p/1", "", "---u--"),
    ("GET", "/v1/evidence?nonce=00112233445566778899aabbccddeeff", "", "sopua0"),
    ("GET", "/v1/enrolment", "", "sopua0"),
    ("POST", "/v1/enrolment/activate", r#"{"credential":"00","encrypted_seed":"00"}"#, "-o----"),
    ("GET", "/v1/manifest", "", "sopua0"),
    ("POST", "/v1/manifest", "{}", "----a-"),
    ("GET", "/v1/status", "", "sopua0"),
    ("GET", "/v1/openapi.json", "", "sopua0"),
    ("GET", "/healthz", "", "sopua0"),
    ("GET", "/readyz", "", "sopua0"),
    ("GET", "/metrics", "", "sopua0"),
    // The last: whoever may, does.
    ("POST", "/v1/lock", "", "----a-"),
];

const ROLES: [(&str, char); 6] =
    [("signer", 's'), ("operator", 'o'), ("approver", 'p'), ("auditor", 'u'), ("admin", 'a'), ("", '0')];

/// A node with a TLS listener, and who issues its clients' certificates.
struct Scene {
    node: Node,
    authority: Authority,
    port: u16,
}

impl Scene {
    /// A ready node whose clients beside root are these.
    fn new(clients: &str) -> Self {
        let mut node = Node::init();
        let authority = Authority::new(&node.folder(), "clients");
        let server = authority.server("server");
        let revoked = node.path("clients.crl");
        authority.revoke(&revoked, &[], true);
        let section = format!(
            "[api.tls]\nlisten = \"127.0.0.1:0\"\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\ncrl = [{:?}]\n\n{clients}\n[store]\n",
            server.certificate, server.key, authority.certificate, revoked
        );
        node.edit("agent.toml", |text| text.replace("[store]\n", &section));
        node.start_enclave();
        node.start_agent();
        let _ = node.approve_first();
        node.await_ready(true);
        let port = port(&node);
        Self { node, authority, port }
    }

    fn open(&self, identity: &Identity) -> Connection {
        Connection::open(self.port, &self.authority.certificate, Some(identity)).unwrap()
    }

    fn ask(&self, identity: &Identity, method: &str, path: &str, body: &str) -> Answer {
        self.open(identity).last(method, path, body.as_bytes()).unwrap()
    }

    /// What a peer is answered that should not be: nothing.
    fn is_let_in(&self, identity: Option<&Identity>) -> bool {
        let opened = Connection::open(self.port, &self.authority.certificate, identity);
        opened.and_then(|mut connection| connection.last("GET", "/healthz", b"")).is_ok()
    }

    /// Changes the configuration, has it read, and waits until the agent says that it was, or was not.
    fn reload(&mut self, change: impl FnOnce(String) -> String, expected: &str) {
        let log = self.node.path("agent.log");
        let said = |log: &PathBuf| std::fs::read_to_string(log).unwrap().matches(expected).count();
        let before = said(&log);
        self.node.edit("agent.toml", change);
        self.node.agent().signal(Signal::HUP);
        until("the agent to reload", || (said(&log) > before).then_some(()));
    }
}

const RELOADED: &str = "were read anew";
const NOT_RELOADED: &str = "nothing was reloaded";

/// The port that the agent chose, from its log.
fn port(node: &Node) -> u16 {
    let log = std::fs::read_to_string(node.path("agent.log")).unwrap();
    let address = log.split("tls=\"127.0.0.1:").nth(1).unwrap_or_else(|| panic!("{log}"));
    address.split('"').next().unwrap().parse().unwrap()
}

/// An entry for a client that is known by its certificate's URI.
fn entry(name: &str, roles: &[&str], more: &str) -> String {
    let uri = pki::uri(name);
    format!(
        "[[access.client]]\nname = \"{name}\"\ncertificate = {{ uri = \"{uri}\" }}\nroles = {roles:?}\n{more}\n"
    )
}

fn forbidden(answer: &Answer) -> bool {
    answer.status == 403 && answer.code() == "FORBIDDEN"
}

#[test]
fn each_role_does_what_its_routes_need_and_nothing_else() {
    let name = |role: &str| if role.is_empty() { "nobody".to_owned() } else { format!("the-{role}") };
    let entries: String = ROLES
        .iter()
        .map(|(role, _)| {
            let roles: Vec<&str> = [*role].into_iter().filter(|role| !role.is_empty()).collect();
            entry(&name(role), &roles, "")
        })
        .collect();
    let scene = Scene::new(&entries);
    let clients: Vec<(Identity, char)> =
        ROLES.iter().map(|(role, mark)| (scene.authority.client(&name(role), Flaw::None), *mark)).collect();
    for (method, path, body, allowed) in ROUTES {
        for (client, mark) in &clients {
            let answer = scene.ask(client, method, path, body);
            if allowed.contains(*mark) {
                assert!(!forbidden(&answer), "{method} {path} as {mark}: {answer:?}");
                assert!(answer.status < 500, "{method} {path} as {mark}: {answer:?}");
            } else {
                assert!(forbidden(&answer), "{method} {path} as {mark}: {answer:?}");
                let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains("the role"), "{detail}");
                assert!(!detail.contains("acme") && !detail.contains("none named"), "{detail}");
            }
        }
    }
    // The document names the same routes.
    let document = scene.ask(&clients[0].0, "GET", "/v1/openapi.json", "").json();
    let described: usize =
        document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    // A dry run is another question on the route that signs.
    let routes = ROUTES.iter().filter(|(_, path, ..)| !path.ends_with("dry_run=true")).count();
    assert_eq!(described, routes, "each route is in this story");
    // An unknown user of this machine, and root, who is a client.
    assert_eq!(scene.node.try_get("/healthz").unwrap().status, 200);
}

#[test]
fn who_proves_nothing_gets_no_word() {
    let scene = Scene::new(&entry("good", &["auditor"], ""));
    let folder = scene.node.folder();
    let foreign = Authority::new(&folder, "foreign");
    // The same name, another key: whom the certificate says that it comes from is not who signed it.
    let impostor =
        Authority::new(&std::fs::create_dir(folder.join("i")).map(|()| folder.join("i")).unwrap(), "clients");
    for (what, identity) in [
        ("no certificate", None),
        ("expired", Some(scene.authority.client("good", Flaw::Expired))),
        ("not yet", Some(scene.authority.client("good", Flaw::NotYet))),
        ("a server's", Some(scene.authority.client("good", Flaw::ForServers))),
        ("a foreign authority's", Some(foreign.client("good", Flaw::None))),
        ("an impostor's", Some(impostor.client("good", Flaw::None))),
        ("self-signed", Some(pki::self_signed(&folder, "good"))),
    ] {
        assert!(!scene.is_let_in(identity.as_ref()), "{what}");
    }
    let good = scene.authority.client("good", Flaw::None);
    assert_eq!(scene.ask(&good, "GET", "/v1/status", "").status, 200);
    // A good certificate of nobody that is listed.
    let stranger = scene.authority.client("stranger", Flaw::None);
    for path in ["/healthz", "/v1/status", "/none"] {
        let answer = scene.ask(&stranger, "GET", path, "");
        assert!(forbidden(&answer), "{answer:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("good"), "{answer:?}");
    }
    // Other protocols: HTTP without TLS, nothing but noise, an older TLS.
    for bytes in [
        &b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"[..],
        &[0; 64],
        &[0x16; 600],
        b"\x16\x03\x01\x00\x05hello",
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", scene.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP") && answer.len() < 100, "{answer:?}");
    }
    for (version, let_in) in [("-tls1_2", false), ("-tls1_3", true)] {
        let output = Command::new("openssl")
            .args(["s_client", version, "-connect", &format!("127.0.0.1:{}", scene.port), "-quiet"])
            .args(["-cert".as_ref(), good.certificate.as_os_str(), "-key".as_ref(), good.key.as_os_str()])
            .args(["-CAfile".as_ref(), scene.authority.certificate.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .and_then(|mut child| {
                let _ = child
                    .stdin
                    .as_mut()
                    .expect("piped")
                    .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
                child.wait_with_output()
            })
            .expect("this story needs openssl: apt-get install openssl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.starts_with("HTTP/1.1 200"), let_in, "{version}: {output:?}");
    }
    assert_eq!(scene.ask(&good, "GET", "/healthz", "").status, 200);
}

#[test]
fn silent_peers_keep_nobody_out() {
    let scene = Scene::new(&entry("good", &[], ""));
    let good = scene.authority.client("good", Flaw::None);
    let silent: Vec<TcpStream> =
        (0..400).map(|_| TcpStream::connect(("127.0.0.1", scene.port)).unwrap()).collect();
    for _ in 0..10 {
        assert_eq!(scene.ask(&good, "GET", "/healthz", "").status, 200);
        assert_eq!(scene.node.try_get("/healthz").unwrap().status, 200);
    }
    drop(silent);
}

#[test]
fn rules_change_while_clients_are_connected() {
    let mut scene = Scene::new(
        &(entry("stays", &["auditor"], "") + &entry("leaves", &["auditor"], "") + &entry("revoked", &[], "")),
    );
    let [stays, leaves, revoked] =
        ["stays", "leaves", "revoked"].map(|name| scene.authority.client(name, Flaw::None));
    let mut connections = [&stays, &leaves, &revoked].map(|identity| scene.open(identity));
    for connection in &mut connections {
        assert_eq!(connection.get("/healthz").unwrap().status, 200);
    }
    let [mut staying, mut leaving, mut going] = connections;
    let first = staying.agent_certificate();

    // What cannot be used changes nothing: neither the part that could, nor anybody's connection.
    for (from, to) in [
        ("clients.crl", "absent.crl"),
        ("server.tls-key", "stays.tls-key"),
        ("roles = [\"auditor\"]", "roles = [\"king\"]"),
        ("127.0.0.1:0", "127.0.0.1:1"),
    ] {
        let before = std::fs::read_to_string(scene.node.path("agent.toml")).unwrap();
        assert!(before.contains(from), "{from}");
        scene.reload(
            |text| text.replace(from, to).replace("name = \"leaves\"", "name = \"gone\""),
            NOT_RELOADED,
        );
        scene.node.edit("agent.toml", |_| before);
        for connection in [&mut staying, &mut leaving, &mut going] {
            assert_eq!(connection.get("/healthz").unwrap().status, 200, "{to}");
        }
        assert_eq!(scene.ask(&leaves, "GET", "/v1/assets", "").status, 200, "{to}");
    }

    // One client loses its role, another its place, a third its certificate; the agent gets a new one.
    let next = scene.authority.server("server-2");
    scene.authority.revoke(&scene.node.path("clients.crl"), &[&revoked], true);
    let leaving_entry = entry("leaves", &["auditor"], "");
    scene.reload(
        |text| {
            text.replace(&leaving_entry, "")
                .replace("server.crt", "server-2.crt")
                .replace("server.tls-key", "server-2.tls-key")
                .replace("roles = [\"auditor\"]", "roles = [\"operator\"]")
        },
        RELOADED,
    );
    assert!(next.certificate.exists());
    for (what, connection) in [("a removed client's", &mut leaving), ("a revoked client's", &mut going)] {
        assert!(connection.is_closed(), "{what} connection");
    }
    assert!(!scene.is_let_in(Some(&revoked)), "a revoked certificate is refused at the handshake");
    assert!(forbidden(&scene.ask(&leaves, "GET", "/healthz", "")));
    // The same connection, under its new role.
    let create = staying.get("/v1/assets").unwrap();
    assert_eq!(create.status, 200);
    let body = json!({"tenant": "acme", "asset": "hot", "algorithm": "ES256"}).to_string();
    assert_eq!(scene.ask(&stays, "POST", "/v1/assets", &body).status, 200);
    let answer = staying.last("POST", "/v1/assets", body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_ne!(scene.open(&stays).agent_certificate(), first, "the new certificate is shown");

    // A list that has ended vouches for nobody.
    let mut open = scene.open(&stays);
    assert_eq!(open.get("/healthz").unwrap().status, 200);
    scene.authority.revoke(&scene.node.path("clients.crl"), &[], false);
    scene.reload(|text| text, RELOADED);
    assert!(open.is_closed());
    assert!(!scene.is_let_in(Some(&stays)) && !scene.is_let_in(Some(&revoked)));
    // Nor does one of another authority.
    let other = Authority::new(&scene.node.folder(), "other");
    other.revoke(&scene.node.path("clients.crl"), &[], true);
    scene.reload(|text| text, RELOADED);
    assert!(!scene.is_let_in(Some(&stays)));
    assert_eq!(scene.node.try_get("/healthz").unwrap().status, 200, "the socket is not concerned");
}

#[test]
fn a_client_asks_as_often_as_its_rate_allows() {
    let rate = "rate = { requests_per_second = 2, burst = 5 }";
    let scene = Scene::new(&(entry("eager", &[], rate) + &entry("other", &[], "")));
    let [eager, other] = ["eager", "other"].map(|name| scene.authority.client(name, Flaw::None));
    let mut connection = scene.open(&eager);
    let mut served = 0;
    let limited = loop {
        let answer = connection.get("/healthz").unwrap();
        if answer.status != 200 {
            break answer;
        }
        served += 1;
        assert!(served < 1_000, "no end");
    };
    assert!(served >= 5, "{served}");
    assert_eq!((limited.status, limited.code().as_str()), (429, "RATE_LIMITED"));
    assert!(limited.head.contains("retry-after: 1"), "{limited:?}");
    // Another connection is the same client; another client is not.
    until("the same bucket", || (scene.ask(&eager, "GET", "/healthz", "").status == 429).then_some(()));
    for _ in 0..20 {
        assert_eq!(scene.ask(&other, "GET", "/healthz", "").status, 200);
    }
    until("a token", || (scene.ask(&eager, "GET", "/healthz", "").status == 200).then_some(()));
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let scene = Scene::new(&entry("deaf", &[], ""));
    let deaf = scene.authority.client("deaf", Flaw::None);
    let connections = |node: &Node| -> u64 {
        let text = String::from_utf8(node.try_get("/metrics").unwrap().body).unwrap();
        let line =
            text.lines().find(|line| line.starts_with("sealstone_http_connections ")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let mut connection = scene.open(&deaf);
    // The client's side of a handshake ends before the agent's.
    until("the agent to serve it and the one that asks", || (connections(&scene.node) == 2).then_some(()));
    // Far more than sockets buffer.
    let request = b"GET /v1/openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(600);
    let begin = Instant::now();
    // The agent stops reading when it cannot write.
    let _ = connection.send(&request);
    until("the agent to give it up", || (connections(&scene.node) == 1).then_some(()));
    assert!(begin.elapsed() > Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(scene.ask(&deaf, "GET", "/healthz", "").status, 200);
}

#[test]
fn a_client_serves_its_tenants_and_names_its_requests() {
    let tenants = "tenants = [\"acme\"]";
    let roles = ["signer", "operator"];
    let scene = Scene::new(&(entry("acme-desk", &roles, tenants) + &entry("all-desk", &roles, "")));
    let [acme, all] = ["acme-desk", "all-desk"].map(|name| scene.authority.client(name, Flaw::None));
    let asset = |tenant: &str| json!({"tenant": tenant, "asset": "hot", "algorithm": "ES256"}).to_string();
    assert_eq!(scene.ask(&all, "POST", "/v1/assets", &asset("other")).status, 200);
    assert_eq!(scene.ask(&acme, "POST", "/v1/assets", &asset("acme")).status, 200);
    let sign = |tenant: &str, name: &str| {
        json!({"tenant": tenant, "asset": name, "nonce": 1, "payload": "00"}).to_string()
    };
    // The same word for what there is and what there is not.
    let mut details = Vec::new();
    for (method, path, body) in [
        ("POST", "/v1/assets", asset("other")),
        ("POST", "/v1/assets/other/hot/rotate", String::new()),
        ("POST", "/v1/assets/other/none/rotate", String::new()),
        ("GET", "/v1/keys/other/hot", String::new()),
        ("GET", "/v1/keys/nobody/none", String::new()),
        ("GET", "/v1/keys/session?tenant=other&sender=s&nonce=1&algorithm=ES256", String::new()),
        ("POST", "/v1/sign", sign("other", "hot")),
        ("POST", "/v1/sign", sign("other", "none")),
        ("POST", "/v1/sign", sign("Acme", "hot")),
    ] {
        let answer = scene.ask(&acme, method, path, &body);
        assert!(forbidden(&answer), "{method} {path}: {answer:?}");
        details.push(answer.json()["detail"].clone());
    }
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");
    let listed = |identity: &Identity| -> Vec<Value> {
        let list = scene.ask(identity, "GET", "/v1/assets", "").json();
        list["assets"].as_array().unwrap().iter().map(|asset| asset["tenant"].clone()).collect()
    };
    assert_eq!(listed(&acme), [json!("acme")]);
    assert_eq!(listed(&all), [json!("acme"), json!("other")]);
    assert_eq!(scene.ask(&all, "POST", "/v1/sign", &sign("other", "hot")).status, 200);

    // An idempotency key is a client's own.
    let keyed = |identity: &Identity, nonce: u64| {
        let body = sign_body("hot", nonce, b"pay").to_string();
        let mut connection = scene.open(identity);
        connection
            .send(
                format!(
                    "POST /v1/sign HTTP/1.1\r\nhost: a\r\nidempotency-key: k\r\ncontent-type: application/json\r\n\
                     content-length: {}\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            )
            .unwrap();
        connection.answer().unwrap()
    };
    assert_eq!(keyed(&acme, 10).status, 200);
    assert_eq!(keyed(&all, 11).status, 200, "another client's key is another key");
    assert_eq!(keyed(&acme, 12).code(), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(keyed(&acme, 10).status, 200);
}

#[test]
fn every_command_works_over_tls() {
    let scene = Scene::new("");
    let by_key = scene.authority.client("desk", Flaw::None);
    let mut scene = scene;
    let pinned = format!(
        "[[access.client]]\nname = \"desk\"\ncertificate = {{ public_key_sha256 = [\"{}\"] }}\n\
         roles = [\"signer\", \"operator\"]\n\n[store]\n",
        by_key.key_digest
    );
    scene.reload(|text| text.replace("[store]\n", &pinned), RELOADED);
    let cli = |identity: &Identity, authority: &str, host: &str, arguments: &[&str]| {
        let url = format!("https://{host}:{}", scene.port);
        let (certificate, key) =
            (identity.certificate.display().to_string(), identity.key.display().to_string());
        let mut all =
            vec!["--url", &url, "--tls-certificate", &certificate, "--tls-key", &key, "--tls-ca", authority];
        all.extend(arguments);
        scene.node.cli(&all)
    };
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(cli(&by_key, "clients.pem", host, &["status", "--json"]).expect(0).json()["ready"], true);
    }
    let create = ["asset", "create", "--tenant", "acme", "--asset", "hot", "--algorithm", "EdDSA"];
    let _ = cli(&by_key, "clients.pem", "localhost", &create).expect(0);
    let sign = ["sign", "--tenant", "acme", "--asset", "hot", "--nonce", "1", "--payload", "00", "--json"];
    assert_eq!(cli(&by_key, "clients.pem", "localhost", &sign).expect(0).json()["algorithm"], "EdDSA");
    let refused = cli(&by_key, "clients.pem", "localhost", &["lock"]).expect(1);
    assert!(refused.stderr.contains("FORBIDDEN") && refused.stderr.contains("admin"), "{refused:?}");

    let foreign = Authority::new(&scene.node.folder(), "foreign");
    let unknown = foreign.client("desk", Flaw::None);
    let ran = cli(&unknown, "clients.pem", "localhost", &["status"]).expect(2);
    assert!(ran.stderr.contains("AGENT_UNREACHABLE"), "{ran:?}");
    // An agent that another authority vouches for, and one of another name.
    let ran = cli(&by_key, "foreign.pem", "localhost", &["status"]).expect(2);
    assert!(ran.stderr.contains("AGENT_UNREACHABLE"), "{ran:?}");
    let ran = cli(&by_key, "clients.pem", "127.0.0.2", &["status"]).expect(2);
    assert!(ran.stderr.contains("AGENT_UNREACHABLE"), "{ran:?}");

    let folder = scene.node.folder().display().to_string();
    let doctor = scene.node.cli(&["doctor", "--dir", &folder, "--json"]).json();
    let line = |name: &str| {
        doctor["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()["result"]
            .clone()
    };
    assert_eq!((line("tls.certificate"), line("tls.crl")), (json!("ok"), json!("ok")));
    let metrics = String::from_utf8(scene.node.try_get("/metrics").unwrap().body).unwrap();
    let expires = metrics
        .lines()
        .find_map(|line| line.strip_prefix("sealstone_tls_certificate_expires_seconds "))
        .unwrap_or_else(|| panic!("{metrics}"));
    assert!(expires.parse::<f64>().unwrap() > 86_400.0, "{expires}");
}
