//! Fixed places for secrets that outlive an operation.
#![allow(unsafe_code, reason = "turns secret pages into slices; every block says why it is sound")]

use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroize;

/// Bytes of a slot: a key or seed has 32, an expanded Ed25519 key 64.
pub(super) const SLOT_LEN: usize = 64;

/// Slots: root, report key, credential, the channel's keys, and during a ceremony two session keys, two auth values,
/// a second root and report key. Some four times what all owners hold at once.
const SLOTS: usize = 64;

/// Bytes of all slots.
pub(super) const SLOTS_LEN: usize = SLOT_LEN * SLOTS;

/// Which slots are taken.
#[derive(Debug)]
pub(super) struct Slots {
    base: NonNull<u8>,
    taken: Mutex<[bool; SLOTS]>,
}

// SAFETY: `base` points to a mapping that lives as long as the process; slots are handed out one owner at a time
// under the mutex, so threads never share bytes.
unsafe impl Send for Slots {}
// SAFETY: as above; the only shared state is behind the mutex.
unsafe impl Sync for Slots {}

/// One taken slot, owned by whoever holds it; wiped and given back on drop.
#[derive(Debug)]
pub(super) struct Slot {
    at: NonNull<u8>,
    number: usize,
    slots: &'static Slots,
}

// SAFETY: a slot is the only owner of its bytes, and the mapping lives as long as the process.
unsafe impl Send for Slot {}
// SAFETY: shared access only reads.
unsafe impl Sync for Slot {}

impl Slots {
    /// All of them, free, in these pages.
    ///
    /// # Safety
    /// `base` must point to [`SLOTS_LEN`] writable zeros that nothing else uses for as long as the process lives.
    pub(super) unsafe fn over(base: NonNull<u8>) -> Self {
        Self { base, taken: Mutex::new([false; SLOTS]) }
    }

    /// A free slot, all zeros; `None` when every slot is taken.
    pub(super) fn take(&'static self) -> Option<Slot> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let number = taken.iter().position(|taken| !taken)?;
        taken[number] = true;
        // SAFETY: `number` is below SLOTS, so the offset stays inside the mapping.
        let at = unsafe { self.base.add(number * SLOT_LEN) };
        Some(Slot { at, number, slots: self })
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

impl Drop for Slot {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner)[self.number] = false;
    }
}
