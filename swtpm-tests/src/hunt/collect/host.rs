//! Settings of the whole machine that a hunt changes for a moment: core pattern, suid_dumpable, swap areas.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::run;

/// How long another story may have the machine: several hunts on a busy one.
const TURN_MAX: Duration = Duration::from_secs(600);

/// How often it is tried.
const LOOK: Duration = Duration::from_millis(50);

/// The machine, for one story at a time. Dropping it puts back everything, also when the story fails.
#[derive(Debug)]
pub struct Host {
    changed: Vec<(PathBuf, Vec<u8>)>,
    swap: Option<PathBuf>,
    // Last, so that the next story begins when everything is back.
    _alone: File,
}

impl Host {
    /// Waits until no other story has the machine.
    ///
    /// # Panics
    /// When this is not root, or the lock's file cannot be made.
    #[must_use]
    pub fn alone() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the hunt does what root can do: run it as root (sudo -E)"
        );
        let path = std::env::temp_dir().join("sealstone-hunt.lock");
        let lock = File::create(&path).expect("the lock's file can be made");
        let end = Instant::now() + TURN_MAX;
        while lock.try_lock().is_err() {
            assert!(
                Instant::now() < end,
                "waited {TURN_MAX:?} in vain for another story to put this machine back"
            );
            std::thread::sleep(LOOK);
        }
        Self { changed: Vec::new(), swap: None, _alone: lock }
    }

    /// Changes a setting until this is dropped.
    ///
    /// # Panics
    /// When the kernel does not take it.
    pub fn set(&mut self, path: &str, value: &str) {
        let before = fs::read(path).unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
        self.changed.push((PathBuf::from(path), before));
        fs::write(path, value)
            .unwrap_or_else(|error| panic!("cannot write {path}: {error}; is this a container?"));
    }

    /// Swaps to this file until it is dropped or [`swap_off`](Self::swap_off).
    ///
    /// # Panics
    /// When the kernel cannot swap to it.
    pub fn swap_on(&mut self, path: &Path) {
        let made = run(Command::new("mkswap").arg(path), "util-linux");
        assert!(made.status.success(), "mkswap: {}", String::from_utf8_lossy(&made.stderr));
        let on = run(Command::new("swapon").args(["--priority", "32767"]).arg(path), "mount");
        assert!(
            on.status.success(),
            "expected this kernel to swap to {}: {}",
            path.display(),
            String::from_utf8_lossy(&on.stderr)
        );
        self.swap = Some(path.to_owned());
    }

    /// Brings everything back from swap.
    pub fn swap_off(&mut self) {
        if let Some(path) = self.swap.take() {
            let off = run(Command::new("swapoff").arg(&path), "mount");
            if !off.status.success() {
                eprintln!("swapoff {}: {}", path.display(), String::from_utf8_lossy(&off.stderr));
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.swap_off();
        for (path, before) in self.changed.drain(..).rev() {
            if let Err(error) = fs::write(&path, before) {
                eprintln!("cannot put {} back: {error}", path.display());
            }
        }
    }
}
