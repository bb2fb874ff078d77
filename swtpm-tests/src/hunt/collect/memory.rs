//! A process's mappings, through `/proc/PID/mem` and by process_vm_readv.
//!
//! One look reads every page that the process has in memory. A page that is byte for byte what it was at the look
//! before is not kept again, so that many looks cost little.

use std::collections::HashMap;
use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::{Bag, Method, PAGE, Prey};

/// Bytes kept before and after a changed page: what is found has at most twice a part's length, as hex.
const AROUND: usize = 64;

/// Pages of one mapping that are asked for at most: 1 GiB of addresses, most of them reserved and never used.
const PAGES_MAX: usize = 1 << 18;

/// Repeated looks at one process.
#[derive(Debug)]
pub struct Looker {
    prey: Prey,
    /// A page's hash at the look before, by method and address.
    seen: HashMap<(Method, u64), u64>,
    /// How many looks there were.
    pub looks: usize,
}

/// A line of `/proc/PID/maps`.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: u64,
    pages: usize,
    readable: bool,
    place: String,
}

impl Looker {
    /// Nothing was looked at yet.
    #[must_use]
    pub fn new(prey: Prey) -> Self {
        Self { prey, seen: HashMap::new(), looks: 0 }
    }

    /// Looks at everything once, in both ways. A process that ends meanwhile is looked at as far as it goes.
    pub fn look(&mut self, bag: &mut Bag) {
        let pid = self.prey.pid;
        let (Ok(maps), Ok(memory), Ok(pagemap)) = (
            std::fs::read_to_string(format!("/proc/{pid}/maps")),
            File::open(format!("/proc/{pid}/mem")),
            File::open(format!("/proc/{pid}/pagemap")),
        ) else {
            return;
        };
        let through_file = |at: u64, into: &mut [u8]| memory.read_at(into, at).unwrap_or(0);
        let remote = Pid::from_raw(i32::try_from(pid).expect("process ids are small"));
        let by_call = |at: u64, into: &mut [u8]| {
            let Ok(base) = usize::try_from(at) else { return 0 };
            let from = RemoteIoVec { base, len: into.len() };
            process_vm_readv(remote, &mut [IoSliceMut::new(into)], &[from]).unwrap_or(0)
        };
        for mapping in maps.lines().filter_map(Mapping::parse) {
            let present = mapping.present(&pagemap);
            self.mapping(&mapping, &present, Method::ProcMem, &through_file, bag);
            self.mapping(&mapping, &present, Method::VmReadv, &by_call, bag);
        }
        self.looks += 1;
    }

    /// Reads the present pages of a mapping and keeps the changed ones.
    fn mapping(
        &mut self,
        mapping: &Mapping,
        present: &[bool],
        method: Method,
        read: &dyn Fn(u64, &mut [u8]) -> usize,
        bag: &mut Bag,
    ) {
        let holder = self.prey.holder;
        let mut page = 0;
        let mut got = 0;
        let mut refused = false;
        while page < present.len() {
            if !present[page] {
                page += 1;
                continue;
            }
            let at = mapping.start + (page * PAGE) as u64;
            // One page first: secret memory is refused page after page.
            if read(at, &mut [0; PAGE]) < PAGE {
                refused = true;
                page += 1;
                continue;
            }
            // In one piece, so that nothing lies across two.
            let end = (page..present.len()).find(|page| !present[*page]).unwrap_or(present.len());
            let mut bytes = vec![0; (end - page) * PAGE];
            let whole = read(at, &mut bytes) / PAGE * PAGE;
            bytes.truncate(whole);
            got += whole;
            self.keep_changed(mapping, method, at, &bytes, bag);
            page += (whole / PAGE).max(1);
        }
        if got > 0 {
            bag.count(holder, method, &mapping.place, got);
        }
        // A mapping that went meanwhile, or a process that ended, did not refuse.
        if refused && self.is_mapped(mapping) {
            let kind = if mapping.readable { "" } else { " without read permission" };
            bag.refuse(holder, method, &format!("{}{kind}", mapping.place));
        }
    }

    fn is_mapped(&self, mapping: &Mapping) -> bool {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.prey.pid)).unwrap_or_default();
        maps.lines().filter_map(Mapping::parse).any(|now| now == *mapping)
    }

    fn keep_changed(&mut self, mapping: &Mapping, method: Method, at: u64, bytes: &[u8], bag: &mut Bag) {
        let changed: Vec<bool> = bytes
            .chunks(PAGE)
            .zip((at..).step_by(PAGE))
            .map(|(page, at)| {
                let now = hash(page);
                self.seen.insert((method, at), now) != Some(now)
            })
            .collect();
        let mut page = 0;
        while page < changed.len() {
            if !changed[page] {
                page += 1;
                continue;
            }
            let end = (page..changed.len()).find(|page| !changed[*page]).unwrap_or(changed.len());
            let from = (page * PAGE).saturating_sub(AROUND);
            let to = (end * PAGE + AROUND).min(bytes.len());
            let piece = bytes[from..to].to_vec();
            bag.put(self.prey.holder, method, &mapping.place, at + from as u64, piece);
            page = end;
        }
    }
}

impl Mapping {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let permissions = fields.next()?;
        let name: Vec<&str> = fields.skip(3).collect();
        let place = if name.is_empty() { "anonymous".to_owned() } else { name.join(" ") };
        let pages = usize::try_from(end.checked_sub(start)?).ok()? / PAGE;
        Some(Self { start, pages: pages.min(PAGES_MAX), readable: permissions.starts_with('r'), place })
    }

    /// Which pages are in memory or swapped out (`/proc/PID/pagemap`, bits 63 and 62). The others were never
    /// touched, or are files that anybody can read.
    fn present(&self, pagemap: &File) -> Vec<bool> {
        let mut entries = vec![0; self.pages * 8];
        let read = pagemap.read_at(&mut entries, self.start / PAGE as u64 * 8).unwrap_or(0);
        if read < entries.len() {
            // Kernel pages ([vsyscall]) have no entries; they are tried.
            return vec![true; self.pages];
        }
        entries
            .chunks_exact(8)
            .map(|entry| u64::from_le_bytes(entry.try_into().expect("eight bytes")) >> 62 != 0)
            .collect()
    }
}

/// FNV-1a over 64-bit words: tells pages apart that no attacker chose.
fn hash(page: &[u8]) -> u64 {
    page.chunks(8).fold(0xcbf2_9ce4_8422_2325, |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let mixed = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3);
        mixed ^ (mixed >> 29)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::quarry::Holder;
    use super::*;

    #[test]
    fn a_look_at_this_very_process_finds_what_it_holds_once_and_again_after_it_changed() {
        let prey = Prey { holder: Holder::Agent, pid: std::process::id() };
        let mut looker = Looker::new(prey);
        let mut held = vec![0_u8; 3 * PAGE];
        getrandom::fill(&mut held).unwrap();
        let address = held.as_ptr().addr() as u64;
        let mut holds = |held: &[u8], method| {
            let mut bag = Bag::default();
            looker.look(&mut bag);
            bag.pieces.iter().any(|piece| {
                piece.method == method
                    && piece.address <= address
                    && usize::try_from(address - piece.address)
                        .is_ok_and(|from| piece.bytes.get(from..from + held.len()) == Some(held))
            })
        };
        assert!(holds(&held, Method::ProcMem));
        held[PAGE] ^= 1;
        held[2 * PAGE - 1] ^= 1;
        held[0] ^= 1;
        held[3 * PAGE - 1] ^= 1;
        assert!(holds(&held, Method::VmReadv));
    }

    #[test]
    fn megabytes_come_in_one_piece() {
        let mut held = vec![0_u8; 3 << 20];
        getrandom::fill(&mut held).unwrap();
        let address = held.as_ptr().addr() as u64;
        let mut looker = Looker::new(Prey { holder: Holder::Agent, pid: std::process::id() });
        let mut bag = Bag::default();
        looker.look(&mut bag);
        for method in [Method::ProcMem, Method::VmReadv] {
            let whole = bag.pieces.iter().any(|piece| {
                piece.method == method
                    && piece.address <= address
                    && piece.address + piece.bytes.len() as u64 >= address + held.len() as u64
            });
            assert!(whole, "{method}");
        }
    }

    #[test]
    fn lines_of_maps_are_understood_and_others_are_not() {
        let stack = Mapping::parse("7ffc0000a000-7ffc0000c000 rw-p 00000000 00:00 0   [stack]").unwrap();
        assert_eq!((stack.pages, stack.readable, stack.place.as_str()), (2, true, "[stack]"));
        let guard = Mapping::parse("7f0000000000-7f0000001000 ---p 00000000 00:00 0").unwrap();
        assert_eq!((guard.readable, guard.place.as_str()), (false, "anonymous"));
        let secret = Mapping::parse("1000-2000 rw-s 00000000 00:0f 9   /secretmem (deleted)").unwrap();
        assert_eq!(secret.place, "/secretmem (deleted)");
        for line in ["", "1000", "1000-0 r--p 0 0:0 0", "xyz-1000 r--p 0 0:0 0"] {
            assert!(Mapping::parse(line).is_none(), "{line}");
        }
    }
}
