//! The rules: a policy as its author declared it, checked as a whole before it judges anything.
//!
//! `docs/policy.md` describes every field and has a full example.

mod chain;
mod currency;
mod error;
mod raw;
mod sender;
mod senders;
mod span;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sealstone_attestation::{AuthorityKey, AuthoritySet, PolicyDigest, PublicKey};
use sealstone_wire::PathText;

use crate::engine::Signer;
use crate::facts::CurrencyId;

use currency::Currencies;
use error::{bounded, item, quoted};
use raw::{RawPolicy, Screening, Table};
use sender::Definitions;
use senders::Senders;

pub use currency::Reference;
pub use error::PolicyError;

pub(crate) use chain::Chain;
pub(crate) use currency::Amounts;
pub(crate) use sender::SenderRules;

/// The version of a policy's format that is read here.
const VERSION: u32 = 1;

/// Approvers of one policy.
const APPROVERS_MAX: usize = 1024;

/// What may be signed for whom.
#[derive(Clone)]
pub struct Policy {
    digest: PolicyDigest,
    screened: bool,
    currencies: Currencies,
    prices: Option<AuthoritySet>,
    chains: usize,
    approvers: BTreeMap<String, PublicKey>,
    senders: Senders,
}

impl Policy {
    /// Bytes of a policy: those of a hundred thousand short entries.
    pub const BYTES_MAX: usize = 32 * 1024 * 1024;

    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`], naming the rule and its field: whatever is wrong anywhere, the whole policy is refused.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > Self::BYTES_MAX {
            return Err(PolicyError::TooLong { found: text.len() });
        }
        let raw: RawPolicy = toml::from_str(text).map_err(|error| PolicyError::malformed(text, &error))?;
        let RawPolicy { version, sanctions, reference, prices, chains, currencies, approvers, senders } = raw;
        if version != VERSION {
            return Err(PolicyError::field("version", VERSION.to_string(), version.to_string()));
        }
        if prices.is_some() && reference.is_none() {
            return Err(PolicyError::field("prices", "a [reference] currency that prices are in", "none"));
        }
        let screened = sanctions == Screening::Required;
        let chains = Chain::table(chains)?;
        let currencies = Currencies::parse(currencies, reference)?;
        let approvers = approvers_of(approvers)?;
        let names: BTreeSet<String> = approvers.keys().cloned().collect();
        let known = Definitions {
            screened,
            chains: &chains,
            currencies: &currencies,
            approvers: &names,
            priced: prices.is_some(),
        };
        let senders = Senders::parse(senders, &known)?;
        let digest = PolicyDigest::of(text.as_bytes());
        Ok(Self { digest, screened, currencies, prices, chains: chains.len(), approvers, senders })
    }

    /// SHA-256 of the text as it was given: names the rules in every record of a decision.
    #[must_use]
    pub fn digest(&self) -> PolicyDigest {
        self.digest
    }

    /// The currency in which rules span all others.
    #[must_use]
    pub fn reference(&self) -> Option<&Reference> {
        self.currencies.reference()
    }

    /// Who signs prices.
    #[must_use]
    pub fn price_authority(&self) -> Option<&AuthoritySet> {
        self.prices.as_ref()
    }

    /// The currencies that it names.
    #[must_use]
    pub fn currencies(&self) -> &BTreeMap<String, CurrencyId> {
        self.currencies.ids()
    }

    /// Who may approve, and with which key.
    #[must_use]
    pub fn approvers(&self) -> &BTreeMap<String, PublicKey> {
        &self.approvers
    }

    /// The same rules with other keys for these approvers, for trying a policy without its people's keys. Whoever calls
    /// this on the way to a signature lets anybody approve.
    #[must_use]
    pub fn danger_with_approvers(mut self, keys: &BTreeMap<String, PublicKey>) -> Self {
        for (name, key) in &mut self.approvers {
            if let Some(other) = keys.get(name) {
                *key = *other;
            }
        }
        self
    }

    /// How many chains it names.
    #[must_use]
    pub fn chain_count(&self) -> usize {
        self.chains
    }

    /// How many entries it has.
    #[must_use]
    pub fn sender_count(&self) -> usize {
        self.senders.count()
    }

    /// Whether recipients are looked up in the sanctions list, unless an entry says otherwise.
    #[must_use]
    pub fn requires_sanctions(&self) -> bool {
        self.screened
    }

    /// The policy's name of what a payload moves.
    pub(crate) fn currency_name(&self, id: &CurrencyId) -> Option<&str> {
        self.currencies.name(id)
    }

    /// The entry that alone applies to a sender.
    pub(crate) fn rules(&self, tenant: &PathText, signer: &Signer<'_>) -> Option<&SenderRules> {
        self.senders.rules(tenant, signer)
    }
}

/// Ten thousand entries are nothing to print; the digest names them all.
impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({} entries, {})", self.sender_count(), self.digest)
    }
}

/// Approvers by name: keys of the kinds that approve manifests too, and no key under two names, or one person would
/// count twice.
fn approvers_of(raw: Table<PublicKey>) -> Result<BTreeMap<String, PublicKey>, PolicyError> {
    bounded("approvers", raw.len(), APPROVERS_MAX)?;
    let mut keys: BTreeMap<PublicKey, &str> = BTreeMap::new();
    for (name, key) in &raw {
        let field = || item("approvers", name);
        if let Err(error) = AuthorityKey::new(name.clone(), *key) {
            return Err(PolicyError::field(
                field(),
                "a name and an ES256 or EdDSA key",
                quoted(&error.to_string()),
            ));
        }
        if let Some(other) = keys.insert(*key, name) {
            return Err(PolicyError::field(
                field(),
                "a key of its own",
                format!("the key of {}", quoted(other)),
            ));
        }
    }
    Ok(raw)
}
