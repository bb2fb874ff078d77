//! Public areas of asymmetric TPM keys (TPM 2.0 Part 2, TPMT_PUBLIC).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;
use tpm2_protocol::{
    TpmUnmarshal,
    data::{
        TpmAlgId, TpmEccCurve, TpmtPublic, TpmtSymDefObject, TpmuAsymScheme, TpmuPublicId, TpmuPublicParms,
        TpmuSymKeyBits, TpmuSymMode,
    },
};

use crate::{
    encoding::hex_vec,
    pcr::HashAlgorithm,
    tpm::{
        name::TpmName,
        signature::{SignatureKind, SignatureScheme},
    },
};

/// `TPM_RH_ENDORSEMENT` (TPM 2.0 Part 2, table 28): the qualified name of the endorsement hierarchy.
const ENDORSEMENT_HIERARCHY: [u8; 4] = 0x4000_000b_u32.to_be_bytes();

/// Bytes of the longest public area: less than the largest TPM command.
const BYTES_MAX: usize = 4096;

/// The exponent that an RSA public area means by 0 (TPM 2.0 Part 2, section 12.2.3.5).
const DEFAULT_EXPONENT: u32 = 65_537;

/// The public area of an RSA or elliptic-curve key, with the exact bytes that its name is computed from.
///
/// Text formats carry those bytes (TPMT_PUBLIC) as hex.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicArea {
    bytes: Vec<u8>,
    name: TpmName,
    name_algorithm: HashAlgorithm,
    attributes: u32,
    scheme: KeyScheme,
    symmetric_bits: Option<u16>,
    key: TpmKey,
}

/// The key itself. Coordinates are padded to the curve's width and lie on the curve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TpmKey {
    /// RSA.
    Rsa {
        /// Big-endian, as long as the key.
        modulus: Vec<u8>,
        /// The public exponent; never 0.
        exponent: u32,
    },
    /// NIST P-256.
    EccP256 {
        /// Big-endian.
        x: [u8; 32],
        /// Big-endian.
        y: [u8; 32],
    },
    /// NIST P-384.
    EccP384 {
        /// Big-endian.
        x: [u8; 48],
        /// Big-endian.
        y: [u8; 48],
    },
}

/// What a public area says about how its key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyScheme {
    /// Left to each command.
    Null,
    /// Fixed: only this signature scheme.
    Signature(SignatureScheme),
    /// Fixed to something that signs no quotes.
    Other,
}

impl PublicArea {
    /// Reads TPMT_PUBLIC, or TPM2B_PUBLIC, which is the same behind its length.
    ///
    /// # Errors
    /// [`PublicAreaError`] for anything but one whole RSA, P-256 or P-384 public area with a SHA-2 name.
    pub fn parse(bytes: &[u8]) -> Result<Self, PublicAreaError> {
        if bytes.len() > BYTES_MAX {
            return Err(PublicAreaError::TooLong { found: bytes.len() });
        }
        // A TPMT_PUBLIC begins with its key type: 0x0001 or 0x0023. No public area with a usable key is as
        // short as those numbers read as lengths, so the two forms cannot be confused.
        let bytes = match bytes {
            [high, low, rest @ ..] if usize::from(u16::from_be_bytes([*high, *low])) == rest.len() => rest,
            _ => bytes,
        };
        let (public, rest) =
            TpmtPublic::unmarshal(bytes).map_err(|error| PublicAreaError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(PublicAreaError::TrailingBytes { found: rest.len() });
        }
        let name_id = public.name_alg.value();
        let name_refused = PublicAreaError::NameAlgorithm { found: name_id };
        let Some(name_algorithm) = HashAlgorithm::from_algorithm_id(name_id) else {
            return Err(name_refused);
        };
        let Some(name) = TpmName::of(name_algorithm, bytes) else {
            return Err(name_refused);
        };
        let (key, scheme, symmetric) = match (&public.parameters, &public.unique) {
            (TpmuPublicParms::Rsa(parameters), TpmuPublicId::Rsa(modulus)) => {
                let exponent = match parameters.exponent.value() {
                    0 => DEFAULT_EXPONENT,
                    exponent => exponent,
                };
                let key = rsa_key(parameters.key_bits.value(), modulus, exponent)?;
                (key, key_scheme(parameters.scheme.scheme, &parameters.scheme.details), parameters.symmetric)
            }
            (TpmuPublicParms::Ecc(parameters), TpmuPublicId::Ecc(point)) => {
                let key = match parameters.curve_id {
                    TpmEccCurve::NistP256 => p256_key(&point.x, &point.y)?,
                    TpmEccCurve::NistP384 => p384_key(&point.x, &point.y)?,
                    other => return Err(PublicAreaError::Curve { found: other.value() }),
                };
                (key, key_scheme(parameters.scheme.scheme, &parameters.scheme.details), parameters.symmetric)
            }
            _ => {
                return Err(PublicAreaError::KeyType { found: public.object_type.value() });
            }
        };
        let attributes = public.object_attributes.bits();
        let symmetric_bits = cfb_key_bits(&symmetric);
        Ok(Self { bytes: bytes.to_vec(), name, name_algorithm, attributes, scheme, symmetric_bits, key })
    }

    /// TPMT_PUBLIC, as received.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &TpmName {
        &self.name
    }

    /// The hash algorithm of the name.
    #[must_use]
    pub fn name_algorithm(&self) -> HashAlgorithm {
        self.name_algorithm
    }

    /// `TPMA_OBJECT` (TPM 2.0 Part 2, section 8.3).
    #[must_use]
    pub fn attributes(&self) -> u32 {
        self.attributes
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &TpmKey {
        &self.key
    }

    /// What the key's use is fixed to.
    #[must_use]
    pub fn scheme(&self) -> KeyScheme {
        self.scheme
    }

    /// Bits of the AES key, 128 or 256, with which this key, a restricted decryption key, protects what is below it in CFB
    /// mode; `None` for any other protection.
    pub(crate) fn symmetric_bits(&self) -> Option<u16> {
        self.symmetric_bits
    }

    /// The qualified name of this key under a parent of that qualified name.
    #[must_use]
    pub fn qualified_name(&self, parent: &[u8]) -> TpmName {
        TpmName::of(self.name_algorithm, &[parent, self.name.as_bytes()].concat())
            .expect("a public area with a SHA-1 name is refused when it is read")
    }

    /// The qualified name of this key as a primary of the endorsement hierarchy.
    #[must_use]
    pub fn endorsement_primary_name(&self) -> TpmName {
        self.qualified_name(&ENDORSEMENT_HIERARCHY)
    }
}

pub(crate) fn rsa_key(bits: u16, modulus: &[u8], exponent: u32) -> Result<TpmKey, PublicAreaError> {
    // The top bit decides the key's real length, and an even modulus is no product of odd primes.
    let whole = modulus.len() * 8 == usize::from(bits);
    let top_bit = modulus.first().is_some_and(|byte| byte & 0x80 != 0);
    let odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
    if whole && top_bit && odd {
        Ok(TpmKey::Rsa { modulus: modulus.to_vec(), exponent })
    } else {
        Err(PublicAreaError::Modulus { bits, found: modulus.len() * 8 })
    }
}

pub(crate) fn p256_key(x: &[u8], y: &[u8]) -> Result<TpmKey, PublicAreaError> {
    let (x, y) = (padded::<32>(x)?, padded::<32>(y)?);
    p256::ecdsa::VerifyingKey::from_sec1_bytes(&uncompressed(&x, &y))
        .map_err(|_| PublicAreaError::NotOnCurve)?;
    Ok(TpmKey::EccP256 { x, y })
}

pub(crate) fn p384_key(x: &[u8], y: &[u8]) -> Result<TpmKey, PublicAreaError> {
    let (x, y) = (padded::<48>(x)?, padded::<48>(y)?);
    p384::ecdsa::VerifyingKey::from_sec1_bytes(&uncompressed(&x, &y))
        .map_err(|_| PublicAreaError::NotOnCurve)?;
    Ok(TpmKey::EccP384 { x, y })
}

/// SEC1, section 2.3.3.
pub(crate) fn uncompressed(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[4], x, y].concat()
}

/// Some TPMs drop leading zeros of coordinates.
fn padded<const N: usize>(coordinate: &[u8]) -> Result<[u8; N], PublicAreaError> {
    let mut bytes = [0; N];
    let start = N.checked_sub(coordinate.len()).ok_or(PublicAreaError::NotOnCurve)?;
    bytes[start..].copy_from_slice(coordinate);
    Ok(bytes)
}

fn cfb_key_bits(symmetric: &TpmtSymDefObject) -> Option<u16> {
    match (symmetric.key_bits, symmetric.mode) {
        // What the TCG's templates have; no TPM has another.
        (TpmuSymKeyBits::Aes(bits), TpmuSymMode::Aes(TpmAlgId::Cfb)) => {
            Some(bits.value()).filter(|bits| matches!(bits, 128 | 256))
        }
        _ => None,
    }
}

fn key_scheme(scheme: TpmAlgId, details: &TpmuAsymScheme) -> KeyScheme {
    let kind = match scheme {
        TpmAlgId::Null => return KeyScheme::Null,
        TpmAlgId::Rsassa => SignatureKind::RsaSsa,
        TpmAlgId::Rsapss => SignatureKind::RsaPss,
        TpmAlgId::Ecdsa => SignatureKind::Ecdsa,
        _ => return KeyScheme::Other,
    };
    let hash = match details {
        TpmuAsymScheme::Hash(details) => HashAlgorithm::from_algorithm_id(details.hash_alg.value()),
        TpmuAsymScheme::Null => None,
    };
    hash.map_or(KeyScheme::Other, |hash| KeyScheme::Signature(SignatureScheme { kind, hash }))
}

impl fmt::Debug for PublicArea {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicArea({})", self.name)
    }
}

impl Serialize for PublicArea {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex_vec::serialize(&self.bytes, serializer)
    }
}

impl<'de> Deserialize<'de> for PublicArea {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&hex_vec::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Why bytes are no usable public area.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublicAreaError {
    /// More than any TPM returns.
    #[error("expected a public area of at most {BYTES_MAX} bytes, found {found}")]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// Not the structure.
    #[error("expected a TPMT_PUBLIC, found bytes that do not parse: {0}")]
    Malformed(String),
    /// The structure, and more.
    #[error("expected a TPMT_PUBLIC and nothing after it, found {found} bytes more")]
    TrailingBytes {
        /// Bytes left over.
        found: usize,
    },
    /// The name would not identify the key.
    #[error("expected a name by SHA-256, SHA-384 or SHA-512, found algorithm {found:#06x}")]
    NameAlgorithm {
        /// `TPM_ALG_ID`.
        found: u16,
    },
    /// Not an asymmetric key.
    #[error("expected an RSA or elliptic-curve key, found object type {found:#06x}")]
    KeyType {
        /// `TPM_ALG_ID`.
        found: u16,
    },
    /// A curve that nothing here verifies on.
    #[error("expected the curve NIST P-256 or P-384, found {found:#06x}")]
    Curve {
        /// `TPM_ECC_CURVE`.
        found: u16,
    },
    /// The coordinates are no point of the curve.
    #[error("expected a point on the key's curve, found coordinates that are none")]
    NotOnCurve,
    /// The modulus is not as long as the key, or even.
    #[error("expected an odd RSA modulus of exactly {bits} bits, found {found} bits or an even number")]
    Modulus {
        /// Bits that the parameters name.
        bits: u16,
        /// Bits of the bytes given.
        found: usize,
    },
}
