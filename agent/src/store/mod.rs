//! The agent's memory: which nonce was given to which request, what each was answered, and the record of all of it.
//!
//! On SQLite, a file of this agent alone, or on PostgreSQL, which several agents share. One [`writer`] groups what
//! waits into one transaction; every method here that changes something returns after that is durable.
//! `docs/schema.md` describes the tables.

mod about;
mod answer;
mod audit;
pub mod backup;
mod database;
mod error;
mod fast;
mod foresee;
mod job;
mod other;
mod progress;
mod read;
mod refusal;
mod reservation;
mod reserve;
mod rows;
mod transaction;
mod tree;
mod windows;
mod writer;

use sealstone_attestation::UnixTime;
use sealstone_wire::PathText;
use tokio::sync::{mpsc, oneshot};

use crate::config::store::{Location, Servers, StoreConfig};

pub use audit::{AuditEntry, AuditPlace, AuditQuery, AuditRow, CheckpointRow, LEAF_MAX};
pub use error::StoreError;
pub use progress::Progress;
pub use read::{AssetQuery, PAGE_MAX};
pub use refusal::RefusalRecord;
pub use reservation::{
    NoncesReleased, RELEASED_MAX, ReleaseNonces, Reservation, ReservationQuery, ReservationState, Voided,
};
pub use rows::{
    Answer, Answered, AssetEpoch, IdempotencyKey, NonceKey, OpenReservation, Recorded, Reserve, Reserved,
    ReservedKey, Sender,
};

use database::postgres::{Pool, Server};
use database::sqlite::Sqlite;
use database::{Connection, Readers, Value};
use job::{Ask, Job, Other, Scope};
use transaction::State;
use writer::Writer;

/// The store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    /// The node's number.
    node: i64,
    /// Of the database that is written to.
    readers: Readers,
    /// Of a replica, if there is one: for what may be a moment old.
    listings: Readers,
}

impl Store {
    /// Opens or creates the store for the node of this name; brings an older one to this release's version. On
    /// PostgreSQL an agent of the same name that runs already never writes again.
    ///
    /// # Errors
    /// [`StoreError`]: the folder cannot be written, another process holds the store, the database is something else,
    /// a newer release wrote it, or it does not keep what it commits.
    pub async fn open(config: &StoreConfig, node: &str) -> Result<Self, StoreError> {
        match config.location() {
            Location::Sqlite(path) => {
                let database = Sqlite::open(path, node).await?;
                let readers = Readers::Sqlite(Sqlite::readers(path));
                Self::start(Connection::Sqlite(Box::new(database)), readers.clone(), readers).await
            }
            Location::Postgres(servers) => {
                let Servers { primary, replica } = &**servers;
                database::postgres::migrate(primary.clone()).await?;
                let server = Server::take_over(primary.clone(), node).await?;
                let (connection, state, _) = Writer::connect(&server, |_| None).await?;
                let readers = Readers::Postgres(Pool::new(primary.clone()));
                let listings = match replica {
                    Some(replica) => Readers::Postgres(Pool::new(replica.clone())),
                    None => readers.clone(),
                };
                Ok(Self::spawn(connection, state, readers, listings))
            }
        }
    }

    /// Brings a PostgreSQL store to this release's version, as the owner of its schema; makes a SQLite store.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn migrate(config: &StoreConfig, node: &str) -> Result<(), StoreError> {
        match config.location() {
            Location::Sqlite(path) => Sqlite::open(path, node).await.map(drop),
            Location::Postgres(servers) => database::postgres::migrate(servers.primary.clone()).await,
        }
    }

    async fn start(
        mut connection: Connection,
        readers: Readers,
        listings: Readers,
    ) -> Result<Self, StoreError> {
        let state = State::load(&mut connection, 0, None).await?;
        Ok(Self::spawn(connection, state, readers, listings))
    }

    fn spawn(connection: Connection, state: State, readers: Readers, listings: Readers) -> Self {
        let node = state.node;
        let (jobs, queue) = mpsc::channel(writer::QUEUE_MAX);
        tokio::spawn(Writer::new(connection, state, queue).run());
        Self { jobs, node, readers, listings }
    }

    /// Gives the nonce to the request, or says who has it, or why it gets none.
    ///
    /// # Errors
    /// [`StoreError::NoEra`] before [`Store::begin_era`]; else the database's.
    pub async fn reserve(&self, reserve: Reserve) -> Result<Reserved, StoreError> {
        let mut row = Vec::new();
        reserve::push(&reserve, 0, 0, (0, 0), &mut row)?;
        row.extend(reserve.demands.iter().map(|demand| demand.window.as_str().into()));
        row.extend(
            reserve
                .idempotency
                .iter()
                .flat_map(|name| [name.client.as_str().into(), name.key.as_str().into()]),
        );
        // What is refused only adds codes, and those are our own.
        self.storable(row, &reserve.refusal.of(&[]))?;
        let (ask, answer) = Ask::new(Box::new(reserve));
        self.job(Job::Reserve(ask), answer).await
    }

    /// Records a signature as the answer of its reservation. The same receipt again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::SequenceTaken`] if another reservation has that sequence; else the database's.
    pub async fn answer(&self, answer: Answer) -> Result<Answered, StoreError> {
        let mut row = Vec::new();
        answer::push(&answer, 0, &mut row)?;
        self.storable(row, &answer.audit)?;
        let (ask, outcome) = Ask::new(Box::new(answer));
        self.job(Job::Answer(ask), outcome).await
    }

    /// Frees the nonce of a reservation that surely was not signed, and gives back what it took of the sender's
    /// windows. `false`, and nothing changed or recorded, if it was answered, voided, or resumed by another request.
    ///
    /// # Errors
    /// The database's.
    pub async fn release(&self, reservation: i64, audit: AuditRow) -> Result<bool, StoreError> {
        self.storable(Vec::new(), &audit)?;
        let (ask, outcome) = Ask::new((reservation, Box::new(audit)));
        self.job(Job::Other(Other::Release(ask)), outcome).await
    }

    /// Burns the nonce of an open reservation: it is never signed, though it may have been already. What it took of
    /// the sender's windows stays taken.
    ///
    /// # Errors
    /// The database's.
    pub async fn void(&self, reservation: i64, audit: AuditRow) -> Result<Voided, StoreError> {
        self.storable(Vec::new(), &audit)?;
        let (ask, outcome) = Ask::new((reservation, Box::new(audit)));
        self.job(Job::Other(Other::Void(ask)), outcome).await
    }

    /// Frees a range of nonces that were answered or voided, after a chain's re-organisation took them back: they can
    /// be signed again. The reservations stay as they were, as `replaced`; each new one names the one it replaces.
    ///
    /// # Errors
    /// The database's.
    pub async fn release_nonces(&self, order: ReleaseNonces) -> Result<NoncesReleased, StoreError> {
        self.storable(vec![order.sender.as_str().into()], &order.audit)?;
        let (ask, outcome) = Ask::new(Box::new(order));
        self.job(Job::Other(Other::ReleaseNonces(ask)), outcome).await
    }

    /// Records an asset's next epoch, and with epoch 0 the asset. `false`, and nothing changed, if that epoch is
    /// not the asset's next (another rotation was faster), if the asset was retired, or exists with another algorithm.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin_epoch(&self, epoch: AssetEpoch, audit: AuditRow) -> Result<bool, StoreError> {
        let number = rows::ordered("an epoch", epoch.epoch.0)?;
        self.storable(
            vec![epoch.tenant.as_str().into(), epoch.asset.as_str().into(), number.into()],
            &audit,
        )?;
        let (ask, outcome) = Ask::new(Box::new((epoch, audit)));
        self.job(Job::Other(Other::BeginEpoch(ask)), outcome).await
    }

    /// Retires an asset: nothing new is reserved for it; its keys stay known. `false` if there is no such asset, or
    /// if it was retired before.
    ///
    /// # Errors
    /// The database's.
    pub async fn retire(
        &self,
        tenant: &PathText,
        asset: &PathText,
        at: UnixTime,
        audit: AuditRow,
    ) -> Result<bool, StoreError> {
        self.storable(vec![tenant.as_str().into(), asset.as_str().into()], &audit)?;
        let (ask, outcome) = Ask::new(Box::new((tenant.clone(), asset.clone(), at, audit)));
        self.job(Job::Other(Other::Retire(ask)), outcome).await
    }

    /// Records that the enclave's era is this one, before anything is signed in it; says which of its receipts
    /// are held.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin_era(&self, era: u64, now: UnixTime) -> Result<Progress, StoreError> {
        rows::ordered("an era", era)?;
        let (ask, outcome) = Ask::new((era, now));
        self.job(Job::Other(Other::BeginEra(ask)), outcome).await
    }

    /// Declares the receipts of an era complete through this sequence, though some were never held: an operator's
    /// decision after a loss.
    ///
    /// # Errors
    /// The database's.
    pub async fn danger_accept_gap(&self, era: u64, through: u64) -> Result<(), StoreError> {
        rows::ordered("an era", era)?;
        rows::ordered("a sequence", through)?;
        let (ask, outcome) = Ask::new((era, through));
        self.job(Job::Other(Other::AcceptGap(ask)), outcome).await
    }

    /// Writes a name of what this node's part of the store belongs to, once; returns what stands.
    ///
    /// # Errors
    /// The database's.
    pub async fn claim(&self, name: &'static str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (ask, outcome) = Ask::new((Scope::Node, name, value.to_owned()));
        self.job(Job::Other(Other::Claim(ask)), outcome).await
    }

    /// As [`Store::claim`], of what all nodes of the store belong to.
    ///
    /// # Errors
    /// The database's.
    pub async fn claim_deployment(&self, name: &'static str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (ask, outcome) = Ask::new((Scope::Deployment, name, value.to_owned()));
        self.job(Job::Other(Other::Claim(ask)), outcome).await
    }

    /// Removes a name of this node, so that it can be claimed anew: an operator's decision.
    ///
    /// # Errors
    /// The database's.
    pub async fn danger_forget(&self, name: &'static str) -> Result<(), StoreError> {
        let (ask, outcome) = Ask::new(name);
        self.job(Job::Other(Other::Forget(ask)), outcome).await
    }

    /// Appends a record to the node's audit log; its index.
    ///
    /// # Errors
    /// The database's.
    pub async fn append(&self, audit: AuditRow) -> Result<u64, StoreError> {
        self.storable(Vec::new(), &audit)?;
        let (ask, outcome) = Ask::new(Box::new(audit));
        self.job(Job::Other(Other::Append(ask)), outcome).await
    }

    /// Keeps a signed checkpoint of the node's audit log. One of the same size stays as it is.
    ///
    /// # Errors
    /// The database's.
    pub async fn add_checkpoint(&self, checkpoint: CheckpointRow) -> Result<(), StoreError> {
        rows::ordered("a size", checkpoint.size)?;
        let (ask, outcome) = Ask::new(Box::new(checkpoint));
        self.job(Job::Other(Other::Checkpoint(ask)), outcome).await
    }

    /// Finishes what waits, then closes the database. Later calls fail with [`StoreError::Closed`].
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
        self.readers.close().await;
        self.listings.close().await;
    }

    /// Refuses what no database could take, before it fails the others of its transaction.
    fn storable(&self, mut row: Vec<Value>, audit: &AuditRow) -> Result<(), StoreError> {
        audit.push(0, 0, &mut row)?;
        match self.readers {
            Readers::Postgres(_) if row.iter().any(Value::has_nul) => Err(StoreError::NulInText),
            _ => Ok(()),
        }
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
