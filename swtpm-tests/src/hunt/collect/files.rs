//! Everything that can be read below `/proc/PID`, and the files of the node.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Bag, Method, Prey};

/// Bytes taken of one file: no file of a node or of `/proc` comes near.
const FILE_MAX: u64 = 64 << 20;

/// How deep folders are: `task/TID/attr/apparmor/current`.
const DEPTH_MAX: usize = 6;

/// Not read as files: the memory itself has its own way, and links lead out of the process.
const ELSEWHERE: [&str; 7] = ["mem", "pagemap", "clear_refs", "fd", "map_files", "cwd", "root"];

/// Files of the node's folder that are secrets by themselves: only their owner may read them.
const KEYS: [&str; 4] = ["enclave.key", "enclave.credential", "agent.key", "alice.key"];

/// Reads every file below `/proc/PID` and `/proc/PID/task`, and where its links lead.
pub fn proc_files(prey: Prey, bag: &mut Bag) {
    let root = format!("/proc/{}", prey.pid);
    folder(prey, Method::ProcFile, Path::new(&root), 0, &ELSEWHERE, bag);
    let links = fs::read_dir(format!("{root}/fd")).into_iter().flatten().flatten();
    for link in links {
        if let Ok(target) = fs::read_link(link.path()) {
            let text = target.display().to_string();
            bag.put_whole(prey.holder, Method::ProcFile, "fd/", text.into_bytes());
        }
    }
}

/// Reads every file of the node but the key files.
pub fn node_files(prey: Prey, path: &Path, bag: &mut Bag) {
    folder(prey, Method::NodeFile, path, 0, &KEYS, bag);
}

fn folder(prey: Prey, method: Method, path: &Path, depth: usize, skipped: &[&str], bag: &mut Bag) {
    if depth > DEPTH_MAX {
        return;
    }
    let mut entries: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| skipped.contains(&name)) {
            continue;
        }
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            folder(prey, method, &entry.path(), depth + 1, skipped, bag);
        } else if kind.is_file() {
            let place = entry.path().display().to_string();
            match read(&entry.path()) {
                Ok(bytes) => bag.put_whole(prey.holder, method, &place, bytes),
                Err(_) => bag.refuse(prey.holder, method, &place),
            }
        }
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
