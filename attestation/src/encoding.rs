//! The few ways in which bytes are written: length-prefixed for hashing, hex and arrays for serde.
//!
//! Text formats (JSON) carry lower-case hex; compact formats (postcard) carry the raw bytes. Which one is
//! asked for is what serde calls "human readable".

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeTuple};
use thiserror::Error;

/// Appends `lp(bytes)`: a big-endian u16 length, then the bytes.
///
/// # Errors
/// [`TooLong`] when the length does not fit sixteen bits; `out` is then unchanged.
pub fn lp(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), TooLong> {
    let length = u16::try_from(bytes.len()).map_err(|_| TooLong { found: bytes.len() })?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// [`lp`] for what is short by its type: labels, names of algorithms, digests, keys.
pub(crate) fn lp_short(out: &mut Vec<u8>, bytes: &[u8]) {
    lp(out, bytes).expect("labels, digests and keys are far below 65,536 bytes");
}

/// The caller gave more bytes than a length prefix can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected at most 65535 bytes, found {found}")]
pub struct TooLong {
    /// Bytes given.
    pub found: usize,
}

/// A hex text that does not spell the bytes that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HexError {
    /// Not an even number of hex digits.
    #[error("expected hex digits, two for each byte")]
    Digits,
    /// Hex, but of another length.
    #[error("expected {expected} bytes in hex, found {found}")]
    Length {
        /// Bytes that the type holds.
        expected: usize,
        /// Bytes that the text spells.
        found: usize,
    },
}

/// Reads exactly `N` bytes of hex; upper and lower case are the same bytes.
pub(crate) fn array_from_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let bytes = hex::decode(text).map_err(|_| HexError::Digits)?;
    let found = bytes.len();
    bytes.try_into().map_err(|_| HexError::Length { expected: N, found })
}

/// serde for fixed arrays: hex text, or exactly the raw bytes.
pub(crate) mod array {
    use super::{ArrayVisitor, Deserializer, SerializeTuple, Serializer};

    pub(crate) fn serialize<const N: usize, S: Serializer>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(&hex::encode(bytes));
        }
        let mut tuple = serializer.serialize_tuple(N)?;
        for byte in bytes {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }

    pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(ArrayVisitor)
        } else {
            deserializer.deserialize_tuple(N, ArrayVisitor)
        }
    }
}

struct ArrayVisitor<const N: usize>;

impl<'de, const N: usize> de::Visitor<'de> for ArrayVisitor<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{N} bytes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        array_from_hex(text).map_err(E::custom)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut bytes = [0; N];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = sequence.next_element()?.ok_or_else(|| de::Error::invalid_length(index, &self))?;
        }
        Ok(bytes)
    }
}

/// Bytes of any length that read as hex in text formats.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HexBytes(pub Vec<u8>);

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex_vec::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex_vec::deserialize(deserializer).map(Self)
    }
}

/// serde for byte vectors: hex text, or a length and the raw bytes.
pub(crate) mod hex_vec {
    use super::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&hex::encode(bytes))
        } else {
            bytes.serialize(serializer)
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        if deserializer.is_human_readable() {
            hex::decode(String::deserialize(deserializer)?)
                .map_err(|_| de::Error::custom(super::HexError::Digits))
        } else {
            Vec::deserialize(deserializer)
        }
    }
}

/// A map whose keys may not repeat: JSON allows it, and the last one would silently win.
pub(crate) mod unique_map {
    use std::{collections::BTreeMap, fmt, marker::PhantomData};

    use super::{Deserialize, Deserializer, de};

    pub(crate) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord + fmt::Display,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }

    struct UniqueVisitor<K, V>(PhantomData<(K, V)>);

    impl<'de, K, V> de::Visitor<'de> for UniqueVisitor<K, V>
    where
        K: Deserialize<'de> + Ord + fmt::Display,
        V: Deserialize<'de>,
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map without repeated keys")
        }

        fn visit_map<A: de::MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some(key) = access.next_key::<K>()? {
                if map.contains_key(&key) {
                    return Err(de::Error::custom(format_args!("expected each key once, found {key} twice")));
                }
                map.insert(key, access.next_value()?);
            }
            Ok(map)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_prefix_counts_65535_bytes_and_refuses_one_more() {
        let mut out = vec![7];
        lp(&mut out, b"ab").unwrap();
        assert_eq!(out, [7, 0, 2, b'a', b'b']);
        assert_eq!(lp(&mut out, &vec![0; 65_536]), Err(TooLong { found: 65_536 }));
        assert_eq!(out.len(), 5);
        lp(&mut out, &vec![0; 65_535]).unwrap();
    }

    #[test]
    fn hex_of_another_length_is_refused_with_both_lengths() {
        assert_eq!(array_from_hex::<2>("aabbcc"), Err(HexError::Length { expected: 2, found: 3 }));
        assert!(matches!(array_from_hex::<2>("aabz"), Err(HexError::Digits)));
        assert!(matches!(array_from_hex::<2>("aab"), Err(HexError::Digits)));
        assert_eq!(array_from_hex::<2>("AAbb"), Ok([0xaa, 0xbb]));
    }
}
