//! `[enclave]` of `agent.toml`: where the enclave is, and the keys of the channel to it.

use std::path::{Path, PathBuf};

use sealstone_wire::address::{Address, AddressError};
use sealstone_wire::channel::{ChannelPublic, public_keys};
use serde::Deserialize;

use super::FieldError;

/// `[enclave]` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawEnclave {
    /// `vsock:CID:PORT`, `unix:PATH` or `unix-vsock:PATH:PORT`.
    pub address: String,
    /// The agent's own channel key file.
    pub key_file: PathBuf,
    /// The key file that comes after it, tried first; the other one serves until the enclave knows this one.
    pub next_key_file: Option<PathBuf>,
    /// The enclave's public channel key, hex; while it is replaced the next one as well, which comes first.
    pub public_keys: Vec<String>,
}

/// `[enclave]`, checked.
#[derive(Clone, Debug)]
pub struct EnclaveConfig {
    /// Where the enclave listens.
    pub address: Address,
    /// The agent's own channel key file.
    pub key_file: PathBuf,
    /// The next one, if there is one.
    pub next_key_file: Option<PathBuf>,
    /// The enclave's public channel keys, in the order in which they are tried.
    pub public_keys: Vec<ChannelPublic>,
}

impl RawEnclave {
    /// Checks every field; relative paths are relative to `base`, the configuration file's folder.
    ///
    /// # Errors
    /// Names the field and what was expected of it.
    pub fn check(self, base: &Path) -> Result<EnclaveConfig, FieldError> {
        let Self { address, key_file, next_key_file, public_keys: enclave } = self;
        let refused = |error: AddressError| FieldError::new("enclave.address", error.to_string());
        // Checked again with the folder in front: what the system takes is the whole path.
        let address = address.parse::<Address>().map_err(refused)?.relative_to(base);
        let address = address.to_string().parse().map_err(refused)?;
        Ok(EnclaveConfig {
            address,
            key_file: base.join(key_file),
            next_key_file: next_key_file.map(|file| base.join(file)),
            public_keys: public_keys(&enclave)
                .map_err(|error| FieldError::new("enclave.public_keys", error.to_string()))?,
        })
    }
}
