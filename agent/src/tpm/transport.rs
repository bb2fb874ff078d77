//! Raw TPM commands: one in, one out, to an emulator's TCP port or to the kernel's resource manager.
//!
//! ESAPI has no raw transmit, and the relay's bytes are the enclave's business: nothing here looks further
//! than the ten bytes that head every command and response (TCG TPM 2.0 Part 1, section 18).

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use sealstone_wire::limits::TPM_FRAME_MAX;

use crate::config::tpm::RelayAddress;

/// Tag, size, and command or response code.
pub(super) const HEADER: usize = 10;

/// `TPM_ST_NO_SESSIONS` (Part 2, section 6.9).
const TAG_NO_SESSIONS: u16 = 0x8001;

/// `TPM_CC_FlushContext` (Part 2, section 6.5.2).
pub(super) const FLUSH_CONTEXT: u32 = 0x165;

/// `TPM_CC_GetCapability`.
const GET_CAPABILITY: u32 = 0x17a;

/// `TPM_CAP_HANDLES` (Part 2, section 6.12).
const CAP_HANDLES: u32 = 1;

/// First handles of what can be left behind: transient objects, loaded sessions, saved sessions (Part 2,
/// section 7.4, `TPM_HT`). Sessions count against the same limit whether loaded or saved.
const LEFT_BEHIND: [u32; 3] = [0x8000_0000, 0x0200_0000, 0x0300_0000];

/// More handles of one kind than any TPM can hold in memory (the profile asks for 3, chips have up to 64).
const HANDLES_MAX: u32 = 64;

/// An open way to the TPM.
#[derive(Debug)]
pub(super) enum Transport {
    /// Connects anew for each command: the emulator serves one connection at a time.
    Swtpm {
        /// Name or address.
        host: String,
        /// The data port.
        port: u16,
    },
    /// Handles and sessions belong to this descriptor and end with it.
    Device(File),
}

impl Transport {
    /// Opens the way; for swtpm nothing happens until the first command.
    pub(super) fn open(address: &RelayAddress) -> io::Result<Self> {
        Ok(match address {
            RelayAddress::Swtpm { host, port } => Self::Swtpm { host: host.clone(), port: *port },
            RelayAddress::Device(path) => Self::Device(File::options().read(true).write(true).open(path)?),
        })
    }

    /// Whether a resource manager takes care of what a process leaves behind.
    pub(super) fn is_managed(&self) -> bool {
        matches!(self, Self::Device(_))
    }

    /// Has the TPM execute one command. Blocks; for a device the kernel's own timeouts hold, not `deadline`.
    pub(super) fn transmit(&mut self, command: &[u8], deadline: Duration) -> io::Result<Vec<u8>> {
        match self {
            Self::Swtpm { host, port } => over_tcp(host, *port, command, Instant::now() + deadline),
            Self::Device(file) => {
                file.write_all(command)?;
                let mut response = vec![0; TPM_FRAME_MAX];
                let length = file.read(&mut response)?;
                response.truncate(length);
                match response_size(&response) {
                    Some(size) if size == length => Ok(response),
                    _ => Err(garbled("a response that is not as long as it says")),
                }
            }
        }
    }

    /// Flushes these handles; one that is gone already is as good as flushed.
    pub(super) fn flush(
        &mut self,
        handles: impl IntoIterator<Item = u32>,
        deadline: Duration,
    ) -> io::Result<()> {
        for handle in handles {
            self.transmit(&command(FLUSH_CONTEXT, &[handle]), deadline)?;
        }
        Ok(())
    }

    /// Flushes every transient object and session except `keep`: what a killed predecessor left in a TPM
    /// that no resource manager looks after.
    pub(super) fn flush_left_behind(
        &mut self,
        keep: &std::collections::BTreeSet<u32>,
        deadline: Duration,
    ) -> io::Result<()> {
        for first in LEFT_BEHIND {
            let answer =
                self.transmit(&command(GET_CAPABILITY, &[CAP_HANDLES, first, HANDLES_MAX]), deadline)?;
            let handles =
                listed_handles(&answer).ok_or_else(|| garbled("a list of handles that does not parse"))?;
            self.flush(handles.into_iter().filter(|handle| !keep.contains(handle)), deadline)?;
        }
        Ok(())
    }
}

/// The size that a response's header states, if there is a header.
pub(super) fn response_size(response: &[u8]) -> Option<usize> {
    usize::try_from(word(response, 2)?).ok().filter(|_| response.len() >= HEADER)
}

/// The big-endian word at `offset`.
pub(super) fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

fn over_tcp(host: &str, port: u16, command: &[u8], end: Instant) -> io::Result<Vec<u8>> {
    let left = || {
        end.checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
            .ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "the TPM did not answer in time"))
    };
    let mut refused = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    let mut connected = None;
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left()?) {
            Ok(stream) => {
                connected = Some(stream);
                break;
            }
            Err(error) => refused = error,
        }
    }
    let mut stream = connected.ok_or(refused)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(command)?;

    let mut response = Vec::with_capacity(HEADER);
    let mut wanted = HEADER;
    let mut chunk = [0; TPM_FRAME_MAX];
    while response.len() < wanted {
        stream.set_read_timeout(Some(left()?))?;
        let room = wanted - response.len();
        let length = match stream.read(&mut chunk[..room]) {
            Ok(0) => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the TPM closed the connection"));
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the TPM did not answer in time"));
            }
            Err(error) => return Err(error),
        };
        response.extend_from_slice(&chunk[..length]);
        if let Some(size) = response_size(&response) {
            if !(HEADER..=TPM_FRAME_MAX).contains(&size) {
                return Err(garbled("a response whose stated size is out of bounds"));
            }
            wanted = size;
        }
    }
    Ok(response)
}

/// A command without sessions whose handles and parameters are all words.
fn command(code: u32, words: &[u32]) -> Vec<u8> {
    let size = u32::try_from(HEADER + 4 * words.len()).expect("a handful of words");
    let mut bytes = TAG_NO_SESSIONS.to_be_bytes().to_vec();
    for word in [size, code].iter().chain(words) {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// `TPMS_CAPABILITY_DATA` with a `TPML_HANDLE`, after the header and `moreData`.
fn listed_handles(response: &[u8]) -> Option<Vec<u32>> {
    if word(response, 6)? != 0 {
        return None;
    }
    let count = word(response, HEADER + 5)?;
    if word(response, HEADER + 1)? != CAP_HANDLES || count > HANDLES_MAX {
        return None;
    }
    let mut offset = HEADER + 9;
    (0..count)
        .map(|_| {
            let handle = word(response, offset);
            offset += 4;
            handle
        })
        .collect()
}

fn garbled(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_handles_parses_and_a_garbled_one_does_not() {
        let mut good = hex::decode("8001000000170000000000").unwrap();
        good.extend(hex::decode("00000001000000018000000a").unwrap());
        assert_eq!(listed_handles(&good), Some(vec![0x8000_000a]));
        assert_eq!(listed_handles(&good[..good.len() - 1]), None);
        let mut bomb = good.clone();
        bomb[HEADER + 5] = 0xff;
        assert_eq!(listed_handles(&bomb), None);
        let mut refused = good;
        refused[9] = 1;
        assert_eq!(listed_handles(&refused), None);
        assert_eq!(listed_handles(&[]), None);
    }
}
