//! Currencies by name, and amounts of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::amount::Amount;
use crate::facts::{Address, CurrencyId, Format};

use super::chain::number;
use super::error::{PolicyError, bounded, item, quoted};
use super::raw::Table;

/// Currencies of one policy.
const CURRENCIES_MAX: usize = 1024;

/// Bytes of a currency's name; it stands in the names of rolling windows.
const NAME_BYTES_MAX: usize = 32;

/// Decimals of the reference currency. Eighteen is what the finest coins have.
const DECIMALS_MAX: u8 = 18;

/// The currency in which rules span all others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Its name: `USD`.
    pub name: String,
    /// Digits behind the point of its unit; amounts of it are in the smallest: 2 for cents.
    pub decimals: u8,
}

/// What an amount in the policy is of.
#[derive(Clone, Debug)]
pub(super) struct Currencies {
    names: BTreeMap<CurrencyId, String>,
    ids: BTreeMap<String, CurrencyId>,
    reference: Option<Reference>,
}

impl Currencies {
    pub(super) fn parse(raw: Table<String>, reference: Option<Reference>) -> Result<Self, PolicyError> {
        bounded("currencies", raw.len(), CURRENCIES_MAX)?;
        if let Some(Reference { name, decimals }) = &reference {
            check_name("reference.name", name)?;
            if *decimals > DECIMALS_MAX {
                let expected = format!("at most {DECIMALS_MAX}");
                return Err(PolicyError::field("reference.decimals", expected, decimals.to_string()));
            }
            if raw.contains_key(name) {
                let found = format!("that {name} is a currency too");
                return Err(PolicyError::field("reference.name", "a name of its own", found));
            }
        }
        let mut names = BTreeMap::new();
        let mut ids = BTreeMap::new();
        for (name, text) in raw {
            let field = item("currencies", &name);
            check_name(&field, &name)?;
            let id = currency_id(&field, &text)?;
            if let Some(other) = names.insert(id.clone(), name.clone()) {
                return Err(PolicyError::field(
                    field,
                    "a currency with one name",
                    format!("that {other} names it too"),
                ));
            }
            ids.insert(name, id);
        }
        Ok(Self { names, ids, reference })
    }

    pub(super) fn reference(&self) -> Option<&Reference> {
        self.reference.as_ref()
    }

    /// The policy's name of what a payload moves.
    pub(super) fn name(&self, id: &CurrencyId) -> Option<&str> {
        self.names.get(id).map(String::as_str)
    }

    /// Names and what they name.
    pub(super) fn ids(&self) -> &BTreeMap<String, CurrencyId> {
        &self.ids
    }
}

fn check_name(field: &str, name: &str) -> Result<(), PolicyError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    let expected = format!("a name of 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' or '.'");
    Err(PolicyError::field(field, expected, quoted(name)))
}

/// Reads `evm:1:native`, `evm:1:0x…`, `solana:native`, `solana:<mint>`.
fn currency_id(field: &str, text: &str) -> Result<CurrencyId, PolicyError> {
    let id = match text.split(':').collect::<Vec<_>>()[..] {
        ["evm", chain, "native"] => number(chain).map(CurrencyId::evm_native),
        ["evm", chain, contract] => number(chain)
            .zip(Address::parse(Format::Evm, contract).ok())
            .map(|(chain, contract)| CurrencyId::evm_token(chain, &contract)),
        ["solana", "native"] => Some(CurrencyId::solana_native()),
        ["solana", mint] => {
            Address::parse(Format::Solana, mint).ok().map(|mint| CurrencyId::solana_token(&mint))
        }
        _ => None,
    };
    id.ok_or_else(|| {
        let expected = "\"evm:<chain id>:native\", \"evm:<chain id>:<contract>\", \"solana:native\" or \"solana:<mint>\"";
        PolicyError::field(field, expected, quoted(text))
    })
}

/// Amounts of some currencies, and perhaps of the reference currency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    /// By the policy's name.
    pub(crate) currencies: BTreeMap<String, Amount>,
    /// Of everything together.
    pub(crate) reference: Option<Amount>,
}

impl Amounts {
    /// Reads a table of amounts such as `{ USDC = "1000000", USD = "5000" }`.
    pub(super) fn parse(field: &str, raw: Table<Amount>, known: &Currencies) -> Result<Self, PolicyError> {
        if raw.is_empty() {
            return Err(PolicyError::field(field, "an amount of a currency", "none"));
        }
        let mut amounts = Self::default();
        for (name, amount) in raw {
            if known.reference.as_ref().is_some_and(|reference| reference.name == name) {
                amounts.reference = Some(amount);
            } else if known.ids.contains_key(&name) {
                amounts.currencies.insert(name, amount);
            } else {
                let expected = "a name of [currencies], or that of the reference currency";
                return Err(PolicyError::field(field, expected, quoted(&name)));
            }
        }
        Ok(amounts)
    }

    /// Whether a movement of this currency is bounded by any of these.
    pub(crate) fn covers(&self, currency: &str) -> bool {
        self.reference.is_some() || self.currencies.contains_key(currency)
    }
}
