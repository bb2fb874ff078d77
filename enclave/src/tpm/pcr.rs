//! PCR values, authenticated, and which approved state they are.

use std::collections::{BTreeMap, BTreeSet};

use sealstone_attestation::{PcrBank, PcrIndex, PcrValues};
use tpm2_protocol::data::{TpmAlgId, TpmCc, TpmlPcrSelection, TpmsPcrSelection};
use tpm2_protocol::frame::TpmPcrReadResponse;

use super::ceremony::Ceremony;
use super::command::{Command, malformed, parameters};
use super::error::TpmError;
use super::policy::{SealPolicy, selection};
use super::session::Use;

impl Ceremony<'_> {
    /// Reads PCRs. Authenticated: the values are the TPM's at this moment, and each is of the PCR that was asked for.
    ///
    /// PCRs of a bank that the TPM does not keep are missing from the result.
    ///
    /// # Errors
    /// Faults of relay and TPM.
    pub fn read_pcrs(
        &mut self,
        wanted: &BTreeMap<PcrBank, BTreeSet<PcrIndex>>,
    ) -> Result<PcrValues, TpmError> {
        let mut values = PcrValues::new();
        for (bank, pcrs) in wanted {
            let mut missing = pcrs.clone();
            // A response has at most eight values; each round brings one at least, or ends.
            while !missing.is_empty() {
                let read = self.read_some(*bank, &missing)?;
                if read.is_empty() {
                    break;
                }
                for (pcr, value) in read {
                    missing.remove(&pcr);
                    values
                        .insert(*bank, pcr, value)
                        .map_err(|_| malformed(TpmCc::PcrRead, "values as long as the bank's"))?;
                }
            }
        }
        Ok(values)
    }

    /// Which of the policy's states the machine is in, as an index. Authenticated.
    ///
    /// # Errors
    /// [`TpmError::PcrMismatch`] when it is in none of them; faults of policy, relay and TPM.
    pub fn require_state(&mut self, policy: &SealPolicy) -> Result<usize, TpmError> {
        policy.tree()?;
        let mut wanted: BTreeMap<PcrBank, BTreeSet<PcrIndex>> = BTreeMap::new();
        for state in &policy.states {
            wanted.entry(state.bank).or_default().extend(state.pcrs.keys());
        }
        let values = self.read_pcrs(&wanted)?;
        let mut nearest: Option<Vec<(PcrBank, PcrIndex)>> = None;
        for (index, state) in policy.states.iter().enumerate() {
            let differing: Vec<_> = state
                .pcrs
                .iter()
                .filter(|(pcr, value)| values.get(state.bank, **pcr) != Some(value.as_slice()))
                .map(|(pcr, _)| (state.bank, *pcr))
                .collect();
            if differing.is_empty() {
                return Ok(index);
            }
            if nearest.as_ref().is_none_or(|nearest| differing.len() < nearest.len()) {
                nearest = Some(differing);
            }
        }
        Err(TpmError::PcrMismatch { states: policy.states.len(), differing: nearest.unwrap_or_default() })
    }

    /// One TPM2_PCR_Read: some of the wanted PCRs with their values.
    fn read_some(
        &mut self,
        bank: PcrBank,
        wanted: &BTreeSet<PcrIndex>,
    ) -> Result<Vec<(PcrIndex, Vec<u8>)>, TpmError> {
        let wrong =
            || malformed(TpmCc::PcrRead, "one value for each selected PCR, of those that were asked for");
        // Its first response parameter is a number, so that it cannot be encrypted; the values are no secret.
        let asked = parameters(&[&selection(bank, wanted.iter().copied())]);
        let command = Command::new(TpmCc::PcrRead, Vec::new(), asked);
        let response: TpmPcrReadResponse =
            self.link.authentic(&mut self.hmac, command, Use::audit())?.parse()?;
        let read = selected(bank, &response.pcr_selection_out).ok_or_else(wrong)?;
        if !read.iter().all(|pcr| wanted.contains(pcr)) || read.len() != response.pcr_values.len() {
            return Err(wrong());
        }
        Ok(read.into_iter().zip(response.pcr_values.iter().map(|value| value.to_vec())).collect())
    }
}

/// The PCRs of a selection, ascending; `None` if it selects in another bank or beyond the last PCR.
fn selected(bank: PcrBank, selection: &TpmlPcrSelection) -> Option<Vec<PcrIndex>> {
    let mut pcrs = Vec::new();
    for TpmsPcrSelection { hash, pcr_select } in selection.iter() {
        for bit in 0..pcr_select.len() * 8 {
            if pcr_select[bit / 8] & (1 << (bit % 8)) != 0 {
                pcrs.push(PcrIndex::new(u8::try_from(bit).ok()?)?);
            }
        }
        if !pcrs.is_empty() && TpmAlgId::try_from(bank.algorithm_id()) != Ok(*hash) {
            return None;
        }
    }
    // Two entries for one bank could name a PCR twice.
    pcrs.is_sorted_by(|a, b| a < b).then_some(pcrs)
}

#[cfg(test)]
mod tests {
    use tpm2_protocol::data::TpmsPcrSelect;

    use super::*;

    fn list(entries: &[(TpmAlgId, [u8; 4])]) -> TpmlPcrSelection {
        let mut list = TpmlPcrSelection::new();
        for (hash, bitmap) in entries {
            let pcr_select = TpmsPcrSelect::try_from(&bitmap[..]).unwrap();
            list.try_push(TpmsPcrSelection { hash: *hash, pcr_select }).unwrap();
        }
        list
    }

    fn numbers(entries: &[(TpmAlgId, [u8; 4])]) -> Option<Vec<u8>> {
        let pcrs = selected(PcrBank::Sha256, &list(entries))?;
        Some(pcrs.into_iter().map(PcrIndex::get).collect())
    }

    #[test]
    fn a_selection_is_read_in_the_order_of_its_values() {
        assert_eq!(numbers(&[]), Some(vec![]));
        assert_eq!(numbers(&[(TpmAlgId::Sha256, [0x81, 0, 0x80, 0])]), Some(vec![0, 7, 23]));
        let empty_first = [(TpmAlgId::Sha384, [0; 4]), (TpmAlgId::Sha256, [2, 0, 0, 0])];
        assert_eq!(numbers(&empty_first), Some(vec![1]));
    }

    #[test]
    fn a_selection_in_another_bank_twice_or_beyond_the_last_pcr_is_refused() {
        assert_eq!(numbers(&[(TpmAlgId::Sha384, [1, 0, 0, 0])]), None);
        assert_eq!(numbers(&[(TpmAlgId::Sha256, [0, 0, 0, 1])]), None);
        assert_eq!(numbers(&[(TpmAlgId::Sha256, [1, 0, 0, 0]); 2]), None);
        let mixed = [(TpmAlgId::Sha256, [1, 0, 0, 0]), (TpmAlgId::Sha384, [2, 0, 0, 0])];
        assert_eq!(numbers(&mixed), None);
    }
}
