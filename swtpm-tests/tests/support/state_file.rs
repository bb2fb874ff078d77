//! The enclave's state file as a story reads, changes and tears it; written from `docs/state-file.md`, not from the
//! enclave's code.

use std::ops::Range;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Where the second record is.
pub const PLACE_LEN: usize = 4 * 1024 * 1024 + 64 * 1024;

const MAGIC: &[u8] = b"sealstone-state-2\n";
const HEADER_LEN: usize = 18 + 8 + 4 + 32;

/// The bytes of a record.
pub fn record(sequence: u64, body: &[u8]) -> Vec<u8> {
    let digest = Sha256::new().chain_update(sequence.to_be_bytes()).chain_update(body).finalize();
    let length = u32::try_from(body.len()).unwrap();
    [MAGIC, &sequence.to_be_bytes(), &length.to_be_bytes(), &digest, body].concat()
}

/// The newest state.
pub fn newest(file: &[u8]) -> Value {
    let (_, _, body) = newest_record(file);
    serde_json::from_slice(&file[body]).unwrap()
}

/// The file with something changed in its newest state, under a right digest.
pub fn changed(file: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut state = newest(file);
    change(&mut state);
    with_body(file, state.to_string().as_bytes())
}

/// The file with another newest body, under a right digest.
pub fn with_body(file: &[u8], body: &[u8]) -> Vec<u8> {
    let (offset, sequence, _) = newest_record(file);
    let record = record(sequence, body);
    let mut file = file.to_vec();
    let end = file.len().max(offset + record.len());
    file.resize(end, 0);
    file[offset..offset + record.len()].copy_from_slice(&record);
    file
}

/// The file with the last half of its newest record as a write leaves it that never came that far.
pub fn torn(file: &[u8]) -> Vec<u8> {
    let (_, _, body) = newest_record(file);
    let mut file = file.to_vec();
    let half = body.start + body.len() / 2;
    file[half..body.end].fill(0);
    file
}

/// The file with a changed byte in each of these records: 0 is the newest, 1 the one before.
pub fn damaged(file: &[u8], which: &[usize]) -> Vec<u8> {
    let mut records = records(file);
    records.sort_by_key(|(_, sequence, _)| std::cmp::Reverse(*sequence));
    let mut file = file.to_vec();
    for which in which {
        file[records[*which].2.start + 5] ^= 1;
    }
    file
}

/// Offset, sequence and body of the newest record.
fn newest_record(file: &[u8]) -> (usize, u64, Range<usize>) {
    records(file).into_iter().max_by_key(|(_, sequence, _)| *sequence).expect("the file holds a state")
}

fn records(file: &[u8]) -> Vec<(usize, u64, Range<usize>)> {
    [0, PLACE_LEN]
        .into_iter()
        .filter_map(|offset| Some((offset, read(file, offset)?)))
        .map(|(offset, (sequence, body))| (offset, sequence, body))
        .collect()
}

fn read(file: &[u8], offset: usize) -> Option<(u64, Range<usize>)> {
    let rest = file.get(offset..)?.strip_prefix(MAGIC)?;
    let sequence = u64::from_be_bytes(rest.get(..8)?.try_into().ok()?);
    let length = usize::try_from(u32::from_be_bytes(rest.get(8..12)?.try_into().ok()?)).ok()?;
    let body = offset + HEADER_LEN..offset + HEADER_LEN + length;
    (record(sequence, file.get(body.clone())?) == file[offset..body.end]).then_some((sequence, body))
}
