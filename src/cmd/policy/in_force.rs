//! `sealstone policy show` and `reload`: the rules that the node judges by.

use sealstone_wire::api::{PolicyStatus, PricesStatus, Reloaded, SanctionsStatus};

use crate::agent::{Bounds, decoded};
use crate::cmd::Context;
use crate::failure::Failure;
use crate::output::{Answer, fields, json_of};

pub(super) fn show(context: &Context) -> Result<Answer, Failure> {
    let status: PolicyStatus = context.agent()?.get("/v1/policy".to_owned(), Bounds::Ordinary)?;
    Ok(Answer::done(json_of(&status), described(&status)))
}

pub(super) fn reload(context: &Context) -> Result<Answer, Failure> {
    let answer = context.agent()?.post_bytes("/v1/policy/reload".to_owned(), None, Bounds::Ordinary)?;
    let reloaded: Reloaded = decoded(&answer)?;
    let Reloaded { replaced, policy } = &reloaded;
    let replaced = if replaced.is_empty() {
        "nothing changed".to_owned()
    } else {
        let names: Vec<String> = replaced.iter().map(ToString::to_string).collect();
        format!("replaced: {}", names.join(", "))
    };
    Ok(Answer::done(json_of(&reloaded), format!("{replaced}\n{}", described(policy))))
}

fn described(status: &PolicyStatus) -> String {
    let PolicyStatus {
        digest,
        senders,
        chains,
        currencies,
        approvers,
        sanctions_required,
        sanctions,
        prices,
    } = status;
    let sanctions = match sanctions {
        Some(SanctionsStatus { digest, count, imported_at }) => {
            format!("{count} entries, imported at {imported_at}, sha256 {digest}")
        }
        None => "none".to_owned(),
    };
    let prices = match prices {
        Some(PricesStatus { digest, currencies, issued_at, expires_at }) => {
            format!("{currencies} currencies, from {issued_at} until {expires_at}, sha256 {digest}")
        }
        None => "none".to_owned(),
    };
    fields(&[
        ("digest", digest.to_string()),
        ("senders", senders.to_string()),
        ("chains", chains.to_string()),
        ("currencies", currencies.to_string()),
        ("approvers", approvers.to_string()),
        ("sanctions", if *sanctions_required { "required" } else { "off" }.to_owned()),
        ("sanctions list", sanctions),
        ("prices", prices),
    ])
}
