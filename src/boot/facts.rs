//! What a log says about a boot, a line each.

use std::collections::BTreeMap;

use sealstone_attestation::PcrBank;
use sealstone_attestation::event_log::{BootText, Certificate, EventLog, EventType, Facts, SecureBoot, Tie};
use x509_cert::der::Decode;

use crate::output::shown;

/// One thing that a log says. The text is what others chose: it is escaped where it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BootFact {
    /// What it is about, such as `kernel`.
    pub(crate) what: &'static str,
    /// What is said.
    pub(crate) said: String,
    /// The event that says it.
    pub(crate) event: Option<usize>,
    /// Whether a digest covers it. If not, it is a description.
    pub(crate) vouched: bool,
}

impl BootFact {
    /// In one line for a terminal.
    pub(crate) fn line(&self) -> String {
        let Self { what: _, said, event, vouched } = self;
        let mark = match (vouched, event) {
            (true, _) => "= ",
            (false, Some(_)) => "~ ",
            (false, None) => "",
        };
        let event = event.map_or_else(String::new, |event| format!(" (event {event})"));
        format!("{mark}{}{event}", shown(said))
    }
}

/// Who the certificates of the log name, by fingerprint. Whoever made a certificate chose its name.
pub(crate) fn subjects(facts: &Facts<'_>) -> BTreeMap<String, String> {
    let keys = facts.keys.iter().flat_map(|database| &database.certificates);
    let authorities = facts.authorities.iter().filter_map(|authority| authority.certificate.as_ref());
    let named = keys.chain(authorities).filter_map(|Certificate { sha256, der, .. }| {
        let certificate = x509_cert::Certificate::from_der(der).ok()?;
        Some((sha256.to_string(), certificate.tbs_certificate().subject().to_string()))
    });
    named.collect()
}

/// Everything that the log says about the boot, in the order in which a boot happens. Where a digest is of what the log does not
/// hold, it is named as this bank has it, which should be one that somebody compares with a TPM's values.
pub(crate) fn facts(log: &EventLog<'_>, bank: Option<PcrBank>) -> Vec<BootFact> {
    let facts = log.facts();
    let subjects = subjects(&facts);
    let mut all = vec![secure_boot(&facts.secure_boot)];
    all.extend(firmware_versions(log));
    all.extend(policy(&facts, &subjects));
    all.extend(facts.images.iter().map(|image| BootFact {
        what: if Some(image.event) == facts.boot_loader { "boot loader" } else { "image" },
        said: image.path.clone().unwrap_or_else(|| "from where is not said".to_owned()),
        event: Some(image.event),
        vouched: false,
    }));
    let texts = [
        ("kernel", &facts.kernels),
        ("command line", &facts.command_lines),
        ("kernel section", &facts.stub_sections),
        ("also measured", &facts.loader),
    ];
    for (what, list) in texts {
        all.extend(list.iter().map(|BootText { event, source, text, vouched, .. }| BootFact {
            what,
            said: format!("{text} (by {source})"),
            event: Some(*event),
            vouched: *vouched,
        }));
    }
    all.extend(facts.shim.iter().map(|variable| BootFact {
        what: "shim",
        said: match digest_of(log, variable.event, bank) {
            Some(digest) => format!("{}, content {digest}", variable.name),
            None => variable.name.clone(),
        },
        event: Some(variable.event),
        vouched: false,
    }));
    all
}

fn digest_of(log: &EventLog<'_>, event: usize, bank: Option<PcrBank>) -> Option<String> {
    let bank = bank?;
    let digest = log.events().get(event)?.digest(bank.into())?;
    Some(format!("{bank}:{}", hex::encode(digest)))
}

fn secure_boot(secure_boot: &SecureBoot) -> BootFact {
    let (said, event) = match secure_boot {
        SecureBoot::On { event } => ("on".to_owned(), Some(*event)),
        SecureBoot::Off { event } => ("off".to_owned(), Some(*event)),
        SecureBoot::Unknown { reason } => (format!("unknown: {reason}"), None),
        _ => ("unknown".to_owned(), None),
    };
    // It is read only from what a digest covers.
    BootFact { what: "secure boot", said, vouched: event.is_some(), event }
}

fn firmware_versions(log: &EventLog<'_>) -> impl Iterator<Item = BootFact> {
    let versions = log.events().iter().enumerate().filter(|(_, event)| {
        event.kind == EventType::S_CRTM_VERSION && event.tie != Tie::Broken && event.extends()
    });
    versions.map(|(number, event)| BootFact {
        what: "firmware version",
        said: event.describe(),
        event: Some(number),
        vouched: event.tie.vouches(),
    })
}

/// The Secure Boot policy. Only what digests vouch for is among the facts.
fn policy(facts: &Facts<'_>, subjects: &BTreeMap<String, String>) -> Vec<BootFact> {
    let named = |certificate: &Certificate<'_>| {
        let fingerprint = certificate.sha256.to_string();
        let subject = subjects.get(&fingerprint).map_or("an unreadable name", String::as_str);
        format!("{subject} (certificate {fingerprint})")
    };
    let mut all = Vec::new();
    for database in &facts.keys {
        let mut parts: Vec<String> = database.certificates.iter().map(named).collect();
        if database.image_digests > 0 {
            parts.push(format!("{} digests of images", database.image_digests));
        }
        if database.others > 0 {
            parts.push(format!("{} other entries", database.others));
        }
        if parts.is_empty() {
            parts.push("nothing".to_owned());
        }
        all.push(BootFact {
            what: database.variable,
            said: parts.join("; "),
            event: Some(database.event),
            vouched: true,
        });
    }
    for authority in &facts.authorities {
        let what = match (&authority.certificate, &authority.image_digest, &authority.text) {
            (Some(certificate), _, _) => named(certificate),
            (None, Some(digest), _) => format!("an image with the digest {digest}"),
            (None, None, Some(text)) => text.clone(),
            (None, None, None) => "unreadable".to_owned(),
        };
        all.push(BootFact {
            what: "authority",
            said: format!("{}: {what}", authority.variable),
            event: Some(authority.event),
            vouched: true,
        });
    }
    all
}
