//! One case of `sealstone policy test`: a request, and what the policy must say of it.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer as _, SigningKey};
use sealstone_attestation::{PublicKey, RequestDigest, Signature64, UnixTime};
use sealstone_policy::amount::Amount;
use sealstone_policy::approvals::approval_message;
use sealstone_policy::engine::{Approval, Declared, Lists, Reason, ReasonCode, Request, Signer, judge};
use sealstone_policy::facts::{Address, Facts};
use sealstone_policy::rules::Policy;
use sealstone_wire::PathText;
use serde::Deserialize;

use crate::failure::Failure;
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
    pub(super) codes: Vec<ReasonCode>,
    request: CaseRequest,
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
    facts: Facts,
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
    ) -> Result<Vec<Reason>, Failure> {
        let CaseRequest {
            tenant,
            asset,
            session,
            chain_id,
            nonce,
            time,
            facts,
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
            facts,
            request: digest,
            approvals: &approvals,
            now: *time,
        };
        match judge(policy, &request, lists).outcome {
            Err(reasons) => Ok(reasons),
            Ok(demands) => {
                let nothing = Amount::ZERO;
                let held = |window: &str| used.get(window).unwrap_or(&nothing);
                Ok(demands.iter().filter_map(|demand| demand.check(held(&demand.window)).err()).collect())
            }
        }
    }
}
