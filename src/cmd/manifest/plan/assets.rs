//! Where the assets come from: the running node, or what it listed before.

use std::path::Path;

use sealstone_wire::api::{Asset, AssetList};

use super::super::super::asset;
use crate::agent::Agent;
use crate::failure::Failure;
use crate::files;

/// Bytes of a file of assets: half a million of them, which is what all pages of a list can have.
const BYTES_MAX: usize = 512 * 1024 * 1024;

/// All assets of the node, with a line of progress for each page.
pub(super) fn of_agent(agent: &Agent) -> Result<Vec<Asset>, Failure> {
    asset::all(agent, &mut |read| eprintln!("read {read} assets"))
}

/// The assets of `asset list --json`.
pub(super) fn of_file(path: &Path) -> Result<Vec<Asset>, Failure> {
    let bytes = files::read(path, "a list of assets", BYTES_MAX)?;
    let unusable = |found: String| {
        Failure::unusable(
            "ASSETS",
            format!("expected a whole list of assets in {}, found {found}", path.display()),
            "give what `sealstone asset list --json` printed, without --limit and --tenant",
        )
    };
    let AssetList { assets, next } =
        serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
    match next {
        None => Ok(assets),
        Some(_) => Err(unusable(format!("a page of {} that says that more follow", assets.len()))),
    }
}
