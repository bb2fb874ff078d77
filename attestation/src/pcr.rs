//! Platform configuration registers: banks, indices and values.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256, Sha384, Sha512};
use thiserror::Error;

use crate::encoding::{HexBytes, unique_map};

/// A TPM names a bank by the hash algorithm of its PCRs, so one type serves for both.
pub type HashAlgorithm = PcrBank;

/// A bank: all PCRs under one hash algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PcrBank {
    /// SHA-1: read and shown, never accepted.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl PcrBank {
    /// Every bank that can be read.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name in documents and in a binding.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Bytes of one value.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// `TPM_ALG_ID` (TCG Algorithm Registry, table 3).
    #[must_use]
    pub const fn algorithm_id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
            Self::Sha512 => 0x000d,
        }
    }

    /// The bank of a `TPM_ALG_ID`.
    #[must_use]
    pub fn from_algorithm_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|bank| bank.algorithm_id() == id)
    }

    /// The digest of these bytes under the bank's hash algorithm; `None` for SHA-1, which nothing here rests
    /// on.
    #[must_use]
    pub fn digest(self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Sha1 => None,
            Self::Sha256 => Some(Sha256::digest(bytes).to_vec()),
            Self::Sha384 => Some(Sha384::digest(bytes).to_vec()),
            Self::Sha512 => Some(Sha512::digest(bytes).to_vec()),
        }
    }

    /// The banks that a state may be defined by.
    pub fn acceptable() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|bank| bank.is_acceptable())
    }

    /// Whether a state may be defined by this bank: SHA-1 collisions can be made, so not by that one.
    #[must_use]
    pub const fn is_acceptable(self) -> bool {
        !matches!(self, Self::Sha1)
    }
}

impl fmt::Display for PcrBank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for PcrBank {
    type Err = PcrError;

    fn from_str(text: &str) -> Result<Self, PcrError> {
        Self::ALL.into_iter().find(|bank| bank.name() == text).ok_or(PcrError::UnknownBank)
    }
}

impl Serialize for PcrBank {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.name())
        } else {
            serializer.serialize_u16(self.algorithm_id())
        }
    }
}

impl<'de> Deserialize<'de> for PcrBank {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            Self::from_algorithm_id(u16::deserialize(deserializer)?)
                .ok_or_else(|| de::Error::custom(PcrError::UnknownBank))
        }
    }
}

/// The number of a PCR: 0 to 23 (TCG PC Client Platform TPM Profile, section 4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct PcrIndex(u8);

impl PcrIndex {
    /// How many PCRs there are.
    pub const COUNT: u8 = 24;

    /// The one that the kernel's IMA extends, unless a rule of its policy names another.
    pub const IMA: Self = Self(10);

    /// Takes 0 to 23.
    #[must_use]
    pub const fn new(index: u8) -> Option<Self> {
        if index < Self::COUNT { Some(Self(index)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Whether any program may reset it (debug PCR 16, application PCR 23).
    #[must_use]
    pub const fn resettable(self) -> bool {
        matches!(self.0, 16 | 23)
    }

    /// Whether it can say which state a machine is in: not when it can be reset, and not PCR 10, whose value
    /// depends on the order in which the kernel happened to measure files.
    #[must_use]
    pub const fn may_define_state(self) -> bool {
        !self.resettable() && self.0 != Self::IMA.0
    }
}

impl TryFrom<u8> for PcrIndex {
    type Error = PcrError;

    fn try_from(index: u8) -> Result<Self, PcrError> {
        Self::new(index).ok_or(PcrError::Index { found: index })
    }
}

impl From<PcrIndex> for u8 {
    fn from(index: PcrIndex) -> u8 {
        index.0
    }
}

impl fmt::Display for PcrIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Values by bank and index; each has its bank's length.
///
/// Text formats carry `{"sha256": {"0": "<hex>"}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PcrValues(BTreeMap<PcrBank, Bank>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Bank(#[serde(deserialize_with = "unique_map::deserialize")] BTreeMap<PcrIndex, HexBytes>);

impl PcrValues {
    /// No values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of one PCR.
    #[must_use]
    pub fn get(&self, bank: PcrBank, index: PcrIndex) -> Option<&[u8]> {
        self.0.get(&bank)?.0.get(&index).map(|value| value.0.as_slice())
    }

    /// Adds the value of one PCR.
    ///
    /// # Errors
    /// [`PcrError::ValueLength`] when it has not the bank's length, [`PcrError::Twice`] when there already is
    /// one.
    pub fn insert(&mut self, bank: PcrBank, index: PcrIndex, value: Vec<u8>) -> Result<(), PcrError> {
        check_length(bank, index, &value)?;
        match self.0.entry(bank).or_default().0.entry(index) {
            Entry::Vacant(entry) => {
                entry.insert(HexBytes(value));
                Ok(())
            }
            Entry::Occupied(_) => Err(PcrError::Twice { bank, index }),
        }
    }

    /// All values, by bank and index ascending.
    pub fn iter(&self) -> impl Iterator<Item = (PcrBank, PcrIndex, &[u8])> {
        self.0.iter().flat_map(|(bank, values)| {
            values.0.iter().map(move |(index, value)| (*bank, *index, value.0.as_slice()))
        })
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<'de> Deserialize<'de> for PcrValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let banks: BTreeMap<PcrBank, Bank> = unique_map::deserialize(deserializer)?;
        for (bank, values) in &banks {
            for (index, value) in &values.0 {
                check_length(*bank, *index, &value.0).map_err(de::Error::custom)?;
            }
        }
        Ok(Self(banks))
    }
}

/// Checks that a value is as long as its bank's digests.
pub(crate) fn check_length(bank: PcrBank, index: PcrIndex, value: &[u8]) -> Result<(), PcrError> {
    if value.len() == bank.digest_len() {
        Ok(())
    } else {
        Err(PcrError::ValueLength { bank, index, expected: bank.digest_len(), found: value.len() })
    }
}

/// Why something is no PCR, bank or value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PcrError {
    /// Not a bank's name or algorithm.
    #[error("expected the PCR bank sha1, sha256, sha384 or sha512")]
    UnknownBank,
    /// Not a PCR's number.
    #[error("expected a PCR from 0 to 23, found {found}")]
    Index {
        /// The number given.
        found: u8,
    },
    /// A value that no such PCR can have.
    #[error("expected {expected} bytes for PCR {index} of bank {bank}, found {found}")]
    ValueLength {
        /// The bank.
        bank: PcrBank,
        /// The PCR.
        index: PcrIndex,
        /// Bytes of the bank's digests.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Two values for one PCR.
    #[error("expected one value for PCR {index} of bank {bank}, found two")]
    Twice {
        /// The bank.
        bank: PcrBank,
        /// The PCR.
        index: PcrIndex,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_they_are_written_in_both_formats() {
        let json = format!(r#"{{"sha256":{{"0":"{}","7":"{}"}}}}"#, "aa".repeat(32), "bb".repeat(32));
        let values: PcrValues = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&values).unwrap(), json);
        let bytes = postcard::to_stdvec(&values).unwrap();
        assert_eq!(postcard::from_bytes::<PcrValues>(&bytes).unwrap(), values);
        assert_eq!(values.get(PcrBank::Sha256, PcrIndex(7)), Some([0xbb; 32].as_slice()));
        assert_eq!(values.len(), 2);
    }

    #[test]
    fn values_that_no_pcr_can_have_are_refused() {
        let value = "aa".repeat(32);
        for json in [
            format!(r#"{{"sha256":{{"24":"{value}"}}}}"#),
            format!(r#"{{"sha256":{{"-1":"{value}"}}}}"#),
            format!(r#"{{"sha256":{{"00":"{value}"}}}}"#),
            format!(r#"{{"sha256":{{"0":"{value}","0":"{value}"}}}}"#),
            format!(r#"{{"sha256":{{"0":"{value}"}},"sha256":{{}}}}"#),
            format!(r#"{{"sha384":{{"0":"{value}"}}}}"#),
            format!(r#"{{"sha1":{{"0":"{value}"}}}}"#),
            format!(r#"{{"sha3":{{"0":"{value}"}}}}"#),
            format!(r#"{{"sha256":{{"0":"{value}aa"}}}}"#),
            r#"{"sha256":{"0":""}}"#.to_owned(),
            r#"{"sha256":{"0":null}}"#.to_owned(),
        ] {
            assert!(serde_json::from_str::<PcrValues>(&json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_pcr_has_one_value() {
        let mut values = PcrValues::new();
        let index = PcrIndex::new(3).unwrap();
        values.insert(PcrBank::Sha384, index, vec![0; 48]).unwrap();
        assert!(matches!(values.insert(PcrBank::Sha384, index, vec![1; 48]), Err(PcrError::Twice { .. })));
        assert!(matches!(
            values.insert(PcrBank::Sha256, index, vec![1; 48]),
            Err(PcrError::ValueLength { .. })
        ));
    }

    #[test]
    fn resettable_and_order_dependent_pcrs_define_no_state() {
        let refused: Vec<u8> =
            (0..PcrIndex::COUNT).filter(|&i| !PcrIndex::new(i).unwrap().may_define_state()).collect();
        assert_eq!(refused, [10, 16, 23]);
        assert!(PcrIndex::new(24).is_none());
        assert!(!PcrBank::Sha1.is_acceptable());
    }
}
