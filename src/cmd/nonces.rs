//! `sealstone nonces`: nonces that a chain gave back.

use clap::Subcommand;
use sealstone_wire::PathText;
use sealstone_wire::api::{OperatorReason, ReleaseBody, Released};

use super::Context;
use crate::agent::Bounds;
use crate::failure::Failure;
use crate::output::{Answer, json_of};

/// Release nonces that a chain's re-organisation took back
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  \
            sealstone nonces release --tenant acme --asset treasury --chain-id 1 --from 7 --to 9 --reason \"re-organisation at 4711\"")]
pub(super) enum Verb {
    /// Free a range of nonces that were signed or voided, so that they can sign something else
    ///
    /// What was signed with them stays valid: release only what the chain forgot for good. Refused (exit code 1) while a
    /// reservation among them is open.
    #[command(after_help = "Example:\n  \
            sealstone nonces release --tenant acme --asset treasury --chain-id 1 --from 7 --to 9 --reason \"re-organisation at 4711\"")]
    Release(ReleaseArgs),
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whose").required(true).args(["asset", "sender"]))]
pub(super) struct ReleaseArgs {
    /// Who owns the key
    #[arg(long)]
    tenant: PathText,
    /// The asset
    #[arg(long)]
    asset: Option<PathText>,
    /// The sender of keys for one use
    #[arg(long)]
    sender: Option<PathText>,
    /// The chain
    #[arg(long)]
    chain_id: u64,
    /// The first nonce
    #[arg(long, value_name = "NONCE")]
    from: u64,
    /// The last nonce
    #[arg(long, value_name = "NONCE")]
    to: u64,
    /// Why, for the audit log: at most 140 characters
    #[arg(long)]
    reason: OperatorReason,
}

pub(super) fn run(verb: Verb, context: &Context) -> Result<Answer, Failure> {
    let Verb::Release(ReleaseArgs { tenant, asset, sender, chain_id, from, to, reason }) = verb;
    let body = ReleaseBody { tenant, asset, session: sender, chain_id, from, to, reason };
    let released: Released =
        context.agent()?.post("/v1/nonces/release".to_owned(), &body, Bounds::Ordinary)?;
    let ids: Vec<String> = released.replaced.iter().map(ToString::to_string).collect();
    let text = if ids.is_empty() {
        "nothing was released: none of these nonces was taken\n".to_owned()
    } else {
        format!("released; replaced reservations: {}\n", ids.join(", "))
    };
    Ok(Answer::done(json_of(&released), text))
}
