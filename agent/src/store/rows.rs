//! What the store keeps, as types; and how numbers and texts are written into its columns.

use sealstone_attestation::{
    Algorithm, Binding, KeyId, PublicKey, RequestDigest, Signature64, SignedReceipt, UnixTime,
};
use sealstone_policy::engine::{Demand, Reason};
use sealstone_wire::{Epoch, PathText};

use super::StoreError;
use super::audit::AuditRow;
use super::database::Row;
use super::refusal::RefusalRecord;

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

    /// The texts that all senders of a tenant are between: from the first, before the second, as bytes.
    pub(super) fn ranges_of(tenant: &PathText) -> [(String, String); 2] {
        // What follows the colon that ends the tenant.
        const BEYOND: char = ';';
        ["asset", "session"].map(|kind| {
            let name = format!("{kind}:{}:{tenant}", tenant.as_str().len());
            (format!("{name}:"), format!("{name}{BEYOND}"))
        })
    }

    /// Whether it is an asset, and not the sender of session keys.
    #[must_use]
    pub fn is_asset(&self) -> bool {
        self.0.starts_with("asset:")
    }

    /// Its tenant, and the asset or the session's sender. `None` if the text was not made by one of the above.
    #[must_use]
    pub fn parts(&self) -> Option<(&str, &str)> {
        let (_, rest) = self.0.split_once(':')?;
        let (length, rest) = rest.split_once(':')?;
        let (tenant, name) = rest.split_at_checked(length.parse().ok()?)?;
        Some((tenant, name.strip_prefix(':')?))
    }

    /// As the store has it.
    pub(super) fn stored(text: &str) -> Self {
        Self(text.to_owned())
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
    /// Whether the client named the key's epoch, so that it need not be the asset's newest.
    pub epoch_named: bool,
    /// Who asks.
    pub client: String,
    /// The client's name for the request, if it gave one.
    pub idempotency: Option<IdempotencyKey>,
    /// Digest of the policy that let the request through.
    pub policy: Option<[u8; 32]>,
    /// What must hold of the sender's windows, and is added to them if the nonce is given.
    pub demands: Vec<Demand>,
    /// Now, in Unix milliseconds.
    pub now_ms: u64,
    /// The record that is written if a demand refuses the request.
    pub refusal: RefusalRecord,
}

/// What came of a reservation. Every case is durable when it is returned.
#[derive(Clone, Debug)]
pub enum Reserved {
    /// The nonce is this request's now.
    Fresh {
        /// The reservation.
        id: i64,
    },
    /// The same request reserved it before, and its answer is not known. It is never released any more, for who
    /// reserved it may be signing it.
    Open(OpenReservation),
    /// The same request was answered before.
    Answered(Box<Recorded>),
    /// Another request reserved the nonce.
    NonceUsed,
    /// The reservation was voided: this nonce is never signed.
    Voided,
    /// The client's idempotency key names another request.
    KeyReused,
    /// The asset is unknown, was retired, or has a newer epoch than the one asked for: read it again.
    AssetChanged,
    /// Windows of the sender have no room; nothing was reserved, and the refusal is recorded.
    Refused(Vec<Reason>),
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
    /// The record of it.
    pub audit: AuditRow,
}

/// What came of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// How far the newest receipt of the era is beyond those that are held without a gap.
    pub behind: u64,
    /// Whether the reservation was voided meanwhile: then the signature is kept, and given to nobody.
    pub voided: bool,
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
    /// When the asset was retired: then nothing new is signed with it.
    pub retired_at: Option<UnixTime>,
}

impl AssetEpoch {
    /// Columns in the order that [`AssetEpoch::from_row`] reads.
    pub(super) const COLUMNS: &str =
        "e.tenant, e.asset, a.algorithm, e.epoch, e.binding, e.key_id, e.public_key, e.since, a.retired_at";

    pub(super) fn from_row(row: &Row) -> Result<Self, StoreError> {
        let algorithm = algorithm(row, 2)?;
        Ok(Self {
            tenant: path_text(row, 0)?,
            asset: path_text(row, 1)?,
            algorithm,
            epoch: Epoch(row.unsigned(3, "an epoch")?),
            binding: Binding::from_bytes(row.array(4)?),
            key_id: KeyId::from_bytes(row.array(5)?),
            public_key: public_key(row, 6, algorithm)?,
            since: UnixTime::from_secs(row.unsigned(7, "a time")?),
            retired_at: row
                .int_or_none(8)?
                .map(|_| row.unsigned(8, "a time").map(UnixTime::from_secs))
                .transpose()?,
        })
    }
}

/// Columns of a reservation (`r`) with its answer (`p`), in the order that [`Standing::from_row`] reads.
pub(super) const RESERVATION_COLUMNS: &str = "r.id, r.request, r.epoch, r.hour, r.binding, r.issued_at_ms, \
     p.signature, p.algorithm, p.public_key, p.digest, p.recovery_id, p.key_id, p.binding, p.attested_until, p.era, \
     p.sequence, r.state, r.chain_id, r.sender, r.nonce";

/// How a reservation finds its answer.
pub(super) const ANSWER_JOIN: &str = "LEFT JOIN receipts p ON p.node = r.receipt_node AND p.era = r.receipt_era \
     AND p.sequence = r.receipt_sequence";

/// A reservation as it stands: whose request, and its answer if there is one.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) request: RequestDigest,
    pub(super) open: OpenReservation,
    pub(super) answer: Option<Box<Recorded>>,
    pub(super) voided: bool,
}

impl Standing {
    pub(super) fn from_row(row: &Row) -> Result<Self, StoreError> {
        let id = row.int(0)?;
        let request = RequestDigest::from_bytes(row.array(1)?);
        let key = reserved_key(row, 2)?;
        let answer = if row.bytes_or_none(6)?.is_some() { Some(Box::new(recorded(row, key)?)) } else { None };
        let voided = row.text(16)? == "voided";
        Ok(Self { request, open: OpenReservation { id, key }, answer, voided })
    }

    /// Its number, if this request may resume it.
    pub(super) fn resumable(&self, request: &RequestDigest) -> Option<i64> {
        matches!(self.reserved(request), Reserved::Open(_)).then_some(self.open.id)
    }

    /// What a request learns of it.
    pub(super) fn reserved(&self, request: &RequestDigest) -> Reserved {
        if self.request != *request {
            Reserved::NonceUsed
        } else if self.voided {
            Reserved::Voided
        } else if let Some(answer) = &self.answer {
            Reserved::Answered(answer.clone())
        } else {
            Reserved::Open(self.open)
        }
    }
}

/// Of four columns from `column`: epoch, hour, binding, time of issue.
pub(super) fn reserved_key(row: &Row, column: usize) -> Result<ReservedKey, StoreError> {
    Ok(if row.int_or_none(column)?.is_some() {
        ReservedKey::Asset { epoch: Epoch(row.unsigned(column, "an epoch")?) }
    } else {
        ReservedKey::Session {
            hour: row.unsigned(column + 1, "an hour")?,
            binding: Binding::from_bytes(row.array(column + 2)?),
            issued_at_ms: row.unsigned(column + 3, "a time of issue")?,
        }
    })
}

fn recorded(row: &Row, key: ReservedKey) -> Result<Recorded, StoreError> {
    let recovery_id = row
        .int_or_none(10)?
        .map(u8::try_from)
        .transpose()
        .map_err(|_| StoreError::Corrupt { expected: "a recovery id" })?;
    Ok(Recorded {
        signature: Signature64::from_bytes(row.array(6)?),
        public_key: public_key(row, 8, algorithm(row, 7)?)?,
        digest: row.array(9)?,
        recovery_id,
        key_id: KeyId::from_bytes(row.array(11)?),
        key,
        binding: Binding::from_bytes(row.array(12)?),
        attested_until: UnixTime::from_secs(row.unsigned(13, "a time")?),
        era: row.unsigned(14, "an era")?,
        sequence: row.unsigned(15, "a sequence")?,
    })
}

/// A client's number as the signed integer of the same bits: equality is all that is asked of it.
pub(super) fn bits(number: u64) -> i64 {
    i64::from_be_bytes(number.to_be_bytes())
}

/// The other way.
pub(super) fn number(bits: i64) -> u64 {
    u64::from_be_bytes(bits.to_be_bytes())
}

/// A number whose order matters, and which no system reaches.
pub(super) fn ordered(what: &'static str, number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::TooLarge { what, found: number })
}

pub(super) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).expect("a time is at most the year 9999")
}

fn path_text(row: &Row, column: usize) -> Result<PathText, StoreError> {
    PathText::try_from(row.text(column)?)
        .map_err(|_| StoreError::Corrupt { expected: "a tenant or an asset" })
}

fn algorithm(row: &Row, column: usize) -> Result<Algorithm, StoreError> {
    row.text(column)?.parse().map_err(|_| StoreError::Corrupt { expected: "an algorithm" })
}

fn public_key(row: &Row, column: usize, algorithm: Algorithm) -> Result<PublicKey, StoreError> {
    PublicKey::from_bytes(algorithm, row.bytes(column)?)
        .map_err(|_| StoreError::Corrupt { expected: "a public key" })
}
