//! A whole measurement list, in either form in which the kernel shows it.

use std::collections::BTreeMap;

use crate::PcrBank;

use super::{ascii, binary, entry::Entry, error::ImaError, template};

/// Lowest byte with which a line of text can begin. A binary list begins with a little-endian number of at most 23.
const TEXT_FROM: u8 = 24;

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `binary_runtime_measurements`, little-endian.
    Binary,
    /// `ascii_runtime_measurements`.
    Ascii,
}

impl Encoding {
    /// For documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Ascii => "ascii",
        }
    }
}

/// A measurement list: nothing in it is believed yet but its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImaList<'a> {
    encoding: Encoding,
    bank: PcrBank,
    entries: Vec<Entry<'a>>,
}

impl<'a> ImaList<'a> {
    /// Bytes of a list: what evidence can hold.
    pub const BYTES_MAX: usize = 64 * 1024 * 1024;

    /// Entries of a list. A machine measures each file once and then only when it changed; ones that were up for a
    /// year have tens of thousands.
    pub const ENTRIES_MAX: usize = 1_000_000;

    /// Reads a list, all of it. An empty one is a list: the kernel has measured nothing.
    ///
    /// # Errors
    /// [`ImaError`] says where it stops being one.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImaError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(ImaError::TooLong { found: bytes.len() });
        }
        let (encoding, (bank, mut entries)) = match bytes.first() {
            None => (Encoding::Ascii, (PcrBank::Sha1, Vec::new())),
            Some(..TEXT_FROM) => (Encoding::Binary, binary::parse(bytes)?),
            Some(_) => (Encoding::Ascii, ascii::parse(bytes)?),
        };
        for entry in &mut entries {
            if !entry.is_violation() {
                entry.intact = entry.hash(bank).map(|digest| digest.as_bytes() == &*entry.digest);
            }
        }
        Ok(Self { encoding, bank, entries })
    }

    /// Its form.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The hash of its template digests: SHA-1, but for the lists of single banks that kernels since 6.10 show.
    #[must_use]
    pub fn bank(&self) -> PcrBank {
        self.bank
    }

    /// The measurements, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// How many of them are violations.
    #[must_use]
    pub fn violations(&self) -> usize {
        self.entries.iter().filter(|entry| entry.is_violation()).count()
    }

    /// Those whose data do not hash to their digest: somebody changed them.
    pub fn mismatches(&self) -> impl Iterator<Item = &Entry<'a>> {
        self.entries.iter().filter(|entry| entry.intact == Some(false))
    }

    /// How many entries each template has.
    #[must_use]
    pub fn templates(&self) -> BTreeMap<&'a str, usize> {
        let mut counts = BTreeMap::new();
        for entry in &self.entries {
            *counts.entry(entry.template).or_insert(0) += 1;
        }
        counts
    }

    /// The templates that are not known, whose fields stay raw.
    #[must_use]
    pub fn unknown_templates(&self) -> Vec<&'a str> {
        self.templates().into_keys().filter(|name| template::fields_of(name).is_none()).collect()
    }
}
