//! The node's log as its tree: tiles and bundles of records in the C2SP formats, read from the store.

use sealstone_attestation::audit::{EntryBundle, Frontier, TILE_WIDTH, Tile, TreeHash, root_of_row};

use crate::store::{Store, StoreError};

/// Bits of an index that count within a tile.
const TILE_LEVELS: u32 = 8;

/// Reads the log of the store's own node.
#[derive(Clone, Debug)]
pub struct Log(Store);

impl Log {
    /// In this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self(store)
    }

    /// The hashes of a tile. One at the right edge is put together from what is below it.
    ///
    /// # Errors
    /// The store's; [`StoreError::Corrupt`] if it lacks a hash that the log must have.
    pub async fn tile(&self, tile: &Tile) -> Result<Vec<TreeHash>, StoreError> {
        let missing = StoreError::Corrupt { expected: "a tile of the audit log" };
        if tile.is_whole() {
            return self.whole(tile.level(), tile.index()).await;
        }
        let first = tile.index() * TILE_WIDTH;
        if tile.level() == 0 {
            let hashes = self.0.audit_leaf_hashes(first, tile.width()).await?;
            let hashes: Vec<TreeHash> = hashes.into_iter().map(TreeHash::from_bytes).collect();
            return if hashes.len() as u64 == tile.width() { Ok(hashes) } else { Err(missing) };
        }
        let mut hashes = Vec::new();
        for index in first..first + tile.width() {
            hashes.push(root_of_row(self.whole(tile.level() - 1, index).await?));
        }
        Ok(hashes)
    }

    /// The records of a bundle, as tlog-tiles writes them.
    ///
    /// # Errors
    /// The store's; [`StoreError::Corrupt`] if it lacks a record.
    pub async fn entries(&self, bundle: &EntryBundle) -> Result<Vec<u8>, StoreError> {
        let width =
            usize::try_from(bundle.width()).map_err(|_| StoreError::Corrupt { expected: "a bundle" })?;
        let leaves = self.0.audit_leaves(bundle.first(), width).await?;
        if leaves.len() != width {
            return Err(StoreError::Corrupt { expected: "a record of the audit log" });
        }
        let mut bytes = Vec::new();
        for leaf in leaves {
            EntryBundle::append(&mut bytes, &leaf)
                .map_err(|_| StoreError::Corrupt { expected: "a record of at most 16 KiB" })?;
        }
        Ok(bytes)
    }

    /// The right edge of the tree over the first records.
    ///
    /// # Errors
    /// The store's.
    pub async fn frontier(&self, size: u64) -> Result<Frontier, StoreError> {
        let corrupt = || StoreError::Corrupt { expected: "a tree of the audit log" };
        let mut hashes = Vec::new();
        let mut covered = 0;
        for level in (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1) {
            // A whole subtree of 2^level records, which begins where those before it end.
            let (tile_level, within) = (level / TILE_LEVELS, level % TILE_LEVELS);
            let first = covered >> (TILE_LEVELS * tile_level);
            let tile = Tile::of_tree(size, tile_level, first / TILE_WIDTH).ok_or_else(corrupt)?;
            let start = usize::try_from(first % TILE_WIDTH).map_err(|_| corrupt())?;
            let row = self.tile(&tile).await?;
            hashes.push(root_of_row(row.get(start..start + (1 << within)).ok_or_else(corrupt)?.to_vec()));
            covered += 1 << level;
        }
        Frontier::from_parts(size, hashes).map_err(|_| corrupt())
    }

    async fn whole(&self, level: u32, index: u64) -> Result<Vec<TreeHash>, StoreError> {
        let missing = || StoreError::Corrupt { expected: "a tile of the audit log" };
        let level = u8::try_from(level).map_err(|_| missing())?;
        let bytes = self.0.audit_tile(level, index).await?.ok_or_else(missing)?;
        let (hashes, rest) = bytes.as_chunks();
        if hashes.len() as u64 != TILE_WIDTH || !rest.is_empty() {
            return Err(missing());
        }
        Ok(hashes.iter().copied().map(TreeHash::from_bytes).collect())
    }
}
