//! What the store keeps, as types; and how numbers and texts are written into its columns.

use sealstone_attestation::{
    Algorithm, Binding, KeyId, PublicKey, RequestDigest, Signature64, SignedReceipt, UnixTime,
};
use sealstone_wire::{Epoch, PathText};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::StoreError;

/// Who spends a nonce, in one unambiguous text: the tenant's length keeps its boundary in place, and the
/// prefix keeps an asset apart from a session sender of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sender(String);

impl Sender {
    /// An asset's key.
    #[must_use]
    pub fn asset(tenant: &PathText, asset: &PathText) -> Self {
        Self::new("asset", tenant, asset)
    }

    /// The session keys of one sender.
    #[must_use]
    pub fn session(tenant: &PathText, sender: &PathText) -> Self {
        Self::new("session", tenant, sender)
    }

    fn new(kind: &str, tenant: &PathText, name: &PathText) -> Self {
        Self(format!("{kind}:{}:{tenant}:{name}", tenant.as_str().len()))
    }

    /// The text as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One nonce of one sender on one chain: signs one payload, ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NonceKey {
    /// The chain; 0 where there is none.
    pub chain_id: u64,
    /// Who spends it.
    pub sender: Sender,
    /// The nonce.
    pub nonce: u64,
}

/// Which key a reservation is for, fixed when it is made, so that a resumed request signs with the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservedKey {
    /// The asset's key of this epoch.
    Asset {
        /// Which generation.
        epoch: Epoch,
    },
    /// A session key.
    Session {
        /// Hours since the Unix epoch, by the enclave's clock.
        hour: u64,
        /// The binding of the state in which it was reserved.
        binding: Binding,
        /// When the enclave's clock was asked, in Unix milliseconds.
        issued_at_ms: u64,
    },
}

/// A client's own name for a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// The client's name.
    pub client: String,
    /// What the client named the request.
    pub key: String,
}

/// What is asked of [`Store::reserve`](super::Store::reserve).
#[derive(Clone, Debug)]
pub struct Reserve {
    /// What is spent.
    pub nonce: NonceKey,
    /// Digest of the canonical request.
    pub request: RequestDigest,
    /// With which key.
    pub key: ReservedKey,
    /// The client's name for the request, if it gave one.
    pub idempotency: Option<IdempotencyKey>,
    /// Now.
    pub now: UnixTime,
}

/// What came of a reservation. Every case is durable when it is returned.
#[derive(Clone, Debug)]
pub enum Reserved {
    /// The nonce is this request's now.
    Fresh {
        /// The reservation.
        id: i64,
    },
    /// The same request reserved it before, and its answer is not known.
    Open(OpenReservation),
    /// The same request was answered before.
    Answered(Box<Recorded>),
    /// Another request reserved the nonce.
    NonceUsed,
    /// The client's idempotency key names another request.
    KeyReused,
}

/// A reservation without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenReservation {
    /// The reservation.
    pub id: i64,
    /// With which key.
    pub key: ReservedKey,
}

/// A signature as it is recorded: what a client is answered, now and ever after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// `r ‖ s` or the Ed25519 signature.
    pub signature: Signature64,
    /// The key that verifies it.
    pub public_key: PublicKey,
    /// What an ECDSA signature is over; for Ed25519 the message's SHA-256.
    pub digest: [u8; 32],
    /// ES256K's recovery id.
    pub recovery_id: Option<u8>,
    /// The key's name.
    pub key_id: KeyId,
    /// With which key.
    pub key: ReservedKey,
    /// The binding that the key was derived under.
    pub binding: Binding,
    /// The end of the session that signed.
    pub attested_until: UnixTime,
    /// The receipt's era.
    pub era: u64,
    /// The receipt's sequence.
    pub sequence: u64,
}

/// A signature to be recorded, verified by the caller.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The reservation that it answers.
    pub reservation: i64,
    /// The enclave's record.
    pub receipt: SignedReceipt,
    /// The key that verifies it.
    pub public_key: PublicKey,
    /// What an ECDSA signature is over; for Ed25519 the message's SHA-256.
    pub digest: [u8; 32],
    /// ES256K's recovery id.
    pub recovery_id: Option<u8>,
    /// The end of the session that signed.
    pub attested_until: UnixTime,
}

/// One epoch of an asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetEpoch {
    /// Who owns the asset.
    pub tenant: PathText,
    /// Its name.
    pub asset: PathText,
    /// What its key signs with.
    pub algorithm: Algorithm,
    /// Which generation.
    pub epoch: Epoch,
    /// The binding recorded when the epoch began.
    pub binding: Binding,
    /// The key's name.
    pub key_id: KeyId,
    /// The key.
    pub public_key: PublicKey,
    /// When the epoch began.
    pub since: UnixTime,
}

impl AssetEpoch {
    /// Columns in the order that [`AssetEpoch::from_row`] reads.
    pub(super) const COLUMNS: &str =
        "e.tenant, e.asset, a.algorithm, e.epoch, e.binding, e.key_id, e.public_key, e.since";

    pub(super) fn from_row(row: &SqliteRow) -> Result<Self, StoreError> {
        let algorithm = algorithm(row, 2)?;
        Ok(Self {
            tenant: path_text(row, 0)?,
            asset: path_text(row, 1)?,
            algorithm,
            epoch: Epoch(unsigned(row, 3, "an epoch")?),
            binding: Binding::from_bytes(array(row, 4)?),
            key_id: KeyId::from_bytes(array(row, 5)?),
            public_key: public_key(row, 6, algorithm)?,
            since: UnixTime::from_secs(unsigned(row, 7, "a time")?),
        })
    }
}

/// Columns of a reservation (`r`) with its answer (`p`), in the order that [`reservation_from_row`] reads.
pub(super) const RESERVATION_COLUMNS: &str = "r.id, r.request, r.epoch, r.hour, r.binding, r.issued_at_ms, \
     p.signature, p.algorithm, p.public_key, p.digest, p.recovery_id, p.key_id, p.binding, p.attested_until, p.era, \
     p.sequence";

/// A reservation as it stands: whose request, and its answer if there is one.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) request: RequestDigest,
    pub(super) open: OpenReservation,
    pub(super) answer: Option<Box<Recorded>>,
}

pub(super) fn reservation_from_row(row: &SqliteRow) -> Result<Standing, StoreError> {
    let id = row.try_get::<i64, _>(0)?;
    let request = RequestDigest::from_bytes(array(row, 1)?);
    let key = if row.try_get::<Option<i64>, _>(2)?.is_some() {
        ReservedKey::Asset { epoch: Epoch(unsigned(row, 2, "an epoch")?) }
    } else {
        ReservedKey::Session {
            hour: unsigned(row, 3, "an hour")?,
            binding: Binding::from_bytes(array(row, 4)?),
            issued_at_ms: unsigned(row, 5, "a time of issue")?,
        }
    };
    let answer = if row.try_get::<Option<&[u8]>, _>(6)?.is_some() {
        let recovery_id = row
            .try_get::<Option<i64>, _>(10)?
            .map(u8::try_from)
            .transpose()
            .map_err(|_| StoreError::Corrupt { expected: "a recovery id" })?;
        Some(Box::new(Recorded {
            signature: Signature64::from_bytes(array(row, 6)?),
            public_key: public_key(row, 8, algorithm(row, 7)?)?,
            digest: array(row, 9)?,
            recovery_id,
            key_id: KeyId::from_bytes(array(row, 11)?),
            key,
            binding: Binding::from_bytes(array(row, 12)?),
            attested_until: UnixTime::from_secs(unsigned(row, 13, "a time")?),
            era: unsigned(row, 14, "an era")?,
            sequence: unsigned(row, 15, "a sequence")?,
        }))
    } else {
        None
    };
    Ok(Standing { request, open: OpenReservation { id, key }, answer })
}

/// A client's number as the signed integer of the same bits: equality is all that is asked of it.
pub(super) fn bits(number: u64) -> i64 {
    i64::from_be_bytes(number.to_be_bytes())
}

/// A number whose order matters, and which no system reaches.
pub(super) fn ordered(what: &'static str, number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::TooLarge { what, found: number })
}

pub(super) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).expect("a time is at most the year 9999")
}

pub(super) fn unsigned(row: &SqliteRow, column: usize, expected: &'static str) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| StoreError::Corrupt { expected })
}

fn array<const N: usize>(row: &SqliteRow, column: usize) -> Result<[u8; N], StoreError> {
    row.try_get::<&[u8], _>(column)?
        .try_into()
        .map_err(|_| StoreError::Corrupt { expected: "a value of fixed length" })
}

fn path_text(row: &SqliteRow, column: usize) -> Result<PathText, StoreError> {
    PathText::try_from(row.try_get::<&str, _>(column)?)
        .map_err(|_| StoreError::Corrupt { expected: "a tenant or an asset" })
}

fn algorithm(row: &SqliteRow, column: usize) -> Result<Algorithm, StoreError> {
    row.try_get::<&str, _>(column)?.parse().map_err(|_| StoreError::Corrupt { expected: "an algorithm" })
}

fn public_key(row: &SqliteRow, column: usize, algorithm: Algorithm) -> Result<PublicKey, StoreError> {
    PublicKey::from_bytes(algorithm, row.try_get::<&[u8], _>(column)?)
        .map_err(|_| StoreError::Corrupt { expected: "a public key" })
}
