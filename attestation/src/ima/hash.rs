//! Digests of any bank, SHA-1 among them: the kernel writes its list and extends its PCRs by it. A verdict never
//! rests on SHA-1; what a list says in it is only replayed and shown.

use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use crate::PcrBank;

/// Bytes of the longest digest.
const LONGEST: usize = 64;

/// A digest or PCR value as long as its bank's, without an allocation: lists have a hundred thousand of them.
#[derive(Clone, Copy)]
pub(super) struct BankDigest {
    bytes: [u8; LONGEST],
    length: usize,
}

impl BankDigest {
    /// The same byte throughout.
    pub(super) fn filled(bank: PcrBank, byte: u8) -> Self {
        Self { bytes: [byte; LONGEST], length: bank.digest_len() }
    }

    /// A shorter digest with zeros behind it, as kernels before 5.8 extended what they had only in SHA-1; a longer one
    /// is cut.
    pub(super) fn padded(bank: PcrBank, digest: &[u8]) -> Self {
        let mut padded = Self::filled(bank, 0);
        let length = digest.len().min(padded.length);
        padded.bytes[..length].copy_from_slice(&digest[..length]);
        padded
    }

    /// The digest of these parts, one after the other.
    pub(super) fn of(bank: PcrBank, parts: &[&[u8]]) -> Self {
        match bank {
            PcrBank::Sha1 => hashed::<Sha1>(parts),
            PcrBank::Sha256 => hashed::<Sha256>(parts),
            PcrBank::Sha384 => hashed::<Sha384>(parts),
            PcrBank::Sha512 => hashed::<Sha512>(parts),
        }
    }

    /// TPM2_PCR_Extend (TPM 2.0 Part 3, section 22.2).
    pub(super) fn extend(&mut self, bank: PcrBank, digest: &Self) {
        *self = Self::of(bank, &[self.as_bytes(), digest.as_bytes()]);
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn hashed<D: sha2::Digest>(parts: &[&[u8]]) -> BankDigest {
    let mut hasher = D::new();
    for part in parts {
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let mut bytes = [0; LONGEST];
    bytes[..digest.len()].copy_from_slice(&digest);
    BankDigest { bytes, length: digest.len() }
}
