//! Reads published lists: the Treasury's SDN files, or a CSV with one address a line or in a column `address`.
//!
//! The Treasury writes addresses into remarks: `Digital Currency Address - ETH 0x…;`. Remarks of more than a thousand
//! characters go on in another file, so all files are read before any remark is.

use std::collections::BTreeMap;

use csv::{ReaderBuilder, StringRecord};
use sealstone_attestation::{Sha256Digest, UnixTime};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::list::{ListError, SanctionsList, entry};

/// What stands before an address in a remark.
const MARK: &str = "Digital Currency Address - ";

/// Characters after which the Treasury cuts a remark (data specification, field `Remarks`).
const REMARK_CUT: usize = 1000;

/// Rows between two reports of progress.
const PROGRESS_ROWS: u64 = 4096;

/// Characters of an address: from the shortest of a known chain to the longest, with room.
const ADDRESS_CHARS: std::ops::RangeInclusive<usize> = 20..=128;

/// How far an import has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of this file that were read.
    pub bytes: u64,
    /// Addresses found so far; those of remarks are found at the end.
    pub addresses: usize,
}

/// Takes published files and makes one list.
#[derive(Debug, Default)]
pub struct Importer {
    entries: Vec<[u8; 32]>,
    /// What the Treasury says of each entity, over all files.
    remarks: BTreeMap<u64, Remark>,
    source: Sha256,
}

#[derive(Debug)]
struct Remark {
    text: String,
    /// Whether its end is still missing.
    cut: bool,
}

impl Importer {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one file. Which kind it is shows at its first row: those of the Treasury begin with a number and have
    /// several columns.
    ///
    /// # Errors
    /// [`ImportError`], with the line, for a row that is neither; nothing is skipped, or an address could be.
    pub fn read(&mut self, bytes: &[u8], mut progress: impl FnMut(Progress)) -> Result<(), ImportError> {
        self.source.update(bytes);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        // DOS end-of-file marks end the Treasury's files; a byte-order mark begins many others.
        let bytes = bytes.strip_suffix(b"\x1a").unwrap_or(bytes);
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
        let mut row = StringRecord::new();
        let mut raw = csv::ByteRecord::new();
        let mut lines = Lines::default();
        let mut shape = None;
        let mut rows = 0_u64;
        while reader.read_byte_record(&mut raw).map_err(|error| ImportError::Csv(error.to_string()))? {
            let line = lines.at(bytes, raw.position().map_or(0, csv::Position::byte));
            // Names in remarks may be in Latin-1; addresses are ASCII in any encoding.
            row.clear();
            raw.iter().for_each(|field| row.push_field(&String::from_utf8_lossy(field)));
            if row.iter().all(|field| field.trim().is_empty()) {
                continue;
            }
            let known = match &shape {
                Some(shape) => shape,
                None => {
                    let (found, header) = Shape::of(&row);
                    let found = shape.insert(found);
                    if header {
                        continue;
                    }
                    found
                }
            };
            match *known {
                Shape::Treasury => self.treasury_row(&row, line)?,
                Shape::Column(column) => self.address(row.get(column).unwrap_or(""), line)?,
            }
            rows += 1;
            if rows.is_multiple_of(PROGRESS_ROWS) {
                progress(Progress { bytes: reader.position().byte(), addresses: self.entries.len() });
            }
        }
        progress(Progress { bytes: length, addresses: self.entries.len() });
        Ok(())
    }

    /// The list of everything that was read.
    ///
    /// # Errors
    /// [`ImportError`] for a remark that was cut and does not go on in any file, and for a list without any address.
    pub fn finish(mut self, imported_at: UnixTime) -> Result<SanctionsList, ImportError> {
        for (entity, remark) in std::mem::take(&mut self.remarks) {
            if remark.cut {
                return Err(ImportError::Cut { entity });
            }
            self.marked(entity, &remark.text)?;
        }
        let source = Sha256Digest::from_bytes(self.source.finalize().into());
        Ok(SanctionsList::new(imported_at, source, self.entries)?)
    }

    fn treasury_row(&mut self, row: &StringRecord, line: u64) -> Result<(), ImportError> {
        let first = row.get(0).unwrap_or("");
        let entity: u64 = first.trim().parse().map_err(|_| ImportError::Row { line })?;
        let last = row.get(row.len() - 1).unwrap_or("");
        if row.len() == COMMENT_COLUMNS {
            let remark = self.remarks.get_mut(&entity).ok_or(ImportError::NothingToContinue { line })?;
            remark.text.push_str(last);
            remark.cut = false;
            return Ok(());
        }
        let main = row.len() >= ENTITY_COLUMNS;
        for field in row.iter().skip(1).take(if main { row.len() - 2 } else { row.len() }) {
            self.marked(entity, field)?;
        }
        if main {
            let cut = last.len() == REMARK_CUT || last.chars().count() == REMARK_CUT;
            if self.remarks.insert(entity, Remark { text: last.to_owned(), cut }).is_some() {
                return Err(ImportError::Twice { line, entity });
            }
        }
        Ok(())
    }

    /// Takes the addresses that a text announces.
    fn marked(&mut self, entity: u64, text: &str) -> Result<(), ImportError> {
        for after in text.split(MARK).skip(1) {
            // A symbol, then the address, then anything that is no part of one.
            let found = after.split_once(' ').map_or("", |(_, address)| address);
            let address = found.split(|c: char| !is_address_char(c)).next().unwrap_or("");
            if !is_address(address) {
                return Err(ImportError::Remark { entity });
            }
            self.push(address)?;
        }
        Ok(())
    }

    fn address(&mut self, text: &str, line: u64) -> Result<(), ImportError> {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        if !is_address(text) {
            return Err(ImportError::Row { line });
        }
        self.push(text)
    }

    fn push(&mut self, address: &str) -> Result<(), ImportError> {
        if self.entries.len() >= SanctionsList::ENTRIES_MAX {
            return Err(ImportError::List(ListError::Count { found: self.entries.len() + 1 }));
        }
        self.entries.push(entry(address));
        Ok(())
    }
}

/// Columns of the file with the ends of remarks: the entity's number and the rest.
const COMMENT_COLUMNS: usize = 2;

/// Columns of the files with entities, of which the last is the remark. Aliases and places have fewer.
const ENTITY_COLUMNS: usize = 12;

/// Line numbers of rows, counted once; the reader's own are one short after a carriage return.
#[derive(Default)]
struct Lines {
    counted: usize,
    ended: u64,
}

impl Lines {
    /// The line of a row that begins at this byte, or after the line ends there.
    fn at(&mut self, bytes: &[u8], byte: u64) -> u64 {
        let begin = usize::try_from(byte).map_or(bytes.len(), |byte| byte.min(bytes.len()));
        let ends = bytes[begin..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let begin = begin + ends;
        for byte in &bytes[self.counted.min(begin)..begin] {
            self.ended += u64::from(*byte == b'\n');
        }
        self.counted = begin;
        self.ended + 1
    }
}

/// What a file's rows are.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// An entity's number first.
    Treasury,
    /// An address in this column.
    Column(usize),
}

impl Shape {
    /// By the first row; and whether that row is a header.
    fn of(row: &StringRecord) -> (Self, bool) {
        if row.len() >= COMMENT_COLUMNS && row.get(0).is_some_and(|first| first.trim().parse::<u64>().is_ok())
        {
            return (Self::Treasury, false);
        }
        match row.iter().position(|field| field.trim().eq_ignore_ascii_case("address")) {
            Some(column) => (Self::Column(column), true),
            None => (Self::Column(0), false),
        }
    }
}

fn is_address(text: &str) -> bool {
    ADDRESS_CHARS.contains(&text.len()) && text.chars().all(is_address_char)
}

/// Letters and digits, and the colon of `bitcoincash:q…`.
fn is_address_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// Why files make no list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImportError {
    /// Not CSV.
    #[error("expected CSV: {0}")]
    Csv(String),
    /// Neither a row of the Treasury's nor an address.
    #[error(
        "line {line}: expected a row of the Treasury's files, or an address of {} to {} letters and digits, found \
         something else",
        ADDRESS_CHARS.start(),
        ADDRESS_CHARS.end()
    )]
    Row {
        /// Counted from 1.
        line: u64,
    },
    /// A remark announces an address, and what follows is none.
    #[error("entity {entity}: expected a symbol and an address after {MARK:?}, found something else")]
    Remark {
        /// The Treasury's number.
        entity: u64,
    },
    /// The rest of a remark is missing.
    #[error(
        "entity {entity}: expected the rest of a remark that was cut after {REMARK_CUT} characters, found none; give \
         sdn_comments.csv after sdn.csv"
    )]
    Cut {
        /// The Treasury's number.
        entity: u64,
    },
    /// A rest without a beginning.
    #[error(
        "line {line}: expected an entity of a file before, found another; give sdn.csv before sdn_comments.csv"
    )]
    NothingToContinue {
        /// Counted from 1.
        line: u64,
    },
    /// Two remarks of one entity.
    #[error("line {line}: expected each entity once, found {entity} again; give each file once")]
    Twice {
        /// Counted from 1.
        line: u64,
        /// The Treasury's number.
        entity: u64,
    },
    /// None, or too many.
    #[error(transparent)]
    List(#[from] ListError),
}
