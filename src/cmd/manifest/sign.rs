//! `sealstone manifest sign`: one approver's signature.

use std::path::PathBuf;

use sealstone_attestation::{
    AuthorityKey, AuthoritySet, Envelope, EnvelopeSignature, ManifestDigest, PublicKey, Signature64,
};
use serde_json::json;

use super::{Unverified, show};
use crate::failure::Failure;
use crate::files;
use crate::keyfile::AuthoritySigner;
use crate::output::{Answer, shown};

/// Approve a manifest: add one signature to its envelope
///
/// Read it first with `sealstone manifest show`, and give the digest that you read with --digest.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone manifest sign manifest.envelope --key alice.key --digest DIGEST\n  \
        sealstone manifest sign v2.envelope --key alice.key --previous v1.envelope -o v2.signed")]
pub(in crate::cmd) struct Args {
    /// The envelope; it is replaced unless --out is given
    file: PathBuf,
    /// The private key (PEM, PKCS#8), readable by its owner alone
    #[arg(long, value_name = "PRIV.pem")]
    key: PathBuf,
    /// Refuse unless the manifest has this digest
    #[arg(long, value_name = "HEX")]
    digest: Option<ManifestDigest>,
    /// The manifest before it, to be sure that this one follows it
    #[arg(long, value_name = "ENVELOPE")]
    previous: Option<PathBuf>,
    /// Write the signed envelope here instead
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(in crate::cmd) fn run(args: Args) -> Result<Answer, Failure> {
    let Args { file, key, digest, previous, out } = args;
    let Unverified { bytes: _, mut envelope, manifest } = Unverified::read(&file)?;
    if let Some(expected) = digest
        && expected != manifest.digest()
    {
        return Err(Failure::refused(
            "DIGEST_DIFFERS",
            format!("expected a manifest with digest {expected}, found {}", manifest.digest()),
            "read it with `sealstone manifest show`: it is not the one that you approved",
        ));
    }
    let previous = previous.as_deref().map(Unverified::read).transpose()?;
    if let Some(previous) = &previous
        && manifest.previous() != Some(previous.manifest.digest())
    {
        return Err(Failure::refused(
            "PREVIOUS_DIFFERS",
            format!(
                "expected the manifest before this one, which is {}, found {}",
                manifest.previous().map_or_else(|| "none".to_owned(), |digest| digest.to_string()),
                previous.manifest.digest()
            ),
            "give the envelope that this one was proposed from",
        ));
    }
    let mut approvers: Vec<&AuthorityKey> = manifest.authority().keys().iter().collect();
    approvers.extend(manifest.outgoing_authority().into_iter().flat_map(AuthoritySet::keys));

    let signer = AuthoritySigner::read(&key)?;
    let public_key = signer.public_key();
    let Some(approver) = approvers.iter().find(|approver| *approver.public_key() == public_key) else {
        return Err(Failure::refused(
            "FOREIGN_KEY",
            format!("expected a key of the manifest's authority, found {}", public_key.key_id()),
            "sign with a key that `sealstone manifest show` lists",
        ));
    };
    let name = shown(approver.name());
    let pae = Envelope::pae(&envelope.payload_type, &envelope.payload);
    check_others(&envelope, &pae, &approvers, &public_key)?;
    signer.sign_too(&mut envelope);

    let to = out.as_deref().unwrap_or(&file);
    files::replace(to, "the signed envelope", &envelope.to_json())?;
    let (count, threshold) = (envelope.signatures.len(), manifest.authority().threshold());
    let json = json!({
        "out": to.display().to_string(),
        "digest": manifest.digest(),
        "signed_by": approver.name(),
        "key_id": public_key.key_id(),
        "signatures": count,
        "threshold": threshold,
    });
    let mut text = show::described(&manifest);
    text.push_str(&format!(
        "approved by {name} in {}: {count} signatures, {threshold} needed\n",
        to.display()
    ));
    Ok(Answer::done(json, text))
}

/// Nobody adds a signature beside one that makes the whole envelope unacceptable, nor signs twice.
fn check_others(
    envelope: &Envelope,
    pae: &[u8],
    approvers: &[&AuthorityKey],
    public_key: &PublicKey,
) -> Result<(), Failure> {
    if envelope.signatures.len() >= Envelope::SIGNATURES_MAX {
        return Err(Failure::refused(
            "TOO_MANY_SIGNATURES",
            format!(
                "expected fewer than {} signatures, found {}",
                Envelope::SIGNATURES_MAX,
                envelope.signatures.len()
            ),
            "start again from the proposal",
        ));
    }
    let own = public_key.key_id().to_string();
    for EnvelopeSignature { keyid, sig } in &envelope.signatures {
        if *keyid == own {
            return Err(Failure::refused(
                "ALREADY_SIGNED",
                format!("expected an envelope without a signature by {own}, found one"),
                "nothing more to do with this key; another approver signs next",
            ));
        }
        let approver = approvers.iter().find(|approver| approver.public_key().key_id().to_string() == *keyid);
        let valid = approver.is_some_and(|approver| {
            <[u8; 64]>::try_from(sig.as_slice()).is_ok_and(|bytes| {
                approver.public_key().verify_message(pae, &Signature64::from_bytes(bytes)).is_ok()
            })
        });
        if !valid {
            return Err(Failure::refused(
                "UNACCEPTABLE_SIGNATURE",
                format!(
                    "expected only valid signatures by approvers, found one by {:?} that is not",
                    shown(keyid)
                ),
                "get the envelope again from somebody who has it whole",
            ));
        }
    }
    Ok(())
}
