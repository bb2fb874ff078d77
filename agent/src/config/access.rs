//! `[[access.client]]` of `agent.toml`: who may ask, and what.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use sealstone_wire::PathText;
use serde::Deserialize;

use super::FieldError;
use crate::access::{Rate, Role};

/// Clients; each has a bucket in memory, and a list any longer is for a machine to keep, not for a file.
const CLIENTS_MAX: usize = 256;

/// Bytes of a client's name.
const NAME_MAX: usize = 64;

/// Tenants of one client.
const TENANTS_MAX: usize = 256;

/// Public keys of one client: the one in use and the next, with room for a mistake.
const KEYS_MAX: usize = 4;

/// Bytes of a name in a certificate: of a URI, and more than DNS allows.
const CERTIFICATE_NAME_MAX: usize = 2048;

/// Requests per second, and burst; far above what a node answers.
const RATE_MAX: u32 = 1_000_000;

/// The field that everything here is reported under.
const FIELD: &str = "access.client";

/// `[access]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAccess {
    /// Everybody who may ask anything.
    #[serde(default)]
    pub client: Vec<RawClient>,
}

/// One `[[access.client]]` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawClient {
    /// Names it in logs and records.
    pub name: String,
    /// A user of this machine; or
    pub uid: Option<u32>,
    /// the holder of a certificate.
    pub certificate: Option<RawCertificate>,
    /// What it may do.
    pub roles: Vec<Role>,
    /// Whose keys and assets it may use; everybody's unless given.
    pub tenants: Option<Vec<PathText>>,
    /// How much it may ask.
    pub rate: Option<RawRate>,
}

/// By what a certificate is known: exactly one of these. A subject's name is none, for it is not unambiguous.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCertificate {
    /// A subject alternative name of type URI, as in `spiffe://example.org/settlement`.
    pub uri: Option<String>,
    /// A subject alternative name of type DNS.
    pub dns: Option<String>,
    /// SHA-256 of the SubjectPublicKeyInfo, hex.
    pub public_key_sha256: Option<Vec<String>>,
}

/// How much a client may ask, as it is written.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRate {
    /// In the long run.
    pub requests_per_second: u32,
    /// At once.
    pub burst: u32,
}

/// `[access]`, checked: names, users, certificate names and keys are each of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessConfig {
    /// The clients, in the order of the file.
    pub clients: Vec<ClientConfig>,
}

/// One client, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Names it in logs and records: 1 to 64 of `a-z 0-9 . _ -`.
    pub name: String,
    /// What it proves.
    pub identity: Identity,
    /// What it may do.
    pub roles: BTreeSet<Role>,
    /// Whose keys and assets it may use; everybody's if `None`.
    pub tenants: Option<BTreeSet<PathText>>,
    /// How much it may ask.
    pub rate: Rate,
}

/// What a client proves of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The kernel says that it is this user.
    User(u32),
    /// Its certificate has this subject alternative name of type URI.
    Uri(String),
    /// Its certificate has this subject alternative name of type DNS; lower case.
    Dns(String),
    /// Its certificate is for one of these public keys (SHA-256 of the SubjectPublicKeyInfo).
    Keys(BTreeSet<[u8; 32]>),
}

impl RawAccess {
    /// Checks every entry, and that no two share a name or a proof.
    ///
    /// # Errors
    /// Names the client and what was expected of it.
    pub fn check(self) -> Result<AccessConfig, FieldError> {
        let Self { client: raw } = self;
        if raw.is_empty() || raw.len() > CLIENTS_MAX {
            return Err(FieldError::new(
                FIELD,
                format!(
                    "expected 1 to {CLIENTS_MAX} clients, found {}; nobody may ask anything who is not listed: write \
                     [[access.client]] with name, uid or certificate, and roles (docs/api.md)",
                    raw.len()
                ),
            ));
        }
        let mut clients: Vec<ClientConfig> = Vec::with_capacity(raw.len());
        for raw in raw {
            let client = raw.check()?;
            if let Some(other) = clients.iter().find(|other| other.collides(&client)) {
                return Err(refused(
                    &client.name,
                    format!("expected its own name and identity, found those of {:?}", other.name),
                ));
            }
            clients.push(client);
        }
        Ok(AccessConfig { clients })
    }
}

impl RawClient {
    fn check(self) -> Result<ClientConfig, FieldError> {
        let Self { name, uid, certificate, roles, tenants, rate } = self;
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
        };
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(plain) {
            return Err(FieldError::new(
                FIELD,
                format!("expected a name of 1 to {NAME_MAX} of a-z 0-9 . _ -, found {name:?}"),
            ));
        }
        let identity = match (uid, certificate) {
            (Some(uid), None) => Identity::User(uid),
            (None, Some(certificate)) => {
                certificate.check().map_err(|reason| refused(&name, format!("certificate: {reason}")))?
            }
            _ => return Err(refused(&name, "expected one of uid and certificate".to_owned())),
        };
        let tenants: Option<BTreeSet<PathText>> = tenants.map(|list| list.into_iter().collect());
        if tenants.as_ref().is_some_and(|tenants| tenants.is_empty() || tenants.len() > TENANTS_MAX) {
            return Err(refused(&name, format!("tenants: expected 1 to {TENANTS_MAX}, or no such field")));
        }
        let rate = match rate {
            None => Rate::default(),
            Some(raw) => raw.check().map_err(|reason| refused(&name, format!("rate: {reason}")))?,
        };
        Ok(ClientConfig { name, identity, roles: roles.into_iter().collect(), tenants, rate })
    }
}

impl RawCertificate {
    fn check(self) -> Result<Identity, String> {
        let bounded = |text: &str| {
            (1..=CERTIFICATE_NAME_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match self {
            Self { uri: Some(uri), dns: None, public_key_sha256: None } if bounded(&uri) => {
                Ok(Identity::Uri(uri))
            }
            Self { uri: None, dns: Some(dns), public_key_sha256: None }
                if bounded(&dns) && !dns.contains('*') =>
            {
                Ok(Identity::Dns(dns.to_ascii_lowercase()))
            }
            Self { uri: None, dns: None, public_key_sha256: Some(keys) } => {
                if keys.is_empty() || keys.len() > KEYS_MAX {
                    return Err(format!("public_key_sha256: expected 1 to {KEYS_MAX}, found {}", keys.len()));
                }
                let digest = |text: &String| {
                    let mut digest = [0; 32];
                    hex::decode_to_slice(text, &mut digest).map_err(|_| {
                        format!("public_key_sha256: expected 64 hex characters, found {text:?}")
                    })?;
                    Ok(digest)
                };
                keys.iter().map(digest).collect::<Result<_, String>>().map(Identity::Keys)
            }
            _ => Err("expected one of uri, dns (without a wildcard) and public_key_sha256".to_owned()),
        }
    }
}

impl RawRate {
    fn check(self) -> Result<Rate, String> {
        let within = |count: u32| {
            NonZeroU32::new(count)
                .filter(|count| count.get() <= RATE_MAX)
                .ok_or_else(|| format!("expected 1 to {RATE_MAX}, found {count}"))
        };
        let Self { requests_per_second, burst } = self;
        Ok(Rate { requests_per_second: within(requests_per_second)?, burst: within(burst)? })
    }
}

impl ClientConfig {
    fn collides(&self, other: &Self) -> bool {
        self.name == other.name
            || match (&self.identity, &other.identity) {
                (Identity::Keys(one), Identity::Keys(two)) => !one.is_disjoint(two),
                (one, two) => one == two,
            }
    }
}

fn refused(name: &str, reason: String) -> FieldError {
    FieldError::new(FIELD, format!("{name:?}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0900000000000000000000000000000000000000000000000000000000000000";

    fn check(text: &str) -> Result<AccessConfig, String> {
        let raw: RawAccess = toml::from_str(text).map_err(|error| error.to_string())?;
        raw.check().map_err(|error| error.to_string())
    }

    #[test]
    fn an_entry_says_who_and_what() {
        let config = check(
            "[[client]]\nname = \"settlement\"\nuid = 1001\nroles = [\"signer\", \"auditor\"]\n\
             tenants = [\"acme\"]\nrate = { requests_per_second = 10, burst = 20 }\n\
             [[client]]\nname = \"watch\"\ncertificate = { dns = \"Watch.Example\" }\nroles = []\n",
        )
        .unwrap();
        let [first, second] = config.clients.as_slice() else { panic!("{config:?}") };
        assert_eq!(first.identity, Identity::User(1001));
        assert!(first.roles.iter().eq([&Role::Signer, &Role::Auditor]));
        assert_eq!(first.rate.burst.get(), 20);
        assert_eq!(second.identity, Identity::Dns("watch.example".to_owned()));
        assert!(second.tenants.is_none() && second.rate == Rate::default() && second.roles.is_empty());
    }

    #[test]
    fn what_is_not_one_client_is_refused() {
        let entry = |name: &str, rest: &str| format!("[[client]]\nname = \"{name}\"\n{rest}\n");
        let key = format!("certificate = {{ public_key_sha256 = [\"{KEY}\"] }}\nroles = []");
        for (text, expected) in [
            (String::new(), "expected 1 to 256 clients, found 0"),
            (entry("", "uid = 1\nroles = []"), "expected a name"),
            (entry("A", "uid = 1\nroles = []"), "expected a name"),
            (entry("a b", "uid = 1\nroles = []"), "expected a name"),
            (entry(&"a".repeat(65), "uid = 1\nroles = []"), "expected a name"),
            (entry("a", "roles = []"), "one of uid and certificate"),
            (entry("a", "uid = 1"), "missing field `roles`"),
            (entry("a", "uid = -1\nroles = []"), "uid"),
            (entry("a", "uid = 1\nroles = [\"root\"]"), "root"),
            (entry("a", "uid = 1\nroles = []\nrole = 1"), "unknown field"),
            (entry("a", "uid = 1\nroles = []\ntenants = []"), "tenants"),
            (entry("a", "uid = 1\nroles = []\ntenants = [\"\"]"), "tenants"),
            (entry("a", "uid = 1\nroles = []\nrate = { requests_per_second = 0, burst = 1 }"), "rate"),
            (entry("a", "uid = 1\nroles = []\nrate = { requests_per_second = 1 }"), "burst"),
            (entry("a", "uid = 1\nroles = []\nrate = { requests_per_second = 1, burst = 2000000 }"), "rate"),
            (entry("a", "certificate = {}\nroles = []"), "one of uri, dns"),
            (entry("a", "certificate = { subject = \"CN=a\" }\nroles = []"), "unknown field"),
            (entry("a", "certificate = { dns = \"*.a\" }\nroles = []"), "wildcard"),
            (entry("a", "certificate = { uri = \"\" }\nroles = []"), "one of uri, dns"),
            (entry("a", "certificate = { uri = \"a\", dns = \"b\" }\nroles = []"), "one of uri, dns"),
            (entry("a", "certificate = { public_key_sha256 = [] }\nroles = []"), "1 to 4"),
            (entry("a", "certificate = { public_key_sha256 = [\"09\"] }\nroles = []"), "64 hex"),
            (entry("a", "uid = 1\ncertificate = { dns = \"a\" }\nroles = []"), "one of uid and certificate"),
            (entry("a", "uid = 1\nroles = []") + &entry("a", "uid = 2\nroles = []"), "those of \"a\""),
            (entry("a", "uid = 1\nroles = []") + &entry("b", "uid = 1\nroles = []"), "those of \"a\""),
            (entry("a", &key) + &entry("b", &key), "those of \"a\""),
        ] {
            let found = check(&text).unwrap_err();
            assert!(found.contains(expected), "{text}: {found}");
        }
        let many: String =
            (0..257).map(|n| entry(&format!("c{n}"), &format!("uid = {n}\nroles = []"))).collect();
        assert!(check(&many).unwrap_err().contains("found 257"));
    }
}
