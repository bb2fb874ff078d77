//! Payloads, read as what they do. What is judged is what is signed: sender, chain, nonce, recipients and amounts
//! come from the bytes that the signature is over, by the chains' own libraries.
//!
//! A payload is either refused, or read to its last byte: it must be exactly what its values are written as. What it
//! does beyond what is known here becomes a text in [`Facts::unknown`], never silence.

use thiserror::Error;

use crate::facts::{Address, Facts, Format};

mod evm;
mod solana;

/// Reads a payload that `sender` shall sign.
///
/// `recipients` are the owners that the client says it pays. They are claims: they only help where a payload names
/// what can be computed from an owner but not turned back into it (Solana's associated token accounts).
///
/// # Errors
/// [`DecodeError`] for everything but one whole unsigned payload of the format that the sender can sign.
pub fn decode(
    format: Format,
    payload: &[u8],
    sender: &Address,
    recipients: &[Address],
) -> Result<Facts, DecodeError> {
    match format {
        Format::Opaque => Ok(Facts::opaque()),
        Format::Evm => evm::decode(payload, sender),
        Format::Solana => solana::decode(payload, sender, recipients),
    }
}

/// A payload that is refused. The caller is at fault; the texts hold no bytes of it but addresses and selectors.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes are no payload of the format.
    #[error("expected one unsigned {format} payload, written canonically, found {reason}")]
    Malformed {
        /// How they were read.
        format: Format,
        /// What is wrong with them.
        reason: String,
    },
    /// A payload that nobody can judge, or that nobody should sign.
    #[error("expected a payload of a kind that is signed here, found {what}")]
    Unsupported {
        /// What it is.
        what: String,
    },
    /// The payload spends what is another's.
    #[error("expected the sender {expected} to be who pays and spends, found {found}")]
    SenderMismatch {
        /// Who shall sign.
        expected: Address,
        /// Whom the payload names.
        found: Address,
    },
    /// An address of another chain, or not its canonical text.
    #[error("expected canonical {format} addresses of sender and recipients, found {found}")]
    ForeignAddress {
        /// How the payload is read.
        format: Format,
        /// What was given.
        found: Address,
    },
    /// More recipients than a payload can pay.
    #[error("expected at most {recipients_max} declared recipients, found {found}")]
    TooManyRecipients {
        /// What a payload can pay.
        recipients_max: usize,
        /// How many there are.
        found: usize,
    },
    /// More bytes than the chain's nodes take.
    #[error("expected at most {bytes_max} bytes of {format} payload, found {found}")]
    TooLarge {
        /// How the payload is read.
        format: Format,
        /// What the chain's nodes take.
        bytes_max: usize,
        /// How many there are.
        found: usize,
    },
}
