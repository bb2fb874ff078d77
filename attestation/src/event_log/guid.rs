//! `EFI_GUID`s (UEFI 2.10, appendix A), and those that this crate knows.

use std::fmt;

use serde::{Serialize, Serializer};

/// A GUID as its 16 bytes are stored: the first three fields little-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid([u8; 16]);

impl Guid {
    /// Owner of the firmware's own variables, such as `SecureBoot`.
    pub const GLOBAL_VARIABLE: Self = Self([
        0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
    ]);
    /// Owner of `db`, `dbx` and the like.
    pub const IMAGE_SECURITY_DATABASE: Self = Self([
        0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f,
    ]);
    /// Owner of shim's variables.
    pub const SHIM_LOCK: Self = Self([
        0x50, 0xab, 0x5d, 0x60, 0x46, 0xe0, 0x00, 0x43, 0xab, 0xb6, 0x3d, 0xd8, 0x10, 0xdd, 0x8b, 0x23,
    ]);
    /// A list of X.509 certificates.
    pub const CERT_X509: Self = Self([
        0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72,
    ]);
    /// A list of SHA-256 digests of images.
    pub const CERT_SHA256: Self = Self([
        0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28,
    ]);

    /// Takes the bytes as they are stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes as they are stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g, h, i, rest @ ..] = self.0;
        let (first, second, third) =
            (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, g]), u16::from_le_bytes([h, i]));
        let (clock, node) = rest.split_at(2);
        write!(f, "{first:08x}-{second:04x}-{third:04x}-{}-{}", hex::encode(clock), hex::encode(node))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guid({self})")
    }
}

impl Serialize for Guid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_read_as_uefi_writes_them() {
        for (guid, text) in [
            (Guid::GLOBAL_VARIABLE, "8be4df61-93ca-11d2-aa0d-00e098032b8c"),
            (Guid::IMAGE_SECURITY_DATABASE, "d719b2cb-3d3a-4596-a3bc-dad00e67656f"),
            (Guid::SHIM_LOCK, "605dab50-e046-4300-abb6-3dd810dd8b23"),
            (Guid::CERT_X509, "a5c059a1-94e4-4aa7-87b5-ab155c2bf072"),
            (Guid::CERT_SHA256, "c1c41626-504c-4092-aca9-41f936934328"),
        ] {
            assert_eq!(guid.to_string(), text);
        }
    }
}
