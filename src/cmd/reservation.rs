//! `sealstone reservation`: nonces that were given to requests.

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use sealstone_wire::PathText;
use sealstone_wire::api::{OperatorReason, ReservationBody, ReservationList, VoidBody};

use super::Context;
use crate::agent::{Agent, Bounds};
use crate::failure::Failure;
use crate::output::{Answer, fields, json_of, shown};
use crate::query::{Query, all_pages};

/// List, show and void reservations: nonces that were given to requests
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  sealstone reservation list --state reserved\n  \
            sealstone reservation void 17 --reason \"the desk gave the order up\"")]
pub(super) enum Verb {
    /// List reservations, in the order of their numbers
    #[command(after_help = "Examples:\n  sealstone reservation list --state reserved\n  \
            sealstone reservation list --tenant acme --asset treasury --chain-id 1 --limit 100 --after 4711")]
    List(ListArgs),
    /// Show one reservation
    #[command(after_help = "Example:\n  sealstone reservation show 17 --json")]
    Show {
        /// Its number
        id: u64,
    },
    /// Burn the nonce of an open reservation: it is never signed
    ///
    /// First see on the chain that the transaction did not happen: its signature may have been made. Exit code 1 if the
    /// reservation is not open any more.
    #[command(
        after_help = "Example:\n  sealstone reservation void 17 --reason \"the desk gave the order up\""
    )]
    Void {
        /// Its number
        id: u64,
        /// Why, for the audit log: at most 140 characters
        #[arg(long)]
        reason: OperatorReason,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only those in this state
    #[arg(long, value_parser = PossibleValuesParser::new(["reserved", "signed", "voided", "replaced"]))]
    state: Option<String>,
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<PathText>,
    /// Only of this asset
    #[arg(long, requires = "tenant", conflicts_with = "sender")]
    asset: Option<PathText>,
    /// Only of this sender of keys for one use
    #[arg(long, requires = "tenant")]
    sender: Option<PathText>,
    /// Only on this chain
    #[arg(long)]
    chain_id: Option<u64>,
    /// One page of at most so many, 1 to 1000 [default: all pages]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: Option<u64>,
    /// Only those with a greater number
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
}

pub(super) fn run(verb: Verb, context: &Context) -> Result<Answer, Failure> {
    let agent = context.agent()?;
    match verb {
        Verb::List(args) => list(&args, &agent),
        Verb::Show { id } => {
            let found: ReservationBody = agent.get(format!("/v1/reservations/{id}"), Bounds::Ordinary)?;
            Ok(Answer::done(json_of(&found), described(&found)))
        }
        Verb::Void { id, reason } => {
            let body = VoidBody { reason };
            let voided: ReservationBody =
                agent.post(format!("/v1/reservations/{id}/void"), &body, Bounds::Ordinary)?;
            Ok(Answer::done(json_of(&voided), described(&voided)))
        }
    }
}

fn list(args: &ListArgs, agent: &Agent) -> Result<Answer, Failure> {
    let ListArgs { state, tenant, asset, sender, chain_id, limit, after } = args;
    let page = |after: Option<u64>| -> Result<ReservationList, Failure> {
        let query = Query::of("/v1/reservations")
            .with("state", state.as_ref())
            .with("tenant", tenant.as_ref())
            .with("asset", asset.as_ref())
            .with("session", sender.as_ref())
            .with("chain_id", *chain_id)
            .with("limit", *limit)
            .with("after", after);
        agent.get(query.target(), Bounds::List)
    };
    let list = match limit {
        Some(_) => page(*after)?,
        None => {
            let rows = all_pages(|next: Option<u64>| {
                let ReservationList { reservations, next } = page(next.or(*after))?;
                Ok((reservations, next))
            })?;
            ReservationList { reservations: rows, next: None }
        }
    };
    let ReservationList { reservations, next } = &list;
    let mut text: String = reservations.iter().map(line).collect();
    if reservations.is_empty() {
        text.push_str("no reservations\n");
    }
    if let Some(next) = next {
        text.push_str(&format!("more after {next}: --after {next}\n"));
    }
    Ok(Answer::done(json_of(&list), text))
}

/// Whose nonce it is.
fn holder(reservation: &ReservationBody) -> String {
    let ReservationBody { tenant, asset, session, .. } = reservation;
    let name = asset.as_ref().or(session.as_ref()).map_or("", PathText::as_str);
    format!("{}/{}", shown(tenant.as_str()), shown(name))
}

fn line(reservation: &ReservationBody) -> String {
    let ReservationBody { id, state, chain_id, nonce, created_at, client, .. } = reservation;
    let (holder, client) = (holder(reservation), shown(client));
    format!("{id}  {state}  {holder}  chain {chain_id}  nonce {nonce}  {created_at}  {client}\n")
}

fn described(reservation: &ReservationBody) -> String {
    let ReservationBody {
        id,
        state,
        chain_id,
        nonce,
        request,
        client,
        policy,
        replaces,
        created_at,
        receipt,
        ..
    } = reservation;
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    fields(&[
        ("reservation", id.to_string()),
        ("state", state.to_string()),
        (if reservation.asset.is_some() { "asset" } else { "sender" }, holder(reservation)),
        ("chain", chain_id.to_string()),
        ("nonce", nonce.to_string()),
        ("request", request.to_string()),
        ("client", shown(client)),
        ("policy", or_none(policy.map(|policy| policy.to_string()))),
        ("replaces", or_none(replaces.map(|id| id.to_string()))),
        ("reserved at", created_at.to_string()),
        (
            "receipt",
            or_none(receipt.map(|receipt| {
                format!("era {}, sequence {}, of node {}", receipt.era, receipt.sequence, receipt.node)
            })),
        ),
    ])
}
