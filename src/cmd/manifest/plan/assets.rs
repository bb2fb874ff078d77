//! Where the assets come from: the running node, or what it listed before. A list that leaves out any is no ground for a plan:
//! what it does not show could be stranded.

use std::path::Path;

use sealstone_wire::api::{Asset, AssetCover, AssetList};

use super::super::super::asset;
use crate::agent::Agent;
use crate::failure::Failure;
use crate::files;

/// Bytes of a file of assets: half a million of them, which is what all pages of a list can have.
const BYTES_MAX: usize = 512 * 1024 * 1024;

/// All assets of the node, with a line of progress for each page.
pub(super) fn of_agent(agent: &Agent) -> Result<Vec<Asset>, Failure> {
    let list = asset::all(agent, &mut |read| eprintln!("read {read} assets"))?;
    whole(list).map_err(|found| {
        Failure::unusable(
            "ASSETS",
            format!("expected every asset of the node, found {found}"),
            "ask as a client whose entry in agent.toml names no tenants",
        )
    })
}

/// The assets of `asset list --json`.
pub(super) fn of_file(path: &Path) -> Result<Vec<Asset>, Failure> {
    let bytes = files::read(path, "a list of assets", BYTES_MAX)?;
    let list = serde_json::from_slice(&bytes).map_err(|error| error.to_string());
    list.and_then(whole).map_err(|found| {
        Failure::unusable(
            "ASSETS",
            format!("expected every asset of the node in {}, found {found}", path.display()),
            "give what `sealstone asset list --json` printed, without --limit, --tenant and --older-than, for a client whose \
             entry in agent.toml names no tenants",
        )
    })
}

/// The assets of a list that leaves out none, or what it is instead.
fn whole(list: AssetList) -> Result<Vec<Asset>, String> {
    let AssetList { assets, next, covers } = list;
    let AssetCover { every_tenant, every_age, from_start } = covers;
    let instead = match (every_tenant, every_age, from_start, next) {
        (true, true, true, None) => return Ok(assets),
        (false, ..) => "those of some tenants only",
        (_, false, ..) => "those of some age only",
        (_, _, false, _) => "a page that does not begin with the first asset",
        (_, _, _, Some(_)) => "a page that says that more follow",
    };
    Err(format!("a list of {}: {instead}", assets.len()))
}
