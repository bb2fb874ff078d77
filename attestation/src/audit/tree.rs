//! The Merkle tree of RFC 6962, section 2.1, over SHA-256: hashes, the frontier of whoever only appends, and the
//! verification of proofs (RFC 9162, sections 2.1.3.2 and 2.1.4.2).

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::digest::{LeafHash, TreeHash};

/// Separates leaves from inner nodes, so that neither is taken for the other.
const LEAF_PREFIX: [u8; 1] = [0];

/// See [`LEAF_PREFIX`].
const NODE_PREFIX: [u8; 1] = [1];

/// Leaves of the largest tree whose frontier is taken from outside: a million a second fill it in 146,000 years, and
/// what is pushed on top does not overflow.
const SIZE_MAX: u64 = 1 << 62;

impl LeafHash {
    /// The hash of a leaf.
    #[must_use]
    pub fn of(leaf: &[u8]) -> Self {
        let hash = Sha256::new().chain_update(LEAF_PREFIX).chain_update(leaf).finalize();
        Self::from_bytes(hash.into())
    }
}

impl From<LeafHash> for TreeHash {
    fn from(leaf: LeafHash) -> Self {
        Self::from_bytes(*leaf.as_bytes())
    }
}

impl TreeHash {
    /// The root of a tree without leaves.
    #[must_use]
    pub fn empty() -> Self {
        Self::from_bytes(Sha256::digest([]).into())
    }

    /// The hash of an inner node.
    #[must_use]
    pub fn of_children(left: Self, right: Self) -> Self {
        let hash = Sha256::new().chain_update(NODE_PREFIX).chain_update(left).chain_update(right).finalize();
        Self::from_bytes(hash.into())
    }

    /// As checkpoints and proofs spell it: standard base64 (RFC 4648, section 4).
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.as_bytes())
    }

    /// Reads [`TreeHash::to_base64`].
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        bytes.try_into().ok().map(Self::from_bytes)
    }
}

/// A tree as whoever only appends keeps it: the roots of its whole subtrees, largest first. There is one for each
/// bit of the size, so two frontiers of one size and one root are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    hashes: Vec<TreeHash>,
}

impl Default for Frontier {
    fn default() -> Self {
        Self::new()
    }
}

impl Frontier {
    /// The tree without leaves.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, hashes: Vec::new() }
    }

    /// A tree that somebody else kept. Whether it is the right one is told by its root alone.
    ///
    /// # Errors
    /// [`TreeError`] when the hashes are not as many as a tree of that size has whole subtrees.
    pub fn from_parts(size: u64, hashes: Vec<TreeHash>) -> Result<Self, TreeError> {
        if size > SIZE_MAX {
            return Err(TreeError::Size { found: size });
        }
        if hashes.len() as u64 != u64::from(size.count_ones()) {
            return Err(TreeError::Hashes { size, expected: size.count_ones(), found: hashes.len() });
        }
        Ok(Self { size, hashes })
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: LeafHash) {
        let mut node = TreeHash::from(leaf);
        for _ in 0..self.size.trailing_ones() {
            let left = self.hashes.pop().expect("there is a subtree for each bit of the size");
            node = TreeHash::of_children(left, node);
        }
        self.hashes.push(node);
        self.size += 1;
    }

    /// Leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the whole subtrees, largest first.
    #[must_use]
    pub fn hashes(&self) -> &[TreeHash] {
        &self.hashes
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> TreeHash {
        join(&self.hashes)
    }
}

/// The root over whole subtrees in a row, largest first.
pub(super) fn join(hashes: &[TreeHash]) -> TreeHash {
    let mut from_the_right = hashes.iter().rev().copied();
    let Some(last) = from_the_right.next() else { return TreeHash::empty() };
    from_the_right.fold(last, |right, left| TreeHash::of_children(left, right))
}

/// The root over a whole row of hashes: as many as a power of two, and at least one.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn root_of_row(mut hashes: Vec<TreeHash>) -> TreeHash {
    // Each turn halves the row.
    while hashes.len() > 1 {
        hashes = hashes.chunks(2).map(join).collect();
    }
    hashes[0]
}

/// Verifies that a leaf is in a tree, at this index.
///
/// # Errors
/// [`ProofError`] when the proof does not lead from the leaf to the root, or has another length.
pub fn verify_inclusion(
    leaf: LeafHash,
    index: u64,
    size: u64,
    root: TreeHash,
    proof: &[TreeHash],
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Index { index, size });
    }
    // RFC 9162, section 2.1.3.2: `node` and `last` are its fn and sn.
    let (mut node, mut last) = (index, size - 1);
    let mut hash = TreeHash::from(leaf);
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node % 2 == 1 || node == last {
            hash = TreeHash::of_children(*sibling, hash);
            (node, last) = up_to_right_child(node, last);
        } else {
            hash = TreeHash::of_children(hash, *sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if hash == root { Ok(()) } else { Err(ProofError::Root) }
}

/// Verifies that one tree begins with another.
///
/// # Errors
/// [`ProofError`] when the proof does not lead to both roots, or has another length.
pub fn verify_consistency(
    old_size: u64,
    old_root: TreeHash,
    new_size: u64,
    new_root: TreeHash,
    proof: &[TreeHash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::Shrunk { old: old_size, new: new_size });
    }
    if old_size == new_size || old_size == 0 {
        let same = if old_size == new_size { old_root == new_root } else { old_root == TreeHash::empty() };
        return match (same, proof) {
            (_, [_, ..]) => Err(ProofError::Length),
            (true, []) => Ok(()),
            (false, []) => Err(ProofError::Root),
        };
    }
    // RFC 9162, section 2.1.4.2. An old tree that is one whole subtree is itself the first hash.
    let (first, rest) = if old_size.is_power_of_two() {
        (old_root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(ProofError::Length)?;
        (*first, rest)
    };
    let shift = (old_size - 1).trailing_ones();
    let (mut node, mut last) = ((old_size - 1) >> shift, (new_size - 1) >> shift);
    let (mut old, mut new) = (first, first);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node % 2 == 1 || node == last {
            old = TreeHash::of_children(*sibling, old);
            new = TreeHash::of_children(*sibling, new);
            (node, last) = up_to_right_child(node, last);
        } else {
            new = TreeHash::of_children(new, *sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if old == old_root && new == new_root { Ok(()) } else { Err(ProofError::Root) }
}

/// The last node of a level without a sibling stands for itself on the levels above, until it is a right child.
fn up_to_right_child(node: u64, last: u64) -> (u64, u64) {
    // 0 has no set bit to stop at: the root is no child.
    let shift = if node == 0 { 0 } else { node.trailing_zeros() };
    (node >> shift, last >> shift)
}

/// Why parts are no frontier.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TreeError {
    /// No log is so long.
    #[error("expected a tree of at most {SIZE_MAX} leaves, found {found}")]
    Size {
        /// The size given.
        found: u64,
    },
    /// Not one for each whole subtree.
    #[error("expected {expected} hashes for a tree of {size} leaves, found {found}")]
    Hashes {
        /// The size given.
        size: u64,
        /// Whole subtrees of such a tree.
        expected: u32,
        /// Hashes given.
        found: usize,
    },
}

/// Why a proof does not convince.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProofError {
    /// No such leaf.
    #[error("expected an index below the tree's size {size}, found {index}")]
    Index {
        /// The index given.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The tree that should come first is the larger one.
    #[error("expected a tree of at least {old} leaves, found one of {new}")]
    Shrunk {
        /// Leaves before.
        old: u64,
        /// Leaves now.
        new: u64,
    },
    /// Hashes are missing or left over.
    #[error("expected a proof with as many hashes as the tree has levels there, found another number")]
    Length,
    /// The hashes lead elsewhere.
    #[error("expected a proof that leads to the tree's root, found that it leads to another hash")]
    Root,
}
