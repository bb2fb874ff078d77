//! `sealstone policy check`: whether a file is a policy, and what it is about.

use std::path::PathBuf;

use sealstone_policy::rules::Policy;
use serde_json::json;

use super::read_policy;
use crate::failure::Failure;
use crate::output::{Answer, fields, shown};

/// Check a policy as a whole, and print its digest and what it is about
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sealstone policy check policy.toml\n  sealstone policy check policy.toml --json"
)]
pub(in crate::cmd) struct Args {
    /// The policy (TOML)
    file: PathBuf,
}

pub(in crate::cmd) fn run(args: Args) -> Result<Answer, Failure> {
    let policy = read_policy(&args.file)?;
    let currencies: Vec<&String> = policy.currencies().keys().collect();
    let approvers: Vec<&String> = policy.approvers().keys().collect();
    let sanctions = if policy.requires_sanctions() { "required" } else { "off" };
    let reference = policy.reference().map(|reference| (&reference.name, reference.decimals));
    let json = json!({
        "digest": policy.digest(),
        "senders": policy.sender_count(),
        "chains": policy.chain_count(),
        "currencies": currencies,
        "reference": reference.map(|(name, decimals)| json!({"name": name, "decimals": decimals})),
        "approvers": approvers,
        "sanctions": sanctions,
    });
    let list = |names: &[&String]| {
        let names: Vec<String> = names.iter().map(|name| shown(name)).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let reference = match reference {
        Some((name, decimals)) => format!("{name}, {decimals} decimals, {}", signers(&policy)),
        None => "none".to_owned(),
    };
    let text = fields(&[
        ("digest", policy.digest().to_string()),
        ("senders", policy.sender_count().to_string()),
        ("chains", policy.chain_count().to_string()),
        ("currencies", list(&currencies)),
        ("reference", reference),
        ("approvers", list(&approvers)),
        ("sanctions", sanctions.to_owned()),
    ]);
    Ok(Answer::done(json, text))
}

/// Who signs prices.
fn signers(policy: &Policy) -> String {
    policy.price_authority().map_or_else(
        || "no prices".to_owned(),
        |set| format!("prices signed by {} of {}", set.threshold(), set.keys().len()),
    )
}
