//! `sealstone challenge`: choose a nonce and sign when that was, so that others can tell how fresh its answer is.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use sealstone_attestation::{ChallengeRecord, DeploymentId, Envelope, Nonce};
use serde_json::json;

use super::{name_of, now};
use crate::failure::{Failure, chain};
use crate::files::{self, PUBLIC_MODE};
use crate::keyfile::AuthoritySigner;
use crate::output::{Answer, fields};

/// Bytes of a nonce: what a TPM's SHA-256 quotes hold well.
const NONCE_BYTES: usize = 32;

/// Choose nonces, and sign that you did
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  sealstone challenge new --key auditor.key -o challenge.json")]
pub(super) enum Verb {
    New(NewArgs),
}

/// Choose a nonce at random, and sign who chose it and when
///
/// The node's operator answers with `sealstone attest --challenge FILE`. Whoever trusts your public key can then check with
/// `sealstone verify --challenger KEY.pub` that the evidence was made after you chose, without having asked themselves.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone authority new auditor\n  \
        sealstone challenge new --key auditor.key -o challenge.json\n  \
        sealstone challenge new --key auditor.key --node node-1 --valid 3600 -o challenge.json")]
pub(super) struct NewArgs {
    /// Your private key (PEM, PKCS#8), as `sealstone authority new` makes one
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where the record goes; nothing is replaced
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Who you are [default: the name of the key's file]
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// The only deployment that may answer
    #[arg(long, value_name = "ID")]
    deployment: Option<DeploymentId>,
    /// The only node that may answer
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// For how many seconds an answer may be made [default: without end]
    #[arg(long, value_name = "S")]
    valid: Option<u32>,
}

pub(super) fn run(verb: Verb) -> Result<Answer, Failure> {
    let Verb::New(NewArgs { key, out, who, deployment, node, valid }) = verb;
    let who = who.map_or_else(|| name_of(&key), Ok)?;
    let signer = AuthoritySigner::read(&key)?;
    let mut nonce = [0; NONCE_BYTES];
    files::random_bytes(&mut nonce)?;
    let chosen_at = now()?;
    let not_after =
        valid.map(|seconds| chosen_at.saturating_add(std::time::Duration::from_secs(seconds.into())));
    let format = ChallengeRecord::FORMAT;
    let nonce = Nonce::from(nonce);
    let record =
        ChallengeRecord { format, nonce: nonce.clone(), who, chosen_at, not_after, deployment, node };
    let key_id = signer.public_key().key_id();
    let envelope = signer.envelope(ChallengeRecord::PAYLOAD_TYPE, record.to_json());
    ChallengeRecord::danger_read_unverified(&envelope)
        .map_err(|error| Failure::unusable("CHALLENGE", chain(&error), "give names of 1 to 64 bytes"))?;
    files::write_new(&out, "the challenge", &envelope.to_json(), PUBLIC_MODE)?;
    let out = out.display().to_string();
    let mut text = fields(&[
        ("challenge", out.clone()),
        ("nonce", nonce.to_string()),
        ("chosen at", chosen_at.to_string()),
        ("key id", key_id.to_string()),
    ]);
    text.push_str(&format!("next, at the node: sealstone attest --challenge {out} -o evidence.json\n"));
    let json = json!({
        "out": out, "nonce": nonce, "who": record.who, "key_id": key_id, "chosen_at": chosen_at, "not_after": not_after,
    });
    Ok(Answer::done(json, text))
}

/// A record as a file holds it, and its envelope. Who signed it is for whoever verifies the evidence to ask.
pub(super) fn read(file: &Path) -> Result<(Envelope, ChallengeRecord), Failure> {
    let bytes = files::read(file, "a challenge", files::TEXT_MAX)?;
    let unusable = |reason: String| {
        Failure::unusable(
            "CHALLENGE",
            format!("expected a challenge in {}, found: {reason}", file.display()),
            "give the file that `sealstone challenge new` wrote",
        )
    };
    let envelope = Envelope::parse(&bytes).map_err(|error| unusable(chain(&error)))?;
    let record =
        ChallengeRecord::danger_read_unverified(&envelope).map_err(|error| unusable(chain(&error)))?;
    Ok((envelope, record))
}
