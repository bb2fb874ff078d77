//! What one sender may do.

use std::collections::BTreeSet;

use crate::address::AddressError;
use crate::facts::{Address, Format};

use super::chain::Chain;
use super::currency::{Amounts, Currencies};
use super::error::{PolicyError, bounded, quoted};
use super::raw::{RawApprovals, RawRecipients, RawRolling, RawSender, RawVelocity, Screening, Table};
use super::span::Span;
use super::window::TimeWindow;

/// Rolling limits, velocities, time windows and demands for approval of one entry, each.
const RULES_MAX: usize = 32;

/// Addresses of one list of recipients.
const RECIPIENTS_MAX: usize = 10_000;

/// The rules of one entry.
#[derive(Clone, Debug)]
pub(crate) struct SenderRules {
    pub(crate) chains: BTreeSet<Chain>,
    /// What it may move, by the policy's names.
    pub(crate) currencies: BTreeSet<String>,
    pub(crate) allow_opaque: bool,
    pub(crate) allow_unknown_calls: bool,
    pub(crate) allow_old_epochs: bool,
    pub(crate) allow_allowances: bool,
    pub(crate) screened: bool,
    pub(crate) transaction: Option<Amounts>,
    pub(crate) rolling: Vec<Rolling>,
    pub(crate) velocity: Vec<Velocity>,
    pub(crate) allowed: Option<BTreeSet<Address>>,
    pub(crate) denied: BTreeSet<Address>,
    pub(crate) fee: Option<Amounts>,
    pub(crate) windows: Vec<TimeWindow>,
    pub(crate) approvals: Vec<ApprovalRule>,
}

/// The most within a time.
#[derive(Clone, Debug)]
pub(crate) struct Rolling {
    pub(crate) over: Span,
    pub(crate) amounts: Amounts,
}

/// The most transactions within a time.
#[derive(Clone, Debug)]
pub(crate) struct Velocity {
    pub(crate) over: Span,
    pub(crate) count: u32,
}

/// How many of whom must approve, and when.
#[derive(Clone, Debug)]
pub(crate) struct ApprovalRule {
    /// Above any of these amounts; `None`: always.
    pub(crate) above: Option<Amounts>,
    pub(crate) threshold: u8,
    pub(crate) of: BTreeSet<String>,
}

/// What the entries of a policy refer to.
pub(super) struct Definitions<'a> {
    pub(super) screened: bool,
    pub(super) chains: &'a Table<Chain>,
    pub(super) currencies: &'a Currencies,
    pub(super) approvers: &'a BTreeSet<String>,
    /// Whether anybody signs prices.
    pub(super) priced: bool,
}

impl SenderRules {
    /// Checks an entry; `at` names it in errors.
    pub(super) fn parse(at: &str, raw: RawSender, known: &Definitions<'_>) -> Result<Self, PolicyError> {
        let RawSender {
            tenant: _,
            asset: _,
            session: _,
            chains,
            currencies,
            allow_opaque,
            allow_unknown_calls,
            allow_old_epochs,
            allow_allowances,
            sanctions,
            transaction,
            rolling,
            velocity,
            recipients,
            fee,
            windows,
            approvals,
        } = raw;
        for (name, found) in [
            ("rolling", rolling.len()),
            ("velocity", velocity.len()),
            ("windows", windows.len()),
            ("approvals", approvals.len()),
        ] {
            bounded(&format!("{at}.{name}"), found, RULES_MAX)?;
        }
        let amounts =
            |name: &str, raw: Table<_>| Amounts::parse(&format!("{at}.{name}"), raw, known.currencies);
        let (allowed, denied) = recipients_of(&format!("{at}.recipients"), recipients)?;
        let rules = Self {
            chains: chains_of(&format!("{at}.chains"), chains, known.chains)?,
            currencies: currencies_of(&format!("{at}.currencies"), currencies, known.currencies)?,
            allow_opaque,
            allow_unknown_calls,
            allow_old_epochs,
            allow_allowances,
            screened: sanctions.map_or(known.screened, |own| own == Screening::Required),
            transaction: transaction.map(|raw| amounts("transaction", raw)).transpose()?,
            rolling: rolling_of(&format!("{at}.rolling"), rolling, known)?,
            velocity: velocity_of(&format!("{at}.velocity"), velocity)?,
            allowed,
            denied,
            fee: fee.map(|raw| amounts("fee", raw)).transpose()?,
            windows: windows
                .iter()
                .enumerate()
                .map(|(index, raw)| TimeWindow::parse(&format!("{at}.windows[{index}]"), raw))
                .collect::<Result<_, _>>()?,
            approvals: approvals
                .into_iter()
                .enumerate()
                .map(|(index, raw)| approval_rule(&format!("{at}.approvals[{index}]"), raw, known))
                .collect::<Result<_, _>>()?,
        };
        rules.check_consistent(at, known)?;
        Ok(rules)
    }

    /// Every rule about amounts moved.
    pub(crate) fn amount_rules(&self) -> impl Iterator<Item = &Amounts> {
        let approvals = self.approvals.iter().filter_map(|rule| rule.above.as_ref());
        self.transaction.iter().chain(self.rolling.iter().map(|rule| &rule.amounts)).chain(approvals)
    }

    /// Whether the entry takes payloads of which some part cannot be read, and so anything at all.
    pub(crate) fn takes_anything(&self) -> bool {
        self.allow_opaque || self.allow_unknown_calls
    }

    /// Refuses an entry that permits what its other rules could never judge.
    fn check_consistent(&self, at: &str, known: &Definitions<'_>) -> Result<(), PolicyError> {
        let opaque_chain = self.chains.iter().any(|chain| chain.format == Format::Opaque);
        if opaque_chain != self.allow_opaque {
            let (expected, found) = if opaque_chain {
                ("true for an entry with an opaque chain", "false")
            } else {
                ("an opaque chain such as \"opaque:0\" among the chains", "none")
            };
            return Err(PolicyError::field(format!("{at}.allow_opaque"), expected, found));
        }
        let amount_rules = self.amount_rules().next().is_some();
        let conflict = [
            (!self.currencies.is_empty(), "a list of currencies"),
            (amount_rules, "a rule about amounts (transaction, rolling or approvals above an amount)"),
            (self.allowed.is_some() || !self.denied.is_empty(), "a rule about recipients"),
            (self.screened, "sanctions screening; an entry is without it when it says sanctions = \"off\""),
            (self.fee.is_some() && self.allow_opaque, "a rule about fees"),
        ];
        let permission = if self.allow_opaque { "allow_opaque" } else { "allow_unknown_calls" };
        if self.takes_anything()
            && let Some((_, rule)) = conflict.iter().find(|(present, _)| *present)
        {
            let expected = "no rule that a payload which nobody reads could never be held to";
            return Err(PolicyError::field(format!("{at}.{permission}"), expected, *rule));
        }
        // Whoever limits one currency means to limit all; one that was forgotten would have no limit.
        let bare = |name: &&String| !self.amount_rules().any(|amounts| amounts.covers(name));
        if amount_rules && let Some(name) = self.currencies.iter().find(bare) {
            let expected = "each of its currencies in a rule about amounts, as there are such rules";
            return Err(PolicyError::field(format!("{at}.currencies"), expected, format!("{name} in none")));
        }
        let in_reference = self.amount_rules().chain(&self.fee).any(|amounts| amounts.reference.is_some());
        if in_reference && !known.priced {
            let expected = "[prices] that say who signs prices, for a rule in the reference currency";
            return Err(PolicyError::field(at, expected, "none"));
        }
        Ok(())
    }
}

fn chains_of(field: &str, names: Vec<String>, known: &Table<Chain>) -> Result<BTreeSet<Chain>, PolicyError> {
    let mut chains = BTreeSet::new();
    for name in &names {
        let chain =
            known.get(name).ok_or_else(|| PolicyError::field(field, "names of [chains]", quoted(name)))?;
        if !chains.insert(*chain) {
            return Err(PolicyError::field(field, "each chain once", quoted(name)));
        }
    }
    if chains.is_empty() {
        return Err(PolicyError::field(field, "a name of [chains]", "none"));
    }
    Ok(chains)
}

fn currencies_of(
    field: &str,
    names: Vec<String>,
    known: &Currencies,
) -> Result<BTreeSet<String>, PolicyError> {
    let mut currencies = BTreeSet::new();
    for name in names {
        if !known.ids().contains_key(&name) {
            return Err(PolicyError::field(field, "names of [currencies]", quoted(&name)));
        }
        if currencies.contains(&name) {
            return Err(PolicyError::field(field, "each currency once", quoted(&name)));
        }
        currencies.insert(name);
    }
    Ok(currencies)
}

type Recipients = (Option<BTreeSet<Address>>, BTreeSet<Address>);

fn recipients_of(field: &str, raw: Option<RawRecipients>) -> Result<Recipients, PolicyError> {
    let Some(RawRecipients { allow, deny }) = raw else { return Ok((None, BTreeSet::new())) };
    let list = |name: &str, texts: Vec<String>| {
        let field = format!("{field}.{name}");
        bounded(&field, texts.len(), RECIPIENTS_MAX)?;
        texts
            .iter()
            .map(|text| {
                text.parse().map_err(|error: AddressError| {
                    PolicyError::field(&field, "addresses", format!("{}: {error}", quoted(text)))
                })
            })
            .collect::<Result<BTreeSet<_>, _>>()
    };
    if allow.is_none() && deny.is_empty() {
        return Err(PolicyError::field(field, "a list \"allow\" or \"deny\"", "neither"));
    }
    Ok((allow.map(|texts| list("allow", texts)).transpose()?, list("deny", deny)?))
}

fn rolling_of(
    field: &str,
    raw: Vec<RawRolling>,
    known: &Definitions<'_>,
) -> Result<Vec<Rolling>, PolicyError> {
    let mut rules: Vec<Rolling> = Vec::with_capacity(raw.len());
    for (index, RawRolling { over, amounts }) in raw.into_iter().enumerate() {
        let field = format!("{field}[{index}]");
        let amounts = Amounts::parse(&format!("{field}.amounts"), amounts, known.currencies)?;
        // One window, one name: two limits of one length would count everything twice.
        if rules.iter().any(|rule| rule.over == over) {
            return Err(PolicyError::field(field, "one rule for each time", format!("another over {over}")));
        }
        rules.push(Rolling { over, amounts });
    }
    Ok(rules)
}

fn velocity_of(field: &str, raw: Vec<RawVelocity>) -> Result<Vec<Velocity>, PolicyError> {
    let mut rules: Vec<Velocity> = Vec::with_capacity(raw.len());
    for (index, RawVelocity { over, count }) in raw.into_iter().enumerate() {
        if rules.iter().any(|rule| rule.over == over) {
            let field = format!("{field}[{index}]");
            return Err(PolicyError::field(field, "one rule for each time", format!("another over {over}")));
        }
        rules.push(Velocity { over, count });
    }
    Ok(rules)
}

fn approval_rule(
    field: &str,
    raw: RawApprovals,
    known: &Definitions<'_>,
) -> Result<ApprovalRule, PolicyError> {
    let RawApprovals { above, threshold, of } = raw;
    let mut names = BTreeSet::new();
    for name in of {
        if !known.approvers.contains(&name) {
            return Err(PolicyError::field(format!("{field}.of"), "names of [approvers]", quoted(&name)));
        }
        if names.contains(&name) {
            return Err(PolicyError::field(format!("{field}.of"), "each approver once", quoted(&name)));
        }
        names.insert(name);
    }
    if threshold == 0 || usize::from(threshold) > names.len() {
        let expected = format!("1 to {}, the number of its approvers", names.len());
        return Err(PolicyError::field(format!("{field}.threshold"), expected, threshold.to_string()));
    }
    let above =
        above.map(|raw| Amounts::parse(&format!("{field}.above"), raw, known.currencies)).transpose()?;
    Ok(ApprovalRule { above, threshold, of: names })
}
