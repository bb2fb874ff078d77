//! One case of `sealstone policy test`: a request, and what the policy must say of it.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::{Signer as _, SigningKey};
use sealstone_attestation::{Algorithm, PublicKey, RequestDigest, Signature64, UnixTime};
use sealstone_policy::address::address_of;
use sealstone_policy::amount::Amount;
use sealstone_policy::approvals::approval_message;
use sealstone_policy::decode::{DecodeError, decode};
use sealstone_policy::engine::{
    Approval, Declared, Lists, Reason, ReasonCode, Request, Signer, UnknownReasonCode, judge,
};
use sealstone_policy::facts::{Address, Facts, Format};
use sealstone_policy::rules::Policy;
use sealstone_wire::PathText;
use serde::Deserialize;

use crate::failure::{Failure, chain};
use crate::files::random_bytes;

/// What a file of cases holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cases {
    /// At least one.
    pub(super) cases: Vec<Case>,
}

/// One of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// For people.
    pub(super) name: String,
    /// What the policy must say.
    pub(super) expect: Expected,
    /// Every reason for a refusal, in any order.
    #[serde(default)]
    pub(super) codes: BTreeSet<CaseCode>,
    request: CaseRequest,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum CaseCode {
    /// The payload is none of its format, which the agent finds before it asks the policy.
    PayloadMalformed,
    /// By the policy.
    Policy(ReasonCode),
}

impl CaseCode {
    /// As the agent says it, too.
    pub(super) const PAYLOAD_MALFORMED: &str = "PAYLOAD_MALFORMED";

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PayloadMalformed => Self::PAYLOAD_MALFORMED,
            Self::Policy(code) => code.name(),
        }
    }
}

impl TryFrom<String> for CaseCode {
    type Error = UnknownReasonCode;

    fn try_from(text: String) -> Result<Self, UnknownReasonCode> {
        if text == Self::PAYLOAD_MALFORMED {
            Ok(Self::PayloadMalformed)
        } else {
            text.parse().map(Self::Policy)
        }
    }
}

/// One reason to refuse a case's request.
#[derive(Clone, Debug)]
pub(super) struct CaseReason {
    pub(super) code: CaseCode,
    pub(super) detail: String,
}

impl From<Reason> for CaseReason {
    fn from(Reason { code, detail }: Reason) -> Self {
        Self { code: CaseCode::Policy(code), detail }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Expected {
    Accepted,
    Refused,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseRequest {
    tenant: PathText,
    asset: Option<PathText>,
    session: Option<PathText>,
    chain_id: u64,
    nonce: u64,
    time: UnixTime,
    /// What the payload does; or
    facts: Option<Facts>,
    /// the payload itself (hex),
    payload: Option<String>,
    /// its format,
    format: Option<Format>,
    /// and who signs it: an address, or a public key from which the address is made.
    sender: Option<CaseSender>,
    recipient: Option<Address>,
    amount: Option<Amount>,
    currency: Option<String>,
    #[serde(default)]
    old_epoch: bool,
    /// Approvers who are taken to have signed.
    #[serde(default)]
    approved_by: Vec<String>,
    /// What the sender's windows hold, by their names; those that are not named hold nothing.
    #[serde(default)]
    used: BTreeMap<String, Amount>,
}

/// Who signs a case's payload.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum CaseSender {
    Key { algorithm: Algorithm, public_key: String },
    Address(Address),
}

impl CaseSender {
    fn address(&self, format: Format) -> Result<Address, String> {
        match self {
            Self::Address(address) => Ok(address.clone()),
            Self::Key { algorithm, public_key } => {
                let bytes = hex::decode(public_key)
                    .map_err(|error| format!("expected a public key in hex: {error}"))?;
                let key = PublicKey::from_bytes(*algorithm, &bytes).map_err(|error| chain(&error))?;
                address_of(format, &key).map_err(|error| chain(&error))
            }
        }
    }
}

/// Keys that stand in for those of a policy's approvers, so that cases need no signatures.
pub(super) struct StandIns(BTreeMap<String, SigningKey>);

impl StandIns {
    /// Makes one for each approver, and the policy that knows them.
    pub(super) fn take_over(policy: Policy) -> Result<(Self, Policy), Failure> {
        let mut keys = BTreeMap::new();
        for name in policy.approvers().keys() {
            let mut seed = [0; 32];
            random_bytes(&mut seed)?;
            keys.insert(name.clone(), SigningKey::from_bytes(&seed));
        }
        let public =
            keys.iter().map(|(name, key)| (name.clone(), PublicKey::from(&key.verifying_key()))).collect();
        let policy = policy.danger_with_approvers(&public);
        Ok((Self(keys), policy))
    }

    /// An approval; by a name that the policy does not know, one that does not verify.
    fn approve(&self, approver: &str, request: &RequestDigest) -> Approval {
        let signature = self.0.get(approver).zip(approval_message(approver, request));
        let signature = signature.map_or([0; 64], |(key, message)| key.sign(&message).to_bytes());
        Approval { approver: approver.to_owned(), signature: Signature64::from_bytes(signature) }
    }
}

impl Case {
    /// Every reason to refuse the request, those of the sender's past included.
    pub(super) fn reasons(
        &self,
        policy: &Policy,
        lists: &Lists<'_>,
        keys: &StandIns,
    ) -> Result<Vec<CaseReason>, Failure> {
        let facts = match self.facts() {
            Ok(facts) => facts,
            Err(Unread::Refused(reason)) => return Ok(vec![reason]),
            Err(Unread::NotACase(detail)) => return Err(super::test::not_a_case(&self.name, &detail)),
        };
        let CaseRequest {
            tenant,
            asset,
            session,
            chain_id,
            nonce,
            time,
            facts: _,
            payload: _,
            format: _,
            sender: _,
            recipient,
            amount,
            currency,
            old_epoch,
            approved_by,
            used,
        } = &self.request;
        let signer = match (asset, session) {
            (Some(asset), None) => Signer::Asset(asset),
            (None, Some(sender)) => Signer::Session(sender),
            _ => {
                return Err(super::test::not_a_case(
                    &self.name,
                    "expected one of asset and session, found both or neither",
                ));
            }
        };
        let digest = RequestDigest::of(self.name.as_bytes());
        let approvals: Vec<Approval> = approved_by.iter().map(|name| keys.approve(name, &digest)).collect();
        let request = Request {
            tenant,
            signer,
            chain_id: *chain_id,
            nonce: *nonce,
            declared: Declared {
                recipient: recipient.as_ref(),
                amount: amount.as_ref(),
                currency: currency.as_deref(),
            },
            old_epoch: *old_epoch,
            facts: &facts,
            request: digest,
            approvals: &approvals,
            now: *time,
        };
        match judge(policy, &request, lists).outcome {
            Err(reasons) => Ok(reasons.into_iter().map(CaseReason::from).collect()),
            Ok(demands) => {
                let nothing = Amount::ZERO;
                let held = |window: &str| used.get(window).unwrap_or(&nothing);
                let refused = demands.iter().filter_map(|demand| demand.check(held(&demand.window)).err());
                Ok(refused.map(CaseReason::from).collect())
            }
        }
    }

    /// What the payload does, as the case says or as it is read.
    fn facts(&self) -> Result<Facts, Unread> {
        let CaseRequest { facts, payload, format, sender, recipient, .. } = &self.request;
        let not_a_case = |detail: &str| Unread::NotACase(detail.to_owned());
        let (payload, format, sender) = match (facts, payload, format, sender) {
            (Some(facts), None, None, None) => return Ok(facts.clone()),
            (None, Some(payload), Some(format), Some(sender)) => (payload, *format, sender),
            _ => {
                return Err(not_a_case(
                    "expected either facts, or format, payload and sender, found another mixture",
                ));
            }
        };
        let bytes = hex::decode(payload)
            .map_err(|error| not_a_case(&format!("expected a payload in hex: {error}")))?;
        let sender = sender.address(format).map_err(Unread::NotACase)?;
        decode(format, &bytes, &sender, recipient.as_slice()).map_err(|error| {
            let code = match error {
                DecodeError::SenderMismatch { .. } => CaseCode::Policy(ReasonCode::PayloadMismatch),
                _ => CaseCode::PayloadMalformed,
            };
            Unread::Refused(CaseReason { code, detail: error.to_string() })
        })
    }
}

/// Why a payload has no facts.
enum Unread {
    /// The agent would refuse it for this reason.
    Refused(CaseReason),
    /// The case cannot be tried.
    NotACase(String),
}
