//! The rules in force: policy, sanctions list and prices, read from files and replaced as a whole.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use sealstone_attestation::Sha256Digest;
use sealstone_policy::engine::Lists;
use sealstone_policy::prices::Prices;
use sealstone_policy::rules::Policy;
use sealstone_policy::sanctions::SanctionsList;
use sealstone_wire::api::{PolicyStatus, PricesStatus, RuleKind, SanctionsStatus};
use thiserror::Error;

use crate::config::policy::PolicyConfig;
use crate::files::read_capped;

/// Bytes of a price file: a thousand currencies need a tenth of it.
const PRICES_MAX: u64 = 1024 * 1024;

/// Bytes of a sanctions list: a header and 32 bytes for each of its entries.
const SANCTIONS_MAX: u64 = 256 + 32 * SanctionsList::ENTRIES_MAX as u64;

/// What requests are judged by.
#[derive(Debug)]
pub struct Rulebook {
    /// The rules.
    pub policy: Policy,
    sanctions: Option<SanctionsList>,
    prices: Option<Prices>,
    /// What each file held, to tell what a reload changed.
    digests: Digests,
}

/// SHA-256 of each file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digests {
    policy: Sha256Digest,
    sanctions: Option<Sha256Digest>,
    prices: Option<Sha256Digest>,
}

/// One part that a reload replaced, with the digest of its file, or none if there is none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The rules.
    Policy(Sha256Digest),
    /// The sanctions list.
    Sanctions(Option<Sha256Digest>),
    /// The prices.
    Prices(Option<Sha256Digest>),
}

impl Replaced {
    /// Which part.
    #[must_use]
    pub fn kind(self) -> RuleKind {
        match self {
            Self::Policy(_) => RuleKind::Policy,
            Self::Sanctions(_) => RuleKind::Sanctions,
            Self::Prices(_) => RuleKind::Prices,
        }
    }
}

impl Rulebook {
    /// Reads every file that the configuration names.
    ///
    /// # Errors
    /// [`RulebookError`], naming the file: whatever is wrong with one, nothing is taken.
    pub fn load(config: &PolicyConfig) -> Result<Self, RulebookError> {
        let PolicyConfig { file, sanctions, prices } = config;
        let refused = |path: &Path, error: &dyn std::error::Error| RulebookError::Refused {
            path: path.to_owned(),
            reason: sealstone_wire::chain(error),
        };
        let read = |path: &Path, max: u64| read_capped(path, max).map_err(|error| refused(path, &error));

        let bytes = read(file, Policy::BYTES_MAX as u64)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| refused(file, &error))?;
        let policy = Policy::parse(text).map_err(|error| refused(file, &error))?;
        let mut digests = Digests {
            policy: Sha256Digest::from_bytes(*policy.digest().as_bytes()),
            sanctions: None,
            prices: None,
        };

        let mut list = None;
        if let Some(path) = sanctions {
            let bytes = read(path, SANCTIONS_MAX)?;
            list = Some(SanctionsList::parse(&bytes).map_err(|error| refused(path, &error))?);
            digests.sanctions = Some(Sha256Digest::of(&bytes));
        }
        let mut verified = None;
        if let Some(path) = prices {
            let bytes = read(path, PRICES_MAX)?;
            verified = Some(Prices::verify(&bytes, &policy).map_err(|error| refused(path, &error))?);
            digests.prices = Some(Sha256Digest::of(&bytes));
        }
        Ok(Self { policy, sanctions: list, prices: verified, digests })
    }

    /// What is known beside the rules.
    #[must_use]
    pub fn lists(&self) -> Lists<'_> {
        Lists { sanctions: self.sanctions.as_ref(), prices: self.prices.as_ref() }
    }

    /// What is in it, for people.
    #[must_use]
    pub fn status(&self) -> PolicyStatus {
        let Self { policy, sanctions, prices, digests } = self;
        let count = |count: usize| count as u64;
        PolicyStatus {
            digest: digests.policy,
            senders: count(policy.sender_count()),
            chains: count(policy.chain_count()),
            currencies: count(policy.currencies().len()),
            approvers: count(policy.approvers().len()),
            sanctions_required: policy.requires_sanctions(),
            sanctions: sanctions.as_ref().zip(digests.sanctions).map(|(list, digest)| SanctionsStatus {
                digest,
                count: count(list.count()),
                imported_at: list.imported_at(),
            }),
            prices: prices.as_ref().zip(digests.prices).map(|(prices, digest)| PricesStatus {
                digest,
                currencies: count(prices.list().currencies().count()),
                issued_at: prices.list().issued_at(),
                expires_at: prices.list().expires_at(),
            }),
        }
    }

    fn parts(&self) -> [Replaced; 3] {
        let Digests { policy, sanctions, prices } = self.digests;
        [Replaced::Policy(policy), Replaced::Sanctions(sanctions), Replaced::Prices(prices)]
    }
}

/// The rulebook in force. A request is judged by one whole rulebook, the one that was in force when it came.
#[derive(Debug)]
pub struct Rules {
    config: PolicyConfig,
    current: RwLock<Arc<Rulebook>>,
}

impl Rules {
    /// Reads the rulebook for the first time.
    ///
    /// # Errors
    /// [`RulebookError`].
    pub fn load(config: PolicyConfig) -> Result<Self, RulebookError> {
        let first = Rulebook::load(&config)?;
        Ok(Self { config, current: RwLock::new(Arc::new(first)) })
    }

    /// The rulebook in force.
    #[must_use]
    pub fn current(&self) -> Arc<Rulebook> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the rulebook in force was made of.
    #[must_use]
    pub fn in_force(&self) -> Vec<Replaced> {
        let there = |part: &Replaced| !matches!(part, Replaced::Sanctions(None) | Replaced::Prices(None));
        self.current().parts().into_iter().filter(there).collect()
    }

    /// Reads the files anew; the rulebook before stays in force until [`Loaded::take_effect`], and for good if one of
    /// them is refused. Takes long for a long sanctions list: not for a thread that serves others.
    ///
    /// # Errors
    /// [`RulebookError`], also for prices that are older than those in force.
    pub fn read_anew(self: &Arc<Self>) -> Result<Loaded, RulebookError> {
        let next = Rulebook::load(&self.config)?;
        let before = self.current();
        if let (Some(next), Some(before)) = (&next.prices, &before.prices) {
            let (found, newest) = (next.list().issued_at(), before.list().issued_at());
            if found < newest {
                return Err(RulebookError::OlderPrices { newest, found });
            }
        }
        let replaced = next.parts().into_iter().zip(before.parts()).filter(|(next, before)| next != before);
        Ok(Loaded { replaced: replaced.map(|(next, _)| next).collect(), next, rules: Arc::clone(self) })
    }
}

/// A rulebook that was read and is not in force yet.
#[derive(Debug)]
#[must_use = "it is not in force until it takes effect"]
pub struct Loaded {
    next: Rulebook,
    replaced: Vec<Replaced>,
    rules: Arc<Rules>,
}

impl Loaded {
    /// What it changes.
    #[must_use]
    pub fn replaced(&self) -> &[Replaced] {
        &self.replaced
    }

    /// Puts it in force.
    pub fn take_effect(self) {
        let Self { next, replaced: _, rules } = self;
        *rules.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}

/// Why rules are not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RulebookError {
    /// A file cannot be read, or says something else than it should.
    #[error("{}: {reason}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Expected and found.
        reason: String,
    },
    /// Prices that were replaced before.
    #[error("expected prices issued at {newest} or later, found prices of {found}; sign newer ones")]
    OlderPrices {
        /// Those in force.
        newest: sealstone_attestation::UnixTime,
        /// Those in the file.
        found: sealstone_attestation::UnixTime,
    },
}
