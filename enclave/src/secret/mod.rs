//! Memory that nobody else reads: `memfd_secret` pages, which the kernel maps for nobody, not even through
//! `/proc/PID/mem`, and in which secrets live ([`Secret`], [`SecretBytes`]) and are worked with ([`run`]).
//!
//! Whoever works with a secret does it inside [`run`]: on a secret stack, with a secret heap. The token [`Inside`]
//! proves it; without one no secret can be made or read. What an operation returns leaves the secret pages: it must be
//! public, or a [`Secret`], and [`Flat`], so that nothing else leaves with it.
//!
//! A secret has no `Clone`, no `Debug` and no `Deref`.

mod flat;
mod heap;
mod mapping;
mod registers;
mod slots;
mod stack;
#[cfg(test)]
pub(crate) mod watch;

use std::marker::PhantomData;
use std::sync::OnceLock;

pub use flat::Flat;
use heap::SecretHeap;
use mapping::Mapping;
pub use mapping::{Kind, SecretMemoryError};
use sealstone_wire::limits::{CONNECTIONS_MAX, HANDSHAKES_MAX};
use slots::{SLOT_LEN, Slot, Slots};
use stack::Stacks;

/// Stacks besides one for each signing thread: one for each thread that serves a connection, so that nobody who
/// connects can keep the others from theirs, and for ceremony and main thread.
const OTHER_STACKS: usize = HANDSHAKES_MAX + CONNECTIONS_MAX + 2;

#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: heap::Allocator<std::alloc::System> = heap::Allocator::over(std::alloc::System);

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: heap::Allocator<watch::Watched> = heap::Allocator::over(watch::Watched);

static PAGES: OnceLock<Pages> = OnceLock::new();

/// The secret pages of this process.
struct Pages {
    kind: Kind,
    slots: Slots,
    heap: SecretHeap,
    stacks: Stacks,
}

impl Pages {
    #[allow(unsafe_code, reason = "hands out the mapping's parts")]
    fn map(require: bool, stacks: usize) -> Result<Self, SecretMemoryError> {
        // Before the first operation: made at first use, they are larger than a secret stack.
        crate::signing_key::make_tables();
        stack::keep_panics_quiet();
        let mapping = Mapping::new(require, stacks)?;
        // SAFETY: each part of the new mapping is given to one owner, has the length that this owner asks for, and
        // stays mapped as long as the process lives. Stacks have a guard page below.
        unsafe {
            Ok(Self {
                kind: mapping.kind(),
                slots: Slots::over(mapping.slots()),
                heap: SecretHeap::over(mapping.heap()),
                stacks: Stacks::over(mapping.stacks()),
            })
        }
    }
}

/// Maps the secret pages, with a stack for each of this many signing threads and some more. Called once at start,
/// before anything secret is read.
///
/// # Errors
/// The kernel gives no secret memory and `require` says that nothing else will do, or gives no memory at all; or there
/// are pages already.
pub fn init(require: bool, signing_threads: usize) -> Result<Kind, SecretMemoryError> {
    let pages = Pages::map(require, signing_threads + OTHER_STACKS)?;
    let kind = pages.kind;
    // Whoever was quicker may have got less than is required here.
    if PAGES.set(pages).is_err() { Err(SecretMemoryError::Twice) } else { Ok(kind) }
}

/// What the secret pages are made of.
#[must_use]
pub fn kind() -> Kind {
    mapped().kind
}

fn pages() -> Option<&'static Pages> {
    PAGES.get()
}

/// The pages. Tests and benchmarks, which never call [`init`], get secret memory or none.
fn mapped() -> &'static Pages {
    PAGES.get_or_init(|| Pages::map(true, OTHER_STACKS).unwrap_or_else(|error| panic!("{error}")))
}

/// Proof that the code that holds it runs inside [`run`].
#[derive(Debug)]
pub struct Inside {
    /// Not for another thread, which would be outside.
    _here: PhantomData<*const ()>,
}

/// Runs an operation with secrets: its stack and its heap are secret pages; the stack and the registers are wiped
/// when it returns, and a heap object when it is freed.
///
/// Inside another operation it just runs. What it writes outside, through references, should be [`Flat`] as well.
///
/// # Panics
/// When the operation panics, without its message: it may have been built from secrets.
pub fn run<R: Flat>(operation: impl FnOnce(&Inside) -> R) -> R {
    let inside = Inside { _here: PhantomData };
    if stack::inside() { operation(&inside) } else { mapped().stacks.run(|| operation(&inside)) }
}

/// Measures whether an operation's stack and heap are secret pages.
#[must_use]
pub fn is_sheltered(_: &Inside) -> bool {
    let on_stack = 0u8;
    let on_heap = Box::new(0u8);
    let pages = mapped();
    pages.stacks.hold(std::hint::black_box(&raw const on_stack))
        && pages.heap.holds(std::hint::black_box(&raw const *on_heap))
}

/// `N` secret bytes, wiped on drop.
#[allow(missing_debug_implementations, reason = "a secret is never printed")]
pub struct Secret<const N: usize>(Slot);

impl<const N: usize> Secret<N> {
    const FITS: () = assert!(N <= SLOT_LEN, "a secret fits one slot");

    /// A secret that `fill` writes in place, from zeros.
    ///
    /// # Panics
    /// When every slot is taken. Secrets are held by a fixed number of owners, so that is a bug.
    #[must_use]
    pub fn filled(_: &Inside, fill: impl FnOnce(&mut [u8; N])) -> Self {
        let () = Self::FITS;
        let mut slot = mapped().slots.take().expect("there are more slots than owners of secrets");
        fill(slot.bytes_mut().first_chunk_mut().expect("a secret fits one slot"));
        Self(slot)
    }

    /// A copy of bytes.
    #[must_use]
    pub fn copied(inside: &Inside, bytes: &[u8; N]) -> Self {
        Self::filled(inside, |secret| secret.copy_from_slice(bytes))
    }

    /// Bytes from the operating system's randomness.
    ///
    /// # Errors
    /// The operating system has none.
    pub fn drawn() -> Result<Self, getrandom::Error> {
        let mut drawn = Ok(());
        let secret = run(|inside| Self::filled(inside, |bytes| drawn = getrandom::fill(bytes)));
        drawn.map(|()| secret)
    }

    /// The bytes, where they are.
    #[must_use]
    pub fn expose<'a>(&'a self, _: &'a Inside) -> &'a [u8; N] {
        self.0.bytes().first_chunk().expect("a secret fits one slot")
    }

    /// Changes the bytes where they are.
    pub fn change(&mut self, _: &Inside, change: impl FnOnce(&mut [u8; N])) {
        change(self.0.bytes_mut().first_chunk_mut().expect("a secret fits one slot"));
    }
}

/// Secret bytes of any number, in the secret heap, wiped on drop.
#[allow(missing_debug_implementations, reason = "a secret is never printed")]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes bytes that were put on the heap inside an operation.
    ///
    /// # Panics
    /// When they were put there outside: then they are in ordinary memory already, which is a bug.
    #[must_use]
    pub fn new(_: &Inside, bytes: Vec<u8>) -> Self {
        assert!(
            bytes.capacity() == 0 || mapped().heap.holds(bytes.as_ptr()),
            "expected bytes in secret memory, found ordinary ones"
        );
        Self(bytes)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, where they are.
    #[must_use]
    pub fn expose<'a>(&'a self, _: &'a Inside) -> &'a [u8] {
        &self.0
    }

    /// The bytes, to be changed where they are.
    #[must_use]
    pub fn expose_mut<'a>(&'a mut self, _: &'a Inside) -> &'a mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests;
