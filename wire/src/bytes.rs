//! serde for long byte strings: moved as one piece, where a `Vec<u8>` by itself goes byte by byte.
//!
//! In postcard both are the same: a length, then the bytes. Not for text formats.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    deserializer.deserialize_byte_buf(Bytes)
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Piece(#[serde(with = "super")] Vec<u8>);

    #[test]
    fn the_format_is_that_of_a_vector() {
        for length in [0, 1, 127, 128, 20_000] {
            let bytes = vec![0xa5; length];
            let piece = Piece(bytes.clone());
            let encoded = postcard::to_stdvec(&piece).unwrap();
            assert_eq!(encoded, postcard::to_stdvec(&bytes).unwrap());
            assert_eq!(postcard::from_bytes::<Piece>(&encoded).unwrap(), piece);
            assert!(postcard::from_bytes::<Piece>(&encoded[..encoded.len() - 1]).is_err());
        }
    }
}
