//! `sealstone policy prices`: sign what currencies are worth.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use sealstone_attestation::Envelope;
use sealstone_policy::prices::PriceList;
use serde_json::json;

use crate::failure::{Failure, chain};
use crate::files;
use crate::keyfile::AuthoritySigner;
use crate::output::{Answer, fields, shown};

/// Sign prices for rules in the reference currency
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Example:\n  sealstone policy prices sign prices.json --key pricer.key -o prices.envelope"
)]
pub(in crate::cmd) enum Verb {
    /// Sign a list of prices, or add a signature to one that is signed already
    ///
    /// docs/policy.md describes the list. The key is one of those that the policy's `[prices]` names.
    #[command(after_help = "Examples:\n  \
            sealstone policy prices sign prices.json --key pricer.key -o prices.envelope\n  \
            sealstone policy prices sign prices.envelope --key second.key -o prices.envelope")]
    Sign {
        /// The prices (JSON), or their envelope
        file: PathBuf,
        /// The private key (PEM, PKCS#8), readable by its owner alone
        #[arg(long, value_name = "PRIV.pem")]
        key: PathBuf,
        /// Where the signed envelope goes; an older one is replaced
        #[arg(short, long, value_name = "ENVELOPE")]
        out: PathBuf,
    },
}

pub(in crate::cmd) fn run(verb: Verb) -> Result<Answer, Failure> {
    let Verb::Sign { file, key, out } = verb;
    let (mut envelope, list) = read(&file)?;
    let signer = AuthoritySigner::read(&key)?;
    let key_id = signer.public_key().key_id();
    if envelope.signatures.iter().any(|signature| signature.keyid == key_id.to_string()) {
        return Err(Failure::refused(
            "ALREADY_SIGNED",
            format!("expected an envelope without a signature by {key_id}, found one"),
            "nothing more to do with this key; another signer of prices signs next",
        ));
    }
    if envelope.signatures.len() >= Envelope::SIGNATURES_MAX {
        return Err(Failure::refused(
            "TOO_MANY_SIGNATURES",
            format!("expected fewer than {} signatures, found as many", Envelope::SIGNATURES_MAX),
            "start again from the prices",
        ));
    }
    signer.sign_too(&mut envelope);
    files::replace(&out, "the signed prices", &envelope.to_json())?;
    let currencies: Vec<&str> = list.currencies().collect();
    let json = json!({
        "out": out.display().to_string(),
        "key_id": key_id,
        "signatures": envelope.signatures.len(),
        "currencies": currencies,
        "issued_at": list.issued_at(),
        "expires_at": list.expires_at(),
    });
    let text = fields(&[
        ("envelope", out.display().to_string()),
        ("signed by", key_id.to_string()),
        ("signatures", envelope.signatures.len().to_string()),
        ("currencies", shown(&currencies.join(", "))),
        ("from", list.issued_at().to_string()),
        ("until", list.expires_at().to_string()),
    ]);
    Ok(Answer::done(json, text))
}

/// The prices of a file, in a new envelope or in the one that they are in.
fn read(path: &Path) -> Result<(Envelope, PriceList), Failure> {
    let refused = |found: &str| {
        Failure::unusable(
            "PRICES",
            format!("expected prices or their envelope in {}, found: {}", path.display(), shown(found)),
            "correct them; docs/policy.md describes the format",
        )
    };
    let bytes = files::read(path, "prices", Envelope::BYTES_MAX)?;
    let envelope = match Envelope::parse(&bytes) {
        Ok(envelope) => {
            envelope.check_type(PriceList::PAYLOAD_TYPE).map_err(|error| refused(&chain(&error)))?;
            envelope
        }
        Err(_) => Envelope {
            payload_type: PriceList::PAYLOAD_TYPE.to_owned(),
            payload: bytes,
            signatures: Vec::new(),
        },
    };
    let list = PriceList::from_payload(&envelope.payload).map_err(|error| refused(&chain(&error)))?;
    Ok((envelope, list))
}
