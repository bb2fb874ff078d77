//! The list: the SHA-256 of each address, sorted, in a file of fixed layout.
//!
//! ```text
//! offset  bytes
//!      0      8  "SEALSANC"
//!      8      4  version, 1, big-endian as all numbers here
//!     12      4  number of entries n
//!     16      8  time of the import, seconds since 1970
//!     24     32  SHA-256 of the sources
//!     56      8  zero
//!     64   32·n  entries: SHA-256 of the address in lower case, ascending, each once
//!      …     32  SHA-256 of everything before
//! ```

use std::fmt;

use sealstone_attestation::{Sha256Digest, UnixTime};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::facts::Address;

const MAGIC: &[u8; 8] = b"SEALSANC";
const VERSION: u32 = 1;
const HEADER_LEN: usize = 64;
const ENTRY_LEN: usize = 32;
const CHECKSUM_LEN: usize = 32;

/// Addresses that recipients are looked up in. It is shared and replaced whole.
#[derive(Clone, PartialEq, Eq)]
pub struct SanctionsList {
    imported_at: UnixTime,
    source: Sha256Digest,
    entries: Vec<[u8; ENTRY_LEN]>,
}

impl SanctionsList {
    /// Most entries: 128 MiB of memory. All published lists together have some thousands.
    pub const ENTRIES_MAX: usize = 4 * 1024 * 1024;

    /// Bytes of the largest file.
    pub const BYTES_MAX: usize = HEADER_LEN + Self::ENTRIES_MAX * ENTRY_LEN + CHECKSUM_LEN;

    /// Takes entries in any order.
    ///
    /// # Errors
    /// [`ListError::Count`] for none, which would let everybody pass, or too many.
    pub(super) fn new(
        imported_at: UnixTime,
        source: Sha256Digest,
        mut entries: Vec<[u8; ENTRY_LEN]>,
    ) -> Result<Self, ListError> {
        entries.sort_unstable();
        entries.dedup();
        if !(1..=Self::ENTRIES_MAX).contains(&entries.len()) {
            return Err(ListError::Count { found: entries.len() });
        }
        Ok(Self { imported_at, source, entries })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ListError`] for anything but exactly what [`SanctionsList::to_bytes`] makes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ListError> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(ListError::Short)?;
        let number =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if header[..8] != *MAGIC {
            return Err(ListError::Magic);
        }
        if number(8) != VERSION {
            return Err(ListError::Version { found: number(8) });
        }
        let count = usize::try_from(number(12)).map_err(|_| ListError::Short)?;
        if !(1..=Self::ENTRIES_MAX).contains(&count) {
            return Err(ListError::Count { found: count });
        }
        let expected = HEADER_LEN + count * ENTRY_LEN + CHECKSUM_LEN;
        if bytes.len() != expected {
            return Err(ListError::Length { expected, found: bytes.len() });
        }
        let (entries, checksum) = rest.split_at(count * ENTRY_LEN);
        if Sha256::digest(&bytes[..expected - CHECKSUM_LEN])[..] != *checksum {
            return Err(ListError::Damaged);
        }
        let seconds = (u64::from(number(16)) << 32) | u64::from(number(20));
        let imported_at = UnixTime::from_secs(seconds);
        if imported_at.as_secs() != seconds || header[56..] != [0; 8] {
            return Err(ListError::Damaged);
        }
        let mut source = [0; 32];
        source.copy_from_slice(&header[24..56]);
        let entries: Vec<[u8; ENTRY_LEN]> = entries.as_chunks().0.to_vec();
        if !entries.is_sorted_by(|one, next| one < next) {
            return Err(ListError::Order);
        }
        Ok(Self { imported_at, source: Sha256Digest::from_bytes(source), entries })
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.entries.len() * ENTRY_LEN + CHECKSUM_LEN);
        let count = u32::try_from(self.entries.len()).expect("bounded by ENTRIES_MAX");
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(&self.imported_at.as_secs().to_be_bytes());
        bytes.extend_from_slice(self.source.as_bytes());
        bytes.extend_from_slice(&[0; 8]);
        for entry in &self.entries {
            bytes.extend_from_slice(entry);
        }
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// Whether an address is on the list.
    #[must_use]
    pub fn contains(&self, address: &Address) -> bool {
        self.contains_text(address.as_str())
    }

    /// Whether a text is on the list, in whatever case it is written.
    #[must_use]
    pub fn contains_text(&self, text: &str) -> bool {
        self.entries.binary_search(&entry(text)).is_ok()
    }

    /// How many addresses are on it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// When it was made.
    #[must_use]
    pub fn imported_at(&self) -> UnixTime {
        self.imported_at
    }

    /// SHA-256 of the files that it was made from, one after the other.
    #[must_use]
    pub fn source(&self) -> Sha256Digest {
        self.source
    }
}

/// A million entries are nothing to print.
impl fmt::Debug for SanctionsList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SanctionsList({} entries of {}, source {})", self.count(), self.imported_at, self.source)
    }
}

/// How an address stands in the list. Lower case for all, because published lists write hex in any; that two
/// base58 addresses differ in case alone does not happen by chance.
pub(super) fn entry(text: &str) -> [u8; ENTRY_LEN] {
    Sha256::digest(text.to_ascii_lowercase()).into()
}

/// Why a file is no sanctions list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ListError {
    /// Shorter than a header.
    #[error("expected a sanctions list, found fewer than {HEADER_LEN} bytes; import it again")]
    Short,
    /// Another kind of file.
    #[error(
        "expected a sanctions list that `sealstone policy sanctions import` wrote, found another kind of file"
    )]
    Magic,
    /// Of another release.
    #[error("expected version {VERSION} of a sanctions list, found {found}; import it again")]
    Version {
        /// The file's.
        found: u32,
    },
    /// None, or too many.
    #[error("expected 1 to {} entries, found {found}", SanctionsList::ENTRIES_MAX)]
    Count {
        /// Entries given.
        found: usize,
    },
    /// Cut or extended.
    #[error("expected {expected} bytes, found {found}; import it again")]
    Length {
        /// By the header.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The checksum or the header is wrong.
    #[error("expected an undamaged sanctions list, found one whose bytes were changed; import it again")]
    Damaged,
    /// Entries are not ascending.
    #[error("expected entries in ascending order, found others; import it again")]
    Order,
}
