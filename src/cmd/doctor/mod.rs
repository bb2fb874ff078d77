//! `sealstone doctor`: what is wrong with this machine, this folder and this node, and what to do.

mod folder;
mod host;
mod node;
mod tls;

use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use super::{Context, now};
use crate::failure::Failure;
use crate::output::{Answer, json_of, shown};

/// Examine this machine, a node's folder and the running node
///
/// Each line is ok, warn or fail, with what to do. Exit code 0 without a fail, else 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  sealstone doctor --dir /var/lib/sealstone\n  sealstone doctor --json")]
pub(super) struct Args {
    /// The node's folder, made by `sealstone init`
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// How one examination came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    /// Works, but less well or less safely than it could.
    Warn,
    /// Does not work, or must not be relied on.
    Fail,
}

/// One line of the diagnosis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Line {
    name: &'static str,
    result: Health,
    /// Expected, found.
    detail: String,
    /// Empty if there is nothing to do.
    action: String,
}

impl Line {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, result: Health::Ok, detail: detail.into(), action: String::new() }
    }

    fn warn(name: &'static str, detail: impl Into<String>, action: impl Into<String>) -> Self {
        Self { name, result: Health::Warn, detail: detail.into(), action: action.into() }
    }

    fn fail(name: &'static str, detail: impl Into<String>, action: impl Into<String>) -> Self {
        Self { name, result: Health::Fail, detail: detail.into(), action: action.into() }
    }
}

pub(super) fn run(args: Args, context: &Context) -> Result<Answer, Failure> {
    let Args { dir } = args;
    let now = now()?;
    let mut lines = node::examine(context, now);
    lines.extend(host::examine(&host::Host::this()));
    if let Some(dir) = dir {
        lines.extend(folder::examine(&dir));
        lines.extend(tls::examine(&dir, now));
    }
    let healthy = lines.iter().all(|line| line.result != Health::Fail);
    let text = described(&lines, healthy);
    Ok(Answer::verdict(healthy, json!({"healthy": healthy, "checks": json_of(&lines)}), text))
}

fn described(lines: &[Line], healthy: bool) -> String {
    let mut text = String::new();
    for Line { name, result, detail, action } in lines {
        let result = match result {
            Health::Ok => "ok  ",
            Health::Warn => "warn",
            Health::Fail => "FAIL",
        };
        text.push_str(&format!("{result} {name}: {}\n", shown(detail)));
        if !action.is_empty() {
            text.push_str(&format!("       what to do: {}\n", shown(action)));
        }
    }
    text.push_str(if healthy { "nothing fails\n" } else { "something fails: see above\n" });
    text
}
