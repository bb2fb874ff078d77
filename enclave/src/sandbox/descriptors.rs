//! No descriptors but the program's own.
#![allow(unsafe_code, reason = "closes descriptors by number")]

use std::io;

use sealstone_wire::limits::{CONNECTIONS_MAX, HANDSHAKES_MAX};

/// The first descriptor beyond standard input, output and error.
const FIRST: libc::c_uint = 3;

/// Descriptors that do not belong to connections: the standard ones, listener, state file, the files that
/// [`Protections`](super::Protections) keeps, and what start-up opens one after the other.
const FIXED_MAX: usize = 32;

/// Descriptors at most. A connection in its handshake has two, and one more may wait for its end to be noticed; an
/// authenticated one has three, beside one that is refused because of it.
pub(super) const DESCRIPTORS_MAX: usize = FIXED_MAX + 3 * HANDSHAKES_MAX + 4 * CONNECTIONS_MAX;

/// Closes everything above standard error that whoever started the process left open. Nothing that is passed on is
/// used: no `LISTEN_FDS`, no journal socket.
///
/// # Errors
/// The kernel does not (Linux before 5.9, which has no secret memory either).
pub fn close_inherited() -> io::Result<()> {
    // Called first of all, when nothing in this process owns a descriptor from FIRST on.
    close_range(FIRST, libc::c_uint::MAX)
}

/// Closes all descriptors from the first to the last number. Whoever owns one of them must never use it again.
pub(super) fn close_range(first: libc::c_uint, last: libc::c_uint) -> io::Result<()> {
    // SAFETY: the call takes numbers only; the callers, in this folder, see to it that nobody uses what is closed.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0 as libc::c_uint) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets go of whatever standard input and output are: a server reads and writes neither. Pipes without another end
/// take their places, for which no file is needed, such as a device that the user may not open.
///
/// # Errors
/// The system has no descriptor left.
pub fn drop_standard_streams() -> io::Result<()> {
    let (ended, _) = rustix::pipe::pipe()?;
    let (_, broken) = rustix::pipe::pipe()?;
    rustix::stdio::dup2_stdin(&ended)?;
    rustix::stdio::dup2_stdout(&broken)?;
    Ok(())
}
