//! Making proofs (RFC 6962, sections 2.1.1 and 2.1.2) from the hashes of whole subtrees.
//!
//! `node(level, index)` gives the root of the whole subtree over leaves `index << level` to
//! `(index + 1) << level`; it is asked for no other nodes than those below the tree's size.

use super::tree::{ProofError, join};
use crate::digest::TreeHash;

/// Hashes from a leaf's sibling up to the root's child.
///
/// # Errors
/// What `node` fails with, and [`ProofError::Index`] for a leaf outside of the tree.
pub fn prove_inclusion<E: From<ProofError>>(
    index: u64,
    size: u64,
    mut node: impl FnMut(u32, u64) -> Result<TreeHash, E>,
) -> Result<Vec<TreeHash>, E> {
    if index >= size {
        return Err(ProofError::Index { index, size }.into());
    }
    let mut proof = Vec::new();
    let (mut low, mut high) = (0, size);
    // Each turn at least halves the range.
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            proof.push(range_root(middle, high, &mut node)?);
            high = middle;
        } else {
            proof.push(range_root(low, middle, &mut node)?);
            low = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Hashes from which the roots of both the tree of `old_size` and that of `new_size` follow.
///
/// # Errors
/// What `node` fails with, and [`ProofError::Shrunk`] when the older tree is the larger one.
pub fn prove_consistency<E: From<ProofError>>(
    old_size: u64,
    new_size: u64,
    mut node: impl FnMut(u32, u64) -> Result<TreeHash, E>,
) -> Result<Vec<TreeHash>, E> {
    if old_size > new_size {
        return Err(ProofError::Shrunk { old: old_size, new: new_size }.into());
    }
    let mut proof = Vec::new();
    if old_size == 0 {
        return Ok(proof);
    }
    let (mut low, mut high) = (0, new_size);
    // Each turn at least halves the range.
    while high > old_size {
        let middle = low + split(high - low);
        if old_size <= middle {
            proof.push(range_root(middle, high, &mut node)?);
            high = middle;
        } else {
            proof.push(range_root(low, middle, &mut node)?);
            low = middle;
        }
    }
    // The old tree itself, where it is a whole subtree, is what the verifier has.
    if low != 0 {
        proof.push(range_root(low, high, &mut node)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The largest power of two below `length`, which is at least 2.
fn split(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

/// The root over leaves `low` to `high`, where `low` is a multiple of the largest whole subtree among them.
fn range_root<E>(
    low: u64,
    high: u64,
    node: &mut impl FnMut(u32, u64) -> Result<TreeHash, E>,
) -> Result<TreeHash, E> {
    let mut hashes = Vec::new();
    let mut start = low;
    // One turn for each bit of the length.
    while start < high {
        let level = (high - start).ilog2();
        hashes.push(node(level, start >> level)?);
        start += 1 << level;
    }
    Ok(join(&hashes))
}
