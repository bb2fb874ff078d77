//! Secrets of an Ed25519 key and of its signatures (RFC 8032, section 5.1), in the forms in which arithmetic holds
//! them.

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use sha2::{Digest, Sha512};

/// Named secrets.
pub type Named = Vec<(&'static str, Vec<u8>)>;

/// The secrets of a key.
///
/// # Panics
/// When the seed does not give the public key.
#[must_use]
pub fn key(seed: &[u8; 32], public: &[u8]) -> Named {
    let expanded = expanded(seed);
    let clamped = clamp_integer(expanded.half);
    let scalar = Scalar::from_bytes_mod_order(clamped);
    let point = EdwardsPoint::mul_base(&scalar).compress();
    assert_eq!(point.as_bytes()[..], *public, "the seed known here is not the public key's");
    let mut named = vec![
        ("Ed25519 seed", seed.to_vec()),
        ("hash of an Ed25519 seed", expanded.half.to_vec()),
        ("Ed25519 prefix", expanded.prefix.to_vec()),
        ("Ed25519 scalar", clamped.to_vec()),
        ("Ed25519 scalar, reduced", scalar.to_bytes().to_vec()),
    ];
    limbs(["Ed25519 scalar in limbs", "Ed25519 scalar in Montgomery limbs"], &scalar, &mut named);
    named
}

/// The nonce of a signature.
///
/// # Panics
/// When the seed does not give the signature.
#[must_use]
pub fn nonce(seed: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Named {
    let expanded = expanded(seed);
    let wide: [u8; 64] = Sha512::new().chain_update(expanded.prefix).chain_update(message).finalize().into();
    let r = Scalar::from_bytes_mod_order_wide(&wide);
    let point = EdwardsPoint::mul_base(&r).compress();
    assert_eq!(point.as_bytes()[..], signature[..32], "the nonce computed here is not the signature's");
    let mut named =
        vec![("Ed25519 nonce, 64 bytes", wide.to_vec()), ("Ed25519 nonce", r.to_bytes().to_vec())];
    limbs(["Ed25519 nonce in limbs", "Ed25519 nonce in Montgomery limbs"], &r, &mut named);
    named
}

struct Expanded {
    half: [u8; 32],
    prefix: [u8; 32],
}

fn expanded(seed: &[u8; 32]) -> Expanded {
    let hash: [u8; 64] = Sha512::digest(seed).into();
    let (half, prefix) = hash.split_at(32);
    let whole = "SHA-512 has 64 bytes";
    Expanded { half: half.try_into().expect(whole), prefix: prefix.try_into().expect(whole) }
}

/// Five limbs of 52 bits, plain and times 2^260, as the 64-bit scalar arithmetic of curve25519-dalek has them.
fn limbs(names: [&'static str; 2], scalar: &Scalar, out: &mut Named) {
    let mut montgomery = *scalar;
    for _ in 0..260 {
        montgomery += montgomery;
    }
    for (name, scalar) in names.into_iter().zip([*scalar, montgomery]) {
        let bytes = scalar.to_bytes();
        let mut packed = Vec::with_capacity(5 * 8);
        for limb in 0..5 {
            let word = (0..52).fold(0_u64, |word, bit| {
                let bit_of_all = limb * 52 + bit;
                let set = bytes.get(bit_of_all / 8).is_some_and(|byte| byte >> (bit_of_all % 8) & 1 == 1);
                word | (u64::from(set) << bit)
            });
            packed.extend_from_slice(&word.to_le_bytes());
        }
        out.push((name, packed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limbs_are_52_bits_each() {
        let mut bytes = [0; 32];
        bytes[6] = 0x10; // Bit 52.
        let mut out = Named::new();
        limbs(["", ""], &Scalar::from_bytes_mod_order(bytes), &mut out);
        let mut expected = vec![0; 40];
        expected[8] = 1;
        assert_eq!(out[0].1, expected);
        assert_ne!(out[1].1, expected);
    }
}
