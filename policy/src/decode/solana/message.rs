//! Solana messages: the bytes that are signed, legacy and version 0.

use std::collections::HashSet;

use solana_address::Address as Pubkey;
use solana_message::VersionedMessage;

use crate::facts::Format;

use super::DecodeError;

/// What a node takes in one packet: IPv6's least MTU without headers. The message, its signatures and their count.
const PACKET_BYTES_MAX: usize = 1232;

/// Bytes of one signature.
const SIGNATURE_BYTES: usize = 64;

/// A message that keeps the runtime's rules, and whose bytes are the only ones that its values have.
#[derive(Debug)]
pub(super) struct Message(VersionedMessage);

/// One instruction, its accounts looked up.
#[derive(Debug)]
pub(super) struct Instruction<'a> {
    /// What carries it out.
    pub(super) program: &'a Pubkey,
    /// What it works on; `None` if any comes from an address lookup table.
    pub(super) accounts: Option<Vec<&'a Pubkey>>,
    /// What it shall do.
    pub(super) data: &'a [u8],
}

impl Message {
    /// Reads one message.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, DecodeError> {
        within(PACKET_BYTES_MAX, payload)?;
        match payload {
            // A set first bit says that the others are a version.
            [..=0x80, ..] => {}
            [0xff, ..] => return Err(unsupported("a message that is for no chain (off-chain)")),
            [version, ..] => {
                return Err(unsupported(format!("a message of version {}", version & 0x7f)));
            }
            [] => return Err(malformed("no bytes")),
        }
        let message: VersionedMessage = wincode::deserialize_exact(payload)
            .map_err(|_| malformed("bytes that are no message, or more than one"))?;
        if wincode::serialize(&message).ok().as_deref() != Some(payload) {
            return Err(malformed("another spelling of its values"));
        }
        message.sanitize().map_err(|_| malformed("a message that breaks the runtime's rules"))?;
        let keys = message.static_account_keys();
        if keys.iter().collect::<HashSet<_>>().len() != keys.len() {
            return Err(malformed("one account named twice"));
        }
        let message = Self(message);
        let signatures = usize::from(message.signatures());
        // Up to 127 signatures have a count of one byte; more do not fit anyway.
        within(PACKET_BYTES_MAX.saturating_sub(1 + signatures * SIGNATURE_BYTES), payload)?;
        Ok(message)
    }

    /// Who pays: the first account, which must sign.
    pub(super) fn fee_payer(&self) -> &Pubkey {
        self.0.static_account_keys().first().expect("the runtime's rules want an account that pays")
    }

    /// How many must sign.
    pub(super) fn signatures(&self) -> u8 {
        self.0.header().num_required_signatures
    }

    /// What is done, in order.
    pub(super) fn instructions(&self) -> impl Iterator<Item = Instruction<'_>> {
        let keys = self.0.static_account_keys();
        self.0.instructions().iter().map(move |compiled| Instruction {
            program: keys
                .get(usize::from(compiled.program_id_index))
                .expect("the runtime's rules want programs among the accounts that the message names"),
            accounts: compiled.accounts.iter().map(|index| keys.get(usize::from(*index))).collect(),
            data: &compiled.data,
        })
    }
}

fn within(bytes_max: usize, payload: &[u8]) -> Result<(), DecodeError> {
    if payload.len() <= bytes_max {
        return Ok(());
    }
    Err(DecodeError::TooLarge { format: Format::Solana, bytes_max, found: payload.len() })
}

/// Of a Solana payload.
pub(super) fn malformed(reason: impl Into<String>) -> DecodeError {
    DecodeError::Malformed { format: Format::Solana, reason: reason.into() }
}

fn unsupported(what: impl Into<String>) -> DecodeError {
    DecodeError::Unsupported { what: what.into() }
}
