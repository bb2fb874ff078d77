//! One private key, for one request: made from key material, signs, is wiped.

use ed25519_dalek::Signer;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::elliptic_curve::{Curve, bigint};
use sealstone_attestation::{Algorithm, PublicKey, Signature64};
use sealstone_wire::request::Payload;
use sha2::{Digest, Sha256};
use sha3::Keccak256;
use thiserror::Error;

use crate::secret::Inside;

/// Key material of an ECDSA key: 256 bits of the group plus 128, so that the bias of the reduction is below
/// 2⁻¹²⁸ (FIPS 186-5, appendix A.2.1; 64 more bits would do).
const ECDSA_MATERIAL_LEN: usize = 48;

/// Key material of an Ed25519 key: its RFC 8032 seed.
const ED25519_MATERIAL_LEN: usize = 32;

/// A private key with its public half. No `Clone`, no `Debug`. It is made, used and dropped in one secret operation, whose
/// stack is then wiped.
#[allow(missing_debug_implementations, reason = "a private key is never printed")]
pub enum SigningKey {
    /// P-256.
    Es256(p256::ecdsa::SigningKey),
    /// secp256k1.
    Es256k(k256::ecdsa::SigningKey),
    /// Ed25519.
    EdDsa(ed25519_dalek::SigningKey),
}

/// What a key made of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// `r ‖ s` with low S, or the Ed25519 signature.
    pub signature: Signature64,
    /// What an ECDSA signature is over; for Ed25519 the message's SHA-256, for reference.
    pub digest: [u8; 32],
    /// ES256K: the recovery id, adjusted for low S.
    pub recovery_id: Option<u8>,
}

/// Why a key does not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignError {
    /// The caller asked Ed25519 for a digest; it signs messages only.
    #[error("EdDSA signs the message itself: expected a message without a hash name, found {found}")]
    NotForEdDsa {
        /// What was asked for.
        found: &'static str,
    },
    /// A fault: the signature did not verify under the key that made it, and was destroyed.
    #[error("the signature just made does not verify; a fault in memory or processor is likely")]
    SelfCheck,
}

impl SigningKey {
    /// Makes a key of this algorithm; `fill` writes the material.
    pub fn from_material(_: &Inside, algorithm: Algorithm, fill: impl FnOnce(&mut [u8])) -> Self {
        match algorithm {
            Algorithm::Es256 => {
                let scalar = ecdsa_scalar(fill, &p256::NistP256::ORDER);
                Self::Es256(p256::ecdsa::SigningKey::from_slice(&scalar).expect("1 ≤ d < n by construction"))
            }
            Algorithm::Es256k => {
                let scalar = ecdsa_scalar(fill, &k256::Secp256k1::ORDER);
                Self::Es256k(k256::ecdsa::SigningKey::from_slice(&scalar).expect("1 ≤ d < n by construction"))
            }
            Algorithm::EdDsa => {
                let mut seed = [0; ED25519_MATERIAL_LEN];
                fill(&mut seed);
                Self::EdDsa(ed25519_dalek::SigningKey::from_bytes(&seed))
            }
        }
    }

    /// What the key signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::Es256,
            Self::Es256k(_) => Algorithm::Es256k,
            Self::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        match self {
            Self::Es256(key) => PublicKey::from(key.verifying_key()),
            Self::Es256k(key) => PublicKey::from(key.verifying_key()),
            Self::EdDsa(key) => PublicKey::from(&key.verifying_key()),
        }
    }

    /// Signs; with `verify` the signature is checked under the public key before it is returned.
    ///
    /// ECDSA nonces are RFC 6979 with SHA-256, whatever hashed the message, and S is low.
    ///
    /// # Errors
    /// [`SignError::NotForEdDsa`] for a payload that Ed25519 cannot sign, [`SignError::SelfCheck`] if the
    /// signature does not verify.
    pub fn sign(&self, payload: &Payload, verify: bool) -> Result<Made, SignError> {
        match self {
            Self::Es256(key) => {
                let digest = ecdsa_digest(payload);
                let (signature, _) = key.sign_prehash_recoverable(&digest);
                let signature = signature.normalize_s();
                if verify {
                    key.verifying_key()
                        .verify_prehash(&digest, &signature)
                        .map_err(|_| SignError::SelfCheck)?;
                }
                Ok(Made {
                    signature: Signature64::from_bytes(signature.to_bytes().into()),
                    digest,
                    recovery_id: None,
                })
            }
            Self::Es256k(key) => {
                let digest = ecdsa_digest(payload);
                // k256 makes S low itself and adjusts the recovery id with it.
                let (signature, recovery_id) = key.sign_prehash_recoverable(&digest);
                if verify {
                    key.verifying_key()
                        .verify_prehash(&digest, &signature)
                        .map_err(|_| SignError::SelfCheck)?;
                }
                Ok(Made {
                    signature: Signature64::from_bytes(signature.to_bytes().into()),
                    digest,
                    recovery_id: Some(recovery_id.to_byte()),
                })
            }
            Self::EdDsa(key) => {
                let message = match payload {
                    Payload::Message(message) => message,
                    Payload::MessageKeccak(_) => return Err(SignError::NotForEdDsa { found: "keccak256" }),
                    Payload::Digest(_) => return Err(SignError::NotForEdDsa { found: "a bare digest" }),
                };
                let signature = key.sign(message);
                if verify {
                    key.verifying_key()
                        .verify_strict(message, &signature)
                        .map_err(|_| SignError::SelfCheck)?;
                }
                Ok(Made {
                    signature: Signature64::from_bytes(signature.to_bytes()),
                    digest: Sha256::digest(message).into(),
                    recovery_id: None,
                })
            }
        }
    }
}

/// Makes the tables of multiples of each curve's generator, which the libraries otherwise make at first use. They are
/// public.
pub fn make_tables() {
    use p256::elliptic_curve::Group;
    let one = p256::ProjectivePoint::mul_by_generator(&p256::Scalar::ONE);
    let other = k256::ProjectivePoint::mul_by_generator(&k256::Scalar::ONE);
    std::hint::black_box((one, other));
}

fn ecdsa_digest(payload: &Payload) -> [u8; 32] {
    match payload {
        Payload::Message(message) => Sha256::digest(message).into(),
        Payload::MessageKeccak(message) => Keccak256::digest(message).into(),
        Payload::Digest(digest) => *digest,
    }
}

/// `d = (OS2IP(material) mod (n − 1)) + 1`, in constant time (FIPS 186-5, appendix A.2.1).
fn ecdsa_scalar(fill: impl FnOnce(&mut [u8]), order: &bigint::Odd<bigint::U256>) -> [u8; 32] {
    let mut material = [0; ECDSA_MATERIAL_LEN];
    fill(&mut material);
    let wide = bigint::U384::from_be_slice(&material);
    let below_order = order.as_ref().wrapping_sub(&bigint::U256::ONE);
    let below_order = bigint::NonZero::new(below_order).expect("a curve's order is above 1");
    let mut scalar = [0; 32];
    scalar.copy_from_slice(wide.rem(&below_order).wrapping_add(&bigint::U256::ONE).to_be_bytes().as_ref());
    scalar
}
