//! Approvers whose keys the story holds, so that it can also sign what nobody should.

use ed25519_dalek::{Signer, SigningKey};
use sealstone_attestation::{
    AuthorityKey, AuthoritySet, Envelope, EnvelopeSignature, Manifest, ManifestDigest, ManifestDraft,
    PublicKey,
};

/// A set of approvers.
#[derive(Clone)]
pub struct Authority {
    pub threshold: u8,
    pub keys: Vec<SigningKey>,
}

impl Authority {
    /// Approvers with keys from these seeds.
    pub fn new(threshold: u8, seeds: &[u8]) -> Self {
        Self { threshold, keys: seeds.iter().map(|seed| SigningKey::from_bytes(&[*seed; 32])).collect() }
    }

    pub fn set(&self) -> AuthoritySet {
        let named = |(number, key): (usize, &SigningKey)| {
            AuthorityKey::new(format!("approver-{number}"), public(key)).unwrap()
        };
        AuthoritySet::new(self.threshold, self.keys.iter().enumerate().map(named).collect()).unwrap()
    }

    /// As many signatures as it takes, no more.
    pub fn sign(&self, draft: &ManifestDraft) -> Vec<u8> {
        let signers: Vec<&SigningKey> = self.keys.iter().take(usize::from(self.threshold)).collect();
        envelope(draft, &signers)
    }
}

/// A manifest with these signatures, whatever is wrong with either.
pub fn envelope(draft: &ManifestDraft, signers: &[&SigningKey]) -> Vec<u8> {
    seal(serde_json::to_vec(draft).unwrap(), signers).to_json()
}

/// A payload with these signatures.
pub fn seal(payload: Vec<u8>, signers: &[&SigningKey]) -> Envelope {
    let pae = Envelope::pae(Manifest::PAYLOAD_TYPE, &payload);
    let sign = |key: &&SigningKey| EnvelopeSignature {
        keyid: public(key).key_id().to_string(),
        sig: key.sign(&pae).to_bytes().to_vec(),
    };
    let signatures = signers.iter().map(sign).collect();
    Envelope { payload_type: Manifest::PAYLOAD_TYPE.to_owned(), payload, signatures }
}

/// The next version of a manifest, unsigned.
pub fn successor(envelope: &[u8]) -> ManifestDraft {
    let payload = Envelope::parse(envelope).unwrap().payload;
    let mut draft: ManifestDraft = serde_json::from_slice(&payload).unwrap();
    draft.version += 1;
    draft.previous = Some(ManifestDigest::of(&payload));
    draft
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey::from(&key.verifying_key())
}
