//! `sealstone approve`: one approver's signature over one request.

use std::path::PathBuf;

use sealstone_attestation::RequestDigest;
use sealstone_policy::approvals::approval_message;
use serde_json::json;

use crate::failure::Failure;
use crate::keyfile::AuthoritySigner;
use crate::output::{Answer, fields, shown};

/// Approve a request that a policy demands approvals for
///
/// Signs the request's digest, which `sealstone sign --dry-run` prints, with the approver's own key (P-256 or
/// Ed25519, as `sealstone authority new` makes). What is printed goes to `sealstone sign --approval`. Look at what the
/// dry run says of the payload before you approve: the digest stands for all of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone approve --request 6e34…a01d --as alice --key alice.key\n  \
        sealstone approve --request 6e34…a01d --as alice --key alice.key --json")]
pub(super) struct Args {
    /// The request digest (64 hex digits)
    #[arg(long, value_name = "HEX")]
    request: RequestDigest,
    /// The approver's name in the policy
    #[arg(long = "as", value_name = "NAME")]
    approver: String,
    /// The approver's private key (PEM, PKCS#8)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Answer, Failure> {
    let Args { request, approver, key } = args;
    let message = approval_message(approver, request).ok_or_else(|| {
        Failure::unusable(
            "NAME",
            format!("expected a name of at most 65,535 bytes, found {}", approver.len()),
            "give the name that the policy has for this approver",
        )
    })?;
    let signer = AuthoritySigner::read(key)?;
    let signature = hex::encode(signer.sign(&message));
    let approval = format!("{approver}={signature}");
    let text = fields(&[
        ("request", request.to_string()),
        ("approver", shown(approver)),
        ("key id", signer.public_key().key_id().to_string()),
        ("approval", shown(&approval)),
    ]);
    let json = json!({
        "request": request,
        "approver": approver,
        "key_id": signer.public_key().key_id(),
        "signature": signature,
        "approval": approval,
    });
    Ok(Answer::done(json, text))
}
