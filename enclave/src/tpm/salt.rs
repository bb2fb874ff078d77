//! Salts: a fresh secret that only the TPM with the pinned endorsement key can learn (TPM 2.0 Part 1, 19.6).

use getrandom::SysRng;
use sealstone_attestation::{PublicArea, SharedSecret, SharingError, SharingKey, SharingPurpose};

use super::error::TpmError;
use crate::secret::{self, SecretBytes};

/// A salt, and what tells it to the TPM alone.
pub(super) struct Salt {
    /// The secret.
    pub(super) secret: SecretBytes,
    /// `TPM2B_ENCRYPTED_SECRET.secret`: public.
    pub(super) encrypted: Vec<u8>,
}

/// The endorsement key as an addressee of salts.
pub(super) struct SaltKey(SharingKey);

impl SaltKey {
    /// The key in this public area.
    ///
    /// # Errors
    /// [`TpmError::UnusableKey`] when it is named by another hash than SHA-256 or SHA-384, or no valid key.
    pub(super) fn new(public: &PublicArea) -> Result<Self, TpmError> {
        SharingKey::new(public).map(Self).map_err(failure)
    }

    /// A fresh salt for this key, of as many bytes as its name's hash has.
    pub(super) fn salt(&self) -> Result<Salt, TpmError> {
        let mut encrypted = Vec::new();
        // Boxed: see `Flat`.
        let mut failed: Option<Box<SharingError>> = None;
        let secret = secret::run(|inside| {
            let salt = match self.0.share(SharingPurpose::Salt, &mut SysRng) {
                Ok(SharedSecret { secret, encrypted: told }) => {
                    encrypted = told;
                    secret
                }
                Err(error) => {
                    failed = Some(Box::new(error));
                    Vec::new()
                }
            };
            SecretBytes::new(inside, salt)
        });
        match failed {
            Some(error) => Err(failure(*error)),
            None => Ok(Salt { secret, encrypted }),
        }
    }
}

fn failure(error: SharingError) -> TpmError {
    match error {
        SharingError::NameHash { .. } => {
            TpmError::UnusableKey { what: "expected name algorithm SHA-256 or SHA-384" }
        }
        SharingError::Key => TpmError::UnusableKey { what: "expected a valid RSA, P-256 or P-384 key" },
        SharingError::Randomness => TpmError::Randomness(getrandom::Error::UNEXPECTED),
    }
}
