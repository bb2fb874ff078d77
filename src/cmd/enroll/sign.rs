//! `sealstone enroll sign`: the authority checks the TPM's answer and signs what it saw.

use std::path::PathBuf;
use std::time::Duration;

use sealstone_attestation::{EnrolmentRecord, Sha256Digest};
use serde_json::json;
use subtle::ConstantTimeEq;

use super::files::{self, FORMAT, Pending, Response};
use crate::cmd::now;
use crate::failure::Failure;
use crate::files::{PUBLIC_MODE, write_new};
use crate::keyfile::AuthoritySigner;
use crate::output::{Answer, fields};

/// How long a challenge may be answered: days for a machine in another country, not years.
const ANSWER_WITHIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Where the authority is: check the TPM's answer, and sign the record of the enrolment
///
/// A challenge is good for one record: PENDING is removed when the record is written.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
        sealstone enroll sign response.json --pending node-1.pending --key alice.key -o node-1.enrolment")]
pub(in crate::cmd) struct Args {
    /// What the node wrote with `sealstone enroll activate`
    response: PathBuf,
    /// What you kept with `sealstone enroll challenge`
    #[arg(long, value_name = "FILE")]
    pending: PathBuf,
    /// A private key of the manifest's authority (PEM, PKCS#8)
    #[arg(long, value_name = "PRIV.pem")]
    key: PathBuf,
    /// Where the record goes
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Answer, Failure> {
    let Args { response, pending: kept, key, out } = args;
    let Response { format: _, activated } = files::read(response, "the answer to a challenge", "activate")?;
    let pending: Pending = files::read_private(kept, "the pending enrolment", "challenge")?;
    let signer = AuthoritySigner::read(key)?;
    let now = now()?;
    let answer = hex::decode(&activated.secret).unwrap_or_default();
    let same: bool = Sha256Digest::of(&answer).as_bytes().ct_eq(pending.answer.as_bytes()).into();
    if !same {
        return Err(Failure::refused(
            "WRONG_ANSWER",
            "expected the secret of this challenge, found another: the keys are not in one TPM, or the files are mixed up",
            "compare the challenge and the node, or challenge it anew",
        ));
    }
    if now.since(pending.made_at).is_none_or(|age| age > ANSWER_WITHIN) {
        return Err(Failure::refused(
            "CHALLENGE_TOO_OLD",
            format!(
                "expected a challenge of at most {} days, found one of {}",
                ANSWER_WITHIN.as_secs() / 86400,
                pending.made_at
            ),
            "challenge the node anew; check this machine's clock",
        ));
    }
    let record = EnrolmentRecord {
        format: FORMAT,
        ek: pending.enrolment.ek,
        ak: pending.enrolment.ak,
        ek_certificate: pending.ek_certificate,
        root: pending.root,
        manufacturer: pending.manufacturer,
        firmware_version: pending.enrolment.firmware_version,
        remarks: pending.remarks,
        activated_at: now,
    };
    let envelope = signer.envelope(EnrolmentRecord::PAYLOAD_TYPE, record.to_json());
    write_new(out, "the enrolment record", &envelope.to_json(), PUBLIC_MODE)?;
    // One challenge, one record. That it stays is no harm to anybody but the next who mistakes it.
    let _ = std::fs::remove_file(kept);

    let (ek, ak) = (record.ek.name(), record.ak.name());
    let json = json!({"out": out.display().to_string(), "ek": ek, "ak": ak, "activated_at": now, "key_id": signer.public_key().key_id()});
    let text = fields(&[
        ("record", out.display().to_string()),
        ("endorsement key", ek.to_string()),
        ("attestation key", ak.to_string()),
        ("signed by", signer.public_key().key_id().to_string()),
    ]);
    Ok(Answer::done(json, text))
}
