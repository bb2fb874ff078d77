//! No signal interrupts a thread: all are blocked in all threads, and the main one waits for the two that end the
//! process. A handler would run on a frame that holds the interrupted thread's registers, in ordinary memory.
//!
//! Signals for faults (SIGSEGV, SIGBUS, SIGILL, SIGFPE) end the process when they are blocked, and so does SIGSYS.
#![allow(unsafe_code, reason = "the C library's call leaves two signals unblocked; handlers are reset")]

use std::io;

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};

/// Every signal there is; the kernel leaves out SIGKILL and SIGSTOP by itself.
const ALL: u64 = u64::MAX;

/// What the kernel shows when all are blocked that can be.
pub(super) const BLOCKED: u64 = ALL & !(1 << (libc::SIGKILL - 1)) & !(1 << (libc::SIGSTOP - 1));

/// What the kernel shows of the main thread while it waits for one of the signals that end the process.
pub(super) const WAITING: u64 = BLOCKED & !(1 << (libc::SIGTERM - 1)) & !(1 << (libc::SIGINT - 1));

/// Blocks every signal in this thread and in those it will start. The C library's own call would leave two
/// unblocked that it keeps for itself, and has a handler for one of them once there are threads; it needs neither
/// here, where no thread is cancelled and no user changed.
///
/// # Errors
/// The kernel refuses, which it never does.
pub fn block_all() -> io::Result<()> {
    let set = ALL;
    let old: *mut u64 = std::ptr::null_mut();
    // SAFETY: the kernel reads the 8 bytes of `set` and writes no old mask to the null pointer.
    let blocked = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const set, old, size_of_val(&set))
    };
    if blocked == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes away the handlers with which the standard library reports stack overflows.
///
/// # Errors
/// The kernel refuses, which it never does.
pub fn forget_handlers() -> io::Result<()> {
    for fault in [Signal::SIGSEGV, Signal::SIGBUS] {
        // SAFETY: the default action is no function; nobody relies on the handlers that were there.
        unsafe { signal(fault, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// Waits for SIGTERM or SIGINT, also one that came while the process was starting.
///
/// # Errors
/// The kernel refuses, which it never does.
pub fn wait_for_end() -> io::Result<&'static str> {
    let mut ending = SigSet::empty();
    ending.add(Signal::SIGTERM);
    ending.add(Signal::SIGINT);
    Ok(ending.wait()?.as_str())
}
