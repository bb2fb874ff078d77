//! The tests' ordinary allocator: the system's, watched. It looks through each block that a watching thread frees for
//! what must never have been in one, and counts what a thread allocates.
#![allow(unsafe_code, reason = "an allocator of the tests; every block says why it is sound")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Secrets that can be watched at once, by all tests of the process.
const WATCHED_MAX: usize = 64;

/// The first eight bytes of each watched secret, inverted, so that the watch itself does not hold them.
static WATCHED: [AtomicU64; WATCHED_MAX] = [const { AtomicU64::new(0) }; WATCHED_MAX];
static WATCHED_LEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static FOUND: Cell<usize> = const { Cell::new(0) };
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

/// Watches for a secret in the ordinary blocks that this thread frees from now on.
pub(crate) fn watch(secret: &[u8]) {
    WATCHING.set(true);
    let start = secret.first_chunk().expect("a watched secret has at least eight bytes");
    let number = WATCHED_LEN.fetch_add(1, Ordering::SeqCst);
    WATCHED[number].store(!u64::from_le_bytes(*start), Ordering::SeqCst);
}

/// How often this thread freed a watched secret in a block.
pub(crate) fn found() -> usize {
    FOUND.get()
}

/// Blocks, ordinary and secret, that this thread was given so far.
pub(super) fn allocated() -> u64 {
    ALLOCATED.get()
}

/// Counts a block that this thread is given.
pub(super) fn count() {
    ALLOCATED.set(ALLOCATED.get() + 1);
}

pub(super) struct Watched;

fn inspect(block: *const u8, len: usize) {
    let watched = WATCHED_LEN.load(Ordering::Relaxed).min(WATCHED_MAX);
    if !WATCHING.get() || block.is_null() {
        return;
    }
    for offset in 0..len.saturating_sub(7) {
        // SAFETY: eight bytes of the block, which is still allocated; bytes that were never written are read as
        // whatever they are, for comparison only, and volatile so that nothing is concluded from them.
        let bytes = unsafe { block.add(offset).cast::<[u8; 8]>().read_volatile() };
        let inverted = !u64::from_le_bytes(bytes);
        if WATCHED[..watched].iter().any(|secret| secret.load(Ordering::Relaxed) == inverted && inverted != 0)
        {
            FOUND.set(FOUND.get() + 1);
        }
    }
}

// SAFETY: the system's allocator; blocks are only looked at before they go back.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // Zeroed, so that what is found in a block was put there by its owner.
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        inspect(block, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count();
        inspect(block, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(block, layout, len) }
    }
}
