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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_address() -> impl Strategy<Value = Address> {
        let port = 0..u32::MAX;
        let path = "[^\0]{1,26}".prop_map(PathBuf::from);
        prop_oneof![
            (any::<u32>(), port.clone()).prop_map(|(cid, port)| Address::Vsock { cid, port }),
            path.clone().prop_map(|path| Address::Unix { path }),
            (path, port).prop_map(|(path, port)| Address::UnixVsock { path, port }),
        ]
    }

    proptest! {
        #[test]
        fn an_address_reads_as_it_is_written(address in any_address()) {
            let text = address.to_string();
            prop_assert_eq!(text.parse::<Address>(), Ok(address.clone()));
            let json = serde_json::to_string(&address).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&text).unwrap());
            prop_assert_eq!(serde_json::from_str::<Address>(&json).unwrap(), address);
        }

        #[test]
        fn a_text_is_refused_or_is_the_one_spelling_of_its_address(text in "(vsock|unix|unix-vsock)?:?[0-9:+ /a-z\0]{0,20}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string(), text);
            }
        }
    }

    #[test]
    fn the_three_forms_are_read() {
        assert_eq!("vsock:3:5000".parse(), Ok(Address::Vsock { cid: 3, port: 5000 }));
        assert_eq!("vsock:4294967295:0".parse(), Ok(Address::Vsock { cid: u32::MAX, port: 0 }));
        assert_eq!("unix:enclave.sock".parse(), Ok(Address::Unix { path: "enclave.sock".into() }));
        assert_eq!("unix:/run/a:b".parse(), Ok(Address::Unix { path: "/run/a:b".into() }));
        assert_eq!(
            "unix-vsock:/run/vm:3:5000".parse(),
            Ok(Address::UnixVsock { path: "/run/vm:3".into(), port: 5000 })
        );
    }

    #[test]
    fn a_text_of_no_form_is_refused_with_the_forms() {
        for text in
            ["", "unix", "vsock", "vsock:3", "/run/enclave.sock", "tcp:127.0.0.1:80", "UNIX:/a", " unix:/a"]
        {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error, AddressError::Form { found: text.to_owned() });
        }
        assert_eq!(
            "unix-vsock:/a".parse::<Address>().unwrap_err().to_string(),
            "expected vsock:<cid>:<port>, unix:<path> or unix-vsock:<path>:<port>, found \"unix-vsock:/a\""
        );
    }

    #[test]
    fn a_number_is_decimal_in_range_and_written_in_one_way() {
        for text in ["", "-1", "+5", "05", "0x10", "4294967296", "99999999999999999999", "5 ", "five"] {
            let error = format!("vsock:{text}:1").parse::<Address>().unwrap_err();
            assert_eq!(error, AddressError::Number { field: "cid", max: u32::MAX, found: text.to_owned() });
            let error = format!("unix-vsock:/a:{text}").parse::<Address>().unwrap_err();
            assert_eq!(
                error,
                AddressError::Number { field: "port", max: u32::MAX - 1, found: text.to_owned() }
            );
        }
        assert!("vsock:3:4294967295".parse::<Address>().is_err(), "VMADDR_PORT_ANY");
        assert!("vsock:3:4:5".parse::<Address>().is_err());
    }

    #[test]
    fn a_path_fits_a_socket_address() {
        let longest = "x".repeat(PATH_BYTES_MAX);
        assert!(format!("unix:{longest}").parse::<Address>().is_ok());
        assert_eq!(
            format!("unix:{longest}y").parse::<Address>(),
            Err(AddressError::PathLength { found: PATH_BYTES_MAX + 1 })
        );
        for text in ["unix:", "unix-vsock::5", "unix:a\0b"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::Path), "{text:?}");
        }
    }

    #[test]
    fn only_relative_paths_move_into_a_folder() {
        let moved =
            |text: &str| text.parse::<Address>().unwrap().relative_to(Path::new("/etc/s")).to_string();
        assert_eq!(moved("unix:enclave.sock"), "unix:/etc/s/enclave.sock");
        assert_eq!(moved("unix:/run/enclave.sock"), "unix:/run/enclave.sock");
        assert_eq!(moved("unix-vsock:vm.sock:5"), "unix-vsock:/etc/s/vm.sock:5");
        assert_eq!(moved("vsock:3:5"), "vsock:3:5");
    }
}
