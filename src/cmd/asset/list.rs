//! `sealstone asset list`, and which assets are due to be rotated.

use sealstone_wire::PathText;
use sealstone_wire::api::{AssetCover, AssetList, AssetPlace};

use crate::agent::{Agent, Bounds};
use crate::failure::Failure;
use crate::output::{Answer, json_of, shown};
use crate::query::{Age, Query, all_pages};

#[derive(Debug, clap::Args)]
pub(in crate::cmd) struct Args {
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<PathText>,
    /// Only those in use whose epoch began so long ago, such as 90d or 12h
    #[arg(long, value_name = "AGE")]
    older_than: Option<Age>,
    /// One page of at most so many, 1 to 1000 [default: all pages]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: Option<u64>,
    /// The page after this tenant, and --after-asset
    #[arg(long, value_name = "TENANT", requires_all = ["after_asset", "limit"])]
    after_tenant: Option<PathText>,
    /// The page after this asset of --after-tenant
    #[arg(long, value_name = "ASSET", requires = "after_tenant")]
    after_asset: Option<PathText>,
}

pub(super) fn run(args: Args, agent: &Agent) -> Result<Answer, Failure> {
    let Args { tenant, older_than, limit, after_tenant, after_asset } = args;
    let list = match limit {
        None => all(agent, tenant.as_ref(), older_than, &mut |_| ())?,
        Some(limit) => {
            let after = after_tenant.zip(after_asset);
            let after = after.map(|(after_tenant, after_asset)| AssetPlace { after_tenant, after_asset });
            page(agent, tenant.as_ref(), older_than, Some(limit), after)?
        }
    };
    Ok(Answer::done(json_of(&list), listed(&list)))
}

/// Every asset that this client sees, or those that are so old. `progress` is told how many were read, after each page.
pub(super) fn all(
    agent: &Agent,
    tenant: Option<&PathText>,
    older_than: Option<Age>,
    progress: &mut dyn FnMut(usize),
) -> Result<AssetList, Failure> {
    let mut read = 0;
    let mut covers = AssetCover { every_tenant: true, every_age: true, from_start: true };
    let assets = all_pages(|after| {
        let from_start = after.is_none();
        let AssetList { assets, next, covers: of_page } = page(agent, tenant, older_than, None, after)?;
        // What the client may see can change between two pages.
        covers.every_tenant &= of_page.every_tenant;
        covers.every_age &= of_page.every_age;
        if from_start {
            covers.from_start = of_page.from_start;
        }
        read += assets.len();
        progress(read);
        Ok((assets, next))
    })?;
    Ok(AssetList { assets, next: None, covers })
}

fn page(
    agent: &Agent,
    tenant: Option<&PathText>,
    older_than: Option<Age>,
    limit: Option<u64>,
    after: Option<AssetPlace>,
) -> Result<AssetList, Failure> {
    let (after_tenant, after_asset) =
        after.map(|AssetPlace { after_tenant, after_asset }| (after_tenant, after_asset)).unzip();
    let query = Query::of("/v1/assets")
        .with("tenant", tenant)
        .with("older_than_s", older_than)
        .with("limit", limit)
        .with("after_tenant", after_tenant)
        .with("after_asset", after_asset);
    agent.get(query.target(), Bounds::List)
}

fn listed(list: &AssetList) -> String {
    let AssetList { assets, next, covers: _ } = list;
    if assets.is_empty() {
        return "no assets; create one with `sealstone asset create`\n".to_owned();
    }
    let mut text = String::new();
    for asset in assets {
        let retired = asset.retired_at.map_or_else(String::new, |at| format!("  retired {at}"));
        text.push_str(&format!(
            "{}/{}  {}  epoch {}  {}{retired}\n",
            shown(asset.tenant.as_str()),
            shown(asset.asset.as_str()),
            asset.algorithm,
            asset.epoch,
            asset.key_id
        ));
    }
    if let Some(AssetPlace { after_tenant, after_asset }) = next {
        text.push_str(&format!(
            "more after {}/{}: --after-tenant, --after-asset\n",
            shown(after_tenant.as_str()),
            shown(after_asset.as_str())
        ));
    }
    text
}
