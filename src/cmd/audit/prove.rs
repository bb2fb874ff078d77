//! `sealstone audit prove` and `check-proof`: one record, shown to whoever has the report key alone.

use std::path::Path;

use sealstone_attestation::RequestDigest;
use sealstone_attestation::audit::{
    EntryBundle, LeafHash, LogProof, LogProofError, ProofError, Record, RecordKind, TILE_WIDTH,
    prove_inclusion, tiled_node, verify_inclusion,
};
use serde_json::json;

use super::folder::{LogFolder, damaged};
use super::{ProveArgs, ReportKey, not_believed, unsigned};
use crate::failure::{Failure, chain};
use crate::files;
use crate::output::{Answer, json_of, shown};

impl From<ProofError> for Failure {
    fn from(error: ProofError) -> Self {
        damaged(&error.to_string())
    }
}

pub(super) fn prove(args: ProveArgs) -> Result<Answer, Failure> {
    let ProveArgs { dir, index, request, output } = args;
    files::refuse_existing(&output, "the proof")?;
    let folder = LogFolder::open(&dir);
    let checkpoint = folder.checkpoint()?;
    // Whoever checks the proof checks the signature.
    let head = unsigned(&checkpoint).map_err(|error| not_believed("of the log", &error))?;
    let size = head.size;
    let (index, leaf) = match (index, request) {
        (Some(index), _) if index < size => (index, entry(&folder, size, index)?),
        (Some(index), _) => {
            return Err(Failure::unusable(
                "INDEX",
                format!("expected an index below the log's {size} records, found {index}"),
                "records are counted from 0",
            ));
        }
        (None, request) => find(&folder, size, request.expect("the command line has one of them"))?,
    };
    let record =
        Record::parse(&leaf).map_err(|error| damaged(&format!("record {index}: {}", chain(&error))))?;
    let hashes = prove_inclusion(index, size, |level, index| {
        tiled_node(size, level, index, |tile| folder.needed_tile(tile))
    })?;
    verify_inclusion(LeafHash::of(&leaf), index, size, head.root, &hashes)
        .map_err(|error| damaged(&format!("record {index}: {error}")))?;
    let proof = LogProof { leaf, index, hashes, checkpoint };
    files::write_new(&output, "the proof", &proof.to_bytes(), files::PUBLIC_MODE)?;
    let json = json!({
        "origin": head.origin.to_string(),
        "index": index,
        "size": size,
        "record": json_of(&record),
        "file": output.display().to_string(),
    });
    Ok(Answer::done(json, format!("record {index} of {size}, proven in {}\n", output.display())))
}

pub(super) fn check(file: &Path, key: &ReportKey) -> Result<Answer, Failure> {
    let bytes = files::read(file, "a proof", LogProof::BYTES_MAX)?;
    let proof = LogProof::parse(&bytes).map_err(|error| {
        Failure::unusable(
            "PROOF",
            format!("expected a proof in {}, found: {}", file.display(), chain(&error)),
            "give the file that `sealstone audit prove` wrote, whole",
        )
    })?;
    let believed = key
        .believe(&proof.checkpoint)
        .map_err(LogProofError::from)
        .and_then(|head| proof.verify(&key.bytes).map(|(record, _)| (record, head)));
    let (record, head) = match believed {
        Ok(found) => found,
        Err(error) => {
            let reason = chain(&error);
            let json = json!({"accepted": false, "reason": reason});
            return Ok(Answer::verdict(false, json, format!("FAIL {}\nrefused\n", shown(&reason))));
        }
    };
    let leaf = String::from_utf8_lossy(&proof.leaf);
    let json = json!({
        "accepted": true,
        "origin": head.origin.to_string(),
        "index": proof.index,
        "size": head.size,
        "root": head.root,
        "record": json_of(&record),
    });
    let text = format!(
        "{}\nrecord {} of {} in the log {}\naccepted\n",
        shown(&leaf),
        proof.index,
        head.size,
        shown(&head.origin.to_string())
    );
    Ok(Answer::verdict(true, json, text))
}

/// The bytes of one entry.
fn entry(folder: &LogFolder, size: u64, index: u64) -> Result<Vec<u8>, Failure> {
    let missing = || damaged(&format!("record {index} is missing"));
    let bundle = EntryBundle::of_log(size, index / TILE_WIDTH).ok_or_else(missing)?;
    let bytes = folder.bundle(&bundle)?.ok_or_else(missing)?;
    let place = usize::try_from(index - bundle.first()).expect("below 256");
    let (entries, _) = EntryBundle::split(&bytes);
    entries.get(place).map(|entry| entry.to_vec()).ok_or_else(missing)
}

/// The record of the signature for a request, or else the first that names it.
fn find(folder: &LogFolder, size: u64, request: RequestDigest) -> Result<(u64, Vec<u8>), Failure> {
    let mut other = None;
    for number in 0..size.div_ceil(TILE_WIDTH) {
        let Some(bundle) = EntryBundle::of_log(size, number) else { continue };
        let Some(bytes) = folder.bundle(&bundle)? else { continue };
        let (entries, _) = EntryBundle::split(&bytes);
        for (index, entry) in (bundle.first()..).zip(entries) {
            let Ok(record) = Record::parse(entry) else { continue };
            if record.request != Some(request) {
                continue;
            }
            if record.kind == RecordKind::Signed {
                return Ok((index, entry.to_vec()));
            }
            other.get_or_insert_with(|| (index, entry.to_vec()));
        }
    }
    other.ok_or_else(|| {
        Failure::refused(
            "NOT_LOGGED",
            format!("expected a record of the request {request} among {size}, found none"),
            "export the log anew if the request is newer, or see whether the digest is the right one",
        )
    })
}
