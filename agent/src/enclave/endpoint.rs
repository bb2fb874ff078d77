//! Where the enclave is, and between which keys a channel to it may be.

use std::fmt;

use sealstone_wire::address::Address;
use sealstone_wire::channel::{ChannelKey, ChannelPublic, KeyError};

use crate::config::enclave::EnclaveConfig;

/// An address and the keys of both sides, in the order in which they are tried: what comes next comes first.
pub struct Endpoint {
    pub(super) address: Address,
    own: Vec<ChannelKey>,
    enclave: Vec<ChannelPublic>,
}

impl Endpoint {
    /// What the configuration names, with this side's keys read from their files.
    ///
    /// # Errors
    /// A key file that cannot be used.
    pub fn load(config: &EnclaveConfig) -> Result<Self, KeyError> {
        let files = config.next_key_file.iter().chain([&config.key_file]);
        let own = files.map(|file| ChannelKey::from_file(file)).collect::<Result<_, _>>()?;
        Ok(Self::new(config, own))
    }

    /// What the configuration names, with these keys.
    #[must_use]
    pub fn new(config: &EnclaveConfig, own: Vec<ChannelKey>) -> Self {
        Self { address: config.address.clone(), own, enclave: config.public_keys.clone() }
    }

    /// Each pair of keys; at most the square of
    /// [`CHANNEL_KEYS_MAX`](sealstone_wire::limits::CHANNEL_KEYS_MAX).
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&ChannelKey, &ChannelPublic)> {
        self.own.iter().flat_map(|own| self.enclave.iter().map(move |enclave| (own, enclave)))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own: Vec<_> = self.own.iter().map(ChannelKey::public).collect();
        f.debug_struct("Endpoint")
            .field("address", &self.address)
            .field("own", &own)
            .field("enclave", &self.enclave)
            .finish()
    }
}
