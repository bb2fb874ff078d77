//! What an asker chose at random so that an answer is fresh.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::encoding::hex_vec;

/// 16 to 64 random bytes: fewer could be guessed or repeat, and a TPM's qualifying data holds no more.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Nonce(Vec<u8>);

impl Nonce {
    /// Fewest bytes: 128 bits do not repeat by chance.
    pub const BYTES_MIN: usize = 16;

    /// Most bytes: the longest digest of a TPM (`TPM2B_DATA` of the largest hash).
    pub const BYTES_MAX: usize = 64;

    /// Takes the bytes.
    ///
    /// # Errors
    /// [`NonceError::Length`] unless there are 16 to 64.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NonceError> {
        if (Self::BYTES_MIN..=Self::BYTES_MAX).contains(&bytes.len()) {
            Ok(Self(bytes.to_vec()))
        } else {
            Err(NonceError::Length { found: bytes.len() })
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; 32]> for Nonce {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({self})")
    }
}

impl FromStr for Nonce {
    type Err = NonceError;

    fn from_str(text: &str) -> Result<Self, NonceError> {
        Self::from_bytes(&hex::decode(text).map_err(|_| NonceError::Digits)?)
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex_vec::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_bytes(&hex_vec::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Why a nonce is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NonceError {
    /// The asker's nonce is too short to be fresh, or longer than a TPM can quote.
    #[error("expected a nonce of {} to {} bytes, found {found}", Nonce::BYTES_MIN, Nonce::BYTES_MAX)]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// Not hex.
    #[error("expected a nonce in hex, two digits for each byte")]
    Digits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_that_could_be_guessed_is_refused() {
        for length in [0, 1, 15, 65] {
            assert_eq!(Nonce::from_bytes(&vec![1; length]), Err(NonceError::Length { found: length }));
        }
        assert!(serde_json::from_str::<Nonce>("\"\"").is_err());
        assert!("0x00".parse::<Nonce>().is_err());
        for length in [16, 32, 64] {
            let nonce = Nonce::from_bytes(&vec![1; length]).unwrap();
            assert_eq!(nonce.to_string().parse::<Nonce>().unwrap(), nonce);
        }
    }
}
