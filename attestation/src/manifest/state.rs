//! Approved states and the bindings that name them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    Binding, PcrBank, PcrIndex, PcrValues,
    encoding::{HexBytes, TooLong, lp, lp_short, unique_map},
    manifest::{draft::check_name, error::ManifestError},
    pcr,
};

/// Separates bindings from every other use of SHA-256.
const LABEL: &[u8] = b"sealstone/binding/v1";

/// Bytes of a Transit key's id, as long as the longest tenant or asset.
const TRANSIT_KEY_ID_BYTES_MAX: usize = 255;

/// What a state is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateStatus {
    /// May attest; is in the seal.
    Active,
    /// Only names old bindings.
    Predecessor,
    /// Names old bindings that are refused.
    Retired,
}

/// A state as a manifest spells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateDraft {
    /// 1 to 64 bytes, unique in the manifest.
    pub name: String,
    /// What it is good for.
    pub status: StateStatus,
    /// The one bank of its PCRs.
    pub bank: PcrBank,
    /// Its PCRs with their values.
    #[serde(deserialize_with = "unique_map::deserialize")]
    pub pcrs: BTreeMap<PcrIndex, HexBytes>,
    /// The Transit key that may sign in the enclave's place; empty for none.
    #[serde(default)]
    pub transit_key_id: String,
}

/// A checked state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    name: String,
    status: StateStatus,
    bank: PcrBank,
    pcrs: BTreeMap<PcrIndex, Vec<u8>>,
    transit_key_id: String,
    binding: Binding,
}

impl State {
    pub(crate) fn from_draft(draft: &StateDraft) -> Result<Self, ManifestError> {
        let StateDraft { name, status, bank, pcrs, transit_key_id } = draft;
        check_name("state", name)?;
        if !bank.is_acceptable() {
            return Err(ManifestError::StateBank { state: name.clone(), found: *bank });
        }
        if pcrs.is_empty() {
            return Err(ManifestError::StateWithoutPcrs { state: name.clone() });
        }
        for (index, value) in pcrs {
            if !index.may_define_state() {
                return Err(ManifestError::StatePcr { state: name.clone(), found: *index });
            }
            pcr::check_length(*bank, *index, &value.0)?;
        }
        if transit_key_id.len() > TRANSIT_KEY_ID_BYTES_MAX {
            let found = transit_key_id.len();
            return Err(ManifestError::TransitKeyId { expected: TRANSIT_KEY_ID_BYTES_MAX, found });
        }
        let pcrs = pcrs.iter().map(|(index, value)| (*index, value.0.clone())).collect();
        let binding = binding(*bank, &pcrs, transit_key_id)?;
        let (name, transit_key_id) = (name.clone(), transit_key_id.clone());
        Ok(Self { name, status: *status, bank: *bank, pcrs, transit_key_id, binding })
    }

    /// Unique in its manifest.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is good for.
    #[must_use]
    pub fn status(&self) -> StateStatus {
        self.status
    }

    /// Whether it may attest.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == StateStatus::Active
    }

    /// The bank of its PCRs.
    #[must_use]
    pub fn bank(&self) -> PcrBank {
        self.bank
    }

    /// Its PCRs and their values.
    #[must_use]
    pub fn pcrs(&self) -> &BTreeMap<PcrIndex, Vec<u8>> {
        &self.pcrs
    }

    /// The PCRs that a quote must cover to show this state.
    #[must_use]
    pub fn indices(&self) -> BTreeSet<PcrIndex> {
        self.pcrs.keys().copied().collect()
    }

    /// The Transit key that may sign in the enclave's place; empty for none.
    #[must_use]
    pub fn transit_key_id(&self) -> &str {
        &self.transit_key_id
    }

    /// Names the state, and salts the keys that are derived in it.
    #[must_use]
    pub fn binding(&self) -> Binding {
        self.binding
    }

    /// Whether every PCR of the state has the state's value.
    #[must_use]
    pub fn matches(&self, values: &PcrValues) -> bool {
        self.pcrs.iter().all(|(index, value)| values.get(self.bank, *index) == Some(value.as_slice()))
    }

    /// Whether whatever matches `other` surely matches this state too.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.bank == other.bank && self.pcrs.iter().all(|(index, value)| other.pcrs.get(index) == Some(value))
    }
}

/// The binding of a bank's PCR values and a Transit key's id.
///
/// # Errors
/// [`TooLong`] when a value or the id exceeds 65,535 bytes, or there are more than 255 PCRs.
pub fn binding(
    bank: PcrBank,
    pcrs: &BTreeMap<PcrIndex, Vec<u8>>,
    transit_key_id: &str,
) -> Result<Binding, TooLong> {
    let mut bytes = Vec::with_capacity(128 + pcrs.len() * (1 + bank.digest_len()));
    lp_short(&mut bytes, LABEL);
    lp_short(&mut bytes, bank.name().as_bytes());
    bytes.push(u8::try_from(pcrs.len()).map_err(|_| TooLong { found: pcrs.len() })?);
    for (index, value) in pcrs {
        bytes.push(index.get());
        // Not length-prefixed: the bank fixes the length, which whoever calls has checked.
        bytes.extend_from_slice(value);
    }
    lp(&mut bytes, transit_key_id.as_bytes())?;
    Ok(Binding::of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pcrs(values: &[(u8, &str)]) -> BTreeMap<PcrIndex, Vec<u8>> {
        values
            .iter()
            .map(|(index, hex)| (PcrIndex::new(*index).unwrap(), hex::decode(hex).unwrap()))
            .collect()
    }

    #[test]
    fn a_binding_is_the_known_answer() {
        let pcrs = pcrs(&[
            (5, "6b60a7298fb8ee510c3239b56c6937cd85199deb00fab4fb711a34fe497ee715"),
            (11, "8bcf4bd51f03f4aff6bd407dcb7102ad9b2c7b9954d95d3a85474afb5f51f61b"),
            (12, "0998fbd586edee1d98967b0e1d7bae59b13a097d2b6c46e2d9ec2988e380e5b9"),
        ]);
        let found = binding(PcrBank::Sha256, &pcrs, "evm-production").unwrap();
        assert_eq!(found.to_string(), "9dcdf6d7a5fac5fddb137d2e1e633ebfaa619198bb42b9b9a05e9ef5c65acc6c");
    }

    #[test]
    fn bank_pcrs_values_and_transit_key_each_change_the_binding() {
        let value = "aa".repeat(48);
        let base = binding(PcrBank::Sha384, &pcrs(&[(0, &value)]), "").unwrap();
        for other in [
            binding(PcrBank::Sha512, &pcrs(&[(0, &value)]), ""),
            binding(PcrBank::Sha384, &pcrs(&[(1, &value)]), ""),
            binding(PcrBank::Sha384, &pcrs(&[(0, &"ab".repeat(48))]), ""),
            binding(PcrBank::Sha384, &pcrs(&[(0, &value), (1, &value)]), ""),
            binding(PcrBank::Sha384, &pcrs(&[(0, &value)]), "t"),
        ] {
            assert_ne!(other.unwrap(), base);
        }
        assert!(binding(PcrBank::Sha384, &pcrs(&[(0, &value)]), &"t".repeat(65_536)).is_err());
    }
}
