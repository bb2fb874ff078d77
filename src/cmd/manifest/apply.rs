//! `sealstone manifest apply`: hand a signed manifest to the running node.

use std::path::PathBuf;

use sealstone_wire::reply::Status;
use serde_json::json;

use super::super::{Context, status};
use super::Unverified;
use crate::agent::{Bounds, decoded};
use crate::failure::Failure;
use crate::http::encoded;
use crate::output::{Answer, fields, json_of};

/// Hand a signed manifest to the running node, which checks it itself
///
/// The first manifest also provisions the enclave: its root secret is born then.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone manifest apply manifest.envelope --provision node-1\n  \
        sealstone manifest apply v2.envelope")]
pub(in crate::cmd) struct Args {
    /// The envelope
    file: PathBuf,
    /// Provision this node under the name that it has in the manifest
    #[arg(long, value_name = "NODE")]
    provision: Option<String>,
}

pub(in crate::cmd) fn run(args: Args, context: &Context) -> Result<Answer, Failure> {
    let Args { file, provision } = args;
    // What this release cannot read, the node cannot either; say so here, with the file's name.
    let Unverified { bytes, envelope, manifest } = Unverified::read(&file)?;
    if envelope.signatures.is_empty() {
        return Err(Failure::refused(
            "NOT_SIGNED",
            "expected a signed manifest, found no signature",
            "have it signed: `sealstone manifest sign`",
        ));
    }
    let target = match &provision {
        Some(node) => format!("/v1/manifest?provision={}", encoded(node)),
        None => "/v1/manifest".to_owned(),
    };
    let answer = context.agent()?.post_bytes(target, Some(bytes), Bounds::Tpm)?;
    let status: Status = decoded(&answer)?;
    let json =
        json!({"digest": manifest.digest(), "version": manifest.version(), "enclave": json_of(&status)});
    let text = fields(&[
        ("manifest", format!("version {}, digest {}", manifest.version(), manifest.digest())),
        ("enclave", status::phase_name(status.phase).to_owned()),
    ]);
    Ok(Answer::done(json, text))
}
