//! Text in events: UTF-16 by UEFI, printable ASCII by others.

use crate::event_log::structure::StructureError;

/// Reads UTF-16, little-endian, strictly: no half characters, no lone surrogates, no NUL.
pub(super) fn utf16(bytes: &[u8]) -> Result<String, StructureError> {
    let not_text = || StructureError::Text { what: "UTF-16 text without NUL" };
    let (units, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(not_text());
    }
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    char::decode_utf16(units)
        .map(|c| c.ok().filter(|c| *c != '\0').ok_or_else(not_text))
        .collect::<Result<String, _>>()
}

/// Reads UTF-16 that ends with its first NUL, if it has one; what follows a NUL must be NULs as well.
pub(super) fn utf16_padded(bytes: &[u8]) -> Result<String, StructureError> {
    let (units, rest) = bytes.as_chunks::<2>();
    let end = units.iter().position(|unit| *unit == [0, 0]).unwrap_or(units.len());
    let padded = units[end..].iter().all(|unit| *unit == [0, 0]) && rest.iter().all(|byte| *byte == 0);
    if !padded {
        return Err(StructureError::Text { what: "UTF-16 text with nothing after its NUL" });
    }
    utf16(units[..end].as_flattened())
}

/// Reads printable ASCII that may end with one NUL.
pub(super) fn ascii(bytes: &[u8]) -> Result<&str, StructureError> {
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    let printable = text.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r'));
    std::str::from_utf8(text)
        .ok()
        .filter(|_| printable && !text.is_empty())
        .ok_or(StructureError::Text { what: "printable ASCII text" })
}

/// Reads UTF-8 that may end with one NUL: what boot loaders measure of their configuration.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, StructureError> {
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    std::str::from_utf8(text)
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or(StructureError::Text { what: "UTF-8 text without NUL" })
}

/// Whether this looks like UTF-16 of Latin characters: such texts are told from bytes by their zeros.
pub(super) fn looks_like_utf16(bytes: &[u8]) -> bool {
    let (units, rest) = bytes.as_chunks::<2>();
    let text = units.split(|unit| *unit == [0, 0]).next().unwrap_or_default();
    !text.is_empty()
        && rest.iter().all(|byte| *byte == 0)
        && text.iter().all(|unit| unit[1] == 0 && matches!(unit[0], b' '..=b'~' | b'\t' | b'\n' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn utf16_is_strict() {
        assert_eq!(utf16(&units("Boot0001 é 𝄞")).unwrap(), "Boot0001 é 𝄞");
        assert_eq!(utf16(&[]).unwrap(), "");
        assert!(utf16(b"a\0b").is_err());
        assert!(utf16(&[0, 0xd8]).is_err());
        assert!(utf16(&[0, 0xdc, b'a', 0]).is_err());
        assert!(utf16(&units("a\0")).is_err());
    }

    #[test]
    fn nothing_hides_behind_a_nul() {
        assert_eq!(utf16_padded(&units("db\0\0")).unwrap(), "db");
        assert_eq!(utf16_padded(&units("db")).unwrap(), "db");
        assert_eq!(utf16_padded(b"d\0b\0\0").unwrap(), "db");
        assert!(utf16_padded(&units("db\0x")).is_err());
        assert!(utf16_padded(b"d\0b\0x").is_err());
        assert_eq!(ascii(b"text\0").unwrap(), "text");
        for bad in [&b""[..], b"\0", b"a\0b", b"a\0\0", b"\x1b[2J", b"caf\xe9"] {
            assert!(ascii(bad).is_err(), "{bad:?}");
        }
        assert_eq!(utf8("é\0".as_bytes()).unwrap(), "é");
        assert!(utf8(b"a\0b").is_err());
        assert!(utf8(b"\xff").is_err());
    }

    #[test]
    fn bytes_are_not_taken_for_text() {
        assert!(looks_like_utf16(&units(".linux\0")));
        assert!(!looks_like_utf16(b".linux\0"));
        assert!(!looks_like_utf16(&[]));
        assert!(!looks_like_utf16(&[0, 0]));
    }
}
