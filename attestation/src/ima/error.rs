//! Why bytes are no measurement list: where, and what was expected there.

use thiserror::Error;

use super::{Place, list::ImaList};

/// Not a list. Nothing of it is believed, not even what stands before the fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImaError {
    /// More than any machine measures.
    #[error("expected a measurement list of at most {} bytes, found {found}", ImaList::BYTES_MAX)]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// More than any machine measures.
    #[error("expected at most {} entries, found more at {place}", ImaList::ENTRIES_MAX)]
    TooMany {
        /// Where the first entry too many begins.
        place: Place,
    },
    /// An entry that no kernel wrote.
    #[error("at {place}: {fault}")]
    Entry {
        /// Where the entry is.
        place: Place,
        /// What is wrong with it.
        fault: EntryFault,
    },
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EntryFault {
    /// The list ends inside an entry.
    #[error("expected {expected} bytes for {what}, found {found} and the end of the list")]
    Cut {
        /// What the bytes would have been.
        what: &'static str,
        /// Bytes that belong there.
        expected: usize,
        /// Bytes that are left.
        found: usize,
    },
    /// A line without one of its columns.
    #[error("expected {what}, found the end of the line")]
    Missing {
        /// The column.
        what: &'static str,
    },
    /// No PCR.
    #[error("expected a PCR from 0 to 23, found {found}")]
    Pcr {
        /// The number, or the text.
        found: String,
    },
    /// No digest, or not one of the list's bank.
    #[error("expected a template digest of {expected} hex digits, found {found:?}")]
    Digest {
        /// Digits.
        expected: String,
        /// The text.
        found: String,
    },
    /// No name.
    #[error("expected a template's name of 1 to {max} printable characters, found {found}")]
    TemplateName {
        /// Characters of the longest name.
        max: usize,
        /// Its length, or the text.
        found: String,
    },
    /// The template's data are not exactly its fields.
    #[error("expected the field {field} of the template, found {found}")]
    Field {
        /// The kernel's name of the field.
        field: &'static str,
        /// What there is instead.
        found: String,
    },
    /// The template's fields do not take all of its data.
    #[error("expected the template's fields and nothing after them, found {found} bytes more")]
    TrailingBytes {
        /// Bytes left over.
        found: usize,
    },
}
