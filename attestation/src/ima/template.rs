//! Templates: which fields an entry has (Linux, `Documentation/security/IMA-templates.rst`).

use super::error::EntryFault;

/// The template of kernels before 3.13, which is written and hashed by rules of its own.
pub(super) const LEGACY: &str = "ima";

/// Bytes of a file's digest in the template `ima`: SHA-1 or MD5, zeros behind it.
pub(super) const LEGACY_DIGEST_LEN: usize = 20;

/// Bytes over which the template `ima` hashes a name, zeros behind it.
pub(super) const LEGACY_NAME_LEN: usize = 256;

/// Bytes of a template's name. A template that an administrator made up is named by its fields; the longest name that
/// kernels know has 71.
pub(super) const NAME_MAX: usize = 256;

/// Fields of a template: the kernel's own bound (`IMA_TEMPLATE_NUM_FIELDS_MAX`).
const FIELDS_MAX: usize = 15;

/// Bytes of the length before a field.
const LENGTH_LEN: usize = 4;

/// The templates of the kernel, by their fields.
const TEMPLATES: [(&str, &str); 8] = [
    (LEGACY, "d|n"),
    ("ima-ng", "d-ng|n-ng"),
    ("ima-sig", "d-ng|n-ng|sig"),
    ("ima-ngv2", "d-ngv2|n-ng"),
    ("ima-sigv2", "d-ngv2|n-ng|sig"),
    ("ima-buf", "d-ng|n-ng|buf"),
    ("ima-modsig", "d-ng|n-ng|sig|d-modsig|modsig"),
    ("evm-sig", "d-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|iuid|igid|imode"),
];

/// What a field holds, by the kernel's name of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// `d`: a file's digest alone.
    Digest,
    /// `d-ng`: a file's digest behind the name of its algorithm.
    DigestNg,
    /// `d-ngv2`: the same behind a type, `ima` or `verity`.
    DigestNgV2,
    /// `d-modsig`: the digest without the signature appended to the file.
    DigestModsig,
    /// `n`: a name of at most 255 bytes.
    Name,
    /// `n-ng`: a name.
    NameNg,
    /// `sig`: the file's signature.
    Signature,
    /// `modsig`: the signature appended to the file.
    ModSignature,
    /// `buf`: what was measured itself.
    Buffer,
    /// `evmsig`: the signature over the file's attributes.
    EvmSignature,
    /// `xattrnames`: the names of the attributes, joined by `|`.
    AttributeNames,
    /// `xattrlengths`: their lengths.
    AttributeLengths,
    /// `xattrvalues`: their values.
    AttributeValues,
    /// `iuid`: the owner.
    Owner,
    /// `igid`: the group.
    Group,
    /// `imode`: the mode.
    Mode,
}

/// How a field is written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// `algorithm:hex`; the bytes have a NUL between.
    Digest,
    /// Hex.
    Hex,
    /// As it is; the bytes have a NUL behind it.
    Name,
    /// Decimal; the bytes are little-endian, as many as given.
    Number(usize),
}

impl FieldKind {
    const ALL: [Self; 16] = [
        Self::Digest,
        Self::DigestNg,
        Self::DigestNgV2,
        Self::DigestModsig,
        Self::Name,
        Self::NameNg,
        Self::Signature,
        Self::ModSignature,
        Self::Buffer,
        Self::EvmSignature,
        Self::AttributeNames,
        Self::AttributeLengths,
        Self::AttributeValues,
        Self::Owner,
        Self::Group,
        Self::Mode,
    ];

    /// The kernel's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Digest => "d",
            Self::DigestNg => "d-ng",
            Self::DigestNgV2 => "d-ngv2",
            Self::DigestModsig => "d-modsig",
            Self::Name => "n",
            Self::NameNg => "n-ng",
            Self::Signature => "sig",
            Self::ModSignature => "modsig",
            Self::Buffer => "buf",
            Self::EvmSignature => "evmsig",
            Self::AttributeNames => "xattrnames",
            Self::AttributeLengths => "xattrlengths",
            Self::AttributeValues => "xattrvalues",
            Self::Owner => "iuid",
            Self::Group => "igid",
            Self::Mode => "imode",
        }
    }

    /// How it is written as text.
    pub(super) const fn text(self) -> Text {
        match self {
            Self::DigestNg | Self::DigestNgV2 | Self::DigestModsig => Text::Digest,
            Self::Digest
            | Self::Signature
            | Self::ModSignature
            | Self::Buffer
            | Self::EvmSignature
            | Self::AttributeLengths
            | Self::AttributeValues => Text::Hex,
            Self::Name | Self::NameNg | Self::AttributeNames => Text::Name,
            Self::Owner | Self::Group => Text::Number(4),
            Self::Mode => Text::Number(2),
        }
    }

    /// Whether it names what was measured. In a line of text everything else is free of spaces.
    pub(super) const fn is_name(self) -> bool {
        matches!(self, Self::Name | Self::NameNg)
    }
}

/// One field of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// What it holds.
    pub kind: FieldKind,
    /// Its bytes, as the kernel hashed them.
    pub value: &'a [u8],
}

/// The fields of the template of this name, or `None` for one that is not known. A template that an administrator made
/// up is named by its fields.
pub(super) fn fields_of(name: &str) -> Option<Vec<FieldKind>> {
    let format = TEMPLATES.iter().find(|(known, _)| *known == name).map_or(name, |(_, format)| format);
    if format.split('|').count() > FIELDS_MAX {
        return None;
    }
    format.split('|').map(|id| FieldKind::ALL.into_iter().find(|kind| kind.name() == id)).collect()
}

/// [`fields_of`], which remembers the newest answer: a list has long runs of one template.
#[derive(Default)]
pub(super) struct Templates<'a> {
    newest: Option<(&'a str, Option<Vec<FieldKind>>)>,
}

impl<'a> Templates<'a> {
    pub(super) fn fields_of(&mut self, name: &'a str) -> Option<&[FieldKind]> {
        if self.newest.as_ref().is_none_or(|(newest, _)| *newest != name) {
            self.newest = Some((name, fields_of(name)));
        }
        self.newest.as_ref().and_then(|(_, kinds)| kinds.as_deref())
    }
}

/// Takes apart the data of a known template, all of them.
pub(super) fn split<'a>(
    name: &str,
    kinds: &[FieldKind],
    data: &'a [u8],
) -> Result<Vec<Field<'a>>, EntryFault> {
    let mut fields = Vec::with_capacity(kinds.len());
    walk(name, kinds, data, |field| fields.push(field))?;
    Ok(fields)
}

/// Checks that the data of a known template are exactly its fields.
pub(super) fn check(name: &str, kinds: &[FieldKind], data: &[u8]) -> Result<(), EntryFault> {
    walk(name, kinds, data, |_| ())
}

fn walk<'a>(
    name: &str,
    kinds: &[FieldKind],
    data: &'a [u8],
    mut each: impl FnMut(Field<'a>),
) -> Result<(), EntryFault> {
    let mut rest = data;
    for &kind in kinds {
        let length = if name == LEGACY && kind == FieldKind::Digest {
            LEGACY_DIGEST_LEN
        } else {
            let fault = || EntryFault::Field { field: kind.name(), found: "no length".to_owned() };
            let (length, behind) = rest.split_first_chunk::<LENGTH_LEN>().ok_or_else(fault)?;
            rest = behind;
            usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX)
        };
        let Some((value, behind)) = rest.split_at_checked(length) else {
            let found = format!("{} of its {length} bytes", rest.len());
            return Err(EntryFault::Field { field: kind.name(), found });
        };
        rest = behind;
        check_value(name, kind, value)?;
        each(Field { kind, value });
    }
    if rest.is_empty() { Ok(()) } else { Err(EntryFault::TrailingBytes { found: rest.len() }) }
}

fn check_value(name: &str, kind: FieldKind, value: &[u8]) -> Result<(), EntryFault> {
    let fault = |found: String| Err(EntryFault::Field { field: kind.name(), found });
    match kind.text() {
        Text::Name if name == LEGACY && value.len() >= LEGACY_NAME_LEN => {
            fault(format!("a name of {} bytes", value.len()))
        }
        // One NUL, at the end: a name with another would be shown as something else than was hashed.
        Text::Name if name != LEGACY && !value.is_empty() => match value.iter().position(|byte| *byte == 0) {
            Some(position) if position + 1 == value.len() => Ok(()),
            Some(_) => fault("a NUL inside a name".to_owned()),
            None => fault("a name without its NUL".to_owned()),
        },
        Text::Number(length) if !matches!(value.len(), 0) && value.len() != length => {
            fault(format!("a number of {} bytes", value.len()))
        }
        Text::Digest | Text::Hex | Text::Name | Text::Number(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_known_by_name_or_by_their_fields() {
        assert_eq!(fields_of("ima-ng").unwrap(), [FieldKind::DigestNg, FieldKind::NameNg]);
        assert_eq!(fields_of("d-ng|n-ng"), fields_of("ima-ng"));
        assert_eq!(fields_of("evm-sig").unwrap().len(), 9);
        for unknown in ["", "ima-next", "d-ng|", "d-ng n-ng", &["d-ng"; 16].join("|")] {
            assert_eq!(fields_of(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn data_that_are_not_exactly_the_fields_are_refused() {
        let kinds = fields_of("ima-ng").unwrap();
        let good = b"\x0b\0\0\0sha256:\0abc\x03\0\0\0/a\0";
        assert_eq!(split("ima-ng", &kinds, good).unwrap()[1].value, b"/a\0");
        for bad in [
            &good[..good.len() - 1],
            b"",
            b"\x0b\0\0\0sha256:\0abc",
            b"\x0b\0\0\0sha256:\0abc\x02\0\0\0/a",
            b"\x0b\0\0\0sha256:\0abc\x04\0\0\0/\0a\0",
            b"\x0b\0\0\0sha256:\0abc\x03\0\0\0/a\0\0",
            b"\xff\xff\xff\xffsha256:\0abc\x03\0\0\0/a\0",
        ] {
            assert!(split("ima-ng", &kinds, bad).is_err(), "{bad:?}");
        }
    }
}
