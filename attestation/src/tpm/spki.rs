//! Public keys as everybody else writes them (RFC 5280, SubjectPublicKeyInfo).

use p256::{
    elliptic_curve::sec1::ToSec1Point,
    pkcs8::{DecodePublicKey, EncodePublicKey},
};
use rsa::{BoxedUint, RsaPublicKey, traits::PublicKeyParts};
use thiserror::Error;

use super::public_area::{PublicAreaError, TpmKey, p256_key, p384_key, rsa_key, uncompressed};

/// Bytes of the longest key that is read: RSA of 4096 bits takes 550.
const BYTES_MAX: usize = 2048;

impl TpmKey {
    /// Reads a DER SubjectPublicKeyInfo of an RSA, P-256 or P-384 key.
    ///
    /// # Errors
    /// [`SpkiError`] for anything else.
    pub fn from_spki_der(bytes: &[u8]) -> Result<Self, SpkiError> {
        if bytes.len() > BYTES_MAX {
            return Err(SpkiError::TooLong { found: bytes.len() });
        }
        if let Ok(key) = p256::PublicKey::from_public_key_der(bytes) {
            let point = key.to_sec1_point(false);
            let (x, y) = halves(point.as_bytes());
            return Ok(p256_key(x, y)?);
        }
        if let Ok(key) = p384::PublicKey::from_public_key_der(bytes) {
            let point = key.to_sec1_point(false);
            let (x, y) = halves(point.as_bytes());
            return Ok(p384_key(x, y)?);
        }
        let key = RsaPublicKey::from_public_key_der(bytes).map_err(|_| SpkiError::Unknown)?;
        let (modulus, exponent) = (key.n().to_be_bytes(), key.e().to_be_bytes());
        let (modulus, exponent) = (without_zeros(&modulus), without_zeros(&exponent));
        let exponent = exponent
            .iter()
            .try_fold(0_u32, |number, byte| Some(number.checked_mul(1 << 8)? | u32::from(*byte)));
        let exponent = exponent.ok_or(SpkiError::Unknown)?;
        let bits = u16::try_from(modulus.len() * 8).map_err(|_| SpkiError::Unknown)?;
        Ok(rsa_key(bits, modulus, exponent)?)
    }

    /// The key as a DER SubjectPublicKeyInfo. `None` for an RSA key with numbers that no such key has.
    #[must_use]
    pub fn to_spki_der(&self) -> Option<Vec<u8>> {
        let document = match self {
            Self::Rsa { modulus, exponent } => {
                let modulus = BoxedUint::from_be_slice_vartime(modulus);
                RsaPublicKey::new(modulus, BoxedUint::from(*exponent)).ok()?.to_public_key_der().ok()?
            }
            Self::EccP256 { x, y } => {
                p256::PublicKey::from_sec1_bytes(&uncompressed(x, y)).ok()?.to_public_key_der().ok()?
            }
            Self::EccP384 { x, y } => {
                p384::PublicKey::from_sec1_bytes(&uncompressed(x, y)).ok()?.to_public_key_der().ok()?
            }
        };
        Some(document.into_vec())
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    &number[first..]
}

/// The coordinates of an uncompressed point (SEC1, section 2.3.3).
fn halves(point: &[u8]) -> (&[u8], &[u8]) {
    let coordinates = &point[1..];
    coordinates.split_at(coordinates.len() / 2)
}

/// Why bytes are no usable public key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpkiError {
    /// More than any key that signs quotes.
    #[error("expected a public key of at most {BYTES_MAX} bytes, found {found}")]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// Another key, or none.
    #[error("expected an RSA, P-256 or P-384 public key (SubjectPublicKeyInfo), found something else")]
    Unknown,
    /// A key that no TPM has.
    #[error(transparent)]
    Key(#[from] PublicAreaError),
}
