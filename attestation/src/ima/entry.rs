//! One measurement, and how it is hashed.

use std::{borrow::Cow, fmt};

use crate::{PcrBank, PcrIndex};

use super::{
    hash::BankDigest,
    template::{self, Field, FieldKind, LEGACY, LEGACY_DIGEST_LEN, LEGACY_NAME_LEN},
};

/// Where an entry begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bytes before it, in a binary list.
    Offset(usize),
    /// Its line, from 1, in a list of text.
    Line(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => write!(f, "offset {offset}"),
            Self::Line(line) => write!(f, "line {line}"),
        }
    }
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub(super) place: Place,
    pub(super) pcr: PcrIndex,
    pub(super) digest: Cow<'a, [u8]>,
    pub(super) template: &'a str,
    /// As the binary list has them; `None` for text of an unknown template, from which they cannot be made.
    pub(super) data: Option<Cow<'a, [u8]>>,
    pub(super) intact: Option<bool>,
}

/// What was measured of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileDigest<'a> {
    /// `sha256:`, `verity:sha512:`, or nothing where the template leaves the algorithm out; without its last colon.
    pub algorithm: &'a str,
    /// The digest.
    pub digest: &'a [u8],
}

impl Entry<'_> {
    /// Where it begins.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// The PCR that it extended.
    #[must_use]
    pub fn pcr(&self) -> PcrIndex {
        self.pcr
    }

    /// The template digest, as the list has it.
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// The name of its template.
    #[must_use]
    pub fn template(&self) -> &str {
        self.template
    }

    /// Whether the kernel could not be sure of what it measured: the file was open for writing, or was opened for it
    /// meanwhile. The PCR was then extended by ones, so nothing vouches for what the entry says.
    #[must_use]
    pub fn is_violation(&self) -> bool {
        self.digest.iter().all(|byte| *byte == 0)
    }

    /// Whether the template digest is that of the entry's data; `None` where that cannot be told: for a violation, and
    /// for an unknown template as text.
    #[must_use]
    pub fn is_intact(&self) -> Option<bool> {
        self.intact
    }

    /// The fields, or `None` for a template that is not known.
    #[must_use]
    pub fn fields(&self) -> Option<Vec<Field<'_>>> {
        let kinds = template::fields_of(self.template)?;
        template::split(self.template, &kinds, self.data.as_deref()?).ok()
    }

    /// What was measured: a path, or what else the kernel calls it.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        let field = self.fields()?.into_iter().find(|field| field.kind.is_name())?;
        Some(field.value.strip_suffix(&[0]).unwrap_or(field.value))
    }

    /// The digest that was measured.
    #[must_use]
    pub fn file_digest(&self) -> Option<FileDigest<'_>> {
        let field = self.fields()?.into_iter().next()?;
        match field.kind {
            FieldKind::Digest => Some(FileDigest { algorithm: "", digest: field.value }),
            FieldKind::DigestNg | FieldKind::DigestNgV2 => {
                let end = field.value.windows(2).position(|pair| pair == b":\0")?;
                let algorithm = std::str::from_utf8(&field.value[..end]).ok()?;
                Some(FileDigest { algorithm, digest: &field.value[end + 2..] })
            }
            _ => None,
        }
    }

    /// The digest of the data under a bank's hash; `None` where the data are not known.
    pub(super) fn hash(&self, bank: PcrBank) -> Option<BankDigest> {
        let data = self.data.as_deref()?;
        if self.template != LEGACY {
            return Some(BankDigest::of(bank, &[data]));
        }
        // The digest, then the name with zeros behind it: its length is not hashed.
        let (digest, name) = data.split_at_checked(LEGACY_DIGEST_LEN)?;
        let name = name.get(4..)?;
        let zeros = [0; LEGACY_NAME_LEN];
        Some(BankDigest::of(bank, &[digest, name, zeros.get(name.len()..)?]))
    }
}
