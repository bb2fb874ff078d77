//! The hash algorithms of a log's banks. More than a manifest may name: a log is shown as it is.

use std::fmt;

use serde::{Serialize, Serializer};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use sha3::{Sha3_256, Sha3_384, Sha3_512};
use sm3::Sm3;

use crate::PcrBank;

/// A hash algorithm whose bank can be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogAlgorithm {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SM3 (GB/T 32905-2016).
    Sm3,
    /// SHA3-256.
    Sha3_256,
    /// SHA3-384.
    Sha3_384,
    /// SHA3-512.
    Sha3_512,
}

impl LogAlgorithm {
    /// Every algorithm that can be replayed.
    pub const ALL: [Self; 8] = [
        Self::Sha1,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::Sm3,
        Self::Sha3_256,
        Self::Sha3_384,
        Self::Sha3_512,
    ];

    /// `TPM_ALG_ID` (TCG Algorithm Registry, table 3).
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
            Self::Sha512 => 0x000d,
            Self::Sm3 => 0x0012,
            Self::Sha3_256 => 0x0027,
            Self::Sha3_384 => 0x0028,
            Self::Sha3_512 => 0x0029,
        }
    }

    /// The algorithm of a `TPM_ALG_ID`.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.id() == id)
    }

    /// The name of its bank, as TPM tools write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sm3 => "sm3_256",
            Self::Sha3_256 => "sha3_256",
            Self::Sha3_384 => "sha3_384",
            Self::Sha3_512 => "sha3_512",
        }
    }

    /// Bytes of one digest.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sm3 | Self::Sha3_256 => 32,
            Self::Sha384 | Self::Sha3_384 => 48,
            Self::Sha512 | Self::Sha3_512 => 64,
        }
    }

    /// The bank that quotes and manifests name, where they can.
    #[must_use]
    pub fn bank(self) -> Option<PcrBank> {
        PcrBank::from_algorithm_id(self.id())
    }

    /// The digest of these parts, one after the other.
    #[must_use]
    pub fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha1 => digest::<Sha1>(parts),
            Self::Sha256 => digest::<Sha256>(parts),
            Self::Sha384 => digest::<Sha384>(parts),
            Self::Sha512 => digest::<Sha512>(parts),
            Self::Sm3 => digest::<Sm3>(parts),
            Self::Sha3_256 => digest::<Sha3_256>(parts),
            Self::Sha3_384 => digest::<Sha3_384>(parts),
            Self::Sha3_512 => digest::<Sha3_512>(parts),
        }
    }
}

impl From<PcrBank> for LogAlgorithm {
    fn from(bank: PcrBank) -> Self {
        match bank {
            PcrBank::Sha1 => Self::Sha1,
            PcrBank::Sha256 => Self::Sha256,
            PcrBank::Sha384 => Self::Sha384,
            PcrBank::Sha512 => Self::Sha512,
        }
    }
}

impl fmt::Display for LogAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for LogAlgorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

fn digest<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut state = D::new();
    for part in parts {
        state.update(part);
    }
    state.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_hashes_abc_as_its_standard_says() {
        let expected = [
            (LogAlgorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (LogAlgorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (LogAlgorithm::Sm3, "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
            (LogAlgorithm::Sha3_256, "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"),
        ];
        for (algorithm, digest) in expected {
            assert_eq!(hex::encode(algorithm.digest(&[b"a", b"bc"])), digest, "{algorithm}");
        }
        for algorithm in LogAlgorithm::ALL {
            assert_eq!(algorithm.digest(&[]).len(), algorithm.digest_len());
            assert_eq!(LogAlgorithm::from_id(algorithm.id()), Some(algorithm));
        }
        assert_eq!(LogAlgorithm::from_id(0x10), None);
    }

    #[test]
    fn banks_of_quotes_are_the_same_algorithms() {
        for bank in PcrBank::ALL {
            let algorithm = LogAlgorithm::from(bank);
            assert_eq!((algorithm.bank(), algorithm.name()), (Some(bank), bank.name()));
            assert_eq!(algorithm.digest_len(), bank.digest_len());
        }
        assert_eq!(LogAlgorithm::Sm3.bank(), None);
    }
}
