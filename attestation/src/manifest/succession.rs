//! Which state may use the keys of which older one, and until when.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::{Binding, TimeError, UnixTime};

/// An ordered pair of states: keys bound to `from` may be derived in `to`. Not transitive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Succession {
    /// The state that keys are bound to: active or predecessor.
    pub from: String,
    /// The state that derives them: active.
    pub to: String,
    /// Until when.
    pub grace: Grace,
}

/// Until when a succession holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// It has ended already: the pair is on record, and refuses.
    None,
    /// Before this time.
    Until(UnixTime),
    /// Always.
    Forever,
}

impl fmt::Display for Grace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Until(time) => time.fmt(f),
            Self::Forever => f.write_str("forever"),
        }
    }
}

impl FromStr for Grace {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        match text {
            "none" => Ok(Self::None),
            "forever" => Ok(Self::Forever),
            time => time.parse().map(Self::Until),
        }
    }
}

impl Serialize for Grace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Grace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|error| {
            de::Error::custom(format_args!("expected a grace of none, forever or a time: {error}"))
        })
    }
}

/// Why a key may not be derived in the attested state.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BindingRefusal {
    /// The attested state is not one that may attest under this manifest.
    #[error(
        "expected the current state {current:?} to be an active state of the manifest, found that it is not"
    )]
    CurrentNotActive {
        /// The attested state.
        current: String,
    },
    /// No state of the manifest ever had this binding.
    #[error("expected the binding of a state in the manifest, found {recorded}")]
    UnknownBinding {
        /// The binding that the key was recorded with.
        recorded: Binding,
    },
    /// The state is retired.
    #[error("expected a binding in use, found that of the retired state {recorded:?}: rotate the asset")]
    Retired {
        /// The state that the key is bound to.
        recorded: String,
    },
    /// The manifest does not list the pair.
    #[error("expected a succession from state {recorded:?} to the current state {current:?}, found none")]
    NoSuccession {
        /// The state that the key is bound to.
        recorded: String,
        /// The attested state.
        current: String,
    },
    /// The pair is listed, and over.
    #[error("expected a grace from {recorded:?} to {current:?}, found it ended at {at}: rotate the asset")]
    GraceEnded {
        /// The state that the key is bound to.
        recorded: String,
        /// The attested state.
        current: String,
        /// When.
        at: UnixTime,
    },
}
