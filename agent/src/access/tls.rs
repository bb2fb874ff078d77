//! TLS for clients on the network: version 1.3 alone, a certificate of both sides, and revocation lists that are
//! believed only while they are fresh.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_cert::certificate::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::CertificateNames;
use crate::config::api::TlsConfig;
use crate::failure::{Code, Failure};
use crate::files::read_capped;

/// Bytes of a file of certificates: some hundred of them.
const CERTIFICATES_MAX: u64 = 1024 * 1024;

/// Bytes of a revocation list: some hundred thousand revoked certificates.
const CRL_MAX: u64 = 16 * 1024 * 1024;

/// Bytes of a private key's file.
const KEY_MAX: u64 = 64 * 1024;

/// Permission bits that let others use the private key.
const FOREIGN_BITS: u32 = 0o077;

/// The only protocol that is spoken inside.
const ALPN: &[u8] = b"http/1.1";

/// What `[api.tls]` names, read and ready.
#[derive(Debug)]
pub struct Tls {
    server: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    expires_at: u64,
}

impl Tls {
    /// Reads every file.
    ///
    /// # Errors
    /// [`TlsError`] names the file that cannot be used.
    pub fn load(config: &TlsConfig) -> Result<Self, TlsError> {
        let TlsConfig { listen: _, certificate, key, client_ca, crls } = config;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(certificate)?;
        let own = chain.first().ok_or_else(|| TlsError::Empty { path: certificate.clone() })?;
        let expires_at =
            not_after(own).map_err(|source| TlsError::Certificate { path: certificate.clone(), source })?;
        let verifier = verifier(client_ca, crls, &provider)?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Protocol)?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_single_cert(chain, private_key(key)?)
            .map_err(|source| TlsError::Pair {
                certificate: certificate.clone(),
                key: key.clone(),
                source,
            })?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the client's certificate, and with it the revocation lists.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        if expires_at <= UnixTime::now().as_secs() {
            tracing::error!(path = %certificate.display(), "the certificate of [api.tls] has ended; no client will accept it");
        }
        Ok(Self { server: Arc::new(server), verifier, expires_at })
    }

    /// For handshakes.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// When the agent's own certificate ends, in Unix seconds.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// That a client's chain is good now: issued by an authority, in its time, not revoked.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn verify(&self, chain: &[CertificateDer<'static>]) -> Result<(), Failure> {
        let refused = |found: String| {
            Failure::new(
                Code::Forbidden,
                format!("expected a client certificate that is good now, found {found}"),
            )
        };
        let (end_entity, intermediates) = chain.split_first().ok_or_else(|| refused("none".to_owned()))?;
        self.verifier
            .verify_client_cert(end_entity, intermediates, UnixTime::now())
            .map(drop)
            .map_err(|error| refused(error.to_string()))
    }
}

/// Whom a certificate names. Trusted only if its chain was verified.
///
/// # Errors
/// [`Code::Forbidden`] if it is not as RFC 5280 has it.
pub fn names(certificate: &CertificateDer<'_>) -> Result<CertificateNames, Failure> {
    read_names(certificate).map_err(|error| {
        Failure::new(
            Code::Forbidden,
            format!("expected a client certificate as in RFC 5280, found one that does not parse: {error}"),
        )
    })
}

fn read_names(certificate: &CertificateDer<'_>) -> Result<CertificateNames, x509_cert::der::Error> {
    let certificate = Certificate::from_der(certificate)?;
    let certificate = certificate.tbs_certificate();
    let key = certificate.subject_public_key_info().to_der()?;
    let mut names = CertificateNames { key: Sha256::digest(&key).into(), ..CertificateNames::default() };
    let Some((_, SubjectAltName(listed))) = certificate.get_extension::<SubjectAltName>()? else {
        return Ok(names);
    };
    for name in listed {
        match name {
            GeneralName::UniformResourceIdentifier(uri) => names.uris.push(uri.as_str().to_owned()),
            GeneralName::DnsName(name) => names.dns_names.push(name.as_str().to_ascii_lowercase()),
            _ => {}
        }
    }
    Ok(names)
}

fn not_after(certificate: &CertificateDer<'_>) -> Result<u64, x509_cert::der::Error> {
    let certificate = Certificate::from_der(certificate)?;
    Ok(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
}

fn verifier(
    client_ca: &Path,
    crls: &[PathBuf],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(client_ca)? {
        roots.add(authority).map_err(|source| TlsError::Authority { path: client_ca.to_owned(), source })?;
    }
    let mut lists = Vec::new();
    for path in crls {
        lists.extend(revocation_lists(path)?);
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .with_crls(lists)
        .enforce_revocation_expiration()
        .build()
        .map_err(|source| TlsError::Verifier { path: client_ca.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path, CERTIFICATES_MAX)?;
    pem_list(CertificateDer::pem_slice_iter(&bytes), path)
}

fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = read(path, CRL_MAX)?;
    pem_list(CertificateRevocationListDer::pem_slice_iter(&bytes), path)
}

fn pem_list<T>(
    items: impl Iterator<Item = Result<T, rustls::pki_types::pem::Error>>,
    path: &Path,
) -> Result<Vec<T>, TlsError> {
    let items: Vec<T> =
        items.collect::<Result<_, _>>().map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
    if items.is_empty() { Err(TlsError::Empty { path: path.to_owned() }) } else { Ok(items) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    if mode & FOREIGN_BITS != 0 {
        return Err(TlsError::Permissions { path: path.to_owned(), found: mode & 0o7777 });
    }
    let mut bytes = Vec::new();
    file.take(KEY_MAX).read_to_end(&mut bytes).map_err(failed)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|source| TlsError::Pem { path: path.to_owned(), source })
}

fn read(path: &Path, max: u64) -> Result<Vec<u8>, TlsError> {
    read_capped(path, max).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

/// Why `[api.tls]` cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The system does not give the file.
    #[error("cannot read {path:?}; see [api.tls] of agent.toml")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read the key.
    #[error(
        "expected mode 0600 for the private key {path:?}, found {found:04o}; use chmod, and replace the key if others may have read it"
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        found: u32,
    },
    /// Not PEM, or of another kind.
    #[error("expected PEM in {path:?}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Nothing of the kind is in the file.
    #[error("expected at least one certificate or list in {path:?}, found none")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The agent's certificate is not as RFC 5280 has it.
    #[error("expected a certificate in {path:?}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: x509_cert::der::Error,
    },
    /// An authority cannot be used.
    #[error("expected certificates of authorities in {path:?}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// Authorities and lists cannot be used.
    #[error("expected authorities in {path:?} and revocation lists that can be used")]
    Verifier {
        /// The authorities' file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: VerifierBuilderError,
    },
    /// Certificate and key do not belong together, or one is of an unknown kind.
    #[error("expected the certificate {certificate:?} and its key {key:?}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// A bug: the library does not know its own protocol.
    #[error("cannot use TLS 1.3")]
    Protocol(#[source] rustls::Error),
}
