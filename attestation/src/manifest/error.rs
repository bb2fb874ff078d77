//! Why a manifest is refused: one variant for each reason.

use thiserror::Error;

use crate::{
    AuthorityDigest, DeploymentId, EnvelopeError, KeyFlaw, ManifestDigest, PcrBank, PcrError, PcrIndex,
    SignaturesError, TooLong, UnixTime,
};

/// Why a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// Not an envelope of a manifest.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// More than any manifest needs.
    #[error("expected a manifest of at most {expected} bytes, found {found}")]
    PayloadLength {
        /// Most bytes.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Not the JSON of a manifest.
    #[error("expected a manifest: {0}")]
    Malformed(String),
    /// A manifest of another version of the format.
    #[error("expected a manifest of format {expected}, found {found}")]
    Format {
        /// The format read here.
        expected: u32,
        /// The format.
        found: u32,
    },
    /// Versions begin at 1.
    #[error("expected a manifest version of at least 1, found 0")]
    VersionZero,
    /// Nothing comes before version 1.
    #[error("expected version 1 to name no previous manifest, found one")]
    FirstWithPrevious,
    /// Everything else has something before it.
    #[error("expected version {version} to name the manifest before it, found none")]
    WithoutPrevious {
        /// The version.
        version: u64,
    },
    /// Out of range.
    #[error("expected session_ttl_s from {min} to {max}, found {found}")]
    SessionTtl {
        /// Least seconds.
        min: u64,
        /// Most seconds.
        max: u64,
        /// Seconds given.
        found: u64,
    },
    /// Too few or too many of something.
    #[error("expected {min} to {max} {what}, found {found}")]
    Count {
        /// Of what.
        what: &'static str,
        /// At least.
        min: usize,
        /// At most.
        max: usize,
        /// Given.
        found: usize,
    },
    /// A name that is none, or too long to read.
    #[error("expected a {what}'s name of 1 to {expected} bytes, found {found}")]
    NameLength {
        /// Of what.
        what: &'static str,
        /// Most bytes.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Two things of one name.
    #[error("expected distinct names, found the {what} {name:?} twice")]
    RepeatedName {
        /// What.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Collisions can be made in that bank.
    #[error("expected the bank of state {state:?} to be sha256, sha384 or sha512, found {found}")]
    StateBank {
        /// The state.
        state: String,
        /// Its bank.
        found: PcrBank,
    },
    /// A state that every machine is in.
    #[error("expected state {state:?} to name at least one PCR, found none")]
    StateWithoutPcrs {
        /// The state.
        state: String,
    },
    /// A PCR that can be reset, or whose value depends on order.
    #[error("expected state {state:?} without PCRs 10 (ordered), 16 and 23 (resettable), found {found}")]
    StatePcr {
        /// The state.
        state: String,
        /// The PCR.
        found: PcrIndex,
    },
    /// A value that its PCR cannot have.
    #[error(transparent)]
    Pcr(#[from] PcrError),
    /// Too long for a binding.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// Too long an id.
    #[error("expected a transit_key_id of at most {expected} bytes, found {found}")]
    TransitKeyId {
        /// Most bytes.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Nothing could attest.
    #[error("expected at least one active state, found none")]
    NoActiveState,
    /// A binding would not say which state it means.
    #[error("expected each state to have its own binding, found that {first:?} and {second:?} share one")]
    SharedBinding {
        /// One state.
        first: String,
        /// The other.
        second: String,
    },
    /// A machine could be in both at once, and would be refused.
    #[error("expected states that exclude each other, found a machine can be in {first:?} and {second:?}")]
    AmbiguousStates {
        /// One state.
        first: String,
        /// The other.
        second: String,
    },
    /// A succession of something unknown.
    #[error("expected successions between states of the manifest, found {name:?}")]
    SuccessionState {
        /// The name.
        name: String,
    },
    /// A succession between the wrong kinds of states.
    #[error("expected a succession from a state not retired to another active one, found {from:?} to {to:?}")]
    SuccessionStatus {
        /// From which state.
        from: String,
        /// To which state.
        to: String,
    },
    /// Two graces for one pair.
    #[error("expected one succession from {from:?} to {to:?}, found two")]
    RepeatedSuccession {
        /// From which state.
        from: String,
        /// To which state.
        to: String,
    },
    /// An endorsement key that promises too little.
    #[error("the endorsement key of node {node:?} cannot be enrolled: {flaw}")]
    EndorsementKey {
        /// The node.
        node: String,
        /// What is wrong with the key.
        flaw: KeyFlaw,
    },
    /// An attestation key that promises too little.
    #[error("the attestation key of node {node:?} cannot be enrolled: {flaw}")]
    AttestationKey {
        /// The node.
        node: String,
        /// What is wrong with the key.
        flaw: KeyFlaw,
    },
    /// Two nodes would be one, or one key would have two uses.
    #[error("expected each TPM key once, found a key of node {node:?} twice")]
    SharedKey {
        /// The later node.
        node: String,
    },
    /// An allow-list that nothing passes, or that nobody oversees.
    #[error("expected 1 to {expected} firmware versions for node {node:?} (or null for any), found {found}")]
    Firmware {
        /// The node.
        node: String,
        /// Most versions.
        expected: usize,
        /// Versions given.
        found: usize,
    },
    /// A scope that no path can have.
    #[error("expected \"*\" or a name of 1 to {expected} bytes in a permission, found {found}")]
    PermissionScope {
        /// Most bytes.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// A permission for nothing.
    #[error("expected each permission to list at least one algorithm and one kind of payload, each once")]
    PermissionLists,
    /// Another authority than the pinned one.
    #[error("foreign authority: expected {expected}, found {found}")]
    ForeignAuthority {
        /// The pinned set.
        expected: AuthorityDigest,
        /// The set that the manifest names.
        found: AuthorityDigest,
    },
    /// Not approved.
    #[error(transparent)]
    Signatures(#[from] SignaturesError),
    /// The set that hands over did not agree.
    #[error("expected the outgoing authority set to have signed too: {0}")]
    OutgoingAuthority(SignaturesError),
    /// A hand-over to the same set, or from none.
    #[error("expected an outgoing authority only where another set takes over")]
    NothingHandedOver,
    /// The set changes, and not the current one hands over.
    #[error("expected the outgoing authority to be the current one, {expected}, found {}", found.map_or_else(|| "none named".to_owned(), |found| found.to_string()))]
    OtherOutgoing {
        /// The current set.
        expected: AuthorityDigest,
        /// The set that the manifest says hands over.
        found: Option<AuthorityDigest>,
    },
    /// A manifest of another deployment.
    #[error("expected a manifest of deployment {expected}, found one of {found}")]
    OtherDeployment {
        /// The current one.
        expected: DeploymentId,
        /// The manifest's.
        found: DeploymentId,
    },
    /// A manifest that was already replaced.
    #[error("expected a manifest newer than version {current}, found version {found}")]
    OlderVersion {
        /// The current version.
        current: u64,
        /// The manifest's.
        found: u64,
    },
    /// Two documents of one version.
    #[error("expected version {version} to be {expected}, found another manifest of that version: {found}")]
    SameVersionOtherDigest {
        /// The version.
        version: u64,
        /// The current manifest.
        expected: ManifestDigest,
        /// The other.
        found: ManifestDigest,
    },
    /// Manifests in between are missing.
    #[error("expected manifest version {expected} next, found version {found}: apply those in between first")]
    MissingVersions {
        /// The next version.
        expected: u64,
        /// The manifest's.
        found: u64,
    },
    /// A successor of something else.
    #[error("expected a manifest that follows {expected}, found one that follows {found:?}")]
    OtherPrevious {
        /// The current manifest.
        expected: ManifestDigest,
        /// What the manifest names.
        found: Option<ManifestDigest>,
    },
    /// Signed time may not go back.
    #[error("expected a manifest issued at {current} or later, found {found}")]
    IssuedEarlier {
        /// When the current manifest was issued.
        current: UnixTime,
        /// When this one says.
        found: UnixTime,
    },
}
