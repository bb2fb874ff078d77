//! The first entry of a list: a digest over the PCRs of the boot, which ties the list to it (Linux,
//! `security/integrity/ima/ima_crypto.c`).

use crate::{PcrBank, PcrIndex, PcrValues};

use super::{hash::BankDigest, list::ImaList};

/// What the kernel calls it; the second name where it began after its drivers.
const NAMES: [&[u8]; 2] = [b"boot_aggregate", b"boot_aggregate_late"];

/// PCRs that kernels before 5.8 took, and those since in SHA-1.
const FIRMWARE: u8 = 8;

/// PCRs that kernels since 5.8 take, unless in SHA-1: those of the boot loader as well.
const BOOT: u8 = 10;

/// The boot aggregate as a list has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootAggregate<'a> {
    /// The name of its hash algorithm; empty in the template `ima`.
    pub algorithm: &'a str,
    /// The digest.
    pub digest: &'a [u8],
}

/// Which PCRs an aggregate is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregated {
    /// 0 to 7.
    Firmware,
    /// 0 to 9.
    Boot,
}

/// How an aggregate compares with values of PCRs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recomputed {
    /// It is the one over these PCRs.
    Agrees {
        /// Which ones.
        over: Aggregated,
        /// In which bank.
        bank: PcrBank,
    },
    /// It is not the one over these PCRs, however a kernel computes it.
    Differs {
        /// In which bank.
        bank: PcrBank,
    },
    /// Not every value that it may be over is known.
    Unknown {
        /// The bank, or `None` where its hash algorithm is none of a bank.
        bank: Option<PcrBank>,
    },
}

impl ImaList<'_> {
    /// The boot aggregate, if the list begins with one. Further down only the name of a file could be called so.
    #[must_use]
    pub fn boot_aggregate(&self) -> Option<BootAggregate<'_>> {
        let entry = self.entries().first()?;
        if !NAMES.contains(&entry.name()?) {
            return None;
        }
        let file = entry.file_digest()?;
        // `ima:` or `verity:` before it, in the newer templates.
        let algorithm = file.algorithm.rsplit(':').next().unwrap_or_default();
        Some(BootAggregate { algorithm, digest: file.digest })
    }
}

impl BootAggregate<'_> {
    /// Compares it with values of PCRs, which somebody else vouches for.
    #[must_use]
    pub fn compare(&self, values: &PcrValues) -> Recomputed {
        let name = if self.algorithm.is_empty() { "sha1" } else { self.algorithm };
        let Some(bank) = name.parse::<PcrBank>().ok().filter(|bank| bank.digest_len() == self.digest.len())
        else {
            return Recomputed::Unknown { bank: None };
        };
        let ways: &[(Aggregated, u8)] = match bank {
            PcrBank::Sha1 => &[(Aggregated::Firmware, FIRMWARE)],
            _ => &[(Aggregated::Boot, BOOT), (Aggregated::Firmware, FIRMWARE)],
        };
        let mut all_known = true;
        for &(over, count) in ways {
            match aggregate(bank, count, values) {
                Some(digest) if digest.as_bytes() == self.digest => {
                    return Recomputed::Agrees { over, bank };
                }
                Some(_) => {}
                None => all_known = false,
            }
        }
        if all_known { Recomputed::Differs { bank } } else { Recomputed::Unknown { bank: Some(bank) } }
    }
}

fn aggregate(bank: PcrBank, count: u8, values: &PcrValues) -> Option<BankDigest> {
    let parts: Option<Vec<&[u8]>> = (0..count).map(|index| values.get(bank, PcrIndex::new(index)?)).collect();
    Some(BankDigest::of(bank, &parts?))
}
