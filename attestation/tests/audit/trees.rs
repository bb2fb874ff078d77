//! The tree against another implementation, and what is no proof.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sealstone_attestation::audit::{
    EntryBundle, Frontier, LeafHash, ProofError, TILE_WIDTH, Tile, TileError, TileWriter, TreeError,
    TreeHash, prove_consistency, prove_inclusion, tiled_node, verify_consistency, verify_inclusion,
};
use thiserror::Error;
use tlog_tiles::{
    Hash, HashReader, TileHashReader, TileReader, check_record, check_tree, prove_record, prove_tree,
    record_hash, stored_hashes, tree_hash,
};

/// Somebody else's tree, all its hashes in memory.
#[derive(Default)]
struct Foreign(Vec<Hash>);

impl HashReader for Foreign {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

impl Foreign {
    fn of(size: u64) -> Self {
        let mut tree = Self::default();
        for index in 0..size {
            let hashes = stored_hashes(index, &leaf(index), &tree).unwrap();
            tree.0.extend(hashes);
        }
        tree
    }
}

/// Somebody else's reader of a folder of tiles.
struct Folder(BTreeMap<String, Vec<u8>>);

impl TileReader for Folder {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        // Its paths name the height of tiles, which C2SP fixes and leaves out.
        Ok(tiles.iter().map(|tile| self.0[&tile.path().replacen("tile/8/", "tile/", 1)].clone()).collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

fn leaf(index: u64) -> Vec<u8> {
    format!("record {index}").into_bytes()
}

fn folder(size: u64) -> (Folder, Frontier) {
    let mut writer = TileWriter::new();
    let mut files = BTreeMap::new();
    let mut keep = |found: Vec<sealstone_attestation::audit::LogFile>| {
        for file in found {
            assert!(files.insert(file.path, file.bytes).is_none(), "a file is written once");
        }
    };
    for index in 0..size {
        keep(writer.push(&leaf(index)).unwrap());
    }
    keep(writer.partial());
    (Folder(files), writer.tree().clone())
}

#[derive(Debug, Error)]
enum Fault {
    #[error(transparent)]
    Tile(#[from] TileError),
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl Folder {
    fn node(&self, size: u64) -> impl FnMut(u32, u64) -> Result<TreeHash, Fault> {
        move |level, index| tiled_node(size, level, index, |tile| Ok(tile.parse(&self.0[&tile.path()])?))
    }
}

fn ours(hash: Hash) -> TreeHash {
    TreeHash::from_bytes(hash.0)
}

fn theirs(hashes: &[TreeHash]) -> Vec<Hash> {
    hashes.iter().map(|hash| Hash(*hash.as_bytes())).collect()
}

/// Sizes at which something ends: subtrees, tiles, tiles of tiles, and their neighbours.
const SIZES: [u64; 16] = [1, 2, 3, 4, 7, 8, 9, 255, 256, 257, 511, 512, 600, 65_535, 65_536, 65_793];

#[test]
fn roots_tiles_and_proofs_are_those_of_another_implementation() {
    for size in SIZES {
        let (files, frontier) = folder(size);
        let foreign = Foreign::of(size);
        let root = frontier.root();
        assert_eq!(root, ours(tree_hash(size, &foreign).unwrap()));
        // It recomputes the root from our tiles before it believes any hash in them.
        let from_tiles = TileHashReader::new(size, Hash(*root.as_bytes()), &files);
        for index in [0, size / 3, size / 2, size - 1] {
            let proof = prove_inclusion(index, size, files.node(size)).unwrap();
            assert_eq!(theirs(&proof), prove_record(size, index, &from_tiles).unwrap());
            let (leaf_hash, found) = (LeafHash::of(&leaf(index)), record_hash(&leaf(index)));
            assert_eq!(leaf_hash.as_bytes(), &found.0);
            check_record(&theirs(&proof), size, Hash(*root.as_bytes()), index, found).unwrap();
            assert_eq!(verify_inclusion(leaf_hash, index, size, root, &proof), Ok(()));
        }
        for old in [1, size / 3 + 1, size / 2 + 1, size] {
            let proof = prove_consistency(old, size, files.node(size)).unwrap();
            assert_eq!(theirs(&proof), prove_tree(size, old, &from_tiles).unwrap());
            let old_root = ours(tree_hash(old, &foreign).unwrap());
            check_tree(&theirs(&proof), size, Hash(*root.as_bytes()), old, Hash(*old_root.as_bytes()))
                .unwrap();
            assert_eq!(verify_consistency(old, old_root, size, root, &proof), Ok(()));
        }
    }
}

#[test]
fn a_tree_of_70_000_has_the_tiles_that_the_specification_counts() {
    let tiles: Vec<Tile> = Tile::all(70_000).collect();
    let whole = |level| tiles.iter().filter(|tile| tile.level() == level && tile.is_whole()).count();
    assert_eq!((whole(0), whole(1), whole(2)), (273, 1, 0));
    let partial: Vec<String> = tiles.iter().filter(|tile| !tile.is_whole()).map(Tile::path).collect();
    assert_eq!(partial, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
    assert_eq!(Tile::of_tree(u64::MAX, 0, 1_234_067).unwrap().path(), "tile/0/x001/x234/067");
    assert_eq!(EntryBundle::of_log(u64::MAX, 1_234_067).unwrap().path(), "tile/entries/x001/x234/067");
    assert_eq!(Tile::all(0).count(), 0);
    assert_eq!(Tile::of_tree(256, 0, 1), None);
    assert_eq!(Tile::of_tree(u64::MAX, 8, 0), None);
    assert_eq!(Tile::of_tree(u64::MAX, 0, u64::MAX), None);
    let expected: Vec<String> = Tile::all(600).map(|tile| tile.path()).collect();
    let (files, _) = folder(600);
    assert!(expected.iter().all(|path| files.0.contains_key(path)));
    assert_eq!(files.0.keys().filter(|path| !path.starts_with("tile/entries/")).count(), expected.len());
}

#[test]
fn entries_come_back_in_order_and_nothing_else_does() {
    let (files, _) = folder(300);
    for number in 0..2 {
        let bundle = EntryBundle::of_log(300, number).unwrap();
        let bytes = &files.0[&bundle.path()];
        let entries = bundle.parse(bytes).unwrap();
        assert_eq!(entries.len() as u64, bundle.width());
        for (entry, index) in entries.into_iter().zip(bundle.first()..) {
            assert_eq!(entry, leaf(index));
        }
        assert_eq!(EntryBundle::split(bytes), (bundle.parse(bytes).unwrap(), &[][..]));
        let (cut, rest) = EntryBundle::split(&bytes[..bytes.len() - 1]);
        assert_eq!((cut.len() as u64 + 1, rest.is_empty()), (bundle.width(), false));
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(bundle.parse(&longer), Err(TileError::LeftOver { path: bundle.path() }));
        let last = bundle.first() + bundle.width() - 1;
        let cut = TileError::Cut { path: bundle.path(), index: last };
        assert_eq!(bundle.parse(&bytes[..bytes.len() - 1]), Err(cut));
        assert_eq!(bundle.parse(&[]), Err(TileError::Cut { path: bundle.path(), index: bundle.first() }));
    }
    let tile = Tile::of_tree(300, 0, 1).unwrap();
    assert_eq!(tile.width(), 300 - TILE_WIDTH);
    assert!(matches!(tile.parse(&[0; 32 * 45]), Err(TileError::Length { expected: 1408, found: 1440, .. })));
    assert!(matches!(tile.parse(&[0; 1407]), Err(TileError::Length { .. })));
    assert!(TileWriter::new().push(&vec![0; 65_536]).is_err());
}

#[test]
fn a_frontier_has_a_hash_for_each_whole_subtree() {
    let (_, frontier) = folder(11);
    let again = Frontier::from_parts(11, frontier.hashes().to_vec()).unwrap();
    assert_eq!(again, frontier);
    let two = frontier.hashes()[..2].to_vec();
    assert_eq!(Frontier::from_parts(11, two), Err(TreeError::Hashes { size: 11, expected: 3, found: 2 }));
    assert_eq!(
        Frontier::from_parts(0, vec![TreeHash::empty()]),
        Err(TreeError::Hashes { size: 0, expected: 0, found: 1 })
    );
    assert!(matches!(Frontier::from_parts(u64::MAX, vec![]), Err(TreeError::Size { .. })));
    let mut swapped = frontier.hashes().to_vec();
    swapped.swap(0, 1);
    assert_ne!(Frontier::from_parts(11, swapped).unwrap().root(), frontier.root());
    assert_eq!(Frontier::new().root(), TreeHash::empty());
    assert_eq!(
        TreeHash::empty().to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[test]
fn what_is_outside_of_the_tree_has_no_proof() {
    let (files, frontier) = folder(5);
    let root = frontier.root();
    let outside = prove_inclusion(5, 5, files.node(5)).unwrap_err();
    assert!(matches!(outside, Fault::Proof(ProofError::Index { index: 5, size: 5 })));
    let shrunk = prove_consistency(6, 5, files.node(5)).unwrap_err();
    assert!(matches!(shrunk, Fault::Proof(ProofError::Shrunk { old: 6, new: 5 })));
    assert!(verify_inclusion(LeafHash::of(b""), 0, 0, TreeHash::empty(), &[]).is_err());
    assert_eq!(verify_consistency(6, root, 5, root, &[]), Err(ProofError::Shrunk { old: 6, new: 5 }));
    assert_eq!(verify_consistency(0, TreeHash::empty(), 5, root, &[]), Ok(()));
    assert_eq!(verify_consistency(0, root, 5, root, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(5, TreeHash::empty(), 5, root, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(5, root, 5, root, &[root]), Err(ProofError::Length));
    assert_eq!(verify_consistency(3, root, 5, root, &[]), Err(ProofError::Length));
    let absent = tiled_node(5, 60, 3, |_| Ok::<_, TileError>(vec![]));
    assert!(matches!(absent, Err(TileError::Absent { .. })));
    assert!(matches!(tiled_node(5, 0, 4, |_| Ok::<_, TileError>(vec![])), Err(TileError::Absent { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_and_no_other(
        size in 1..70_u64, at in any::<prop::sample::Index>(), old in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
    ) {
        let (files, frontier) = folder(size);
        let foreign = Foreign::of(size);
        let root = frontier.root();
        let index = at.index(usize::try_from(size).unwrap()) as u64;
        let hash = LeafHash::of(&leaf(index));
        let proof = prove_inclusion(index, size, files.node(size)).unwrap();
        prop_assert_eq!(theirs(&proof), prove_record(size, index, &foreign).unwrap());
        prop_assert_eq!(verify_inclusion(hash, index, size, root, &proof), Ok(()));
        for other in (0..size).filter(|other| *other != index) {
            prop_assert!(verify_inclusion(hash, other, size, root, &proof).is_err());
            prop_assert!(verify_inclusion(LeafHash::of(&leaf(other)), index, size, root, &proof).is_err());
        }
        for damaged in damaged(&proof, flip) {
            prop_assert!(verify_inclusion(hash, index, size, root, &damaged).is_err());
        }

        let old = old.index(usize::try_from(size).unwrap()) as u64 + 1;
        let (_, before) = folder(old);
        let proof = prove_consistency(old, size, files.node(size)).unwrap();
        prop_assert_eq!(theirs(&proof), prove_tree(size, old, &foreign).unwrap());
        prop_assert_eq!(verify_consistency(old, before.root(), size, root, &proof), Ok(()));
        for damaged in damaged(&proof, flip) {
            prop_assert!(verify_consistency(old, before.root(), size, root, &damaged).is_err());
        }
        if old < size {
            prop_assert!(verify_consistency(old, TreeHash::empty(), size, root, &proof).is_err());
            prop_assert!(verify_consistency(old, before.root(), size, TreeHash::empty(), &proof).is_err());
        }
    }
}

/// The proof with a hash more, less, changed, or out of order.
fn damaged(proof: &[TreeHash], at: prop::sample::Index) -> Vec<Vec<TreeHash>> {
    let mut all = vec![[proof, &[TreeHash::empty()]].concat()];
    if !proof.is_empty() {
        let at = at.index(proof.len());
        let mut changed = proof.to_vec();
        let mut bytes = *changed[at].as_bytes();
        bytes[0] ^= 1;
        changed[at] = TreeHash::from_bytes(bytes);
        all.push(changed);
        let mut shorter = proof.to_vec();
        shorter.remove(at);
        all.push(shorter);
    }
    if proof.len() > 1 {
        let mut swapped = proof.to_vec();
        swapped.swap(0, 1);
        all.push(swapped);
    }
    all
}
