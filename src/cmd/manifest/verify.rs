//! `sealstone manifest verify`: enough of the right people have signed, or not.

use std::path::PathBuf;

use sealstone_attestation::{AuthorityDigest, AuthoritySet, Envelope, Manifest, VerifiedManifest};
use serde_json::json;

use super::Unverified;
use crate::failure::{Failure, chain};
use crate::output::{Answer, shown};

/// Verify that a manifest is approved by enough of its authority
///
/// Give the authority that you trust with --authority, or the manifest before it with --previous.
/// Without either, only the set that the manifest itself names is counted, and the answer warns of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone manifest verify manifest.envelope --authority DIGEST\n  \
        sealstone manifest verify v2.envelope --previous v1.envelope --json")]
pub(in crate::cmd) struct Args {
    /// The envelope
    file: PathBuf,
    /// The digest of the authority set that you trust (`sealstone authority digest`)
    #[arg(long, value_name = "DIGEST", conflicts_with = "previous")]
    authority: Option<AuthorityDigest>,
    /// The manifest before it, which you trust
    #[arg(long, value_name = "ENVELOPE")]
    previous: Option<PathBuf>,
}

pub(in crate::cmd) fn run(args: Args) -> Result<Answer, Failure> {
    let Args { file, authority, previous } = args;
    let found = Unverified::read(&file)?;
    let mut warnings = Vec::new();
    let verified = if let Some(previous) = previous {
        let previous = Unverified::read(&previous)?;
        VerifiedManifest::danger_trust_as_given(&previous.bytes)
            .and_then(|previous| previous.succeed(&found.bytes))
    } else {
        let trusted = authority.unwrap_or_else(|| {
            warnings.push(format!(
                "no --authority was given: this shows only that the set named inside signed; compare {} with what \
                 you know",
                found.manifest.authority().digest()
            ));
            found.manifest.authority().digest()
        });
        VerifiedManifest::first(&found.bytes, trusted)
    }
    .map_err(|error| {
        Failure::refused(
            "MANIFEST_REFUSED",
            chain(&error),
            "do not apply it: have the missing approvers sign, or get the envelope again from who proposed it",
        )
    })?;
    let signers = signers(&found.envelope, verified.manifest());
    let json = json!({
        "accepted": true,
        "digest": verified.digest(),
        "version": verified.manifest().version(),
        "authority": verified.manifest().authority().digest(),
        "threshold": verified.manifest().authority().threshold(),
        "signed_by": signers.iter().map(|(name, key_id)| json!({"name": name, "key_id": key_id})).collect::<Vec<_>>(),
        "warnings": warnings,
    });
    let mut text =
        format!("accepted: version {}, digest {}\n", verified.manifest().version(), verified.digest());
    for (name, key_id) in &signers {
        text.push_str(&format!("signed by {}  {}\n", shown(name), shown(key_id)));
    }
    for warning in &warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    Ok(Answer::done(json, text))
}

/// Who signed, by the names in the manifest.
fn signers(envelope: &Envelope, manifest: &Manifest) -> Vec<(String, String)> {
    let name = |key_id: &str| {
        let outgoing = manifest.outgoing_authority().into_iter().flat_map(AuthoritySet::keys);
        let mut keys = manifest.authority().keys().iter().chain(outgoing);
        keys.find(|key| key.public_key().key_id().to_string() == key_id)
            .map_or_else(|| "nobody that it names".to_owned(), |key| key.name().to_owned())
    };
    envelope.signatures.iter().map(|signature| (name(&signature.keyid), signature.keyid.clone())).collect()
}
