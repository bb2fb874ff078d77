//! The Ed25519 key under the seal that signs reports, receipts and audit checkpoints, nothing else.

use ed25519_dalek::{Signer, SigningKey};
use sealstone_attestation::Signature64;

/// Bytes of the seed (RFC 8032).
pub const REPORT_SEED_LEN: usize = 32;

/// The key and its seed, wiped on drop.
#[allow(missing_debug_implementations, reason = "a private key is never printed")]
pub struct ReportKey(Box<SigningKey>);

impl ReportKey {
    /// From its seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; REPORT_SEED_LEN]) -> Self {
        Self(Box::new(SigningKey::from_bytes(seed)))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs bytes that begin with their own domain label: a DSSE encoding, or a receipt.
    #[must_use]
    pub fn sign(&self, labelled: &[u8]) -> Signature64 {
        Signature64::from_bytes(self.0.sign(labelled).to_bytes())
    }

    /// The seed, for sealing only.
    #[must_use]
    pub fn danger_seed(&self) -> &[u8; REPORT_SEED_LEN] {
        self.0.as_bytes()
    }
}
