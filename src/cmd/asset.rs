//! `sealstone asset`: create, list and rotate what signs.

use clap::Subcommand;
use sealstone_attestation::Algorithm;
use sealstone_wire::PathText;
use sealstone_wire::api::{Asset, AssetBody, AssetList};

use super::Context;
use crate::agent::Bounds;
use crate::failure::Failure;
use crate::http::encoded;
use crate::output::{Answer, fields, json_of, shown};

/// Create, list and rotate assets: the keys that live longer than one use
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Example:\n  sealstone asset create --tenant acme --asset treasury --algorithm ES256K"
)]
pub(super) enum Verb {
    /// Create an asset under the current attested state
    #[command(
        after_help = "Example:\n  sealstone asset create --tenant acme --asset treasury --algorithm ES256K"
    )]
    Create {
        /// Who owns the asset
        #[arg(long)]
        tenant: PathText,
        /// Its name, unique in the tenant
        #[arg(long)]
        asset: PathText,
        /// What its key signs with: ES256, ES256K or EdDSA
        #[arg(long)]
        algorithm: Algorithm,
    },
    /// List all assets with their current epoch, key id and public key
    #[command(after_help = "Example:\n  sealstone asset list --json")]
    List,
    /// Begin a new epoch: a new key, bound to the current attested state
    ///
    /// The key of the epoch before stays derivable while the manifest lists its state, for
    /// `sealstone key --epoch`; new signatures use the new key.
    #[command(after_help = "Example:\n  sealstone asset rotate --tenant acme --asset treasury")]
    Rotate {
        /// Who owns the asset
        #[arg(long)]
        tenant: PathText,
        /// Its name
        #[arg(long)]
        asset: PathText,
    },
}

pub(super) fn run(verb: Verb, context: &Context) -> Result<Answer, Failure> {
    let agent = context.agent()?;
    match verb {
        Verb::Create { tenant, asset, algorithm } => {
            let body = AssetBody { tenant, asset, algorithm };
            let asset: Asset = agent.post("/v1/assets".to_owned(), &body, Bounds::Ordinary)?;
            Ok(Answer::done(json_of(&asset), described(&asset)))
        }
        Verb::List => {
            let list: AssetList = agent.get("/v1/assets".to_owned(), Bounds::List)?;
            Ok(Answer::done(json_of(&list), listed(&list)))
        }
        Verb::Rotate { tenant, asset } => {
            let target =
                format!("/v1/assets/{}/{}/rotate", encoded(tenant.as_str()), encoded(asset.as_str()));
            let answer = agent.post_bytes(target, None, Bounds::Ordinary)?;
            let asset: Asset = crate::agent::decoded(&answer)?;
            Ok(Answer::done(json_of(&asset), described(&asset)))
        }
    }
}

/// One asset for people.
pub(super) fn described(asset: &Asset) -> String {
    let Asset { tenant, asset, algorithm, epoch, binding, key_id, public_key, jwk: _, since, unfunded } =
        asset;
    let mut text = fields(&[
        ("tenant", shown(tenant.as_str())),
        ("asset", shown(asset.as_str())),
        ("algorithm", algorithm.to_string()),
        ("epoch", format!("{epoch}, since {since}")),
        ("key id", key_id.to_string()),
        ("public key", shown(public_key)),
        ("binding", binding.to_string()),
    ]);
    if *unfunded {
        text.push_str(UNFUNDED);
    }
    text
}

/// What every text says of a key that nobody can recover.
pub(super) const UNFUNDED: &str =
    "warning: no verified set of recovery shares exists: if this machine's TPM is lost, so is this key\n";

fn listed(list: &AssetList) -> String {
    let AssetList { assets } = list;
    if assets.is_empty() {
        return "no assets; create one with `sealstone asset create`\n".to_owned();
    }
    let mut text = String::new();
    for asset in assets {
        text.push_str(&format!(
            "{}/{}  {}  epoch {}  {}\n",
            shown(asset.tenant.as_str()),
            shown(asset.asset.as_str()),
            asset.algorithm,
            asset.epoch,
            asset.key_id
        ));
    }
    text
}
