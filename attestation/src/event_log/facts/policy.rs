//! The Secure Boot policy, as PCR 7 holds it.

use serde::Serialize;

use crate::{
    Sha256Digest,
    event_log::{
        Event, EventLog, EventType, Guid, SignatureContent,
        examine::{POLICY_VARIABLES, covered_content, policy_pcr},
        signature_list::{self, parse_signature_lists},
        text,
        variable::Variable,
    },
};

/// Whether the firmware verifies what it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SecureBoot {
    /// It does.
    On {
        /// Which event says so.
        event: usize,
    },
    /// It does not.
    Off {
        /// Which event says so.
        event: usize,
    },
    /// The log does not say so in a way that can be believed.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// One certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Certificate<'a> {
    /// SHA-256 of its DER.
    pub sha256: Sha256Digest,
    /// Its DER, as the log has it.
    #[serde(skip)]
    pub der: &'a [u8],
}

impl<'a> Certificate<'a> {
    fn of(der: &'a [u8]) -> Self {
        Self { sha256: Sha256Digest::of(der), der }
    }
}

/// A variable of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyDatabase<'a> {
    /// `PK`, `KEK`, `db` or `dbx`.
    pub variable: &'static str,
    /// The event that holds it.
    pub event: usize,
    /// Its certificates.
    pub certificates: Vec<Certificate<'a>>,
    /// How many digests of images it holds.
    pub image_digests: usize,
    /// How many entries of other kinds.
    pub others: usize,
}

/// What verified an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Authority<'a> {
    /// The event that says so.
    pub event: usize,
    /// The variable that it is an entry of.
    pub variable: String,
    /// Whose variable that is.
    pub vendor: Guid,
    /// The certificate, if it is one.
    pub certificate: Option<Certificate<'a>>,
    /// The SHA-256 digest of the image, if it is one.
    pub image_digest: Option<Sha256Digest>,
    /// The text, if it is one, such as shim's level of revocations.
    pub text: Option<String>,
}

/// The state of Secure Boot: read only when nothing about PCR 7 is in doubt.
pub(super) fn secure_boot(log: &EventLog<'_>) -> SecureBoot {
    let unknown = |reason: &str| SecureBoot::Unknown { reason: reason.to_owned() };
    let in_doubt = log.findings().iter().find(|finding| finding.pcr.is_none_or(|pcr| pcr == policy_pcr()));
    if let Some(finding) = in_doubt.filter(|finding| finding.code != "digest.missing") {
        return unknown(&format!("PCR 7 is in doubt: {}", finding.code));
    }
    let measured = policy_variables(log.events()).find(|(_, _, name, _)| *name == "SecureBoot");
    match measured.map(|(event, _, _, content)| (event, content)) {
        Some((event, [1])) => SecureBoot::On { event },
        Some((event, [0])) => SecureBoot::Off { event },
        Some((_, [])) => unknown("the variable SecureBoot was measured without a value"),
        Some(_) => unknown("the variable SecureBoot has neither the value 0 nor 1"),
        None => unknown("the variable SecureBoot was not measured"),
    }
}

/// The keys of the policy; a variable that is malformed is a finding, and is not here.
pub(super) fn keys<'a>(events: &[Event<'a>]) -> Vec<KeyDatabase<'a>> {
    let databases = policy_variables(events).filter(|(_, _, name, _)| *name != "SecureBoot");
    let parsed = databases.filter_map(|(event, _, variable, content)| {
        let entries = parse_signature_lists(content).ok()?;
        let mut database =
            KeyDatabase { variable, event, certificates: Vec::new(), image_digests: 0, others: 0 };
        for entry in entries {
            match entry.content {
                SignatureContent::Certificate(der) => database.certificates.push(Certificate::of(der)),
                SignatureContent::Sha256(_) => database.image_digests += 1,
                SignatureContent::Other { .. } => database.others += 1,
            }
        }
        Some(database)
    });
    parsed.collect()
}

/// What verified images, in the log's order.
pub(super) fn authorities<'a>(events: &[Event<'a>]) -> Vec<Authority<'a>> {
    let vouched = in_policy_pcr(events)
        .filter(|(_, event)| event.kind == EventType::EFI_VARIABLE_AUTHORITY && event.tie.vouches());
    let parsed = vouched.filter_map(|(number, event)| {
        let variable = Variable::parse(event.data).ok()?;
        let content = covered_content(event, &variable);
        let entry = signature_list::parse_authority(content).map(|entry| entry.content);
        let (certificate, image_digest) = match entry {
            Some(SignatureContent::Certificate(der)) => (Some(Certificate::of(der)), None),
            Some(SignatureContent::Sha256(digest)) => {
                (None, digest.try_into().ok().map(Sha256Digest::from_bytes))
            }
            Some(SignatureContent::Other { .. }) | None => (None, None),
        };
        let text = entry.is_none().then(|| text::ascii(content).ok().map(str::to_owned)).flatten();
        let Variable { vendor, name, .. } = variable;
        Some(Authority { event: number, variable: name, vendor, certificate, image_digest, text })
    });
    parsed.collect()
}

/// The variables of the policy that the digests vouch for, from before PCR 7 was closed: event, vendor, name and content.
fn policy_variables<'e, 'a: 'e>(
    events: &'e [Event<'a>],
) -> impl Iterator<Item = (usize, Guid, &'static str, &'a [u8])> + 'e {
    let configured = in_policy_pcr(events).filter(|(_, event)| {
        event.kind == EventType::EFI_VARIABLE_DRIVER_CONFIG && event.tie.vouches() && !event.after_separator
    });
    configured.filter_map(|(number, event)| {
        let variable = Variable::parse(event.data).ok()?;
        let (vendor, name) = POLICY_VARIABLES.iter().find(|(vendor, name)| variable.is(*vendor, name))?;
        Some((number, *vendor, *name, variable.content))
    })
}

fn in_policy_pcr<'e, 'a: 'e>(events: &'e [Event<'a>]) -> impl Iterator<Item = (usize, &'e Event<'a>)> + 'e {
    events.iter().enumerate().filter(|(_, event)| event.pcr == Some(policy_pcr()))
}
