//! What the enclave answers.

use sealstone_attestation::{
    AuthorityDigest, Binding, DeploymentId, ManifestDigest, PublicKey, SessionId, Signature64, SignedReceipt,
    UnixTime, audit::TreeHash,
};
use serde::{Deserialize, Serialize};

/// One reply to one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyMessage {
    /// The request's number.
    pub id: u64,
    /// The answer.
    pub reply: Reply,
}

/// What the enclave may answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done, nothing to say.
    Done,
    /// How the enclave is.
    Status(Status),
    /// Have the TPM execute this command and send the answer as `Relayed` with the same step; the request
    /// stays open.
    Relay {
        /// Counts from 0 within the request.
        step: u32,
        /// One TPM command.
        #[serde(with = "crate::bytes")]
        command: Vec<u8>,
    },
    /// A challenge for a session quote.
    Challenge {
        /// Good for one use and for [`CHALLENGE_TTL`](crate::limits::CHALLENGE_TTL).
        nonce: [u8; 32],
        /// The signed report (a DSSE envelope) whose digest the statement must hold.
        #[serde(with = "crate::bytes")]
        report: Vec<u8>,
    },
    /// A session is open.
    Session(Session),
    /// The signed report (a DSSE envelope).
    Report {
        /// The envelope, JSON.
        #[serde(with = "crate::bytes")]
        envelope: Vec<u8>,
    },
    /// The enclave's clock.
    Clock {
        /// Unix milliseconds.
        now_ms: u64,
    },
    /// A public key.
    PublicKey {
        /// The key.
        public_key: PublicKey,
        /// The binding that it was derived under.
        binding: Binding,
    },
    /// A signature.
    Signed(Box<Signed>),
    /// Receipts, oldest first, each with what it answered.
    Receipts(Vec<Signed>),
    /// Encrypted recovery shares.
    Shares(Vec<Vec<u8>>),
    /// The root, encrypted to another enclave.
    ExportedRoot(Vec<u8>),
    /// Refused, with a reason that is safe to log.
    Refused(Refusal),
    /// How far the audit log is.
    CheckpointBegun {
        /// The unlock era.
        era: u64,
        /// Receipts given in it; the next checkpoint must cover them.
        sequence: u64,
        /// Leaves that the enclave has taken, or, if it must be resumed first, those of the newest checkpoint.
        size: u64,
        /// Whether leaves are taken only after `AuditResume`.
        resume: bool,
    },
    /// A checkpoint of the audit log (a signed note).
    Checkpoint(#[serde(with = "crate::bytes")] Vec<u8>),
    /// An empty audit log is followed from now on, in place of the one with this head.
    LogBegun {
        /// Records of the log that is lost.
        size: u64,
        /// The root over them.
        root: TreeHash,
    },
}

/// A signature and its receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// `r ‖ s` or the Ed25519 signature; also inside the receipt.
    pub signature: Signature64,
    /// The key that verifies it.
    pub public_key: PublicKey,
    /// What an ECDSA signature is over; for Ed25519 the SHA-256 of the message, for reference.
    pub digest: [u8; 32],
    /// ES256K: the recovery id (0 to 3), adjusted for low S.
    pub recovery_id: Option<u8>,
    /// The enclave's record.
    pub receipt: SignedReceipt,
}

/// An open session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Session {
    /// Random, for receipts.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::SessionName"))]
    pub id: SessionId,
    /// The state that was attested.
    pub state: String,
    /// Its binding.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex32"))]
    pub binding: Binding,
    /// When the enclave ends it.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Time"))]
    pub expires_at: UnixTime,
    /// What the appraisal warned of.
    pub warnings: Vec<String>,
}

/// Where the enclave is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No sealed root.
    Unprovisioned,
    /// A sealed root on disk; nothing secret in memory.
    Locked,
    /// The root is in memory; signing needs an attested session.
    Unlocked,
    /// The root is in memory and a session is open.
    Attested,
}

/// How the enclave is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Status {
    /// Where it is in its life.
    pub phase: Phase,
    /// Its release.
    pub version: String,
    /// The deployment, once it has a manifest.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::schema::Deployment>"))]
    pub deployment: Option<DeploymentId>,
    /// The node's name in the manifest.
    pub node: Option<String>,
    /// The manifest in force.
    pub manifest: Option<ManifestStatus>,
    /// The unlock era: the TPM counter's value; 0 when there is none.
    pub era: u64,
    /// The newest era before this one in which something was signed; 0 when there is none.
    pub last_used_era: u64,
    /// Receipts given in this era.
    pub sequence: u64,
    /// The open session.
    pub session: Option<Session>,
    /// Whether no verified set of recovery shares exists: losing this TPM loses every key.
    pub unfunded: bool,
    /// Each protection as the enclave measured it.
    #[cfg_attr(feature = "openapi", schemars(with = "Vec<crate::schema::Protection>"))]
    pub protections: Vec<sealstone_attestation::Protection>,
}

/// The manifest in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ManifestStatus {
    /// Its version.
    pub version: u64,
    /// Its digest.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex32"))]
    pub digest: ManifestDigest,
    /// Who approves its successor.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex32"))]
    pub authority: AuthorityDigest,
}

/// A refusal: a stable code for programs, and a text for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why, stable.
    pub code: RefusalCode,
    /// Expected, found, what to do; never a secret.
    pub detail: String,
}

/// Why the enclave refuses. New codes go to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RefusalCode {
    /// The request does not decode or breaks a bound.
    Malformed,
    /// The signing queue is full; try again.
    Overloaded,
    /// A ceremony (provision, unlock, apply) is under way.
    Busy,
    /// Needs a provisioned enclave.
    Unprovisioned,
    /// Already provisioned.
    AlreadyProvisioned,
    /// Needs an unlocked enclave.
    Locked,
    /// Already unlocked.
    AlreadyUnlocked,
    /// Needs an attested session; attest and try again.
    NoSession,
    /// The quote did not pass; the detail names the failed check.
    AttestationFailed,
    /// No challenge is open: unknown, used or expired.
    NoChallenge,
    /// The manifest is not acceptable; the detail says why.
    ManifestRefused,
    /// The manifest's or state file's authority is not the pinned one.
    ForeignAuthority,
    /// The manifest is of another deployment.
    OtherDeployment,
    /// The manifest is older than the least version that the seal demands.
    ManifestRollback,
    /// Same version, other digest.
    ManifestConflict,
    /// This node is not enrolled under that name.
    NotEnrolled,
    /// The TPM answered with an error, which nobody authenticates.
    TpmError,
    /// The relay or the TPM lied: an authentication of a response failed.
    TpmNotAuthentic,
    /// The TPM is not the enrolled one, or not reached through the pinned key.
    TpmNotEnrolled,
    /// The agent did not relay in time, or could not reach the TPM.
    TpmUnreachable,
    /// The sealed blob and the TPM's counter disagree: an older state file, or a foreign counter.
    SealRollback,
    /// The TPM's PCRs are not those of an approved state, so the seal stays shut.
    SealStateMismatch,
    /// The state file cannot be read, parsed or written.
    StateFile,
    /// The recorded binding may not be used in this state.
    BindingRefused,
    /// The manifest does not permit this key, algorithm or kind of payload.
    NotPermitted,
    /// The derived key is not the recorded one.
    KeyMismatch,
    /// A session key's hour or issue time is not now.
    SessionKeyExpired,
    /// The payload does not suit the algorithm.
    PayloadUnsuitable,
    /// Not in this version.
    Unsupported,
    /// The enclave is wiping itself and ends.
    ShuttingDown,
    /// A bug, or a fault in memory or processor: a check of the enclave's own work failed.
    Internal,
    /// The audit log that is shown is not the one that the enclave knows; the detail says where they part.
    AuditMismatch,
    /// The audit log lacks receipts: too many for another signature, or one that a checkpoint must cover.
    AuditBehind,
}

impl RefusalCode {
    /// The code as it is written in problem documents and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "MALFORMED",
            Self::Overloaded => "OVERLOADED",
            Self::Busy => "BUSY",
            Self::Unprovisioned => "UNPROVISIONED",
            Self::AlreadyProvisioned => "ALREADY_PROVISIONED",
            Self::Locked => "LOCKED",
            Self::AlreadyUnlocked => "ALREADY_UNLOCKED",
            Self::NoSession => "NO_SESSION",
            Self::AttestationFailed => "ATTESTATION_FAILED",
            Self::NoChallenge => "NO_CHALLENGE",
            Self::ManifestRefused => "MANIFEST_REFUSED",
            Self::ForeignAuthority => "FOREIGN_AUTHORITY",
            Self::OtherDeployment => "OTHER_DEPLOYMENT",
            Self::ManifestRollback => "MANIFEST_ROLLBACK",
            Self::ManifestConflict => "MANIFEST_CONFLICT",
            Self::NotEnrolled => "NOT_ENROLLED",
            Self::TpmError => "TPM_ERROR",
            Self::TpmNotAuthentic => "TPM_NOT_AUTHENTIC",
            Self::TpmNotEnrolled => "TPM_NOT_ENROLLED",
            Self::TpmUnreachable => "TPM_UNREACHABLE",
            Self::SealRollback => "SEAL_ROLLBACK",
            Self::SealStateMismatch => "SEAL_STATE_MISMATCH",
            Self::StateFile => "STATE_FILE",
            Self::BindingRefused => "BINDING_REFUSED",
            Self::NotPermitted => "NOT_PERMITTED",
            Self::KeyMismatch => "KEY_MISMATCH",
            Self::SessionKeyExpired => "SESSION_KEY_EXPIRED",
            Self::PayloadUnsuitable => "PAYLOAD_UNSUITABLE",
            Self::Unsupported => "UNSUPPORTED",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::Internal => "INTERNAL",
            Self::AuditMismatch => "AUDIT_MISMATCH",
            Self::AuditBehind => "AUDIT_BEHIND",
        }
    }
}

impl std::fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
