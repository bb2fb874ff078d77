//! Writing a log's folder, one record after the other: what comes out are names and bytes; who calls writes them.

use super::{
    tile::{EntryBundle, TILE_WIDTH, Tile},
    tree::{Frontier, root_of_row},
};
use crate::{
    digest::{LeafHash, TreeHash},
    encoding::TooLong,
};

/// One file of a log's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its name below the folder.
    pub path: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// A folder in the making. The file `checkpoint`, the signed note, is its caller's.
#[derive(Clone, Debug, Default)]
pub struct TileWriter {
    tiles: HashTiles,
    /// The entries of the bundle that is not whole yet.
    entries: Vec<u8>,
}

/// The tiles of such a folder, without its entries.
#[derive(Clone, Debug, Default)]
pub(super) struct HashTiles {
    frontier: Frontier,
    /// For each level of tiles, the hashes of the tile that is not whole yet.
    levels: Vec<Vec<TreeHash>>,
}

impl TileWriter {
    /// The folder of an empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an entry. Gives the files that are whole with it and never change again: mostly none.
    ///
    /// # Errors
    /// [`TooLong`] for an entry of more than 65,535 bytes; nothing is appended.
    pub fn push(&mut self, leaf: &[u8]) -> Result<Vec<LogFile>, TooLong> {
        EntryBundle::append(&mut self.entries, leaf)?;
        let mut files = self.tiles.push(LeafHash::of(leaf));
        let size = self.tiles.frontier.size();
        if size.is_multiple_of(TILE_WIDTH) {
            let bytes = std::mem::take(&mut self.entries);
            files.extend(bundle(size).map(|bundle| LogFile { path: bundle.path(), bytes }));
        }
        Ok(files)
    }

    /// The partial files at the right edge of the log as it is now. They are needed beside the whole ones for a
    /// checkpoint of this size.
    #[must_use]
    pub fn partial(&self) -> Vec<LogFile> {
        let mut files = self.tiles.partial();
        if !self.entries.is_empty() {
            let bytes = self.entries.clone();
            let bundle = bundle(self.tiles.frontier.size());
            files.extend(bundle.map(|bundle| LogFile { path: bundle.path(), bytes }));
        }
        files
    }

    /// The tree so far.
    #[must_use]
    pub fn tree(&self) -> &Frontier {
        &self.tiles.frontier
    }
}

impl HashTiles {
    /// Appends a leaf; gives the tiles that are whole with it.
    pub(super) fn push(&mut self, leaf: LeafHash) -> Vec<LogFile> {
        self.frontier.push(leaf);
        let size = self.frontier.size();
        let mut files = Vec::new();
        let mut hash = TreeHash::from(leaf);
        // One turn for each level of tiles that the tree has; a turn goes on only where a tile became whole.
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let hashes = &mut self.levels[level];
            hashes.push(hash);
            if (hashes.len() as u64) < TILE_WIDTH {
                break;
            }
            let whole = std::mem::take(hashes);
            files.extend(tile(size, level).map(|tile| file(&tile, &whole)));
            hash = root_of_row(whole);
        }
        files
    }

    /// The tiles that are not whole yet.
    pub(super) fn partial(&self) -> Vec<LogFile> {
        let size = self.frontier.size();
        let levels = self.levels.iter().enumerate().filter(|(_, hashes)| !hashes.is_empty());
        levels.filter_map(|(level, hashes)| Some(file(&tile(size, level)?, hashes))).collect()
    }

    /// The tree so far.
    pub(super) fn tree(&self) -> &Frontier {
        &self.frontier
    }
}

/// The last bundle of a log of this size.
fn bundle(size: u64) -> Option<EntryBundle> {
    EntryBundle::of_log(size, size.checked_sub(1)? / TILE_WIDTH)
}

/// The last tile of this level in a tree of this size.
fn tile(size: u64, level: usize) -> Option<Tile> {
    let level = u32::try_from(level).ok()?;
    let hashes = size.checked_shr(8 * level)?;
    Tile::of_tree(size, level, hashes.checked_sub(1)? / TILE_WIDTH)
}

fn file(tile: &Tile, hashes: &[TreeHash]) -> LogFile {
    LogFile { path: tile.path(), bytes: hashes.iter().flat_map(|hash| *hash.as_bytes()).collect() }
}
