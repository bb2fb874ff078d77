//! `sealstone key`: the public key of an asset or of a session path.

use sealstone_attestation::{Algorithm, KeyId, PublicKey};
use sealstone_wire::PathText;
use sealstone_wire::api::{Asset, SessionPublicKey};

use super::{Context, asset};
use crate::agent::Bounds;
use crate::failure::{Failure, chain};
use crate::http::encoded;
use crate::keyfile::public_pem;
use crate::output::{Answer, fields, json_of, shown};
use crate::signature;

/// Show the public key of an asset, or of a key for one use
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone key --tenant acme --asset treasury --pem > treasury.pem\n  \
        sealstone key --tenant acme --asset treasury --epoch 0\n  \
        sealstone key --tenant acme --sender hot-1 --chain-id 1 --nonce 8 --algorithm EdDSA")]
#[command(group = clap::ArgGroup::new("path").required(true).args(["asset", "sender"]))]
pub(super) struct Args {
    /// Who owns the key
    #[arg(long)]
    tenant: PathText,
    /// The asset
    #[arg(long, conflicts_with_all = ["chain_id", "nonce", "algorithm"])]
    asset: Option<PathText>,
    /// Which generation of the asset's key [default: the current one]
    #[arg(long, requires = "asset")]
    epoch: Option<u64>,
    /// The sender of a key for one use
    #[arg(long, requires_all = ["nonce", "algorithm"])]
    sender: Option<PathText>,
    /// The chain on which the nonce counts [default: 0]
    #[arg(long)]
    chain_id: Option<u64>,
    /// The nonce of the use
    #[arg(long)]
    nonce: Option<u64>,
    /// What the key signs with: ES256, ES256K or EdDSA
    #[arg(long)]
    algorithm: Option<Algorithm>,
    /// Print the key as PEM (SPKI), as OpenSSL reads it, and nothing else
    #[arg(long)]
    pem: bool,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Answer, Failure> {
    let Args { tenant, asset, epoch, sender, chain_id, nonce, algorithm, pem } = args;
    let tenant = encoded(tenant.as_str());
    let (key, mut json, text) = if let Some(asset) = asset {
        let query = epoch.map(|epoch| format!("?epoch={epoch}")).unwrap_or_default();
        let target = format!("/v1/keys/{tenant}/{}{query}", encoded(asset.as_str()));
        let found: Asset = context.agent()?.get(target, Bounds::Ordinary)?;
        let key = checked(found.algorithm, &found.public_key, &found.key_id)?;
        (key, json_of(&found), asset::described(&found))
    } else {
        // The command line demands all three without an asset.
        let (Some(sender), Some(nonce), Some(algorithm)) = (sender, nonce, algorithm) else {
            return Err(Failure::unusable(
                "USAGE",
                "expected --asset or --sender",
                "see `sealstone key --help`",
            ));
        };
        let target = format!(
            "/v1/keys/session?tenant={tenant}&sender={}&chain_id={}&nonce={nonce}&algorithm={algorithm}",
            encoded(sender.as_str()),
            chain_id.unwrap_or(0),
        );
        let found: SessionPublicKey = context.agent()?.get(target, Bounds::Ordinary)?;
        let key = checked(algorithm, &found.public_key, &found.key_id)?;
        let text = fields(&[
            ("algorithm", algorithm.to_string()),
            ("public key", shown(&found.public_key)),
            ("key id", found.key_id.to_string()),
            ("hour", format!("{} (the key changes with it)", found.hour)),
            ("binding", found.binding.to_string()),
        ]);
        (key, json_of(&found), text)
    };
    let as_pem = public_pem(&key);
    json["pem"] = as_pem.clone().into();
    Ok(Answer::done(json, if pem { as_pem } else { text }))
}

fn checked(algorithm: Algorithm, public_key: &str, key_id: &KeyId) -> Result<PublicKey, Failure> {
    let refused = |detail: String| {
        Failure::unusable("AGENT_ANSWER", detail, "check that the socket is the agent's, and its release")
    };
    let key = signature::public_key(algorithm, public_key).map_err(|flaw| refused(chain(&flaw)))?;
    if key.key_id() == *key_id {
        Ok(key)
    } else {
        Err(refused(format!("expected key id {} for this public key, found {key_id}", key.key_id())))
    }
}
