//! Prices: what currencies are worth in the policy's reference currency, signed by those whom the policy names.
//!
//! They come as JSON in a signed envelope, as manifests do. Prices of whole units would need decimals that nobody can
//! check; these are ratios of smallest units, exactly.

use std::collections::BTreeMap;
use std::time::Duration;

use num_bigint::BigUint;
use sealstone_attestation::{AuthorityDigest, Envelope, EnvelopeError, SignaturesError, UnixTime};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::amount::Amount;
use crate::rules::{Policy, Reference};

/// Prices of one file: as many as a policy has currencies.
const PRICES_MAX: usize = 1024;

/// The longest that prices hold. One a week old says nothing about what something is worth.
const LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A list of prices that is consistent; nobody has shown who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceList {
    raw: RawPrices,
    prices: BTreeMap<String, Ratio>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Ratio {
    numerator: BigUint,
    denominator: BigUint,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrices {
    reference: String,
    decimals: u8,
    issued_at: UnixTime,
    expires_at: UnixTime,
    prices: Vec<RawPrice>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrice {
    currency: String,
    numerator: Amount,
    denominator: Amount,
}

impl PriceList {
    /// The envelope's payload type.
    pub const PAYLOAD_TYPE: &str = "application/vnd.sealstone.prices.v1+json";

    /// Reads the payload's JSON.
    ///
    /// # Errors
    /// [`PriceError`] when it is not that, when a price is nothing or repeated, or when it holds longer than a week.
    pub fn from_payload(payload: &[u8]) -> Result<Self, PriceError> {
        let raw: RawPrices =
            serde_json::from_slice(payload).map_err(|error| PriceError::Malformed(error.to_string()))?;
        if !(1..=PRICES_MAX).contains(&raw.prices.len()) {
            return Err(PriceError::Count { found: raw.prices.len() });
        }
        let lifetime = raw.expires_at.since(raw.issued_at).filter(|lifetime| !lifetime.is_zero());
        if lifetime.is_none_or(|lifetime| lifetime > LIFETIME_MAX) {
            return Err(PriceError::Lifetime { issued_at: raw.issued_at, expires_at: raw.expires_at });
        }
        let mut prices = BTreeMap::new();
        for RawPrice { currency, numerator, denominator } in &raw.prices {
            let shown = || currency.chars().take(PriceError::NAME_CHARS_MAX).collect();
            if *numerator == Amount::ZERO || *denominator == Amount::ZERO {
                return Err(PriceError::Nothing { currency: shown() });
            }
            let ratio =
                Ratio { numerator: numerator.number().clone(), denominator: denominator.number().clone() };
            if prices.insert(currency.clone(), ratio).is_some() {
                return Err(PriceError::Repeated { currency: shown() });
            }
        }
        Ok(Self { raw, prices })
    }

    /// When they were made.
    #[must_use]
    pub fn issued_at(&self) -> UnixTime {
        self.raw.issued_at
    }

    /// When they stop being true.
    #[must_use]
    pub fn expires_at(&self) -> UnixTime {
        self.raw.expires_at
    }

    /// The names of the currencies that have one.
    pub fn currencies(&self) -> impl Iterator<Item = &str> {
        self.prices.keys().map(String::as_str)
    }
}

/// Prices that the policy's own people signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices {
    list: PriceList,
    authority: AuthorityDigest,
}

impl Prices {
    /// Takes an envelope that enough of the policy's signers of prices signed. Whoever replaces prices by others keeps
    /// those that were issued last.
    ///
    /// # Errors
    /// [`PriceError`] for another signer, type or content, or another reference currency.
    pub fn verify(envelope: &[u8], policy: &Policy) -> Result<Self, PriceError> {
        let (Some(authority), Some(reference)) = (policy.price_authority(), policy.reference()) else {
            return Err(PriceError::NoAuthority);
        };
        let envelope = Envelope::parse(envelope)?;
        envelope.check_type(PriceList::PAYLOAD_TYPE)?;
        authority.verify(&envelope)?;
        let list = PriceList::from_payload(&envelope.payload)?;
        let found = Reference { name: list.raw.reference.clone(), decimals: list.raw.decimals };
        if found != *reference {
            return Err(PriceError::Reference {
                expected: reference.name.clone(),
                expected_decimals: reference.decimals,
                found: found.name.chars().take(PriceError::NAME_CHARS_MAX).collect(),
                found_decimals: found.decimals,
            });
        }
        Ok(Self { list, authority: authority.digest() })
    }

    /// What they say.
    #[must_use]
    pub fn list(&self) -> &PriceList {
        &self.list
    }

    /// Whether they may be used for this policy now; if not, why.
    pub(crate) fn usable(&self, policy: &Policy, now: UnixTime) -> Result<(), String> {
        // Another policy may have other signers.
        if policy.price_authority().map(sealstone_attestation::AuthoritySet::digest) != Some(self.authority) {
            return Err("expected prices signed by those whom this policy names, found others".to_owned());
        }
        let RawPrices { issued_at, expires_at, .. } = &self.list.raw;
        if now < *issued_at || now >= *expires_at {
            return Err(format!("expected prices for {now}, found some from {issued_at} until {expires_at}"));
        }
        Ok(())
    }

    /// What an amount is worth, in the smallest unit of the reference currency, rounded up; `None` without a price.
    pub(crate) fn worth(&self, currency: &str, amount: &Amount) -> Option<Amount> {
        let Ratio { numerator, denominator } = self.list.prices.get(currency)?;
        let one = BigUint::from(1_u8);
        let product = amount.number() * numerator + denominator - one;
        Some(Amount::from(product / denominator))
    }
}

/// Why prices are not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PriceError {
    /// The policy has no rule that needs prices, and names nobody who signs them.
    #[error("expected a policy with [reference] and [prices], found one without")]
    NoAuthority,
    /// Not an envelope of prices.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Not signed by enough of the right people.
    #[error(transparent)]
    Signatures(#[from] SignaturesError),
    /// Signed, but no prices.
    #[error("expected prices: {0}")]
    Malformed(String),
    /// None, or more than a policy has currencies.
    #[error("expected 1 to {PRICES_MAX} prices, found {found}")]
    Count {
        /// Prices given.
        found: usize,
    },
    /// They never hold, or for too long.
    #[error(
        "expected prices that hold for at most {} days, found {issued_at} until {expires_at}",
        LIFETIME_MAX.as_secs() / 86_400
    )]
    Lifetime {
        /// When they were made.
        issued_at: UnixTime,
        /// When they end.
        expires_at: UnixTime,
    },
    /// What is worth nothing is bounded by nothing.
    #[error("expected a numerator and a denominator above 0 for {currency:?}, found 0")]
    Nothing {
        /// Of what, cut.
        currency: String,
    },
    /// Two prices of one currency.
    #[error("expected one price of each currency, found two of {currency:?}")]
    Repeated {
        /// Of what, cut.
        currency: String,
    },
    /// In another currency than the policy's.
    #[error(
        "expected prices in {expected:?} with {expected_decimals} decimals, found {found:?} with {found_decimals}"
    )]
    Reference {
        /// The policy's.
        expected: String,
        /// Its decimals.
        expected_decimals: u8,
        /// The file's, cut.
        found: String,
        /// Its decimals.
        found_decimals: u8,
    },
}

impl PriceError {
    /// Characters of a name that an error repeats.
    const NAME_CHARS_MAX: usize = 40;
}
