//! `sealstone audit`: what a node logged, searched and brought here, and held to what its enclave signed: offline, on any
//! machine.

mod export;
mod folder;
mod prove;
mod query;
mod table;
mod verify;

use std::path::PathBuf;
use std::str::FromStr;

use clap::Subcommand;
use sealstone_attestation::audit::{
    Checkpoint, CheckpointError, Note, NoteError, NoteKey, Origin, TreeHash, VerifiedCheckpoint,
};
use sealstone_attestation::{AuthorityDigest, HexBytes, Nonce, RequestDigest};

use super::Context;
use crate::failure::{Failure, chain};
use crate::output::Answer;

/// Search, export and verify a node's audit log, and prove single records of it
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  sealstone audit query --kind refused --newest-first\n  sealstone audit export log\n  \
            sealstone audit verify log --report evidence.json --nonce HEX --authority DIGEST\n  \
            sealstone audit prove log --index 17 -o signature.tlog-proof\n  \
            sealstone audit check-proof signature.tlog-proof --key KEY"
)]
pub(super) enum Verb {
    /// Search the audit log of the running node, and of all nodes of its store
    #[command(after_help = "Examples:\n  sealstone audit query --kind refused --newest-first\n  \
            sealstone audit query --tenant acme --from 2026-11-01T00:00:00Z --all --format csv -o november.csv")]
    Query(Box<query::QueryArgs>),
    /// Bring the running node's log into a folder, up to its newest checkpoint
    ///
    /// What the folder has of it is kept, so that a download that broke off goes on, and a log that has grown is brought
    /// up to date. Nothing is believed: see whether it is whole with `sealstone audit verify`.
    #[command(after_help = "Example:\n  sealstone audit export log")]
    Export {
        /// The folder; made if there is none
        #[arg(value_name = "LOGDIR")]
        dir: PathBuf,
    },
    /// Check that a log is whole: every record as it was, every receipt among them
    ///
    /// LOGDIR is a log in the layout of c2sp.org/tlog-tiles, as a node exports it. Every record is read, the tree over
    /// them is compared with each checkpoint, and the receipts that the checkpoints cover are looked for. The log is
    /// anchored only with the evidence of the node's machine, which is appraised as `sealstone verify` does.
    #[command(after_help = "Examples:\n  sealstone audit verify log --key KEY\n  \
            sealstone audit verify log --key KEY --checkpoint january/checkpoint\n  \
            sealstone audit verify log --report evidence.json --nonce HEX --authority DIGEST --json")]
    Verify(VerifyArgs),
    /// Write a proof that one record is in the log, for whoever has only the report key
    #[command(after_help = "Examples:\n  sealstone audit prove log --index 17 -o signature.tlog-proof\n  \
            sealstone audit prove log --request DIGEST -o signature.tlog-proof")]
    Prove(ProveArgs),
    /// Check such a proof, and show its record
    #[command(after_help = "Example:\n  sealstone audit check-proof signature.tlog-proof --key KEY")]
    CheckProof {
        /// The proof (c2sp.org/tlog-proof)
        file: PathBuf,
        /// The enclave's report key: 64 hex digits, or a verifier key `<name>+<id>+<key>`
        #[arg(long)]
        key: ReportKey,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// The folder of the log
    #[arg(value_name = "LOGDIR")]
    dir: PathBuf,
    /// The node's evidence, which anchors the log in the machine's TPM
    #[arg(long, value_name = "EVIDENCE", requires_all = ["nonce", "authority"])]
    report: Option<PathBuf>,
    /// The nonce that you gave to whoever took the evidence
    #[arg(long, value_name = "HEX", requires = "report")]
    nonce: Option<Nonce>,
    /// The digest of the authority set that you trust
    #[arg(long, value_name = "DIGEST", requires = "report")]
    authority: Option<AuthorityDigest>,
    /// The enclave's report key [default: the one of the evidence]
    #[arg(long)]
    key: Option<ReportKey>,
    /// Another checkpoint that the log must contain, such as one that you kept; may be repeated
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The root of a log of this node that was lost, if you know of the loss: this log may say that it was begun in its
    /// place; may be repeated
    #[arg(long, value_name = "ROOT", value_parser = root)]
    lost_log: Vec<TreeHash>,
}

/// A root as logs and checkpoints spell it.
fn root(text: &str) -> Result<TreeHash, String> {
    TreeHash::from_base64(text).ok_or_else(|| format!("expected 32 bytes in base64, found {text:?}"))
}

#[derive(Debug, clap::Args)]
pub(super) struct ProveArgs {
    /// The folder of the log
    #[arg(value_name = "LOGDIR")]
    dir: PathBuf,
    /// The record with this index, from 0
    #[arg(long, value_name = "N", required_unless_present = "request", conflicts_with = "request")]
    index: Option<u64>,
    /// The record of the signature for this request
    #[arg(long, value_name = "DIGEST")]
    request: Option<RequestDigest>,
    /// Where the proof goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// `quiet`: a program reads the answer, and nobody the progress.
pub(super) fn run(verb: Verb, context: &Context, quiet: bool) -> Result<Answer, Failure> {
    match verb {
        Verb::Query(args) => query::run(&args, context, quiet),
        Verb::Export { dir } => export::run(&dir, context, quiet),
        Verb::Verify(args) => verify::run(args),
        Verb::Prove(args) => prove::prove(args),
        Verb::CheckProof { file, key } => prove::check(&file, &key),
    }
}

/// The public key under which checkpoints are signed, and the log that it is given for, if it says one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReportKey {
    bytes: [u8; 32],
    name: Option<String>,
}

impl From<[u8; 32]> for ReportKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self { bytes, name: None }
    }
}

impl FromStr for ReportKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        if text.contains('+') {
            let key = NoteKey::parse(text)?;
            let bytes = key.public_key().as_bytes().try_into().map_err(|_| NoteError::Key)?;
            return Ok(Self { bytes, name: Some(key.name().to_owned()) });
        }
        let HexBytes(bytes) = serde_json::from_value(text.into()).map_err(|_| NoteError::Key)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| NoteError::Key)?;
        // Whatever its name: are these bytes a key?
        NoteKey::new("key", &bytes)?;
        Ok(Self { bytes, name: None })
    }
}

impl ReportKey {
    /// What a note says, if this key signed it for the log that the key is given for.
    fn believe(&self, note: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let verified = VerifiedCheckpoint::parse(note, &self.bytes)?;
        let found = verified.checkpoint().origin.to_string();
        match &self.name {
            Some(expected) if *expected != found => {
                Err(CheckpointError::Origin { expected: expected.clone(), found })
            }
            _ => Ok(verified.checkpoint().clone()),
        }
    }

    /// The key as other tools want it.
    fn for_tools(&self, origin: &Origin) -> Option<String> {
        Checkpoint::key(origin, &self.bytes).ok().map(|key| key.to_text())
    }
}

/// What a note says, whoever signed it.
fn unsigned(note: &[u8]) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_text(Note::parse(note)?.danger_unverified_text())
}

/// A note that says nothing that can be believed.
fn not_believed(name: &str, error: &CheckpointError) -> Failure {
    let detail = format!("checkpoint {name}: {}", chain(error));
    match error {
        CheckpointError::Note(NoteError::Signature | NoteError::Unsigned { .. })
        | CheckpointError::Origin { .. } => Failure::refused(
            "CHECKPOINT_NOT_BELIEVED",
            detail,
            "ask the node for its log anew, and see whether the key is its enclave's",
        ),
        _ => Failure::unusable("CHECKPOINT", detail, "give a signed note as the log's folder holds it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_key_is_hex_or_a_verifier_key_and_nothing_else() {
        let hex = "6e7a1cdd29b0b78fd13af4c5598feff4ef2a97166e3ca6f2e4fbfccd80505bf1";
        let key: ReportKey = hex.parse().unwrap();
        let named = NoteKey::new("log.example", &key.bytes).unwrap().to_text();
        let named: ReportKey = named.parse().unwrap();
        assert_eq!((named.bytes, named.name.as_deref()), (key.bytes, Some("log.example")));
        for bad in ["", "00", &hex[2..], &"00".repeat(32), "a+b+c", "log.example+00000000+AAAA"] {
            assert_eq!(bad.parse::<ReportKey>(), Err(NoteError::Key), "{bad}");
        }
    }
}
