//! Where an enclave listens: `vsock:<cid>:<port>`, `unix:<path>` or `unix-vsock:<path>:<port>`.
//!
//! `unix-vsock:` is the convention of Firecracker and Cloud Hypervisor for a guest's vsock: who dials connects to the
//! Unix socket `<path>` and asks for the guest's port; who listens for the guest binds `<path>_<port>`.

mod listener;
mod stream;

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use listener::{BindError, Listener};
pub use stream::{ConnectError, Stream};

/// Bytes of a Unix socket's path: `sun_path` has 108 with the final NUL (unix(7)).
pub const PATH_BYTES_MAX: usize = 107;

/// Where an enclave listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// AF_VSOCK.
    Vsock {
        /// The context: a guest's number, 2 for the host, 4294967295 to listen on all.
        cid: u32,
        /// The port.
        port: u32,
    },
    /// A Unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
    },
    /// A guest's vsock behind a Unix socket of its VMM.
    UnixVsock {
        /// The VMM's socket.
        path: PathBuf,
        /// The guest's port.
        port: u32,
    },
}

impl Address {
    /// The same address with a relative path taken from `folder`.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::Vsock { .. } => self,
            Self::Unix { path } => Self::Unix { path: folder.join(path) },
            Self::UnixVsock { path, port } => Self::UnixVsock { path: folder.join(path), port },
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Form { found: text.to_owned() };
        let (scheme, rest) = text.split_once(':').ok_or_else(form)?;
        match scheme {
            "vsock" => {
                let (cid, port) = rest.split_once(':').ok_or_else(form)?;
                Ok(Self::Vsock { cid: number("cid", cid, u32::MAX)?, port: self::port(port)? })
            }
            "unix" => Ok(Self::Unix { path: checked_path(rest)? }),
            "unix-vsock" => {
                // The path may have colons of its own.
                let (path, port) = rest.rsplit_once(':').ok_or_else(form)?;
                Ok(Self::UnixVsock { path: checked_path(path)?, port: self::port(port)? })
            }
            _ => Err(form()),
        }
    }
}

fn port(text: &str) -> Result<u32, AddressError> {
    // VMADDR_PORT_ANY, the largest number, names no port.
    number("port", text, u32::MAX - 1)
}

/// Decimal digits and nothing else, so that each address is written in one way.
fn number(field: &'static str, text: &str, max: u32) -> Result<u32, AddressError> {
    match text.parse::<u32>() {
        Ok(number) if number <= max && number.to_string() == text => Ok(number),
        _ => Err(AddressError::Number { field, max, found: text.to_owned() }),
    }
}

fn checked_path(text: &str) -> Result<PathBuf, AddressError> {
    let path = PathBuf::from(text);
    check_path(&path)?;
    Ok(path)
}

fn check_path(path: &Path) -> Result<(), AddressError> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(AddressError::Path);
    }
    if bytes.len() > PATH_BYTES_MAX {
        return Err(AddressError::PathLength { found: bytes.len() });
    }
    Ok(())
}

/// The socket that the VMM dials when the guest dials `port`.
fn guest_path(path: &Path, port: u32) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(OsStr::new(&format!("_{port}")));
    PathBuf::from(path)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
            Self::Unix { path } => write!(f, "unix:{}", path.display()),
            Self::UnixVsock { path, port } => write!(f, "unix-vsock:{}:{port}", path.display()),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// None of the three forms.
    #[error("expected vsock:<cid>:<port>, unix:<path> or unix-vsock:<path>:<port>, found {found:?}")]
    Form {
        /// The text.
        found: String,
    },
    /// Not a number, or too large.
    #[error("expected {field} to be a decimal number up to {max}, found {found:?}")]
    Number {
        /// Which number.
        field: &'static str,
        /// The largest.
        max: u32,
        /// The text in its place.
        found: String,
    },
    /// An empty path, or one with a NUL.
    #[error("expected the path of a socket, found an empty path or a NUL in it")]
    Path,
    /// The system has no room for the path.
    #[error(
        "expected the path of a socket to have at most {PATH_BYTES_MAX} bytes, found {found}; use a shorter folder"
    )]
    PathLength {
        /// Its bytes.
        found: usize,
    },
}
