//! SIGHUP: the keys of the channel to the enclave, the clients, what belongs to TLS, and the rules are read anew, while
//! everything goes on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::access::{Access, Rules};
use crate::config::Config;
use crate::enclave::{Enclave, Endpoint};
use crate::logging::chain;
use crate::rule_changes::RuleChanges;

/// What is read anew, and when.
#[derive(Debug)]
pub struct Reload {
    path: PathBuf,
    hangup: Signal,
}

impl Reload {
    /// Of this configuration file, whenever SIGHUP comes. Must be called within a tokio runtime; from then on the
    /// signal does not end the process.
    ///
    /// # Errors
    /// If the system does not let the signal be caught.
    pub fn on_signal(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), hangup: signal(SignalKind::hangup())? })
    }

    /// Replaces keys and rules at each signal, for as long as the runtime lives: all of them, or nothing if one cannot
    /// be used. `started_with` names the addresses, which only a restart changes.
    pub async fn run(
        mut self,
        started_with: Config,
        enclave: Enclave,
        access: Access,
        rule_changes: Arc<RuleChanges>,
    ) {
        while self.hangup.recv().await.is_some() {
            let (endpoint, clients) = match load(&self.path, &started_with) {
                Ok(loaded) => loaded,
                Err(reason) => {
                    tracing::error!(reason, "nothing was reloaded");
                    continue;
                }
            };
            // The last that can fail: with it everything changes or nothing.
            match rule_changes.reload(None).await {
                Ok(replaced) => {
                    enclave.replace_keys(endpoint);
                    access.replace(clients);
                    tracing::info!(
                        ?replaced,
                        "[enclave]'s keys, [[access.client]], [api.tls] and the files of [policy] were read anew; everything \
                         else needs a restart"
                    );
                }
                Err(failure) => tracing::error!(reason = failure.detail, "nothing was reloaded"),
            }
        }
    }
}

fn load(path: &Path, started_with: &Config) -> Result<(Endpoint, Rules), String> {
    let config = Config::load(path).map_err(|error| error.to_string())?;
    let (found, before) = (&config.enclave.address, &started_with.enclave.address);
    if found != before {
        return Err(format!(
            "expected enclave.address to be {before} still, found {found}; restart the agent to change it"
        ));
    }
    if config.policy != started_with.policy {
        return Err(
            "expected the files of [policy] still, found others; restart the agent to change them".to_owned()
        );
    }
    let listen = |config: &Config| {
        config.api.tls.as_ref().map_or_else(|| "none".to_owned(), |tls| tls.listen.to_string())
    };
    let (found, before) = (listen(&config), listen(started_with));
    if found != before {
        return Err(format!(
            "expected api.tls.listen to be {before} still, found {found}; restart the agent to change it"
        ));
    }
    let endpoint = Endpoint::load(&config.enclave).map_err(|error| chain(&error))?;
    let rules = Rules::load(&config.access, config.api.tls.as_ref()).map_err(|error| chain(&error))?;
    Ok((endpoint, rules))
}

#[cfg(test)]
mod tests {
    use sealstone_wire::channel::ChannelKey;

    use super::*;

    const OTHER: &str = "0900000000000000000000000000000000000000000000000000000000000000";

    fn config(address: &str, keys: &str) -> String {
        format!(
            "node = \"n\"\n[enclave]\naddress = \"{address}\"\n{keys}\npublic_keys = [\"{OTHER}\"]\n\
             [tpm]\ntcti = \"swtpm:host=127.0.0.1,port=2321\"\n[api]\nsocket = \"a.sock\"\n\
             [[access.client]]\nname = \"root\"\nuid = 0\nroles = []\n[policy]\nfile = \"p.toml\"\n[store]\npath = \"a.db\"\n"
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
        let started_with = Config::load(&path).unwrap();
        let reload = |text: String| {
            std::fs::write(&path, text).unwrap();
            load(&path, &started_with).map(|(endpoint, _)| endpoint.pairs().count())
        };
        assert_eq!(reload(config("unix:enclave.sock", one)), Ok(1));
        assert_eq!(reload(config("unix:enclave.sock", &format!("{one}\n{two}"))), Ok(2));
        for (text, expected) in [
            (config("unix:other.sock", one), "restart the agent"),
            (config("unix:enclave.sock", "key_file = \"absent.key\""), "absent.key"),
            (config("unix:enclave.sock", &format!("{one}\nnext_key_file = \"absent.key\"")), "absent.key"),
            (config("unix:enclave.sock", one).replace("p.toml", "q.toml"), "the files of [policy] still"),
            (config("unix:enclave.sock", one).replace(OTHER, "09"), "enclave.public_keys"),
            (config("unix:enclave.sock", one).replace("uid = 0", ""), "access.client"),
            (
                config("unix:enclave.sock", one)
                    + "[api.tls]\nlisten = \"127.0.0.1:8443\"\ncertificate = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\n",
                "api.tls.listen to be none still",
            ),
            ("not toml".to_owned(), "agent.toml"),
        ] {
            let reason = reload(text).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
