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
    serde_json::from_slice(bytes).map_err(|error| expected(error.to_string()))
}

/// The bytes of one of them.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("our own types have string keys");
    bytes.push(b'\n');
    bytes
}
