//! What names a key: an asset with its epoch, or a session; and the canonical bytes that derive it.
//!
//! The encoding is fixed (HKDF `info`, see `docs/derivation.md`): every field is length-prefixed or of fixed
//! width, so no two paths share their bytes.

use std::fmt;

use sealstone_attestation::Algorithm;
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

/// Label of an asset key's derivation.
const ASSET_LABEL: &str = "sealstone/asset/v1";

/// Label of a session key's derivation.
const SESSION_LABEL: &str = "custody-session-v1";

/// Seconds of one session-key hour.
const SECONDS_PER_HOUR: u64 = 3600;

/// A tenant, asset or sender: 1 to 255 bytes of UTF-8, compared as bytes and never normalised.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct PathText(String);

impl PathText {
    /// Most bytes of a path text.
    pub const BYTES_MAX: usize = 255;

    /// The text, as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PathText {
    type Error = KeyPathError;

    fn try_from(text: String) -> Result<Self, KeyPathError> {
        match text.len() {
            1..=Self::BYTES_MAX => Ok(Self(text)),
            found => Err(KeyPathError::TextLength { found }),
        }
    }
}

impl TryFrom<&str> for PathText {
    type Error = KeyPathError;

    fn try_from(text: &str) -> Result<Self, KeyPathError> {
        Self::try_from(text.to_owned())
    }
}

impl std::str::FromStr for PathText {
    type Err = KeyPathError;

    fn from_str(text: &str) -> Result<Self, KeyPathError> {
        Self::try_from(text)
    }
}

impl From<PathText> for String {
    fn from(text: PathText) -> String {
        text.0
    }
}

impl Serialize for PathText {
    /// As `into = "String"` would, without a copy for each request.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for PathText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PathText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The generation of an asset's key; a rotation adds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The full name of one key below a binding.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyPath {
    /// A key that lives as long as its epoch.
    Asset {
        /// Who owns the asset.
        tenant: PathText,
        /// The asset, unique in its tenant.
        asset: PathText,
        /// Which generation of its key.
        epoch: Epoch,
        /// What the key signs with.
        algorithm: Algorithm,
    },
    /// A key for one use, under the current state's binding.
    Session {
        /// Who owns the sender.
        tenant: PathText,
        /// Who sends.
        sender: PathText,
        /// On which chain.
        chain_id: u64,
        /// The sender's nonce on that chain.
        nonce: u64,
        /// Hours since the Unix epoch, by the enclave's clock.
        hour: u64,
        /// What the key signs with.
        algorithm: Algorithm,
    },
}

impl KeyPath {
    /// What the key signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Asset { algorithm, .. } | Self::Session { algorithm, .. } => *algorithm,
        }
    }

    /// The epoch that a receipt names: an asset's, or 0 for a session key, which has none.
    #[must_use]
    pub fn receipt_epoch(&self) -> u64 {
        match self {
            Self::Asset { epoch, .. } => epoch.0,
            Self::Session { .. } => 0,
        }
    }

    /// The canonical bytes: HKDF `info`.
    #[must_use]
    pub fn info(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(640);
        match self {
            Self::Asset { tenant, asset, epoch, algorithm } => {
                text(&mut out, ASSET_LABEL);
                text(&mut out, tenant.as_str());
                text(&mut out, asset.as_str());
                out.extend_from_slice(&epoch.0.to_be_bytes());
                text(&mut out, algorithm.name());
            }
            Self::Session { tenant, sender, chain_id, nonce, hour, algorithm } => {
                text(&mut out, SESSION_LABEL);
                text(&mut out, tenant.as_str());
                text(&mut out, sender.as_str());
                for number in [chain_id, nonce, hour] {
                    out.extend_from_slice(&number.to_be_bytes());
                }
                text(&mut out, algorithm.name());
            }
        }
        out
    }
}

/// The hour of a session key that begins at this Unix time.
#[must_use]
pub fn hour_of(unix_seconds: u64) -> u64 {
    unix_seconds / SECONDS_PER_HOUR
}

fn text(out: &mut Vec<u8>, text: &str) {
    // Labels and algorithm names are short constants and a `PathText` has at most 255 bytes.
    let length = u16::try_from(text.len()).expect("at most 255 bytes");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Why a key path is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyPathError {
    /// The caller gave an empty or an overlong text.
    #[error("expected 1 to {} bytes of UTF-8, found {found}", PathText::BYTES_MAX)]
    TextLength {
        /// Bytes given.
        found: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(tenant: &str, asset: &str) -> KeyPath {
        KeyPath::Asset {
            tenant: tenant.try_into().unwrap(),
            asset: asset.try_into().unwrap(),
            epoch: Epoch(0),
            algorithm: Algorithm::Es256,
        }
    }

    #[test]
    fn a_text_is_one_to_255_bytes_and_is_not_normalised() {
        assert!(PathText::try_from("").is_err());
        assert!(PathText::try_from("x".repeat(256)).is_err());
        assert!(PathText::try_from("é".repeat(128)).is_err());
        assert!(PathText::try_from("é".repeat(127)).is_ok());
        assert_ne!(PathText::try_from("caf\u{e9}"), PathText::try_from("cafe\u{301}"));
    }

    #[test]
    fn a_boundary_between_two_texts_cannot_move() {
        assert_ne!(asset("ab", "c").info(), asset("a", "bc").info());
    }

    #[test]
    fn the_encoding_is_the_documented_one() {
        let expected = "00127365616c73746f6e652f61737365742f7631000461636d65000568656c6c6f000000000000000000054553323536";
        assert_eq!(hex::encode(asset("acme", "hello").info()), expected);
    }
}
