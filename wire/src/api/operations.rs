//! What operators ask: pages of assets, reservations and what becomes of them, the rules in force.

use std::fmt;

use sealstone_attestation::{Binding, RequestDigest, Sha256Digest, UnixTime};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Asset;
use crate::{Epoch, PathText};

/// Which assets a list speaks for: it is whole if all three are true and no page follows. None has a default, so that a list
/// which does not say so is no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct AssetCover {
    /// Every tenant's: none was asked for, and the client may see all.
    pub every_tenant: bool,
    /// Of every age, retired ones too.
    pub every_age: bool,
    /// From the first asset on, not from a later page.
    pub from_start: bool,
}

/// Where a page of assets ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct AssetPlace {
    /// The last asset's tenant.
    pub after_tenant: PathText,
    /// Its name.
    pub after_asset: PathText,
}

/// `GET /v1/assets/{tenant}/{asset}/epochs`: one page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct EpochList {
    /// The asset in each of its epochs, from the oldest.
    pub epochs: Vec<Asset>,
    /// The epoch after which the next page begins; absent after the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Epoch>,
}

/// How a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ReservationState {
    /// Its answer is not known.
    Reserved,
    /// It was answered.
    Signed,
    /// Its nonce is never signed.
    Voided,
    /// A chain's re-organisation freed its nonce: another reservation may have it.
    Replaced,
}

impl fmt::Display for ReservationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One nonce that was given to a request: `GET /v1/reservations/{id}`, and an item of `GET /v1/reservations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ReservationBody {
    /// Its number.
    pub id: u64,
    /// Whose key.
    pub tenant: PathText,
    /// The asset; absent for session keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<PathText>,
    /// The sender of session keys; absent for an asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<PathText>,
    /// On which chain.
    pub chain_id: u64,
    /// What is spent.
    pub nonce: u64,
    /// 0 if it stands; those that were replaced count up from 1.
    pub generation: u64,
    /// The reservation of the same nonce that it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<u64>,
    /// How it stands.
    pub state: ReservationState,
    /// Digest of the canonical request.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex32"))]
    pub request: RequestDigest,
    /// Who asked; empty where an older release did not record it.
    pub client: String,
    /// Digest of the policy that let it through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::schema::Hex32>"))]
    pub policy: Option<Sha256Digest>,
    /// The asset's epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The hour of a session key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hour: Option<u64>,
    /// The binding of a session key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::schema::Hex32>"))]
    pub binding: Option<Binding>,
    /// The number of the node that reserved it.
    pub node: u64,
    /// The enclave's era then.
    pub era: u64,
    /// When.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Time"))]
    pub created_at: UnixTime,
    /// The receipt of its signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<NodeReceipt>,
}

/// Which receipt of which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct NodeReceipt {
    /// The node's number.
    pub node: u64,
    /// The unlock era.
    pub era: u64,
    /// The sequence within it.
    pub sequence: u64,
}

/// `GET /v1/reservations`: one page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ReservationList {
    /// In the order of their numbers.
    pub reservations: Vec<ReservationBody>,
    /// The number after which the next page begins; absent after the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Why an operator does something, as it stands in the audit log: 1 to 140 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OperatorReason(String);

impl OperatorReason {
    /// A sentence; a record's detail has room for it and for what it is about.
    pub const CHARS_MAX: usize = 140;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for OperatorReason {
    type Error = ReasonError;

    fn try_from(text: String) -> Result<Self, ReasonError> {
        match text.chars().count() {
            1..=Self::CHARS_MAX => Ok(Self(text)),
            found => Err(ReasonError { found }),
        }
    }
}

impl std::str::FromStr for OperatorReason {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, ReasonError> {
        Self::try_from(text.to_owned())
    }
}

impl From<OperatorReason> for String {
    fn from(reason: OperatorReason) -> Self {
        reason.0
    }
}

/// A reason that is none, or a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected a reason of 1 to {} characters, found {found}", OperatorReason::CHARS_MAX)]
pub struct ReasonError {
    /// Characters given.
    pub found: usize,
}

/// `POST /v1/reservations/{id}/void`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VoidBody {
    /// Why, for the audit log.
    pub reason: OperatorReason,
}

/// `POST /v1/nonces/release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReleaseBody {
    /// Whose key.
    pub tenant: PathText,
    /// The asset. Exactly one of `asset` and `session` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<PathText>,
    /// The sender of session keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<PathText>,
    /// On which chain.
    pub chain_id: u64,
    /// The first nonce.
    pub from: u64,
    /// The last nonce.
    pub to: u64,
    /// Why, for the audit log.
    pub reason: OperatorReason,
}

/// Answer to `POST /v1/nonces/release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Released {
    /// The reservations whose nonces are free now, in the order of their nonces.
    pub replaced: Vec<u64>,
}

/// `GET /v1/policy`: the rules in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct PolicyStatus {
    /// Of the policy.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex32"))]
    pub digest: Sha256Digest,
    /// Senders that it has rules for.
    pub senders: u64,
    /// Chains that it knows.
    pub chains: u64,
    /// Currencies that it knows.
    pub currencies: u64,
    /// Approvers that it knows.
    pub approvers: u64,
    /// Whether it signs only with a sanctions list.
    pub sanctions_required: bool,
    /// The sanctions list, if there is one.
    pub sanctions: Option<SanctionsStatus>,
    /// The prices, if there are any.
    pub prices: Option<PricesStatus>,
}

/// The sanctions list in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct SanctionsStatus {
    /// Of the file.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex32"))]
    pub digest: Sha256Digest,
    /// Entries.
    pub count: u64,
    /// When it was imported.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Time"))]
    pub imported_at: UnixTime,
}

/// The prices in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct PricesStatus {
    /// Of the file.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Hex32"))]
    pub digest: Sha256Digest,
    /// Currencies that have one.
    pub currencies: u64,
    /// When they were issued.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Time"))]
    pub issued_at: UnixTime,
    /// When they stop being true.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::schema::Time"))]
    pub expires_at: UnixTime,
}

/// Answer to `POST /v1/policy/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Reloaded {
    /// What is another than before; empty if no file was.
    pub replaced: Vec<RuleKind>,
    /// What is in force now.
    pub policy: PolicyStatus,
}

/// One part of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RuleKind {
    /// The policy.
    Policy,
    /// The sanctions list.
    Sanctions,
    /// The prices.
    Prices,
}

impl fmt::Display for RuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_sentence() {
        for (length, expected) in [(0, false), (1, true), (140, true), (141, false)] {
            let text = "é".repeat(length);
            assert_eq!(OperatorReason::try_from(text.clone()).is_ok(), expected, "{length}");
            let body = serde_json::json!({"reason": text}).to_string();
            assert_eq!(serde_json::from_str::<VoidBody>(&body).is_ok(), expected, "{length}");
        }
        assert!(serde_json::from_str::<VoidBody>("{}").is_err());
        assert!(serde_json::from_str::<VoidBody>("{\"reason\":\"r\",\"id\":1}").is_err());
    }
}
