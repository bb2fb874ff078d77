//! What a node left behind: its audit log and its reservations, read beside the running agent by another program.

use std::process::Command;

use serde_json::Value;

use crate::Node;

/// The records of a node's audit log, oldest first.
///
/// # Panics
/// When there is no store, or a record is no JSON.
#[must_use]
pub fn records(node: &Node) -> Vec<Value> {
    query(node, "SELECT CAST(leaf AS TEXT) FROM audit ORDER BY idx")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("no record ({error}): {line}")))
        .collect()
}

/// The records of decisions: what was signed, refused, released and voided.
#[must_use]
pub fn decisions(node: &Node) -> Vec<Value> {
    let kinds = ["signed", "refused", "released", "voided"];
    records(node)
        .into_iter()
        .filter(|record| record["kind"].as_str().is_some_and(|kind| kinds.contains(&kind)))
        .collect()
}

/// Rows of a table.
///
/// # Panics
/// When there is no store.
#[must_use]
pub fn count(node: &Node, table: &str) -> u64 {
    query(node, &format!("SELECT count(*) FROM {table}")).trim().parse().expect("a count is a number")
}

/// Signatures that the enclave has made since it was unlocked.
///
/// # Panics
/// When the agent does not answer.
#[must_use]
pub fn signatures(node: &Node) -> u64 {
    let status = node.try_get("/v1/status").expect("the agent answers").json();
    status["enclave"]["sequence"].as_u64().unwrap_or_else(|| panic!("no sequence: {status}"))
}

fn query(node: &Node, sql: &str) -> String {
    let output = Command::new("sqlite3")
        .args(["-readonly", "-cmd", ".timeout 10000"])
        .arg(node.path("agent.db"))
        .arg(sql)
        .output()
        .expect("this story needs sqlite3: apt-get install sqlite3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("records are UTF-8")
}
