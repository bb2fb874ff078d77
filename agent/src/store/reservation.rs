//! Reservations as an operator sees them, and what an operator may do with them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use sealstone_attestation::{RequestDigest, UnixTime};
use sealstone_wire::PathText;

use super::StoreError;
use super::audit::AuditRow;
use super::database::Row;
use super::rows::{NonceKey, ReservedKey, Sender, number, reserved_key};

/// Reservations that one order may release: a longer re-organisation takes several orders.
pub const RELEASED_MAX: usize = 10_000;

/// How a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReservationState {
    /// Its answer is not known.
    Reserved,
    /// It was answered.
    Signed,
    /// Its nonce is never signed.
    Voided,
    /// A chain's re-organisation freed its nonce: another reservation may have it.
    Replaced,
}

impl ReservationState {
    /// Its name, as the store writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Signed => "signed",
            Self::Voided => "voided",
            Self::Replaced => "replaced",
        }
    }

    fn parse(name: &str) -> Result<Self, StoreError> {
        [Self::Reserved, Self::Signed, Self::Voided, Self::Replaced]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or(StoreError::Corrupt { expected: "a reservation's state" })
    }
}

/// One reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its number.
    pub id: i64,
    /// What is spent.
    pub nonce: NonceKey,
    /// 0 if it stands; those that were replaced count up from 1.
    pub generation: u64,
    /// The reservation of the same nonce before it.
    pub replaces: Option<i64>,
    /// How it stands.
    pub state: ReservationState,
    /// Digest of the canonical request.
    pub request: RequestDigest,
    /// Who asked.
    pub client: String,
    /// Digest of the policy that let it through.
    pub policy: Option<[u8; 32]>,
    /// With which key.
    pub key: ReservedKey,
    /// The number of the node that reserved it.
    pub node: u64,
    /// The enclave's era then.
    pub era: u64,
    /// When.
    pub created_at: UnixTime,
    /// Its answer: node, era and sequence of the receipt.
    pub receipt: Option<(u64, u64, u64)>,
}

impl Reservation {
    /// Columns in the order that [`Reservation::from_row`] reads.
    pub(super) const COLUMNS: &str = "r.id, r.chain_id, r.sender, r.nonce, r.generation, r.replaces, r.state, \
         r.request, r.client, r.policy, r.epoch, r.hour, r.binding, r.issued_at_ms, r.node, r.era, r.created_at, \
         r.receipt_node, r.receipt_era, r.receipt_sequence";

    pub(super) fn from_row(row: &Row) -> Result<Self, StoreError> {
        let receipt = match row.int_or_none(17)? {
            None => None,
            Some(_) => Some((
                row.unsigned(17, "a node's number")?,
                row.unsigned(18, "an era")?,
                row.unsigned(19, "a sequence")?,
            )),
        };
        Ok(Self {
            id: row.int(0)?,
            nonce: NonceKey {
                chain_id: number(row.int(1)?),
                sender: Sender::stored(row.text(2)?),
                nonce: number(row.int(3)?),
            },
            generation: row.unsigned(4, "a generation")?,
            replaces: row.int_or_none(5)?,
            state: ReservationState::parse(row.text(6)?)?,
            request: RequestDigest::from_bytes(row.array(7)?),
            client: row.text(8)?.to_owned(),
            policy: row.bytes_or_none(9)?.map(|_| row.array(9)).transpose()?,
            key: reserved_key(row, 10)?,
            node: row.unsigned(14, "a node's number")?,
            era: row.unsigned(15, "an era")?,
            created_at: UnixTime::from_secs(row.unsigned(16, "a time")?),
            receipt,
        })
    }
}

/// Which reservations are wanted. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReservationQuery {
    /// In this state.
    pub state: Option<ReservationState>,
    /// Of these tenants.
    pub tenants: Option<BTreeSet<PathText>>,
    /// Of this sender.
    pub sender: Option<Sender>,
    /// On this chain.
    pub chain_id: Option<u64>,
    /// With a greater number than this one.
    pub after: Option<i64>,
}

/// What came of voiding a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voided {
    /// Its nonce is never signed. If it was voided before, nothing was recorded again.
    Voided,
    /// It was answered before; nothing changed.
    Signed,
    /// A re-organisation had freed its nonce before; nothing changed.
    Replaced,
    /// There is none of that number; nothing changed.
    Unknown,
}

/// An order to free nonces that a chain's re-organisation took back.
#[derive(Clone, Debug)]
pub struct ReleaseNonces {
    /// On which chain.
    pub chain_id: u64,
    /// Whose.
    pub sender: Sender,
    /// Which, with the last.
    pub nonces: RangeInclusive<u64>,
    /// The record of it.
    pub audit: AuditRow,
}

/// What came of that order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoncesReleased {
    /// These reservations are replaced; their nonces are free.
    Released {
        /// Their numbers, in the order of their nonces.
        reservations: Vec<i64>,
    },
    /// Nothing changed: a reservation in the range is open, and might be signed yet. Void it first.
    StillOpen {
        /// It.
        reservation: i64,
    },
    /// Nothing changed: the range has more than [`RELEASED_MAX`] reservations.
    TooMany,
}
