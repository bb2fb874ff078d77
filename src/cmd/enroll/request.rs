//! `sealstone enroll request`: what the node says of its TPM.

use std::path::PathBuf;

use sealstone_wire::api::Enrolment;
use serde_json::json;

use super::files;
use crate::agent::Bounds;
use crate::cmd::Context;
use crate::failure::Failure;
use crate::output::{Answer, fields};

/// On the node: write its TPM's keys, certificate and firmware version for the authority
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  sealstone enroll request -o request.json")]
pub(in crate::cmd) struct Args {
    /// Where the request goes
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Answer, Failure> {
    let Args { out } = args;
    let enrolment: Enrolment = context.agent()?.get("/v1/enrolment".to_owned(), Bounds::Evidence)?;
    crate::files::replace(&out, "the request", &files::json(&enrolment))?;
    let (ek, ak) = (enrolment.ek.name(), enrolment.ak.name());
    let certificate = enrolment.ek_certificate.is_some();
    let mut text = fields(&[
        ("request", out.display().to_string()),
        ("endorsement key", ek.to_string()),
        ("attestation key", ak.to_string()),
        ("certificate", if certificate { "of the TPM" } else { "none in the TPM" }.to_owned()),
    ]);
    text.push_str("next, where the authority is: sealstone enroll challenge\n");
    let json = json!({"out": out.display().to_string(), "ek": ek, "ak": ak, "certificate": certificate});
    Ok(Answer::done(json, text))
}
