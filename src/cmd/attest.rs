//! `sealstone attest`: fresh evidence from a running node.

use std::path::PathBuf;

use sealstone_attestation::{Evidence, Nonce};
use serde_json::json;

use super::Context;
use crate::agent::Bounds;
use crate::failure::{Failure, chain};
use crate::files;
use crate::output::{Answer, fields};

/// Take fresh evidence of this node's state, for an auditor's nonce
///
/// The auditor chooses the nonce; the file is what `sealstone verify` appraises, on any machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  sealstone attest --nonce $(openssl rand -hex 32) -o evidence.json")]
pub(super) struct Args {
    /// 16 to 64 random bytes, hex, chosen by whoever verifies
    #[arg(long, value_name = "HEX")]
    nonce: Nonce,
    /// Where the evidence goes
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Answer, Failure> {
    let Args { nonce, out } = args;
    let bytes = context.agent()?.get_bytes(format!("/v1/evidence?nonce={nonce}"), Bounds::Evidence)?;
    let evidence = Evidence::parse(&bytes).map_err(|error| {
        Failure::unusable(
            "AGENT_ANSWER",
            format!("expected evidence, found: {}", chain(&error)),
            "use the command line and the agent of the same release",
        )
    })?;
    files::replace(&out, "the evidence", &bytes)?;
    let taken_at = evidence.taken_at;
    let json =
        json!({"out": out.display().to_string(), "nonce": nonce, "taken_at": taken_at, "bytes": bytes.len()});
    let mut text = fields(&[
        ("evidence", out.display().to_string()),
        ("taken at", taken_at.to_string()),
        ("nonce", nonce.to_string()),
    ]);
    text.push_str(&format!("next: sealstone verify {} --nonce {nonce} --authority DIGEST\n", out.display()));
    Ok(Answer::done(json, text))
}
