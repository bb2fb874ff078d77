//! The system calls that no safe crate has, in Python: ptrace(2) with register sets, process_madvise(2), mapping a
//! stolen descriptor. This crate forbids unsafe code.

use std::process::Command;

use serde_json::Value;

use super::run;

const SCRIPT: &str = include_str!("reach.py");

/// Runs one of the script's verbs and returns the JSON object that it prints.
///
/// # Panics
/// When Python is missing or the script fails.
#[must_use]
pub fn reach(arguments: &[&str]) -> Value {
    let output = run(Command::new("python3").args(["-I", "-c", SCRIPT]).args(arguments), "python3");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: no JSON ({error}): {errors}"))
}
