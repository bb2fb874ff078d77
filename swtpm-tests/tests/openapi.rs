//! What the OpenAPI document promises holds for whatever schemathesis thinks of to send to a ready node: no fault of the
//! server, no answer that the document does not have.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

use std::path::Path;
use std::process::Command;

use sealstone_swtpm_tests::pki::{self, Authority, Flaw};
use sealstone_swtpm_tests::{Node, clients};

/// Requests to each operation in each phase that makes them up; the phase of edge cases has its own, fixed number.
const EXAMPLES: &str = "60";

/// The same requests each time.
const SEED: &str = "20261121";

/// A request that waits longer than the agent's own deadline for the TPM has no answer.
const REQUEST_TIMEOUT_S: &str = "310";

/// Starts schemathesis with threads that change places only when one waits. CPython before 3.11.8 (gh-106905) counts the
/// depth of a syntax tree in one place for all threads, and fails when two of them read source code at once.
const START: &str =
    "import sys; sys.setswitchinterval(60); from schemathesis.cli import schemathesis; schemathesis()";

/// What must hold of every answer. Not that whatever the document allows is accepted: it cannot say that exactly one of
/// two fields is given, or that an asset exists.
const CHECKS: &str = "not_a_server_error,negative_data_rejection,unsupported_method,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,response_headers_conformance";

#[test]
fn nothing_that_is_sent_is_answered_otherwise_than_the_document_says() {
    let program = clients::program("python");
    let mut node = Node::init();
    let authority = Authority::new(&node.folder(), "clients");
    let server = authority.server("server");
    let section = format!(
        "[api.tls]\nlisten = \"127.0.0.1:0\"\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\n\n\
         [[access.client]]\nname = \"tester\"\ncertificate = {{ uri = \"{}\" }}\n\
         roles = [\"signer\", \"operator\", \"approver\", \"auditor\", \"admin\"]\n\n[store]\n",
        server.certificate,
        server.key,
        authority.certificate,
        pki::uri("tester")
    );
    node.edit("agent.toml", |text| text.replace("[store]\n", &section));
    node.start_enclave();
    node.start_agent();
    let _ = node.approve_first();
    node.await_ready(true);
    node.create_asset("hot", "ES256");
    let tester = authority.client("tester", Flaw::None);

    let served = node.try_get("/v1/openapi.json").unwrap();
    let copy = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json")).unwrap();
    assert_eq!(served.json(), serde_json::from_slice::<serde_json::Value>(&copy).unwrap());
    std::fs::write(node.path("openapi.json"), &served.body).unwrap();

    let log = std::fs::read_to_string(node.path("agent.log")).unwrap();
    let port =
        log.split("tls=\"127.0.0.1:").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    let output = Command::new(program)
        .args(["-c", START, "run"])
        .arg(node.path("openapi.json"))
        .args(["--url", &format!("https://localhost:{port}")])
        .arg("--request-cert")
        .arg(&tester.certificate)
        .arg("--request-cert-key")
        .arg(&tester.key)
        .arg("--tls-verify")
        .arg(&authority.certificate)
        // A node that is locked, as this asks, answers nothing else any more; another story locks one. Manifests are
        // applied only if they are signed, which none is that is made up.
        .args(["--exclude-path", "/v1/lock"])
        .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", EXAMPLES, "--seed", SEED, "--generation-deterministic"])
        .args(["--request-timeout", REQUEST_TIMEOUT_S, "--no-color"])
        .args(["--workers", "1", "--warnings", "off", "--continue-on-failure"])
        .current_dir(node.folder())
        .output()
        .expect("it exists");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("27 selected") || said.contains("27/28"), "every operation but one: {said}");
    // It signs still.
    assert_eq!(node.sign("hot", 1 << 60, b"pay").status, 200);
}
