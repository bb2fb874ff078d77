//! Device paths as text (UEFI 2.10, section 10): where a loaded image came from. Nothing vouches for them.

use std::fmt::Write;

use crate::event_log::{cursor::Cursor, guid::Guid, text};

/// Nodes of a path; real ones have up to ten.
const NODES_MAX: usize = 64;

/// Characters of a path's text: what a person reads.
const TEXT_MAX: usize = 2048;

/// The text of a device path: best effort, node by node, in one pass. What cannot be read is shown as such.
pub(super) fn describe(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut cursor = Cursor::new(bytes);
    for _ in 0..NODES_MAX {
        let Some([kind, subtype, low, high]) = cursor.array() else { break };
        let length = usize::from(u16::from_le_bytes([low, high]));
        let Some(data) = length.checked_sub(4).and_then(|length| cursor.take(length)) else {
            push(&mut out, "(malformed)");
            break;
        };
        if kind == 0x7f {
            break;
        }
        push(&mut out, &node(kind, subtype, data));
        if out.len() > TEXT_MAX {
            let cut = out.floor_char_boundary(TEXT_MAX);
            out.truncate(cut);
            out.push('…');
            break;
        }
    }
    out
}

fn push(out: &mut String, node: &str) {
    if !out.is_empty() {
        out.push('/');
    }
    out.push_str(node);
}

fn node(kind: u8, subtype: u8, data: &[u8]) -> String {
    known(kind, subtype, data).unwrap_or_else(|| format!("Path({kind},{subtype},{} bytes)", data.len()))
}

/// The text of a node whose form is known and which has it.
fn known(kind: u8, subtype: u8, data: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(data);
    Some(match (kind, subtype) {
        (1, 1) => {
            let [function, device] = cursor.array()?;
            format!("Pci({device:x},{function:x})")
        }
        (2, 1) => match (cursor.u32()?, cursor.u32()?) {
            (0x0a03_41d0, unit) => format!("PciRoot({unit:x})"),
            (0x0a08_41d0, unit) => format!("PcieRoot({unit:x})"),
            (id, unit) => format!("Acpi({id:08x},{unit:x})"),
        },
        (3, 2) => format!("Scsi({},{})", cursor.u16()?, cursor.u16()?),
        (3, 5) => {
            let [port, interface] = cursor.array()?;
            format!("Usb({port:x},{interface:x})")
        }
        (3, 10) => format!("VendorMessaging({})", Guid::from_bytes(cursor.array()?)),
        (3, 11) => format!("Mac({})", hex::encode(cursor.take(6)?)),
        (3, 12) => "IPv4".to_owned(),
        (3, 13) => "IPv6".to_owned(),
        (3, 18) => format!("Sata({},{},{})", cursor.u16()?, cursor.u16()?, cursor.u16()?),
        (3, 23) => format!("NVMe({},{:016x})", cursor.u32()?, cursor.u64()?),
        (3, 24) => format!("Uri({})", text::utf8(data).ok()?),
        (4, 1) => hard_drive(&mut cursor)?,
        (4, 3) => format!("VendorMedia({})", Guid::from_bytes(cursor.array()?)),
        (4, 4) => text::utf16_padded(data).ok()?,
        (4, 6) => format!("FvFile({})", Guid::from_bytes(cursor.array()?)),
        (4, 7) => format!("Fv({})", Guid::from_bytes(cursor.array()?)),
        (4, 8) => {
            cursor.take(4)?;
            format!("Offset(0x{:x},0x{:x})", cursor.u64()?, cursor.u64()?)
        }
        _ => return None,
    })
}

fn hard_drive(cursor: &mut Cursor<'_>) -> Option<String> {
    let partition = cursor.u32()?;
    // Its first block and its blocks.
    cursor.take(16)?;
    let signature: [u8; 16] = cursor.array()?;
    let [_format, signature_type] = cursor.array()?;
    let mut out = format!("HD({partition}");
    // Writing to a string cannot fail.
    let _ = match signature_type {
        1 => write!(out, ",MBR,{})", hex::encode(&signature[..4])),
        2 => write!(out, ",GPT,{})", Guid::from_bytes(signature)),
        _ => write!(out, ")"),
    };
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: u8, subtype: u8, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len() + 4).unwrap();
        [&[kind, subtype][..], &length.to_le_bytes(), data].concat()
    }

    #[test]
    fn a_path_reads_as_text() {
        let name: Vec<u8> = "\\EFI\\BOOT\\BOOTX64.EFI\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let path = [
            node(2, 1, &[0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0]),
            node(1, 1, &[0, 0x1f]),
            node(9, 9, &[1]),
            node(4, 4, &name),
            node(0x7f, 0xff, &[]),
        ];
        assert_eq!(
            describe(&path.concat()),
            "PciRoot(0)/Pci(1f,0)/Path(9,9,1 bytes)/\\EFI\\BOOT\\BOOTX64.EFI"
        );
    }

    #[test]
    fn what_is_malformed_or_endless_ends() {
        assert_eq!(describe(&[]), "");
        assert_eq!(describe(&[1, 1]), "");
        assert_eq!(describe(&[1, 1, 0, 0, 5, 5]), "(malformed)");
        assert_eq!(describe(&[4, 4, 0xff, 0xff, 5]), "(malformed)");
        assert_eq!(describe(&node(4, 1, &[1, 2])), "Path(4,1,2 bytes)");
        assert_eq!(describe(&node(1, 1, &[0, 0]).repeat(1000)).matches("Pci").count(), NODES_MAX);
        let long: Vec<u8> = "é".repeat(9000).encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(describe(&node(4, 4, &long)).len() <= TEXT_MAX + 4);
    }
}
