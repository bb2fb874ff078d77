//! How much: sums over a payload, and every rule about them.
//!
//! What a transaction may cost counts like what it moves: an amount rule bounds what can leave the sender.

use std::collections::{BTreeMap, BTreeSet};

use sealstone_attestation::UnixTime;

use super::demand::Demand;
use super::reason::ReasonCode;
use super::reasons::Reasons;
use super::request::Request;
use crate::amount::Amount;
use crate::facts::CurrencyId;
use crate::prices::Prices;
use crate::rules::{Amounts, Policy, SenderRules};

/// Seconds of a day, whose limits have a code of their own.
const DAY: u32 = 24 * 3600;

/// What leaves the sender.
pub(super) struct Totals<'a> {
    /// By the policy's name: movements and the fee.
    currencies: BTreeMap<&'a str, Amount>,
    /// All of that together; `None` if no rule asks, or if it cannot be known, which is a reason to refuse.
    reference: Option<Amount>,
    /// What of that is the fee; `None` if it cannot be read.
    fee: Option<FeeFound<'a>>,
}

struct FeeFound<'a> {
    currency: &'a CurrencyId,
    /// The policy's name of its currency.
    name: Option<&'a str>,
    amount: &'a Amount,
    /// In the reference currency; `None` if no rule asks or it cannot be known.
    reference: Option<Amount>,
}

impl<'a> Totals<'a> {
    /// Adds up, and refuses what cannot be added up.
    pub(super) fn of(
        policy: &'a Policy,
        rules: &SenderRules,
        request: &'a Request<'_>,
        prices: Option<&Prices>,
        reasons: &mut Reasons,
    ) -> Self {
        let mut currencies: BTreeMap<&str, Amount> = BTreeMap::new();
        for movement in &request.facts.movements {
            let Some(name) = policy.currency_name(&movement.currency) else {
                if !rules.takes_anything() {
                    let detail =
                        format!("expected a currency that the policy names, found {}", movement.currency);
                    reasons.push(ReasonCode::CurrencyUnknown, detail);
                }
                continue;
            };
            if !rules.currencies.contains(name) && !rules.takes_anything() {
                let detail = format!("expected a currency of the entry, found {name}");
                reasons.push(ReasonCode::CurrencyNotAllowed, detail);
            }
            let sum = currencies.entry(name).or_default();
            *sum = sum.plus(&movement.amount);
        }
        let mut fee = request.facts.fee.as_ref().map(|fee| FeeFound {
            currency: &fee.currency,
            name: policy.currency_name(&fee.currency),
            amount: &fee.amount,
            reference: None,
        });
        let in_reference = rules.amount_rules().any(|amounts| amounts.reference.is_some());
        let mut worth = |amounts: &[(&str, &Amount)]| worth(policy, request.now, prices, amounts, reasons);
        if let Some(FeeFound { name: Some(name), amount, reference, .. }) = &mut fee {
            let sum = currencies.entry(*name).or_default();
            *sum = sum.plus(amount);
            if rules.fee.as_ref().is_some_and(|fee| fee.reference.is_some()) {
                *reference = worth(&[(*name, *amount)]);
            }
        }
        let mut reference = None;
        if in_reference {
            let amounts: Vec<_> = currencies.iter().map(|(name, amount)| (*name, amount)).collect();
            reference = worth(&amounts);
            if let Some(FeeFound { name: None, currency, .. }) = fee {
                let detail = format!("expected a fee in a currency that the policy names, found {currency}");
                reasons.push(ReasonCode::CurrencyUnknown, detail);
            }
        }
        Self { currencies, reference, fee }
    }

    /// Limits of one transaction, and of its fee.
    pub(super) fn check(&self, rules: &SenderRules, reasons: &mut Reasons) {
        if let Some(limits) = &rules.transaction {
            for (what, found, limit) in self.against(limits) {
                if found > limit {
                    let detail =
                        format!("{what}: expected at most {limit} in one transaction, found {found}");
                    reasons.push(ReasonCode::TransactionLimitExceeded, detail);
                }
            }
        }
        match &rules.fee {
            Some(limits) => self.check_fee(limits, reasons),
            None => self.check_bounded_fee(rules, reasons),
        }
    }

    /// An entry that bounds what leaves the sender, or to whom, bounds the fee as well: whoever makes blocks may be the
    /// thief.
    fn check_bounded_fee(&self, rules: &SenderRules, reasons: &mut Reasons) {
        let Some(FeeFound { currency, name, amount, .. }) = &self.fee else { return };
        let bounds = rules.amount_rules().next().is_some() || rules.allowed.is_some();
        let covered = name.is_some_and(|name| rules.amount_rules().any(|amounts| amounts.covers(name)));
        if bounds && !covered && **amount != Amount::ZERO {
            let detail = format!(
                "expected a rule about the fee, or an amount rule for {currency}, in an entry with rules about amounts or \
                 recipients, found none for a fee of up to {amount}"
            );
            reasons.push(ReasonCode::FeeTooHigh, detail);
        }
    }

    fn check_fee(&self, limits: &Amounts, reasons: &mut Reasons) {
        let Some(FeeFound { currency, name, amount, reference }) = &self.fee else {
            reasons.push(ReasonCode::FeeTooHigh, "expected a fee that can be read, found none");
            return;
        };
        let limit = name.and_then(|name| limits.currencies.get(name));
        if limit.is_none() && (name.is_none() || limits.reference.is_none()) {
            let detail = format!("expected a fee in a currency that the fee rule covers, found {currency}");
            reasons.push(ReasonCode::FeeTooHigh, detail);
        }
        if let Some(limit) = limit.filter(|limit| amount > limit) {
            let detail = format!("expected a fee of at most {limit} of {currency}, found {amount}");
            reasons.push(ReasonCode::FeeTooHigh, detail);
        }
        if let (Some(found), Some(limit)) = (reference, &limits.reference)
            && found > limit
        {
            let detail =
                format!("expected a fee worth at most {limit} of the reference currency, found {found}");
            reasons.push(ReasonCode::FeeTooHigh, detail);
        }
    }

    /// Whether enough people approved.
    pub(super) fn check_approvals(
        &self,
        rules: &SenderRules,
        approvers: &BTreeSet<&str>,
        reasons: &mut Reasons,
    ) {
        for rule in &rules.approvals {
            let needed = match &rule.above {
                None => true,
                Some(above) => self.against(above).any(|(_, found, limit)| found > limit),
            };
            let found = rule.of.iter().filter(|name| approvers.contains(name.as_str())).count();
            let expected = usize::from(rule.threshold);
            if needed && found < expected {
                let names: Vec<&str> = rule.of.iter().map(String::as_str).collect();
                let detail = format!(
                    "expected {expected} approvals by {}, found {found}; {} more needed",
                    names.join(", "),
                    expected - found
                );
                reasons.push(ReasonCode::ApprovalsMissing, detail);
            }
        }
    }

    /// What the sender's past must leave room for.
    pub(super) fn demands(&self, rules: &SenderRules) -> Vec<Demand> {
        let mut demands = Vec::new();
        for rule in &rules.rolling {
            let seconds = rule.over.seconds();
            let code = if seconds == DAY {
                ReasonCode::DailyLimitExceeded
            } else {
                ReasonCode::RollingLimitExceeded
            };
            for (what, add, limit) in self.against(&rule.amounts) {
                // Who moves nothing of a currency is not held up by what was moved before.
                if *add > Amount::ZERO {
                    let (add, limit) = (add.clone(), limit.clone());
                    demands.push(Demand { window: format!("{what}:{seconds}"), seconds, add, limit, code });
                }
            }
        }
        for rule in &rules.velocity {
            let seconds = rule.over.seconds();
            demands.push(Demand {
                window: format!("count:{seconds}"),
                seconds,
                add: Amount::from(1_u64),
                limit: Amount::from(u64::from(rule.count)),
                code: ReasonCode::VelocityExceeded,
            });
        }
        demands
    }

    /// Each of some amounts beside what this request has of it: `amount:USDC` or `reference`, found, limit.
    fn against<'s>(&'s self, limits: &'s Amounts) -> impl Iterator<Item = (String, &'s Amount, &'s Amount)> {
        let currencies = limits.currencies.iter().filter_map(|(name, limit)| {
            self.currencies.get(name.as_str()).map(|found| (format!("amount:{name}"), found, limit))
        });
        let reference = self
            .reference
            .iter()
            .zip(&limits.reference)
            .map(|(found, limit)| ("reference".to_owned(), found, limit));
        currencies.chain(reference)
    }
}

/// What amounts are worth together; `None`, with a reason, if that cannot be known. Nothing needs no price.
fn worth(
    policy: &Policy,
    now: UnixTime,
    prices: Option<&Prices>,
    amounts: &[(&str, &Amount)],
    reasons: &mut Reasons,
) -> Option<Amount> {
    let prices = prices.ok_or_else(|| "expected prices, found none loaded".to_owned());
    let usable = prices.and_then(|prices| prices.usable(policy, now).map(|()| prices));
    let mut sum = Some(Amount::ZERO);
    for (name, amount) in amounts.iter().filter(|(_, amount)| **amount > Amount::ZERO) {
        let worth = match &usable {
            Ok(prices) => {
                prices.worth(name, amount).ok_or_else(|| format!("expected a price of {name}, found none"))
            }
            Err(detail) => Err(detail.clone()),
        };
        match worth {
            Ok(worth) => sum = sum.map(|sum| sum.plus(&worth)),
            Err(detail) => {
                reasons.push(ReasonCode::PriceUnavailable, detail);
                sum = None;
            }
        }
    }
    sum
}
