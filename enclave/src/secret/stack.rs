//! Secret operations run on stacks in the secret pages, which are wiped when they return.
//!
//! Libraries leave temporaries on the stack (`ecdsa` its nonce, for one). On such a stack nobody can read them while
//! they are there, and afterwards they are gone, together with what was left in registers.
#![allow(unsafe_code, reason = "switches stacks; every block says why it is sound")]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::{Condvar, Mutex, PoisonError};

use super::mapping::PAGE;
use super::registers;
use crate::notice::notice;

/// Bytes of a stack. The deepest operation of an unoptimised build, over all tests of the enclave with RSA, P-256 and
/// P-384 endorsement keys, used 70,000 of them; how deep one goes depends on the code alone. A guard page ends the
/// process before anything beyond is touched. All of it is looked at each time, so it is no longer than it needs to be.
pub(super) const STACK_LEN: usize = 96 * 1024;

thread_local! {
    /// Whether this thread is in a secret operation. Without a destructor, so that the allocator may ask at any time.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// The stack that this thread used last. The one core that it runs on has it at hand; to every other core its
    /// hundreds of lines would have to be brought.
    static LAST: Cell<Option<NonNull<u8>>> = const { Cell::new(None) };
}

/// Whether this thread is in a secret operation.
pub(super) fn inside() -> bool {
    INSIDE.get()
}

/// Has a panic in a secret operation say where it was and nothing else: its message may have been built from secrets,
/// and a backtrace needs more stack and heap than an operation has.
pub(super) fn keep_panics_quiet() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !inside() {
            otherwise(info);
        } else if let Some(location) = info.location() {
            notice(format_args!("a secret operation panicked at {location}"));
        }
    }));
}

/// The stacks that nobody uses now.
pub(super) struct Stacks {
    /// The lowest address of each.
    bases: Vec<usize>,
    free: Mutex<Vec<Stack>>,
    returned: Condvar,
}

struct Stack(NonNull<u8>);

// SAFETY: a stack is owned by whoever took it, and the pages live as long as the process.
unsafe impl Send for Stack {}

impl Stacks {
    /// All of them, free.
    ///
    /// # Safety
    /// Each address must be the lowest of [`STACK_LEN`] writable bytes, aligned to a page and below them a guard page,
    /// that nothing else uses for as long as the process lives.
    pub(super) unsafe fn over(bases: impl Iterator<Item = NonNull<u8>>) -> Self {
        let stacks: Vec<Stack> = bases.map(Stack).collect();
        let bases = stacks.iter().map(|stack| stack.0.addr().get()).collect();
        Self { bases, free: Mutex::new(stacks), returned: Condvar::new() }
    }

    pub(super) fn hold(&self, address: *const u8) -> bool {
        self.bases.iter().any(|base| address.addr().wrapping_sub(*base) < STACK_LEN)
    }

    /// Runs an operation on one of the stacks and wipes it. Waits for a stack if all are in use, which the server's
    /// threads never are at once: there is one for each.
    ///
    /// # Panics
    /// When the operation panics, without its message: it may have been built from secrets.
    pub(super) fn run<R>(&self, operation: impl FnOnce() -> R) -> R {
        let stack = self.take();
        INSIDE.set(true);
        // SAFETY: the stack is ours alone, aligned and sized as required, with a guard page below; the operation
        // cannot unwind out of it, because panics are caught on it.
        let result = unsafe {
            psm::on_stack(stack.0.as_ptr(), STACK_LEN, || {
                catch_unwind(AssertUnwindSafe(operation)).map_err(drop)
            })
        };
        INSIDE.set(false);
        registers::wipe();
        stack.wipe();
        // Wiping looked at what was left.
        registers::wipe();
        self.give_back(stack);
        result.unwrap_or_else(|()| panic!("a secret operation panicked"))
    }

    fn take(&self) -> Stack {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while free.is_empty() {
            free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        // A thread without one takes the one that nobody used for longest.
        let last = free.iter().position(|stack| Some(stack.0) == LAST.get());
        let stack = free.remove(last.unwrap_or(0));
        LAST.set(Some(stack.0));
        stack
    }

    fn give_back(&self, stack: Stack) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(stack);
        self.returned.notify_one();
    }
}

impl Stack {
    fn wipe(&self) {
        const CLEAN: [u8; PAGE] = [0; PAGE];
        // SAFETY: STACK_LEN bytes of the mapping that only the owner of this stack uses, and nothing runs on it. They
        // are initialised: the kernel gave zeros.
        let pages =
            unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<[u8; PAGE]>(), STACK_LEN / PAGE) };
        // Below the deepest byte that was written there are zeros since the last time; above it, anything.
        let clean = pages.iter().take_while(|page| **page == CLEAN).count() * PAGE;
        // SAFETY: the rest of the same bytes; the slice above is not used any more.
        unsafe { self.0.add(clean).write_bytes(0, STACK_LEN - clean) };
        // Keeps the compiler from taking the zeros for dead.
        std::hint::black_box(self.0);
    }
}
