//! The lists as JSON, for auditors, and for the test that watches whether each entry is needed.

use serde_json::{Value, json};

use super::lists::{self, Entry, Seen};
use super::{FilterError, Kind, program};

/// All lists, with the filter program that each makes.
///
/// # Errors
/// A list makes no program.
pub fn json() -> Result<Value, FilterError> {
    let kinds: Result<Vec<Value>, FilterError> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let calls: Vec<Value> = lists::of(kind).map(call).collect();
            Ok(json!({"threads": lists::threads(kind), "instructions": program(kind)?.len(), "calls": calls}))
        })
        .collect();
    Ok(json!({"architecture": std::env::consts::ARCH, "otherwise": "kill_process", "kinds": kinds?}))
}

fn call(entry: &Entry) -> Value {
    let arguments: Vec<Value> = entry
        .arguments
        .iter()
        .map(|argument| {
            json!({
                "index": argument.index,
                "mask": argument.effective_mask(),
                "value": argument.value,
                "means": argument.means,
            })
        })
        .collect();
    let (seen, why) = match entry.seen {
        Seen::Here => ("here", ""),
        Seen::SomeThread(why) => ("in some thread", why),
        Seen::Elsewhere(why) => ("on other hosts", why),
    };
    json!({
        "call": entry.call,
        "number": entry.number,
        "arguments": arguments,
        "reason": entry.reason,
        "seen": seen,
        "why": why,
    })
}
