//! From the root to a private key: exactly the chain of `docs/derivation.md`.
//!
//! `PRK = HKDF-Extract(salt = binding, IKM = root)`, then one HKDF-Expand with the key path's canonical bytes.

use hkdf::Hkdf;
use sealstone_attestation::{Binding, PublicKey};
use sealstone_wire::KeyPath;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::secret::Secret;
use crate::signing_key::SigningKey;

/// Bytes of a root.
pub const ROOT_LEN: usize = 32;

/// Salt under which a root is combined from parts (DESIGN: "Root secret").
const ROOT_LABEL: &[u8] = b"sealstone/root/v1";

/// Salt of keys that never leave the enclave: the check value is one's public half.
const INTERNAL_LABEL: &[u8] = b"sealstone/internal/v1";

/// The secret from which every key of a deployment derives. No `Clone`, no `Debug`.
#[allow(missing_debug_implementations, reason = "a root is never printed")]
pub struct Root(Secret<ROOT_LEN>);

impl Root {
    /// Copies the root into secret memory, for example out of an unsealed payload, which its owner wipes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; ROOT_LEN]) -> Self {
        Self(Secret::copied(bytes))
    }

    /// A root from parts, all of which are needed: `HKDF-Extract(label, lp(name) ‖ lp(part) ‖ …)`, sorted by
    /// name.
    ///
    /// # Panics
    /// Never: names are constants and parts are 32 bytes.
    #[must_use]
    pub fn combine(parts: &mut [(&str, &Zeroizing<[u8; 32]>)]) -> Self {
        parts.sort_by_key(|(name, _)| *name);
        let mut ikm = Zeroizing::new(Vec::with_capacity(parts.len() * 64));
        for (name, part) in parts.iter() {
            for field in [name.as_bytes(), part.as_slice()] {
                sealstone_attestation::lp(&mut ikm, field).expect("names and parts are short");
            }
        }
        let (mut output, _) = Hkdf::<Sha256>::extract(Some(ROOT_LABEL), &ikm);
        let root = Self(Secret::filled(|root| root.copy_from_slice(&output)));
        output.as_mut_slice().zeroize();
        root
    }

    /// The bytes, for sealing only.
    #[must_use]
    pub fn danger_bytes(&self) -> &[u8; ROOT_LEN] {
        self.0.expose()
    }

    /// The key of a path below a binding.
    #[must_use]
    pub fn derive(&self, binding: &Binding, path: &KeyPath) -> SigningKey {
        self.expand(binding.as_bytes(), path.algorithm(), &path.info())
    }

    /// A public key that says whether this is the root that was provisioned, and nothing else about it.
    ///
    /// Kept in the state file, so that a wrong part is refused instead of yielding other addresses.
    #[must_use]
    pub fn check_value(&self) -> PublicKey {
        let algorithm = sealstone_attestation::Algorithm::EdDsa;
        self.expand(INTERNAL_LABEL, algorithm, b"sealstone/check/v1").public_key()
    }

    fn expand(&self, salt: &[u8], algorithm: sealstone_attestation::Algorithm, info: &[u8]) -> SigningKey {
        let (_, hkdf) = self.prk(salt);
        SigningKey::from_material(algorithm, |okm| {
            hkdf.expand(info, okm).expect("48 bytes are below HKDF's limit of 255 hashes");
        })
    }

    /// The PRK, and the same as keyed HMAC state; hmac and sha2 wipe theirs on drop (feature `zeroize`).
    fn prk(&self, salt: &[u8]) -> (Zeroizing<[u8; 32]>, Hkdf<Sha256>) {
        let (mut output, hkdf) = Hkdf::<Sha256>::extract(Some(salt), self.0.expose());
        let mut prk = Zeroizing::new([0; 32]);
        prk.copy_from_slice(&output);
        output.as_mut_slice().zeroize();
        (prk, hkdf)
    }
}

impl ConstantTimeEq for Root {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.expose().as_slice().ct_eq(other.0.expose().as_slice())
    }
}

#[cfg(test)]
mod vectors;
