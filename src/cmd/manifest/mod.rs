//! `sealstone manifest`: propose, plan, sign, verify, show and apply the document of what is approved.

mod apply;
mod plan;
mod propose;
mod show;
mod sign;
mod verify;

use std::path::Path;

use clap::Subcommand;
use sealstone_attestation::{Envelope, Manifest};

use super::Context;
use crate::failure::{Failure, chain};
use crate::files;
use crate::output::Answer;

/// Propose, plan, sign, verify, show and apply manifests: what states, machines and uses are approved
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  \
        sealstone manifest propose --draft manifest.json --node node-1 --state boot-1 -o v1.envelope\n  \
        sealstone manifest sign v1.envelope --key alice.key\n  \
        sealstone manifest verify v1.envelope --authority DIGEST\n  \
        sealstone manifest apply v1.envelope --provision node-1")]
pub(super) enum Verb {
    Propose(Box<propose::Args>),
    Plan(plan::Args),
    Sign(sign::Args),
    Verify(verify::Args),
    Show(show::Args),
    Apply(apply::Args),
}

pub(super) fn run(verb: Verb, context: &Context) -> Result<Answer, Failure> {
    match verb {
        Verb::Propose(args) => propose::run(*args, context),
        Verb::Plan(args) => plan::run(args, context),
        Verb::Sign(args) => sign::run(args),
        Verb::Verify(args) => verify::run(args),
        Verb::Show(args) => show::run(args),
        Verb::Apply(args) => apply::run(args, context),
    }
}

/// A manifest as it lies in a file: its form is checked, who signed it is not.
pub(super) struct Unverified {
    /// The file.
    pub(super) bytes: Vec<u8>,
    pub(super) envelope: Envelope,
    manifest: Manifest,
}

impl Unverified {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = files::read(path, "a manifest's envelope", Envelope::BYTES_MAX)?;
        let envelope = Envelope::parse(&bytes).map_err(|error| not_a_manifest(path, &chain(&error)))?;
        if envelope.payload_type != Manifest::PAYLOAD_TYPE {
            let found = format!("a payload of type {:?}", envelope.payload_type);
            return Err(not_a_manifest(path, &found));
        }
        let manifest = Manifest::from_payload(&envelope.payload)
            .map_err(|error| not_a_manifest(path, &chain(&error)))?;
        Ok(Self { bytes, envelope, manifest })
    }
}

fn not_a_manifest(path: &Path, found: &str) -> Failure {
    Failure::unusable(
        "MANIFEST",
        format!("expected a manifest's envelope in {}, found: {found}", path.display()),
        "give the file that `sealstone manifest propose` wrote, or correct what it was made from",
    )
}
