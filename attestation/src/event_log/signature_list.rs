//! `EFI_SIGNATURE_LIST`s (UEFI 2.10, section 32.4.1): what `PK`, `KEK`, `db` and `dbx` hold.
//!
//! Every byte of a list must be one of its header or of an entry of the size that it states. A reader that skips a
//! header of a stated size takes for a trusted hash what an attacker put there (GHSA-9r4w).

use crate::event_log::{cursor::Cursor, guid::Guid, structure::StructureError};

/// Bytes of a list before its header: type, size of the list, of the header and of each entry.
const PREFIX: usize = 28;

/// Bytes of an entry before its content: who put it there.
const OWNER: usize = 16;

/// Bytes of an entry of a list of SHA-256 digests.
const SHA256_ENTRY: usize = OWNER + 32;

/// Bytes of the smallest certificate: what begins a DER sequence, and something in it.
const CERTIFICATE_MIN: usize = 3;

/// One entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignatureEntry<'a> {
    /// Who put it there.
    pub owner: Guid,
    /// What it is.
    pub content: SignatureContent<'a>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureContent<'a> {
    /// A certificate, DER.
    Certificate(&'a [u8]),
    /// The SHA-256 digest of an image.
    Sha256(&'a [u8]),
    /// Something else.
    Other {
        /// Its list's type.
        kind: Guid,
        /// Its bytes.
        content: &'a [u8],
    },
}

/// Reads lists, one after the other, to the last byte.
///
/// # Errors
/// [`StructureError`] when a size does not fit what it counts.
pub fn parse_signature_lists(bytes: &[u8]) -> Result<Vec<SignatureEntry<'_>>, StructureError> {
    let mut entries = Vec::new();
    let mut cursor = Cursor::new(bytes);
    // Each list takes at least its prefix.
    while !cursor.rest().is_empty() {
        parse_list(&mut cursor, &mut entries)?;
    }
    Ok(entries)
}

fn parse_list<'a>(
    cursor: &mut Cursor<'a>,
    entries: &mut Vec<SignatureEntry<'a>>,
) -> Result<(), StructureError> {
    let short = |_| StructureError::short("a signature list");
    let kind = Guid::from_bytes(cursor.array().ok_or(()).map_err(short)?);
    let list = cursor.length32().ok_or(()).map_err(short)?;
    let header = cursor.length32().ok_or(()).map_err(short)?;
    let entry = cursor.length32().ok_or(()).map_err(short)?;
    // No type that UEFI defines has a header.
    if header != 0 {
        return Err(StructureError::size("a signature list without a header, of a size", header));
    }
    let fits = match kind {
        Guid::CERT_SHA256 => entry == SHA256_ENTRY,
        Guid::CERT_X509 => entry >= OWNER + CERTIFICATE_MIN,
        _ => entry > OWNER,
    };
    if !fits {
        return Err(StructureError::size("signatures of the size of their type", entry));
    }
    let body = list
        .checked_sub(PREFIX)
        .filter(|body| body % entry == 0)
        .ok_or(StructureError::size("a signature list of whole signatures, of a size", list))?;
    let body = cursor
        .take(body)
        .ok_or(StructureError::size("a signature list that ends within the variable, of a size", list))?;
    for entry in body.chunks_exact(entry) {
        let (owner, content) = entry.split_at(OWNER);
        let owner = Guid::from_bytes(owner.try_into().expect("split after 16 bytes"));
        let content = match kind {
            Guid::CERT_X509 => SignatureContent::Certificate(content),
            Guid::CERT_SHA256 => SignatureContent::Sha256(content),
            kind => SignatureContent::Other { kind, content },
        };
        entries.push(SignatureEntry { owner, content });
    }
    Ok(())
}

/// Reads the one entry that an event of an authority holds: an `EFI_SIGNATURE_DATA`, or, by shim, a certificate alone.
pub(super) fn parse_authority(bytes: &[u8]) -> Option<SignatureEntry<'_>> {
    if is_certificate(bytes) {
        let owner = Guid::from_bytes([0; 16]);
        return Some(SignatureEntry { owner, content: SignatureContent::Certificate(bytes) });
    }
    let (owner, content) = bytes.split_at_checked(OWNER)?;
    let owner = Guid::from_bytes(owner.try_into().ok()?);
    let content = match content.len() {
        _ if is_certificate(content) => SignatureContent::Certificate(content),
        32 => SignatureContent::Sha256(content),
        _ => return None,
    };
    Some(SignatureEntry { owner, content })
}

/// Whether these bytes are exactly one DER sequence with a length of two bytes, as every certificate is.
fn is_certificate(bytes: &[u8]) -> bool {
    let [0x30, 0x82, high, low, rest @ ..] = bytes else { return false };
    rest.len() == usize::from(u16::from_be_bytes([*high, *low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(kind: Guid, sizes: (u32, u32, u32), body: &[u8]) -> Vec<u8> {
        let mut bytes = kind.as_bytes().to_vec();
        for size in [sizes.0, sizes.1, sizes.2] {
            bytes.extend(size.to_le_bytes());
        }
        bytes.extend(body);
        bytes
    }

    #[test]
    fn lists_are_read_to_the_last_byte() {
        let mut bytes = list(Guid::CERT_SHA256, (28 + 96, 0, 48), &[7; 96]);
        bytes.extend(list(Guid::CERT_X509, (28 + 20, 0, 20), &[9; 20]));
        bytes.extend(list(Guid::SHIM_LOCK, (28 + 17, 0, 17), &[1; 17]));
        let entries = parse_signature_lists(&bytes).unwrap();
        assert_eq!(entries.len(), 4);
        assert_eq!(entries[0].content, SignatureContent::Sha256(&[7; 32]));
        assert_eq!(entries[2].content, SignatureContent::Certificate(&[9; 4]));
        assert!(matches!(entries[3].content, SignatureContent::Other { kind: Guid::SHIM_LOCK, .. }));
        assert_eq!(parse_signature_lists(&[]), Ok(Vec::new()));
        assert_eq!(parse_signature_lists(&list(Guid::CERT_SHA256, (28, 0, 48), &[])), Ok(Vec::new()));
    }

    #[test]
    fn sizes_that_lie_are_refused() {
        for (kind, sizes, body) in [
            // GHSA-9r4w: a header that holds what is later taken for a hash.
            (Guid::CERT_SHA256, (28 + 96, 48, 48), 96),
            (Guid::CERT_SHA256, (28 + 48, 0, 47), 48),
            (Guid::CERT_SHA256, (28 + 48, 0, 0), 48),
            (Guid::CERT_SHA256, (28 + 49, 0, 48), 49),
            (Guid::CERT_SHA256, (27, 0, 48), 48),
            (Guid::CERT_SHA256, (0, 0, 48), 48),
            (Guid::CERT_SHA256, (28 + 96, 0, 48), 48),
            (Guid::CERT_SHA256, (28, 0, 48), 1),
            (Guid::CERT_X509, (28 + 16, 0, 16), 16),
            (Guid::CERT_X509, (u32::MAX, 0, u32::MAX), 16),
            (Guid::CERT_X509, (28 + 20, u32::MAX, 20), 20),
            (Guid::SHIM_LOCK, (28 + 16, 0, 16), 16),
        ] {
            assert!(parse_signature_lists(&list(kind, sizes, &vec![7; body])).is_err(), "{sizes:?}");
        }
        let whole = list(Guid::CERT_SHA256, (28 + 48, 0, 48), &[7; 48]);
        for length in 1..whole.len() {
            assert!(parse_signature_lists(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn an_authority_is_one_certificate_or_one_digest() {
        let certificate = [&[0x30, 0x82, 0, 3][..], &[1, 2, 3]].concat();
        let owned = [&[5; 16][..], &certificate].concat();
        for bytes in [&certificate, &owned] {
            let entry = parse_authority(bytes).unwrap();
            assert_eq!(entry.content, SignatureContent::Certificate(&certificate));
        }
        assert_eq!(parse_authority(&[5; 48]).unwrap().content, SignatureContent::Sha256(&[5; 32]));
        for bad in [&b""[..], &certificate[..6], &owned[..20], &[5; 47], b"sbat,1,2021030218\n"] {
            assert_eq!(parse_authority(bad), None, "{bad:?}");
        }
    }
}
