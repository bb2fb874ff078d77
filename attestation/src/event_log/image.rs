//! `UEFI_IMAGE_LOAD_EVENT` (TCG PC Client Platform Firmware Profile). The digest is the image's; this only
//! describes it.

use crate::event_log::{cursor::Cursor, device_path, structure::StructureError};

/// A load of an image, as its event describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageLoad {
    /// Bytes of the image in memory.
    pub length: u64,
    /// Where it came from, as text; empty when the event does not say.
    pub path: String,
}

impl ImageLoad {
    /// Reads the data of an event of an image.
    ///
    /// # Errors
    /// [`StructureError`] when it is too short for what it says.
    pub fn parse(data: &[u8]) -> Result<Self, StructureError> {
        let short = || StructureError::short("where an image was loaded");
        let mut cursor = Cursor::new(data);
        let _location = cursor.u64().ok_or_else(short)?;
        let length = cursor.u64().ok_or_else(short)?;
        let _link_time_address = cursor.u64().ok_or_else(short)?;
        let path = cursor.length64().ok_or_else(short)?;
        let path = cursor
            .take(path)
            .ok_or(StructureError::size("a device path that ends within the event, of a length", path))?;
        Ok(Self { length, path: device_path::describe(path) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_described_and_lengths_that_lie_are_refused() {
        let event = |length: u64, path: &[u8]| {
            let fields = [1_u64, 4096, 0, length].map(u64::to_le_bytes).concat();
            [&fields[..], path].concat()
        };
        let load = ImageLoad::parse(&event(6, &[1, 1, 6, 0, 2, 3])).unwrap();
        assert_eq!((load.length, load.path.as_str()), (4096, "Pci(3,2)"));
        assert_eq!(ImageLoad::parse(&event(0, &[])).unwrap().path, "");
        assert!(ImageLoad::parse(&event(7, &[1, 1, 6, 0, 2, 3])).is_err());
        assert!(ImageLoad::parse(&event(u64::MAX, &[])).is_err());
        assert!(ImageLoad::parse(&[0; 31]).is_err());
    }
}
