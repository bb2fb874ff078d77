//! `[store]` of `agent.toml`: where the agent keeps what it must not forget.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::FieldError;
use crate::files::read_capped;

/// Bytes of a password file.
const PASSWORD_MAX: u64 = 4096;

/// `[store]` as it is written.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawStore {
    /// The SQLite database file.
    pub path: Option<PathBuf>,
    /// The PostgreSQL database.
    pub url: Option<String>,
    /// A replica of it, for listings and audit queries.
    pub replica_url: Option<String>,
    /// A file that holds the password for both.
    pub password_file: Option<PathBuf>,
}

/// A URL may hold a password.
impl fmt::Debug for RawStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawStore").field("path", &self.path).finish_non_exhaustive()
    }
}

/// `[store]`, checked.
#[derive(Clone)]
pub struct StoreConfig(Location);

/// Where the store is.
#[derive(Clone)]
pub(crate) enum Location {
    /// A file of this agent alone.
    Sqlite(PathBuf),
    /// A server that several agents share.
    Postgres(Box<Servers>),
}

/// A server, and a replica of it if there is one.
#[derive(Clone)]
pub(crate) struct Servers {
    pub(crate) primary: PgConnectOptions,
    pub(crate) replica: Option<PgConnectOptions>,
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreConfig({self})")
    }
}

/// Where the store is, without a password.
impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Location::Sqlite(path) => write!(f, "{}", path.display()),
            Location::Postgres(servers) => write!(
                f,
                "database {} of the server at {}, port {}",
                servers.primary.get_database().unwrap_or("(of the user's name)"),
                servers
                    .primary
                    .get_socket()
                    .map_or(servers.primary.get_host().into(), |path| path.to_string_lossy()),
                servers.primary.get_port()
            ),
        }
    }
}

impl StoreConfig {
    /// A SQLite file.
    #[must_use]
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self(Location::Sqlite(path.into()))
    }

    /// A PostgreSQL database.
    ///
    /// # Errors
    /// Names the field and what was expected of it; never the URL, which may hold a password.
    pub fn postgres(
        url: &str,
        replica_url: Option<&str>,
        password: Option<&str>,
    ) -> Result<Self, FieldError> {
        let with_password = |options: PgConnectOptions| match password {
            Some(password) => options.password(password),
            None => options,
        };
        let primary = with_password(options("store.url", url)?);
        let replica =
            replica_url.map(|url| options("store.replica_url", url).map(with_password)).transpose()?;
        Ok(Self(Location::Postgres(Box::new(Servers { primary, replica }))))
    }

    /// The file, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Location::Sqlite(path) => Some(path),
            Location::Postgres(_) => None,
        }
    }

    pub(crate) fn location(&self) -> &Location {
        &self.0
    }
}

impl RawStore {
    /// Checks every field; a relative path is relative to `base`. `database_url` is what the environment says.
    ///
    /// # Errors
    /// Names the field and what was expected of it.
    pub fn check(self, base: &Path, database_url: Option<String>) -> Result<StoreConfig, FieldError> {
        let Self { path, url, replica_url, password_file } = self;
        let (field, url) = match (path, url, database_url) {
            (Some(_), Some(_), _) => {
                return Err(FieldError::new("store", "expected one of path and url, found both"));
            }
            (Some(path), None, _) => {
                if replica_url.is_some() || password_file.is_some() {
                    return Err(FieldError::new(
                        "store.path",
                        "expected it alone, found replica_url or password_file, which go with url",
                    ));
                }
                return Ok(StoreConfig::sqlite(base.join(path)));
            }
            (None, Some(url), _) => ("store.url", url),
            (None, None, Some(url)) => ("DATABASE_URL", url),
            (None, None, None) => {
                return Err(FieldError::new(
                    "store",
                    "expected path, or url, or DATABASE_URL in the environment, found none",
                ));
            }
        };
        let password = password_file.map(|path| password(&base.join(path))).transpose()?;
        StoreConfig::postgres(&url, replica_url.as_deref(), password.as_deref())
            .map_err(|error| if error.field == "store.url" { FieldError { field, ..error } } else { error })
    }
}

fn password(path: &Path) -> Result<String, FieldError> {
    let refused = |reason: String| FieldError::new("store.password_file", reason);
    let bytes = read_capped(path, PASSWORD_MAX).map_err(|error| refused(error.to_string()))?;
    let text =
        String::from_utf8(bytes).map_err(|_| refused("expected UTF-8, found other bytes".to_owned()))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.contains(['\r', '\n']) {
        return Err(refused("expected one line, found none or several".to_owned()));
    }
    Ok(password.to_owned())
}

/// A URL's options. A server elsewhere must show a certificate: what passes is who pays whom.
fn options(field: &'static str, url: &str) -> Result<PgConnectOptions, FieldError> {
    let refused = |reason: &str| FieldError::new(field, reason);
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(refused("expected postgres://user@host/database, found something else"));
    }
    // The parser's own words may repeat the password.
    let options = PgConnectOptions::from_str(url).map_err(|_| {
        refused(
            "expected postgres://user@host/database?sslmode=…&sslrootcert=…, found a URL that does not parse",
        )
    })?;
    let host = options.get_host();
    let local = options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if local {
        return Ok(options);
    }
    let named = url.contains("sslmode=") || url.contains("ssl-mode=");
    match options.get_ssl_mode() {
        _ if !named => Ok(options.ssl_mode(PgSslMode::VerifyFull)),
        PgSslMode::VerifyFull | PgSslMode::VerifyCa => Ok(options),
        _ => Err(refused(
            "expected sslmode=verify-full or verify-ca for a server on another machine, found less",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toml: &str, environment: Option<&str>) -> Result<StoreConfig, String> {
        let raw: RawStore = toml::from_str(toml).map_err(|error| error.to_string())?;
        raw.check(Path::new("/etc/sealstone"), environment.map(str::to_owned))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_store_is_a_file_or_a_server() {
        let config = check("path = \"agent.db\"", Some("postgres://elsewhere/x")).unwrap();
        assert_eq!(config.path(), Some(Path::new("/etc/sealstone/agent.db")));
        let url = "postgres://agent:pa55@localhost:5433/keys";
        for config in [check(&format!("url = \"{url}\""), None), check("", Some(url))] {
            let config = config.unwrap();
            assert_eq!(config.to_string(), "database keys of the server at localhost, port 5433");
            assert!(!format!("{config:?}").contains("pa55"));
        }
    }

    #[test]
    fn a_server_elsewhere_shows_its_certificate() {
        let mode = |url: &str| {
            let config = StoreConfig::postgres(url, None, None).map_err(|error| error.to_string())?;
            match config.0 {
                Location::Postgres(servers) => Ok(format!("{:?}", servers.primary.get_ssl_mode())),
                Location::Sqlite(_) => Err("a file".to_owned()),
            }
        };
        assert_eq!(mode("postgres://u@db.example/keys").unwrap(), "VerifyFull");
        assert_eq!(mode("postgres://u@db.example/keys?sslmode=verify-ca").unwrap(), "VerifyCa");
        for weak in ["disable", "allow", "prefer", "require"] {
            let error = mode(&format!("postgres://u:pa55@10.0.0.7/keys?sslmode={weak}")).unwrap_err();
            assert!(
                error.contains("store.url: expected sslmode=verify-full") && !error.contains("pa55"),
                "{error}"
            );
        }
        for local in ["127.0.0.1", "[::1]", "localhost", "%2Frun%2Fpostgresql"] {
            assert!(mode(&format!("postgres://u@{local}/keys?sslmode=disable")).is_ok(), "{local}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_no_password_is_shown() {
        for (toml, environment, expected) in [
            ("", None, "store: expected path, or url"),
            ("path = \"a\"\nurl = \"postgres://u:pa55@localhost/x\"", None, "found both"),
            (
                "path = \"a\"\nreplica_url = \"postgres://u:pa55@localhost/x\"",
                None,
                "store.path: expected it alone",
            ),
            ("url = \"mysql://u:pa55@localhost/x\"", None, "store.url: expected postgres://"),
            ("url = \"postgres://u:pa55@localhost:port/x\"", None, "store.url: expected postgres://"),
            ("", Some("postgres://u:pa55@localhost:port/x"), "DATABASE_URL: expected postgres://"),
            (
                "url = \"postgres://localhost/x\"\nreplica_url = \"http://u:pa55@x\"",
                None,
                "store.replica_url: expected postgres://",
            ),
            (
                "url = \"postgres://localhost/x\"\npassword_file = \"/nonexistent/password\"",
                None,
                "store.password_file",
            ),
        ] {
            let error = check(toml, environment).unwrap_err();
            assert!(error.contains(expected) && !error.contains("pa55"), "{toml}: {error}");
        }
    }
}
