//! The lists are sound data, their programs allow what they say and nothing else, and the kernel ends a process that
//! does what they forbid.
#![allow(unsafe_code, reason = "makes forbidden system calls, in processes of their own")]

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use libc::c_long;
use seccompiler::sock_filter;

use super::lists::{self, Entry, Seen};
use super::*;

/// Names the kind and the call for [`in_a_process_of_its_own`].
const ORDER: &str = "SEALSTONE_TEST_CALL";

/// Call numbers that are tried: beyond the newest of any architecture.
const NUMBERS: std::ops::Range<u32> = 0..1024;

/// The first number of the x32 calls, which a 64-bit process on x86-64 can make as well.
const X32: u32 = 0x4000_0000;

const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
const KILLED: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// What a thread may be made to do by a fault, and must not get away with.
const FORBIDDEN: &[(&str, c_long, [u64; 6])] = &[
    ("socket", libc::SYS_socket, [1, 1, 0, 0, 0, 0]),
    ("socketpair", libc::SYS_socketpair, [1, 1, 0, 0, 0, 0]),
    ("connect", libc::SYS_connect, [3, 0, 0, 0, 0, 0]),
    ("bind", libc::SYS_bind, [3, 0, 0, 0, 0, 0]),
    ("sendmsg", libc::SYS_sendmsg, [3, 0, 0, 0, 0, 0]),
    ("openat", libc::SYS_openat, [0, 0, 0, 0, 0, 0]),
    ("openat2", libc::SYS_openat2, [0, 0, 0, 0, 0, 0]),
    ("unlinkat", libc::SYS_unlinkat, [0, 0, 0, 0, 0, 0]),
    ("renameat2", libc::SYS_renameat2, [0, 0, 0, 0, 0, 0]),
    ("ftruncate", libc::SYS_ftruncate, [99, 0, 0, 0, 0, 0]),
    ("read", libc::SYS_read, [99, 0, 0, 0, 0, 0]),
    ("write to another than standard error", libc::SYS_write, [1, 0, 0, 0, 0, 0]),
    ("sendfile", libc::SYS_sendfile, [99, 99, 0, 0, 0, 0]),
    ("dup3", libc::SYS_dup3, [2, 99, 0, 0, 0, 0]),
    ("ioctl", libc::SYS_ioctl, [2, 0, 0, 0, 0, 0]),
    ("fcntl F_SETFL", libc::SYS_fcntl, [2, 4, 0, 0, 0, 0]),
    ("execve", libc::SYS_execve, [0, 0, 0, 0, 0, 0]),
    ("execveat", libc::SYS_execveat, [0, 0, 0, 0, 0, 0]),
    ("clone", libc::SYS_clone, [0; 6]),
    ("clone3", libc::SYS_clone3, [0; 6]),
    ("kill", libc::SYS_kill, [0; 6]),
    ("tgkill", libc::SYS_tgkill, [0; 6]),
    ("rt_sigaction", libc::SYS_rt_sigaction, [10, 0, 0, 8, 0, 0]),
    ("rt_sigprocmask", libc::SYS_rt_sigprocmask, [0, 0, 0, 8, 0, 0]),
    ("rt_sigreturn", libc::SYS_rt_sigreturn, [0; 6]),
    ("timer_create", libc::SYS_timer_create, [0; 6]),
    ("setitimer", libc::SYS_setitimer, [0; 6]),
    ("ptrace", libc::SYS_ptrace, [0; 6]),
    ("process_vm_readv", libc::SYS_process_vm_readv, [0; 6]),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, [0; 6]),
    ("prctl", libc::SYS_prctl, [3, 0, 0, 0, 0, 0]),
    ("seccomp", libc::SYS_seccomp, [0; 6]),
    ("bpf", libc::SYS_bpf, [0; 6]),
    ("io_uring_setup", libc::SYS_io_uring_setup, [0; 6]),
    ("userfaultfd", libc::SYS_userfaultfd, [0; 6]),
    ("memfd_create", libc::SYS_memfd_create, [0; 6]),
    ("setgroups", libc::SYS_setgroups, [0; 6]),
    ("setuid", libc::SYS_setuid, [0; 6]),
    ("capset", libc::SYS_capset, [0; 6]),
    ("mmap executable", libc::SYS_mmap, [0, 4096, 7, 0x22, u64::MAX, 0]),
    ("mmap executable, in the upper half", libc::SYS_mmap, [0, 4096, 3 | (1 << 32), 0x22, u64::MAX, 0]),
    ("mmap shared", libc::SYS_mmap, [0, 4096, 3, 0x21, u64::MAX, 0]),
    ("mmap at a place", libc::SYS_mmap, [0x1000_0000, 4096, 3, 0x32, u64::MAX, 0]),
    ("mmap a file", libc::SYS_mmap, [0, 4096, 1, 2, 2, 0]),
    ("mprotect executable", libc::SYS_mprotect, [0, 4096, 5, 0, 0, 0]),
    ("mremap to a place", libc::SYS_mremap, [0, 4096, 4096, 3, 0, 0]),
    ("process_madvise", libc::SYS_process_madvise, [0; 6]),
    ("futex with priority", libc::SYS_futex, [0, 6, 0, 0, 0, 0]),
];

#[test]
fn every_entry_is_named_once_and_has_its_reason() {
    for kind in Kind::ALL {
        let mut known = BTreeSet::new();
        for entry in lists::of(kind) {
            let arguments: Vec<_> = entry
                .arguments
                .iter()
                .map(|argument| (argument.index, argument.mask, argument.value))
                .collect();
            assert!(known.insert((entry.call, arguments)), "{kind:?} names {} twice", entry.call);
            assert!(entry.reason.len() > 5, "{kind:?}, {}: no reason", entry.call);
            if let Seen::SomeThread(why) | Seen::Elsewhere(why) = entry.seen {
                assert!(why.len() > 10, "{kind:?}, {}: no reason why it may not be seen", entry.call);
            }
            assert!(entry.arguments.iter().all(|argument| argument.means.len() > 3));
            assert!(entry.arguments.iter().all(|argument| argument.value & !argument.effective_mask() == 0));
        }
    }
}

#[test]
fn an_entry_without_arguments_has_no_second_one() {
    for kind in Kind::ALL {
        for entry in lists::of(kind).filter(|entry| entry.arguments.is_empty()) {
            let entries = lists::of(kind).filter(|other| other.number == entry.number).count();
            assert_eq!(entries, 1, "{kind:?}: {} is allowed with any arguments", entry.call);
        }
    }
}

#[test]
fn only_one_kind_accepts_ends_the_process_or_writes_files() {
    let holders = |call: &str| -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|kind| lists::of(*kind).any(|entry| entry.call == call)).collect()
    };
    assert_eq!(holders("accept4"), [Kind::Accept]);
    assert_eq!(holders("exit_group"), [Kind::Main]);
    assert_eq!(holders("recvfrom"), [Kind::Connection]);
    assert_eq!(holders("pwrite64"), [Kind::Ceremony, Kind::Sign]);
    assert_eq!(holders("fdatasync"), [Kind::Ceremony, Kind::Sign]);
}

/// Runs a filter program as the kernel does (the instructions that seccompiler emits).
fn judge(program: &[sock_filter], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = [number, architecture, 0, 0].map(u32::to_le_bytes).concat();
    data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
    let (mut at, mut accumulator) = (0, 0_u32);
    // A program has no loops, so it ends.
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => {
                let from = usize::try_from(k).unwrap();
                accumulator = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
            }
            0x54 => accumulator &= k,
            0x05 => at += usize::try_from(k).unwrap(),
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x35 => at += jump(accumulator >= k),
            0x06 => return k,
            other => panic!("instruction {other:#x} at {}", at - 1),
        }
    }
}

/// The architecture as the program itself has it: the first comparison.
fn architecture(program: &[sock_filter]) -> u32 {
    program.iter().find(|instruction| instruction.code == 0x15).unwrap().k
}

/// Arguments that satisfy an entry and as little else as possible.
fn satisfying(entry: &Entry) -> [u64; 6] {
    let mut arguments = [0; 6];
    for argument in entry.arguments {
        arguments[usize::from(argument.index)] = argument.value;
    }
    arguments
}

#[test]
fn a_program_allows_its_list_and_nothing_else() {
    for kind in Kind::ALL {
        let program = program(kind).unwrap();
        let here = architecture(&program);
        let listed: BTreeSet<u32> =
            lists::of(kind).map(|entry| u32::try_from(entry.number).unwrap()).collect();
        for entry in lists::of(kind) {
            let number = u32::try_from(entry.number).unwrap();
            let good = satisfying(entry);
            assert_eq!(judge(&program, here, number, good), ALLOWED, "{kind:?}: {}", entry.call);
            assert_eq!(judge(&program, here ^ 1, number, good), KILLED, "{kind:?}: {} elsewhere", entry.call);
            // Every bit of every argument that is looked at counts.
            for argument in entry.arguments {
                for bit in (0..64).filter(|bit| argument.effective_mask() & (1 << bit) != 0) {
                    let mut bad = good;
                    bad[usize::from(argument.index)] ^= 1 << bit;
                    let other =
                        lists::of(kind).any(|other| other.number == entry.number && satisfies(other, bad));
                    let expected = if other { ALLOWED } else { KILLED };
                    assert_eq!(
                        judge(&program, here, number, bad),
                        expected,
                        "{kind:?}: {} {bad:x?}",
                        entry.call
                    );
                }
            }
        }
        for number in NUMBERS.filter(|number| !listed.contains(number)) {
            assert_eq!(judge(&program, here, number, [0; 6]), KILLED, "{kind:?}: {number}");
        }
        for number in listed {
            assert_eq!(judge(&program, here, number | X32, [0; 6]), KILLED, "{kind:?}: {number} of x32");
        }
    }
}

fn satisfies(entry: &Entry, arguments: [u64; 6]) -> bool {
    entry
        .arguments
        .iter()
        .all(|argument| arguments[usize::from(argument.index)] & argument.effective_mask() == argument.value)
}

#[test]
fn no_list_allows_what_is_forbidden() {
    for kind in Kind::ALL {
        let program = program(kind).unwrap();
        for (what, number, arguments) in FORBIDDEN {
            let number = u32::try_from(*number).unwrap();
            assert_eq!(
                judge(&program, architecture(&program), number, *arguments),
                KILLED,
                "{kind:?}: {what}"
            );
        }
    }
}

/// Ordered by [`in_another_process`]: confines a thread and lets it make one call. Without an order it only shows
/// that an unconfined process survives them.
#[test]
fn in_a_process_of_its_own() {
    let Ok(order) = std::env::var(ORDER) else {
        // SAFETY: asks for a socket, which is closed with the process.
        assert!(unsafe { libc::syscall(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0) } >= 0);
        return;
    };
    let (kind, call) = order.split_once(' ').unwrap();
    let kind = Kind::ALL.into_iter().find(|known| lists::threads(*known) == kind).unwrap();
    let call = call.to_owned();
    let forbidden = FORBIDDEN.iter().find(|(what, ..)| *what == call).copied();
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        install(kind).unwrap();
        match forbidden {
            // SAFETY: the process ends before the kernel looks at the arguments; where it does not, the call fails
            // for them, or does what this process can do without.
            Some((_, number, [a, b, c, d, e, f])) => drop(unsafe { libc::syscall(number, a, b, c, d, e, f) }),
            None if call == "spawn a thread" => drop(thread::Builder::new().spawn(|| {})),
            None if call == "open a file" => drop(std::fs::File::open("/dev/null")),
            None if call == "run a program" => drop(Command::new("/bin/true").status()),
            None if call == "raise a signal" => std::process::abort(),
            None => assert_eq!(call, "work"),
        }
        // A large buffer that grows, a lock, a line: what every kind may do.
        let mut buffer = vec![1_u8; 1 << 20];
        buffer.resize(1 << 22, 2);
        crate::notice::notice("confined, and alive");
        done.send(buffer.len()).unwrap();
        // A confined thread may not even end.
        loop {
            thread::park();
        }
    });
    assert_eq!(ended.recv().unwrap(), 1 << 22);
}

fn in_another_process(kind: Kind, call: &str) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sandbox::seccomp::tests::in_a_process_of_its_own", "--nocapture"])
        .env(ORDER, format!("{} {call}", lists::threads(kind)))
        // The allocator as the enclave has it.
        .env("MALLOC_ARENA_MAX", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

#[test]
fn a_confined_thread_works_and_its_process_ends_in_order() {
    for kind in Kind::ALL {
        let status = in_another_process(kind, "work");
        assert!(status.success(), "{kind:?}: {status:?}");
    }
}

#[test]
fn a_forbidden_call_ends_the_process() {
    let calls = FORBIDDEN.iter().map(|(what, ..)| *what);
    for call in calls.chain(["spawn a thread", "open a file", "run a program", "raise a signal"]) {
        for kind in Kind::ALL {
            let status = in_another_process(kind, call);
            assert_eq!(status.signal(), Some(libc::SIGSYS), "{kind:?}: {call}: {status:?}");
        }
    }
}
