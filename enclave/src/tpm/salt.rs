//! Salts: a fresh secret that only the TPM with the pinned endorsement key can learn (TPM 2.0 Part 1, 19.6,
//! and "Secret Sharing" in its annexes B and C).

use getrandom::SysRng;
use p256::NistP256;
use p256::elliptic_curve::ecdh::EphemeralSecret;
use p256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use p256::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytesSize, Generate, PublicKey};
use p384::NistP384;
use rsa::traits::PaddingScheme;
use rsa::{BoxedUint, Oaep, RsaPublicKey};
use sealstone_attestation::{HashAlgorithm, PublicArea, TpmKey};
use sha2::{Sha256, Sha384};
use tpm2_protocol::data::{Tpm2bEccParameter, TpmsEccPoint};

use super::command::parameters;
use super::error::TpmError;
use super::kdf::NameHash;
use crate::secret::{self, Inside, SecretBytes};

/// The purpose of a salt, in KDFe and as the OAEP label (there with its NUL).
const LABEL: &[u8] = b"SECRET";
const OAEP_LABEL: &[u8] = b"SECRET\0";
/// A salt, and what tells it to the TPM alone.
pub(super) struct Salt {
    /// The secret.
    pub(super) secret: SecretBytes,
    /// `TPM2B_ENCRYPTED_SECRET.secret`: public.
    pub(super) encrypted: Vec<u8>,
}

/// The endorsement key as an addressee of salts.
pub(super) struct SaltKey {
    hash: NameHash,
    key: Key,
}

enum Key {
    Rsa(RsaPublicKey),
    P256(PublicKey<NistP256>),
    P384(PublicKey<NistP384>),
}

impl SaltKey {
    /// The key in this public area.
    ///
    /// # Errors
    /// [`TpmError::UnusableKey`] when it is named by another hash than SHA-256 or SHA-384, or no valid key.
    pub(super) fn new(public: &PublicArea) -> Result<Self, TpmError> {
        let unusable = |what| TpmError::UnusableKey { what };
        let hash = match public.name_algorithm() {
            HashAlgorithm::Sha256 => NameHash::Sha256,
            HashAlgorithm::Sha384 => NameHash::Sha384,
            _ => return Err(unusable("expected name algorithm SHA-256 or SHA-384")),
        };
        let key = match public.key() {
            TpmKey::Rsa { modulus, exponent } => {
                let modulus = BoxedUint::from_be_slice_vartime(modulus);
                RsaPublicKey::new(modulus, BoxedUint::from(*exponent)).ok().map(Key::Rsa)
            }
            TpmKey::EccP256 { x, y } => point(x, y).map(Key::P256),
            TpmKey::EccP384 { x, y } => point(x, y).map(Key::P384),
        };
        Ok(Self { hash, key: key.ok_or_else(|| unusable("expected a valid RSA, P-256 or P-384 key"))? })
    }

    /// A fresh salt for this key, of as many bytes as its name's hash has.
    pub(super) fn salt(&self) -> Result<Salt, TpmError> {
        secret::run(|inside| match &self.key {
            Key::Rsa(key) => self.encrypt_to(inside, key),
            Key::P256(key) => self.agree_with(inside, key),
            Key::P384(key) => self.agree_with(inside, key),
        })
    }

    fn encrypt_to(&self, inside: &Inside, key: &RsaPublicKey) -> Result<Salt, TpmError> {
        let mut secret = vec![0; self.hash.len()];
        getrandom::fill(&mut secret)?;
        let encrypted = match self.hash {
            NameHash::Sha256 => Oaep::<Sha256>::new_with_label(OAEP_LABEL).encrypt(&mut SysRng, key, &secret),
            NameHash::Sha384 => Oaep::<Sha384>::new_with_label(OAEP_LABEL).encrypt(&mut SysRng, key, &secret),
        };
        let encrypted =
            encrypted.map_err(|_| TpmError::UnusableKey { what: "expected an RSA key that OAEP can use" })?;
        Ok(Salt { secret: SecretBytes::new(inside, secret), encrypted })
    }

    fn agree_with<C>(&self, inside: &Inside, key: &PublicKey<C>) -> Result<Salt, TpmError>
    where
        C: CurveArithmetic,
        FieldBytesSize<C>: ModulusSize,
        AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    {
        let ephemeral = EphemeralSecret::<C>::try_generate_from_rng(&mut SysRng)?;
        let shared = ephemeral.diffie_hellman(key);
        // All coordinates at the curve's full width: a stripped zero gives another salt for one key in 256.
        let (x, y) = coordinates(&ephemeral.public_key());
        let (key_x, _) = coordinates(key);
        let secret = self.hash.kdfe(shared.raw_secret_bytes(), LABEL, &x, &key_x);
        let point = TpmsEccPoint { x: ecc_parameter(&x), y: ecc_parameter(&y) };
        Ok(Salt { secret: SecretBytes::new(inside, secret), encrypted: parameters(&[&point]) })
    }
}

fn point<C>(x: &[u8], y: &[u8]) -> Option<PublicKey<C>>
where
    C: CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
{
    const UNCOMPRESSED: u8 = 4;
    PublicKey::from_sec1_bytes(&[&[UNCOMPRESSED], x, y].concat()).ok()
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

fn ecc_parameter(coordinate: &[u8]) -> Tpm2bEccParameter {
    Tpm2bEccParameter::try_from(coordinate).expect("coordinates of the supported curves are at most 48 bytes")
}
