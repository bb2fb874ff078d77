//! A manifest whose every rule was checked. That anybody approved it is a
//! [`VerifiedManifest`](crate::VerifiedManifest).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    Algorithm, AuthoritySet, Binding, DeploymentId, ManifestDigest, PcrBank, PcrIndex, TpmName, UnixTime,
    manifest::{
        draft::{CodeMeasurement, EnclaveParameters, ManifestDraft},
        error::ManifestError,
        node::Node,
        permission::{AssetPermission, PayloadKind, SessionPermission},
        state::{State, StateStatus},
        succession::{BindingRefusal, Grace, Succession},
    },
};

/// The one version of the format.
const FORMAT: u32 = 1;

/// Seconds of an attested session: below the least, renewal would never stop; above the most, a hidden change
/// of state would go unnoticed for too long.
const SESSION_TTL_S: std::ops::RangeInclusive<u64> = 10..=3600;

/// A checked manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    payload: Vec<u8>,
    digest: ManifestDigest,
    draft: ManifestDraft,
    states: Vec<State>,
    nodes: Vec<Node>,
}

impl Manifest {
    /// The payload type of a manifest's envelope.
    pub const PAYLOAD_TYPE: &str = "application/vnd.sealstone.manifest.v1+json";

    /// Bytes of a payload; the envelope around it has the same bound.
    pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

    /// States: what the TPM's nested policies are made for.
    pub const STATES_MAX: usize = 64;

    /// Ordered pairs of states, all of them.
    pub const SUCCESSIONS_MAX: usize = Self::STATES_MAX * Self::STATES_MAX;

    /// Nodes of one deployment.
    pub const NODES_MAX: usize = 256;

    /// Permissions of each kind; each request is compared with all of them.
    pub const PERMISSIONS_MAX: usize = 1024;

    /// Reads and checks a payload, as it was or will be signed. Says nothing about who approved it.
    ///
    /// # Errors
    /// [`ManifestError`] for the first rule that is broken.
    pub fn from_payload(payload: &[u8]) -> Result<Self, ManifestError> {
        if payload.len() > Self::PAYLOAD_BYTES_MAX {
            return Err(ManifestError::PayloadLength {
                expected: Self::PAYLOAD_BYTES_MAX,
                found: payload.len(),
            });
        }
        let draft =
            serde_json::from_slice(payload).map_err(|error| ManifestError::Malformed(error.to_string()))?;
        Self::check(draft, payload.to_vec())
    }

    /// The payload's bytes: as received, or as a draft was written.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        self.payload.clone()
    }

    /// SHA-256 of the payload's bytes.
    #[must_use]
    pub fn digest(&self) -> ManifestDigest {
        self.digest
    }

    /// The same as a draft, to write the next version from.
    #[must_use]
    pub fn to_draft(&self) -> ManifestDraft {
        self.draft.clone()
    }

    /// The deployment.
    #[must_use]
    pub fn deployment(&self) -> DeploymentId {
        self.draft.deployment
    }

    /// At least 1.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.draft.version
    }

    /// Digest of the manifest before; `None` for version 1 only.
    #[must_use]
    pub fn previous(&self) -> Option<ManifestDigest> {
        self.draft.previous
    }

    /// When it was written.
    #[must_use]
    pub fn issued_at(&self) -> UnixTime {
        self.draft.issued_at
    }

    /// Who approves the next manifest.
    #[must_use]
    pub fn authority(&self) -> &AuthoritySet {
        &self.draft.authority
    }

    /// The set that hands over with this manifest.
    #[must_use]
    pub fn outgoing_authority(&self) -> Option<&AuthoritySet> {
        self.draft.outgoing_authority.as_ref()
    }

    /// All states, in the manifest's order.
    #[must_use]
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// The states that may attest; at least one.
    pub fn active_states(&self) -> impl Iterator<Item = &State> {
        self.states.iter().filter(|state| state.is_active())
    }

    /// Which states may use the keys of which older ones.
    #[must_use]
    pub fn successions(&self) -> &[Succession] {
        &self.draft.successions
    }

    /// The enrolled machines.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How long an attested session lasts.
    #[must_use]
    pub fn session_ttl(&self) -> Duration {
        Duration::from_secs(self.draft.session_ttl_s)
    }

    /// How enclaves behave.
    #[must_use]
    pub fn enclave(&self) -> EnclaveParameters {
        self.draft.enclave
    }

    /// What shows which binaries ran.
    #[must_use]
    pub fn code(&self) -> CodeMeasurement {
        self.draft.code
    }

    /// What asset keys may sign.
    #[must_use]
    pub fn permissions(&self) -> &[AssetPermission] {
        &self.draft.permissions
    }

    /// What session keys may sign.
    #[must_use]
    pub fn session_permissions(&self) -> &[SessionPermission] {
        &self.draft.session_permissions
    }

    /// The PCRs that a quote must cover: those of every active state.
    #[must_use]
    pub fn quote_selection(&self) -> BTreeMap<PcrBank, BTreeSet<PcrIndex>> {
        let mut selection: BTreeMap<PcrBank, BTreeSet<PcrIndex>> = BTreeMap::new();
        for state in self.active_states() {
            selection.entry(state.bank()).or_default().extend(state.pcrs().keys());
        }
        selection
    }

    /// The PCRs that evidence covers: those of a quote, and where the manifest says `code = "ima"` PCR 10, which alone vouches
    /// for the kernel's list. It is part of no state, so sessions do without it.
    #[must_use]
    pub fn evidence_selection(&self) -> BTreeMap<PcrBank, BTreeSet<PcrIndex>> {
        let mut selection = self.quote_selection();
        if self.code() == CodeMeasurement::Ima {
            selection.values_mut().for_each(|indices| {
                indices.insert(PcrIndex::IMA);
            });
        }
        selection
    }

    /// The node of this name.
    #[must_use]
    pub fn node_by_name(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name() == name)
    }

    /// The node whose attestation key has this name.
    #[must_use]
    pub fn node_by_ak(&self, name: &TpmName) -> Option<&Node> {
        self.nodes.iter().find(|node| node.ak().name() == name)
    }

    /// The state of this name.
    #[must_use]
    pub fn state_by_name(&self, name: &str) -> Option<&State> {
        self.states.iter().find(|state| state.name() == name)
    }

    /// Whether a key recorded with this binding may be derived in the attested state at this time.
    ///
    /// # Errors
    /// [`BindingRefusal`] says why not.
    pub fn may_derive(
        &self,
        recorded: Binding,
        current: &State,
        now: UnixTime,
    ) -> Result<(), BindingRefusal> {
        let name = || current.name().to_owned();
        // A session may have outlived the manifest that it was opened under.
        let still_active = self.active_states().any(|state| state.binding() == current.binding());
        if !still_active {
            return Err(BindingRefusal::CurrentNotActive { current: name() });
        }
        if recorded == current.binding() {
            return Ok(());
        }
        let Some(from) = self.states.iter().find(|state| state.binding() == recorded) else {
            return Err(BindingRefusal::UnknownBinding { recorded });
        };
        let recorded = from.name().to_owned();
        if from.status() == StateStatus::Retired {
            return Err(BindingRefusal::Retired { recorded });
        }
        let pair =
            self.successions().iter().find(|pair| pair.from == from.name() && pair.to == current.name());
        // The host's clock may lag; what was signed at a time proves that this time has come.
        let now = now.max(self.issued_at());
        match pair.map(|pair| pair.grace) {
            None => Err(BindingRefusal::NoSuccession { recorded, current: name() }),
            Some(Grace::Forever) => Ok(()),
            Some(Grace::Until(end)) if now < end => Ok(()),
            Some(Grace::Until(at)) => Err(BindingRefusal::GraceEnded { recorded, current: name(), at }),
            Some(Grace::None) => {
                Err(BindingRefusal::GraceEnded { recorded, current: name(), at: self.issued_at() })
            }
        }
    }

    /// Whether an asset's key may sign this kind of payload.
    #[must_use]
    pub fn permits_asset(&self, tenant: &str, asset: &str, algorithm: Algorithm, kind: PayloadKind) -> bool {
        self.permissions().iter().any(|permission| permission.permits(tenant, asset, algorithm, kind))
    }

    /// Whether a session key may sign this kind of payload.
    #[must_use]
    pub fn permits_session(
        &self,
        tenant: &str,
        sender: &str,
        algorithm: Algorithm,
        kind: PayloadKind,
    ) -> bool {
        self.session_permissions()
            .iter()
            .any(|permission| permission.permits(tenant, sender, algorithm, kind))
    }

    fn check(draft: ManifestDraft, payload: Vec<u8>) -> Result<Self, ManifestError> {
        if draft.format != FORMAT {
            return Err(ManifestError::Format { expected: FORMAT, found: draft.format });
        }
        match (draft.version, draft.previous) {
            (0, _) => return Err(ManifestError::VersionZero),
            (1, Some(_)) => return Err(ManifestError::FirstWithPrevious),
            (version @ 2.., None) => return Err(ManifestError::WithoutPrevious { version }),
            (1, None) | (2.., Some(_)) => {}
        }
        if let Some(outgoing) = &draft.outgoing_authority
            && (draft.version == 1 || outgoing.digest() == draft.authority.digest())
        {
            return Err(ManifestError::NothingHandedOver);
        }
        if !SESSION_TTL_S.contains(&draft.session_ttl_s) {
            let (min, max) = (*SESSION_TTL_S.start(), *SESSION_TTL_S.end());
            return Err(ManifestError::SessionTtl { min, max, found: draft.session_ttl_s });
        }
        check_count("states", 1, Self::STATES_MAX, draft.states.len())?;
        check_count("successions", 0, Self::SUCCESSIONS_MAX, draft.successions.len())?;
        check_count("nodes", 1, Self::NODES_MAX, draft.nodes.len())?;
        check_count("permissions", 0, Self::PERMISSIONS_MAX, draft.permissions.len())?;
        check_count("session permissions", 0, Self::PERMISSIONS_MAX, draft.session_permissions.len())?;
        let states = check_states(&draft)?;
        check_successions(&draft.successions, &states)?;
        let nodes = check_nodes(&draft)?;
        draft.permissions.iter().try_for_each(AssetPermission::check)?;
        draft.session_permissions.iter().try_for_each(SessionPermission::check)?;
        Ok(Self { digest: ManifestDigest::of(&payload), payload, draft, states, nodes })
    }
}

impl TryFrom<ManifestDraft> for Manifest {
    type Error = ManifestError;

    fn try_from(draft: ManifestDraft) -> Result<Self, ManifestError> {
        // Read back what will be signed, so that a draft can hold nothing that its JSON does not.
        let payload = serde_json::to_vec(&draft).expect("text, numbers and hex always serialize");
        Self::from_payload(&payload)
    }
}

fn check_count(what: &'static str, min: usize, max: usize, found: usize) -> Result<(), ManifestError> {
    if (min..=max).contains(&found) { Ok(()) } else { Err(ManifestError::Count { what, min, max, found }) }
}

fn check_states(draft: &ManifestDraft) -> Result<Vec<State>, ManifestError> {
    let states = draft.states.iter().map(State::from_draft).collect::<Result<Vec<_>, _>>()?;
    if !states.iter().any(State::is_active) {
        return Err(ManifestError::NoActiveState);
    }
    for (position, state) in states.iter().enumerate() {
        for other in &states[..position] {
            let (first, second) = (other.name().to_owned(), state.name().to_owned());
            if first == second {
                return Err(ManifestError::RepeatedName { what: "state", name: first });
            }
            if state.binding() == other.binding() {
                return Err(ManifestError::SharedBinding { first, second });
            }
            let both_active = state.is_active() && other.is_active();
            if both_active && (state.covers(other) || other.covers(state)) {
                return Err(ManifestError::AmbiguousStates { first, second });
            }
        }
    }
    Ok(states)
}

fn check_successions(successions: &[Succession], states: &[State]) -> Result<(), ManifestError> {
    let status = |name: &str| {
        let state = states.iter().find(|state| state.name() == name);
        state.map(State::status).ok_or_else(|| ManifestError::SuccessionState { name: name.to_owned() })
    };
    let mut pairs = BTreeSet::new();
    for Succession { from, to, grace: _ } in successions {
        let pair = || (from.clone(), to.clone());
        if status(from)? == StateStatus::Retired || status(to)? != StateStatus::Active || from == to {
            let (from, to) = pair();
            return Err(ManifestError::SuccessionStatus { from, to });
        }
        if !pairs.insert((from, to)) {
            let (from, to) = pair();
            return Err(ManifestError::RepeatedSuccession { from, to });
        }
    }
    Ok(())
}

fn check_nodes(draft: &ManifestDraft) -> Result<Vec<Node>, ManifestError> {
    let nodes = draft.nodes.iter().map(Node::from_draft).collect::<Result<Vec<_>, _>>()?;
    let mut names = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for node in &nodes {
        if !names.insert(node.name()) {
            return Err(ManifestError::RepeatedName { what: "node", name: node.name().to_owned() });
        }
        // By key, not by name: one key under two sets of attributes is still one key.
        if !keys.insert(node.ek().key()) || !keys.insert(node.ak().key()) {
            return Err(ManifestError::SharedKey { node: node.name().to_owned() });
        }
    }
    Ok(nodes)
}
