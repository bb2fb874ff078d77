//! What a PCR must hold after a list, and how much of a list a quoted value vouches for.

use crate::{PcrBank, PcrIndex};

use super::{entry::Entry, hash::BankDigest, list::ImaList};

/// Entries that may stand behind what a quote vouches for. The list is read after the quote was made, and the kernel
/// goes on measuring; starting a large program takes some hundred.
pub const TAIL_MAX: usize = 1024;

/// What the kernel extends banks other than SHA-1 by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TemplateHash {
    /// The hash of the entry's data by the bank's own algorithm: kernels since 5.8.
    PerBank,
    /// The SHA-1 hash with zeros behind it: kernels before.
    PaddedSha1,
}

impl TemplateHash {
    /// For documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PerBank => "per_bank",
            Self::PaddedSha1 => "padded_sha1",
        }
    }
}

/// The part of a list that leads to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchingPrefix {
    /// How the banks were extended.
    pub hash: TemplateHash,
    /// Entries of that PCR up to the value.
    pub entries: usize,
    /// Entries of that PCR behind it, for which the value does not vouch.
    pub beyond: usize,
}

impl<'a> ImaList<'a> {
    /// The value of a PCR after every entry that extended it, from zero. `None` where the digest of an entry is not
    /// known: an unknown template in a list of text, and another bank than the list's.
    #[must_use]
    pub fn replay(&self, pcr: PcrIndex, bank: PcrBank, hash: TemplateHash) -> Option<Vec<u8>> {
        let mut value = BankDigest::filled(bank, 0);
        for entry in self.of_pcr(pcr) {
            value.extend(bank, &self.extended_by(entry, bank, hash)?);
        }
        Some(value.as_bytes().to_vec())
    }

    /// The longest part of the list after which a PCR has this value. No entry at all leads to zero only in a list that
    /// has none: a PCR that was never extended vouches for nothing.
    #[must_use]
    pub fn matching_prefix(&self, pcr: PcrIndex, bank: PcrBank, value: &[u8]) -> Option<MatchingPrefix> {
        let hashes: &[TemplateHash] = match bank {
            PcrBank::Sha1 => &[TemplateHash::PerBank],
            _ => &[TemplateHash::PerBank, TemplateHash::PaddedSha1],
        };
        hashes.iter().find_map(|hash| self.prefix_by(*hash, pcr, bank, value))
    }

    /// The PCRs that the list extends.
    #[must_use]
    pub fn pcrs(&self) -> Vec<PcrIndex> {
        let mut pcrs: Vec<PcrIndex> = self.entries().iter().map(Entry::pcr).collect();
        pcrs.sort_unstable();
        pcrs.dedup();
        pcrs
    }

    fn prefix_by(
        &self,
        hash: TemplateHash,
        pcr: PcrIndex,
        bank: PcrBank,
        expected: &[u8],
    ) -> Option<MatchingPrefix> {
        let mut value = BankDigest::filled(bank, 0);
        let mut count = 0;
        let mut matched = None;
        for entry in self.of_pcr(pcr) {
            // Behind an entry whose digest is not known there can be no match.
            let Some(digest) = self.extended_by(entry, bank, hash) else { break };
            value.extend(bank, &digest);
            count += 1;
            if value.as_bytes() == expected {
                matched = Some(count);
            }
        }
        let total = self.of_pcr(pcr).count();
        if total == 0 && value.as_bytes() == expected {
            matched = Some(0);
        }
        matched.map(|entries| MatchingPrefix { hash, entries, beyond: total - entries })
    }

    fn of_pcr(&self, pcr: PcrIndex) -> impl Iterator<Item = &Entry<'a>> {
        self.entries().iter().filter(move |entry| entry.pcr() == pcr)
    }

    /// What the kernel extended a bank by. In the list's own bank that is what the list says, whether or not the
    /// entry's data still agree with it.
    fn extended_by(&self, entry: &Entry<'_>, bank: PcrBank, hash: TemplateHash) -> Option<BankDigest> {
        let own = |bank: PcrBank| match entry.is_violation() {
            true => Some(BankDigest::filled(bank, 0xff)),
            false if bank == self.bank() => Some(BankDigest::padded(bank, entry.digest())),
            false => entry.hash(bank),
        };
        match hash {
            TemplateHash::PerBank => own(bank),
            TemplateHash::PaddedSha1 => {
                own(PcrBank::Sha1).map(|digest| BankDigest::padded(bank, digest.as_bytes()))
            }
        }
    }
}
