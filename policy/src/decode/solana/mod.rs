//! What a Solana message does.

use crate::facts::{Address, Facts};

use super::DecodeError;

/// Reads what a Solana signature is over.
pub(super) fn decode(_: &[u8], _: &Address, _: &[Address]) -> Result<Facts, DecodeError> {
    Err(DecodeError::Unsupported { what: "a Solana message, which nobody reads yet".to_owned() })
}
