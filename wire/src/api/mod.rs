//! What clients say to the agent over HTTP: JSON bodies of `docs/api.md`.
//!
//! Bytes are lower-case hex. Unknown fields are refused, so that a misspelt limit never goes unnoticed.

mod audit;
mod operations;
mod status;

use sealstone_attestation::{
    Algorithm, Binding, KeyId, PcrValues, PublicArea, PublicKey, RequestDigest, Signature64, UnixTime,
};
use serde::{Deserialize, Serialize};

#[cfg(feature = "openapi")]
pub use crate::schema::{AlgorithmName, Hex32, KeyThumbprint, RecordKindName, Time};
use crate::{Epoch, PathText};
pub use audit::{AuditEntry, AuditPage};
pub use operations::{
    AssetCover, AssetPlace, EpochList, NodeReceipt, OperatorReason, PolicyStatus, PricesStatus, ReasonError,
    ReleaseBody, Released, Reloaded, ReservationBody, ReservationList, ReservationState, RuleKind,
    SanctionsStatus, VoidBody,
};
pub use status::{CheckpointStatus, LogStatus, NodeStatus, Reason, RulesStatus, StoreStatus, TpmStatus};

/// Media type of error bodies (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// `POST /v1/sign`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SignBody {
    /// Who owns the key.
    pub tenant: PathText,
    /// The asset that signs. Exactly one of `asset` and `session` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<PathText>,
    /// A key for this one use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionKey>,
    /// The chain on which the nonce counts; 0 where there is none.
    #[serde(default)]
    pub chain_id: u64,
    /// Spent by this signature: one nonce of one sender on one chain signs one payload, ever.
    pub nonce: u64,
    /// The message, hex. Exactly one of `payload` and `digest` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::schema::HexPayload>"))]
    pub payload: Option<String>,
    /// A bare 32-byte digest, hex; needs a permission in the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::schema::HexDigest>"))]
    pub digest: Option<String>,
    /// How an ECDSA message is hashed; if absent, as the format demands: Keccak-256 for EVM, else SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<HashName>,
    /// How the payload is read. What it says decides, not what is declared beside it.
    #[serde(default)]
    pub format: PayloadFormat,
    /// An earlier epoch of the asset; needs a permission of the policy. The newest if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Who receives, in the chain's own text; the payload must say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// How much, in the currency's smallest unit: decimal digits as text. The payload must say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// Of which currency, by the policy's name for it; the payload must say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Who approved this very request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalBody>,
}

/// How a payload is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PayloadFormat {
    /// Not at all: the policy must permit it.
    #[default]
    Opaque,
    /// What the signature of an Ethereum transaction is over (EIP-155, EIP-2930, EIP-1559).
    Evm,
    /// A Solana message, legacy or version 0.
    Solana,
}

/// One approver's signature over a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApprovalBody {
    /// The approver's name in the policy.
    pub approver: String,
    /// Over `lp("sealstone/approval/v1") ‖ lp(approver) ‖ request digest`: 64 bytes, hex.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex64"))]
    pub signature: Signature64,
}

/// The sender's side of a session key's path; chain id and nonce come from the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SessionKey {
    /// Who sends.
    pub sender: PathText,
    /// What the key signs with.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::api::AlgorithmName"))]
    pub algorithm: Algorithm,
}

/// How an ECDSA message is hashed. Ed25519 signs the message itself and takes only the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum HashName {
    /// FIPS 180-4.
    #[default]
    Sha256,
    /// As Ethereum hashes.
    Keccak256,
}

/// Answer to `POST /v1/sign`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct SignAnswer {
    /// `r ‖ s` or the Ed25519 signature: 64 bytes, hex.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex64"))]
    pub signature: Signature64,
    /// The same as DER (`ECDSA-Sig-Value`), hex; absent for Ed25519, which has no DER form.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::schema::Hex>"))]
    pub der: Option<String>,
    /// SEC1 compressed or raw Ed25519, hex.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex"))]
    pub public_key: String,
    /// RFC 7638 thumbprint.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::KeyThumbprint"))]
    pub key_id: KeyId,
    /// What signed.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::api::AlgorithmName"))]
    pub algorithm: Algorithm,
    /// The asset's epoch; absent for a session key.
    pub epoch: Option<Epoch>,
    /// The hour of a session key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hour: Option<u64>,
    /// The binding that the key was derived under.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex32"))]
    pub binding: Binding,
    /// What an ECDSA signature is over (hex, 32 bytes); for Ed25519 the message's SHA-256, for reference.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex32"))]
    pub digest: String,
    /// ES256K only: 0 to 3, adjusted for low S.
    pub recovery_id: Option<u8>,
    /// Which signer signed: `enclave`, or a Transit route's name.
    pub signer: String,
    /// The end of the attested session in which the signature was made.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Time"))]
    pub attested_until: UnixTime,
    /// Names the reservation; the same request again has the same id and the same answer.
    pub request_id: String,
    /// Digest of the canonical request, as it stands in the receipt.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex32"))]
    pub request_digest: RequestDigest,
    /// The enclave's receipt: era and sequence.
    pub receipt: ReceiptName,
    /// No verified set of recovery shares exists for this key's root.
    pub unfunded: bool,
}

/// Which receipt records a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ReceiptName {
    /// The unlock era.
    pub era: u64,
    /// The sequence within it.
    pub sequence: u64,
}

/// `POST /v1/assets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AssetBody {
    /// Who owns the asset.
    pub tenant: PathText,
    /// Its name, unique in the tenant.
    pub asset: PathText,
    /// What its key signs with.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::api::AlgorithmName"))]
    pub algorithm: Algorithm,
}

/// One asset: answer to `POST /v1/assets`, `POST /v1/assets/{tenant}/{asset}/rotate` and
/// `GET /v1/keys/{tenant}/{asset}`, and an item of `GET /v1/assets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Asset {
    /// Who owns the asset.
    pub tenant: PathText,
    /// Its name.
    pub asset: PathText,
    /// What its key signs with.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::api::AlgorithmName"))]
    pub algorithm: Algorithm,
    /// Which generation of its key.
    pub epoch: Epoch,
    /// The binding recorded when the epoch began.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex32"))]
    pub binding: Binding,
    /// RFC 7638 thumbprint.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::KeyThumbprint"))]
    pub key_id: KeyId,
    /// SEC1 compressed or raw Ed25519, hex.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex"))]
    pub public_key: String,
    /// The public key as a JWK (RFC 7517).
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Jwk"))]
    pub jwk: serde_json::Value,
    /// When this epoch began.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Time"))]
    pub since: UnixTime,
    /// When the asset was retired: then nothing new is signed with it. Absent while it is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::schema::Time>"))]
    pub retired_at: Option<UnixTime>,
    /// No verified set of recovery shares exists for this key's root.
    pub unfunded: bool,
}

/// `GET /v1/assets`: one page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct AssetList {
    /// Ordered by tenant, then asset, as bytes.
    pub assets: Vec<Asset>,
    /// What the next page is asked for with; absent after the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<AssetPlace>,
    /// Which assets the page speaks for.
    pub covers: AssetCover,
}

/// `GET /v1/keys/session?tenant&sender&chain_id&nonce&algorithm`: the session key of this hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct SessionPublicKey {
    /// RFC 7638 thumbprint.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::KeyThumbprint"))]
    pub key_id: KeyId,
    /// SEC1 compressed or raw Ed25519, hex.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex"))]
    pub public_key: String,
    /// The public key as a JWK.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Jwk"))]
    pub jwk: serde_json::Value,
    /// The hour that it is for.
    pub hour: u64,
    /// The current state's binding.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex32"))]
    pub binding: Binding,
}

/// `GET /v1/enrolment`: what a manifest needs to know of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Enrolment {
    /// The endorsement key (TPMT_PUBLIC, hex).
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex"))]
    pub ek: PublicArea,
    /// The attestation key (TPMT_PUBLIC, hex).
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex"))]
    pub ak: PublicArea,
    /// The EK certificate from the TPM's NV, DER as hex, if it has one for this key.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::schema::Hex>"))]
    pub ek_certificate: Option<String>,
    /// All PCRs of the SHA-2 banks as they are now.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Pcrs"))]
    pub pcrs: PcrValues,
    /// Of the TPM, as its quotes name it.
    pub firmware_version: u64,
}

/// Body of `POST /v1/enrolment/activate`: a credential (TPM2_ActivateCredential, TPM 2.0 Part 3, section 12.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ActivateAsk {
    /// The content of `TPM2B_ID_OBJECT`, hex.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex"))]
    pub credential: String,
    /// The content of `TPM2B_ENCRYPTED_SECRET`, hex.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex"))]
    pub encrypted_seed: String,
}

/// Answer to `POST /v1/enrolment/activate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Activated {
    /// What was inside the credential, hex: for the authority that made it.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex"))]
    pub secret: String,
}

/// An RFC 9457 problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Problem {
    /// `urn:sealstone:problem:<code in lower case>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short, the same for each code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Expected, found, what to do.
    pub detail: String,
    /// Stable, for programs.
    pub code: String,
    /// The HTTP request, as in the agent's log.
    pub request_id: String,
    /// Of a refusal by policy: every reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<ReasonBody>,
}

/// One reason of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ReasonBody {
    /// Stable.
    pub code: String,
    /// Expected, found.
    pub detail: String,
}

/// Answer to `POST /v1/sign?dry_run=true`: what would happen now. Nothing is reserved, signed or recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct DryRun {
    /// Whether it would be signed, as far as rules decide.
    pub allowed: bool,
    /// Why not; empty if it would be.
    pub reasons: Vec<ReasonBody>,
    /// Digest of the policy that judged.
    pub policy: String,
    /// Digest of the canonical request, which approvers sign.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex32"))]
    pub request_digest: RequestDigest,
    /// The address that would sign, where the format has addresses.
    pub address: Option<String>,
    /// What the payload was read to do.
    pub facts: serde_json::Value,
}

impl SignAnswer {
    /// Writes a public key as answers do.
    #[must_use]
    pub fn public_key_hex(key: &PublicKey) -> String {
        hex::encode(key.as_bytes())
    }
}
