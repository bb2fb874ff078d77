//! Names of TPM objects (TPM 2.0 Part 1, section 16).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    encoding::{HexError, hex_vec},
    pcr::HashAlgorithm,
};

/// `nameAlg ‖ H(...)`: names a public area, or a key together with its ancestors (a qualified name).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TpmName(Vec<u8>);

impl TpmName {
    /// The name that these bytes have under a hash algorithm; `None` for SHA-1.
    pub(crate) fn of(algorithm: HashAlgorithm, bytes: &[u8]) -> Option<Self> {
        let mut name = algorithm.algorithm_id().to_be_bytes().to_vec();
        name.extend_from_slice(&algorithm.digest(bytes)?);
        Some(Self(name))
    }

    /// The hash algorithm, if this is the name of an object: its identifier and one digest.
    #[must_use]
    pub fn algorithm(&self) -> Option<HashAlgorithm> {
        let (id, digest) = self.0.split_first_chunk::<2>()?;
        let algorithm = HashAlgorithm::from_algorithm_id(u16::from_be_bytes(*id))?;
        (digest.len() == algorithm.digest_len()).then_some(algorithm)
    }

    /// Takes a name as a TPM wrote it.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, algorithm first.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for TpmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for TpmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TpmName({self})")
    }
}

impl FromStr for TpmName {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        hex::decode(text).map(Self).map_err(|_| HexError::Digits)
    }
}

impl Serialize for TpmName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex_vec::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for TpmName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex_vec::deserialize(deserializer).map(Self)
    }
}
