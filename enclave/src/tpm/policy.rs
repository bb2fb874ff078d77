//! Seal policies, computed here so that nobody can lie about them (TPM 2.0 Part 1, 19.7; Part 3, 23).
//!
//! `(PCRs of state 1 ∨ … ∨ PCRs of state n) ∧ counter = value ∧ auth value`. One state is a bare PolicyPCR. Up to
//! eight are one PolicyOR; more are a PolicyOR over groups of eight, as often as it takes.

use std::collections::BTreeMap;

use sealstone_attestation::{PcrBank, PcrIndex};
use thiserror::Error;
use tpm2_protocol::basic::TpmUint16;
use tpm2_protocol::data::{TpmAlgId, TpmCc, TpmEo, TpmlPcrSelection, TpmsPcrSelect, TpmsPcrSelection};

use super::command::parameters;
use super::counter::written_name;
use super::kdf::{DIGEST_LEN, sha256};

/// States that a policy has at most: two levels of PolicyOR, and as many as a manifest lists.
pub const STATES_MAX: usize = 64;
/// Branches of one PolicyOR (TPML_DIGEST, TPM 2.0 Part 2).
const OR_BRANCHES_MAX: usize = 8;
/// Bytes of a PCR bitmap: 24 PCRs.
pub(super) const PCR_SELECT_LEN: usize = 3;

/// A policy digest.
pub(super) type Digest = [u8; DIGEST_LEN];

/// PCR values of one bank that open the seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrState {
    /// The bank.
    pub bank: PcrBank,
    /// Each PCR that counts, with its value.
    pub pcrs: BTreeMap<PcrIndex, Vec<u8>>,
}

/// Which PCR states, and which value of the counter, open the seal. The auth value is always part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealPolicy {
    /// Any of these, 1 to [`STATES_MAX`]. Their order is part of the policy.
    pub states: Vec<PcrState>,
    /// The NV index of the counter.
    pub counter_index: u32,
    /// Exactly this value.
    pub counter_value: u64,
}

impl SealPolicy {
    /// The policy digest (SHA-256).
    ///
    /// # Errors
    /// [`PolicyError`] when there are no or too many states, or one is empty or malformed.
    pub fn digest(&self) -> Result<[u8; DIGEST_LEN], PolicyError> {
        let pcrs = self.tree()?.root();
        let operand = self.counter_value.to_be_bytes();
        let arguments = parameters(&[&COUNTER_OFFSET, &COUNTER_OPERATION]);
        let arguments = sha256(&[&operand, &arguments]);
        let counter =
            extend(&pcrs, TpmCc::PolicyNv, &[&arguments, written_name(self.counter_index).as_bytes()]);
        Ok(extend(&counter, TpmCc::PolicyAuthValue, &[]))
    }

    /// The states' part of the policy.
    pub(super) fn tree(&self) -> Result<OrTree, PolicyError> {
        if self.states.is_empty() || self.states.len() > STATES_MAX {
            return Err(PolicyError::States { found: self.states.len() });
        }
        for (state, pcrs) in self.states.iter().enumerate() {
            pcrs.check(state)?;
        }
        Ok(OrTree::over(self.states.iter().map(PcrState::policy).collect()))
    }
}

/// The whole counter is compared, from its first byte, for equality.
pub(super) const COUNTER_OFFSET: TpmUint16 = TpmUint16::new(0);
pub(super) const COUNTER_OPERATION: TpmEo = TpmEo::Eq;

impl PcrState {
    /// SHA-256 over the values, ascending: what PolicyPCR compares.
    pub(super) fn value_digest(&self) -> Digest {
        let values: Vec<&[u8]> = self.pcrs.values().map(Vec::as_slice).collect();
        sha256(&values)
    }

    /// The selection of exactly this state's PCRs.
    pub(super) fn selection(&self) -> TpmlPcrSelection {
        selection(self.bank, self.pcrs.keys().copied())
    }

    fn policy(&self) -> Digest {
        let selection = parameters(&[&self.selection()]);
        extend(&[0; DIGEST_LEN], TpmCc::PolicyPcr, &[&selection, &self.value_digest()])
    }

    fn check(&self, state: usize) -> Result<(), PolicyError> {
        if !self.bank.is_acceptable() {
            return Err(PolicyError::Bank { state, found: self.bank });
        }
        if self.pcrs.is_empty() {
            return Err(PolicyError::NoPcrs { state });
        }
        let expected = self.bank.digest_len();
        match self.pcrs.iter().find(|(_, value)| value.len() != expected) {
            None => Ok(()),
            Some((pcr, value)) => {
                Err(PolicyError::ValueLength { state, pcr: *pcr, expected, found: value.len() })
            }
        }
    }
}

/// A selection of PCRs of one bank.
pub(super) fn selection(bank: PcrBank, pcrs: impl Iterator<Item = PcrIndex>) -> TpmlPcrSelection {
    let mut bitmap = [0u8; PCR_SELECT_LEN];
    for pcr in pcrs {
        bitmap[usize::from(pcr.get() / 8)] |= 1 << (pcr.get() % 8);
    }
    let hash =
        TpmAlgId::try_from(bank.algorithm_id()).expect("every bank is one of the TPM's hash algorithms");
    let pcr_select = TpmsPcrSelect::try_from(&bitmap[..]).expect("three bytes are below the limit of four");
    let mut list = TpmlPcrSelection::new();
    list.try_push(TpmsPcrSelection { hash, pcr_select }).expect("an empty list takes an entry");
    list
}

/// PolicyORs over the states' policies. The last level is the root alone.
pub(super) struct OrTree {
    levels: Vec<Vec<Digest>>,
}

impl OrTree {
    fn over(leaves: Vec<Digest>) -> Self {
        let mut levels = vec![leaves];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let above = level.chunks(OR_BRANCHES_MAX).map(or).collect();
            levels.push(above);
        }
        Self { levels }
    }

    fn root(&self) -> Digest {
        self.levels
            .last()
            .and_then(|level| level.first())
            .copied()
            .expect("a tree is built over at least one leaf")
    }

    /// The branches of each PolicyOR that leads from a leaf to the root, in order.
    pub(super) fn path(&self, leaf: usize) -> Vec<&[Digest]> {
        let mut node = leaf;
        let mut path = Vec::new();
        for level in &self.levels {
            node /= OR_BRANCHES_MAX;
            // A group of one is passed on as it is: a PolicyOR has at least two branches.
            path.extend(level.chunks(OR_BRANCHES_MAX).nth(node).filter(|group| group.len() > 1));
        }
        path
    }
}

/// PolicyOR restarts the digest: zeros, the command code, the branches; no count (TPM2_PolicyOR, Part 3).
fn or(branches: &[Digest]) -> Digest {
    match branches {
        [alone] => *alone,
        _ => extend(&[0; DIGEST_LEN], TpmCc::PolicyOr, &[&branches.concat()]),
    }
}

fn extend(before: &Digest, code: TpmCc, parts: &[&[u8]]) -> Digest {
    let code = code.value().to_be_bytes();
    let mut all: Vec<&[u8]> = vec![before, &code];
    all.extend(parts);
    sha256(&all)
}

/// Why nothing can be sealed under a policy: the caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// No state, or too many.
    #[error("expected 1 to {STATES_MAX} states, found {found}")]
    States {
        /// How many there are.
        found: usize,
    },
    /// A bank that nothing may rest on.
    #[error("state {state}: expected a bank of SHA-256 or stronger, found {found}")]
    Bank {
        /// Which state, from 0.
        state: usize,
        /// The bank.
        found: PcrBank,
    },
    /// Every machine is in a state without PCRs.
    #[error("state {state}: expected at least one PCR, found none")]
    NoPcrs {
        /// Which state, from 0.
        state: usize,
    },
    /// A value that the bank cannot have.
    #[error("state {state}, PCR {pcr}: expected {expected} bytes, found {found}")]
    ValueLength {
        /// Which state, from 0.
        state: usize,
        /// Which PCR.
        pcr: PcrIndex,
        /// The bank's.
        expected: usize,
        /// The value's.
        found: usize,
    },
}
