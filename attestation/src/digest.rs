//! Fixed-size byte strings that must not be taken for one another: digests, identifiers, signatures.
//!
//! Each reads and writes as lower-case hex in text formats and as exactly its bytes in compact ones.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::encoding::{self, HexError};

macro_rules! bytes_type {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Bytes of one value.
            pub const LENGTH: usize = $length;

            /// Takes the bytes as they are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                encoding::array_from_hex(text).map(Self)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                encoding::array::serialize(&self.0, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                encoding::array::deserialize(deserializer).map(Self)
            }
        }
    };
}

macro_rules! sha256_type {
    ($(#[$doc:meta])* $name:ident) => {
        bytes_type!($(#[$doc])* $name, 32);

        impl $name {
            /// The SHA-256 of these bytes (FIPS 180-4).
            #[must_use]
            pub fn of(bytes: &[u8]) -> Self {
                Self(Sha256::digest(bytes).into())
            }
        }
    };
}

sha256_type!(
    /// A SHA-256 digest of anything that has no type of its own.
    Sha256Digest
);
sha256_type!(
    /// Names a state and salts the derivation of keys: see [`binding`](crate::binding).
    Binding
);
sha256_type!(
    /// SHA-256 of a manifest's payload bytes as they were signed.
    ManifestDigest
);
sha256_type!(
    /// SHA-256 of a report's payload bytes as they were signed.
    ReportDigest
);
sha256_type!(
    /// Names an authority set: see [`AuthoritySet::digest`](crate::AuthoritySet::digest).
    AuthorityDigest
);
sha256_type!(
    /// SHA-256 of a canonical signing request.
    RequestDigest
);
sha256_type!(
    /// SHA-256 of a policy's text as it was loaded: names the rules that a request was judged by.
    PolicyDigest
);
sha256_type!(
    /// SHA-256 of an encoded receipt: the link of the receipt chain.
    ReceiptHash
);
sha256_type!(
    /// What a quote's qualifying data must be: see [`statement`](crate::statement).
    Statement
);
bytes_type!(
    /// The hash of one leaf of an audit log: see [`LeafHash::of`](crate::audit::LeafHash::of).
    LeafHash, 32
);
bytes_type!(
    /// The hash of a node of an audit log's tree, its root among them.
    TreeHash, 32
);
bytes_type!(
    /// Names a deployment; random, chosen once.
    DeploymentId, 16
);
bytes_type!(
    /// Names an attested session; random.
    SessionId, 16
);
bytes_type!(
    /// `r ‖ s` of an ECDSA signature over a 256-bit curve, or an Ed25519 signature.
    Signature64, 64
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_as_it_is_written() {
        let digest = Sha256Digest::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse::<Sha256Digest>().unwrap(), digest);
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Sha256Digest>(&format!("\"{text}\"")).unwrap(), digest);
    }

    #[test]
    fn compact_formats_carry_the_bytes_alone() {
        let signature = Signature64::from_bytes([9; 64]);
        let bytes = postcard::to_stdvec(&signature).unwrap();
        assert_eq!(bytes, [9; 64]);
        assert_eq!(postcard::from_bytes::<Signature64>(&bytes).unwrap(), signature);
        assert!(postcard::from_bytes::<Signature64>(&bytes[..63]).is_err());
    }

    #[test]
    fn a_digest_of_the_wrong_length_or_type_is_refused() {
        assert!("ba78".parse::<Sha256Digest>().is_err());
        assert!(serde_json::from_str::<Sha256Digest>("\"\"").is_err());
        assert!(serde_json::from_str::<DeploymentId>(&format!("\"{}\"", "00".repeat(17))).is_err());
        assert!(serde_json::from_str::<DeploymentId>(&format!("\"{}\"", "zz".repeat(16))).is_err());
        assert!(serde_json::from_str::<DeploymentId>("[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]").is_err());
    }
}
