//! `[api]` of `agent.toml`: where clients find the agent. Who they may be is in `[[access.client]]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::FieldError;

/// Bytes of a Unix socket's path (`sun_path`, with its closing NUL).
const SOCKET_BYTES_MAX: usize = 107;

/// Revocation lists; one for each authority of a chain, and chains are short.
const CRLS_MAX: usize = 16;

/// `[api]` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawApi {
    /// Where the Unix socket is made.
    pub socket: PathBuf,
    /// The listener for other machines; none unless given.
    pub tls: Option<RawTls>,
    /// Gone: `[[access.client]]` says more. Read only to say so.
    pub allowed_uids: Option<toml::Value>,
}

/// `[api.tls]` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTls {
    /// Address and port.
    pub listen: String,
    /// The agent's certificate and what leads to its root, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authorities of client certificates, PEM.
    pub client_ca: PathBuf,
    /// Their revocation lists, PEM. With one, every certificate of a client's chain must be covered by a list that
    /// has not ended.
    #[serde(default)]
    pub crl: Vec<PathBuf>,
}

/// `[api]`, checked.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Where the Unix socket is made, mode 0660.
    pub socket: PathBuf,
    /// The listener for other machines.
    pub tls: Option<TlsConfig>,
}

/// `[api.tls]`, checked; the files themselves are read when they are used.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// The agent's certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM, which only its owner may read.
    pub key: PathBuf,
    /// The authorities of client certificates, PEM.
    pub client_ca: PathBuf,
    /// Their revocation lists, PEM.
    pub crls: Vec<PathBuf>,
}

impl RawApi {
    /// Checks every field; a relative path is relative to `base`.
    ///
    /// # Errors
    /// Names the field and what was expected of it.
    pub fn check(self, base: &Path) -> Result<ApiConfig, FieldError> {
        let Self { socket, tls, allowed_uids } = self;
        if let Some(uids) = allowed_uids {
            let uid = uids.as_array().and_then(|uids| uids.first()?.as_integer()).unwrap_or(1001);
            return Err(FieldError::new(
                "api.allowed_uids",
                format!(
                    "expected no such field, found {uids}; for each user write instead: [[access.client]] name = \
                     \"user-{uid}\", uid = {uid}, roles = [\"signer\"] (docs/api.md has the roles)"
                ),
            ));
        }
        let socket = base.join(socket);
        let length = socket.as_os_str().len();
        if length > SOCKET_BYTES_MAX {
            return Err(FieldError::new(
                "api.socket",
                format!("expected a path of at most {SOCKET_BYTES_MAX} bytes, found {length}"),
            ));
        }
        let tls = tls.map(|tls| tls.check(base)).transpose()?;
        Ok(ApiConfig { socket, tls })
    }
}

impl RawTls {
    fn check(self, base: &Path) -> Result<TlsConfig, FieldError> {
        let Self { listen, certificate, key, client_ca, crl } = self;
        let listen = listen.parse().map_err(|_| {
            FieldError::new(
                "api.tls.listen",
                format!("expected an address and a port as in 127.0.0.1:8443, found {listen:?}"),
            )
        })?;
        if crl.len() > CRLS_MAX {
            return Err(FieldError::new(
                "api.tls.crl",
                format!("expected at most {CRLS_MAX} files, found {}", crl.len()),
            ));
        }
        Ok(TlsConfig {
            listen,
            certificate: base.join(certificate),
            key: base.join(key),
            client_ca: base.join(client_ca),
            crls: crl.into_iter().map(|file| base.join(file)).collect(),
        })
    }
}
