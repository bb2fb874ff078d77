//! The copy's file: age's format, written beside its name until it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use age::stream::{StreamReader, StreamWriter};
use age::{DecryptError, Decryptor, Encryptor, IdentityFile};

use super::{BackupError, RECIPIENTS_MAX, Recipient};
use crate::files::read_capped;

/// Bytes that are handed on at once: one chunk of age's format.
const BLOCK: usize = 64 * 1024;

/// Bytes of a key file: a few identities with their comments.
const IDENTITY_MAX: u64 = 64 * 1024;

/// A file that is not whole yet; removed unless it gets its name.
#[derive(Debug)]
pub(super) struct Partial(Option<PathBuf>);

impl Partial {
    pub(super) fn beside(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        Self(Some(name.into()))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.as_deref().expect("it is taken only when it gets its name")
    }

    /// Gives the file its name, in a way that survives a power cut. What it holds must be synced.
    pub(super) fn put(mut self, path: &Path) -> Result<(), BackupError> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        fs::rename(self.path(), path).map_err(|source| BackupError::writing(path, source))?;
        self.0 = None;
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| BackupError::writing(path, source))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // If it stays, the next copy overwrites it.
            let _ = fs::remove_file(path);
        }
    }
}

/// A copy that is being written.
pub(super) struct Sealed {
    writer: StreamWriter<File>,
    partial: Partial,
    out: PathBuf,
}

impl Sealed {
    pub(super) fn create(out: &Path, recipients: &[Recipient]) -> Result<Self, BackupError> {
        if recipients.is_empty() || recipients.len() > RECIPIENTS_MAX {
            return Err(BackupError::Recipients { found: recipients.len() });
        }
        let encryptor =
            Encryptor::with_recipients(recipients.iter().map(|Recipient(key)| key as &dyn age::Recipient))
                .map_err(BackupError::Encrypt)?;
        if out.symlink_metadata().is_ok() {
            return Err(BackupError::FileExists { path: out.to_owned() });
        }
        let partial = Partial::beside(out);
        let failed = |source| BackupError::writing(partial.path(), source);
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(partial.path())
            .map_err(failed)?;
        let writer = encryptor.wrap_output(file).map_err(failed)?;
        Ok(Self { writer, partial, out: out.to_owned() })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.writer.write_all(bytes).map_err(|source| BackupError::writing(self.partial.path(), source))
    }

    /// Makes it durable under its name; its length.
    pub(super) fn finish(self) -> Result<u64, BackupError> {
        let Self { writer, partial, out } = self;
        let finished = writer.finish().and_then(|file| {
            file.sync_all()?;
            Ok(file.metadata()?.len())
        });
        let length = finished.map_err(|source| BackupError::writing(partial.path(), source))?;
        if out.symlink_metadata().is_ok() {
            return Err(BackupError::FileExists { path: out });
        }
        partial.put(&out)?;
        Ok(length)
    }
}

/// A copy that is being read.
pub(super) struct Opened {
    reader: StreamReader<BufReader<File>>,
    copy: PathBuf,
    /// What was read and is not handed on yet.
    ahead: Option<Vec<u8>>,
}

impl Opened {
    pub(super) fn open(copy: &Path, identity: &Path) -> Result<Self, BackupError> {
        let bytes = read_capped(identity, IDENTITY_MAX)
            .map_err(|source| BackupError::Read { path: identity.to_owned(), source })?;
        let none = || BackupError::Identity { path: identity.to_owned() };
        let keys = IdentityFile::from_buffer(bytes.as_slice()).map_err(|_| none())?;
        let keys = keys.into_identities().map_err(|_| none())?;
        if keys.is_empty() {
            return Err(none());
        }
        let copy = copy.to_owned();
        let unread = |source| BackupError::Read { path: copy.clone(), source };
        let refused = |error| match error {
            DecryptError::Io(source) if source.kind() == ErrorKind::UnexpectedEof => {
                BackupError::NotABackup { copy: copy.clone() }
            }
            DecryptError::Io(source) => unread(source),
            DecryptError::InvalidMac => BackupError::Damaged { copy: copy.clone() },
            DecryptError::NoMatchingKeys => BackupError::OtherRecipients { copy: copy.clone() },
            _ => BackupError::NotABackup { copy: copy.clone() },
        };
        let file = File::open(&copy).map_err(unread)?;
        let decryptor = Decryptor::new_buffered(BufReader::new(file)).map_err(refused)?;
        let keys = keys.iter().map(|key| &**key as &dyn age::Identity);
        let reader = decryptor.decrypt(keys).map_err(refused)?;
        let mut opened = Self { reader, copy: copy.clone(), ahead: None };
        opened.ahead = opened.read()?;
        Ok(opened)
    }

    /// The next block. The last one is given only when the file is known to end with it: what was cut short is never
    /// taken for whole.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        let Some(block) = self.ahead.take() else { return Ok(None) };
        self.ahead = self.read()?;
        Ok(Some(block))
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        let mut block = vec![0; BLOCK];
        let mut length = 0;
        while length < BLOCK {
            match self.reader.read(&mut block[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.refused(error)),
            }
        }
        block.truncate(length);
        Ok((length > 0).then_some(block))
    }

    fn refused(&self, source: io::Error) -> BackupError {
        match source.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData => {
                BackupError::Damaged { copy: self.copy.clone() }
            }
            _ => BackupError::Read { path: self.copy.clone(), source },
        }
    }
}
