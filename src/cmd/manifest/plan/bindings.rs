//! What the keys of each binding may do under each active state of a manifest. Only [`Manifest::may_derive`] decides.

use sealstone_attestation::{Binding, Grace, Manifest, State, StateStatus, UnixTime};
use serde::Serialize;

/// What keys with one binding may do in one attested state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Use {
    /// The active state.
    pub(super) under: String,
    /// What they may.
    #[serde(flatten)]
    pub(super) verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "use", rename_all = "snake_case")]
pub(super) enum Verdict {
    /// The binding is the state's own.
    Own,
    /// The pair is listed without an end.
    Forever,
    /// The pair is listed until then.
    Until {
        /// Its end.
        until: UnixTime,
    },
    /// They may not be derived.
    Refused {
        /// Why.
        reason: String,
    },
}

impl Verdict {
    /// Whether they may be derived now.
    pub(super) fn usable(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// What becomes of keys, whichever active state the machine boots into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub(super) enum Fate {
    /// At least one active state may use them for good.
    Usable,
    /// The last active state that may use them may so until then.
    Until {
        /// The end.
        until: UnixTime,
    },
    /// No active state may use them.
    Stranded,
}

/// The use of a binding's keys in every active state.
pub(super) fn uses(manifest: &Manifest, binding: Binding, now: UnixTime) -> Vec<Use> {
    let one = |state: &State| {
        let verdict = match manifest.may_derive(binding, state, now) {
            Err(reason) => Verdict::Refused { reason: reason.to_string() },
            Ok(()) if state.binding() == binding => Verdict::Own,
            Ok(()) => match grace(manifest, binding, state) {
                Some(Grace::Until(until)) => Verdict::Until { until },
                _ => Verdict::Forever,
            },
        };
        Use { under: state.name().to_owned(), verdict }
    };
    manifest.active_states().map(one).collect()
}

/// Whether any active state may use a binding's keys now.
pub(super) fn usable(manifest: &Manifest, binding: Binding, now: UnixTime) -> bool {
    manifest.active_states().any(|state| manifest.may_derive(binding, state, now).is_ok())
}

/// What becomes of keys with these uses.
pub(super) fn fate(uses: &[Use]) -> Fate {
    let mut fate = Fate::Stranded;
    for Use { under: _, verdict } in uses {
        fate = match (fate, verdict) {
            (Fate::Usable, _) | (_, Verdict::Own | Verdict::Forever) => Fate::Usable,
            (Fate::Until { until }, Verdict::Until { until: other }) => {
                Fate::Until { until: until.max(*other) }
            }
            (Fate::Stranded, Verdict::Until { until }) => Fate::Until { until: *until },
            (fate, Verdict::Refused { .. }) => fate,
        };
    }
    fate
}

fn grace(manifest: &Manifest, binding: Binding, to: &State) -> Option<Grace> {
    let from = manifest.states().iter().find(|state| state.binding() == binding)?;
    let pair = manifest.successions().iter().find(|pair| pair.from == from.name() && pair.to == to.name())?;
    Some(pair.grace)
}

/// One binding, of a state of either manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct BindingPlan {
    pub(super) state: String,
    pub(super) binding: Binding,
    /// In the next manifest; none if it lacks the state.
    pub(super) status: Option<StateStatus>,
    /// In the manifest in force; none if that lacks the state, or is not known.
    pub(super) was: Option<StateStatus>,
    #[serde(flatten)]
    pub(super) fate: Fate,
    pub(super) uses: Vec<Use>,
    /// Keys that could be used would be stranded; where the manifest in force is not known, keys of a state that the next
    /// one does not retire.
    pub(super) would_strand: bool,
}

/// Every binding of both manifests, those of the next one first.
pub(super) fn plans(current: Option<&Manifest>, next: &Manifest, now: UnixTime) -> Vec<BindingPlan> {
    let lost = current
        .into_iter()
        .flat_map(Manifest::states)
        .filter(|state| !next.states().iter().any(|other| other.binding() == state.binding()));
    let plan = |state: &State| {
        let binding = state.binding();
        let status_in =
            |of: &Manifest| of.states().iter().find(|state| state.binding() == binding).map(State::status);
        let status = status_in(next);
        let uses = uses(next, binding, now);
        let fate = fate(&uses);
        let usable_before = match current {
            Some(current) => usable(current, binding, now),
            None => status != Some(StateStatus::Retired),
        };
        BindingPlan {
            state: state.name().to_owned(),
            binding,
            status,
            was: current.and_then(status_in),
            would_strand: usable_before && fate == Fate::Stranded,
            fate,
            uses,
        }
    };
    next.states().iter().chain(lost).map(plan).collect()
}
