//! A log as a folder of files.

use std::io;
use std::path::{Path, PathBuf};

use sealstone_attestation::audit::{EntryBundle, LogFile, Note, Tile, TileError, TreeHash};

use crate::failure::Failure;
use crate::files;

/// Bytes of a bundle.
const BUNDLE_MAX: usize = crate::agent::LOG_FILE_MAX;

/// Bytes of a tile: 256 hashes.
const TILE_MAX: usize = 256 * TreeHash::LENGTH;

/// The folder.
#[derive(Debug)]
pub(super) struct LogFolder(PathBuf);

impl LogFolder {
    pub(super) fn open(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The signed note of its head.
    pub(super) fn checkpoint(&self) -> Result<Vec<u8>, Failure> {
        files::read(&self.0.join("checkpoint"), "the log's checkpoint", Note::BYTES_MAX)
    }

    /// The bytes of a bundle's entries, if there are any.
    pub(super) fn bundle(&self, bundle: &EntryBundle) -> Result<Option<Vec<u8>>, Failure> {
        if let Some(bytes) = self.find(&bundle.path(), BUNDLE_MAX)? {
            return Ok(Some(bytes));
        }
        // A log that has grown may have kept the whole file alone.
        let Some(whole) = self.find(&bundle.whole().path(), BUNDLE_MAX)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let (entries, _) = EntryBundle::split(&whole);
        for entry in entries.into_iter().zip(0..bundle.width()).map(|(entry, _)| entry) {
            EntryBundle::append(&mut bytes, entry).expect("it was read with a length");
        }
        Ok(Some(bytes))
    }

    /// The hashes of a tile, if it is there and as long as it must be.
    pub(super) fn tile(&self, tile: &Tile) -> Result<Option<Vec<TreeHash>>, Failure> {
        if let Some(bytes) = self.find(&tile.path(), TILE_MAX)? {
            return Ok(tile.parse(&bytes).ok());
        }
        let Some(bytes) = self.find(&tile.whole().path(), TILE_MAX)? else { return Ok(None) };
        let Ok(mut hashes) = tile.whole().parse(&bytes) else { return Ok(None) };
        hashes.truncate(usize::try_from(tile.width()).expect("at most 256"));
        Ok(Some(hashes))
    }

    /// The same, where it must be there.
    pub(super) fn needed_tile(&self, tile: &Tile) -> Result<Vec<TreeHash>, Failure> {
        self.tile(tile)?.ok_or_else(|| damaged(&tile.path()))
    }

    /// Whether a tile is there as it must be, or as the beginning of the whole one.
    pub(super) fn holds(&self, expected: &LogFile) -> Result<bool, Failure> {
        if let Some(found) = self.find(&expected.path, TILE_MAX)? {
            return Ok(found == expected.bytes);
        }
        let whole = expected.path.split_once(".p/").map(|(whole, _)| whole);
        let Some(whole) = whole else { return Ok(false) };
        Ok(self.find(whole, TILE_MAX)?.is_some_and(|found| found.starts_with(&expected.bytes)))
    }

    /// A file's bytes; `None` if there is no such file.
    fn find(&self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.0.join(name);
        match path.metadata() {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Ok(metadata) if metadata.is_file() && metadata.len() == 0 => Ok(Some(Vec::new())),
            _ => files::read(&path, "a file of the log", bytes_max).map(Some),
        }
    }
}

impl From<TileError> for Failure {
    fn from(error: TileError) -> Self {
        damaged(&error.to_string())
    }
}

/// Something of the log is not as it must be.
pub(super) fn damaged(what: &str) -> Failure {
    Failure::refused(
        "LOG_DAMAGED",
        format!("expected a whole log, found otherwise: {what}"),
        "see what is wrong with `sealstone audit verify`, and have the node export the log anew",
    )
}
