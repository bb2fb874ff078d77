//! `[api]` of `agent.toml`: where clients find the agent, and who they may be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::FieldError;

/// Bytes of a Unix socket's path (`sun_path`, with its closing NUL).
const SOCKET_BYTES_MAX: usize = 107;

/// User ids in `allowed_uids`; a list any longer belongs into a group of the system.
const UIDS_MAX: usize = 64;

/// `[api]` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawApi {
    /// Where the Unix socket is made.
    pub socket: PathBuf,
    /// Users who may connect; the agent's own and root unless given.
    pub allowed_uids: Option<Vec<u32>>,
}

/// `[api]`, checked.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Where the Unix socket is made, mode 0660.
    pub socket: PathBuf,
    /// Users who may connect.
    pub allowed_uids: BTreeSet<u32>,
}

impl RawApi {
    /// Checks every field; a relative path is relative to `base`. `own_uid` is the user that the agent runs as.
    ///
    /// # Errors
    /// Names the field and what was expected of it.
    pub fn check(self, base: &Path, own_uid: u32) -> Result<ApiConfig, FieldError> {
        let Self { socket, allowed_uids } = self;
        let socket = base.join(socket);
        let length = socket.as_os_str().len();
        if length > SOCKET_BYTES_MAX {
            return Err(FieldError::new(
                "api.socket",
                format!("expected a path of at most {SOCKET_BYTES_MAX} bytes, found {length}"),
            ));
        }
        let allowed_uids: BTreeSet<u32> = match allowed_uids {
            None => BTreeSet::from([0, own_uid]),
            Some(uids) => uids.into_iter().collect(),
        };
        if allowed_uids.is_empty() || allowed_uids.len() > UIDS_MAX {
            return Err(FieldError::new(
                "api.allowed_uids",
                format!("expected 1 to {UIDS_MAX} user ids, found {}", allowed_uids.len()),
            ));
        }
        Ok(ApiConfig { socket, allowed_uids })
    }
}
