//! What root can collect of a process, by every way that Linux has for it.
//!
//! Each way puts what it got into a [`Bag`], and counts what it was refused: a hunt that could read nothing must fail
//! as surely as one that found something.

pub mod cores;
pub mod descriptors;
pub mod files;
pub mod host;
pub mod memory;
pub mod registers;
pub mod script;
pub mod swap;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::quarry::Holder;

/// Bytes that a bag holds at most: far more than two small processes have, far less than the machine.
const BYTES_MAX: usize = 1 << 30;

/// Bytes of a page, of the targets that are built for.
pub const PAGE: usize = 4096;

/// How long a program that root runs against a process may take: gdb reads the symbols of everything first.
pub const PROGRAM_MAX: Duration = Duration::from_secs(60);

/// A way to get at a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// `/proc/PID/mem`.
    ProcMem,
    /// process_vm_readv(2).
    VmReadv,
    /// A core that gdb writes of the living process.
    Gcore,
    /// A core that the kernel writes of the dying one.
    Crash,
    /// What was pushed out to a swap file.
    Swap,
    /// A descriptor taken by pidfd_getfd(2), or opened again through `/proc`.
    Descriptor,
    /// Registers, read by ptrace(2).
    Registers,
    /// Everything else below `/proc/PID`.
    ProcFile,
    /// A file of the node.
    NodeFile,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProcMem => "/proc/PID/mem",
            Self::VmReadv => "process_vm_readv",
            Self::Gcore => "gcore",
            Self::Crash => "crash dump",
            Self::Swap => "swap",
            Self::Descriptor => "descriptor",
            Self::Registers => "registers",
            Self::ProcFile => "/proc/PID file",
            Self::NodeFile => "file of the node",
        })
    }
}

/// A process to collect from.
#[derive(Clone, Copy, Debug)]
pub struct Prey {
    /// Which of the two.
    pub holder: Holder,
    /// Its process id.
    pub pid: u32,
}

/// Bytes that were got.
#[derive(Debug)]
pub struct Piece {
    /// Of whom.
    pub holder: Holder,
    /// How.
    pub method: Method,
    /// A mapping's, file's or register set's name.
    pub place: String,
    /// The address of the first byte, or its offset in the file.
    pub address: u64,
    /// Themselves.
    pub bytes: Vec<u8>,
}

/// Everything that was collected.
#[derive(Debug, Default)]
pub struct Bag {
    /// What was got.
    pub pieces: Vec<Piece>,
    /// Bytes that were read, by holder, method and place: also those that were the same at an earlier look.
    pub read: BTreeMap<(Holder, Method, String), u64>,
    /// How often the kernel refused, by holder, method and place.
    pub refused: BTreeMap<(Holder, Method, String), u64>,
    held: usize,
}

impl Bag {
    /// Puts bytes in.
    ///
    /// # Panics
    /// When it would hold more than any hunt needs.
    pub fn put(&mut self, holder: Holder, method: Method, place: &str, address: u64, bytes: Vec<u8>) {
        self.held += bytes.len();
        assert!(self.held <= BYTES_MAX, "collected more than {BYTES_MAX} bytes; see {:?}", self.read);
        self.pieces.push(Piece { holder, method, place: place.to_owned(), address, bytes });
    }

    /// Puts a whole file's or core's bytes in, and counts them.
    pub fn put_whole(&mut self, holder: Holder, method: Method, place: &str, bytes: Vec<u8>) {
        self.count(holder, method, place, bytes.len());
        self.put(holder, method, place, 0, bytes);
    }

    /// Puts what is in a large file in, page by page without those that are all zeros. Returns how many bytes that
    /// is.
    ///
    /// # Errors
    /// The file is not there.
    pub fn put_pages(
        &mut self,
        holder: Holder,
        method: Method,
        place: &str,
        path: &Path,
    ) -> std::io::Result<u64> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let (mut at, mut run, mut kept) = (0, Vec::new(), 0);
        while at < length {
            let mut page = [0; PAGE];
            let got = file.read_at(&mut page, at)?;
            let used = page[..got].iter().any(|byte| *byte != 0);
            if used {
                run.extend_from_slice(&page[..got]);
            }
            at += got as u64;
            if !used || at == length {
                kept += run.len();
                if !run.is_empty() {
                    let began = at - run.len() as u64 - if used { 0 } else { got as u64 };
                    self.put(holder, method, place, began, std::mem::take(&mut run));
                }
            }
            if got == 0 {
                break;
            }
        }
        self.count(holder, method, place, kept);
        Ok(kept as u64)
    }

    /// Counts bytes that were read.
    pub fn count(&mut self, holder: Holder, method: Method, place: &str, bytes: usize) {
        *self.read.entry((holder, method, place.to_owned())).or_default() += bytes as u64;
    }

    /// Counts a refusal.
    pub fn refuse(&mut self, holder: Holder, method: Method, place: &str) {
        *self.refused.entry((holder, method, place.to_owned())).or_default() += 1;
    }

    /// Puts everything of another bag in.
    pub fn take(&mut self, other: Self) {
        let Self { pieces, read, refused, held } = other;
        self.pieces.extend(pieces);
        self.held += held;
        for (sum, part) in [(&mut self.read, read), (&mut self.refused, refused)] {
            for (key, count) in part {
                *sum.entry(key).or_default() += count;
            }
        }
    }

    /// Bytes that were read in this way, from places whose name holds `place`.
    #[must_use]
    pub fn bytes_read(&self, holder: Holder, method: Method, place: &str) -> u64 {
        let of = |(who, how, what): &(Holder, Method, String)| {
            *who == holder && *how == method && what.contains(place)
        };
        self.read.iter().filter(|(key, _)| of(key)).map(|(_, bytes)| bytes).sum()
    }
}

/// Runs a program to its end and returns its output.
///
/// # Panics
/// When it is missing or takes longer than [`PROGRAM_MAX`]; `package` is the Debian package that has it.
pub fn run(command: &mut std::process::Command, package: &str) -> std::process::Output {
    use std::process::Stdio;
    let name = command.get_program().to_string_lossy().into_owned();
    // To files: a program that fills a pipe would wait for a reader.
    let scratch = tempfile::tempdir().expect("a folder");
    let file = |name: &str| std::fs::File::create(scratch.path().join(name)).expect("a writable folder");
    let child = command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err")).spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!("cannot start {name}: {error}; install it: apt-get install {package}")
    });
    let end = Instant::now() + PROGRAM_MAX;
    let status = loop {
        match child.try_wait().expect("a child can be waited for") {
            Some(status) => break status,
            None if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            None => {
                drop(child.kill());
                drop(child.wait());
                panic!("{name} did not end within {PROGRAM_MAX:?}");
            }
        }
    };
    let read = |name: &str| std::fs::read(scratch.path().join(name)).expect("a readable folder");
    std::process::Output { status, stdout: read("out"), stderr: read("err") }
}

/// Who traces this process; 0 is nobody.
#[must_use]
pub fn tracer_of(pid: u32) -> u32 {
    status_field(pid, "TracerPid:").and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A field of a process's status (proc_pid_status(5)).
#[must_use]
pub fn status_field(pid: u32, field: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix(field))?.trim().to_owned())
}
