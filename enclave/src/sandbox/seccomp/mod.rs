//! System call filters: each thread may make the calls of its kind's [list](lists), with the arguments named there;
//! any other call ends the process.

pub mod lists;
mod table;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};
use thiserror::Error;

use lists::{Argument, Entry, Width};

pub use table::json;

/// What a thread does, and therefore which calls it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Waits for the signal that ends the process.
    Main,
    /// Takes connections and hands them over.
    Accept,
    /// Serves one connection after the other.
    Connection,
    /// Provisions, unlocks, applies manifests, one at a time.
    Ceremony,
    /// Signs.
    Sign,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Main, Self::Accept, Self::Connection, Self::Ceremony, Self::Sign];
}

/// Why there is no filter.
#[derive(Debug, Error)]
pub enum FilterError {
    /// A list does not make a program: a fault of the list.
    #[error("the list makes no filter program")]
    List(#[from] BackendError),
    /// The kernel does not take it.
    #[error("the kernel does not take the filter: boot one with CONFIG_SECCOMP_FILTER")]
    Install(#[from] seccompiler::Error),
}

/// Confines the calling thread for good.
///
/// # Errors
/// [`FilterError`]; the thread is then as free as before.
pub fn install(kind: Kind) -> Result<(), FilterError> {
    Ok(apply_filter(&program(kind)?)?)
}

/// The filter of a kind: any call that its list does not name ends the process.
pub(super) fn program(kind: Kind) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for entry in lists::of(kind) {
        let rules = rules.entry(entry.number).or_default();
        // No rule at all means any arguments.
        if !entry.arguments.is_empty() {
            rules.push(rule(entry)?);
        }
    }
    SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?
    .try_into()
}

fn rule(entry: &Entry) -> Result<SeccompRule, BackendError> {
    let condition = |argument: &Argument| {
        let width = match argument.width {
            Width::Word => SeccompCmpArgLen::Dword,
            Width::Long => SeccompCmpArgLen::Qword,
        };
        SeccompCondition::new(argument.index, width, SeccompCmpOp::MaskedEq(argument.mask), argument.value)
    };
    SeccompRule::new(entry.arguments.iter().map(condition).collect::<Result<_, _>>()?)
}
