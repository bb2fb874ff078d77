//! Measured boots as people look at them: what a log says, and what changed from one boot to the next.

mod changes;
mod facts;
mod file;

pub(crate) use changes::Changes;
pub(crate) use facts::{BootFact, facts, subjects};
pub(crate) use file::LogFile;
