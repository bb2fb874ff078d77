//! Rare jobs: releases, voids, epochs, eras, names, records of their own.

use sealstone_attestation::UnixTime;
use sealstone_wire::PathText;

use super::StoreError;
use super::audit::CheckpointRow;
use super::database::{Connection, Row, Value, values};
use super::job::{Other, Scope};
use super::progress::Progress;
use super::reservation::{NoncesReleased, RELEASED_MAX, ReleaseNonces, Voided};
use super::rows::{AssetEpoch, Sender, bits, ordered, seconds};
use super::transaction::{Transaction, complete_through};
use super::windows::Windows;

/// The node of names that belong to the deployment.
const DEPLOYMENT: i64 = -1;

pub(super) async fn run(transaction: &mut Transaction<'_>, job: &mut Other) -> Result<(), StoreError> {
    match job {
        Other::Release(ask) => {
            let (id, audit) = &ask.ask;
            let released = release(transaction, *id).await?;
            if released {
                transaction.record(audit);
            }
            ask.settle(Ok(released));
        }
        Other::Void(ask) => {
            let (id, audit) = &ask.ask;
            let (voided, changed) = void(transaction, *id).await?;
            if changed {
                transaction.record(audit);
            }
            ask.settle(Ok(voided));
        }
        Other::ReleaseNonces(ask) => {
            let outcome = release_nonces(transaction, &ask.ask).await?;
            if matches!(&outcome, NoncesReleased::Released { reservations } if !reservations.is_empty()) {
                transaction.record(&ask.ask.audit);
            }
            ask.settle(Ok(outcome));
        }
        Other::BeginEpoch(ask) => {
            let (epoch, audit) = &*ask.ask;
            let begun = begin_epoch(transaction, epoch).await?;
            if begun {
                transaction.record(audit);
            }
            ask.settle(Ok(begun));
        }
        Other::Retire(ask) => {
            let (tenant, asset, at, audit) = &*ask.ask;
            let retired = retire(transaction, tenant, asset, *at).await?;
            if retired {
                transaction.record(audit);
            }
            ask.settle(Ok(retired));
        }
        Other::BeginEra(ask) => {
            let (era, now) = ask.ask;
            let progress = begin_era(transaction, era, now).await?;
            ask.settle(Ok(progress));
        }
        Other::AcceptGap(ask) => {
            let (era, through) = ask.ask;
            complete_through(transaction.connection, transaction.state.node, era, through).await?;
            transaction.state.progress = Some(Progress::new(era, through, []));
            ask.settle(Ok(()));
        }
        Other::Claim(ask) => {
            let (scope, name, value) = &ask.ask;
            let stands = claim(transaction, *scope, name, value).await?;
            ask.settle(Ok(stands));
        }
        Other::Forget(ask) => {
            let sql = "DELETE FROM meta WHERE node = $1 AND name = $2";
            let values = values([transaction.state.node.into(), ask.ask.into()]);
            transaction.connection.execute(sql, values).await?;
            ask.settle(Ok(()));
        }
        Other::Append(ask) => {
            let index = transaction.record(&ask.ask);
            ask.settle(u64::try_from(index).map_err(|_| StoreError::Corrupt { expected: "an index" }));
        }
        Other::Checkpoint(ask) => {
            checkpoint(transaction, &ask.ask).await?;
            ask.settle(Ok(()));
        }
    }
    Ok(())
}

/// Deletes a reservation that surely was not signed, and gives back what it took. One that another request resumed
/// since may be under way: it stays.
async fn release(transaction: &mut Transaction<'_>, reservation: i64) -> Result<bool, StoreError> {
    let sql = "SELECT sender FROM reservations WHERE id = $1";
    let rows = transaction.connection.fetch(sql, values([reservation.into()])).await?;
    let Some(row) = rows.first() else { return Ok(false) };
    lock_sender(transaction, row.text(0)?).await?;
    let sql = "DELETE FROM reservations WHERE id = $1 AND state = 'reserved' AND resumed = 0";
    if transaction.connection.execute(sql, values([reservation.into()])).await? == 0 {
        return Ok(false);
    }
    Windows::give_back(transaction, reservation).await?;
    Ok(true)
}

/// Locks the row of a sender whose reservations are about to change.
async fn lock_sender(transaction: &mut Transaction<'_>, sender: &str) -> Result<(), StoreError> {
    if transaction.connection.shared() {
        let sql = "SELECT sender FROM senders WHERE sender = $1 FOR UPDATE";
        transaction.connection.fetch(sql, values([sender.into()])).await?;
    }
    Ok(())
}

/// What stands then, and whether that is new.
async fn void(transaction: &mut Transaction<'_>, reservation: i64) -> Result<(Voided, bool), StoreError> {
    let sql = "UPDATE reservations SET state = 'voided' WHERE id = $1 AND state = 'reserved'";
    if transaction.connection.execute(sql, values([reservation.into()])).await? > 0 {
        return Ok((Voided::Voided, true));
    }
    let sql = "SELECT state FROM reservations WHERE id = $1";
    let rows = transaction.connection.fetch(sql, values([reservation.into()])).await?;
    let stands = match rows.first().map(|row| row.text(0)).transpose()? {
        None => Voided::Unknown,
        Some("voided") => Voided::Voided,
        Some("replaced") => Voided::Replaced,
        Some(_) => Voided::Signed,
    };
    Ok((stands, false))
}

async fn release_nonces(
    transaction: &mut Transaction<'_>,
    order: &ReleaseNonces,
) -> Result<NoncesReleased, StoreError> {
    let ReleaseNonces { chain_id, sender, nonces, audit: _ } = order;
    lock_sender(transaction, sender.as_str()).await?;
    let mut found: Vec<Row> = Vec::new();
    for (first, last) in as_bits(*nonces.start(), *nonces.end()) {
        let sql = format!(
            "SELECT id, state FROM reservations WHERE chain_id = $1 AND sender = $2 AND nonce >= $3 AND nonce <= $4 \
             AND generation = 0 ORDER BY nonce LIMIT {}{}",
            RELEASED_MAX + 1,
            transaction.connection.for_update()
        );
        let range = [bits(*chain_id).into(), sender.as_str().into(), first.into(), last.into()];
        found.extend(transaction.connection.fetch(sql, values(range)).await?);
    }
    if found.len() > RELEASED_MAX {
        return Ok(NoncesReleased::TooMany);
    }
    let mut reservations = Vec::with_capacity(found.len());
    for row in &found {
        if row.text(1)? == "reserved" {
            return Ok(NoncesReleased::StillOpen { reservation: row.int(0)? });
        }
        reservations.push(row.int(0)?);
    }
    for chunk in reservations.chunks(transaction.connection.rows_max()) {
        let ids = super::database::sql::rows(1, chunk.len(), 0);
        let sql = format!(
            "UPDATE reservations SET state = 'replaced', generation = (SELECT max(o.generation) + 1 \
             FROM reservations o WHERE o.chain_id = reservations.chain_id AND o.sender = reservations.sender \
             AND o.nonce = reservations.nonce) WHERE id IN ({ids})"
        );
        let ids: Vec<Value> = chunk.iter().map(|id| (*id).into()).collect();
        transaction.connection.execute(sql, ids).await?;
    }
    Ok(NoncesReleased::Released { reservations })
}

/// The ranges of stored numbers that hold a range of nonces: the upper half of them is stored as negative numbers.
fn as_bits(first: u64, last: u64) -> Vec<(i64, i64)> {
    const HALF: u64 = 1 << 63;
    let lower = (first < HALF && first <= last).then(|| (bits(first), bits(last.min(HALF - 1))));
    let upper = (last >= HALF && first <= last).then(|| (bits(first.max(HALF)), bits(last)));
    lower.into_iter().chain(upper).collect()
}

async fn begin_epoch(transaction: &mut Transaction<'_>, epoch: &AssetEpoch) -> Result<bool, StoreError> {
    let AssetEpoch { tenant, asset, algorithm, epoch, binding, key_id, public_key, since, retired_at: _ } =
        epoch;
    let name: [Value; 2] = [tenant.as_str().into(), asset.as_str().into()];
    if epoch.0 == 0 {
        let sql = "INSERT INTO assets (tenant, asset, sender, algorithm) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT DO NOTHING";
        let sender = Sender::asset(tenant, asset);
        let row = [name[0].clone(), name[1].clone(), sender.as_str().into(), algorithm.name().into()];
        transaction.connection.execute(sql, values(row)).await?;
    }
    let sql = format!(
        "SELECT algorithm, retired_at FROM assets WHERE tenant = $1 AND asset = $2{}",
        transaction.connection.for_update()
    );
    let rows = transaction.connection.fetch(sql, values(name.clone())).await?;
    // Nothing happens if the asset is another, or retired, if the epoch exists, or does not follow the newest.
    match rows.first() {
        Some(row) if row.text(0)? == algorithm.name() && row.int_or_none(1)?.is_none() => {}
        _ => return Ok(false),
    }
    let sql = "SELECT coalesce(max(epoch) + 1, 0) FROM epochs WHERE tenant = $1 AND asset = $2";
    let rows = transaction.connection.fetch(sql, values(name.clone())).await?;
    let next = ordered("an epoch", epoch.0)?;
    if rows.first().map(|row| row.int(0)).transpose()? != Some(next) {
        return Ok(false);
    }
    let [tenant, asset] = name;
    let row = [
        tenant,
        asset,
        next.into(),
        binding.as_bytes().into(),
        key_id.as_bytes().into(),
        public_key.as_bytes().into(),
        seconds(*since).into(),
    ];
    let sql = "INSERT INTO epochs (tenant, asset, epoch, binding, key_id, public_key, since) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    transaction.connection.execute(sql, values(row)).await?;
    transaction.assets.forget();
    Ok(true)
}

async fn retire(
    transaction: &mut Transaction<'_>,
    tenant: &PathText,
    asset: &PathText,
    at: UnixTime,
) -> Result<bool, StoreError> {
    let sql = "UPDATE assets SET retired_at = $3 WHERE tenant = $1 AND asset = $2 AND retired_at IS NULL";
    let row = [tenant.as_str().into(), asset.as_str().into(), seconds(at).into()];
    let changed = transaction.connection.execute(sql, values(row)).await?;
    transaction.assets.forget();
    Ok(changed > 0)
}

async fn begin_era(
    transaction: &mut Transaction<'_>,
    era: u64,
    now: UnixTime,
) -> Result<Progress, StoreError> {
    let node = transaction.state.node;
    let key = ordered("an era", era)?;
    let sql = "INSERT INTO eras (node, era, first_seen) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    transaction.connection.execute(sql, values([node.into(), key.into(), seconds(now).into()])).await?;
    let progress = read_progress(transaction.connection, node, era).await?;
    transaction.state.progress = Some(progress.clone());
    Ok(progress)
}

/// Which receipts of an era the node holds.
pub(super) async fn read_progress(
    connection: &mut Connection,
    node: i64,
    era: u64,
) -> Result<Progress, StoreError> {
    let key = ordered("an era", era)?;
    let sql = "SELECT complete_through FROM eras WHERE node = $1 AND era = $2";
    let rows = connection.fetch(sql, values([node.into(), key.into()])).await?;
    let through = rows.first().map_or(Ok(0), |row| row.unsigned(0, "a sequence"))?;
    let sql =
        "SELECT sequence FROM receipts WHERE node = $1 AND era = $2 AND sequence > $3 ORDER BY sequence";
    let after = [node.into(), key.into(), ordered("a sequence", through)?.into()];
    let rows = connection.fetch(sql, values(after)).await?;
    let beyond = rows.iter().map(|row| row.unsigned(0, "a sequence")).collect::<Result<Vec<_>, _>>()?;
    Ok(Progress::new(era, through, beyond))
}

async fn claim(
    transaction: &mut Transaction<'_>,
    scope: Scope,
    name: &'static str,
    value: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let node = match scope {
        Scope::Deployment => DEPLOYMENT,
        Scope::Node => transaction.state.node,
    };
    let sql = "INSERT INTO meta (node, name, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    transaction.connection.execute(sql, values([node.into(), name.into(), value.into()])).await?;
    let sql = "SELECT value FROM meta WHERE node = $1 AND name = $2";
    let rows = transaction.connection.fetch(sql, values([node.into(), name.into()])).await?;
    let row = rows.first().ok_or(StoreError::Corrupt { expected: "the name that was claimed" })?;
    Ok(row.bytes(0)?.to_owned())
}

async fn checkpoint(transaction: &mut Transaction<'_>, row: &CheckpointRow) -> Result<(), StoreError> {
    let CheckpointRow { size, root, note } = row;
    let sql =
        "INSERT INTO checkpoints (node, size, root, note) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    let size = ordered("a size", *size)?;
    let row = [transaction.state.node.into(), size.into(), root.into(), note.as_slice().into()];
    transaction.connection.execute(sql, values(row)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_nonces_is_found_however_its_numbers_are_stored() {
        assert_eq!(as_bits(1, 5), [(1, 5)]);
        assert_eq!(as_bits(0, u64::MAX), [(0, i64::MAX), (i64::MIN, -1)]);
        assert_eq!(as_bits(u64::MAX - 1, u64::MAX), [(-2, -1)]);
        assert_eq!(as_bits((1 << 63) - 1, 1 << 63), [(i64::MAX, i64::MAX), (i64::MIN, i64::MIN)]);
        assert_eq!(as_bits(5, 4), []);
        assert_eq!(as_bits(u64::MAX, 0), []);
    }
}
