//! Where the agent is: its Unix socket on this machine, or its TLS listener on another one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Uri;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::failure::{Failure, chain};
use crate::files;

/// Where the agent's socket is looked for when nobody says where.
pub(crate) const SOCKETS: [&str; 2] = ["./agent.sock", "/run/sealstone/agent.sock"];

/// The port of `https` (RFC 9110, section 4.2.2).
const HTTPS_PORT: u16 = 443;

/// Bytes of a private key's file.
const KEY_MAX: usize = 64 * 1024;

/// Where the agent is, as it was typed.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Options {
    /// The agent's socket [default: ./agent.sock, then /run/sealstone/agent.sock]
    #[arg(long, global = true, value_name = "PATH", env = "SEALSTONE_SOCKET", hide_env_values = true)]
    pub(crate) socket: Option<PathBuf>,

    /// The agent on another machine, https://HOST:PORT; goes before a socket
    #[arg(long, global = true, value_name = "URL", env = "SEALSTONE_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,

    /// With --url: our certificate and what leads to its root, PEM
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SEALSTONE_TLS_CERTIFICATE",
        hide_env_values = true
    )]
    pub(crate) tls_certificate: Option<PathBuf>,

    /// With --url: our private key, PEM
    #[arg(long, global = true, value_name = "FILE", env = "SEALSTONE_TLS_KEY", hide_env_values = true)]
    pub(crate) tls_key: Option<PathBuf>,

    /// With --url: the authority of the agent's certificate, PEM
    #[arg(long, global = true, value_name = "FILE", env = "SEALSTONE_TLS_CA", hide_env_values = true)]
    pub(crate) tls_ca: Option<PathBuf>,
}

/// Where the agent is, ready to connect.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    /// A Unix socket.
    Socket(PathBuf),
    /// TLS with a certificate of ours.
    Tls(Box<TlsEndpoint>),
}

/// A TLS listener.
#[derive(Clone, Debug)]
pub(crate) struct TlsEndpoint {
    /// The name or the address to connect to.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
    /// Whom the agent's certificate must name.
    pub(crate) name: ServerName<'static>,
    /// Our certificate and whom we trust.
    pub(crate) config: Arc<ClientConfig>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Tls(tls) => write!(f, "https://{}:{}", tls.host, tls.port),
        }
    }
}

impl Options {
    /// The endpoint of `--url`, or else of `--socket`, or else the first of [`SOCKETS`] that exists.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Failure> {
        if let Some(url) = &self.url {
            return self.tls(url).map(|tls| Endpoint::Tls(Box::new(tls)));
        }
        let socket = match &self.socket {
            Some(socket) => Some(socket.clone()),
            None => SOCKETS.iter().map(PathBuf::from).find(|candidate| candidate.exists()),
        };
        socket.map(Endpoint::Socket).ok_or_else(|| {
            Failure::unusable(
                "NO_SOCKET",
                format!("expected the agent's socket at {}, found none", SOCKETS.join(" or ")),
                "start sealstone-agent, or say where its socket is with --socket or SEALSTONE_SOCKET",
            )
        })
    }

    fn tls(&self, url: &str) -> Result<TlsEndpoint, Failure> {
        let (host, port) = parse(url)?;
        let name = ServerName::try_from(host.clone()).map_err(|_| bad_url(url))?;
        let needed = |given: &Option<PathBuf>, option: &str| {
            given.clone().ok_or_else(|| {
                Failure::unusable(
                    "TLS_OPTIONS",
                    format!("expected {option} beside --url, found none"),
                    "give --tls-certificate, --tls-key and --tls-ca, or their environment variables",
                )
            })
        };
        let certificate = certificates(&needed(&self.tls_certificate, "--tls-certificate")?)?;
        let key_file = needed(&self.tls_key, "--tls-key")?;
        let key = files::read_secret(&key_file, "a private key", KEY_MAX)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| bad_file(&key_file, &error))?;
        let ca_file = needed(&self.tls_ca, "--tls-ca")?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(&ca_file)? {
            roots.add(authority).map_err(|error| bad_file(&ca_file, &error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| bad_file(&key_file, &error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificate, key)
            .map_err(|error| bad_file(&key_file, &error))?;
        Ok(TlsEndpoint { host, port, name, config: Arc::new(config) })
    }
}

/// Host and port of `https://HOST[:PORT]`.
fn parse(url: &str) -> Result<(String, u16), Failure> {
    let uri: Uri = url.parse().map_err(|_| bad_url(url))?;
    let authority = uri.authority().ok_or_else(|| bad_url(url))?;
    let plain = uri.scheme_str() == Some("https") && uri.path() == "/" && uri.query().is_none();
    // A user, or a port that is none, is refused and never taken for nothing.
    let rest =
        authority.as_str().strip_prefix(authority.host()).filter(|_| plain && !authority.host().is_empty());
    let port = match rest.ok_or_else(|| bad_url(url))? {
        "" => HTTPS_PORT,
        rest => rest.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or_else(|| bad_url(url))?,
    };
    let host = authority.host();
    Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

fn bad_url(url: &str) -> Failure {
    Failure::unusable(
        "URL",
        format!("expected https://HOST[:PORT], found {url:?}"),
        "give the address of [api.tls] listen, under a name that the agent's certificate has",
    )
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let bytes = files::read(path, "certificates", files::TEXT_MAX)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| bad_file(path, &error))?;
    if certificates.is_empty() {
        return Err(Failure::unusable(
            "TLS_FILE",
            format!("expected certificates in PEM in {}, found none", path.display()),
            "check the file",
        ));
    }
    Ok(certificates)
}

fn bad_file(path: &Path, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::unusable(
        "TLS_FILE",
        format!("expected to use {} for TLS, found: {}", path.display(), chain(error)),
        "check the file, and that certificate and key belong together",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_port() {
        for (url, host, port) in [
            ("https://signer.example", "signer.example", 443),
            ("https://signer.example/", "signer.example", 443),
            ("https://127.0.0.1:8443", "127.0.0.1", 8443),
            ("https://[::1]:8443", "::1", 8443),
        ] {
            assert_eq!(parse(url).unwrap(), (host.to_owned(), port), "{url}");
        }
        for url in [
            "",
            "signer.example",
            "http://signer.example",
            "https://",
            "https://:8443",
            "https://a:",
            "https://a:b",
            "https://a:99999",
            "https://a/v1",
            "https://a/?x",
            "https://me@a",
            "https://a b",
        ] {
            assert!(parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_url_needs_its_three_files() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "no certificate\n").unwrap();
        let url = Some("https://a".to_owned());
        let none = Options { url: url.clone(), ..Options::default() };
        assert_eq!(none.endpoint().unwrap_err().code(), "TLS_OPTIONS");
        let some = Options { url, tls_certificate: Some(empty), ..Options::default() };
        assert_eq!(some.endpoint().unwrap_err().code(), "TLS_FILE");
    }

    #[test]
    fn a_url_goes_before_a_socket() {
        let both = Options {
            socket: Some("agent.sock".into()),
            url: Some("http://a".to_owned()),
            ..Options::default()
        };
        assert_eq!(both.endpoint().unwrap_err().code(), "URL");
        let socket = Options { socket: Some("agent.sock".into()), ..Options::default() };
        assert!(
            matches!(socket.endpoint().unwrap(), Endpoint::Socket(path) if path == Path::new("agent.sock"))
        );
    }
}
