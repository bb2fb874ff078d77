//! A blocking connection to an address.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use thiserror::Error;
use vsock::VsockStream;

use super::{Address, AddressError, check_path};
use crate::frame::{Deadlined, Timeouts};

/// Bytes of the longest answer to `CONNECT`, `OK 4294967295\n`, with some room for a VMM that pads it.
const ANSWER_MAX: usize = 32;

/// A connected blocking stream.
#[derive(Debug)]
pub enum Stream {
    /// A Unix socket, also one that leads to a guest's vsock.
    Unix(UnixStream),
    /// AF_VSOCK.
    Vsock(VsockStream),
}

impl Stream {
    /// Connects by `deadline`; through a VMM's socket also asks for the guest's port.
    ///
    /// A VMM may answer before the guest's program has accepted, so a connection proves nothing about the peer.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(address: &Address, deadline: Instant) -> Result<Self, ConnectError> {
        match address {
            Address::Unix { path } => Ok(Self::Unix(connect_unix(path, deadline)?)),
            Address::UnixVsock { path, port } => {
                let mut stream = connect_unix(path, deadline)?;
                ask_for_port(&mut stream, *port, deadline)?;
                Ok(Self::Unix(stream))
            }
            // The kernel ends an attempt after two seconds (SO_VM_SOCKETS_CONNECT_TIMEOUT).
            Address::Vsock { cid, port } => {
                Ok(Self::Vsock(VsockStream::connect_with_cid_port(*cid, *port).map_err(ConnectError::Io)?))
            }
        }
    }

    /// A second handle of the same connection.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
            Self::Vsock(stream) => stream.try_clone().map(Self::Vsock),
        }
    }

    /// Ends the connection in both directions, for all its handles: calls that wait return.
    ///
    /// # Errors
    /// It has ended already.
    pub fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Vsock(stream) => stream.shutdown(Shutdown::Both),
        }
    }
}

impl Timeouts for Stream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(timeout),
            Self::Vsock(stream) => stream.set_read_timeout(timeout),
        }
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_write_timeout(timeout),
            Self::Vsock(stream) => stream.set_write_timeout(timeout),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(bytes),
            Self::Vsock(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Vsock(stream) => stream.write(bytes),
        }
    }

    /// Nothing is held back.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `connect` waits while the listener's queue is full, and only a send timeout that is set before bounds that.
fn connect_unix(path: &Path, deadline: Instant) -> Result<UnixStream, ConnectError> {
    check_path(path)?;
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ConnectError::Deadline);
    }
    let address = SocketAddrUnix::new(path).map_err(io_error)?;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(io_error)?;
    set_socket_timeout(&socket, Timeout::Send, Some(left)).map_err(io_error)?;
    connect(&socket, &address).map_err(|error| {
        if error == rustix::io::Errno::AGAIN { ConnectError::Deadline } else { io_error(error) }
    })?;
    set_socket_timeout(&socket, Timeout::Send, None).map_err(io_error)?;
    Ok(UnixStream::from(socket))
}

fn io_error(error: rustix::io::Errno) -> ConnectError {
    ConnectError::Io(error.into())
}

/// Firecracker's handshake: `CONNECT <port>\n`, answered `OK <number>\n`.
fn ask_for_port(stream: &mut UnixStream, port: u32, deadline: Instant) -> Result<(), ConnectError> {
    let late = |error: io::Error| match error.kind() {
        ErrorKind::TimedOut => ConnectError::Deadline,
        _ => ConnectError::Io(error),
    };
    let mut vmm = Deadlined::new(stream, deadline);
    vmm.write_all(format!("CONNECT {port}\n").as_bytes()).map_err(late)?;
    // One byte at a time: what follows the line belongs to the guest.
    let mut line = Vec::with_capacity(ANSWER_MAX);
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        if line.len() == ANSWER_MAX {
            return Err(ConnectError::Vmm { found: line });
        }
        match vmm.read(&mut byte) {
            Ok(0) => return Err(ConnectError::VmmEnded { port, found: line }),
            Ok(_) => line.extend(byte),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(late(error)),
        }
    }
    let accepted = line
        .strip_prefix(b"OK ")
        .and_then(|rest| rest.strip_suffix(b"\n"))
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .is_some_and(|digits| {
            digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u32>().is_ok()
        });
    if !accepted {
        return Err(ConnectError::Vmm { found: line });
    }
    stream.set_read_timeout(None).map_err(ConnectError::Io)?;
    stream.set_write_timeout(None).map_err(ConnectError::Io)
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The caller's address cannot be one of a socket.
    #[error("the address cannot be used")]
    Address(#[from] AddressError),
    /// Nobody accepted, or the VMM did not answer, in time.
    #[error("expected a connection before the deadline, found none")]
    Deadline,
    /// The VMM said something else than `OK <number>`.
    #[error("expected the VMM to answer \"OK <number>\", found {:?}", String::from_utf8_lossy(found))]
    Vmm {
        /// Its answer, as far as it was read.
        found: Vec<u8>,
    },
    /// The VMM hung up: usually nobody in the guest listens on that port.
    #[error(
        "expected the VMM to answer \"OK <number>\", found the end of the stream after {:?}; does the guest listen on port {port}?",
        String::from_utf8_lossy(found)
    )]
    VmmEnded {
        /// The port that was asked for.
        port: u32,
        /// What came of the answer.
        found: Vec<u8>,
    },
    /// The system reports a fault.
    #[error("cannot connect")]
    Io(#[source] io::Error),
}
