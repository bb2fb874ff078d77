//! How much of the log the enclave has signed.

use sealstone_attestation::UnixTime;
use sealstone_attestation::audit::{Checkpoint, CoveredReceipts, Note, Record};
use sealstone_wire::api::{CheckpointStatus, LogStatus};
use sealstone_wire::limits::AUDIT_UNCOVERED_MAX;
use sealstone_wire::reply::Status;

use crate::store::{Store, StoreError};

/// How the node's log stands, by the store and by what the enclave says of its receipts.
///
/// # Errors
/// The store's.
pub async fn standing(store: &Store, enclave: Option<&Status>) -> Result<LogStatus, StoreError> {
    let newest = store.checkpoint(None).await?;
    // After the checkpoint, so that it is no shorter.
    let size = store.audit_size().await?;
    let covered = newest.as_ref().map_or(0, |newest| newest.size);
    let mut checkpoint = None;
    if let Some(newest) = &newest {
        let newest_record = match newest.size.checked_sub(1) {
            Some(last) => written(store, last).await?,
            None => None,
        };
        checkpoint = Some(CheckpointStatus { size: newest.size, newest_record });
    }
    let receipts = newest.as_ref().and_then(|newest| receipts(&newest.note));
    Ok(LogStatus {
        size,
        checkpoint,
        uncovered_records: size.saturating_sub(covered),
        uncovered_since: if covered < size { written(store, covered).await? } else { None },
        uncovered_receipts: enclave.map(|enclave| uncovered((enclave.era, enclave.sequence), receipts)),
        uncovered_receipts_max: AUDIT_UNCOVERED_MAX as u64,
    })
}

/// When a record was written.
async fn written(store: &Store, index: u64) -> Result<Option<UnixTime>, StoreError> {
    let leaves = store.audit_leaves(index, 1).await?;
    let record = leaves.first().and_then(|leaf| Record::parse(leaf).ok());
    Ok(record.map(|record| UnixTime::from_secs(record.time_ms / 1000)))
}

/// Up to which receipt a checkpoint covers all. It is the store's own: nothing is decided by it.
fn receipts(note: &[u8]) -> Option<CoveredReceipts> {
    let note = Note::parse(note).ok()?;
    Checkpoint::from_text(note.danger_unverified_text()).ok().map(|checkpoint| checkpoint.receipts)
}

/// Receipts of an era, of which so many were given, that a checkpoint does not surely cover.
fn uncovered((era, given): (u64, u64), covered: Option<CoveredReceipts>) -> u64 {
    match covered {
        Some(covered) if covered.era == era => given.saturating_sub(covered.sequence),
        _ => given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_era_s_checkpoint_covers_says_nothing_of_this_one() {
        let covered = |era, sequence| Some(CoveredReceipts { era, sequence });
        for (given, by, expected) in [
            ((7, 9), covered(7, 4), 5),
            ((7, 9), covered(7, 9), 0),
            ((7, 9), covered(6, 9), 9),
            ((7, 9), None, 9),
            ((7, 9), covered(7, 10), 0),
            ((0, 0), None, 0),
        ] {
            assert_eq!(uncovered(given, by), expected, "{given:?} {by:?}");
        }
    }
}
