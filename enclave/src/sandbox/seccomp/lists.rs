//! The reviewed lists: which calls each kind of thread makes, with which arguments, and why.
//!
//! What is not here ends the process: there is no call that opens, executes, connects, signals, traces, starts a
//! thread, or makes memory executable in any list. `sealstone-enclave --print-seccomp` prints the lists; a story
//! watches a whole life and fails for an entry that is not needed.

use libc::c_long;

use super::Kind;

/// A call that may be made.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub call: &'static str,
    /// Its number on this architecture.
    pub number: c_long,
    /// What its arguments must be; the others are free.
    pub arguments: &'static [Argument],
    /// Why it is needed.
    pub reason: &'static str,
    /// Where the story sees it.
    pub seen: Seen,
}

/// Whether the story that watches a whole life sees the call.
#[derive(Debug)]
pub enum Seen {
    /// In threads of this kind.
    Here,
    /// In threads of some kind; which one is chance, and why.
    SomeThread(&'static str),
    /// Not where the stories run, and why.
    Elsewhere(&'static str),
}

/// What an argument must be: `value` in the bits of `mask`.
#[derive(Debug)]
pub struct Argument {
    /// Which, from 0.
    pub index: u8,
    /// How much of the register counts.
    pub width: Width,
    /// Which bits are looked at.
    pub mask: u64,
    /// What they are.
    pub value: u64,
    /// The value in words.
    pub means: &'static str,
}

/// How much of an argument's register the kernel looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// An `int` or `unsigned`; the upper half is noise.
    Word,
    /// The whole register.
    Long,
}

impl Argument {
    /// The bits that are looked at.
    #[must_use]
    pub fn effective_mask(&self) -> u64 {
        match self.width {
            Width::Word => self.mask & 0xffff_ffff,
            Width::Long => self.mask,
        }
    }
}

/// How the story finds a kind's threads: their names begin so.
#[must_use]
pub fn threads(kind: Kind) -> &'static str {
    match kind {
        Kind::Main => "main",
        Kind::Accept => "accept",
        Kind::Connection => "connection",
        Kind::Ceremony => "ceremony",
        Kind::Sign => "sign",
    }
}

/// The list of a kind.
pub fn of(kind: Kind) -> impl Iterator<Item = &'static Entry> {
    let own = match kind {
        Kind::Main => MAIN,
        Kind::Accept => ACCEPT,
        Kind::Connection => CONNECTION,
        Kind::Ceremony => CEREMONY,
        Kind::Sign => SIGN,
    };
    EVERY.iter().chain(own)
}

const HEAP: Seen = Seen::SomeThread(
    "all threads share one heap, and any of them may be the one for which it grows or shrinks",
);

const VDSO: Seen =
    Seen::Elsewhere("the kernel answers without a call where the clock can be read by a program");

const fn entry(
    call: &'static str,
    number: c_long,
    arguments: &'static [Argument],
    reason: &'static str,
) -> Entry {
    Entry { call, number, arguments, reason, seen: Seen::Here }
}

const fn word(index: u8, value: libc::c_int, means: &'static str) -> Argument {
    #[allow(clippy::cast_sign_loss, reason = "the kernel compares the same 32 bits")]
    let value = value as u32 as u64;
    Argument { index, width: Width::Word, mask: u64::MAX, value, means }
}

const fn long(index: u8, mask: u64, value: u64, means: &'static str) -> Argument {
    Argument { index, width: Width::Long, mask, value, means }
}

#[allow(clippy::cast_sign_loss, reason = "flags")]
const NOT_EXECUTABLE: Argument =
    long(2, !((libc::PROT_READ | libc::PROT_WRITE) as u64), 0, "PROT_READ and PROT_WRITE at most");

/// Of every thread: memory, locks, and lines for the log.
const EVERY: &[Entry] = &[
    Entry { seen: HEAP, ..entry("brk", libc::SYS_brk, &[], "the heap grows and shrinks") },
    Entry {
        seen: HEAP,
        ..entry(
            "mmap",
            libc::SYS_mmap,
            &[NOT_EXECUTABLE, word(3, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, "MAP_PRIVATE|MAP_ANONYMOUS")],
            "large buffers: frames, manifests, the state",
        )
    },
    Entry { seen: HEAP, ..entry("munmap", libc::SYS_munmap, &[], "large buffers are given back") },
    Entry {
        seen: HEAP,
        ..entry(
            "mremap",
            libc::SYS_mremap,
            &[word(3, libc::MREMAP_MAYMOVE, "MREMAP_MAYMOVE")],
            "large buffers grow: a manifest in pieces, the state as JSON",
        )
    },
    Entry {
        seen: Seen::SomeThread("only if another thread waits at that moment"),
        ..entry(
            "futex",
            libc::SYS_futex,
            &[word(1, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, "FUTEX_WAKE_PRIVATE")],
            "wakes who waits",
        )
    },
    Entry {
        seen: Seen::SomeThread("only when two threads allocate at the same moment"),
        ..entry(
            "futex",
            libc::SYS_futex,
            &[word(1, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, "FUTEX_WAIT_PRIVATE")],
            "the C library's lock of the heap",
        )
    },
    Entry {
        seen: VDSO,
        ..entry("clock_gettime", libc::SYS_clock_gettime, &[], "deadlines, and times in reports and receipts")
    },
    entry(
        "write",
        libc::SYS_write,
        &[word(0, libc::STDERR_FILENO, "standard error")],
        "lines for whoever runs this",
    ),
];

/// The main thread's own.
const MAIN: &[Entry] = &[
    Entry {
        seen: Seen::SomeThread(
            "only if a request is under way at the moment at which the process is told to end",
        ),
        ..WAIT
    },
    entry("rt_sigtimedwait", libc::SYS_rt_sigtimedwait, &[], "waits for SIGTERM or SIGINT"),
    entry(
        "sigaltstack",
        libc::SYS_sigaltstack,
        &[],
        "the standard library ends and takes its signal stack down",
    ),
    entry("exit_group", libc::SYS_exit_group, &[], "the process ends"),
];

/// The acceptor's own.
const ACCEPT: &[Entry] = &[
    WAIT,
    entry("accept4", libc::SYS_accept4, &[word(3, libc::SOCK_CLOEXEC, "SOCK_CLOEXEC")], "takes connections"),
    entry(
        "fcntl",
        libc::SYS_fcntl,
        &[word(1, libc::F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC")],
        "a second handle, to end a handshake that is crowded out",
    ),
    entry(
        "shutdown",
        libc::SYS_shutdown,
        &[word(1, libc::SHUT_RDWR, "both directions")],
        "ends the oldest handshake",
    ),
    entry("close", libc::SYS_close, &[], "lets go of handles"),
    #[cfg(debug_assertions)]
    CHECK,
    QUEUE,
    entry("clock_nanosleep", libc::SYS_clock_nanosleep, &[], "rests when the system has no descriptor left"),
    Entry {
        seen: Seen::SomeThread("only if the process is stopped and goes on during that rest"),
        ..entry("restart_syscall", libc::SYS_restart_syscall, &[], "the kernel goes on with that rest")
    },
];

/// The connections' own.
const CONNECTION: &[Entry] = &[
    WAIT,
    entry("recvfrom", libc::SYS_recvfrom, &[], "reads from the agent"),
    entry("sendto", libc::SYS_sendto, &[], "answers"),
    RECEIVE_TIMEOUT,
    SEND_TIMEOUT,
    entry(
        "fcntl",
        libc::SYS_fcntl,
        &[word(1, libc::F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC")],
        "handles for whoever answers, and for ending the connection",
    ),
    entry(
        "shutdown",
        libc::SYS_shutdown,
        &[word(1, libc::SHUT_RDWR, "both directions")],
        "ends the connection",
    ),
    entry("close", libc::SYS_close, &[], "lets go of handles"),
    #[cfg(debug_assertions)]
    CHECK,
    entry("getrandom", libc::SYS_getrandom, &[], "handshakes, challenges, session ids"),
    entry("pread64", libc::SYS_pread64, &[], "measures the protections for a status or report"),
    QUEUE,
];

/// The ceremony thread's own.
const CEREMONY: &[Entry] = &[
    WAIT,
    entry("sendto", libc::SYS_sendto, &[], "hands TPM commands to the agent, and answers"),
    SEND_TIMEOUT,
    entry("getrandom", libc::SYS_getrandom, &[], "the root, nonces and salts of TPM sessions"),
    entry("pread64", libc::SYS_pread64, &[], "reads the state file, and measures the protections"),
    entry("pwrite64", libc::SYS_pwrite64, &[], "stores a sealed blob"),
    entry("fdatasync", libc::SYS_fdatasync, &[], "before the TPM's counter rises, the blob is on disk"),
    entry(
        "shutdown",
        libc::SYS_shutdown,
        &[word(1, libc::SHUT_RDWR, "both directions")],
        "ends a connection that takes no commands",
    ),
    entry("close", libc::SYS_close, &[], "the last to hold a connection that has ended"),
    #[cfg(debug_assertions)]
    CHECK,
    entry(
        "clock_nanosleep",
        libc::SYS_clock_nanosleep,
        &[],
        "pauses before a command that the TPM asked to send again",
    ),
    entry(
        "restart_syscall",
        libc::SYS_restart_syscall,
        &[],
        "the kernel goes on with a wait that has a deadline, after the process or the machine was stopped",
    ),
    QUEUE,
];

/// The signing threads' own.
const SIGN: &[Entry] = &[
    WAIT,
    entry("sendto", libc::SYS_sendto, &[], "answers"),
    SEND_TIMEOUT,
    entry(
        "shutdown",
        libc::SYS_shutdown,
        &[word(1, libc::SHUT_RDWR, "both directions")],
        "ends a connection that takes no answers",
    ),
    entry("close", libc::SYS_close, &[], "the last to hold a connection that has ended"),
    #[cfg(debug_assertions)]
    CHECK,
    entry(
        "pwrite64",
        libc::SYS_pwrite64,
        &[],
        "the first signature of an era, and each checkpoint of the audit log, is noted in the state file",
    ),
    entry(
        "fdatasync",
        libc::SYS_fdatasync,
        &[],
        "that note is on disk before the signature or the checkpoint leaves",
    ),
    QUEUE,
];

const WAIT: Entry = entry(
    "futex",
    libc::SYS_futex,
    &[word(1, libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG, "FUTEX_WAIT_BITSET_PRIVATE")],
    "waits for work, an answer or a lock",
);

const QUEUE: Entry =
    entry("sched_yield", libc::SYS_sched_yield, &[], "looks again at an empty queue before it waits");

#[cfg(debug_assertions)]
const CHECK: Entry = entry(
    "fcntl",
    libc::SYS_fcntl,
    &[word(1, libc::F_GETFD, "F_GETFD")],
    "before it closes one, the standard library looks whether a descriptor is open; in unoptimised builds only",
);

const RECEIVE_TIMEOUT: Entry = entry(
    "setsockopt",
    libc::SYS_setsockopt,
    &[word(1, libc::SOL_SOCKET, "SOL_SOCKET"), word(2, libc::SO_RCVTIMEO, "SO_RCVTIMEO")],
    "deadlines of reads",
);

const SEND_TIMEOUT: Entry = entry(
    "setsockopt",
    libc::SYS_setsockopt,
    &[word(1, libc::SOL_SOCKET, "SOL_SOCKET"), word(2, libc::SO_SNDTIMEO, "SO_SNDTIMEO")],
    "deadlines of writes",
);
