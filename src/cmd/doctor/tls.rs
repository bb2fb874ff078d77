//! When the certificate and the revocation lists of `[api.tls]` end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sealstone_attestation::UnixTime;
use serde::Deserialize;
use x509_cert::certificate::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::{Decode, DecodePem};

use super::Line;
use crate::files;

/// Somebody should replace a certificate this long before it ends.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 24 * 3600);

/// A revocation list is made often, and every client is refused when it ends.
const WARN_BEFORE_CRL: Duration = Duration::from_secs(24 * 3600);

/// Bytes of a revocation list.
const CRL_MAX: usize = 16 * 1024 * 1024;

/// The part of `agent.toml` that says where the files are; the agent itself checks the rest.
#[derive(Deserialize)]
struct AgentConfig {
    api: Option<Api>,
}

#[derive(Deserialize)]
struct Api {
    tls: Option<Tls>,
}

#[derive(Deserialize)]
struct Tls {
    certificate: PathBuf,
    #[serde(default)]
    crl: Vec<PathBuf>,
}

/// Examines what the configuration in a node's folder names; nothing if it names nothing.
pub(super) fn examine(dir: &Path, now: UnixTime) -> Vec<Line> {
    let config = files::read_text(&dir.join("agent.toml"), "the agent's configuration").ok();
    let config: Option<AgentConfig> = config.and_then(|text| toml::from_str(&text).ok());
    let Some(Tls { certificate, crl }) = config.and_then(|config| config.api?.tls) else { return Vec::new() };
    let path = dir.join(certificate);
    let mut lines = vec![line("tls.certificate", &path, certificate_end(&path), WARN_BEFORE, now)];
    lines.extend(crl.iter().map(|path| {
        let path = dir.join(path);
        line("tls.crl", &path, crl_end(&path), WARN_BEFORE_CRL, now)
    }));
    lines
}

fn certificate_end(path: &Path) -> Result<UnixTime, String> {
    let bytes = files::read(path, "a certificate", files::TEXT_MAX).map_err(|failure| failure.to_string())?;
    // The first one is the agent's own; those after it lead to its root.
    let chain = Certificate::load_pem_chain(&bytes).map_err(|error| error.to_string())?;
    let own = chain.first().ok_or("no certificate")?;
    Ok(UnixTime::from_secs(own.tbs_certificate().validity().not_after.to_unix_duration().as_secs()))
}

fn crl_end(path: &Path) -> Result<UnixTime, String> {
    let bytes = files::read(path, "a revocation list", CRL_MAX).map_err(|failure| failure.to_string())?;
    let list = if bytes.starts_with(b"-----") {
        CertificateList::from_pem(&bytes)
    } else {
        CertificateList::from_der(&bytes)
    };
    let list: CertificateList = list.map_err(|error| error.to_string())?;
    let end = list.tbs_cert_list.next_update.ok_or("a list that does not say when it ends")?;
    Ok(UnixTime::from_secs(end.to_unix_duration().as_secs()))
}

fn line(
    name: &'static str,
    path: &Path,
    end: Result<UnixTime, String>,
    warn_before: Duration,
    now: UnixTime,
) -> Line {
    let path = path.display();
    let action = "put its successor there and send the agent SIGHUP (docs/operations.md)";
    match end {
        Err(found) => Line::fail(name, format!("expected to read {path}, found: {found}"), action),
        Ok(end) if end <= now => {
            Line::fail(name, format!("expected {path} to be good, found that it ended {end}"), action)
        }
        Ok(end) if end <= now.saturating_add(warn_before) => Line::warn(
            name,
            format!("expected {path} to be good for a while, found that it ends {end}"),
            action,
        ),
        Ok(end) => Line::ok(name, format!("{path} until {end}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn an_end_that_comes_near_warns_and_one_that_came_fails() {
        let end = UnixTime::from_secs(2_000_000_000);
        let health =
            |now: UnixTime| line("tls.certificate", Path::new("a"), Ok(end), WARN_BEFORE, now).result;
        assert_eq!(health(end), Health::Fail);
        assert_eq!(health(UnixTime::from_secs(2_000_000_000 - 1)), Health::Warn);
        assert_eq!(health(UnixTime::from_secs(2_000_000_000 - 14 * DAY.as_secs())), Health::Warn);
        assert_eq!(health(UnixTime::from_secs(2_000_000_000 - 15 * DAY.as_secs())), Health::Ok);
    }

    #[test]
    fn the_files_of_the_configuration_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let now = UnixTime::from_secs(1_800_000_000);
        assert!(examine(dir.path(), now).is_empty(), "no configuration");
        let config = dir.path().join("agent.toml");
        std::fs::write(&config, "[api]\nsocket = \"a\"\n").unwrap();
        assert!(examine(dir.path(), now).is_empty(), "no TLS");
        std::fs::write(&config, "[api.tls]\ncertificate = \"c.pem\"\ncrl = [\"l.pem\"]\n").unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["signer.example".to_owned()]).unwrap();
        std::fs::write(dir.path().join("c.pem"), made.cert.pem()).unwrap();
        let lines = examine(dir.path(), now);
        let found: Vec<_> = lines.iter().map(|line| (line.name, line.result)).collect();
        assert_eq!(found, [("tls.certificate", Health::Ok), ("tls.crl", Health::Fail)]);
        assert!(lines[0].detail.contains("c.pem until"), "{lines:?}");
        std::fs::write(dir.path().join("c.pem"), "nothing").unwrap();
        assert_eq!(examine(dir.path(), now)[0].result, Health::Fail);
    }
}
