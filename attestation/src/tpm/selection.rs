//! Which PCRs a quote covers (TPM 2.0 Part 2, TPML_PCR_SELECTION), in the order that was signed.

use std::{collections::BTreeSet, fmt};

use thiserror::Error;
use tpm2_protocol::data::TpmlPcrSelection;

use crate::pcr::{HashAlgorithm, PcrBank, PcrIndex, PcrValues};

/// A selection as a TPM signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrSelection(Vec<SelectedBank>);

/// One entry of a selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedBank {
    /// `TPM_ALG_ID` of the bank, which may be one that is not known here.
    pub algorithm: u16,
    /// The PCRs, ascending.
    pub pcrs: BTreeSet<PcrIndex>,
}

impl SelectedBank {
    /// The bank, if it is known.
    #[must_use]
    pub fn bank(&self) -> Option<PcrBank> {
        PcrBank::from_algorithm_id(self.algorithm)
    }
}

impl PcrSelection {
    /// Checks what was parsed.
    pub(crate) fn from_tpm(list: &TpmlPcrSelection) -> Result<Self, SelectionError> {
        let mut banks = Vec::with_capacity(list.len());
        for entry in list.iter() {
            let mut pcrs = BTreeSet::new();
            for (byte, bits) in (0_u8..).zip(entry.pcr_select.iter()) {
                for bit in (0..8).filter(|bit| bits & (1 << bit) != 0) {
                    let index = byte * 8 + bit;
                    pcrs.insert(PcrIndex::new(index).ok_or(SelectionError::Index { found: index })?);
                }
            }
            banks.push(SelectedBank { algorithm: entry.hash.value(), pcrs });
        }
        Ok(Self(banks))
    }

    /// The entries, in signed order; one may be empty, and a bank may come twice.
    #[must_use]
    pub fn banks(&self) -> &[SelectedBank] {
        &self.0
    }

    /// Whether no PCR is selected, so that the quote says nothing about the machine.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|entry| entry.pcrs.is_empty())
    }

    /// Whether one PCR is selected.
    #[must_use]
    pub fn contains(&self, bank: PcrBank, index: PcrIndex) -> bool {
        self.0.iter().any(|entry| entry.bank() == Some(bank) && entry.pcrs.contains(&index))
    }

    /// Checks that values are given for exactly the selected PCRs: none missing, none that nobody signed.
    ///
    /// # Errors
    /// [`SelectionError`] names the first PCR that is wrong.
    pub fn check_values(&self, values: &PcrValues) -> Result<(), SelectionError> {
        for entry in &self.0 {
            for &index in &entry.pcrs {
                self.value(entry, index, values)?;
            }
        }
        match values.iter().find(|(bank, index, _)| !self.contains(*bank, *index)) {
            None => Ok(()),
            Some((bank, index, _)) => Err(SelectionError::NotSelected { bank, index }),
        }
    }

    /// The digest over the selected values in signed order (TPM 2.0 Part 3, TPM2_Quote).
    ///
    /// # Errors
    /// [`SelectionError`] when a value is missing, or the hash is SHA-1.
    pub fn digest(&self, hash: HashAlgorithm, values: &PcrValues) -> Result<Vec<u8>, SelectionError> {
        let mut bytes = Vec::new();
        for entry in &self.0 {
            for &index in &entry.pcrs {
                bytes.extend_from_slice(self.value(entry, index, values)?);
            }
        }
        hash.digest(&bytes).ok_or(SelectionError::Sha1)
    }

    fn value<'v>(
        &self,
        entry: &SelectedBank,
        index: PcrIndex,
        values: &'v PcrValues,
    ) -> Result<&'v [u8], SelectionError> {
        let bank = entry.bank().ok_or(SelectionError::UnknownBank { found: entry.algorithm })?;
        values.get(bank, index).ok_or(SelectionError::Missing { bank, index })
    }
}

impl fmt::Display for PcrSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, entry) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("+")?;
            }
            match entry.bank() {
                Some(bank) => write!(f, "{bank}:")?,
                None => write!(f, "{:#06x}:", entry.algorithm)?,
            }
            let indices: Vec<String> = entry.pcrs.iter().map(PcrIndex::to_string).collect();
            f.write_str(&indices.join(","))?;
        }
        Ok(())
    }
}

/// Why values do not belong to a selection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectionError {
    /// There are 24 PCRs.
    #[error("expected PCRs from 0 to 23 in the selection, found {found}")]
    Index {
        /// The number.
        found: u8,
    },
    /// Values of that bank cannot be given.
    #[error(
        "expected the banks sha1, sha256, sha384 and sha512 in the selection, found algorithm {found:#06x}"
    )]
    UnknownBank {
        /// `TPM_ALG_ID`.
        found: u16,
    },
    /// A signed PCR without a value.
    #[error("expected a value for PCR {index} of bank {bank}, found none")]
    Missing {
        /// The bank.
        bank: PcrBank,
        /// The PCR.
        index: PcrIndex,
    },
    /// A value that nobody signed.
    #[error("expected values of quoted PCRs only, found PCR {index} of bank {bank}, which was not quoted")]
    NotSelected {
        /// The bank.
        bank: PcrBank,
        /// The PCR.
        index: PcrIndex,
    },
    /// Collisions can be made.
    #[error("expected a digest by SHA-2, found SHA-1")]
    Sha1,
}
