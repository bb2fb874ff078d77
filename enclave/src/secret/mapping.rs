//! The secret pages: slots, a heap and stacks in one reservation, with a guard page on either side of each.
#![allow(unsafe_code, reason = "maps memory; every block says why it is sound")]

use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mlock, mmap, mmap_anonymous, mprotect,
};
use thiserror::Error;

use super::heap::HEAP_LEN;
use super::slots::SLOTS_LEN;
use super::stack::STACK_LEN;

/// The page size of the targets that are built for; the mapping is aligned to whatever is real.
pub(super) const PAGE: usize = 4096;

const _: () = assert!(SLOTS_LEN.is_multiple_of(PAGE), "slots fill their pages");
const _: () = assert!(HEAP_LEN.is_multiple_of(PAGE), "the heap fills its pages");
const _: () = assert!(STACK_LEN.is_multiple_of(PAGE), "a stack fills its pages");

/// What the secret pages are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `memfd_secret`: removed from the kernel's own map; nobody else can read it.
    MemfdSecret,
    /// Ordinary memory, locked and left out of core dumps: root can read it.
    Locked,
}

/// Why there are no secret pages.
#[derive(Debug, Error)]
pub enum SecretMemoryError {
    /// The kernel has no secret memory, and nothing else was allowed.
    #[error(
        "the kernel gives no {needed} bytes of secret memory (memfd_secret: {errno}); boot with secretmem.enable=1, raise the memory lock limit (LimitMEMLOCK), or set require_secret_memory = false and have every report say so"
    )]
    Unavailable {
        /// Bytes asked for.
        needed: usize,
        /// Why.
        errno: Errno,
    },
    /// Memory cannot be mapped, locked or protected.
    #[error("cannot {what}: {errno}")]
    Memory {
        /// What failed.
        what: &'static str,
        /// Why.
        errno: Errno,
    },
}

/// The pages, for as long as the process lives.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    kind: Kind,
    stacks: usize,
}

// SAFETY: the mapping lives as long as the process; its parts are handed out to one owner each.
unsafe impl Send for Mapping {}
// SAFETY: as above; nothing here is changed after the mapping was made.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the pages for this many stacks; falls back to locked memory unless `require`.
    pub(super) fn new(require: bool, stacks: usize) -> Result<Self, SecretMemoryError> {
        let fault = |what| move |errno| SecretMemoryError::Memory { what, errno };
        let reserve = fault("reserve addresses for secrets");
        let len = PAGE + parts(stacks).map(|part| part + PAGE).sum::<usize>();
        // SAFETY: a new anonymous mapping at an address of the kernel's choice disturbs no other memory.
        let base =
            unsafe { mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::empty(), MapFlags::PRIVATE) };
        let base = NonNull::new(base.map_err(reserve)?.cast::<u8>()).ok_or_else(|| reserve(Errno::FAULT))?;
        let mut mapping = Self { base, kind: Kind::MemfdSecret, stacks };
        if let Err(errno) = mapping.fill_with_secret_memory() {
            if require {
                return Err(SecretMemoryError::Unavailable { needed: parts(stacks).sum(), errno });
            }
            mapping.kind = Kind::Locked;
            mapping.fill_with_locked_memory()?;
        }
        Ok(mapping)
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn slots(&self) -> NonNull<u8> {
        self.part(0)
    }

    pub(super) fn heap(&self) -> NonNull<u8> {
        self.part(1)
    }

    /// The lowest address of each stack.
    pub(super) fn stacks(&self) -> impl Iterator<Item = NonNull<u8>> {
        (0..self.stacks).map(|number| self.part(2 + number))
    }

    fn part(&self, number: usize) -> NonNull<u8> {
        let before: usize = parts(self.stacks).take(number).map(|part| part + PAGE).sum();
        // SAFETY: the parts before this one, their guards and the first guard are inside the reservation.
        unsafe { self.base.add(PAGE + before) }
    }

    /// Replaces every part by pages of one `memfd_secret`, whose descriptor is closed when this returns: whoever
    /// could take it from the process could map it.
    fn fill_with_secret_memory(&self) -> Result<(), Errno> {
        let descriptor = secret_descriptor(parts(self.stacks).sum())?;
        let mut offset = 0;
        for (number, len) in parts(self.stacks).enumerate() {
            let at = self.part(number).as_ptr().cast();
            // SAFETY: replaces inner pages of the reservation made by `new`, which nothing uses yet.
            unsafe {
                mmap(
                    at,
                    len,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::SHARED | MapFlags::FIXED,
                    &descriptor,
                    offset,
                )?;
                madvise(at, len, Advice::LinuxDontFork)?;
            }
            offset += u64::try_from(len).map_err(|_| Errno::OVERFLOW)?;
        }
        Ok(())
    }

    /// Makes every part ordinary memory: locked, absent from core dumps and from children.
    fn fill_with_locked_memory(&self) -> Result<(), SecretMemoryError> {
        let fault = |what| move |errno| SecretMemoryError::Memory { what, errno };
        for (number, len) in parts(self.stacks).enumerate() {
            let at = self.part(number).as_ptr().cast();
            // SAFETY: inner pages of the reservation made by `new`, which nothing uses yet; what was mapped there
            // by an attempt at secret memory that failed half-way is replaced.
            unsafe {
                mmap_anonymous(at, len, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::FIXED)
                    .map_err(fault("map memory for secrets"))?;
                mprotect(at, len, MprotectFlags::READ | MprotectFlags::WRITE)
                    .map_err(fault("make memory for secrets writable"))?;
                mlock(at, len).map_err(fault("lock memory for secrets"))?;
                madvise(at, len, Advice::LinuxDontDump).map_err(fault("keep secrets out of core dumps"))?;
                madvise(at, len, Advice::LinuxWipeOnFork).map_err(fault("keep secrets from children"))?;
            }
        }
        Ok(())
    }
}

/// The lengths of the parts, in their order.
fn parts(stacks: usize) -> impl Iterator<Item = usize> {
    [SLOTS_LEN, HEAP_LEN].into_iter().chain(std::iter::repeat_n(STACK_LEN, stacks))
}

/// A descriptor of this much secret memory.
fn secret_descriptor(len: usize) -> Result<OwnedFd, Errno> {
    // SAFETY: memfd_secret takes one integer and returns a new descriptor or an error.
    let raw = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let raw = i32::try_from(raw).ok().filter(|raw| *raw >= 0).ok_or_else(last_errno)?;
    // SAFETY: the kernel just gave this descriptor to us alone.
    let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
    rustix::fs::ftruncate(&descriptor, len.try_into().map_err(|_| Errno::OVERFLOW)?)?;
    Ok(descriptor)
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS)
}
