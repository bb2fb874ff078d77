//! Sanctioned addresses: the list that recipients are looked up in, and how it is made from published ones.

mod import;
mod list;

pub use import::{ImportError, Importer, Progress};
pub use list::{ListError, SanctionsList};
