//! `sealstone lock`: wipe the root from the enclave's memory.

use serde_json::json;

use super::Context;
use crate::agent::Bounds;
use crate::failure::Failure;
use crate::output::Answer;

/// Wipe the root from the enclave's memory and end its session
///
/// The sealed root stays on disk. Signing stops until the agent is started again, which
/// unlocks the enclave.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  sealstone lock")]
pub(super) struct Args {}

pub(super) fn run(args: Args, context: &Context) -> Result<Answer, Failure> {
    let Args {} = args;
    context.agent()?.post_bytes("/v1/lock".to_owned(), None, Bounds::Ordinary)?;
    Ok(Answer::done(json!({"locked": true}), "locked: nothing signs until the agent is started again\n"))
}
