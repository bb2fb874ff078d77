//! Signatures of a TPM (TPM 2.0 Part 2, TPMT_SIGNATURE) and their verification under an enrolled key.

use std::fmt;

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::{BoxedUint, Pkcs1v15Sign, Pss, RsaPublicKey};
use sha2::{Sha256, Sha384, Sha512};
use thiserror::Error;
use tpm2_protocol::{
    TpmUnmarshal,
    data::{TpmAlgId, TpmsSignatureEcc, TpmsSignatureRsa, TpmtSignature, TpmuSignature},
};

use crate::{
    pcr::HashAlgorithm,
    tpm::public_area::{KeyScheme, PublicArea, TpmKey, uncompressed},
};

/// How a TPM signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureKind {
    /// RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2).
    RsaSsa,
    /// RSASSA-PSS (RFC 8017, section 8.1).
    RsaPss,
    /// ECDSA (FIPS 186-5).
    Ecdsa,
}

/// A signature scheme with its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureScheme {
    /// How.
    pub kind: SignatureKind,
    /// Over which digest; also the one of the quoted PCRs.
    pub hash: HashAlgorithm,
}

impl fmt::Display for SignatureScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            SignatureKind::RsaSsa => "RSASSA",
            SignatureKind::RsaPss => "RSAPSS",
            SignatureKind::Ecdsa => "ECDSA",
        };
        write!(f, "{kind} with {}", self.hash)
    }
}

/// A TPM's signature, read but not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmSignature {
    scheme: SignatureScheme,
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Rsa(Vec<u8>),
    Ecdsa { r: Vec<u8>, s: Vec<u8> },
}

impl TpmSignature {
    /// Reads TPMT_SIGNATURE.
    ///
    /// # Errors
    /// [`TpmSignatureError`] for anything but one whole RSASSA, RSAPSS or ECDSA signature over SHA-1 (which
    /// never verifies) or SHA-2.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmSignatureError> {
        let (signature, rest) = TpmtSignature::unmarshal(bytes)
            .map_err(|error| TpmSignatureError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(TpmSignatureError::TrailingBytes { found: rest.len() });
        }
        let hash_of = |hash: TpmAlgId| {
            HashAlgorithm::from_algorithm_id(hash.value())
                .ok_or(TpmSignatureError::Hash { found: hash.value() })
        };
        let rsa = |kind, TpmsSignatureRsa { hash, sig }: &TpmsSignatureRsa| {
            let scheme = SignatureScheme { kind, hash: hash_of(*hash)? };
            Ok(Self { scheme, value: Value::Rsa(sig.to_vec()) })
        };
        match &signature.signature {
            TpmuSignature::Rsassa(signature) => rsa(SignatureKind::RsaSsa, signature),
            TpmuSignature::Rsapss(signature) => rsa(SignatureKind::RsaPss, signature),
            TpmuSignature::Ecdsa(TpmsSignatureEcc { hash, signature_r, signature_s }) => Ok(Self {
                scheme: SignatureScheme { kind: SignatureKind::Ecdsa, hash: hash_of(*hash)? },
                value: Value::Ecdsa { r: signature_r.to_vec(), s: signature_s.to_vec() },
            }),
            _ => Err(TpmSignatureError::Kind { found: signature.sig_alg.value() }),
        }
    }

    /// Takes a signature without its scheme: an RSA signature as long as its key, or an ECDSA signature in DER
    /// (RFC 3279, section 2.2.3). `None` for anything else.
    pub(crate) fn from_plain(key: &TpmKey, scheme: SignatureScheme, bytes: &[u8]) -> Option<Self> {
        let halves = |bytes: &[u8]| {
            let (r, s) = bytes.split_at(bytes.len() / 2);
            Value::Ecdsa { r: r.to_vec(), s: s.to_vec() }
        };
        let value = match (key, scheme.kind) {
            (TpmKey::Rsa { modulus, .. }, SignatureKind::RsaSsa | SignatureKind::RsaPss) => {
                (bytes.len() == modulus.len()).then(|| Value::Rsa(bytes.to_vec()))?
            }
            (TpmKey::EccP256 { .. }, SignatureKind::Ecdsa) => {
                halves(&p256::ecdsa::Signature::from_der(bytes).ok()?.to_bytes())
            }
            (TpmKey::EccP384 { .. }, SignatureKind::Ecdsa) => {
                halves(&p384::ecdsa::Signature::from_der(bytes).ok()?.to_bytes())
            }
            _ => return None,
        };
        Some(Self { scheme, value })
    }

    /// The scheme that the signature claims.
    #[must_use]
    pub fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl PublicArea {
    /// Verifies this key's signature over a structure exactly as it was received. The key alone says how it
    /// signs.
    ///
    /// # Errors
    /// [`SignatureError`] when the scheme is not the key's own, rests on SHA-1, or the signature is not
    /// valid.
    pub fn verify(&self, message: &[u8], signature: &TpmSignature) -> Result<(), SignatureError> {
        let KeyScheme::Signature(expected) = self.scheme() else {
            return Err(SignatureError::NoScheme);
        };
        if signature.scheme != expected {
            return Err(SignatureError::Scheme { expected, found: signature.scheme });
        }
        self.key().verify(message, signature)
    }
}

impl TpmKey {
    /// Verifies this key's signature in the scheme that the signature names. Where the key fixes its own, see
    /// [`PublicArea::verify`].
    ///
    /// # Errors
    /// [`SignatureError`] when the scheme rests on SHA-1, or the signature is not valid.
    pub fn verify(&self, message: &[u8], signature: &TpmSignature) -> Result<(), SignatureError> {
        let scheme = signature.scheme;
        let digest = scheme.hash.digest(message).ok_or(SignatureError::Sha1)?;
        let valid = match (self, &signature.value) {
            (Self::Rsa { modulus, exponent }, Value::Rsa(value)) => {
                verify_rsa(modulus, *exponent, scheme, &digest, value)
            }
            (Self::EccP256 { x, y }, Value::Ecdsa { r, s }) => verify_p256(x, y, &digest, r, s),
            (Self::EccP384 { x, y }, Value::Ecdsa { r, s }) => verify_p384(x, y, &digest, r, s),
            (Self::Rsa { .. }, Value::Ecdsa { .. }) => None,
            (Self::EccP256 { .. } | Self::EccP384 { .. }, Value::Rsa(_)) => None,
        };
        valid.ok_or(SignatureError::Invalid)
    }
}

fn verify_rsa(
    modulus: &[u8],
    exponent: u32,
    scheme: SignatureScheme,
    digest: &[u8],
    value: &[u8],
) -> Option<()> {
    let modulus = BoxedUint::from_be_slice_vartime(modulus);
    let key = RsaPublicKey::new(modulus, BoxedUint::from(exponent)).ok()?;
    let verified = match (scheme.kind, scheme.hash) {
        (SignatureKind::RsaSsa, HashAlgorithm::Sha256) => {
            key.verify(Pkcs1v15Sign::new::<Sha256>(), digest, value)
        }
        (SignatureKind::RsaSsa, HashAlgorithm::Sha384) => {
            key.verify(Pkcs1v15Sign::new::<Sha384>(), digest, value)
        }
        (SignatureKind::RsaSsa, HashAlgorithm::Sha512) => {
            key.verify(Pkcs1v15Sign::new::<Sha512>(), digest, value)
        }
        // A TPM salts with as many bytes as fit, or, where FIPS 186 rules, with as many as the digest has
        // (TPM 2.0 Part 1, section B.7): the length is read from the signature.
        (SignatureKind::RsaPss, HashAlgorithm::Sha256) => key.verify(any_salt::<Sha256>(), digest, value),
        (SignatureKind::RsaPss, HashAlgorithm::Sha384) => key.verify(any_salt::<Sha384>(), digest, value),
        (SignatureKind::RsaPss, HashAlgorithm::Sha512) => key.verify(any_salt::<Sha512>(), digest, value),
        (SignatureKind::Ecdsa, _) | (_, HashAlgorithm::Sha1) => return None,
    };
    verified.ok()
}

fn any_salt<D: sha2::Digest>() -> Pss<D> {
    Pss { salt_len: None, ..Pss::new() }
}

fn verify_p256(x: &[u8; 32], y: &[u8; 32], digest: &[u8], r: &[u8], s: &[u8]) -> Option<()> {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&uncompressed(x, y)).ok()?;
    let signature = p256::ecdsa::Signature::from_slice(&fixed::<32>(r, s)?).ok()?;
    key.verify_prehash(digest, &signature).ok()
}

fn verify_p384(x: &[u8; 48], y: &[u8; 48], digest: &[u8], r: &[u8], s: &[u8]) -> Option<()> {
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&uncompressed(x, y)).ok()?;
    let signature = p384::ecdsa::Signature::from_slice(&fixed::<48>(r, s)?).ok()?;
    key.verify_prehash(digest, &signature).ok()
}

/// `r ‖ s` of fixed width; some TPMs drop leading zeros.
fn fixed<const N: usize>(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 2 * N];
    bytes[N.checked_sub(r.len())?..N].copy_from_slice(r);
    bytes[N + N.checked_sub(s.len())?..].copy_from_slice(s);
    Some(bytes)
}

/// Why bytes are no readable signature.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TpmSignatureError {
    /// Not the structure.
    #[error("expected a TPMT_SIGNATURE, found bytes that do not parse: {0}")]
    Malformed(String),
    /// The structure, and more.
    #[error("expected a TPMT_SIGNATURE and nothing after it, found {found} bytes more")]
    TrailingBytes {
        /// Bytes left over.
        found: usize,
    },
    /// A kind that no attestation key may have.
    #[error("expected an RSASSA, RSAPSS or ECDSA signature, found algorithm {found:#06x}")]
    Kind {
        /// `TPM_ALG_ID`.
        found: u16,
    },
    /// A hash that is not known here.
    #[error("expected a signature over SHA-2, found hash algorithm {found:#06x}")]
    Hash {
        /// `TPM_ALG_ID`.
        found: u16,
    },
}

/// Why a signature is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The key fixes no scheme, so a signature could be made in a way that its owner did not choose.
    #[error("expected a key with one fixed signature scheme, found none")]
    NoScheme,
    /// Not how the key signs.
    #[error("expected {expected} as the key fixes it, found {found}")]
    Scheme {
        /// Of the key.
        expected: SignatureScheme,
        /// Of the signature.
        found: SignatureScheme,
    },
    /// Collisions can be made.
    #[error("expected a signature over SHA-2, found SHA-1")]
    Sha1,
    /// Another key, other bytes, or no signature at all.
    #[error("expected a valid signature by the attestation key, found one that does not verify")]
    Invalid,
}
