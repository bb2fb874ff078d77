//! `sealstone asset`: create, list, rotate and retire what signs.

mod list;
mod rotate;

use clap::Subcommand;
use sealstone_attestation::Algorithm;
use sealstone_wire::api::{Asset, AssetBody, AssetList, EpochList};
use sealstone_wire::{Epoch, PathText};
use serde_json::json;

use super::Context;
use crate::agent::{Agent, Bounds, decoded};
use crate::failure::Failure;
use crate::http::encoded;
use crate::output::{Answer, fields, json_of, shown};
use crate::query::{Query, all_pages};

/// Create, list, rotate and retire assets: the keys that live longer than one use
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
    /// List assets with their current epoch, key id and public key
    #[command(
        after_help = "Examples:\n  sealstone asset list --json\n  sealstone asset list --older-than 90d\n  \
            sealstone asset list --tenant acme --limit 100 --after-tenant acme --after-asset hot-99"
    )]
    List(list::Args),
    /// List an asset in each of its epochs, with their public keys
    #[command(after_help = "Example:\n  sealstone asset epochs --tenant acme --asset treasury --json")]
    Epochs {
        /// Who owns the asset
        #[arg(long)]
        tenant: PathText,
        /// Its name
        #[arg(long)]
        asset: PathText,
    },
    /// Begin a new epoch: a new key, bound to the current attested state
    ///
    /// The key of the epoch before stays derivable while the manifest lists its state, for
    /// `sealstone key --epoch`; new signatures use the new key. With --older-than every asset that is due is rotated,
    /// one after the other: exit code 1 if one of them failed.
    #[command(after_help = "Examples:\n  sealstone asset rotate --tenant acme --asset treasury\n  \
            sealstone asset rotate --older-than 90d --tenant acme")]
    Rotate(rotate::Args),
    /// Retire an asset: nothing new is signed with it, for good
    ///
    /// Its keys stay readable in all epochs; requests that it signed have the same answer as before.
    #[command(after_help = "Example:\n  sealstone asset retire --tenant acme --asset treasury")]
    Retire {
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
        Verb::List(args) => list::run(args, &agent),
        Verb::Epochs { tenant, asset } => {
            let epochs = all_pages(|after: Option<Epoch>| {
                let query = Query::of(&format!("{}/epochs", named(&tenant, &asset))).with("after", after);
                let EpochList { epochs, next } = agent.get(query.target(), Bounds::List)?;
                Ok((epochs, next))
            })?;
            let line = |asset: &Asset| {
                format!(
                    "epoch {}  since {}  {}  {}\n",
                    asset.epoch,
                    asset.since,
                    asset.key_id,
                    shown(&asset.public_key)
                )
            };
            let text: String = epochs.iter().map(line).collect();
            Ok(Answer::done(json!({"epochs": epochs}), text))
        }
        Verb::Rotate(args) => rotate::run(args, &agent),
        Verb::Retire { tenant, asset } => {
            let target = format!("{}/retire", named(&tenant, &asset));
            let asset: Asset = decoded(&agent.post_bytes(target, None, Bounds::Ordinary)?)?;
            Ok(Answer::done(json_of(&asset), described(&asset)))
        }
    }
}

/// Every asset that this client sees. `progress` is told how many were read, after each page.
pub(super) fn all(agent: &Agent, progress: &mut dyn FnMut(usize)) -> Result<AssetList, Failure> {
    list::all(agent, None, None, progress)
}

/// The path of an asset.
fn named(tenant: &PathText, asset: &PathText) -> String {
    format!("/v1/assets/{}/{}", encoded(tenant.as_str()), encoded(asset.as_str()))
}

/// One asset for people.
pub(super) fn described(asset: &Asset) -> String {
    let Asset {
        tenant,
        asset,
        algorithm,
        epoch,
        binding,
        key_id,
        public_key,
        jwk: _,
        since,
        retired_at,
        unfunded,
    } = asset;
    let mut text = fields(&[
        ("tenant", shown(tenant.as_str())),
        ("asset", shown(asset.as_str())),
        ("algorithm", algorithm.to_string()),
        ("epoch", format!("{epoch}, since {since}")),
        ("key id", key_id.to_string()),
        ("public key", shown(public_key)),
        ("binding", binding.to_string()),
    ]);
    if let Some(at) = retired_at {
        text.push_str(&format!("retired at {at}: nothing new is signed with it\n"));
    }
    if *unfunded {
        text.push_str(UNFUNDED);
    }
    text
}

/// What every text says of a key that nobody can recover.
pub(super) const UNFUNDED: &str =
    "warning: no verified set of recovery shares exists: if this machine's TPM is lost, so is this key\n";
