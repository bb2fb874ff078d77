//! Binary lists (Linux, `security/integrity/ima/ima_fs.c`): `pcr ‖ digest ‖ name ‖ data`, numbers little-endian.

use std::borrow::Cow;

use crate::{PcrBank, PcrIndex};

use super::{
    entry::{Entry, Place},
    error::{EntryFault, ImaError},
    list::ImaList,
    template::{self, LEGACY, LEGACY_DIGEST_LEN, NAME_MAX, Templates},
};

/// Reads every entry, and tells by the first one which bank's digests the list holds.
pub(super) fn parse(bytes: &[u8]) -> Result<(PcrBank, Vec<Entry<'_>>), ImaError> {
    let bank = bank_of(bytes);
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while reader.at < bytes.len() {
        let place = Place::Offset(reader.at);
        if entries.len() == ImaList::ENTRIES_MAX {
            return Err(ImaError::TooMany { place });
        }
        entries.push(reader.entry(bank).map_err(|fault| ImaError::Entry { place, fault })?);
    }
    Ok((bank, entries))
}

/// Nothing in a list names its bank. The one whose digest the first entry has, else the first one by which it can be
/// read, else SHA-1, which then says what is wrong.
fn bank_of(bytes: &[u8]) -> PcrBank {
    let first = |bank: PcrBank| Reader::new(bytes).entry(bank).ok();
    let fits = |bank: &PcrBank| {
        let hash = first(*bank).and_then(|entry| Some((entry.hash(*bank)?, entry)));
        hash.is_some_and(|(hash, entry)| hash.as_bytes() == &*entry.digest)
    };
    let reads = |bank: &PcrBank| first(*bank).is_some();
    let found = PcrBank::ALL.into_iter().find(fits);
    found.or_else(|| PcrBank::ALL.into_iter().find(reads)).unwrap_or(PcrBank::Sha1)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    templates: Templates<'a>,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, templates: Templates::default() }
    }

    fn entry(&mut self, bank: PcrBank) -> Result<Entry<'a>, EntryFault> {
        let place = Place::Offset(self.at);
        let pcr = self.number("a PCR")?;
        let pcr = u8::try_from(pcr)
            .ok()
            .and_then(PcrIndex::new)
            .ok_or(EntryFault::Pcr { found: pcr.to_string() })?;
        let digest = Cow::Borrowed(self.take(bank.digest_len(), "a template digest")?);
        let template = self.template_name()?;
        let data = if template == LEGACY { self.legacy_data()? } else { self.sized("template data")? };
        if let Some(kinds) = self.templates.fields_of(template) {
            template::check(template, kinds, data)?;
        }
        Ok(Entry { place, pcr, digest, template, data: Some(Cow::Borrowed(data)), intact: None })
    }

    fn template_name(&mut self) -> Result<&'a str, EntryFault> {
        let length = self.length("the length of a template's name")?;
        if !(1..=NAME_MAX).contains(&length) {
            return Err(EntryFault::TemplateName { max: NAME_MAX, found: format!("{length}") });
        }
        let name = self.take(length, "a template's name")?;
        printable(name)
    }

    /// The template `ima` has no length before its data, nor before its digest.
    fn legacy_data(&mut self) -> Result<&'a [u8], EntryFault> {
        let from = self.at;
        self.take(LEGACY_DIGEST_LEN, "a file's digest")?;
        self.sized("a file's name")?;
        Ok(&self.bytes[from..self.at])
    }

    fn sized(&mut self, what: &'static str) -> Result<&'a [u8], EntryFault> {
        let length = self.length(what)?;
        self.take(length, what)
    }

    fn length(&mut self, what: &'static str) -> Result<usize, EntryFault> {
        Ok(usize::try_from(self.number(what)?).unwrap_or(usize::MAX))
    }

    fn number(&mut self, what: &'static str) -> Result<u32, EntryFault> {
        let bytes = self.take(4, what)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes were taken")))
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], EntryFault> {
        let rest = &self.bytes[self.at..];
        let taken =
            rest.get(..length).ok_or(EntryFault::Cut { what, expected: length, found: rest.len() })?;
        self.at += length;
        Ok(taken)
    }
}

/// A template's name, which stands between spaces where a list is text.
pub(super) fn printable(name: &[u8]) -> Result<&str, EntryFault> {
    match std::str::from_utf8(name) {
        Ok(text)
            if (1..=NAME_MAX).contains(&name.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            Ok(text)
        }
        _ => {
            let found = format!("{:?}", String::from_utf8_lossy(&name[..name.len().min(NAME_MAX)]));
            Err(EntryFault::TemplateName { max: NAME_MAX, found })
        }
    }
}
