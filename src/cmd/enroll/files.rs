//! What the two machines hand each other, and what the authority keeps meanwhile.

use std::path::Path;

use sealstone_attestation::{Base64Bytes, EnrolmentRecord, Sha256Digest, UnixTime};
use sealstone_wire::api::{ActivateAsk, Activated, Enrolment};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::files;

/// From the authority to the node. The ask is the agent's own.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Challenge {
    pub(super) format: u32,
    #[serde(flatten)]
    pub(super) ask: ActivateAsk,
}

/// From the node to the authority.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Response {
    pub(super) format: u32,
    #[serde(flatten)]
    pub(super) activated: Activated,
}

/// What the authority keeps until the answer: what it judged, and the hash of what it encrypted. Whoever reads it learns no
/// answer; whoever changes it could have a false record signed, so it is for its owner alone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pending {
    pub(super) format: u32,
    pub(super) enrolment: Enrolment,
    pub(super) ek_certificate: Option<Base64Bytes>,
    pub(super) root: Option<Sha256Digest>,
    pub(super) manufacturer: Option<String>,
    pub(super) remarks: Vec<String>,
    /// SHA-256 over the secret inside the credential.
    pub(super) answer: Sha256Digest,
    pub(super) made_at: UnixTime,
}

/// What every version of them has.
#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    format: Option<u32>,
}

/// The one version of these files.
pub(super) const FORMAT: u32 = EnrolmentRecord::FORMAT;

/// Reads one of them.
pub(super) fn read<T: DeserializeOwned>(path: &Path, what: &'static str, from: &str) -> Result<T, Failure> {
    parse(path, what, from, &files::read(path, what, files::TEXT_MAX)?)
}

/// Reads the one that is for its owner alone.
pub(super) fn read_private<T: DeserializeOwned>(
    path: &Path,
    what: &'static str,
    from: &str,
) -> Result<T, Failure> {
    parse(path, what, from, &files::read_secret(path, what, files::TEXT_MAX)?)
}

fn parse<T: DeserializeOwned>(path: &Path, what: &str, from: &str, bytes: &[u8]) -> Result<T, Failure> {
    let expected = |found: String| {
        Failure::unusable(
            "ENROLMENT_FILE",
            format!("expected {what} in {}, found: {found}", path.display()),
            format!("give the file that `sealstone enroll {from}` wrote, whole"),
        )
    };
    // First of all, so that a later version is called that, and not malformed. What an agent answered has none.
    let Version { format } = serde_json::from_slice(bytes).map_err(|error| expected(error.to_string()))?;
    if let Some(found) = format.filter(|found| *found != FORMAT) {
        return Err(expected(format!("format {found}, which is not {FORMAT}")));
    }
    serde_json::from_slice(bytes).map_err(|error| expected(error.to_string()))
}

/// The bytes of one of them.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("our own types have string keys");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_format_is_refused_whatever_else_it_holds() {
        let path = Path::new("answer.json");
        let read = |text: &str| parse::<Response>(path, "an answer", "activate", text.as_bytes());
        let good = r#"{"format": 1, "secret": "00"}"#;
        assert!(read(good).is_ok());
        for other in ["0", "2", "4294967295"] {
            let failure = format!("{:?}", read(&good.replace('1', other)).unwrap_err());
            assert!(failure.contains(&format!("format {other}, which is not 1")), "{failure}");
        }
        for text in [
            "{}",
            "[]",
            r#"{"format": "1", "secret": "00"}"#,
            r#"{"format": -1, "secret": "00"}"#,
            r#"{"secret": "00"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
