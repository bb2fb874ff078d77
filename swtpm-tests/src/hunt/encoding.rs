//! The ways in which sixteen secret bytes can lie in memory.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    /// As they are.
    Binary,
    /// The last one first: little-endian, or 64-bit limbs of a little-endian machine.
    Reversed,
    /// Hex digits.
    HexLower,
    /// Hex digits.
    HexUpper,
    /// RFC 4648, section 4 or 5, after this many bytes of something else in the group of three.
    Base64(u8),
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binary => f.write_str("binary"),
            Self::Reversed => f.write_str("reversed binary"),
            Self::HexLower => f.write_str("lower-case hex"),
            Self::HexUpper => f.write_str("upper-case hex"),
            Self::Base64(shift) => write!(f, "base64 at offset {shift} of 3"),
        }
    }
}

/// All of them. None is shorter than `bytes`.
#[must_use]
pub fn encodings(bytes: &[u8]) -> Vec<(Encoding, Vec<u8>)> {
    let mut reversed = bytes.to_vec();
    reversed.reverse();
    let mut all = vec![
        (Encoding::Binary, bytes.to_vec()),
        (Encoding::Reversed, reversed),
        (Encoding::HexLower, hex::encode(bytes).into_bytes()),
        (Encoding::HexUpper, hex::encode_upper(bytes).into_bytes()),
    ];
    for shift in 0..3_u8 {
        let standard = base64_inner(&STANDARD_NO_PAD, shift, bytes);
        let url = base64_inner(&URL_SAFE_NO_PAD, shift, bytes);
        if url != standard {
            all.push((Encoding::Base64(shift), url));
        }
        all.push((Encoding::Base64(shift), standard));
    }
    all
}

/// The characters that `bytes` alone decide when `shift` other bytes stand before them in their group of three.
fn base64_inner(engine: &impl Engine, shift: u8, bytes: &[u8]) -> Vec<u8> {
    let shift = usize::from(shift);
    let mut padded = vec![0; shift];
    padded.extend_from_slice(bytes);
    let text = engine.encode(&padded).into_bytes();
    // A character holds six bits; the first one that holds none of the bytes before, the last one that is full.
    text[(shift * 8).div_ceil(6)..padded.len() * 8 / 6].to_vec()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_found_whatever_stands_before_and_after() {
        let secret: Vec<u8> = (100..116).collect();
        for shift in 0..3_u8 {
            for around in [0, 0x55, 0xff] {
                let mut bytes = vec![around; 6 + usize::from(shift)];
                bytes.extend_from_slice(&secret);
                bytes.extend_from_slice(&[around; 5]);
                let text = STANDARD_NO_PAD.encode(&bytes);
                let inner = String::from_utf8(base64_inner(&STANDARD_NO_PAD, shift, &secret)).unwrap();
                assert!(text.contains(&inner), "{shift}, {around}: {inner} in {text}");
                assert!(inner.len() >= 20, "{inner}");
            }
        }
    }

    #[test]
    fn no_encoding_is_shorter_than_the_bytes() {
        for (encoding, text) in encodings(&[0xfb; 16]) {
            assert!(text.len() >= 16, "{encoding}");
        }
    }
}
