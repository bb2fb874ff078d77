//! A blocking listener on an address.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use thiserror::Error;
use vsock::VsockListener;

use super::{Address, AddressError, Stream, check_path, guest_path};

/// Who may connect: owner and group. Whoever connects must authenticate; this only keeps the noise out.
const SOCKET_MODE: u32 = 0o660;

/// Connections that wait to be accepted. The acceptor does nothing else, so they wait for microseconds.
const BACKLOG: i32 = 128;

/// A bound blocking listener. The file of a Unix socket stays when it is dropped; the next [`bind`](Self::bind)
/// removes it.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket.
    Unix(UnixListener),
    /// AF_VSOCK.
    Vsock(VsockListener),
}

impl Listener {
    /// Listens. A Unix socket is open to its owner and group (mode 0660); a file that an ended process left is
    /// replaced, a socket on which somebody listens is not.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(address: &Address) -> Result<Self, BindError> {
        match address {
            Address::Unix { path } => Ok(Self::Unix(bind_unix(path)?)),
            Address::UnixVsock { path, port } => Ok(Self::Unix(bind_unix(&guest_path(path, *port))?)),
            Address::Vsock { cid, port } => {
                Ok(Self::Vsock(VsockListener::bind_with_cid_port(*cid, *port).map_err(BindError::Io)?))
            }
        }
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// The system has no descriptor or memory left; a later call may succeed.
    pub fn accept(&self) -> io::Result<Stream> {
        loop {
            let accepted = match self {
                Self::Unix(listener) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
                Self::Vsock(listener) => listener.accept().map(|(stream, _)| Stream::Vsock(stream)),
            };
            match accepted {
                // The peer gave up while it waited; that is no fault of the listener.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                result => return result,
            }
        }
    }
}

fn bind_unix(path: &Path) -> Result<UnixListener, BindError> {
    check_path(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Two processes that start at once would each take the other's new socket for a stale one.
    let folder_lock = File::open(folder).map_err(BindError::Io)?;
    folder_lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => BindError::Contended { path: path.to_owned() },
        TryLockError::Error(error) => BindError::Io(error),
    })?;
    remove_stale(path)?;
    let address = SocketAddrUnix::new(path).map_err(io_error)?;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(io_error)?;
    bind(&socket, &address).map_err(io_error)?;
    // Nobody can connect before `listen`, so the mode is never wider than it should be.
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).map_err(BindError::Io)?;
    listen(&socket, BACKLOG).map_err(io_error)?;
    Ok(UnixListener::from(socket))
}

fn io_error(error: rustix::io::Errno) -> BindError {
    BindError::Io(error.into())
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BindError::Io(error)),
    }
    match UnixStream::connect(path) {
        // Only the kernel's word that nobody listens makes it stale; a full queue or a refused permission do not.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(BindError::Io)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        _ => Err(BindError::InUse { path: path.to_owned() }),
    }
}

/// Why there is no listener.
#[derive(Debug, Error)]
pub enum BindError {
    /// The caller's address cannot be one of a socket.
    #[error("the address cannot be used")]
    Address(#[from] AddressError),
    /// Another process listens there.
    #[error("expected nobody to listen on {}, found that somebody does; end that process first", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Another process is binding a socket in the same folder.
    #[error("expected to be alone in binding {}, found another process at it; try again", path.display())]
    Contended {
        /// The socket.
        path: PathBuf,
    },
    /// A file that is no socket is in the way.
    #[error("expected a socket or nothing at {}, found another kind of file", path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The system reports a fault.
    #[error("cannot listen")]
    Io(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::{Duration, Instant};

    use super::*;

    fn ample() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_connection_carries_bytes_both_ways() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix { path: folder.path().join("enclave.sock") };
        let listener = Listener::bind(&address).unwrap();
        let mut ours = Stream::connect(&address, ample()).unwrap();
        let mut theirs = listener.accept().unwrap();
        let mut word = [0; 4];
        ours.write_all(b"ping").unwrap();
        theirs.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"ping");
        theirs.write_all(b"pong").unwrap();
        ours.try_clone().unwrap().read_exact(&mut word).unwrap();
        assert_eq!(&word, b"pong");
        ours.shutdown().unwrap();
        assert_eq!(theirs.read(&mut word).unwrap(), 0);
    }

    #[test]
    fn the_socket_is_open_to_owner_and_group_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("enclave.sock");
        let _listener = Listener::bind(&Address::Unix { path: path.clone() }).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
    }

    #[test]
    fn who_listens_for_a_guest_binds_the_port_behind_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vm.sock");
        let _listener = Listener::bind(&Address::UnixVsock { path, port: 7000 }).unwrap();
        assert!(fs::metadata(folder.path().join("vm.sock_7000")).unwrap().file_type().is_socket());
        let error =
            Listener::bind(&Address::UnixVsock { path: "x".repeat(106).into(), port: 1 }).unwrap_err();
        assert!(matches!(error, BindError::Address(AddressError::PathLength { found: 108 })), "{error}");
    }

    #[test]
    fn a_socket_that_an_ended_process_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix { path: folder.path().join("enclave.sock") };
        drop(Listener::bind(&address).unwrap());
        let listener = Listener::bind(&address).unwrap();
        Stream::connect(&address, ample()).unwrap();
        listener.accept().unwrap();
    }

    #[test]
    fn a_socket_on_which_somebody_listens_is_left_to_him() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix { path: folder.path().join("enclave.sock") };
        let first = Listener::bind(&address).unwrap();
        let error = Listener::bind(&address).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
        // The connection that looked whether somebody is there, then a real one.
        first.accept().unwrap();
        Stream::connect(&address, ample()).unwrap();
        first.accept().unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        fs::write(&path, "data").unwrap();
        let error = Listener::bind(&Address::Unix { path: path.clone() }).unwrap_err();
        assert!(matches!(error, BindError::NotASocket { .. }), "{error}");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let error = Listener::bind(&Address::Unix { path: link }).unwrap_err();
        assert!(matches!(error, BindError::NotASocket { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    }

    #[test]
    fn two_that_bind_at_once_do_not_take_each_other_for_dead() {
        let folder = tempfile::tempdir().unwrap();
        let other = File::open(folder.path()).unwrap();
        other.lock().unwrap();
        let address = Address::Unix { path: folder.path().join("enclave.sock") };
        let error = Listener::bind(&address).unwrap_err();
        assert!(matches!(error, BindError::Contended { .. }), "{error}");
        drop(other);
        Listener::bind(&address).unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix { path: folder.path().join("no/enclave.sock") };
        let error = Listener::bind(&address).unwrap_err();
        assert!(matches!(&error, BindError::Io(error) if error.kind() == ErrorKind::NotFound), "{error}");
    }
}
