//! `enclave.toml`, parsed once at start into values that need no further checks.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sealstone_attestation::AuthorityDigest;
use sealstone_wire::address::Address;
use sealstone_wire::channel::{ChannelPublic, public_keys};
use serde::Deserialize;
use thiserror::Error;

/// Bytes of a configuration file; a few hundred are usual.
const CONFIG_MAX: u64 = 64 * 1024;

/// Signing threads at most; more than any machine needs, and each has a stack.
const SIGNING_THREADS_MAX: usize = 64;

/// The NV index of the counter when the configuration names none: in the range that owners may define
/// (TCG Registry of Reserved TPM 2.0 Handles, 0x01800000 to 0x01BFFFFF).
const NV_INDEX_DEFAULT: u32 = 0x0185_EA15;

/// What the enclave needs to know before it listens.
#[derive(Debug)]
pub struct Config {
    /// Where the agent connects.
    pub listen: Address,
    /// The enclave's channel key; made at first start.
    pub channel_key_file: PathBuf,
    /// The key that comes after it, under which the enclave answers as well while agents move to it.
    pub next_channel_key_file: Option<PathBuf>,
    /// The one agent that may talk: its channel key, and its next or its former one while it is replaced.
    pub agent_public_keys: Vec<ChannelPublic>,
    /// The sealed root and the manifest in force.
    pub state_file: PathBuf,
    /// 32 secret bytes, readable by the enclave's user only, without which the TPM does not unseal; made at
    /// first start.
    pub credential_file: PathBuf,
    /// Who may approve the manifest that provisions this enclave.
    pub authority: AuthorityDigest,
    /// The NV index of the counter.
    pub nv_index: u32,
    /// How many signatures are made at once.
    pub signing_threads: usize,
    /// Whether to refuse to start without secret memory.
    pub require_secret_memory: bool,
    /// Whether the enclave is traced by a guard of its own, so that nobody else can trace it.
    pub trace_guard: bool,
    /// The root that is to be born.
    #[cfg(feature = "danger-given-root")]
    pub danger_root: Option<[u8; 32]>,
}

/// Why a configuration is refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a configuration.
    #[error("{path} is no enclave configuration: {reason}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A field has a value that it cannot have.
    #[error("{path}: field `{field}`: {reason}")]
    Field {
        /// Which file.
        path: PathBuf,
        /// Which field.
        field: &'static str,
        /// Expected and found.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: String,
    channel_key_file: PathBuf,
    next_channel_key_file: Option<PathBuf>,
    agent_public_keys: Vec<String>,
    state_file: PathBuf,
    credential_file: PathBuf,
    authority: String,
    nv_index: Option<String>,
    signing_threads: Option<usize>,
    require_secret_memory: Option<bool>,
    trace_guard: Option<bool>,
    #[cfg(feature = "danger-given-root")]
    danger_root: Option<String>,
}

impl Config {
    /// Reads and checks a configuration; relative paths are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file and the field.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let length = fs::metadata(path).map_err(read)?.len();
        if length > CONFIG_MAX {
            let reason = format!("expected at most {CONFIG_MAX} bytes, found {length}");
            return Err(ConfigError::Syntax { path: path.to_owned(), reason });
        }
        let text = fs::read_to_string(path).map_err(read)?;
        let raw: Raw = toml::from_str(&text)
            .map_err(|error| ConfigError::Syntax { path: path.to_owned(), reason: error.to_string() })?;
        Self::check(path, raw)
    }

    fn check(path: &Path, raw: Raw) -> Result<Self, ConfigError> {
        let Raw {
            listen,
            channel_key_file,
            next_channel_key_file,
            agent_public_keys,
            state_file,
            credential_file,
            authority,
            nv_index,
            signing_threads,
            require_secret_memory,
            trace_guard,
            #[cfg(feature = "danger-given-root")]
            danger_root,
        } = raw;
        let field = |field, reason: String| ConfigError::Field { path: path.to_owned(), field, reason };
        let folder = path.parent().unwrap_or(Path::new(""));
        let nv_index = match nv_index {
            None => NV_INDEX_DEFAULT,
            Some(text) => owner_nv_index(&text).ok_or_else(|| {
                field("nv_index", format!("expected \"0x01800000\" to \"0x01bfffff\", found {text:?}"))
            })?,
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(SIGNING_THREADS_MAX);
        let signing_threads = signing_threads.unwrap_or(cores);
        if !(1..=SIGNING_THREADS_MAX).contains(&signing_threads) {
            return Err(field(
                "signing_threads",
                format!("expected 1 to {SIGNING_THREADS_MAX}, found {signing_threads}"),
            ));
        }
        Ok(Self {
            listen: Address::from_str(&listen)
                .map(|address| address.relative_to(folder))
                .map_err(|error| field("listen", error.to_string()))?,
            channel_key_file: folder.join(channel_key_file),
            next_channel_key_file: next_channel_key_file.map(|file| folder.join(file)),
            agent_public_keys: public_keys(&agent_public_keys)
                .map_err(|error| field("agent_public_keys", error.to_string()))?,
            state_file: folder.join(state_file),
            credential_file: folder.join(credential_file),
            authority: AuthorityDigest::from_str(&authority)
                .map_err(|error| field("authority", error.to_string()))?,
            nv_index,
            signing_threads,
            require_secret_memory: require_secret_memory.unwrap_or(true),
            trace_guard: trace_guard.unwrap_or(true),
            #[cfg(feature = "danger-given-root")]
            danger_root: danger_root
                .map(|text| {
                    let mut root = [0; 32];
                    hex::decode_to_slice(&text, &mut root)
                        .map(|()| root)
                        .map_err(|error| field("danger_root", error.to_string()))
                })
                .transpose()?,
        })
    }
}

fn owner_nv_index(text: &str) -> Option<u32> {
    let index = u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()?;
    (0x0180_0000..=0x01BF_FFFF).contains(&index).then_some(index)
}
