//! `UEFI_VARIABLE_DATA` (TCG PC Client Platform Firmware Profile): a variable as it was measured.

use std::ops::Range;

use crate::event_log::{cursor::Cursor, guid::Guid, structure::StructureError, text};

/// Characters of a variable's name: UEFI's have some tens.
const NAME_CHARACTERS_MAX: usize = 1024;

/// Bytes that may follow the structure. Older shims measured their certificate with the six bytes that C
/// pads the structure with; nothing is read from them.
const TRAILING_MAX: usize = 8;

/// A variable, its content uninterpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Variable<'a> {
    /// Whose name it is.
    pub vendor: Guid,
    /// The name.
    pub name: String,
    /// The content.
    pub content: &'a [u8],
    /// Where in the event's data the content lies.
    pub(super) content_range: Range<usize>,
    /// How many bytes follow the structure.
    pub(super) trailing: usize,
}

impl<'a> Variable<'a> {
    /// Reads the data of an event of a variable.
    ///
    /// # Errors
    /// [`StructureError`] when the sizes that it states are not those that it has, or the name is no UTF-16.
    pub fn parse(data: &'a [u8]) -> Result<Self, StructureError> {
        let mut cursor = Cursor::new(data);
        let vendor = cursor.array().ok_or(StructureError::short("the variable's vendor"))?;
        let characters =
            cursor.length64().ok_or(StructureError::short("the length of the variable's name"))?;
        let length =
            cursor.length64().ok_or(StructureError::short("the length of the variable's content"))?;
        if characters > NAME_CHARACTERS_MAX {
            return Err(StructureError::size("a name of at most 1024 characters", characters));
        }
        let name = cursor.take(characters * 2).ok_or(StructureError::short("the variable's name"))?;
        let name = text::utf16_padded(name)?;
        let start = cursor.position();
        let content = cursor
            .take(length)
            .ok_or(StructureError::size("a content that ends within the event, of a length", length))?;
        let trailing = cursor.rest().len();
        if trailing > TRAILING_MAX {
            return Err(StructureError::size("at most 8 bytes after the content", trailing));
        }
        let content_range = start..cursor.position();
        Ok(Self { vendor: Guid::from_bytes(vendor), name, content, content_range, trailing })
    }

    /// Whether it is this variable.
    #[must_use]
    pub fn is(&self, vendor: Guid, name: &str) -> bool {
        self.vendor == vendor && self.name == name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str, content: &[u8], lengths: Option<(u64, u64)>) -> Vec<u8> {
        let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let own = (u64::try_from(units.len() / 2).unwrap(), u64::try_from(content.len()).unwrap());
        let (characters, length) = lengths.unwrap_or(own);
        let mut bytes = Guid::GLOBAL_VARIABLE.as_bytes().to_vec();
        bytes.extend(characters.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(units);
        bytes.extend(content);
        bytes
    }

    #[test]
    fn a_variable_is_read() {
        let bytes = data("SecureBoot", &[1], None);
        let variable = Variable::parse(&bytes).unwrap();
        assert!(variable.is(Guid::GLOBAL_VARIABLE, "SecureBoot"));
        assert!(!variable.is(Guid::SHIM_LOCK, "SecureBoot"));
        assert_eq!((variable.content, variable.trailing), (&[1][..], 0));
        assert_eq!(&bytes[variable.content_range], [1]);
        assert!(Variable::parse(&data("PK", &[], None)).unwrap().content.is_empty());
        assert_eq!(Variable::parse(&data("", &[7], None)).unwrap().name, "");
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for lengths in [
            (2, 2),
            (3, 1),
            (u64::MAX, 1),
            (1, u64::MAX),
            (u64::MAX, u64::MAX),
            (1 << 63, 0),
            (1025, 0),
            (2, 1 << 32),
        ] {
            assert!(Variable::parse(&data("PK", &[1], Some(lengths))).is_err(), "{lengths:?}");
        }
        assert!(Variable::parse(&data("PK", &[0; 9], Some((2, 0)))).is_err());
        assert_eq!(Variable::parse(&data("PK", &[0; 9], Some((2, 1)))).unwrap().trailing, 8);
        let whole = data("PK", &[1, 2, 3], None);
        for length in 0..whole.len() {
            assert!(Variable::parse(&whole[..length]).is_err(), "{length}");
        }
        assert!(Variable::parse(&data("P\0K", &[1], None)).is_err());
    }
}
