//! `[enclave]` of `agent.toml`: where the enclave is, and the keys of the channel to it.

use std::path::{Path, PathBuf};

use sealstone_wire::address::{Address, AddressError};
use sealstone_wire::channel::ChannelPublic;
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
    /// The enclave's public channel key, hex.
    pub public_key: String,
}

/// `[enclave]`, checked.
#[derive(Clone, Debug)]
pub struct EnclaveConfig {
    /// Where the enclave listens.
    pub address: Address,
    /// The agent's own channel key file.
    pub key_file: PathBuf,
    /// The enclave's public channel key.
    pub public_key: ChannelPublic,
}

impl RawEnclave {
    /// Checks every field; relative paths are relative to `base`, the configuration file's folder.
    ///
    /// # Errors
    /// Names the field and what was expected of it.
    pub fn check(self, base: &Path) -> Result<EnclaveConfig, FieldError> {
        let Self { address, key_file, public_key } = self;
        let refused = |error: AddressError| FieldError::new("enclave.address", error.to_string());
        // Checked again with the folder in front: what the system takes is the whole path.
        let address = address.parse::<Address>().map_err(refused)?.relative_to(base);
        let address = address.to_string().parse().map_err(refused)?;
        Ok(EnclaveConfig {
            address,
            key_file: base.join(key_file),
            public_key: public_key
                .parse()
                .map_err(|error| FieldError::new("enclave.public_key", format!("{error}")))?,
        })
    }
}
