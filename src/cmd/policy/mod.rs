//! `sealstone policy`: check and try the rules, and make the lists that they look things up in.

mod case;
mod check;
mod in_force;
mod prices;
mod sanctions;
mod test;

use std::path::Path;

use clap::Subcommand;
use sealstone_attestation::Envelope;
use sealstone_policy::prices::Prices;
use sealstone_policy::rules::Policy;
use sealstone_policy::sanctions::SanctionsList;

use super::Context;
use crate::failure::{Failure, chain};
use crate::files;
use crate::output::Answer;

/// Check and try policies, and put them in force; make sanctions lists and sign prices
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  \
        sealstone policy check policy.toml\n  \
        sealstone policy test policy.toml cases.toml")]
pub(super) enum Verb {
    Check(check::Args),
    Test(test::Args),
    /// Show the rules that the node judges by
    #[command(after_help = "Example:\n  sealstone policy show --json")]
    Show,
    /// Have the node read the files of its rules anew
    ///
    /// Policy, sanctions list and prices take effect together, after each change was recorded in the audit log. When one
    /// of the files cannot be used nothing changes.
    #[command(after_help = "Example:\n  sealstone policy reload")]
    Reload,
    #[command(subcommand)]
    Sanctions(sanctions::Verb),
    #[command(subcommand)]
    Prices(prices::Verb),
}

/// `quiet`: a program reads the answer, and nobody the progress.
pub(super) fn run(verb: Verb, context: &Context, quiet: bool) -> Result<Answer, Failure> {
    match verb {
        Verb::Check(args) => check::run(args),
        Verb::Test(args) => test::run(args),
        Verb::Show => in_force::show(context),
        Verb::Reload => in_force::reload(context),
        Verb::Sanctions(verb) => sanctions::run(verb, quiet),
        Verb::Prices(verb) => prices::run(verb),
    }
}

fn read_policy(path: &Path) -> Result<Policy, Failure> {
    let what = "a policy";
    let text = files::text(path, what, files::read(path, what, Policy::BYTES_MAX)?)?;
    Policy::parse(&text).map_err(|error| {
        Failure::unusable(
            "POLICY",
            format!("expected a policy in {}, found: {}", path.display(), chain(&error)),
            "correct that rule; docs/policy.md describes each field",
        )
    })
}

fn read_sanctions(path: &Path) -> Result<SanctionsList, Failure> {
    let bytes = files::read(path, "a sanctions list", SanctionsList::BYTES_MAX)?;
    SanctionsList::parse(&bytes).map_err(|error| {
        Failure::unusable(
            "SANCTIONS",
            format!("expected a sanctions list in {}, found: {}", path.display(), chain(&error)),
            "make it with `sealstone policy sanctions import`",
        )
    })
}

fn read_prices(path: &Path, policy: &Policy) -> Result<Prices, Failure> {
    let bytes = files::read(path, "prices", Envelope::BYTES_MAX)?;
    Prices::verify(&bytes, policy).map_err(|error| {
        Failure::unusable(
            "PRICES",
            format!("expected prices that this policy takes in {}, found: {}", path.display(), chain(&error)),
            "have those sign whom [prices] names: `sealstone policy prices sign`",
        )
    })
}
