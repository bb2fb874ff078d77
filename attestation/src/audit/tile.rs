//! The files of a log's folder (c2sp.org/tlog-tiles): tiles of hashes and bundles of entries, each whole or partial.

use thiserror::Error;

use super::tree::root_of_row;
use crate::{
    digest::TreeHash,
    encoding::{TooLong, lp},
};

/// Hashes of a whole tile, entries of a whole bundle.
pub const TILE_WIDTH: u64 = 256;

/// Levels of the tree that a tile spans.
const TILE_LEVELS: u32 = 8;

/// The highest level of tiles that a tree of a 64-bit size has.
const TILE_LEVEL_MAX: u32 = 7;

/// The levels as paths name them.
const TILE_LEVEL_NAMES: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];

/// Bytes of the longest index in a path: the seven groups of a 64-bit number, and a width.
const INDEX_PATH_MAX: usize = 40;

/// 256 hashes of one level of the tree in a row, or fewer at its right edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    level: u32,
    index: u64,
    width: u64,
}

impl Tile {
    /// The tile with this index on this level in a tree of this size; `None` if the tree has none there.
    #[must_use]
    pub fn of_tree(size: u64, level: u32, index: u64) -> Option<Self> {
        if level > TILE_LEVEL_MAX {
            return None;
        }
        width_of(size >> (TILE_LEVELS * level), index).map(|width| Self { level, index, width })
    }

    /// Every tile of a tree of this size, from its leaves up.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        (0..=TILE_LEVEL_MAX).flat_map(move |level| {
            let hashes = size >> (TILE_LEVELS * level);
            (0..hashes.div_ceil(TILE_WIDTH)).filter_map(move |index| Self::of_tree(size, level, index))
        })
    }

    /// The tile whose file in the log's folder this is; `None` for every other text, also for another spelling.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let level = TILE_LEVEL_NAMES.into_iter().position(|name| name == level)?;
        let (index, width) = named_index(rest)?;
        Some(Self { level: u32::try_from(level).ok()?, index, width })
    }

    /// Its file in the log's folder.
    #[must_use]
    pub fn path(&self) -> String {
        format!("tile/{}/{}", self.level, index_path(self.index, self.width))
    }

    /// The same tile when it has all its hashes, of which the first are these: what a log that has grown may have kept
    /// alone.
    #[must_use]
    pub fn whole(&self) -> Self {
        Self { width: TILE_WIDTH, ..*self }
    }

    /// Its level: the hashes in it are roots of whole subtrees of 256 to this power leaves.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.level
    }

    /// How many tiles of its level are before it.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes it has.
    #[must_use]
    pub fn width(&self) -> u64 {
        self.width
    }

    /// Whether it has all its hashes, and never changes again.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Reads its file.
    ///
    /// # Errors
    /// [`TileError::Length`] unless there are exactly as many bytes as its hashes have.
    pub fn parse(&self, bytes: &[u8]) -> Result<Vec<TreeHash>, TileError> {
        let (hashes, rest) = bytes.as_chunks::<{ TreeHash::LENGTH }>();
        if hashes.len() as u64 != self.width || !rest.is_empty() {
            return Err(TileError::Length {
                path: self.path(),
                expected: self.width * TreeHash::LENGTH as u64,
                found: bytes.len(),
            });
        }
        Ok(hashes.iter().copied().map(TreeHash::from_bytes).collect())
    }
}

/// The entries of 256 leaves in a row, or fewer at the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryBundle {
    index: u64,
    width: u64,
}

impl EntryBundle {
    /// The bundle with this index in a log of this size; `None` if the log has none there.
    #[must_use]
    pub fn of_log(size: u64, index: u64) -> Option<Self> {
        width_of(size, index).map(|width| Self { index, width })
    }

    /// The bundle whose file in the log's folder this is; `None` for every other text, also for another spelling.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        let (index, width) = named_index(path.strip_prefix("tile/entries/")?)?;
        Some(Self { index, width })
    }

    /// How many bundles are before it.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Its file in the log's folder.
    #[must_use]
    pub fn path(&self) -> String {
        format!("tile/entries/{}", index_path(self.index, self.width))
    }

    /// The same bundle when it has all its entries, of which the first are these: what a log that has grown may have
    /// kept alone.
    #[must_use]
    pub fn whole(&self) -> Self {
        Self { width: TILE_WIDTH, ..*self }
    }

    /// How many entries it has.
    #[must_use]
    pub fn width(&self) -> u64 {
        self.width
    }

    /// The index of its first entry.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.index * TILE_WIDTH
    }

    /// Reads its file: each entry after its big-endian u16 length.
    ///
    /// # Errors
    /// [`TileError`] names the entry at which the bytes are not as they must be.
    pub fn parse<'b>(&self, bytes: &'b [u8]) -> Result<Vec<&'b [u8]>, TileError> {
        let mut rest = bytes;
        let mut entries = Vec::new();
        for number in 0..self.width {
            let cut = || TileError::Cut { path: self.path(), index: self.first() + number };
            let (entry, after) = first_entry(rest).ok_or_else(cut)?;
            entries.push(entry);
            rest = after;
        }
        if rest.is_empty() { Ok(entries) } else { Err(TileError::LeftOver { path: self.path() }) }
    }

    /// Reads entries of which nobody said how many they are; what is left is less than one.
    #[must_use]
    pub fn split(bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
        let mut rest = bytes;
        let mut entries = Vec::new();
        // Each turn takes two bytes at least.
        while let Some((entry, after)) = first_entry(rest) {
            entries.push(entry);
            rest = after;
        }
        (entries, rest)
    }

    /// Appends an entry to a bundle's bytes.
    ///
    /// # Errors
    /// [`TooLong`] for more than 65,535 bytes.
    pub fn append(bytes: &mut Vec<u8>, entry: &[u8]) -> Result<(), TooLong> {
        lp(bytes, entry)
    }
}

/// The root of a whole subtree of a tree of this size, from its tiles: `read` gives the hashes of one tile. What
/// [`prove_inclusion`](super::prove_inclusion) and [`prove_consistency`](super::prove_consistency) ask for.
///
/// # Errors
/// What `read` fails with, and [`TileError::Absent`] for a node that the tree does not have.
pub fn tiled_node<E: From<TileError>>(
    size: u64,
    level: u32,
    index: u64,
    mut read: impl FnMut(&Tile) -> Result<Vec<TreeHash>, E>,
) -> Result<TreeHash, E> {
    let absent = || TileError::Absent { level, index, size };
    let within = level % TILE_LEVELS;
    let count = 1_u64 << within;
    let first = index.checked_mul(count).ok_or_else(absent)?;
    let tile = Tile::of_tree(size, level / TILE_LEVELS, first / TILE_WIDTH).ok_or_else(absent)?;
    let start = usize::try_from(first % TILE_WIDTH).map_err(|_| absent())?;
    let hashes = read(&tile)?;
    let count = usize::try_from(count).map_err(|_| absent())?;
    let row = hashes.get(start..start + count).ok_or_else(absent)?.to_vec();
    Ok(root_of_row(row))
}

/// The first entry, and what follows it.
fn first_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, after) = bytes.split_first_chunk()?;
    after.split_at_checked(u16::from_be_bytes(*length).into())
}

/// How wide the file with this index is where there are so many items.
fn width_of(items: u64, index: u64) -> Option<u64> {
    let before = index.checked_mul(TILE_WIDTH)?;
    let width = items.checked_sub(before)?.min(TILE_WIDTH);
    (width > 0).then_some(width)
}

/// Three digits for each path element, all but the last marked, and the width of what is partial.
fn index_path(index: u64, width: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    // Seven turns at most: a 64-bit number has twenty digits.
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    if width < TILE_WIDTH {
        path.push_str(&format!(".p/{width}"));
    }
    path
}

/// What [`index_path`] writes, and nothing else: the index and the width.
fn named_index(path: &str) -> Option<(u64, u64)> {
    if path.len() > INDEX_PATH_MAX {
        return None;
    }
    let (groups, width) = match path.split_once(".p/") {
        Some((groups, width)) => (groups, width.parse().ok()?),
        None => (path, TILE_WIDTH),
    };
    let mut index = 0_u64;
    for group in groups.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    // All items of it have an index of 64 bits.
    index.checked_add(1)?.checked_mul(TILE_WIDTH)?;
    // Signs, zeros too many, marks in the wrong place: whatever is not written so is not read.
    ((1..=TILE_WIDTH).contains(&width) && index_path(index, width) == path).then_some((index, width))
}

/// Why a file of a log's folder is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TileError {
    /// Hashes are missing or left over.
    #[error("expected {expected} bytes in {path}, found {found}")]
    Length {
        /// Which file.
        path: String,
        /// Bytes of its hashes.
        expected: u64,
        /// Bytes found.
        found: usize,
    },
    /// The bytes end within an entry.
    #[error("expected record {index} in {path}, found that the file ends before or within it")]
    Cut {
        /// Which file.
        path: String,
        /// The first entry that is not there.
        index: u64,
    },
    /// More than its entries.
    #[error("expected nothing after the last record of {path}, found more bytes")]
    LeftOver {
        /// Which file.
        path: String,
    },
    /// No such node.
    #[error("expected a subtree of a tree of {size} leaves, found none with index {index} on level {level}")]
    Absent {
        /// The level asked for.
        level: u32,
        /// The index asked for.
        index: u64,
        /// Leaves of the tree.
        size: u64,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_one_spelling_of_a_path_is_read() {
        let tile = Tile::from_path("tile/1/x001/x234/067.p/8").unwrap();
        assert_eq!((tile.level(), tile.index(), tile.width()), (1, 1_234_067, 8));
        assert_eq!(EntryBundle::from_path("tile/entries/000").unwrap().width(), 256);
        for path in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "/tile/0/000",
            "tile/0/000/",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/0/x000",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/x001/x000",
            "tile/0/x01/000",
            "tile/0/+01",
            "tile/0/-01",
            "tile/0/ 01",
            "tile/0/000.p",
            "tile/0/000.p/",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/257",
            "tile/0/000.p/08",
            "tile/0/000.p/+8",
            "tile/0/000.p/8/",
            "tile/0/000.p/8.p/8",
            "tile/00/000",
            "tile/8/000",
            "tile/63/000",
            "tile/-1/000",
            "tile/+0/000",
            "tile/entries/entries/000",
            "tile/0/../000",
            "tile/0/%30%30%30",
            "tile/0/\u{0663}\u{0663}\u{0663}",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/x999/999",
            "tile/0/x018/x446/x744/x073/x709/x551/615",
            "checkpoint",
        ] {
            assert_eq!(Tile::from_path(path), None, "{path}");
            let bundle = path.replacen("tile/0/", "tile/entries/", 1);
            assert_eq!(EntryBundle::from_path(&bundle), None, "{bundle}");
        }
        assert_eq!(Tile::from_path("tile/entries/000"), None);
        assert_eq!(EntryBundle::from_path("tile/0/000"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(size in 1_u64..=u64::MAX, level in 0_u32..=7, part in 0.0..1.0_f64) {
            let tiles = (size >> (8 * level)).div_ceil(TILE_WIDTH);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "any index will do")]
            let index = (tiles as f64 * part) as u64;
            if let Some(tile) = Tile::of_tree(size, level, index) {
                prop_assert_eq!(Tile::from_path(&tile.path()), Some(tile));
            }
            if let Some(bundle) = EntryBundle::of_log(size, index) {
                prop_assert_eq!(EntryBundle::from_path(&bundle.path()), Some(bundle));
            }
        }

        #[test]
        fn whatever_is_read_is_written_the_same(path in "tile/([0-9]{1,2}|entries)/(x?[0-9]{1,4}/){0,3}x?[0-9]{1,4}(\\.p/[0-9]{1,4})?") {
            if let Some(tile) = Tile::from_path(&path) {
                prop_assert_eq!(tile.path(), path.clone());
            }
            if let Some(bundle) = EntryBundle::from_path(&path) {
                prop_assert_eq!(bundle.path(), path);
            }
        }
    }
}
