//! `sealstone enroll activate`: the node's TPM answers a challenge.

use std::path::PathBuf;

use sealstone_wire::api::Activated;
use serde_json::json;

use super::files::{self, Challenge, FORMAT, Response};
use crate::agent::Bounds;
use crate::cmd::Context;
use crate::failure::Failure;
use crate::output::{Answer, fields, json_of};

/// On the node: have its TPM open the authority's challenge
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  sealstone enroll activate challenge.json -o response.json")]
pub(in crate::cmd) struct Args {
    /// What the authority wrote with `sealstone enroll challenge`
    challenge: PathBuf,
    /// Where the answer goes
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Answer, Failure> {
    let Args { challenge, out } = args;
    let Challenge { format: _, ask } = files::read(&challenge, "a challenge", "challenge")?;
    let activated: Activated =
        context.agent()?.post("/v1/enrolment/activate".to_owned(), &json_of(&ask), Bounds::Evidence)?;
    crate::files::replace(&out, "the answer", &files::json(&Response { format: FORMAT, activated }))?;
    let mut text = fields(&[("answer", out.display().to_string())]);
    text.push_str("next, where the authority is: sealstone enroll sign\n");
    Ok(Answer::done(json!({"out": out.display().to_string()}), text))
}
