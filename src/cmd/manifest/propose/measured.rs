//! Which registers make a state, and their values on one machine.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use sealstone_attestation::{PcrBank, PcrIndex, PcrValues};
use thiserror::Error;

use crate::failure::Failure;

/// A bank and registers of it, written `sha256:0,1,7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PcrChoice {
    pub(super) bank: PcrBank,
    pub(super) indices: BTreeSet<PcrIndex>,
}

impl Default for PcrChoice {
    /// What firmware and boot loader measure before the kernel runs (TCG PC Client Platform Firmware Profile).
    fn default() -> Self {
        Self { bank: PcrBank::Sha256, indices: (0..8).filter_map(PcrIndex::new).collect() }
    }
}

impl FromStr for PcrChoice {
    type Err = PcrChoiceError;

    fn from_str(text: &str) -> Result<Self, PcrChoiceError> {
        let (bank, list) = text.split_once(':').ok_or(PcrChoiceError::Form)?;
        let bank: PcrBank = bank.parse().map_err(|_| PcrChoiceError::Bank)?;
        if !bank.is_acceptable() {
            return Err(PcrChoiceError::Bank);
        }
        let mut indices = BTreeSet::new();
        for item in list.split(',') {
            let index = item.parse().ok().and_then(PcrIndex::new).ok_or(PcrChoiceError::Form)?;
            if !index.may_define_state() {
                return Err(PcrChoiceError::Index { found: index });
            }
            if !indices.insert(index) {
                return Err(PcrChoiceError::Twice { found: index });
            }
        }
        Ok(Self { bank, indices })
    }
}

/// Why a choice of registers is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum PcrChoiceError {
    /// The caller: not in this form.
    #[error("expected BANK:INDEX,… such as sha256:0,1,2,3,4,5,6,7 with indices 0 to 23")]
    Form,
    /// The caller: SHA-1 names no state.
    #[error("expected the bank sha256, sha384 or sha512")]
    Bank,
    /// The caller: a register that anybody can reset, or that depends on order.
    #[error(
        "expected registers that name a state, found PCR {found}, which can be reset or depends on order"
    )]
    Index {
        /// Which.
        found: PcrIndex,
    },
    /// The caller: a register named twice.
    #[error("expected each register once, found PCR {found} twice")]
    Twice {
        /// Which.
        found: PcrIndex,
    },
}

/// The values of these registers on the machine that was enrolled.
pub(super) fn measured(
    choice: &PcrChoice,
    found: &PcrValues,
) -> Result<BTreeMap<PcrIndex, Vec<u8>>, Failure> {
    choice
        .indices
        .iter()
        .map(|index| {
            let value = found.get(choice.bank, *index).ok_or_else(|| {
                Failure::unusable(
                    "ENROLMENT",
                    format!("expected a value of {} PCR {index}, found none", choice.bank),
                    "choose a bank that this TPM has active, with --pcrs",
                )
            })?;
            Ok((*index, value.to_vec()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_its_text_says() {
        assert_eq!("sha256:0,1,2,3,4,5,6,7".parse(), Ok(PcrChoice::default()));
        assert_eq!("sha256:7,6,5,4,3,2,1,0".parse(), Ok(PcrChoice::default()));
    }

    #[test]
    fn what_names_no_state_is_refused() {
        let refused = |text: &str| text.parse::<PcrChoice>().unwrap_err();
        for text in
            ["", "sha256", "sha256:", "sha256:0,", "sha256:24", "sha256:-1", "sha256:0 ,1", "0,1:sha256"]
        {
            assert!(matches!(refused(text), PcrChoiceError::Form | PcrChoiceError::Bank), "{text}");
        }
        assert_eq!(refused("sha1:0"), PcrChoiceError::Bank);
        assert_eq!(refused("sm3:0"), PcrChoiceError::Bank);
        for index in [10, 16, 23] {
            assert!(matches!(refused(&format!("sha256:0,{index}")), PcrChoiceError::Index { .. }));
        }
        assert!(matches!(refused("sha384:1,2,1"), PcrChoiceError::Twice { .. }));
    }

    #[test]
    fn a_register_without_a_value_is_refused() {
        let mut found = PcrValues::new();
        found.insert(PcrBank::Sha256, PcrIndex::new(0).unwrap(), vec![1; 32]).unwrap();
        assert!(measured(&PcrChoice::default(), &found).is_err());
        assert_eq!(measured(&"sha256:0".parse().unwrap(), &found).unwrap().len(), 1);
        assert!(measured(&"sha384:0".parse().unwrap(), &found).is_err());
    }
}
