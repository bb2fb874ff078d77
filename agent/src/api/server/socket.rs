//! The Unix socket as a file: made, replaced if its owner died, never taken from a live one.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::net::UnixListener;

/// Group members may connect as far as the file system is concerned; the list of clients decides.
const SOCKET_MODE: u32 = 0o660;

/// Makes the socket. One left behind by an agent that died is replaced; a live one is not.
pub(super) fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !kind.is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Ok(_) => Err(BindError::InUse { path: path.to_owned() }),
        Err(error) => Err(failed(error)),
    }
}

/// Why the agent cannot listen.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody serves there.
    #[error("expected no server on {path:?}, found a live one; stop the other agent")]
    InUse {
        /// The configured path.
        path: PathBuf,
    },
    /// Something else is there, and it is left alone.
    #[error("expected nothing or a stale socket at {path:?}, found a file of another kind")]
    NotASocket {
        /// The configured path.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot make the socket {path:?}; its folder must exist and be writable by the agent")]
    Io {
        /// The configured path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system refuses.
    #[error("cannot listen on {address}; see api.tls.listen of the agent's configuration")]
    Listen {
        /// The configured address.
        address: std::net::SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
