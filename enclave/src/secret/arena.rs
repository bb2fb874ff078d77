//! One mapping of fixed slots between two guard pages.
//!
//! With rustix, this is the only unsafe code of the enclave: mapping memory, and turning slots of that mapping into
//! slices.
#![allow(unsafe_code, reason = "maps memory; every block says why it is sound")]

use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mlock, mmap, mmap_anonymous, mprotect,
};
use thiserror::Error;

/// Bytes of a slot; a key or a seed has 32, an expanded Ed25519 key 64.
pub(super) const SLOT_LEN: usize = 64;

/// Slots of the arena: one page of them, four times what all owners hold at once.
const SLOTS: usize = 64;

/// Bytes of the arena between its guard pages.
const ARENA_LEN: usize = SLOT_LEN * SLOTS;

/// The page size of the targets that are built for; the mapping is aligned to whatever is real.
const PAGE: usize = 4096;

const _: () = assert!(ARENA_LEN.is_multiple_of(PAGE), "the arena fills its pages");

/// What the arena is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `memfd_secret`: removed from the kernel's own map; nobody else can read it.
    MemfdSecret,
    /// Ordinary memory, locked and left out of core dumps: root can read it.
    Locked,
}

/// Why there is no arena.
#[derive(Debug, Error)]
pub enum ArenaError {
    /// The kernel has no secret memory, and nothing else was allowed.
    #[error(
        "the kernel gives no secret memory (memfd_secret: {0}); boot with secretmem.enable=1, raise the memory lock limit, or set require_secret_memory = false and have every report say so"
    )]
    NoSecretMemory(Errno),
    /// Memory cannot be mapped, locked or protected.
    #[error("cannot {what}: {errno}")]
    Memory {
        /// What failed.
        what: &'static str,
        /// Why.
        errno: Errno,
    },
}

/// The mapping and which of its slots are taken.
#[derive(Debug)]
pub(super) struct Arena {
    base: NonNull<u8>,
    kind: Kind,
    taken: Mutex<[bool; SLOTS]>,
}

// SAFETY: `base` points to a mapping that lives as long as the process; slots are handed out one owner at a time
// under the mutex, so threads never share bytes.
unsafe impl Send for Arena {}
// SAFETY: as above; the only shared state is behind the mutex.
unsafe impl Sync for Arena {}

/// One taken slot, owned by whoever holds it.
#[derive(Debug)]
pub(super) struct Slot {
    at: NonNull<u8>,
    number: usize,
}

// SAFETY: a slot is the only owner of its bytes, and the mapping lives as long as the process.
unsafe impl Send for Slot {}
// SAFETY: shared access only reads.
unsafe impl Sync for Slot {}

impl Arena {
    /// Maps the arena; falls back to locked memory unless `require`.
    pub(super) fn map(require: bool) -> Result<Self, ArenaError> {
        let whole = ARENA_LEN + 2 * PAGE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice disturbs no other memory.
        let guard =
            unsafe { mmap_anonymous(std::ptr::null_mut(), whole, ProtFlags::empty(), MapFlags::PRIVATE) };
        let guard =
            guard.map_err(|errno| ArenaError::Memory { what: "reserve addresses for secrets", errno })?;
        let inside = guard.cast::<u8>().wrapping_add(PAGE);
        let kind = match secret_descriptor().and_then(|descriptor| {
            // SAFETY: replaces the inner pages of the reservation made just above, which nothing else uses. The
            // descriptor is closed when it is dropped here; the mapping stays.
            unsafe {
                mmap(
                    inside.cast(),
                    ARENA_LEN,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::SHARED | MapFlags::FIXED,
                    &descriptor,
                    0,
                )
            }
        }) {
            Ok(_) => Kind::MemfdSecret,
            Err(errno) if require => return Err(ArenaError::NoSecretMemory(errno)),
            Err(_) => {
                locked(inside)?;
                Kind::Locked
            }
        };
        let base =
            NonNull::new(inside).ok_or(ArenaError::Memory { what: "map secrets", errno: Errno::FAULT })?;
        Ok(Self { base, kind, taken: Mutex::new([false; SLOTS]) })
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// A free slot, all zeros; `None` when every slot is taken.
    pub(super) fn take(&self) -> Option<Slot> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let number = taken.iter().position(|taken| !taken)?;
        taken[number] = true;
        // SAFETY: `number` is below SLOTS, so the offset stays inside the mapping.
        let at = unsafe { self.base.add(number * SLOT_LEN) };
        Some(Slot { at, number })
    }

    /// Takes a wiped slot back.
    pub(super) fn give_back(&self, slot: &Slot) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)[slot.number] = false;
    }
}

impl Slot {
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the slot's SLOT_LEN bytes are inside the mapping, initialised by the kernel, and this owner's only.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), SLOT_LEN) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), SLOT_LEN) }
    }
}

/// A descriptor of secret memory of the arena's size. It must not outlive the mapping: whoever steals it can map it.
fn secret_descriptor() -> Result<OwnedFd, Errno> {
    may_be_secret()?;
    // SAFETY: memfd_secret takes one integer and returns a new descriptor or an error.
    let raw = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let raw = i32::try_from(raw).ok().filter(|raw| *raw >= 0).ok_or_else(last_errno)?;
    // SAFETY: the kernel just gave this descriptor to us alone.
    let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
    rustix::fs::ftruncate(&descriptor, ARENA_LEN.try_into().map_err(|_| Errno::OVERFLOW)?)?;
    Ok(descriptor)
}

/// Whether this build may use secret memory at all.
#[cfg(not(feature = "danger-readable-secrets"))]
#[allow(clippy::unnecessary_wraps, reason = "the control's build refuses")]
const fn may_be_secret() -> Result<(), Errno> {
    Ok(())
}

/// The control's build has none, and says so: a hunt that finds nothing in it would find nothing anywhere.
#[cfg(feature = "danger-readable-secrets")]
fn may_be_secret() -> Result<(), Errno> {
    crate::notice::notice(
        "danger: this build keeps its secrets where root reads them; it is for one test only",
    );
    Err(Errno::NOSYS)
}

/// The inner pages as ordinary memory: writable, locked, absent from core dumps and from children.
fn locked(inside: *mut u8) -> Result<(), ArenaError> {
    let fault = |what| move |errno| ArenaError::Memory { what, errno };
    let at = inside.cast::<std::ffi::c_void>();
    // SAFETY: `at` and ARENA_LEN are the inner pages of the reservation that only the arena uses.
    unsafe {
        mprotect(at, ARENA_LEN, MprotectFlags::READ | MprotectFlags::WRITE)
            .map_err(fault("make memory for secrets writable"))?;
        mlock(at, ARENA_LEN).map_err(fault("lock memory for secrets"))?;
        madvise(at, ARENA_LEN, Advice::LinuxDontDump).map_err(fault("keep secrets out of core dumps"))?;
        madvise(at, ARENA_LEN, Advice::LinuxWipeOnFork).map_err(fault("keep secrets from children"))?;
    }
    Ok(())
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS)
}
