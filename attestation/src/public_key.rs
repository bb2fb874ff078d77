//! Public keys of the deployment's own algorithms (not the TPM's) and their names.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    Algorithm, Signature64,
    encoding::{self, HexBytes},
};

/// A public key that is surely a point of its curve.
///
/// Text formats carry `{"algorithm": "ES256", "public_key": "<hex>"}`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(Point);

/// SEC1 compressed points with their second coordinate, so that a JWK needs no arithmetic; or an Ed25519 key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Point {
    Es256 { compressed: [u8; 33], y: [u8; 32] },
    Es256k { compressed: [u8; 33], y: [u8; 32] },
    EdDsa([u8; 32]),
}

impl PublicKey {
    /// Reads SEC1 compressed (33 bytes) or raw Ed25519 (32 bytes).
    ///
    /// # Errors
    /// [`PublicKeyError`] for another length, a point off the curve, or an Ed25519 point of small order or
    /// unusual encoding.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, PublicKeyError> {
        let expected = match algorithm {
            Algorithm::Es256 | Algorithm::Es256k => 33,
            Algorithm::EdDsa => 32,
        };
        if bytes.len() != expected {
            return Err(PublicKeyError::Length { algorithm, expected, found: bytes.len() });
        }
        let invalid = || PublicKeyError::NotOnCurve { algorithm };
        // 33 bytes also fit SEC1's "compact" form (tag 5), a second spelling of the same key.
        if algorithm != Algorithm::EdDsa && !matches!(bytes[0], 2 | 3) {
            return Err(invalid());
        }
        match algorithm {
            Algorithm::Es256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes)
                .map(|key| Self::from(&key))
                .map_err(|_| invalid()),
            Algorithm::Es256k => k256::ecdsa::VerifyingKey::from_sec1_bytes(bytes)
                .map(|key| Self::from(&key))
                .map_err(|_| invalid()),
            Algorithm::EdDsa => {
                let bytes: &[u8; 32] = bytes.try_into().expect("the length was checked");
                let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| invalid())?;
                // One key has one spelling, or a threshold could count it twice.
                if key.is_weak() || key.to_edwards().compress().as_bytes() != bytes {
                    return Err(invalid());
                }
                Ok(Self::from(&key))
            }
        }
    }

    /// What the key verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Point::Es256 { .. } => Algorithm::Es256,
            Point::Es256k { .. } => Algorithm::Es256k,
            Point::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    /// SEC1 compressed, or the raw Ed25519 key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Point::Es256 { compressed, .. } | Point::Es256k { compressed, .. } => compressed,
            Point::EdDsa(bytes) => bytes,
        }
    }

    /// The key as a JWK (RFC 7517) of its required members only.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.0 {
            Point::Es256 { compressed, y } => {
                json!({"crv": "P-256", "kty": "EC", "x": text(&compressed[1..]), "y": text(y)})
            }
            Point::Es256k { compressed, y } => {
                json!({"crv": "secp256k1", "kty": "EC", "x": text(&compressed[1..]), "y": text(y)})
            }
            Point::EdDsa(bytes) => json!({"crv": "Ed25519", "kty": "OKP", "x": text(bytes)}),
        }
    }

    /// The key's thumbprint.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        /// Unpadded base64 of 32 bytes.
        const TEXT_LEN: usize = 43;
        let text = |bytes: &[u8]| {
            let mut text = [0; TEXT_LEN];
            URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).expect("32 bytes are 43 digits");
            text
        };
        // RFC 7638, section 3: members in lexicographic order, no white space. Hashed piece by piece: the enclave
        // does this for each signature.
        let mut hash = Sha256::new();
        let mut elliptic = |curve: &str, x: &[u8], y: &[u8]| {
            hash.update(curve);
            for piece in [&text(x)[..], br#"","y":""#, &text(y), br#""}"#] {
                hash.update(piece);
            }
        };
        match &self.0 {
            Point::Es256 { compressed, y } => {
                elliptic(r#"{"crv":"P-256","kty":"EC","x":""#, &compressed[1..], y);
            }
            Point::Es256k { compressed, y } => {
                elliptic(r#"{"crv":"secp256k1","kty":"EC","x":""#, &compressed[1..], y);
            }
            Point::EdDsa(bytes) => {
                hash.update(r#"{"crv":"Ed25519","kty":"OKP","x":""#);
                hash.update(text(bytes));
                hash.update(r#""}"#);
            }
        }
        KeyId(hash.finalize().into())
    }

    /// Verifies a signature over a message: ECDSA over its SHA-256, Ed25519 over the message itself.
    ///
    /// # Errors
    /// [`BadSignature`], without a reason: a signature is right or it is not. ECDSA with a high `s` is
    /// refused, so that a signature has one spelling; Ed25519 is `verify_strict`.
    pub fn verify_message(&self, message: &[u8], signature: &Signature64) -> Result<(), BadSignature> {
        match &self.0 {
            Point::EdDsa(bytes) => {
                let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| BadSignature)?;
                let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
                key.verify_strict(message, &signature).map_err(|_| BadSignature)
            }
            Point::Es256 { .. } | Point::Es256k { .. } => {
                self.verify_prehash(&Sha256::digest(message).into(), signature)
            }
        }
    }

    /// Verifies an ECDSA signature over a digest; `r ‖ s` with low `s`.
    ///
    /// # Errors
    /// [`BadSignature`]; always for Ed25519, which signs messages and no digests.
    pub fn verify_prehash(&self, digest: &[u8; 32], signature: &Signature64) -> Result<(), BadSignature> {
        match &self.0 {
            Point::Es256 { compressed, .. } => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(compressed).map_err(|_| BadSignature)?;
                let signature =
                    p256::ecdsa::Signature::from_slice(signature.as_bytes()).map_err(|_| BadSignature)?;
                if signature.normalize_s() != signature {
                    return Err(BadSignature);
                }
                key.verify_prehash(digest, &signature).map_err(|_| BadSignature)
            }
            Point::Es256k { compressed, .. } => {
                let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(compressed).map_err(|_| BadSignature)?;
                let signature =
                    k256::ecdsa::Signature::from_slice(signature.as_bytes()).map_err(|_| BadSignature)?;
                if signature.normalize_s() != signature {
                    return Err(BadSignature);
                }
                key.verify_prehash(digest, &signature).map_err(|_| BadSignature)
            }
            Point::EdDsa(_) => Err(BadSignature),
        }
    }
}

impl From<&p256::ecdsa::VerifyingKey> for PublicKey {
    fn from(key: &p256::ecdsa::VerifyingKey) -> Self {
        let (compressed, y) = sec1_parts(key.to_sec1_point(false).as_bytes());
        Self(Point::Es256 { compressed, y })
    }
}

impl From<&k256::ecdsa::VerifyingKey> for PublicKey {
    fn from(key: &k256::ecdsa::VerifyingKey) -> Self {
        let (compressed, y) = sec1_parts(key.to_sec1_point(false).as_bytes());
        Self(Point::Es256k { compressed, y })
    }
}

impl From<&ed25519_dalek::VerifyingKey> for PublicKey {
    fn from(key: &ed25519_dalek::VerifyingKey) -> Self {
        Self(Point::EdDsa(key.to_bytes()))
    }
}

/// Splits an uncompressed point of a 256-bit curve (SEC1, section 2.3.3) into its compressed form and `y`.
fn sec1_parts(uncompressed: &[u8]) -> ([u8; 33], [u8; 32]) {
    let mut y = [0; 32];
    y.copy_from_slice(&uncompressed[33..]);
    let mut compressed = [0; 33];
    compressed[0] = 2 + (y[31] & 1);
    compressed[1..].copy_from_slice(&uncompressed[1..33]);
    (compressed, y)
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {self})", self.algorithm())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPublicKey {
    algorithm: Algorithm,
    public_key: HexBytes,
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawPublicKey { algorithm: self.algorithm(), public_key: HexBytes(self.as_bytes().to_vec()) }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawPublicKey::deserialize(deserializer)?;
        Self::from_bytes(raw.algorithm, &raw.public_key.0).map_err(de::Error::custom)
    }
}

/// The name of a public key: its RFC 7638 thumbprint (SHA-256). Reads and writes as unpadded base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// Takes a thumbprint as it is.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The thumbprint.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyIdError)?;
        bytes.try_into().map(Self).map_err(|_| KeyIdError)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            encoding::array::serialize(&self.0, serializer)
        }
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            encoding::array::deserialize(deserializer).map(Self)
        }
    }
}

/// A text that is no key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected a key id: 43 characters of unpadded base64url")]
pub struct KeyIdError;

/// A signature that does not verify under the key that it is said to be from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected a valid signature by the named key, found one that does not verify")]
pub struct BadSignature;

/// Why bytes are no public key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublicKeyError {
    /// Another encoding, perhaps: only compressed SEC1 and raw Ed25519 are read.
    #[error("expected {expected} bytes of {algorithm} public key, found {found}")]
    Length {
        /// Whose key.
        algorithm: Algorithm,
        /// Bytes of such a key.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// No key has these bytes.
    #[error("expected a valid {algorithm} public key, found bytes that are no usable point of its curve")]
    NotOnCurve {
        /// Whose key.
        algorithm: Algorithm,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(algorithm: Algorithm, hex: &str) -> PublicKey {
        PublicKey::from_bytes(algorithm, &hex::decode(hex).unwrap()).unwrap()
    }

    #[test]
    fn a_thumbprint_is_the_known_answer() {
        let key = key(Algorithm::Es256, "03e7d9e8b1ad5f49ff4dcfbf0205cfe59e26f69db6abb000c2e1eb71e458b3c156");
        assert_eq!(key.key_id().to_string(), "ewySnwLJ_Jut0elnAHPsMsJTd6ZB9vs3ZIOyQ6n1HgY");
        assert_eq!(key.jwk()["y"], "zqQkpHS5hnx8VXOJ0Q_79ZIa5YRmZah7tAQdat9kmqc");
        assert_eq!(key.key_id().to_string().parse(), Ok(key.key_id()));
    }

    #[test]
    fn an_ed25519_thumbprint_is_that_of_rfc_8037() {
        // RFC 8037, appendices A.2 and A.3.
        let key = key(Algorithm::EdDsa, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(key.key_id().to_string(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_key_reads_as_it_is_written_in_both_formats() {
        let key =
            key(Algorithm::Es256k, "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798");
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
        let bytes = postcard::to_stdvec(&key).unwrap();
        assert_eq!(postcard::from_bytes::<PublicKey>(&bytes).unwrap(), key);
        assert_eq!(bytes.len(), 1 + 1 + 33);
    }

    #[test]
    fn bytes_that_are_no_point_are_refused() {
        let mut off_curve = [0xff; 33];
        off_curve[0] = 2;
        for algorithm in [Algorithm::Es256, Algorithm::Es256k] {
            assert_eq!(
                PublicKey::from_bytes(algorithm, &off_curve),
                Err(PublicKeyError::NotOnCurve { algorithm })
            );
            assert!(matches!(
                PublicKey::from_bytes(algorithm, &[4; 65]),
                Err(PublicKeyError::Length { expected: 33, found: 65, .. })
            ));
            assert!(PublicKey::from_bytes(algorithm, &[0]).is_err());
            assert!(PublicKey::from_bytes(algorithm, &[5; 33]).is_err());
        }
    }

    #[test]
    fn an_ed25519_key_of_small_order_or_of_two_spellings_is_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        // y = p + 3, which is y = 3 once more.
        let mut unusual = [0xff; 32];
        unusual[0] = 0xf0;
        unusual[31] = 0x7f;
        for bytes in [[0; 32], identity, unusual] {
            assert_eq!(
                PublicKey::from_bytes(Algorithm::EdDsa, &bytes),
                Err(PublicKeyError::NotOnCurve { algorithm: Algorithm::EdDsa })
            );
        }
    }

    #[test]
    fn a_signature_with_high_s_or_over_something_else_does_not_verify() {
        use p256::ecdsa::signature::hazmat::PrehashSigner;
        let signing = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let key = PublicKey::from(signing.verifying_key());
        let signature: p256::ecdsa::Signature = signing.sign_prehash(&Sha256::digest(b"pay 1")).unwrap();
        let low = signature.normalize_s();
        let high = p256::ecdsa::Signature::from_scalars(low.r(), -*low.s()).unwrap();
        let bytes = |s: &p256::ecdsa::Signature| Signature64::from_bytes(s.to_bytes().into());
        assert_eq!(key.verify_message(b"pay 1", &bytes(&low)), Ok(()));
        assert_eq!(key.verify_message(b"pay 1", &bytes(&high)), Err(BadSignature));
        assert_eq!(key.verify_message(b"pay 2", &bytes(&low)), Err(BadSignature));
        assert_eq!(key.verify_message(b"pay 1", &Signature64::from_bytes([0; 64])), Err(BadSignature));
    }
}
