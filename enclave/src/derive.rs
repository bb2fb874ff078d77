//! From the root to a private key: exactly the chain of `docs/derivation.md`.
//!
//! `PRK = HKDF-Extract(salt = binding, IKM = root)`, then one HKDF-Expand with the key path's canonical bytes.

use hkdf::Hkdf;
use sealstone_attestation::{Algorithm, Binding, PublicKey};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::secret::{self, Inside, Secret};
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
    /// A copy of the root, for example out of an unsealed payload.
    #[must_use]
    pub fn from_bytes(inside: &Inside, bytes: &[u8; ROOT_LEN]) -> Self {
        Self(Secret::copied(inside, bytes))
    }

    /// A root from parts, all of which are needed: `HKDF-Extract(label, lp(name) ‖ lp(part) ‖ …)`, sorted by
    /// name.
    ///
    /// # Panics
    /// Never: names are constants and parts are 32 bytes.
    #[must_use]
    pub fn combine(inside: &Inside, parts: &mut [(&str, &Secret<32>)]) -> Self {
        parts.sort_by_key(|(name, _)| *name);
        let mut ikm = Vec::new();
        for (name, part) in parts.iter() {
            for field in [name.as_bytes(), part.expose(inside)] {
                sealstone_attestation::lp(&mut ikm, field).expect("names and parts are short");
            }
        }
        let (output, _) = Hkdf::<Sha256>::extract(Some(ROOT_LABEL), &ikm);
        Self(Secret::filled(inside, |root| root.copy_from_slice(&output)))
    }

    /// The bytes, for sealing only.
    #[must_use]
    pub fn danger_bytes<'a>(&'a self, inside: &'a Inside) -> &'a [u8; ROOT_LEN] {
        self.0.expose(inside)
    }

    /// The key of a path below a binding; `info` is the path's canonical form, [`KeyPath::info`](sealstone_wire::KeyPath::info).
    #[must_use]
    pub fn derive(
        &self,
        inside: &Inside,
        binding: &Binding,
        algorithm: Algorithm,
        info: &[u8],
    ) -> SigningKey {
        self.expand(inside, binding.as_bytes(), algorithm, info)
    }

    /// A public key that says whether this is the root that was provisioned, and nothing else about it.
    ///
    /// Kept in the state file, so that a wrong part is refused instead of yielding other addresses.
    #[must_use]
    pub fn check_value(&self) -> PublicKey {
        secret::run(|inside| {
            self.expand(inside, INTERNAL_LABEL, Algorithm::EdDsa, b"sealstone/check/v1").public_key()
        })
    }

    fn expand(&self, inside: &Inside, salt: &[u8], algorithm: Algorithm, info: &[u8]) -> SigningKey {
        let (_prk, hkdf) = self.prk(inside, salt);
        SigningKey::from_material(inside, algorithm, |okm| {
            hkdf.expand(info, okm).expect("48 bytes are below HKDF's limit of 255 hashes");
        })
    }

    /// The PRK, and the same as keyed HMAC state.
    fn prk(&self, inside: &Inside, salt: &[u8]) -> ([u8; 32], Hkdf<Sha256>) {
        let (output, hkdf) = Hkdf::<Sha256>::extract(Some(salt), self.0.expose(inside));
        (output.into(), hkdf)
    }
}

impl ConstantTimeEq for Root {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        secret::run(|inside| self.0.expose(inside).as_slice().ct_eq(other.0.expose(inside).as_slice()))
    }
}

#[cfg(test)]
mod vectors;
