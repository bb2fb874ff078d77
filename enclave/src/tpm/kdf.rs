//! Hashes and key derivation of TPM 2.0 Part 1: KDFa (11.4.10.2) and KDFe (11.4.10.3).

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha384};

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

/// The hash of an object's name, which is also the hash that protects a salt for that object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameHash {
    Sha256,
    Sha384,
}

impl NameHash {
    /// KDFe over this hash: as many bytes as the hash has, one block. The label's NUL is added here.
    pub(super) fn kdfe(self, z: &[u8], label: &[u8], party_u: &[u8], party_v: &[u8]) -> Vec<u8> {
        fn block<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut hash = D::new();
            for part in parts {
                hash.update(part);
            }
            hash.finalize().to_vec()
        }
        let parts = [&1u32.to_be_bytes(), z, label, &[0], party_u, party_v];
        match self {
            Self::Sha256 => block::<Sha256>(&parts),
            Self::Sha384 => block::<Sha384>(&parts),
        }
    }

    /// Bytes of a digest.
    pub(super) const fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }
}
