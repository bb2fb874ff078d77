//! Messages as bytes: postcard, whole, and never longer than one frame carries.

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::limits::PLAINTEXT_MAX;

/// Encodes a message that fits one frame.
///
/// # Errors
/// [`CodecError::TooLong`] or [`CodecError::Encode`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    let mut buffer = vec![0; PLAINTEXT_MAX];
    let length = encode_into(message, &mut buffer)?.len();
    buffer.truncate(length);
    buffer.shrink_to_fit();
    Ok(buffer)
}

/// Decodes a message that takes up all of `bytes`.
///
/// # Errors
/// [`CodecError::Decode`] for other bytes, [`CodecError::Trailing`] when some are left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > PLAINTEXT_MAX {
        return Err(CodecError::TooLong);
    }
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(CodecError::Trailing { found: rest.len() }),
        Err(error) => Err(CodecError::Decode(error)),
    }
}

/// Encodes a message into a buffer, as much of which is used as the result says.
pub(super) fn encode_into<'buffer>(
    message: &impl Serialize,
    buffer: &'buffer mut [u8],
) -> Result<&'buffer [u8], CodecError> {
    match postcard::to_slice(message, buffer) {
        Ok(bytes) => Ok(bytes),
        Err(postcard::Error::SerializeBufferFull) => Err(CodecError::TooLong),
        Err(error) => Err(CodecError::Encode(error)),
    }
}

/// Why a message does not encode or decode.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// More than one frame carries.
    #[error("expected a message of at most {PLAINTEXT_MAX} bytes, found a longer one")]
    TooLong,
    /// The message has no encoding; a bug.
    #[error("the message cannot be encoded")]
    Encode(#[source] postcard::Error),
    /// The peer sent something else.
    #[error("expected a message of this protocol, found other bytes")]
    Decode(#[source] postcard::Error),
    /// The peer sent more than a message.
    #[error("expected the message to end, found {found} more bytes")]
    Trailing {
        /// Bytes left over.
        found: usize,
    },
}
