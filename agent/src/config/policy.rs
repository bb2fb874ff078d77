//! `[policy]` of `agent.toml`: the rules that requests are judged by.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// `[policy]` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPolicy {
    file: PathBuf,
    sanctions: Option<PathBuf>,
    prices: Option<PathBuf>,
}

/// `[policy]`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// The rules (TOML, `docs/policy.md`).
    pub file: PathBuf,
    /// The sanctions list, as `sealstone policy sanctions import` makes it.
    pub sanctions: Option<PathBuf>,
    /// Prices, as `sealstone policy prices sign` makes them.
    pub prices: Option<PathBuf>,
}

impl RawPolicy {
    /// Resolves its paths against `base`.
    #[must_use]
    pub fn check(self, base: &Path) -> PolicyConfig {
        let Self { file, sanctions, prices } = self;
        let at = |path: PathBuf| base.join(path);
        PolicyConfig { file: at(file), sanctions: sanctions.map(at), prices: prices.map(at) }
    }
}
