//! What the process may no longer do or use.
//!
//! There is no limit on the size of files: it would end the log with the state file. There is none on processes:
//! the system call filters allow no new one, and the limit does not bind root.
#![allow(unsafe_code, reason = "sets a parameter of the allocator")]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, dumpable_behavior, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::set_no_new_privs;

use super::descriptors::DESCRIPTORS_MAX;

/// Gives up core dumps, `/proc/PID/mem` for others of the same user, new privileges, descriptors beyond the bound
/// and swapping. Returns what failed; it is measured as inactive.
pub fn give_up() -> Vec<(&'static str, io::Error)> {
    let descriptors = u64::try_from(DESCRIPTORS_MAX).unwrap_or(u64::MAX);
    [
        ("RLIMIT_CORE 0", lower(Resource::Core, 0)),
        ("few descriptors", lower(Resource::Nofile, descriptors)),
        ("not dumpable", set_dumpable_behavior(DumpableBehavior::NotDumpable)),
        ("no new privileges", set_no_new_privs(true)),
        ("one heap", one_heap()),
        ("memory lock", lock_memory()),
    ]
    .into_iter()
    .filter_map(|(what, result)| Some((what, io::Error::from(result.err()?))))
    .collect()
}

pub(super) fn is_dumpable() -> bool {
    !dumpable_behavior().is_ok_and(|behavior| behavior == DumpableBehavior::NotDumpable)
}

fn lower(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}

/// All threads allocate from the one heap that grows by `brk`. Heaps of their own would be protected, advised and
/// trimmed by calls that no thread needs otherwise, one of which opens a file.
fn one_heap() -> rustix::io::Result<()> {
    // SAFETY: sets one integer of the allocator; there is one thread.
    let set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    if set == 1 { Ok(()) } else { Err(Errno::INVAL) }
}

/// Keeps every page out of swap. Under a limit this is left alone: once the limit is reached, buffers could not be
/// had any more. Root lifts the limit first, because the privilege that replaces it is about to be given up.
fn lock_memory() -> rustix::io::Result<()> {
    if getrlimit(Resource::Memlock).current.is_some() {
        setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })?;
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?;
    MEMORY_LOCKED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Whether the kernel was told to lock all memory, and agreed. What it counts as locked does not tell: secret memory
/// is counted whatever became of the rest.
static MEMORY_LOCKED: AtomicBool = AtomicBool::new(false);

pub(super) fn is_memory_locked() -> bool {
    MEMORY_LOCKED.load(Ordering::Relaxed)
}
