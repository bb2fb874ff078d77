//! The audit log of a node: records, the tree over them, and checkpoints that the enclave signs.
//!
//! The formats are those of C2SP (c2sp.org): tlog-tiles for the log, tlog-checkpoint over signed-note for its heads,
//! tlog-proof for what shows one record to a third party. Hashes are those of RFC 6962, section 2.1.
//!
//! * [`Record`]: what is logged; a leaf is its one spelling in JSON.
//! * [`Frontier`]: a tree as whoever only appends keeps it; [`verify_inclusion`], [`verify_consistency`] and what
//!   makes their proofs.
//! * [`Note`], [`Checkpoint`]: a signed head of the log.
//! * [`Tile`], [`EntryBundle`], [`TileWriter`]: the log as a folder of files.
//! * [`LogExamination`]: a whole log, held to its checkpoints.
//! * [`LogProof`]: one record with its proof and a checkpoint, in one file.

mod checkpoint;
mod examine;
mod note;
mod proof;
mod prove;
mod receipts;
mod record;
mod tile;
mod tile_writer;
mod tree;

pub use checkpoint::{Checkpoint, CheckpointError, CoveredReceipts, Origin, OriginError, VerifiedCheckpoint};
pub use examine::{EraFindings, LogExamination, LogFindings, LogFlaw, NamedCheckpoint};
pub use note::{Note, NoteError, NoteKey, NoteSignature};
pub use proof::{LogProof, LogProofError};
pub use prove::{prove_consistency, prove_inclusion};
pub use record::{KindError, Reason, ReceiptReference, Record, RecordError, RecordKind};
pub use tile::{EntryBundle, TILE_WIDTH, Tile, TileError, tiled_node};
pub use tile_writer::{LogFile, TileWriter};
pub use tree::{Frontier, ProofError, TreeError, root_of_row, verify_consistency, verify_inclusion};

pub use crate::digest::{LeafHash, TreeHash};
