//! Swap: pages are pushed out to a file of the story's own, which is then read.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use super::host::Host;
use super::script::reach;
use super::{Bag, Method, PAGE, Prey, status_field};

/// Bytes of the swap file: both processes fit several times.
const SWAP_LEN: usize = 64 << 20;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swapped {
    /// KiB of the process in swap, as the kernel says.
    pub kib: u64,
    /// Bytes of swapped pages that were read from the file.
    pub read: u64,
}

/// Pushes everything of a process out that the kernel lets go, and reads the swap file.
///
/// # Panics
/// When the machine cannot swap to `folder`.
pub fn swap(host: &mut Host, prey: Prey, folder: &Path, bag: &mut Bag) -> Swapped {
    // Compressed swap in memory would keep pages from the file.
    let zswap = "/sys/module/zswap/parameters/enabled";
    if std::fs::read_to_string(zswap).is_ok_and(|text| text.trim() != "N") {
        host.set(zswap, "N");
    }
    let path = folder.join(format!("swap.{}", prey.pid));
    let mut file =
        File::options().read(true).write(true).create_new(true).open(&path).expect("a writable folder");
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its owner's file");
    // Swapping needs a file without holes.
    for _ in 0..SWAP_LEN >> 20 {
        file.write_all(&[0; 1 << 20]).expect("64 MiB of disk");
    }
    host.swap_on(&path);
    let _ = reach(&["pageout", &prey.pid.to_string()]);
    let kib = status_field(prey.pid, "VmSwap:")
        .and_then(|text| text.strip_suffix("kB")?.trim().parse().ok())
        .unwrap_or(0);
    file.sync_all().expect("a file can be synced");
    // The kernel swaps past the page cache, which still holds the zeros.
    fadvise(&file, 0, None, Advice::DontNeed).expect("a file");
    // Its first page is the header.
    let read = bag.put_pages(prey.holder, Method::Swap, "swap file", &path);
    host.swap_off();
    drop(std::fs::remove_file(&path));
    let read = read.expect("a readable file").saturating_sub(PAGE as u64);
    Swapped { kib, read }
}
