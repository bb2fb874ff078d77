//! `sealstone asset rotate`: one asset, or all whose epoch is old.

use sealstone_wire::PathText;
use sealstone_wire::api::Asset;
use serde_json::{Value, json};

use super::{described, list, named};
use crate::agent::{Agent, Bounds, decoded};
use crate::failure::Failure;
use crate::output::{Answer, json_of, shown};
use crate::query::Age;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["asset", "older_than"]))]
pub(in crate::cmd) struct Args {
    /// Who owns the asset; with --older-than only this tenant's
    #[arg(long, required_unless_present = "older_than")]
    tenant: Option<PathText>,
    /// Its name
    #[arg(long)]
    asset: Option<PathText>,
    /// Every asset in use whose epoch began so long ago, such as 90d or 12h
    #[arg(long, value_name = "AGE")]
    older_than: Option<Age>,
}

pub(super) fn run(args: Args, agent: &Agent) -> Result<Answer, Failure> {
    let Args { tenant, asset, older_than } = args;
    match (tenant, asset) {
        (Some(tenant), Some(asset)) => {
            let rotated = rotate(agent, &tenant, &asset)?;
            Ok(Answer::done(json_of(&rotated), described(&rotated)))
        }
        (tenant, _) => due(agent, tenant.as_ref(), older_than),
    }
}

/// Rotates what is due, one after the other; a failure of one keeps none of the others.
fn due(agent: &Agent, tenant: Option<&PathText>, older_than: Option<Age>) -> Result<Answer, Failure> {
    let due = list::all(agent, tenant, older_than, &mut |_| ())?.assets;
    let mut text = String::new();
    let (mut rotated, mut failed): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for Asset { tenant, asset, .. } in &due {
        let name = format!("{}/{}", shown(tenant.as_str()), shown(asset.as_str()));
        match rotate(agent, tenant, asset) {
            Ok(next) => {
                text.push_str(&format!("{name}  epoch {}  {}\n", next.epoch, next.key_id));
                rotated.push(json_of(&next));
            }
            Err(failure) => {
                text.push_str(&format!("{name}  FAILED {}", failure.text()));
                let mut said = json!({"tenant": tenant, "asset": asset});
                said["error"] = failure.json()["error"].clone();
                failed.push(said);
            }
        }
    }
    if due.is_empty() {
        text.push_str("no asset is due\n");
    }
    Ok(Answer::verdict(failed.is_empty(), json!({"rotated": rotated, "failed": failed}), text))
}

fn rotate(agent: &Agent, tenant: &PathText, asset: &PathText) -> Result<Asset, Failure> {
    let target = format!("{}/rotate", named(tenant, asset));
    decoded(&agent.post_bytes(target, None, Bounds::Ordinary)?)
}
