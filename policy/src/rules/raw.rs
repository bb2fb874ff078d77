//! The shape of a policy's TOML, before anything in it is believed.

use std::collections::BTreeMap;

use sealstone_attestation::{AuthoritySet, PublicKey};
use sealstone_wire::PathText;
use serde::Deserialize;

use super::currency::Reference;
use super::span::Span;
use super::window::RawTimeWindow;
use crate::amount::Amount;

/// A TOML table of names that its author chose. TOML itself refuses a name twice.
pub(super) type Table<T> = BTreeMap<String, T>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub(super) version: u32,
    pub(super) sanctions: Screening,
    pub(super) reference: Option<Reference>,
    pub(super) prices: Option<AuthoritySet>,
    pub(super) chains: Table<String>,
    #[serde(default)]
    pub(super) currencies: Table<String>,
    #[serde(default)]
    pub(super) approvers: Table<PublicKey>,
    #[serde(default)]
    pub(super) senders: Vec<RawSender>,
}

/// Whether recipients must be looked up in the sanctions list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Screening {
    Required,
    Off,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSender {
    pub(super) tenant: PathText,
    pub(super) asset: Option<PathText>,
    pub(super) session: Option<PathText>,
    pub(super) chains: Vec<String>,
    #[serde(default)]
    pub(super) currencies: Vec<String>,
    #[serde(default)]
    pub(super) allow_opaque: bool,
    #[serde(default)]
    pub(super) allow_unknown_calls: bool,
    #[serde(default)]
    pub(super) allow_old_epochs: bool,
    #[serde(default)]
    pub(super) allow_allowances: bool,
    pub(super) sanctions: Option<Screening>,
    pub(super) transaction: Option<Table<Amount>>,
    #[serde(default)]
    pub(super) rolling: Vec<RawRolling>,
    #[serde(default)]
    pub(super) velocity: Vec<RawVelocity>,
    pub(super) recipients: Option<RawRecipients>,
    pub(super) fee: Option<Table<Amount>>,
    #[serde(default)]
    pub(super) windows: Vec<RawTimeWindow>,
    #[serde(default)]
    pub(super) approvals: Vec<RawApprovals>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRolling {
    pub(super) over: Span,
    pub(super) amounts: Table<Amount>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawVelocity {
    pub(super) over: Span,
    pub(super) count: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRecipients {
    pub(super) allow: Option<Vec<String>>,
    #[serde(default)]
    pub(super) deny: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApprovals {
    pub(super) above: Option<Table<Amount>>,
    pub(super) threshold: u8,
    pub(super) of: Vec<String>,
}
