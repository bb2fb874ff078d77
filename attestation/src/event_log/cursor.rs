//! Reading little-endian numbers and byte strings, never past the end.

/// What is left of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// How many bytes were read.
    pub(super) const fn position(&self) -> usize {
        self.position
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(length)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A `UINT32` that counts bytes or entries.
    pub(super) fn length32(&mut self) -> Option<usize> {
        self.u32().and_then(|length| usize::try_from(length).ok())
    }

    /// A `UINT64` that counts bytes or characters.
    pub(super) fn length64(&mut self) -> Option<usize> {
        self.u64().and_then(|length| usize::try_from(length).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_past_the_end() {
        let mut cursor = Cursor::new(&[1, 0, 2]);
        assert_eq!(cursor.u16(), Some(1));
        assert_eq!(cursor.u16(), None);
        assert_eq!((cursor.position(), cursor.rest()), (2, [2].as_slice()));
        assert_eq!(cursor.take(usize::MAX), None);
        assert_eq!(cursor.u8(), Some(2));
        assert_eq!(cursor.take(0), Some([].as_slice()));
        assert_eq!(cursor.u8(), None);
    }
}
