//! Where an operation's heap objects go: a small heap in the secret pages.
//!
//! The process has one allocator. While a thread runs a secret operation it serves from these pages, so that what a
//! library puts on the heap (a big integer, a padded message, a session's state) is never in ordinary memory,
//! whatever the library does. Such an object may outlive its operation; it is wiped when it is freed.
#![allow(unsafe_code, reason = "allocates; every block says why it is sound")]

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use super::{pages, stack};

/// Bytes of the heap. A connection's handshake and session take about 3 KiB of it and there are at most twenty; a
/// ceremony takes a few TPM frames of 4 KiB. More than four times that.
pub(super) const HEAP_LEN: usize = 512 * 1024;

/// The secret pages' heap.
pub(super) struct SecretHeap {
    start: usize,
    free: Mutex<linked_list_allocator::Heap>,
}

impl SecretHeap {
    /// An empty heap in these pages.
    ///
    /// # Safety
    /// `base` must point to [`HEAP_LEN`] writable bytes that nothing else uses for as long as the process lives.
    pub(super) unsafe fn over(base: NonNull<u8>) -> Self {
        // SAFETY: the caller gives these bytes to the heap for good.
        let heap = unsafe { linked_list_allocator::Heap::new(base.as_ptr(), HEAP_LEN) };
        Self { start: base.as_ptr().addr(), free: Mutex::new(heap) }
    }

    pub(super) fn holds(&self, address: *const u8) -> bool {
        address.addr().wrapping_sub(self.start) < HEAP_LEN
    }

    /// A zeroed block, or null when the heap is full.
    fn take(&self, layout: Layout) -> *mut u8 {
        #[cfg(test)]
        super::watch::count();
        let block = self.free.lock().unwrap_or_else(PoisonError::into_inner).allocate_first_fit(layout);
        block.map_or(std::ptr::null_mut(), |block| {
            // SAFETY: the heap just gave these bytes to us; the list of free blocks was kept in them.
            unsafe { block.write_bytes(0, layout.size()) };
            block.as_ptr()
        })
    }

    /// # Safety
    /// `block` must come from [`take`](Self::take) with this layout and must not be used any more.
    unsafe fn give_back(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's block has as many bytes.
        unsafe { block.write_bytes(0, layout.size()) };
        // The heap is behind a lock that the compiler cannot see through, so the zeros are written.
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: as the caller promises.
        unsafe { free.deallocate(block, layout) };
    }
}

/// The process's allocator: secret pages inside a secret operation, `A` everywhere else.
#[derive(Debug)]
pub(super) struct Allocator<A>(A);

impl<A> Allocator<A> {
    /// With `A` for everything that is not secret.
    pub(super) const fn over(ordinary: A) -> Self {
        Self(ordinary)
    }
}

/// The heap that this block is in, if it is a secret one.
fn secret_home(block: *const u8) -> Option<&'static SecretHeap> {
    pages().map(|pages| &pages.heap).filter(|heap| heap.holds(block))
}

/// The heap that the next block comes from, if it is to be a secret one.
fn secret_source() -> Option<&'static SecretHeap> {
    if stack::inside() { pages().map(|pages| &pages.heap) } else { None }
}

// SAFETY: each block is served and freed by one of two allocators, told apart by its address; both keep to the
// contract of GlobalAlloc, and neither unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Allocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match secret_source() {
            Some(heap) => heap.take(layout),
            // SAFETY: as the caller promises.
            None => unsafe { self.0.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match secret_source() {
            Some(heap) => heap.take(layout),
            // SAFETY: as the caller promises.
            None => unsafe { self.0.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match (secret_home(block), NonNull::new(block)) {
            // SAFETY: the block came from this heap, and the caller does not use it any more.
            (Some(heap), Some(block)) => unsafe { heap.give_back(block, layout) },
            // SAFETY: the block came from `A`: it is not in the secret heap.
            _ => unsafe { self.0.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        let home = secret_home(block);
        // What is in the secret heap stays there, also when it grows outside an operation.
        let Some(target) = home.or_else(secret_source) else {
            // SAFETY: as the caller promises; the block came from `A`.
            return unsafe { self.0.realloc(block, layout, len) };
        };
        // SAFETY: the caller promises that `len`, rounded up to the alignment, does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(len, layout.align()) };
        let grown = target.take(wanted);
        if !grown.is_null() {
            // SAFETY: two different blocks, of at least that many bytes each; the old one is then freed.
            unsafe {
                std::ptr::copy_nonoverlapping(block, grown, layout.size().min(len));
                self.dealloc(block, layout);
            }
        }
        grown
    }
}
