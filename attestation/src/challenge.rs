//! The record of a challenge: who chose a nonce and when, signed by them. It makes evidence mean something to a third party.
//!
//! A nonce shows freshness to whoever chose it. Others can only take somebody's word for when that was; this is that word.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    AuthorityError, AuthorityKey, AuthoritySet, DeploymentId, Envelope, KeyId, Nonce, PublicKey,
    SignaturesError, UnixTime,
};

/// What whoever chose a nonce says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRecord {
    /// Version of this format: 1.
    pub format: u32,
    /// What was chosen at random.
    pub nonce: Nonce,
    /// Who chose it, for people; the signature's key says it for certain.
    pub who: String,
    /// When, by their clock.
    pub chosen_at: UnixTime,
    /// The latest time at which evidence may have been made for it, if they set one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<UnixTime>,
    /// The only deployment that it is for, if they named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// The only node that it is for, if they named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl ChallengeRecord {
    /// The one version of the format.
    pub const FORMAT: u32 = 1;

    /// The payload type of its envelope.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.sealstone.challenge.v1+json";

    /// Bytes of a record: a nonce, two names and times take a few hundred.
    pub const BYTES_MAX: usize = 4096;

    /// Bytes of a name in it, which people read in one line.
    pub const NAME_BYTES_MAX: usize = 64;

    /// The envelope's payload, to be signed.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text, numbers and hex always serialize")
    }

    /// Reads a record without asking who signed it. What it says is somebody's claim.
    ///
    /// # Errors
    /// [`ChallengeError`] for another payload or format, and for bounds that are passed.
    pub fn danger_read_unverified(envelope: &Envelope) -> Result<Self, ChallengeError> {
        if envelope.payload_type != Self::PAYLOAD_TYPE {
            return Err(ChallengeError::PayloadType {
                found: envelope.payload_type.chars().take(80).collect(),
            });
        }
        if envelope.payload.len() > Self::BYTES_MAX {
            return Err(ChallengeError::TooLong { found: envelope.payload.len() });
        }
        let record: Self = serde_json::from_slice(&envelope.payload)
            .map_err(|error| ChallengeError::Malformed(error.to_string()))?;
        if record.format != Self::FORMAT {
            return Err(ChallengeError::Format { found: record.format });
        }
        let names = [Some(&record.who), record.node.as_ref()];
        if let Some(name) =
            names.into_iter().flatten().find(|name| !(1..=Self::NAME_BYTES_MAX).contains(&name.len()))
        {
            return Err(ChallengeError::Name { found: name.len() });
        }
        if record.not_after.is_some_and(|end| end < record.chosen_at) {
            return Err(ChallengeError::Ended);
        }
        Ok(record)
    }
}

/// A record that a challenger of the reader's own choice signed. Only [`VerifiedChallenge::from_envelope`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedChallenge {
    record: ChallengeRecord,
    key_id: KeyId,
}

impl VerifiedChallenge {
    /// Reads a record that this challenger signed, and nobody else.
    ///
    /// # Errors
    /// [`ChallengeError`] for another payload, signature or format.
    pub fn from_envelope(envelope: &Envelope, challenger: &PublicKey) -> Result<Self, ChallengeError> {
        let key = AuthorityKey::new("the challenger".to_owned(), *challenger)?;
        AuthoritySet::new(1, vec![key])?.verify(envelope)?;
        let record = ChallengeRecord::danger_read_unverified(envelope)?;
        Ok(Self { record, key_id: challenger.key_id() })
    }

    /// What they say.
    #[must_use]
    pub fn record(&self) -> &ChallengeRecord {
        &self.record
    }

    /// The key that signed it.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }
}

/// Why a record of a challenge is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChallengeError {
    /// Something else that was signed.
    #[error("expected an envelope of {}, found {found:?}", ChallengeRecord::PAYLOAD_TYPE)]
    PayloadType {
        /// Its type, cut.
        found: String,
    },
    /// More than any record has.
    #[error("expected a challenge of at most {} bytes, found {found}", ChallengeRecord::BYTES_MAX)]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// Not the JSON of a record.
    #[error("expected a record of a challenge: {0}")]
    Malformed(String),
    /// A record of another version.
    #[error("expected a challenge of format {}, found {found}", ChallengeRecord::FORMAT)]
    Format {
        /// The format.
        found: u32,
    },
    /// Nobody, or a text.
    #[error("expected names of 1 to {} bytes, found {found}", ChallengeRecord::NAME_BYTES_MAX)]
    Name {
        /// Bytes given.
        found: usize,
    },
    /// Never good for anything.
    #[error("expected a challenge that ends after it was chosen, found one that ends before")]
    Ended,
    /// A key that signs no records.
    #[error(transparent)]
    Key(#[from] AuthorityError),
    /// Not by that challenger.
    #[error(transparent)]
    Signature(#[from] SignaturesError),
}
