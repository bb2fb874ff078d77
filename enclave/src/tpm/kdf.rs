//! Hashes and key derivation of sessions: KDFa of TPM 2.0 Part 1, section 11.4.10.2.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Bytes of a SHA-256 digest, the hash of all sessions and policies here.
pub(super) const DIGEST_LEN: usize = 32;

/// SHA-256 over the concatenation of `parts`.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// HMAC-SHA256 over the concatenation of `parts`.
pub(super) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// KDFa with HMAC-SHA256: 256 bits, one block of the counter mode. The label's NUL is added here.
pub(super) fn kdfa(key: &[u8], label: &[u8], context_u: &[u8], context_v: &[u8]) -> [u8; DIGEST_LEN] {
    const BITS: u32 = 256;
    hmac_sha256(key, &[&1u32.to_be_bytes(), label, &[0], context_u, context_v, &BITS.to_be_bytes()])
}
