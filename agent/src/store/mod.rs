//! The agent's memory: which nonce was given to which request, and what each was answered.
//!
//! SQLite in write-ahead mode with an fsync at each commit. One [`writer`] groups what waits into one
//! transaction; every method here returns after its change is durable. `docs/schema.md` describes the tables.

mod batch;
mod error;
mod open;
mod progress;
mod rows;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;

use sealstone_attestation::{RequestDigest, UnixTime};
use sealstone_wire::{Epoch, PathText};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqlitePoolOptions};
use tokio::sync::{mpsc, oneshot};

pub use error::StoreError;
pub use progress::Progress;
pub use rows::{
    Answer, AssetEpoch, IdempotencyKey, NonceKey, OpenReservation, Recorded, Reserve, Reserved, ReservedKey,
    Sender,
};

use rows::{RESERVATION_COLUMNS, Standing, bits, ordered, reservation_from_row, unsigned};
use writer::{Ask, Job, Writer};

/// Connections that only read: listings and counts are rare, and each connection is a thread and a cache.
const READERS_MAX: u32 = 2;

/// The store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    readers: SqlitePool,
}

impl Store {
    /// Opens or creates the store; brings an older one to this release's version.
    ///
    /// # Errors
    /// [`StoreError`]: the folder cannot be written, another process holds the store, the file is something else,
    /// or a newer release wrote it.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let (mut connection, lock) = open::open(path).await?;
        let next_id = sqlx::query_scalar("SELECT coalesce(max(id), 0) + 1 FROM reservations")
            .fetch_one(&mut connection)
            .await?;
        Ok(Self::start(connection, lock, path, next_id))
    }

    fn start(connection: SqliteConnection, lock: open::Lock, path: &Path, next_id: i64) -> Self {
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .connect_lazy_with(open::reader_options(path));
        let (jobs, queue) = mpsc::channel(writer::QUEUE_MAX);
        tokio::spawn(Writer::new(connection, lock, queue, next_id).run());
        Self { jobs, readers }
    }

    /// Gives the nonce to the request, or says who has it.
    ///
    /// # Errors
    /// [`StoreError::NoEra`] before [`Store::begin_era`]; else the database's.
    pub async fn reserve(&self, reserve: Reserve) -> Result<Reserved, StoreError> {
        let (ask, answer) = Ask::new(Box::new(reserve));
        self.job(Job::Reserve(ask), answer).await
    }

    /// Records a signature as the answer of its reservation. The same receipt again changes nothing. Says how far
    /// the newest receipt of the era is beyond those that are held without a gap.
    ///
    /// # Errors
    /// [`StoreError::SequenceTaken`] if another reservation has that sequence; else the database's.
    pub async fn answer(&self, answer: Answer) -> Result<u64, StoreError> {
        let (ask, outcome) = Ask::new(Box::new(answer));
        self.job(Job::Answer(ask), outcome).await
    }

    /// Frees the nonce of a reservation that surely was not signed. An answered one stays.
    ///
    /// # Errors
    /// The database's.
    pub async fn release(&self, reservation: i64) -> Result<(), StoreError> {
        let (ask, outcome) = Ask::new(reservation);
        self.job(Job::Release(ask), outcome).await
    }

    /// Records an asset's next epoch, and with epoch 0 the asset. `false`, and nothing changed, if that epoch is
    /// not the asset's next, or if the asset exists with another algorithm.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin_epoch(&self, epoch: AssetEpoch) -> Result<bool, StoreError> {
        let (ask, outcome) = Ask::new(Box::new(epoch));
        self.job(Job::BeginEpoch(ask), outcome).await
    }

    /// Records that the enclave's era is this one, before anything is signed in it; says which of its receipts
    /// are held.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin_era(&self, era: u64, now: UnixTime) -> Result<Progress, StoreError> {
        let (ask, outcome) = Ask::new((era, now));
        self.job(Job::BeginEra(ask), outcome).await
    }

    /// Declares the receipts of an era complete through this sequence, though some were never held: an operator's
    /// decision after a loss.
    ///
    /// # Errors
    /// The database's.
    pub async fn danger_accept_gap(&self, era: u64, through: u64) -> Result<(), StoreError> {
        let (ask, outcome) = Ask::new((era, through));
        self.job(Job::AcceptGap(ask), outcome).await
    }

    /// Writes a name of what this store belongs to, once; returns what stands.
    ///
    /// # Errors
    /// The database's.
    pub async fn claim(&self, name: &'static str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (ask, outcome) = Ask::new((name, value.to_owned()));
        self.job(Job::Claim(ask), outcome).await
    }

    /// What stands under a name.
    ///
    /// # Errors
    /// The database's.
    pub async fn meta(&self, name: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = sqlx::query("SELECT value FROM meta WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Removes a name, so that it can be claimed anew: an operator's decision.
    ///
    /// # Errors
    /// The database's.
    pub async fn danger_forget(&self, name: &'static str) -> Result<(), StoreError> {
        let (ask, outcome) = Ask::new(name);
        self.job(Job::Forget(ask), outcome).await
    }

    /// Finishes what waits, then closes the file. Later calls fail with [`StoreError::Closed`].
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
        self.readers.close().await;
    }

    /// The answer or the state of whatever holds this nonce, without reserving anything: `None` if it is free.
    ///
    /// # Errors
    /// The database's.
    pub async fn standing(
        &self,
        nonce: &NonceKey,
        request: &RequestDigest,
    ) -> Result<Option<Reserved>, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {RESERVATION_COLUMNS} FROM reservations r \
             LEFT JOIN receipts p ON p.era = r.receipt_era AND p.sequence = r.receipt_sequence \
             WHERE r.chain_id = ? AND r.sender = ? AND r.nonce = ?"
        )))
        .bind(bits(nonce.chain_id))
        .bind(nonce.sender.as_str())
        .bind(bits(nonce.nonce))
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let Standing { request: holder, open, answer } = reservation_from_row(&row)?;
        Ok(Some(match answer {
            _ if holder != *request => Reserved::NonceUsed,
            Some(answer) => Reserved::Answered(answer),
            None => Reserved::Open(open),
        }))
    }

    /// The reservation of a request, answered or not, for a receipt that names only the request. An open one is
    /// found by its index; an answered one by a search of the whole table, which only a receipt that the store
    /// does not hold can cause.
    ///
    /// # Errors
    /// The database's.
    pub async fn reservation_of(
        &self,
        request: &RequestDigest,
    ) -> Result<Option<OpenReservation>, StoreError> {
        for condition in ["r.request = ? AND r.receipt_sequence IS NULL", "r.request = ?"] {
            let row = sqlx::query(sqlx::AssertSqlSafe(format!(
                "SELECT {RESERVATION_COLUMNS} FROM reservations r \
                 LEFT JOIN receipts p ON p.era = r.receipt_era AND p.sequence = r.receipt_sequence WHERE {condition}"
            )))
            .bind(&request.as_bytes()[..])
            .fetch_optional(&self.readers)
            .await?;
            if let Some(row) = row {
                return Ok(Some(reservation_from_row(&row)?.open));
            }
        }
        Ok(None)
    }

    /// The newest era that the store has seen.
    ///
    /// # Errors
    /// The database's.
    pub async fn newest_era(&self) -> Result<Option<u64>, StoreError> {
        let row = sqlx::query("SELECT era FROM eras ORDER BY era DESC LIMIT 1")
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| unsigned(&row, 0, "an era")).transpose()
    }

    /// An asset in one epoch, or in its newest.
    ///
    /// # Errors
    /// The database's.
    pub async fn asset(
        &self,
        tenant: &PathText,
        asset: &PathText,
        epoch: Option<Epoch>,
    ) -> Result<Option<AssetEpoch>, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {} FROM epochs e JOIN assets a ON a.tenant = e.tenant AND a.asset = e.asset \
             WHERE e.tenant = ?1 AND e.asset = ?2 AND (?3 IS NULL OR e.epoch = ?3) ORDER BY e.epoch DESC LIMIT 1",
            AssetEpoch::COLUMNS
        )))
        .bind(tenant.as_str())
        .bind(asset.as_str())
        .bind(epoch.map(|epoch| ordered("an epoch", epoch.0)).transpose()?)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(AssetEpoch::from_row).transpose()
    }

    /// Every asset in its newest epoch, by tenant and then asset, as bytes.
    ///
    /// # Errors
    /// The database's.
    pub async fn assets(&self) -> Result<Vec<AssetEpoch>, StoreError> {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {} FROM assets a JOIN epochs e ON e.tenant = a.tenant AND e.asset = a.asset AND e.epoch = \
             (SELECT max(epoch) FROM epochs WHERE tenant = a.tenant AND asset = a.asset) \
             ORDER BY a.tenant, a.asset",
            AssetEpoch::COLUMNS
        )))
        .fetch_all(&self.readers)
        .await?
        .iter()
        .map(AssetEpoch::from_row)
        .collect()
    }

    /// Reservations by state: `reserved` (no answer known) and `signed`.
    ///
    /// # Errors
    /// The database's.
    pub async fn counts(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let row = sqlx::query(
            // Not a count of all receipts, which would read each of them.
            "SELECT (SELECT count(*) FROM reservations WHERE receipt_sequence IS NULL), \
             (SELECT coalesce(sum(e.complete_through + (SELECT count(*) FROM receipts p \
             WHERE p.era = e.era AND p.sequence > e.complete_through)), 0) FROM eras e)",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(BTreeMap::from([
            ("reserved".to_owned(), unsigned(&row, 0, "a count")?),
            ("signed".to_owned(), unsigned(&row, 1, "a count")?),
        ]))
    }

    /// Whether the database answers: the newest fault if not.
    ///
    /// # Errors
    /// The database's.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").fetch_one(&self.readers).await?.try_get::<i64, _>(0)?;
        if self.jobs.is_closed() { Err(StoreError::Closed) } else { Ok(()) }
    }

    async fn job<A>(
        &self,
        job: Job,
        answer: oneshot::Receiver<Result<A, StoreError>>,
    ) -> Result<A, StoreError> {
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

#[cfg(test)]
mod tests;
