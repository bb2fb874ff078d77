//! `[enclave]` of `agent.toml`: where the enclave is, and the keys of the channel to it.

use std::path::{Path, PathBuf};

use sealstone_wire::address::Address;
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
        let at_base = |path: PathBuf| base.join(path);
        let address = address
            .parse::<Address>()
            .map_err(|error| FieldError::new("enclave.address", error.to_string()))?;
        let address = match address {
            Address::Unix { path } => Address::Unix { path: at_base(path) },
            Address::UnixVsock { path, port } => Address::UnixVsock { path: at_base(path), port },
            vsock @ Address::Vsock { .. } => vsock,
        };
        Ok(EnclaveConfig {
            address,
            key_file: at_base(key_file),
            public_key: public_key
                .parse()
                .map_err(|error| FieldError::new("enclave.public_key", format!("{error}")))?,
        })
    }
}
