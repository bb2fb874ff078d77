//! Key derivation of TPM 2.0 Part 1: KDFa (section 11.4.10.2) and KDFe (section 11.4.10.3).

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha384};

/// The hash of an object's name, which also protects secrets that are sent to that object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameHash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
}

impl NameHash {
    /// KDFe: as many bytes as the hash has, one block. The label's NUL is added here.
    pub(crate) fn kdfe(self, z: &[u8], label: &[u8], party_u: &[u8], party_v: &[u8]) -> Vec<u8> {
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

    /// KDFa of at most as many bits as the hash has, so one block of the counter mode. The label's NUL is added here.
    ///
    /// # Panics
    /// If more bits are asked for; callers ask for a fixed number.
    pub(crate) fn kdfa(
        self,
        key: &[u8],
        label: &[u8],
        context_u: &[u8],
        context_v: &[u8],
        bits: u32,
    ) -> Vec<u8> {
        let mut block =
            self.hmac(key, &[&1u32.to_be_bytes(), label, &[0], context_u, context_v, &bits.to_be_bytes()]);
        let bytes = usize::try_from(bits / 8).expect("a number of bytes fits");
        assert!(bytes <= block.len(), "one block of KDFa is at most the hash");
        block.truncate(bytes);
        block
    }

    /// HMAC over the concatenation of `parts`.
    pub(crate) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        fn over<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
            let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of every length");
            for part in parts {
                mac.update(part);
            }
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Self::Sha256 => over::<Hmac<Sha256>>(key, parts),
            Self::Sha384 => over::<Hmac<Sha384>>(key, parts),
        }
    }

    /// Bytes of a digest.
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }
}
