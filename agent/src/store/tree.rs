//! The right edge of a node's log: which hashes its next record stands beside.
//!
//! RFC 9162 hashing in tiles of 256 hashes (C2SP tlog-tiles). A tile that is full is written with the record that
//! filled it; what is not full is here, and is read back from the records and tiles when the store is opened.

use sealstone_attestation::audit::{TreeHash, root_of_row};

use super::StoreError;
use super::database::{Connection, values};

/// Hashes of a full tile.
pub(super) const TILE: usize = 256;

/// Levels of tiles: 256^8 records are more than 63 bits count.
const LEVELS_MAX: u32 = 8;

/// A tile that is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) level: i64,
    pub(super) index: i64,
    pub(super) hashes: Vec<u8>,
}

/// The log's size, and the hashes of its tiles that are not full, from the leaves up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    size: i64,
    edge: Vec<Vec<[u8; 32]>>,
}

impl Tree {
    pub(super) fn size(&self) -> i64 {
        self.size
    }

    /// Whether so many records leave every tile as full as it is.
    pub(super) fn fills_none(&self, records: usize) -> bool {
        self.edge.first().map_or(0, Vec::len) + records < TILE
    }

    /// Adds a record; the tiles that it fills.
    pub(super) fn push(&mut self, leaf_hash: [u8; 32]) -> Vec<Tile> {
        self.size += 1;
        let mut filled = Vec::new();
        let mut carried = leaf_hash;
        for level in 0.. {
            if self.edge.len() <= level {
                self.edge.push(Vec::with_capacity(TILE));
            }
            let hashes = &mut self.edge[level];
            hashes.push(carried);
            if hashes.len() < TILE {
                break;
            }
            carried = root(hashes);
            let level = i64::try_from(level).expect("levels are few");
            let index = (self.size >> (8 * (level + 1))) - 1;
            filled.push(Tile { level, index, hashes: hashes.concat() });
            hashes.clear();
        }
        filled
    }

    /// As the database has it.
    pub(super) async fn load(connection: &mut Connection, node: i64, size: i64) -> Result<Self, StoreError> {
        let mut edge = Vec::new();
        for level in 0..LEVELS_MAX {
            let full = size >> (8 * level);
            if full == 0 {
                break;
            }
            let first = full - full % 256;
            let rows = if level == 0 {
                let sql =
                    "SELECT leaf_hash FROM audit WHERE node = $1 AND idx >= $2 AND idx < $3 ORDER BY idx";
                connection.fetch(sql, values([node.into(), first.into(), full.into()])).await?
            } else {
                let sql = "SELECT hashes FROM audit_tiles WHERE node = $1 AND level = $4 AND idx >= $2 AND idx < $3 \
                           ORDER BY idx";
                let below = i64::from(level) - 1;
                connection.fetch(sql, values([node.into(), first.into(), full.into(), below.into()])).await?
            };
            let mut hashes = Vec::with_capacity(TILE);
            for row in &rows {
                hashes.push(if level == 0 { row.array(0)? } else { root_of_tile(row.bytes(0)?)? });
            }
            if i64::try_from(hashes.len()) != Ok(full - first) {
                return Err(StoreError::Corrupt { expected: "an audit log without gaps" });
            }
            edge.push(hashes);
        }
        Ok(Self { size, edge })
    }
}

fn root_of_tile(bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if hashes.len() != TILE || !rest.is_empty() {
        return Err(StoreError::Corrupt { expected: "a tile of 256 hashes" });
    }
    Ok(root(hashes))
}

/// The root over a full tile.
fn root(hashes: &[[u8; 32]]) -> [u8; 32] {
    *root_of_row(hashes.iter().copied().map(TreeHash::from_bytes).collect()).as_bytes()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn tiles_are_given_when_they_are_full_and_in_their_place() {
        let mut tree = Tree::default();
        let mut tiles = Vec::new();
        for number in 0..66_000_u32 {
            let hash = Sha256::digest(number.to_be_bytes()).into();
            assert_eq!(tree.fills_none(1), number % 256 != 255);
            tiles.extend(tree.push(hash));
        }
        let places: Vec<_> = tiles.iter().map(|tile| (tile.level, tile.index)).collect();
        let mut expected: Vec<_> = (0..257).map(|index| (0, index)).collect();
        expected.insert(256, (1, 0));
        assert_eq!(places, expected);
        assert_eq!((tree.size(), tree.edge[0].len(), tree.edge[1].len()), (66_000, 66_000 % 256, 1));
        let first = root_of_tile(&tiles[0].hashes).unwrap();
        assert_eq!(tiles[256].hashes[..32], first);
        assert_eq!(tree.edge[1], [root_of_tile(&tiles[257].hashes).unwrap()]);
    }

    #[test]
    fn a_tile_of_another_length_is_refused() {
        for length in [0, 31, 32, 8191, 8193, 8224] {
            assert!(root_of_tile(&vec![0; length]).is_err(), "{length}");
        }
    }
}
