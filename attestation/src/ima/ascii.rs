//! Lists of text: one line for each entry, columns between single spaces. Each is turned into the bytes that the kernel
//! hashed, so that its digest can be checked.

use std::borrow::Cow;

use crate::{PcrBank, PcrIndex};

use super::{
    binary::printable,
    entry::{Entry, Place},
    error::{EntryFault, ImaError},
    list::ImaList,
    template::{self, FieldKind, LEGACY, Templates, Text},
};

/// Reads every line; the last may lack its line feed.
pub(super) fn parse(bytes: &[u8]) -> Result<(PcrBank, Vec<Entry<'_>>), ImaError> {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut bank = None;
    let mut templates = Templates::default();
    let mut entries = Vec::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let place = Place::Line(number);
        if entries.len() == ImaList::ENTRIES_MAX {
            return Err(ImaError::TooMany { place });
        }
        let fault = |fault| ImaError::Entry { place, fault };
        let entry = line_entry(line, place, bank, &mut templates).map_err(fault)?;
        bank = PcrBank::ALL.into_iter().find(|bank| bank.digest_len() == entry.digest.len());
        entries.push(entry);
    }
    Ok((bank.unwrap_or(PcrBank::Sha1), entries))
}

fn line_entry<'a>(
    line: &'a [u8],
    place: Place,
    bank: Option<PcrBank>,
    templates: &mut Templates<'a>,
) -> Result<Entry<'a>, EntryFault> {
    let (pcr, rest) = column(line.strip_prefix(b" ").unwrap_or(line), "a template digest")?;
    let pcr = pcr_index(pcr)?;
    let (digest, rest) = column(rest, "a template's name")?;
    let digest = template_digest(digest, bank)?;
    let (name, rest) = column(rest, "the template's fields")?;
    let template = printable(name)?;
    let data = match templates.fields_of(template) {
        Some(kinds) => Some(Cow::Owned(data_of(template, kinds, rest)?)),
        None => None,
    };
    Ok(Entry { place, pcr, digest: Cow::Owned(digest), template, data, intact: None })
}

/// Up to the next space, and what is behind it.
fn column<'a>(line: &'a [u8], next: &'static str) -> Result<(&'a [u8], &'a [u8]), EntryFault> {
    let space = line.iter().position(|byte| *byte == b' ').ok_or(EntryFault::Missing { what: next })?;
    Ok((&line[..space], &line[space + 1..]))
}

fn pcr_index(text: &[u8]) -> Result<PcrIndex, EntryFault> {
    let digits = (1..=2).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    number.and_then(PcrIndex::new).ok_or_else(|| EntryFault::Pcr { found: excerpt(text) })
}

/// The first one's length tells the bank; all others have the same.
fn template_digest(text: &[u8], bank: Option<PcrBank>) -> Result<Vec<u8>, EntryFault> {
    let fits = |other: &PcrBank| bank.is_none_or(|bank| bank == *other);
    let fault = || {
        let lengths = PcrBank::ALL.into_iter().filter(fits).map(|bank| (bank.digest_len() * 2).to_string());
        EntryFault::Digest { expected: lengths.collect::<Vec<_>>().join(", "), found: excerpt(text) }
    };
    let mut bytes = Vec::with_capacity(text.len() / 2);
    append_hex(&mut bytes, text).ok_or_else(fault)?;
    let known = PcrBank::ALL.iter().filter(|bank| fits(bank)).any(|bank| bank.digest_len() == bytes.len());
    if known { Ok(bytes) } else { Err(fault()) }
}

/// The fields as the binary list has them.
fn data_of(template: &str, kinds: &[FieldKind], text: &[u8]) -> Result<Vec<u8>, EntryFault> {
    // Each field is shorter as bytes, but for its length and a NUL.
    let mut data = Vec::with_capacity(text.len() / 2 + kinds.len() * 8);
    for (kind, column) in kinds.iter().zip(columns(kinds, text)?) {
        let sized = template != LEGACY || *kind != FieldKind::Digest;
        let begin = data.len();
        if sized {
            data.extend([0; 4]);
        }
        let value = data.len();
        append_value(&mut data, template, *kind, column)?;
        if sized {
            let length = u32::try_from(data.len() - value).expect("a list has at most 64 MiB");
            data[begin..value].copy_from_slice(&length.to_le_bytes());
        }
    }
    template::check(template, kinds, &data)?;
    Ok(data)
}

/// One column for each field. Kernels write `_` for a space in a name, but the oldest did not: what the others leave in
/// the middle is the name.
fn columns<'a>(kinds: &[FieldKind], text: &'a [u8]) -> Result<Vec<&'a [u8]>, EntryFault> {
    let name = kinds.iter().position(|kind| kind.is_name()).unwrap_or(kinds.len().saturating_sub(1));
    let mut columns = Vec::with_capacity(kinds.len());
    let mut rest = text;
    for kind in &kinds[..name] {
        let (value, behind) = column(rest, kind.name())?;
        columns.push(value);
        rest = behind;
    }
    let mut behind_name = Vec::new();
    for kind in kinds[name + 1..].iter().rev() {
        let space = rest.iter().rposition(|byte| *byte == b' ');
        let space = space.ok_or(EntryFault::Missing { what: kind.name() })?;
        behind_name.push(&rest[space + 1..]);
        rest = &rest[..space];
    }
    columns.push(rest);
    columns.extend(behind_name.into_iter().rev());
    Ok(columns)
}

fn append_value(data: &mut Vec<u8>, template: &str, kind: FieldKind, text: &[u8]) -> Result<(), EntryFault> {
    let fault = || EntryFault::Field { field: kind.name(), found: format!("{:?}", excerpt(text)) };
    if text.is_empty() {
        return if kind.is_name() { Err(fault()) } else { Ok(()) };
    }
    match kind.text() {
        Text::Hex => append_hex(data, text).ok_or_else(fault)?,
        Text::Name if template == LEGACY => data.extend_from_slice(text),
        Text::Name => {
            data.extend_from_slice(text);
            data.push(0);
        }
        Text::Digest => {
            // What stands before the last colon is kept with it, and a NUL goes between.
            let colon = text.iter().rposition(|byte| *byte == b':');
            let (algorithm, digits) = text.split_at(colon.map_or(0, |colon| colon + 1));
            data.extend_from_slice(algorithm);
            if !algorithm.is_empty() {
                data.push(0);
            }
            append_hex(data, digits).ok_or_else(fault)?;
        }
        Text::Number(length) => {
            let plain = text.iter().all(u8::is_ascii_digit) && (text == b"0" || text[0] != b'0');
            let number = std::str::from_utf8(text).ok().filter(|_| plain);
            let number = number.and_then(|text| text.parse::<u32>().ok()).ok_or_else(fault)?.to_le_bytes();
            let (value, beyond) = number.split_at(length);
            if beyond.iter().any(|byte| *byte != 0) {
                return Err(fault());
            }
            data.extend_from_slice(value);
        }
    }
    Ok(())
}

/// Pairs of hex digits; the kernel writes lower-case ones.
fn append_hex(data: &mut Vec<u8>, digits: &[u8]) -> Option<()> {
    let (pairs, rest) = digits.as_chunks::<2>();
    for [high, low] in pairs {
        data.push(nibble(*high)? << 4 | nibble(*low)?);
    }
    rest.is_empty().then_some(())
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// What was found, short enough for an error.
fn excerpt(text: &[u8]) -> String {
    /// Bytes shown: enough to recognise a digest.
    const SHOWN: usize = 136;
    String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).into_owned()
}
