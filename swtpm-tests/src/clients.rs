//! Independent clients: they make transactions and judge the signed ones (eth-account, solders), read tokens (python-cwt) and hold
//! documents to their schemas (jsonschema-rs).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Payloads to sign, one for each transaction; `swtpm-tests/clients/clients.py` says what a transaction is.
///
/// # Panics
/// When a client cannot make one, or the clients are not installed.
#[must_use]
pub fn build(transactions: &[Value]) -> Vec<Vec<u8>> {
    run("clients.py", "build", transactions)
        .iter()
        .map(|payload| hex::decode(payload.as_str().expect("a payload is text")).expect("in hex"))
        .collect()
}

/// The address of a public key, as the clients make it.
///
/// # Panics
/// When the key is none of the format's, or the clients are not installed.
#[must_use]
pub fn address(format: &str, public_key: &str) -> String {
    let answers = run("clients.py", "address", &[json!({"format": format, "public_key": public_key})]);
    answers[0].as_str().expect("an address is text").to_owned()
}

/// What the clients say of signed transactions.
///
/// # Panics
/// When the clients are not installed.
#[must_use]
pub fn check(signed: &[Value]) -> Vec<Value> {
    run("clients.py", "check", signed)
}

/// What a client (python-cwt) reads in Entity Attestation Tokens; `swtpm-tests/clients/tokens.py` says what a case is.
///
/// # Panics
/// When the clients are not installed.
#[must_use]
pub fn tokens(cases: &[Value]) -> Vec<Value> {
    run("tokens.py", "read", cases)
}

/// What a client (jsonschema-rs) says of documents and their schemas; `swtpm-tests/clients/schemas.py` says what a case is.
///
/// # Panics
/// When the clients are not installed, or a schema is none.
#[must_use]
pub fn schemas(cases: &[Value]) -> Vec<Value> {
    run("schemas.py", "check", cases)
}

/// A program of the clients' environment.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let program = root().join("target/clients/bin").join(name);
    assert!(program.is_file(), "the independent clients are not installed: run scripts/clients");
    program
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above")
}

fn run(script: &str, verb: &str, cases: &[Value]) -> Vec<Value> {
    let mut child = Command::new(program("python"))
        .arg(root().join("swtpm-tests/clients").join(script))
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let input = serde_json::to_vec(cases).expect("cases are JSON");
    child.stdin.take().expect("it is piped").write_all(&input).expect("python reads");
    let output = child.wait_with_output().expect("python ends");
    assert!(output.status.success(), "{script} {verb} failed, see above");
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).expect("python answers with JSON");
    assert_eq!(answers.len(), cases.len());
    answers
}
