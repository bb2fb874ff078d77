//! The algorithms that keys of a deployment sign with.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// A signature algorithm, named as in JOSE (RFC 7518, RFC 8812, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// ECDSA over P-256.
    Es256,
    /// ECDSA over secp256k1.
    Es256k,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Every algorithm, in the order of its compact encoding.
    pub const ALL: [Self; 3] = [Self::Es256, Self::Es256k, Self::EdDsa];

    /// The name that derivations and documents use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es256k => "ES256K",
            Self::EdDsa => "EdDSA",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Es256 => 0,
            Self::Es256k => 1,
            Self::EdDsa => 2,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == text).ok_or(UnknownAlgorithm)
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.name())
        } else {
            serializer.serialize_u8(self.code())
        }
    }
}

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().ok()
        } else {
            let code = u8::deserialize(deserializer)?;
            Self::ALL.into_iter().find(|algorithm| algorithm.code() == code)
        };
        found.ok_or_else(|| de::Error::custom(UnknownAlgorithm))
    }
}

/// Not the name of an algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected the algorithm ES256, ES256K or EdDSA")]
pub struct UnknownAlgorithm;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_reads_as_it_is_written_in_both_formats() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse::<Algorithm>(), Ok(algorithm));
            let bytes = postcard::to_stdvec(&algorithm).unwrap();
            assert_eq!(bytes.len(), 1);
            assert_eq!(postcard::from_bytes::<Algorithm>(&bytes), Ok(algorithm));
        }
    }

    #[test]
    fn other_names_and_codes_are_refused() {
        for name in ["", "es256", "RS256", "EdDSA ", "none"] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm));
        }
        assert!(postcard::from_bytes::<Algorithm>(&[3]).is_err());
        assert!(serde_json::from_str::<Algorithm>("0").is_err());
    }
}
