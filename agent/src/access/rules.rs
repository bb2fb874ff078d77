//! The rules in force: clients, and what their certificates are held to. Replaced as a whole, never by halves.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use super::tls::{Tls, TlsError};
use super::{CertificateNames, Client, Clients};
use crate::config::Config;
use crate::config::access::AccessConfig;
use crate::config::api::TlsConfig;
use crate::failure::{Code, Failure};

/// What a peer proved of itself when it connected.
#[derive(Clone, Debug)]
pub enum Proof {
    /// The kernel says that it is this user.
    User(u32),
    /// It holds the key of a certificate, the first of this chain. Whether the chain is good is asked again whenever
    /// the rules change, and now and then.
    Certificate {
        /// As it came.
        chain: Arc<[CertificateDer<'static>]>,
        /// Whom the certificate names.
        names: CertificateNames,
    },
}

/// One set of rules.
#[derive(Debug)]
pub struct Rules {
    clients: Clients,
    tls: Option<Tls>,
}

impl Rules {
    /// Those of a configuration, with the files that it names.
    ///
    /// # Errors
    /// [`TlsError`] names the file that cannot be used.
    pub fn load(access: &AccessConfig, tls: Option<&TlsConfig>) -> Result<Self, TlsError> {
        Ok(Self { clients: Clients::new(access), tls: tls.map(Tls::load).transpose()? })
    }

    /// The client that a peer is.
    ///
    /// # Errors
    /// [`Code::Forbidden`] if it is none, or its certificate is not good (any more).
    pub fn client(&self, proof: &Proof) -> Result<Arc<Client>, Failure> {
        match proof {
            Proof::User(uid) => self.clients.user(*uid),
            Proof::Certificate { chain, names } => {
                let tls = self.tls.as_ref().ok_or_else(|| {
                    Failure::new(Code::Forbidden, "expected no certificates, found one: [api.tls] is gone")
                })?;
                tls.verify(chain)?;
                self.clients.certificate(names)
            }
        }
    }

    /// The TLS side, if there is one.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }
}

/// The rules in force, and a way to put others in their place. Clones share them.
#[derive(Clone, Debug)]
pub struct Access(Arc<watch::Sender<Arc<Rules>>>);

impl Access {
    /// Under these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(watch::channel(Arc::new(rules)).0))
    }

    /// Under the rules of a configuration.
    ///
    /// # Errors
    /// [`TlsError`] names the file that cannot be used.
    pub fn load(config: &Config) -> Result<Self, TlsError> {
        Rules::load(&config.access, config.api.tls.as_ref()).map(Self::new)
    }

    /// Puts these rules in force, for open connections as well.
    pub fn replace(&self, rules: Rules) {
        self.0.send_replace(Arc::new(rules));
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.0.borrow())
    }

    /// Learns of every replacement.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Rules>> {
        self.0.subscribe()
    }
}
