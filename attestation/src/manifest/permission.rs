//! What a manifest lets the enclave sign, whoever asks.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Algorithm, manifest::error::ManifestError};

/// Bytes of a tenant, asset or sender, as in a key's path.
const SCOPE_BYTES_MAX: usize = 255;

/// Whom a permission is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everyone: `"*"`.
    Any,
    /// This one, compared as bytes.
    Named(String),
}

impl Scope {
    fn includes(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Named(named) => named == name,
        }
    }

    fn check(&self) -> Result<(), ManifestError> {
        match self {
            Self::Any => Ok(()),
            Self::Named(name) if (1..=SCOPE_BYTES_MAX).contains(&name.len()) => Ok(()),
            Self::Named(name) => {
                Err(ManifestError::PermissionScope { expected: SCOPE_BYTES_MAX, found: name.len() })
            }
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "*",
            Self::Named(name) => name,
        })
    }
}

impl From<&str> for Scope {
    fn from(text: &str) -> Self {
        if text == "*" { Self::Any } else { Self::Named(text.to_owned()) }
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scope = Self::from(String::deserialize(deserializer)?.as_str());
        scope.check().map_err(de::Error::custom)?;
        Ok(scope)
    }
}

/// What is to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadKind {
    /// A message, which the enclave hashes itself.
    Message,
    /// A bare digest, of which nobody can tell what it means. Never for Ed25519, which signs messages only.
    Digest,
}

impl fmt::Display for PayloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Message => "message",
            Self::Digest => "digest",
        })
    }
}

/// Lets keys of assets sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetPermission {
    /// Whose assets.
    pub tenant: Scope,
    /// Which assets.
    pub asset: Scope,
    /// With what.
    pub algorithms: Vec<Algorithm>,
    /// What.
    pub sign: Vec<PayloadKind>,
}

/// Lets session keys sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionPermission {
    /// Whose senders.
    pub tenant: Scope,
    /// Which senders.
    pub sender: Scope,
    /// With what.
    pub algorithms: Vec<Algorithm>,
    /// What.
    pub sign: Vec<PayloadKind>,
}

impl AssetPermission {
    pub(crate) fn check(&self) -> Result<(), ManifestError> {
        check(&[&self.tenant, &self.asset], &self.algorithms, &self.sign)
    }

    pub(crate) fn permits(&self, tenant: &str, asset: &str, algorithm: Algorithm, kind: PayloadKind) -> bool {
        self.tenant.includes(tenant)
            && self.asset.includes(asset)
            && permits_use(&self.algorithms, &self.sign, algorithm, kind)
    }
}

impl SessionPermission {
    pub(crate) fn check(&self) -> Result<(), ManifestError> {
        check(&[&self.tenant, &self.sender], &self.algorithms, &self.sign)
    }

    pub(crate) fn permits(
        &self,
        tenant: &str,
        sender: &str,
        algorithm: Algorithm,
        kind: PayloadKind,
    ) -> bool {
        self.tenant.includes(tenant)
            && self.sender.includes(sender)
            && permits_use(&self.algorithms, &self.sign, algorithm, kind)
    }
}

fn permits_use(
    algorithms: &[Algorithm],
    kinds: &[PayloadKind],
    algorithm: Algorithm,
    kind: PayloadKind,
) -> bool {
    let possible = !(algorithm == Algorithm::EdDsa && kind == PayloadKind::Digest);
    possible && algorithms.contains(&algorithm) && kinds.contains(&kind)
}

fn check(scopes: &[&Scope], algorithms: &[Algorithm], kinds: &[PayloadKind]) -> Result<(), ManifestError> {
    scopes.iter().try_for_each(|scope| scope.check())?;
    // An empty list permits nothing, and a repeated entry is a slip: neither was meant.
    if !distinct(algorithms) || !distinct(kinds) {
        return Err(ManifestError::PermissionLists);
    }
    Ok(())
}

fn distinct<T: Ord>(items: &[T]) -> bool {
    let set: std::collections::BTreeSet<&T> = items.iter().collect();
    !items.is_empty() && set.len() == items.len()
}
