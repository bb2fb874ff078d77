//! What the agent asks of the enclave.
//!
//! Encoded with postcard inside one Noise message. The order of variants is the format: new ones go to the
//! end, and a change of meaning raises [`PROTOCOL_VERSION`](crate::limits::PROTOCOL_VERSION).

use sealstone_attestation::{Binding, KeyId, QuoteEvidence, RequestDigest, audit::TreeHash};
use serde::{Deserialize, Serialize};

use crate::KeyPath;

/// One request with the number by which its replies are found again; replies may come out of order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestMessage {
    /// Chosen by the agent, unique among the requests that are open on this connection.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// What the agent may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// How is the enclave? Answered with [`Reply::Status`](crate::reply::Reply::Status).
    Status,
    /// One piece of a manifest envelope, in order from offset 0; at most
    /// [`MANIFEST_CHUNK_MAX`](crate::limits::MANIFEST_CHUNK_MAX) bytes. Answered with `Done`.
    ManifestChunk {
        /// Where in the envelope this piece begins; 0 begins anew.
        offset: u32,
        /// The piece.
        #[serde(with = "crate::bytes")]
        bytes: Vec<u8>,
    },
    /// Unprovisioned → unlocked: a root is born and sealed under the uploaded manifest, as this node.
    /// Relays TPM commands, then answers with `Status`.
    Provision {
        /// The node's name in the manifest.
        node: String,
        /// Where the TPM can be asked.
        tpm: TpmHints,
    },
    /// Locked → unlocked, which begins a new era. Relays TPM commands, then answers with `Status`.
    Unlock {
        /// Where the TPM can be asked.
        tpm: TpmHints,
    },
    /// Unlocked: verify the uploaded manifest as the successor of the current one and re-seal under it.
    /// Relays TPM commands, then answers with `Status`. Ends the session.
    ApplyManifest {
        /// Where the TPM can be asked.
        tpm: TpmHints,
    },
    /// The TPM's answer to the relayed command of a request that is still open.
    Relayed {
        /// The request that the command belongs to.
        to: u64,
        /// The step that was relayed.
        step: u32,
        /// The TPM's answer, at most [`TPM_FRAME_MAX`](crate::limits::TPM_FRAME_MAX) bytes; empty if the TPM
        /// could not be reached.
        #[serde(with = "crate::bytes")]
        response: Vec<u8>,
    },
    /// Fresh bytes for a session quote, with the report that the quote must bind.
    Challenge,
    /// The answer to the newest challenge: opens a session.
    Attest {
        /// The quote and the PCR values that it covers.
        quote: QuoteEvidence,
        /// The newest audit checkpoint that the statement binds, or empty. One that the enclave did not sign, or that is
        /// older than the newest that it had signed when it gave the challenge, is refused.
        checkpoint: Vec<u8>,
    },
    /// The signed report, for an auditor's evidence.
    Report,
    /// The enclave's clock, for the hour of a session key.
    Clock,
    /// The public key of a path.
    PublicKey {
        /// Which key.
        path: KeyPath,
        /// The recorded binding; `None` for the current state's, as for a new epoch or a session key.
        binding: Option<Binding>,
    },
    /// One signature.
    Sign(SignRequest),
    /// Receipts of this era from this sequence on, at most
    /// [`RECEIPTS_PER_REPLY`](crate::limits::RECEIPTS_PER_REPLY).
    Receipts {
        /// The first sequence wanted.
        from: u64,
    },
    /// Wipe root, PRKs and session; unlocked → locked. The sealed root stays.
    Lock,
    /// Split the root for recovery and encrypt one share to each recipient.
    ExportShares {
        /// Shares needed to recover.
        threshold: u8,
        /// Recipients' public keys.
        recipients: Vec<Recipient>,
    },
    /// Collect one share towards a recovered root.
    ImportShare {
        /// Encrypted to the recovery key that the enclave named.
        share: Vec<u8>,
    },
    /// Encrypt the root to another enclave of the same deployment, whose evidence is appraised first.
    ExportRoot {
        /// The other node's evidence, in pieces if it must be.
        evidence: Vec<u8>,
    },
    /// Take the root that another enclave exported to this one.
    ImportRoot {
        /// What the other enclave exported.
        sealed: Vec<u8>,
    },
    /// How far is the audit log in the enclave? What it gave receipts for until now must be in the log when the next
    /// checkpoint is signed. Answered with [`Reply::CheckpointBegun`](crate::reply::Reply::CheckpointBegun).
    ///
    /// Requests about the log are answered by whichever thread is free: who asks one waits for its answer before the
    /// next.
    CheckpointBegin,
    /// The next leaves of the audit log; all are taken, or none. Answered with `Done`.
    AuditLeaves {
        /// The index of the first: how many the enclave has taken.
        index: u64,
        /// Each leaf after its big-endian u16 length (an entry bundle of tlog-tiles), at most
        /// [`AUDIT_LEAVES_MAX`](crate::limits::AUDIT_LEAVES_MAX) bytes in all.
        #[serde(with = "crate::bytes")]
        leaves: Vec<u8>,
    },
    /// Sign the head of the log: these are the agent's size and root, which must be the enclave's. It is remembered on
    /// disk before it is answered, with [`Reply::Checkpoint`](crate::reply::Reply::Checkpoint).
    CheckpointSign {
        /// Leaves.
        size: u64,
        /// The root over them.
        root: TreeHash,
    },
    /// Go on from the newest checkpoint that was signed: after an unlock, or to drop leaves that were taken since.
    /// Answered with [`Reply::Checkpoint`](crate::reply::Reply::Checkpoint) for the same size and root.
    AuditResume {
        /// That checkpoint; empty if its answer was lost.
        #[serde(with = "crate::bytes")]
        checkpoint: Vec<u8>,
        /// The roots of the whole subtrees of a tree of its size, largest first.
        frontier: Vec<TreeHash>,
    },
    /// The log that the enclave remembers is lost for good: follow an empty one, which must say so before its head is
    /// signed. Only until a log was shown after an unlock. Answered with
    /// [`Reply::LogBegun`](crate::reply::Reply::LogBegun).
    AuditBeginAnew,
}

/// What the agent knows of the TPM: conveniences, never trusted. A wrong handle makes a session fail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmHints {
    /// A persistent handle of the endorsement key; without one the enclave has it created.
    pub ek_handle: Option<u32>,
}

/// A recipient of a recovery share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Who.
    pub name: String,
    /// An X25519 public key (RFC 9180 base mode).
    pub public_key: [u8; 32],
}

/// One signature, judged and reserved by the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignRequest {
    /// Which key.
    pub path: KeyPath,
    /// The binding recorded with the asset's epoch; for a session key the current state's.
    pub binding: Binding,
    /// The key id recorded with the asset's epoch; a derived key that differs is refused. `None` only for
    /// session keys, which are new each time.
    pub key_id: Option<KeyId>,
    /// What is signed.
    pub payload: Payload,
    /// Digest of the client's canonical request; goes into the receipt.
    pub request: RequestDigest,
    /// For a session key: when the agent asked the enclave's clock, in Unix milliseconds; the hour of the path
    /// must be its hour, and it must not be older than
    /// [`SESSION_REQUEST_TTL`](crate::limits::SESSION_REQUEST_TTL).
    pub issued_at_ms: Option<u64>,
}

/// What is signed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// A message: hashed with SHA-256 inside for ECDSA, signed itself for Ed25519.
    Message(#[serde(with = "crate::bytes")] Vec<u8>),
    /// A message: hashed with Keccak-256 inside. ECDSA only.
    MessageKeccak(#[serde(with = "crate::bytes")] Vec<u8>),
    /// A bare digest, by permission only. ECDSA only.
    Digest([u8; 32]),
}

impl std::fmt::Debug for Payload {
    /// Sizes only: payloads belong to clients, not to logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(bytes) => write!(f, "Message({} bytes)", bytes.len()),
            Self::MessageKeccak(bytes) => write!(f, "MessageKeccak({} bytes)", bytes.len()),
            Self::Digest(_) => f.write_str("Digest(32 bytes)"),
        }
    }
}
