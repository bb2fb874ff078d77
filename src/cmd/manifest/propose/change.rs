//! What a proposal changes in a manifest. Nothing here asks whether the result is valid: `Manifest` does.

use std::collections::BTreeMap;

use sealstone_attestation::{
    Grace, HexBytes, Manifest, ManifestDraft, NodeDraft, PcrIndex, StateDraft, StateStatus, Succession,
};
use sealstone_wire::api::Enrolment;

use super::measured::PcrChoice;
use crate::failure::Failure;

/// Adds an active state with these values.
pub(super) fn add_state(
    draft: &mut ManifestDraft,
    name: &str,
    choice: &PcrChoice,
    values: BTreeMap<PcrIndex, Vec<u8>>,
) {
    draft.states.push(StateDraft {
        name: name.to_owned(),
        status: StateStatus::Active,
        bank: choice.bank,
        pcrs: values.into_iter().map(|(index, value)| (index, HexBytes(value))).collect(),
        transit_key_id: String::new(),
    });
}

/// The registers of an active state, which the next one is most likely made of as well.
pub(super) fn usual_choice(draft: &ManifestDraft) -> Option<PcrChoice> {
    let state = draft.states.iter().rev().find(|state| state.status == StateStatus::Active)?;
    Some(PcrChoice { bank: state.bank, indices: state.pcrs.keys().copied().collect() })
}

/// Enrols a machine's TPM.
pub(super) fn add_node(draft: &mut ManifestDraft, name: &str, enrolment: &Enrolment, pin_firmware: bool) {
    draft.nodes.push(NodeDraft {
        name: name.to_owned(),
        ek: enrolment.ek.clone(),
        ak: enrolment.ak.clone(),
        firmware: pin_firmware.then(|| vec![enrolment.firmware_version]),
    });
}

/// Lets state `new` use the keys of `old`, and of every state whose keys `old` may use: pairs are not
/// transitive, so without the latter those keys would be stranded.
pub(super) fn inherit(draft: &mut ManifestDraft, old: &str, new: &str, grace: Grace) -> Result<(), Failure> {
    active(draft, old)?;
    let inherited: Vec<Succession> = draft
        .successions
        .iter()
        .filter(|pair| pair.to == old && pair.from != new)
        .map(|pair| Succession { to: new.to_owned(), ..pair.clone() })
        .collect();
    let direct = Succession { from: old.to_owned(), to: new.to_owned(), grace };
    for pair in std::iter::once(direct).chain(inherited) {
        let known = draft.successions.iter().any(|other| other.from == pair.from && other.to == pair.to);
        if !known {
            draft.successions.push(pair);
        }
    }
    Ok(())
}

/// Ends attestation in a state; its keys may still be used as its own successions say.
pub(super) fn demote(draft: &mut ManifestDraft, name: &str) -> Result<(), Failure> {
    active(draft, name)?.status = StateStatus::Predecessor;
    draft.successions.retain(|pair| pair.to != name);
    Ok(())
}

/// Ends a state's approval and the use of its keys.
pub(super) fn retire(draft: &mut ManifestDraft, name: &str) -> Result<(), Failure> {
    let state = state(draft, name)?;
    if state.status == StateStatus::Retired {
        return Err(proposal(format!("expected a state that is not retired, found that {name:?} is")));
    }
    state.status = StateStatus::Retired;
    draft.successions.retain(|pair| pair.to != name && pair.from != name);
    Ok(())
}

/// What approvers should know before they strand a key.
pub(super) fn warnings(manifest: &Manifest) -> Vec<String> {
    let stranded = manifest.states().iter().filter(|state| {
        let usable = state.is_active()
            || manifest
                .successions()
                .iter()
                .any(|pair| pair.from == state.name() && pair.grace != Grace::None);
        !usable
    });
    stranded
        .map(|state| {
            format!(
                "no state may use the keys bound to {}: assets that were not rotated since cannot sign",
                crate::output::shown(state.name())
            )
        })
        .collect()
}

/// The failure of a proposal that makes no sense.
pub(super) fn proposal(detail: String) -> Failure {
    Failure::unusable(
        "PROPOSAL",
        detail,
        "see `sealstone manifest show` for what there is, and correct the proposal",
    )
}

fn state<'a>(draft: &'a mut ManifestDraft, name: &str) -> Result<&'a mut StateDraft, Failure> {
    draft
        .states
        .iter_mut()
        .find(|state| state.name == name)
        .ok_or_else(|| proposal(format!("expected a state of the manifest, found {name:?}")))
}

fn active<'a>(draft: &'a mut ManifestDraft, name: &str) -> Result<&'a mut StateDraft, Failure> {
    let state = state(draft, name)?;
    if state.status == StateStatus::Active {
        Ok(state)
    } else {
        Err(proposal(format!("expected an active state, found that {name:?} is not")))
    }
}
