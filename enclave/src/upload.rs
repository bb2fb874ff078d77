//! A manifest envelope that arrives in pieces.

use sealstone_wire::limits::{MANIFEST_CHUNK_MAX, MANIFEST_MAX};
use sealstone_wire::reply::RefusalCode;

use crate::refuse::{Refuse, refuse};

/// The pieces so far. One upload at a time: the agent that interleaves two gets neither.
#[derive(Debug, Default)]
pub struct Upload(Vec<u8>);

impl Upload {
    /// Appends a piece; offset 0 begins anew.
    ///
    /// # Errors
    /// A piece out of order, an overlong piece, or an overlong whole; the upload is then empty.
    pub fn push(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Refuse> {
        if offset == 0 {
            self.0.clear();
        }
        let fault = if usize::try_from(offset) != Ok(self.0.len()) {
            format!("expected the piece at offset {}, found {offset}", self.0.len())
        } else if bytes.is_empty() || bytes.len() > MANIFEST_CHUNK_MAX {
            format!("expected a piece of 1 to {MANIFEST_CHUNK_MAX} bytes, found {}", bytes.len())
        } else if self.0.len() + bytes.len() > MANIFEST_MAX {
            format!("expected a manifest of at most {MANIFEST_MAX} bytes")
        } else {
            self.0.extend_from_slice(bytes);
            return Ok(());
        };
        self.0 = Vec::new();
        Err(refuse(RefusalCode::Malformed, fault))
    }

    /// The whole, which is then forgotten here.
    ///
    /// # Errors
    /// Nothing was uploaded.
    pub fn take(&mut self) -> Result<Vec<u8>, Refuse> {
        if self.0.is_empty() {
            return Err(refuse(RefusalCode::ManifestRefused, "no manifest was uploaded"));
        }
        Ok(std::mem::take(&mut self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_order_and_a_new_beginning_forgets_the_old() {
        let mut upload = Upload::default();
        assert!(upload.take().is_err());
        upload.push(0, b"old").unwrap();
        upload.push(0, b"ab").unwrap();
        upload.push(2, b"c").unwrap();
        assert_eq!(upload.take().unwrap(), b"abc");
        assert!(upload.take().is_err());
    }

    #[test]
    fn a_gap_an_empty_piece_and_a_flood_are_refused_and_nothing_stays() {
        let mut upload = Upload::default();
        upload.push(0, b"ab").unwrap();
        assert!(upload.push(3, b"c").is_err());
        assert!(upload.take().is_err());
        assert!(upload.push(0, b"").is_err());
        assert!(upload.push(0, &vec![0; MANIFEST_CHUNK_MAX + 1]).is_err());
        let piece = vec![1; MANIFEST_CHUNK_MAX];
        let mut offset = 0;
        let flooded = loop {
            match upload.push(offset, &piece) {
                Ok(()) => offset += u32::try_from(piece.len()).unwrap(),
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(flooded.code(), RefusalCode::Malformed);
        assert_eq!(usize::try_from(offset).unwrap(), MANIFEST_MAX);
        assert!(upload.take().is_err());
    }
}
