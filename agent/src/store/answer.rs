//! Recording signatures: each is the answer of its reservation, with its record in the log.

use std::collections::HashSet;

use super::StoreError;
use super::database::{Value, sql, values};
use super::job::AnswerAsk;
use super::progress::Progress;
use super::rows::{Answer, Answered, ordered, seconds};
use super::transaction::Transaction;

/// Columns in which a receipt is written.
pub(super) const COLUMNS: &str = "node, era, sequence, reservation, algorithm, public_key, digest, recovery_id, \
     previous, key_id, epoch, binding, session, time, signature, report_signature, attested_until";

/// How many they are.
pub(super) const WIDTH: usize = 17;

/// Records each signature. The same receipt again changes nothing; its sequence for another reservation is an
/// error of that job alone.
pub(super) async fn answer(
    transaction: &mut Transaction<'_>,
    asks: &mut [AnswerAsk],
) -> Result<(), StoreError> {
    let node = transaction.state.node;
    for chunk in asks.chunks_mut(transaction.connection.rows_max()) {
        let mut arguments = Vec::with_capacity(chunk.len() * WIDTH);
        for ask in chunk.iter() {
            push(&ask.ask, node, &mut arguments)?;
        }
        let rows = sql::rows(WIDTH, chunk.len(), 0);
        let sql = format!(
            "INSERT INTO receipts ({COLUMNS}) {rows} ON CONFLICT (node, era, sequence) DO NOTHING \
             RETURNING era, sequence"
        );
        let mut inserted = HashSet::new();
        for row in transaction.connection.fetch(sql, arguments).await? {
            inserted.insert((row.unsigned(0, "an era")?, row.unsigned(1, "a sequence")?));
        }
        let voided = voided(transaction, chunk).await?;
        for ask in chunk {
            let Answer { reservation, receipt, audit, .. } = &*ask.ask;
            let (era, sequence) = (receipt.receipt.era, receipt.receipt.sequence);
            // What was not inserted, or was by a twin in this statement, was recorded before.
            if inserted.remove(&(era, sequence)) {
                transaction.record(audit);
                if let Some(progress) = &mut transaction.state.progress {
                    progress.add(era, sequence);
                }
            } else if !is_recorded(transaction, &ask.ask).await? {
                ask.settle(Err(StoreError::SequenceTaken { era, sequence }));
                continue;
            }
            let voided = voided.contains(reservation);
            ask.settle(Ok(Answered { behind: 0, voided }));
        }
    }
    let behind = transaction.state.progress.as_ref().map_or(0, Progress::behind);
    for ask in asks {
        if let Some(answered) = ask.settled_mut() {
            answered.behind = behind;
        }
    }
    Ok(())
}

/// A receipt's values in the order of [`COLUMNS`].
pub(super) fn push(answer: &Answer, node: i64, arguments: &mut Vec<Value>) -> Result<(), StoreError> {
    let Answer { reservation, receipt: signed, public_key, digest, recovery_id, attested_until, audit: _ } =
        answer;
    let receipt = &signed.receipt;
    arguments.extend([
        node.into(),
        ordered("an era", receipt.era)?.into(),
        ordered("a sequence", receipt.sequence)?.into(),
        (*reservation).into(),
        public_key.algorithm().name().into(),
        public_key.as_bytes().into(),
        digest.into(),
        recovery_id.map(i64::from).into(),
        receipt.previous.as_bytes().into(),
        receipt.key_id.as_bytes().into(),
        ordered("an epoch", receipt.epoch)?.into(),
        receipt.binding.as_bytes().into(),
        receipt.session.as_bytes()[..].into(),
        seconds(receipt.time).into(),
        receipt.signature.as_bytes()[..].into(),
        signed.report_signature.as_bytes()[..].into(),
        seconds(*attested_until).into(),
    ]);
    Ok(())
}

/// Those of the answered reservations whose nonce is not to be signed any more.
pub(super) async fn voided(
    transaction: &mut Transaction<'_>,
    asks: &[AnswerAsk],
) -> Result<HashSet<i64>, StoreError> {
    let sql = format!(
        "SELECT id FROM reservations WHERE id IN ({}) AND state IN ('voided', 'replaced')",
        sql::rows(1, asks.len(), 0)
    );
    let ids = asks.iter().map(|ask| ask.ask.reservation.into()).collect();
    transaction.connection.fetch(sql, ids).await?.iter().map(|row| row.int(0)).collect()
}

async fn is_recorded(transaction: &mut Transaction<'_>, answer: &Answer) -> Result<bool, StoreError> {
    let receipt = &answer.receipt.receipt;
    let sql = "SELECT reservation, signature FROM receipts WHERE node = $1 AND era = $2 AND sequence = $3";
    let name = [
        transaction.state.node.into(),
        ordered("an era", receipt.era)?.into(),
        ordered("a sequence", receipt.sequence)?.into(),
    ];
    let rows = transaction.connection.fetch(sql, values(name)).await?;
    let Some(row) = rows.first() else { return Ok(false) };
    Ok(row.int(0)? == answer.reservation && row.bytes(1)? == receipt.signature.as_bytes())
}
