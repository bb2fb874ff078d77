//! A client of the agent's TLS listener, by hand: an independent one.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::http::{self, Answer};
use crate::pki::Identity;
use crate::wait::PATIENCE;

/// One connection.
#[derive(Debug)]
pub struct Connection(StreamOwned<ClientConnection, TcpStream>);

impl Connection {
    /// Connects to a port of this machine, with a certificate or with none.
    ///
    /// # Errors
    /// One side does not trust the other. The agent's refusal of a certificate may also show with the first request.
    ///
    /// # Panics
    /// When a file cannot be used.
    pub fn open(port: u16, authority: &Path, identity: Option<&Identity>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).expect("a certificate")).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3 is known")
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key, .. }) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_file(certificate).expect("a certificate")],
                    PrivateKeyDer::from_pem_file(key).expect("a key"),
                )
                .expect("a pair"),
        };
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let name = "localhost".try_into().expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self(stream))
    }

    /// One request, after which the agent closes.
    ///
    /// # Errors
    /// The agent ends before it has answered.
    pub fn last(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        http::exchange(&mut self.0, method, path, body)
    }

    /// One GET, after which the connection stays open.
    ///
    /// # Errors
    /// The agent ends before it has answered.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        write!(self.0, "GET {path} HTTP/1.1\r\nhost: agent\r\n\r\n")?;
        self.answer()
    }

    /// The next answer.
    ///
    /// # Errors
    /// The agent ends before it has answered.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let mut bytes = Vec::new();
        let mut part = [0; 4096];
        loop {
            if let Some(answer) = http::parse(&bytes) {
                return Ok(answer);
            }
            match self.0.read(&mut part)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => bytes.extend_from_slice(&part[..count]),
            }
        }
    }

    /// Sends bytes, and reads nothing.
    ///
    /// # Errors
    /// The agent is gone.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// The certificate that the agent showed, DER.
    #[must_use]
    pub fn agent_certificate(&self) -> Vec<u8> {
        let chain = self.0.conn.peer_certificates().unwrap_or_default();
        chain.first().map(|certificate| certificate.to_vec()).unwrap_or_default()
    }

    /// Whether the agent has closed: waits for it.
    #[must_use]
    pub fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]), Ok(0))
    }
}
