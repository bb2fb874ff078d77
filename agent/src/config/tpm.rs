//! `[tpm]` of `agent.toml`: how the TPM is reached and which keys speak for it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use super::FieldError;

/// How long a call may wait for the TPM when `deadline_s` is not given: an RSA endorsement key is created in
/// tens of seconds on a slow discrete TPM, and a session challenge is good for 30 s.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(25);

/// Bounds of `deadline_s`: below 1 s a healthy TPM fails, above 10 min nobody waits.
const DEADLINE_S: std::ops::RangeInclusive<u64> = 1..=600;

/// swtpm's customary port, and that of the TCTI.
const SWTPM_PORT: u16 = 2321;

/// `[tpm]` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTpm {
    /// See [`Tcti`].
    pub tcti: String,
    /// Where the enclave's commands go; the same as `tcti` unless given.
    pub relay: Option<String>,
    /// `rsa2048` (default), `p256` or `p384`.
    pub ek: Option<EkKind>,
    /// `p256` (default) or `rsa2048`.
    pub ak: Option<AkKind>,
    /// The firmware's event log.
    pub event_log: Option<PathBuf>,
    /// The kernel's IMA log.
    pub ima_log: Option<PathBuf>,
    /// The record of this TPM's enrolment.
    pub enrolment: Option<PathBuf>,
    /// How long one call may wait for the TPM, in seconds.
    pub deadline_s: Option<u64>,
}

/// `[tpm]`, checked.
#[derive(Clone, Debug)]
pub struct TpmConfig {
    /// Where ESAPI finds the TPM.
    pub tcti: Tcti,
    /// Where the enclave's own commands go.
    pub relay: RelayAddress,
    /// Which endorsement key.
    pub ek: EkKind,
    /// Which attestation key is made at enrolment.
    pub ak: AkKind,
    /// The firmware's event log, if evidence is to carry it.
    pub event_log: Option<PathBuf>,
    /// The kernel's IMA log, if evidence is to carry it.
    pub ima_log: Option<PathBuf>,
    /// The record of this TPM's enrolment, if evidence is to carry it.
    pub enrolment: Option<PathBuf>,
    /// How long one call may wait for the TPM.
    pub deadline: Duration,
    /// Where `ak.pub` and `ak.priv` are kept.
    pub state_dir: PathBuf,
}

impl RawTpm {
    /// Checks every field; relative paths are relative to `base`, the configuration file's folder.
    ///
    /// # Errors
    /// Names the field and what was expected of it.
    pub fn check(self, base: &Path, state_dir: &Path) -> Result<TpmConfig, FieldError> {
        let Self { tcti, relay, ek, ak, event_log, ima_log, enrolment, deadline_s } = self;
        let tcti = parse_tcti("tpm.tcti", &tcti)?;
        let relay = match relay {
            None => tcti.clone(),
            Some(text) => parse_tcti("tpm.relay", &text)?,
        };
        let relay =
            RelayAddress::try_from(relay).map_err(|error| FieldError::new("tpm.relay", error.to_string()))?;
        let deadline = match deadline_s {
            None => DEADLINE_DEFAULT,
            Some(seconds) if DEADLINE_S.contains(&seconds) => Duration::from_secs(seconds),
            Some(seconds) => {
                return Err(FieldError::new(
                    "tpm.deadline_s",
                    format!(
                        "expected {} to {} seconds, found {seconds}",
                        DEADLINE_S.start(),
                        DEADLINE_S.end()
                    ),
                ));
            }
        };
        Ok(TpmConfig {
            tcti,
            relay,
            ek: ek.unwrap_or(EkKind::Rsa2048),
            ak: ak.unwrap_or(AkKind::P256),
            event_log: event_log.map(|path| base.join(path)),
            ima_log: ima_log.map(|path| base.join(path)),
            enrolment: enrolment.map(|path| base.join(path)),
            deadline,
            state_dir: state_dir.to_owned(),
        })
    }
}

fn parse_tcti(field: &'static str, text: &str) -> Result<Tcti, FieldError> {
    text.parse().map_err(|error: TctiError| FieldError::new(field, error.to_string()))
}

/// Which endorsement key, by the TCG EK Credential Profile 2.x: its template and where its certificate lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EkKind {
    /// Template L-1, certificate at 0x01c00002.
    Rsa2048,
    /// Template L-2, certificate at 0x01c0000a.
    P256,
    /// Template H-3, certificate at 0x01c00016.
    P384,
}

/// Which attestation key is made at enrolment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AkKind {
    /// ECDSA over P-256 with SHA-256.
    P256,
    /// RSASSA-PKCS1-v1_5, 2048 bits, with SHA-256.
    Rsa2048,
}

/// How a TPM is reached.
///
/// `swtpm:host=127.0.0.1,port=2321`, `device:/dev/tpmrm0` or `tabrmd:` with whatever the broker's TCTI takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tcti {
    /// An emulator's TCP port; its control channel is the port after it. No resource manager.
    Swtpm {
        /// Name or address.
        host: String,
        /// The data port.
        port: u16,
    },
    /// The kernel's resource manager.
    Device(PathBuf),
    /// The user-space resource manager; holds what follows the colon.
    Tabrmd(String),
}

/// Why a TCTI is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TctiError {
    /// None of the three kinds.
    #[error("expected swtpm:host=HOST,port=PORT or device:/dev/tpmrm0 or tabrmd:, found {found:?}")]
    Kind {
        /// As written.
        found: String,
    },
    /// An option that the swtpm TCTI does not have.
    #[error("expected swtpm options host= and port=, found {found:?} (a Unix socket cannot be used)")]
    SwtpmOption {
        /// As written.
        found: String,
    },
    /// Not a port whose successor is a port too.
    #[error("expected a port from 1 to 65534 (the control channel is the port after it), found {found:?}")]
    Port {
        /// As written.
        found: String,
    },
    /// Not a host name or an IPv4 address.
    #[error("expected a host name or an IPv4 address, found {found:?}")]
    Host {
        /// As written.
        found: String,
    },
    /// A device that one program at a time can open, so that agent and relay cannot share it.
    #[error(
        "expected the resource manager's device (/dev/tpmrm0), found {found}, which admits one opener only"
    )]
    NoResourceManager {
        /// As written.
        found: String,
    },
    /// The broker passes no raw commands.
    #[error(
        "expected swtpm: or device: for the relay, found tabrmd:, which cannot pass the enclave's commands"
    )]
    CannotRelay,
}

impl FromStr for Tcti {
    type Err = TctiError;

    fn from_str(text: &str) -> Result<Self, TctiError> {
        let unknown = || TctiError::Kind { found: text.to_owned() };
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "swtpm" => parse_swtpm(rest),
            "device" => {
                if rest.is_empty() {
                    return Err(unknown());
                }
                let name = rest.rsplit('/').next().unwrap_or(rest);
                let number = name.strip_prefix("tpm").unwrap_or("rm");
                if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(TctiError::NoResourceManager { found: rest.to_owned() });
                }
                Ok(Self::Device(PathBuf::from(rest)))
            }
            "tabrmd" => Ok(Self::Tabrmd(rest.to_owned())),
            _ => Err(unknown()),
        }
    }
}

fn parse_swtpm(options: &str) -> Result<Tcti, TctiError> {
    let (mut host, mut port) = ("127.0.0.1".to_owned(), SWTPM_PORT);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("host", value)) => {
                let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
                if value.is_empty() || !value.bytes().all(named) {
                    return Err(TctiError::Host { found: value.to_owned() });
                }
                value.clone_into(&mut host);
            }
            Some(("port", value)) => match value.parse() {
                Ok(number) if (1..=65_534).contains(&number) => port = number,
                _ => return Err(TctiError::Port { found: value.to_owned() }),
            },
            _ => return Err(TctiError::SwtpmOption { found: option.to_owned() }),
        }
    }
    Ok(Tcti::Swtpm { host, port })
}

impl fmt::Display for Tcti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Swtpm { host, port } => write!(f, "swtpm:host={host},port={port}"),
            Self::Device(path) => write!(f, "device:{}", path.display()),
            Self::Tabrmd(rest) => write!(f, "tabrmd:{rest}"),
        }
    }
}

/// Where raw TPM commands can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayAddress {
    /// One TCP connection per command.
    Swtpm {
        /// Name or address.
        host: String,
        /// The data port.
        port: u16,
    },
    /// One descriptor per ceremony: handles and sessions belong to it.
    Device(PathBuf),
}

impl TryFrom<Tcti> for RelayAddress {
    type Error = TctiError;

    fn try_from(tcti: Tcti) -> Result<Self, TctiError> {
        match tcti {
            Tcti::Swtpm { host, port } => Ok(Self::Swtpm { host, port }),
            Tcti::Device(path) => Ok(Self::Device(path)),
            Tcti::Tabrmd(_) => Err(TctiError::CannotRelay),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toml: &str) -> Result<TpmConfig, String> {
        let raw: RawTpm = toml::from_str(toml).map_err(|error| error.to_string())?;
        raw.check(Path::new("/etc/sealstone"), Path::new("/var/lib/sealstone")).map_err(|e| e.to_string())
    }

    #[test]
    fn a_short_section_gets_the_defaults() {
        let config = check("tcti = \"swtpm:port=4000\"\nevent_log = \"log\"").unwrap();
        assert_eq!(config.tcti.to_string(), "swtpm:host=127.0.0.1,port=4000");
        assert_eq!(config.relay, RelayAddress::Swtpm { host: "127.0.0.1".into(), port: 4000 });
        assert_eq!((config.ek, config.ak), (EkKind::Rsa2048, AkKind::P256));
        assert_eq!(config.event_log, Some(PathBuf::from("/etc/sealstone/log")));
    }

    #[test]
    fn what_cannot_work_is_refused_by_field_and_reason() {
        for (toml, expected) in [
            ("tcti = \"mssim:\"", "found \"mssim:\""),
            ("tcti = \"swtpm:path=/run/s\"", "a Unix socket cannot be used"),
            ("tcti = \"swtpm:port=65535\"", "control channel"),
            ("tcti = \"swtpm:host=a b\"", "host name"),
            ("tcti = \"device:/dev/tpm0\"", "one opener"),
            ("tcti = \"device:\"", "expected swtpm"),
            ("tcti = \"tabrmd:\"", "tpm.relay"),
            ("tcti = \"swtpm:\"\nrelay = \"tabrmd:\"", "cannot pass"),
            ("tcti = \"swtpm:\"\ndeadline_s = 0", "tpm.deadline_s"),
            ("tcti = \"swtpm:\"\nek = \"p521\"", "p521"),
            ("tcti = \"swtpm:\"\nspeed = 1", "speed"),
        ] {
            let found = check(toml).unwrap_err();
            assert!(found.contains(expected), "{toml}: {found}");
        }
    }

    #[test]
    fn the_broker_serves_esapi_while_the_relay_goes_elsewhere() {
        let config = check("tcti = \"tabrmd:\"\nrelay = \"device:/dev/tpmrm0\"").unwrap();
        assert_eq!(config.relay, RelayAddress::Device(PathBuf::from("/dev/tpmrm0")));
    }
}
