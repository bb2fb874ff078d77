//! The Ed25519 key under the seal that signs reports, receipts and audit checkpoints, nothing else.

use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{SigningKey, VerifyingKey};
use sealstone_attestation::Signature64;
use sha2::Sha512;

use crate::secret::{self, Inside, Secret};

/// Bytes of the seed (RFC 8032).
pub const REPORT_SEED_LEN: usize = 32;

/// The key: its seed in secret memory, its public half beside it.
#[allow(missing_debug_implementations, reason = "a private key is never printed")]
pub struct ReportKey {
    seed: Secret<REPORT_SEED_LEN>,
    public: VerifyingKey,
}

impl ReportKey {
    /// From its seed.
    #[must_use]
    pub fn from_seed(seed: Secret<REPORT_SEED_LEN>) -> Self {
        let public =
            secret::run(|inside| SigningKey::from_bytes(seed.expose(inside)).verifying_key().to_bytes());
        let public = VerifyingKey::from_bytes(&public).expect("the public half of a seed is a point");
        Self { seed, public }
    }

    /// A copy that its owner wipes on its own.
    #[must_use]
    pub fn danger_copy(&self) -> Self {
        let seed = secret::run(|inside| Secret::copied(inside, self.seed.expose(inside)));
        Self { seed, public: self.public }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public.to_bytes()
    }

    /// Signs bytes that begin with their own domain label: a DSSE encoding, a receipt, or a checkpoint.
    ///
    /// The public half is the seed's own, computed above: RFC 8032 signing with a foreign one would leak the key.
    #[must_use]
    pub fn sign(&self, labelled: &[u8]) -> Signature64 {
        let signature = secret::run(|inside| {
            let expanded = ExpandedSecretKey::from(self.seed.expose(inside));
            raw_sign::<Sha512>(&expanded, labelled, &self.public).to_bytes()
        });
        Signature64::from_bytes(signature)
    }

    /// The seed, for sealing only.
    #[must_use]
    pub fn danger_seed<'a>(&'a self, inside: &'a Inside) -> &'a [u8; REPORT_SEED_LEN] {
        self.seed.expose(inside)
    }
}
