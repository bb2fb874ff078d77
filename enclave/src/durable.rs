//! Files that survive a power cut: written beside, synced, renamed, folder synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces `path` with `bytes`, readable by this user only; after it returns, both file and name are on disk.
///
/// # Errors
/// Any error of the file system; the old file is then still whole.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
    let mut beside = name.to_owned();
    beside.push(".new");
    let beside = folder.join(beside);
    // A leftover of a crash is worthless: only the rename makes a file count.
    match fs::remove_file(&beside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    write_new(&beside, bytes)?;
    fs::rename(&beside, path)?;
    sync_folder(folder)
}

/// Creates `path` with `bytes`, readable by this user only; fails if it exists.
///
/// # Errors
/// Any error of the file system.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_new(path, bytes)?;
    sync_folder(folder_of(path))
}

/// Reads a file of at most `max` bytes.
///
/// # Errors
/// Any error of the file system, and a file that is longer.
pub fn read_capped(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    // Full capacity first: the file may be a secret, and a growing vector would leave unwiped copies.
    let length = file.metadata()?.len().min(limit);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(max));
    file.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::other(format!("expected at most {max} bytes")));
    }
    Ok(bytes)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_is_whole_and_private_and_a_leftover_does_not_matter() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::write(folder.path().join("state.new"), "half a fi").unwrap();
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(create(&path, b"three").is_err());
        assert!(read_capped(&path, 2).is_err());
        assert_eq!(read_capped(&path, 3).unwrap(), b"two");
    }
}
