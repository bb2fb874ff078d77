//! SIGHUP: the keys of the channel to the enclave are read anew, while everything goes on.

use std::io;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::config::enclave::EnclaveConfig;
use crate::enclave::{Enclave, Endpoint};
use crate::logging::chain;

/// What is read anew, and when.
#[derive(Debug)]
pub struct Reload {
    path: PathBuf,
    own_uid: u32,
    hangup: Signal,
}

impl Reload {
    /// Of this configuration file, whenever SIGHUP comes. Must be called within a tokio runtime; from then on the
    /// signal does not end the process.
    ///
    /// # Errors
    /// If the system does not let the signal be caught.
    pub fn on_signal(path: &Path, own_uid: u32) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), own_uid, hangup: signal(SignalKind::hangup())? })
    }

    /// Replaces the enclave's keys at each signal, for as long as the runtime lives. What cannot be used changes
    /// nothing. `started_with` names the address, which only a restart changes.
    pub async fn run(mut self, started_with: EnclaveConfig, enclave: Enclave) {
        while self.hangup.recv().await.is_some() {
            match endpoint(&self.path, self.own_uid, &started_with) {
                Ok(endpoint) => {
                    tracing::info!("the keys of [enclave] were read anew; everything else needs a restart");
                    enclave.replace_keys(endpoint);
                }
                Err(reason) => tracing::error!(reason, "nothing was reloaded"),
            }
        }
    }
}

fn endpoint(path: &Path, own_uid: u32, started_with: &EnclaveConfig) -> Result<Endpoint, String> {
    let config = Config::load(path, own_uid).map_err(|error| error.to_string())?.enclave;
    if config.address != started_with.address {
        return Err(format!(
            "expected enclave.address to be {} still, found {}; restart the agent to change it",
            started_with.address, config.address
        ));
    }
    Endpoint::load(&config).map_err(|error| chain(&error))
}

#[cfg(test)]
mod tests {
    use sealstone_wire::channel::ChannelKey;

    use super::*;

    const OTHER: &str = "0900000000000000000000000000000000000000000000000000000000000000";

    fn config(address: &str, keys: &str) -> String {
        format!(
            "node = \"n\"\n[enclave]\naddress = \"{address}\"\n{keys}\npublic_keys = [\"{OTHER}\"]\n\
             [tpm]\ntcti = \"swtpm:host=127.0.0.1,port=2321\"\n[api]\nsocket = \"a.sock\"\n[store]\npath = \"a.db\"\n"
        )
    }

    #[test]
    fn what_cannot_be_used_is_not_reloaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        ChannelKey::create(&folder.path().join("agent.key")).unwrap();
        ChannelKey::create(&folder.path().join("agent-2.key")).unwrap();
        let (one, two) = ("key_file = \"agent.key\"", "next_key_file = \"agent-2.key\"");
        std::fs::write(&path, config("unix:enclave.sock", one)).unwrap();
        let started_with = Config::load(&path, 0).unwrap().enclave;
        let reload = |text: String| {
            std::fs::write(&path, text).unwrap();
            endpoint(&path, 0, &started_with).map(|endpoint| endpoint.pairs().count())
        };
        assert_eq!(reload(config("unix:enclave.sock", one)), Ok(1));
        assert_eq!(reload(config("unix:enclave.sock", &format!("{one}\n{two}"))), Ok(2));
        for (text, expected) in [
            (config("unix:other.sock", one), "restart the agent"),
            (config("unix:enclave.sock", "key_file = \"absent.key\""), "absent.key"),
            (config("unix:enclave.sock", &format!("{one}\nnext_key_file = \"absent.key\"")), "absent.key"),
            (config("unix:enclave.sock", one).replace(OTHER, "09"), "enclave.public_keys"),
            ("not toml".to_owned(), "agent.toml"),
        ] {
            let reason = reload(text).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
