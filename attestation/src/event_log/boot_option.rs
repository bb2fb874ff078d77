//! `EFI_LOAD_OPTION`s and their order (UEFI 2.10, section 3.1.3): what `Boot0001` and `BootOrder` hold.

use crate::event_log::{cursor::Cursor, device_path, text};

/// A boot option as text: its name and its path. `None` when it is none.
pub(super) fn describe(content: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(content);
    let _attributes = cursor.u32()?;
    let path = usize::from(cursor.u16()?);
    let (units, _) = cursor.rest().as_chunks::<2>();
    let end = units.iter().position(|unit| *unit == [0, 0])?;
    let name = text::utf16(cursor.take(end * 2)?).ok()?;
    cursor.take(2)?;
    let path = device_path::describe(cursor.take(path)?);
    Some(format!("{name:?} {path}"))
}

/// The order of boot options as text.
pub(super) fn describe_order(content: &[u8]) -> Option<String> {
    let (numbers, rest) = content.as_chunks::<2>();
    let names = numbers.iter().map(|number| format!("{:04X}", u16::from_le_bytes(*number)));
    rest.is_empty().then(|| names.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_options_read_as_text() {
        let name: Vec<u8> = "Debian\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let path = [1, 1, 6, 0, 0, 4, 0x7f, 0xff, 4, 0];
        let option = [&[1, 0, 0, 0, 10, 0][..], &name, &path].concat();
        assert_eq!(describe(&option).unwrap(), "\"Debian\" Pci(4,0)");
        for length in 0..option.len() {
            assert_eq!(describe(&option[..length]), None, "{length}");
        }
        assert_eq!(describe_order(&[1, 0, 0x0a, 0]).unwrap(), "0001,000A");
        assert_eq!(describe_order(&[1]), None);
    }
}
