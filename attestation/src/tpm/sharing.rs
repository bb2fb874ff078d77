//! Secrets that only the TPM with one endorsement key can learn (TPM 2.0 Part 1, "Secret Sharing" in its annexes B and C).

use p256::{
    NistP256,
    elliptic_curve::{
        AffinePoint, CurveArithmetic, FieldBytesSize, Generate, PublicKey,
        ecdh::EphemeralSecret,
        sec1::{FromSec1Point, ModulusSize, ToSec1Point},
    },
};
use p384::NistP384;
use rand_core::TryCryptoRng;
use rsa::{BoxedUint, Oaep, RsaPublicKey, traits::PaddingScheme};
use sha2::{Sha256, Sha384};
use thiserror::Error;

use crate::{
    pcr::HashAlgorithm,
    tpm::{
        kdf::NameHash,
        public_area::{PublicArea, TpmKey, uncompressed},
    },
};

/// What a shared secret is for; it enters the secret, so that one purpose's can never serve another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharingPurpose {
    /// The salt of a session (TPM 2.0 Part 1, section 19.6).
    Salt,
    /// The seed of a credential (TPM 2.0 Part 1, section 24).
    Credential,
}

impl SharingPurpose {
    /// In KDFe, which adds the NUL itself.
    fn label(self) -> &'static [u8] {
        match self {
            Self::Salt => b"SECRET",
            Self::Credential => b"IDENTITY",
        }
    }

    /// As the OAEP label, with its NUL.
    fn oaep_label(self) -> &'static [u8] {
        match self {
            Self::Salt => b"SECRET\0",
            Self::Credential => b"IDENTITY\0",
        }
    }
}

/// An endorsement key as an addressee of secrets.
pub struct SharingKey {
    hash: NameHash,
    key: Key,
}

enum Key {
    Rsa(RsaPublicKey),
    P256(PublicKey<NistP256>),
    P384(PublicKey<NistP384>),
}

/// A fresh secret, and what tells it to the TPM alone. The secret is plain bytes: whoever asked for it keeps and wipes it.
pub struct SharedSecret {
    /// As many bytes as the key's name hash has.
    pub secret: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET.secret`: public.
    pub encrypted: Vec<u8>,
}

impl SharingKey {
    /// The key in this public area.
    ///
    /// # Errors
    /// [`SharingError::NameHash`] when it is named by another hash than SHA-256 or SHA-384, [`SharingError::Key`] when it is no
    /// valid key.
    pub fn new(public: &PublicArea) -> Result<Self, SharingError> {
        let hash = match public.name_algorithm() {
            HashAlgorithm::Sha256 => NameHash::Sha256,
            HashAlgorithm::Sha384 => NameHash::Sha384,
            found => return Err(SharingError::NameHash { found }),
        };
        let key = match public.key() {
            TpmKey::Rsa { modulus, exponent } => {
                let modulus = BoxedUint::from_be_slice_vartime(modulus);
                RsaPublicKey::new(modulus, BoxedUint::from(*exponent)).ok().map(Key::Rsa)
            }
            TpmKey::EccP256 { x, y } => point(x, y).map(Key::P256),
            TpmKey::EccP384 { x, y } => point(x, y).map(Key::P384),
        };
        Ok(Self { hash, key: key.ok_or(SharingError::Key)? })
    }

    /// A fresh secret for this key.
    ///
    /// # Errors
    /// [`SharingError::Randomness`] when the source fails, [`SharingError::Key`] when the key is too short for OAEP.
    pub fn share(
        &self,
        purpose: SharingPurpose,
        rng: &mut impl TryCryptoRng,
    ) -> Result<SharedSecret, SharingError> {
        match &self.key {
            Key::Rsa(key) => self.encrypt_to(key, purpose, rng),
            Key::P256(key) => self.agree_with(key, purpose, rng),
            Key::P384(key) => self.agree_with(key, purpose, rng),
        }
    }

    /// The hash of the key's name.
    pub(crate) fn hash(&self) -> NameHash {
        self.hash
    }

    fn encrypt_to(
        &self,
        key: &RsaPublicKey,
        purpose: SharingPurpose,
        rng: &mut impl TryCryptoRng,
    ) -> Result<SharedSecret, SharingError> {
        let mut secret = vec![0; self.hash.len()];
        rng.try_fill_bytes(&mut secret).map_err(|_| SharingError::Randomness)?;
        let label = purpose.oaep_label();
        let encrypted = match self.hash {
            NameHash::Sha256 => Oaep::<Sha256>::new_with_label(label).encrypt(rng, key, &secret),
            NameHash::Sha384 => Oaep::<Sha384>::new_with_label(label).encrypt(rng, key, &secret),
        };
        Ok(SharedSecret { secret, encrypted: encrypted.map_err(|_| SharingError::Key)? })
    }

    fn agree_with<C>(
        &self,
        key: &PublicKey<C>,
        purpose: SharingPurpose,
        rng: &mut impl TryCryptoRng,
    ) -> Result<SharedSecret, SharingError>
    where
        C: CurveArithmetic,
        FieldBytesSize<C>: ModulusSize,
        AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    {
        let ephemeral =
            EphemeralSecret::<C>::try_generate_from_rng(rng).map_err(|_| SharingError::Randomness)?;
        let shared = ephemeral.diffie_hellman(key);
        // All coordinates at the curve's full width: a stripped zero gives another secret for one key in 256.
        let (x, y) = coordinates(&ephemeral.public_key());
        let (key_x, _) = coordinates(key);
        let secret = self.hash.kdfe(shared.raw_secret_bytes(), purpose.label(), &x, &key_x);
        // TPMS_ECC_POINT (TPM 2.0 Part 2, section 11.2.5.2)
        let mut encrypted = Vec::with_capacity(4 + x.len() + y.len());
        for coordinate in [&x, &y] {
            let length = u16::try_from(coordinate.len()).expect("the supported curves have at most 48 bytes");
            encrypted.extend_from_slice(&length.to_be_bytes());
            encrypted.extend_from_slice(coordinate);
        }
        Ok(SharedSecret { secret, encrypted })
    }
}

fn point<C>(x: &[u8], y: &[u8]) -> Option<PublicKey<C>>
where
    C: CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
{
    PublicKey::from_sec1_bytes(&uncompressed(x, y)).ok()
}

/// The coordinates at full width.
fn coordinates<C>(key: &PublicKey<C>) -> (Vec<u8>, Vec<u8>)
where
    C: CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
{
    let point = key.to_sec1_point(false);
    let x = point.x().expect("a public key is not the point at infinity");
    let y = point.y().expect("an uncompressed point has a y");
    (x.to_vec(), y.to_vec())
}

impl std::fmt::Debug for SharingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharingKey").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedSecret").finish_non_exhaustive()
    }
}

/// Why no secret can be sent to a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SharingError {
    /// The hash decides how the secret is protected.
    #[error("expected an endorsement key named by SHA-256 or SHA-384, found {found}")]
    NameHash {
        /// Of the key's name.
        found: HashAlgorithm,
    },
    /// Not a key that anything can be encrypted to.
    #[error("expected a valid RSA, P-256 or P-384 endorsement key, found none")]
    Key,
    /// Nothing secret without it.
    #[error("expected randomness, found that its source fails")]
    Randomness,
}
