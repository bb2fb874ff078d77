//! Where secrets that outlive a request are kept: one small arena of `memfd_secret` memory, which the kernel maps
//! for nobody else, not even through `/proc/PID/mem`.
//!
//! A secret has no `Clone`, no `Debug` and no `Deref`: it is filled in place and read through a closure.

mod arena;

use std::sync::OnceLock;

use arena::{Arena, SLOT_LEN, Slot};
pub use arena::{ArenaError, Kind};
use zeroize::Zeroize;

static ARENA: OnceLock<Arena> = OnceLock::new();

/// Makes the arena. Called once at start, before anything secret is read.
///
/// # Errors
/// The kernel gives no secret memory and `require` says that nothing else will do, or gives no memory at all.
pub fn init(require: bool) -> Result<Kind, ArenaError> {
    if let Some(arena) = ARENA.get() {
        return Ok(arena.kind());
    }
    let arena = Arena::map(require)?;
    Ok(ARENA.get_or_init(|| arena).kind())
}

/// What the arena is made of.
#[must_use]
pub fn kind() -> Kind {
    arena().kind()
}

/// The arena; tests and benchmarks that never called [`init`] get the best that there is.
fn arena() -> &'static Arena {
    ARENA.get_or_init(|| Arena::map(false).expect("the system gives one page of memory"))
}

/// `N` secret bytes in the arena, wiped on drop.
#[allow(missing_debug_implementations, reason = "a secret is never printed")]
pub struct Secret<const N: usize>(Slot);

impl<const N: usize> Secret<N> {
    const FITS: () = assert!(N <= SLOT_LEN, "a secret fits one slot");

    /// A secret that `fill` writes in place, from zeros.
    ///
    /// # Panics
    /// When every slot is taken. Secrets are held by a fixed number of owners (root, report key, credential,
    /// channel key, and their copies during one ceremony), so that is a bug.
    #[must_use]
    pub fn filled(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let () = Self::FITS;
        let mut slot = arena().take().expect("the arena has more slots than there are owners of secrets");
        fill(slot.bytes_mut().first_chunk_mut().expect("a secret fits one slot"));
        Self(slot)
    }

    /// A copy of bytes, which the caller wipes.
    #[must_use]
    pub fn copied(bytes: &[u8; N]) -> Self {
        Self::filled(|secret| secret.copy_from_slice(bytes))
    }

    /// The bytes, where they are. Whoever copies them out wipes the copy.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        self.0.bytes().first_chunk().expect("a secret fits one slot")
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        arena().give_back(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_apart_from_each_other_and_a_dropped_one_leaves_zeros() {
        let one = Secret::<32>::copied(&[1; 32]);
        let two = Secret::<32>::copied(&[2; 32]);
        assert_eq!((one.expose(), two.expose()), (&[1; 32], &[2; 32]));
        let place = one.expose().as_ptr();
        drop(one);
        let mut found = None;
        // Whoever gets the slot next finds zeros in it.
        let held: Vec<_> = (0..8)
            .map(|_| {
                Secret::<32>::filled(|bytes| {
                    if bytes.as_ptr() == place {
                        found = Some(*bytes);
                    }
                })
            })
            .collect();
        drop(held);
        assert!(found.is_none_or(|bytes| bytes == [0; 32]));
        assert_eq!(two.expose(), &[2; 32]);
    }

    #[test]
    fn secret_memory_cannot_be_read_through_proc() {
        use std::os::unix::fs::FileExt;
        assert_eq!(
            init(true).expect("this kernel has memfd_secret (boot with secretmem.enable=1)"),
            Kind::MemfdSecret
        );
        let secret = Secret::<32>::copied(&[0xa5; 32]);
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let mut read = [0; 32];
        let at = u64::try_from(secret.expose().as_ptr().addr()).unwrap();
        assert!(memory.read_exact_at(&mut read, at).is_err(), "the kernel read {read:02x?}");
    }
}
