//! Who is who: from what a peer proved of itself to the one client that it is.

use std::collections::HashMap;
use std::sync::Arc;

use super::Client;
use crate::config::access::{AccessConfig, ClientConfig, Identity};
use crate::failure::{Code, Failure};

/// Every client of one configuration.
#[derive(Debug)]
pub struct Clients {
    users: HashMap<u32, Arc<Client>>,
    uris: HashMap<String, Arc<Client>>,
    dns_names: HashMap<String, Arc<Client>>,
    keys: HashMap<[u8; 32], Arc<Client>>,
}

/// Whom a certificate names, once its chain was verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// Its subject alternative names of type URI.
    pub uris: Vec<String>,
    /// Its subject alternative names of type DNS, in lower case.
    pub dns_names: Vec<String>,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key: [u8; 32],
}

impl Clients {
    /// The clients of a configuration, each with a full bucket.
    #[must_use]
    pub fn new(config: &AccessConfig) -> Self {
        let mut clients = Self {
            users: HashMap::new(),
            uris: HashMap::new(),
            dns_names: HashMap::new(),
            keys: HashMap::new(),
        };
        for ClientConfig { name, identity, roles, tenants, rate } in &config.clients {
            let client = Arc::new(Client::new(name.clone(), roles.clone(), tenants.clone(), *rate));
            match identity {
                Identity::User(uid) => {
                    clients.users.insert(*uid, client);
                }
                Identity::Uri(uri) => {
                    clients.uris.insert(uri.clone(), client);
                }
                Identity::Dns(name) => {
                    clients.dns_names.insert(name.clone(), client);
                }
                Identity::Keys(keys) => {
                    clients.keys.extend(keys.iter().map(|key| (*key, Arc::clone(&client))));
                }
            }
        }
        clients
    }

    /// The client that a user of this machine is.
    ///
    /// # Errors
    /// [`Code::Forbidden`] if it is none.
    pub fn user(&self, uid: u32) -> Result<Arc<Client>, Failure> {
        self.users.get(&uid).cloned().ok_or_else(|| unknown(&format!("user {uid}")))
    }

    /// The client that the holder of a verified certificate is.
    ///
    /// # Errors
    /// [`Code::Forbidden`] if it is none, or more than one.
    pub fn certificate(&self, names: &CertificateNames) -> Result<Arc<Client>, Failure> {
        let CertificateNames { uris, dns_names, key } = names;
        let mut found = uris
            .iter()
            .filter_map(|uri| self.uris.get(uri))
            .chain(dns_names.iter().filter_map(|name| self.dns_names.get(name)))
            .chain(self.keys.get(key));
        let Some(client) = found.next() else {
            return Err(unknown(&format!("a certificate with the public key {}", hex::encode(key))));
        };
        if found.any(|other| !Arc::ptr_eq(other, client)) {
            return Err(Failure::new(
                Code::Forbidden,
                "expected a certificate that names one client, found one that names several",
            ));
        }
        Ok(Arc::clone(client))
    }
}

fn unknown(found: &str) -> Failure {
    Failure::new(
        Code::Forbidden,
        format!("expected a client of [[access.client]] in the agent's configuration, found {found}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::access::RawAccess;

    fn clients(text: &str) -> Clients {
        let raw: RawAccess = toml::from_str(text).unwrap();
        Clients::new(&raw.check().unwrap())
    }

    const KEY: &str = "0900000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn a_peer_is_the_one_client_that_it_proved_to_be() {
        let clients = clients(&format!(
            "[[client]]\nname = \"a\"\nuid = 7\nroles = []\n\
             [[client]]\nname = \"b\"\ncertificate = {{ uri = \"spiffe://x/b\" }}\nroles = []\n\
             [[client]]\nname = \"c\"\ncertificate = {{ dns = \"C.example\" }}\nroles = []\n\
             [[client]]\nname = \"d\"\ncertificate = {{ public_key_sha256 = [\"{KEY}\"] }}\nroles = []\n"
        ));
        assert_eq!(clients.user(7).unwrap().name(), "a");
        assert!(clients.user(8).is_err() && clients.user(0).is_err());
        let names = |uris: &[&str], dns: &[&str], key: u8| {
            let text = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
            let mut digest = [0; 32];
            digest[0] = key;
            clients
                .certificate(&CertificateNames { uris: text(uris), dns_names: text(dns), key: digest })
                .map(|client| client.name().to_owned())
        };
        for (found, expected) in [
            (names(&["spiffe://x/b"], &[], 1), "b"),
            (names(&["spiffe://y", "spiffe://x/b"], &["other"], 1), "b"),
            (names(&[], &["c.example"], 1), "c"),
            (names(&[], &["c.example", "c.example"], 1), "c"),
            (names(&["spiffe://other"], &[], 9), "d"),
        ] {
            assert_eq!(found.unwrap(), expected);
        }
        for refused in [
            names(&[], &[], 1),
            names(&["spiffe://x/b/"], &["b", "example", "x.c.example", "*.example"], 2),
            names(&["spiffe://x/b"], &["c.example"], 1),
            names(&["spiffe://x/b"], &[], 9),
        ] {
            assert_eq!(refused.unwrap_err().code, Code::Forbidden);
        }
    }
}
