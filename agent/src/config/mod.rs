//! The agent's configuration: TOML, checked once at start.

pub mod access;
pub mod api;
pub mod enclave;
mod field;
pub mod log;
pub mod policy;
pub mod store;
pub mod tpm;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

pub use field::FieldError;

use crate::files::read_capped;

/// Bytes of `agent.toml`; a full one with comments is below 4 KiB.
const FILE_MAX: u64 = 64 * 1024;

/// Bytes of a node's name, as the manifest bounds it.
const NODE_BYTES_MAX: usize = 64;

/// `agent.toml` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    node: String,
    enclave: enclave::RawEnclave,
    tpm: tpm::RawTpm,
    api: api::RawApi,
    #[serde(default)]
    access: access::RawAccess,
    policy: policy::RawPolicy,
    store: store::RawStore,
    #[serde(default)]
    state: RawState,
    #[serde(default)]
    log: log::RawLog,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawState {
    dir: PathBuf,
}

impl Default for RawState {
    fn default() -> Self {
        Self { dir: PathBuf::from(".") }
    }
}

/// `agent.toml`, checked. Paths are absolute, or relative to the working directory if the file's path was.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name in the manifest.
    pub node: String,
    /// The enclave, and the channel to it.
    pub enclave: enclave::EnclaveConfig,
    /// The TPM.
    pub tpm: tpm::TpmConfig,
    /// Where clients connect.
    pub api: api::ApiConfig,
    /// Who they are and what they may do.
    pub access: access::AccessConfig,
    /// The rules that requests are judged by.
    pub policy: policy::PolicyConfig,
    /// The store.
    pub store: store::StoreConfig,
    /// Where the agent keeps the TPM's key blobs and the manifest.
    pub state_dir: PathBuf,
    /// Logs.
    pub log: log::LogConfig,
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, and the field where there is one.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let refused = |reason: String| ConfigError { path: path.to_owned(), reason };
        let bytes = read_capped(path, FILE_MAX).map_err(|error| refused(error.to_string()))?;
        let text =
            String::from_utf8(bytes).map_err(|_| refused("expected UTF-8, found other bytes".to_owned()))?;
        let raw: RawConfig = toml::from_str(&text).map_err(|error| refused(error.to_string()))?;
        let base = path.parent().unwrap_or(Path::new(""));
        raw.check(base).map_err(|error| refused(error.to_string()))
    }
}

impl RawConfig {
    fn check(self, base: &Path) -> Result<Config, FieldError> {
        let Self { node, enclave, tpm, api, access, policy, store, state, log } = self;
        if node.is_empty() || node.len() > NODE_BYTES_MAX {
            return Err(FieldError::new(
                "node",
                format!("expected a name of 1 to {NODE_BYTES_MAX} bytes, found {}", node.len()),
            ));
        }
        let state_dir = base.join(state.dir);
        Ok(Config {
            node,
            enclave: enclave.check(base)?,
            tpm: tpm.check(base, &state_dir)?,
            api: api.check(base)?,
            access: access.check()?,
            policy: policy.check(base),
            store: store.check(base, std::env::var("DATABASE_URL").ok())?,
            state_dir,
            log: log.check()?,
        })
    }
}

/// Why a configuration file is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {reason}", path.display())]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// The field, expected, found.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        node = "node-1"
        [enclave]
        address = "unix:enclave.sock"
        key_file = "agent.key"
        public_keys = ["0900000000000000000000000000000000000000000000000000000000000000"]
        [tpm]
        tcti = "swtpm:host=127.0.0.1,port=2321"
        [api]
        socket = "agent.sock"
        [[access.client]]
        name = "root"
        uid = 0
        roles = ["signer", "admin"]
        [policy]
        file = "policy.toml"
        [store]
        path = "agent.db"
    "#;

    fn load(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, text).unwrap();
        let own = folder.path().display().to_string();
        Config::load(&path).map_err(|error| error.to_string().replace(&own, ""))
    }

    #[test]
    fn a_short_file_gets_the_defaults_and_paths_beside_it() {
        let config = load(GOOD).unwrap();
        let store = config.store.path().unwrap();
        assert_eq!(config.access.clients[0].identity, access::Identity::User(0));
        assert!(config.api.tls.is_none());
        assert!(store.is_absolute() && store.ends_with("agent.db"));
        assert_eq!(config.state_dir, store.parent().unwrap().join("."));
        assert_eq!(config.log.format, log::LogFormat::Text);
    }

    #[test]
    fn what_is_wrong_is_named_by_file_and_field() {
        let long = format!("socket = \"{}\"", "x".repeat(120));
        for (from, to, expected) in [
            ("node = \"node-1\"", "", "node"),
            ("node = \"node-1\"", "node = \"\"", "/agent.toml: node: expected"),
            ("node = \"node-1\"", "node = 1", "expected a string"),
            ("socket = \"agent.sock\"", "socket = \"a\"\nallowed_uids = [7]", "name = \"user-7\", uid = 7"),
            ("socket = \"agent.sock\"", "socket = \"a\"\nallowed_uids = \"x\"", "api.allowed_uids"),
            ("uid = 0", "", "access.client: \"root\": expected one of uid"),
            ("[[access.client]]", "[other]", "unknown field `other`"),
            ("\"admin\"", "\"everything\"", "everything"),
            (
                "[store]",
                "[api.tls]\nlisten = \"8443\"\ncertificate = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\n[store]",
                "api.tls.listen",
            ),
            (
                "[store]",
                "[api.tls]\nlisten = \"127.0.0.1:1\"\ncertificate = \"c\"\nkey = \"k\"\n[store]",
                "client_ca",
            ),
            ("socket = \"agent.sock\"", long.as_str(), "api.socket"),
            ("path = \"agent.db\"", "file = \"agent.db\"", "unknown field `file`"),
            ("path = \"agent.db\"", "path = \"agent.db\"\n[log]\nlevel = \"loud\"", "log.level"),
            ("path = \"agent.db\"", "path = \"agent.db\"\n[log]\nformat = \"xml\"", "xml"),
            ("unix:enclave.sock", "tcp:enclave:1", "enclave.address"),
            ("0900", "09", "enclave.public_keys"),
            ("public_keys = [", "public_keys = []#", "enclave.public_keys: expected 1 to 2"),
            ("public_keys = [", "public_keys = [\"\", ", "enclave.public_keys"),
            ("[store]", "[stores]", "stores"),
            ("[policy]", "[rules]", "rules"),
            ("file = \"policy.toml\"", "", "file"),
            ("swtpm:", "mssim:", "tpm.tcti"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let found = load(&GOOD.replace(from, to)).unwrap_err();
            assert!(found.contains(expected) && found.starts_with("/agent.toml"), "{from}: {found}");
        }
    }

    #[test]
    fn a_file_that_is_missing_too_long_or_no_text_is_refused() {
        assert!(Config::load(Path::new("/nonexistent/agent.toml")).is_err());
        assert!(load(&" ".repeat(70_000)).unwrap_err().contains("at most"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), [0xff, 0xfe]).unwrap();
        assert!(Config::load(&folder.path().join("a")).unwrap_err().reason.contains("UTF-8"));
    }
}
