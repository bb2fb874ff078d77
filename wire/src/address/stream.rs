//! A blocking connection to an address.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::retry_on_intr;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, socket_with,
};
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
    /// Receives, as the other kind does too: the enclave's threads need no system call that reads files.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => {
                let (count, _) = recv(&*stream, bytes, RecvFlags::empty())?;
                Ok(count)
            }
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
    retry_on_intr(|| connect(&socket, &address)).map_err(|error| {
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread::{self, JoinHandle};

    use super::*;

    /// Long enough for a loaded machine, and never waited for by a test that passes.
    const AMPLE: Duration = Duration::from_secs(20);

    /// The deadline that a silent VMM runs into.
    const SHORT: Duration = Duration::from_millis(60);

    struct Vmm {
        folder: tempfile::TempDir,
        thread: JoinHandle<String>,
    }

    impl Vmm {
        /// A VMM that reads the request, gives `answer`, and then does what `after` says with the stream.
        fn answering(answer: &'static [u8], after: impl FnOnce(UnixStream) + Send + 'static) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let listener = UnixListener::bind(folder.path().join("vm.sock")).unwrap();
            let thread = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while request.last() != Some(&b'\n') {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.extend(byte);
                }
                stream.write_all(answer).unwrap();
                after(stream);
                String::from_utf8(request).unwrap()
            });
            Self { folder, thread }
        }

        fn dial(&self, within: Duration) -> Result<Stream, ConnectError> {
            let address = Address::UnixVsock { path: self.folder.path().join("vm.sock"), port: 5000 };
            Stream::connect(&address, Instant::now() + within)
        }
    }

    #[test]
    fn a_guests_port_is_asked_for_and_what_follows_belongs_to_the_guest() {
        let vmm = Vmm::answering(b"OK 1073741824\nfrom the guest", |mut stream| {
            let mut word = [0; 4];
            stream.read_exact(&mut word).unwrap();
            assert_eq!(&word, b"ping");
        });
        let mut stream = vmm.dial(AMPLE).unwrap();
        stream.write_all(b"ping").unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"from the guest");
        assert_eq!(vmm.thread.join().unwrap(), "CONNECT 5000\n");
    }

    #[test]
    fn the_connection_has_no_deadline_left_once_it_stands() {
        let vmm = Vmm::answering(b"OK 5000\n", drop);
        let Stream::Unix(stream) = vmm.dial(AMPLE).unwrap() else { panic!("expected a Unix socket") };
        assert_eq!(stream.read_timeout().unwrap(), None);
        assert_eq!(stream.write_timeout().unwrap(), None);
        vmm.thread.join().unwrap();
    }

    #[test]
    fn any_other_answer_is_refused() {
        for answer in [
            b"\n".as_slice(),
            b"OK\n",
            b"OK \n",
            b"OK +5\n",
            b"OK 5000\r\n",
            b"OK 4294967296\n",
            b"OK five\n",
            b"ok 5000\n",
            b" OK 5000\n",
            b"ERROR\n",
            b"OK \xff\n",
        ] {
            let vmm = Vmm::answering(answer, drop);
            let error = vmm.dial(AMPLE).unwrap_err();
            assert!(matches!(&error, ConnectError::Vmm { found } if found == answer), "{error}");
            vmm.thread.join().unwrap();
        }
    }

    #[test]
    fn an_endless_answer_is_not_read_to_its_end() {
        let vmm = Vmm::answering(b"OK 000000000000000000000000000000000000000000000000000000", drop);
        let error = vmm.dial(AMPLE).unwrap_err();
        assert!(matches!(&error, ConnectError::Vmm { found } if found.len() == ANSWER_MAX), "{error}");
        vmm.thread.join().unwrap();
    }

    #[test]
    fn a_vmm_that_hangs_up_is_reported_with_the_port() {
        for answer in [b"".as_slice(), b"OK 50"] {
            let vmm = Vmm::answering(answer, drop);
            let error = vmm.dial(AMPLE).unwrap_err();
            assert!(
                matches!(&error, ConnectError::VmmEnded { port: 5000, found } if found == answer),
                "{error}"
            );
            vmm.thread.join().unwrap();
        }
    }

    #[test]
    fn a_vmm_that_says_nothing_or_half_a_line_does_not_hold_the_caller() {
        for answer in [b"".as_slice(), b"OK 50"] {
            let (kept, keeper) = std::sync::mpsc::channel();
            let vmm = Vmm::answering(answer, move |stream| kept.send(stream).unwrap());
            let started = Instant::now();
            let error = vmm.dial(SHORT).unwrap_err();
            assert!(matches!(error, ConnectError::Deadline), "{error}");
            assert!(started.elapsed() < AMPLE);
            drop(keeper.recv().unwrap());
            vmm.thread.join().unwrap();
        }
    }

    #[test]
    fn a_listener_that_never_accepts_does_not_hold_the_caller() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("full.sock");
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let mut queued = Vec::new();
        let address = Address::Unix { path };
        let error = loop {
            match Stream::connect(&address, Instant::now() + SHORT) {
                Ok(stream) => queued.push(stream),
                Err(error) => break error,
            }
            assert!(queued.len() < 10, "a queue of none takes few");
        };
        assert!(matches!(error, ConnectError::Deadline), "{error}");
    }

    #[test]
    fn nobody_there_and_no_time_left_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix { path: folder.path().join("nobody.sock") };
        let error = Stream::connect(&address, Instant::now() + AMPLE).unwrap_err();
        assert!(matches!(&error, ConnectError::Io(error) if error.kind() == ErrorKind::NotFound), "{error}");
        let error = Stream::connect(&address, Instant::now()).unwrap_err();
        assert!(matches!(error, ConnectError::Deadline), "{error}");
        let address = Address::Unix { path: "x".repeat(108).into() };
        let error = Stream::connect(&address, Instant::now() + AMPLE).unwrap_err();
        assert!(matches!(error, ConnectError::Address(AddressError::PathLength { found: 108 })), "{error}");
    }
}
