//! The kernel's list of what it measured while it ran (Linux IMA), read whole and replayed to a PCR.
//!
//! What the list says counts only as far as a quoted PCR 10 vouches for it: a list is text that anybody can write.

mod ascii;
mod binary;
mod boot_aggregate;
mod entry;
mod error;
mod hash;
mod list;
mod replay;
mod template;

pub use boot_aggregate::{Aggregated, BootAggregate, Recomputed};
pub use entry::{Entry, FileDigest, Place};
pub use error::{EntryFault, ImaError};
pub use list::{Encoding, ImaList};
pub use replay::{MatchingPrefix, TAIL_MAX, TemplateHash};
pub use template::{Field, FieldKind};
