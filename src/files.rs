//! Reading files that others wrote, and writing files that survive a crash.
//!
//! Every read has a bound and refuses what is not a regular file: a directory, a device or a pipe given by
//! mistake must neither hang the command nor fill the memory.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::failure::Failure;

/// Mode of a file that holds a secret.
pub(crate) const SECRET_MODE: u32 = 0o600;

/// Mode of every other file, before the umask.
pub(crate) const PUBLIC_MODE: u32 = 0o644;

/// Bytes of a text file that a person edits: keys, drafts, an enrolment.
pub(crate) const TEXT_MAX: usize = 1024 * 1024;

/// Reads a regular file of 1 to `bytes_max` bytes.
pub(crate) fn read(path: &Path, what: &str, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let file = open_regular(path, what)?;
    let mut bytes = Vec::new();
    read_bounded(file, path, what, bytes_max, &mut bytes)?;
    Ok(bytes)
}

/// Reads a regular file of at most `bytes_max` bytes that may be empty, such as a log in which nothing was recorded.
pub(crate) fn read_log(path: &Path, what: &str, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    match read(path, what, bytes_max) {
        Err(failure) if failure.is_of("FILE_EMPTY") => Ok(Vec::new()),
        read => read,
    }
}

/// Reads a regular file of UTF-8.
pub(crate) fn read_text(path: &Path, what: &str) -> Result<String, Failure> {
    text(path, what, read(path, what, TEXT_MAX)?)
}

/// Takes what was read from a file as UTF-8.
pub(crate) fn text(path: &Path, what: &str, bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        Failure::unusable(
            "FILE_NOT_TEXT",
            format!(
                "expected {what} as UTF-8 text in {}, found other bytes ({})",
                path.display(),
                error.utf8_error()
            ),
            "give the right file",
        )
    })
}

/// Reads a secret: only from a regular file that nobody but its owner may read or write.
pub(crate) fn read_secret(path: &Path, what: &str, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let file = open_regular(path, what)?;
    let mode = file.metadata().map_err(|error| unreadable(path, what, &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Failure::unusable(
            "FILE_MODE",
            format!(
                "expected {what} {} to be readable by its owner alone (mode 0600), found mode {:04o}",
                path.display(),
                mode & 0o7777
            ),
            format!("chmod 600 {}, and replace the key if others may have read it", path.display()),
        ));
    }
    // Reserved in full, so that growth leaves no copy of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    read_bounded(file, path, what, bytes_max, &mut bytes)?;
    Ok(bytes)
}

/// Refuses early what [`write_new`] would refuse later.
pub(crate) fn refuse_existing(path: &Path, what: &str) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() { Err(exists(path, what)) } else { Ok(()) }
}

/// Writes a new file, refusing to replace one, and syncs it.
pub(crate) fn write_new(path: &Path, what: &str, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                exists(path, what)
            } else {
                unwritable(path, what, &error)
            }
        })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a file is worse than none: the next try would find it in the way.
        let _ = std::fs::remove_file(path);
        unwritable(path, what, &error)
    })
}

/// Writes a file so that a crash leaves either the old or the new content.
pub(crate) fn replace(path: &Path, what: &str, bytes: &[u8]) -> Result<(), Failure> {
    replace_by(path, what, |file| file.write_all(bytes).map_err(|error| unwritable(path, what, &error)))
}

/// As [`replace`], with what `write` writes, however long that is.
pub(crate) fn replace_by<T>(
    path: &Path,
    what: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if path.is_dir() {
        return Err(unwritable(path, what, &io::Error::from(io::ErrorKind::IsADirectory)));
    }
    let temporary = temporary_beside(path)?;
    write_new(&temporary, what, &[], PUBLIC_MODE)?;
    let written = OpenOptions::new()
        .append(true)
        .open(&temporary)
        .map_err(|error| unwritable(path, what, &error))
        .and_then(|file| {
            let mut file = BufWriter::new(file);
            let written = write(&mut file)?;
            file.into_inner()
                .map_err(io::IntoInnerError::into_error)
                .and_then(|file| file.sync_all())
                .and_then(|()| std::fs::rename(&temporary, path))
                .and_then(|()| sync_folder(path))
                .map_err(|error| unwritable(path, what, &error))?;
            Ok(written)
        });
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn open_regular(path: &Path, what: &str) -> Result<File, Failure> {
    // A pipe would otherwise block `open` until somebody writes to it.
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("the flag is a small constant");
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(path)
        .map_err(|error| unreadable(path, what, &error))?;
    let kind = file.metadata().map_err(|error| unreadable(path, what, &error))?.file_type();
    if !kind.is_file() {
        let found = if kind.is_dir() { "a directory" } else { "a device, pipe or socket" };
        return Err(Failure::unusable(
            "FILE_KIND",
            format!("expected {what} in a regular file, found that {} is {found}", path.display()),
            "give the file itself",
        ));
    }
    Ok(file)
}

fn read_bounded(
    file: File,
    path: &Path,
    what: &str,
    bytes_max: usize,
    to: &mut Vec<u8>,
) -> Result<(), Failure> {
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(to).map_err(|error| unreadable(path, what, &error))?;
    if to.is_empty() {
        return Err(Failure::unusable(
            "FILE_EMPTY",
            format!("expected {what} in {}, found an empty file", path.display()),
            "give the right file, or make it again",
        ));
    }
    if to.len() > bytes_max {
        return Err(Failure::unusable(
            "FILE_TOO_LARGE",
            format!("expected {what} of at most {bytes_max} bytes in {}, found more", path.display()),
            "give the right file",
        ));
    }
    Ok(())
}

fn temporary_beside(path: &Path) -> Result<PathBuf, Failure> {
    let Some(name) = path.file_name() else {
        return Err(Failure::unusable(
            "FILE_NAME",
            format!("expected the name of a file, found {}", path.display()),
            "end the path with a file name",
        ));
    };
    let mut random = [0u8; 8];
    random_bytes(&mut random)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", hex::encode(random)));
    Ok(path.with_file_name(temporary))
}

/// Fills a buffer from the operating system's random generator.
pub(crate) fn random_bytes(to: &mut [u8]) -> Result<(), Failure> {
    getrandom::fill(to).map_err(|error| {
        Failure::unusable(
            "RANDOMNESS",
            format!("expected random bytes from the operating system, found: {error}"),
            "check that getrandom(2) works on this machine",
        )
    })
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

fn exists(path: &Path, what: &str) -> Failure {
    Failure::unusable(
        "FILE_EXISTS",
        format!("expected to write {what} to a new file, found that {} exists", path.display()),
        "choose another name, or move the existing file away: it is not replaced",
    )
}

fn unreadable(path: &Path, what: &str, error: &io::Error) -> Failure {
    Failure::unusable(
        "FILE_UNREADABLE",
        format!("expected to read {what} from {}, found: {error}", path.display()),
        "check the path and its permissions",
    )
}

fn unwritable(path: &Path, what: &str, error: &io::Error) -> Failure {
    Failure::unusable(
        "FILE_UNWRITABLE",
        format!("expected to write {what} to {}, found: {error}", path.display()),
        "check the folder, its permissions and free space",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(result: Result<T, Failure>) -> String {
        result.err().map_or_else(|| "OK".to_owned(), |failure| failure.code().to_owned())
    }

    #[test]
    fn what_is_not_a_file_of_the_right_size_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        assert_eq!(code(read(&file, "a key", 4)), "FILE_UNREADABLE");
        assert_eq!(code(read(dir.path(), "a key", 4)), "FILE_KIND");
        assert_eq!(code(read(Path::new("/dev/zero"), "a key", 4)), "FILE_KIND");
        std::fs::write(&file, b"").unwrap();
        assert_eq!(code(read(&file, "a key", 4)), "FILE_EMPTY");
        std::fs::write(&file, b"12345").unwrap();
        assert_eq!(code(read(&file, "a key", 4)), "FILE_TOO_LARGE");
        assert_eq!(read(&file, "a key", 5).unwrap(), b"12345");
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        assert_eq!(code(read_text(&file, "a key")), "FILE_NOT_TEXT");
    }

    #[test]
    fn a_pipe_does_not_hang_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(code(read(&pipe, "a key", 4)), "FILE_KIND");
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        write_new(&file, "a key", b"secret", SECRET_MODE).unwrap();
        assert_eq!(read_secret(&file, "a key", 16).unwrap().as_slice(), b"secret");
        for mode in [0o640, 0o604, 0o620, 0o601, 0o660] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(code(read_secret(&file, "a key", 16)), "FILE_MODE", "{mode:o}");
        }
    }

    #[test]
    fn a_new_file_never_replaces_one_and_a_replaced_one_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        write_new(&file, "a key", b"first", SECRET_MODE).unwrap();
        assert_eq!(code(write_new(&file, "a key", b"second", SECRET_MODE)), "FILE_EXISTS");
        assert_eq!(std::fs::read(&file).unwrap(), b"first");
        replace(&file, "a key", b"third").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"third");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(code(replace(dir.path(), "a key", b"x")), "FILE_UNWRITABLE");
        assert_eq!(code(replace(&dir.path().join("no/such/f"), "a key", b"x")), "FILE_UNWRITABLE");
    }
}
