//! Small files that must be whole: read with a cap, written so that a crash leaves the old one or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Reads a file of at most `max` bytes.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] if it is longer, and whatever the system says.
pub(crate) fn read_capped(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= max) {
        return Ok(bytes);
    }
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("expected at most {max} bytes, found more")))
}

/// Replaces a file (mode 0600) in one step that survives a power cut: written beside it, synced, renamed, and
/// the folder synced.
///
/// # Errors
/// Whatever the system says; the old file is then still there.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let beside = directory.join(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_a_long_one_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write_durably(&path, b"first, and longer").unwrap();
        write_durably(&path, b"second").unwrap();
        assert_eq!(read_capped(&path, 6).unwrap(), b"second");
        assert_eq!(read_capped(&path, 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(write_durably(&directory.path().join("none/key"), b"").is_err());
    }
}
