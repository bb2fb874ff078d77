//! The one writer: it takes a job, takes whatever else waits, commits them in one transaction, and then answers each.
//! Nothing is answered before it is durable, and nobody waits for a batch to fill.
//!
//! A server that is gone is waited for, within a deadline. What it does not say is looked up: whether a transaction
//! was committed whose commit was not answered is in the node's row, and nothing is repeated before that is known.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::StoreError;
use super::database::postgres::{Resumed, Server, may_recover};
use super::database::{Connection, Unfinished};
use super::fast::Fast;
use super::job::{Job, Work};
use super::other::read_progress;
use super::transaction::{KnownAssets, State, Transaction, complete_through};
use crate::backoff::BackOff;
use crate::clock;

/// Jobs in one transaction: more than can be in flight, so that a burst is one commit.
const BATCH_MAX: usize = 256;

/// Jobs that wait for the writer; a caller that finds it full waits its turn. Two per signature in flight.
pub(super) const QUEUE_MAX: usize = 512;

/// How long jobs wait for a server that is gone: as long as a restart or a failover takes.
pub(super) const JOBS_WAIT: Duration = Duration::from_secs(20);

/// Waits between attempts.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MOST: Duration = Duration::from_secs(1);

/// How often partitions of the audit log are made ahead, and for how many days.
const PARTITIONS_EVERY: Duration = Duration::from_secs(24 * 3600);
const PARTITIONS_AHEAD_DAYS: [i64; 3] = [0, 31, 62];
const DAY_MS: i64 = 24 * 3600 * 1000;

/// The connection, or how to get one.
#[derive(Debug)]
enum Link {
    Up(Connection),
    /// With the era of the enclave if the transaction in doubt was committed.
    Down(Box<Server>, Option<u64>),
    /// Nothing is written any more, for this reason.
    Ended(StoreError),
}

#[derive(Debug)]
pub(super) struct Writer {
    link: Link,
    jobs: mpsc::Receiver<Job>,
    state: State,
    assets: KnownAssets,
    fast: Fast,
    partitions: Option<Instant>,
}

impl Writer {
    pub(super) fn new(connection: Connection, state: State, jobs: mpsc::Receiver<Job>) -> Self {
        Self {
            link: Link::Up(connection),
            jobs,
            state,
            assets: KnownAssets::default(),
            fast: Fast::default(),
            partitions: None,
        }
    }

    /// Connects to a server, and reads what the writer must know. `era` says which one it is in, by whether the
    /// transaction in doubt was committed.
    pub(super) async fn connect(
        server: &Server,
        era: impl FnOnce(bool) -> Option<u64>,
    ) -> Result<(Connection, State, bool), StoreError> {
        let (database, Resumed { committed, audit_size }) = server.resume().await?;
        let mut connection = Connection::Postgres(Box::new(database));
        let mut state = State::load(&mut connection, server.node, Some(audit_size)).await?;
        if let Some(era) = era(committed) {
            state.progress = Some(read_progress(&mut connection, server.node, era).await?);
        }
        if let Connection::Postgres(database) = &mut connection {
            database.resumed().await?;
        }
        Ok((connection, state, committed))
    }

    /// Works until it is told to close, or until nobody is left to ask.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut closed = Vec::new();
        while closed.is_empty() && self.jobs.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let mut work = Work::default();
            for job in batch.drain(..) {
                match job {
                    Job::Reserve(ask) => work.reserves.push(ask),
                    Job::Answer(ask) => work.answers.push(ask),
                    Job::Other(other) => work.others.push(other),
                    Job::Close(done) => closed.push(done),
                }
            }
            if work.len() > 0 {
                self.commit(work).await;
            }
        }
        if let Link::Up(mut connection) = self.link {
            if let Some(progress) = &self.state.progress {
                // A convenience: the next start searches from here.
                let (era, through) = (progress.era, progress.through);
                let _ = note_progress(&mut connection, &self.state, era, through).await;
            }
            if let Err(error) = connection.close().await {
                tracing::warn!(%error, "the store did not close cleanly; nothing that was answered is lost");
            }
        }
        for done in closed {
            let _ = done.send(());
        }
    }

    async fn commit(&mut self, mut work: Work) {
        let began = Instant::now();
        let jobs = work.len();
        let mut committed = self.persist(&mut work).await;
        if jobs > 1 && committed.as_ref().is_err_and(StoreError::is_of_one_job) {
            // What the database refuses is one of them; the others are not to fail with it.
            metrics::counter!("sealstone_store_commits_apart_total").increment(1);
            for mut one in work.apart() {
                let alone = self.persist(&mut one).await;
                if let Err(error) = &alone {
                    tracing::warn!(error = %crate::logging::chain(error), "a job is refused by the database");
                }
                one.finish(&alone);
            }
            work = Work::default();
            committed = Ok(());
        }
        if let Err(error) = &committed {
            tracing::error!(error = %crate::logging::chain(error), jobs, "a commit failed; every job in it is refused");
            metrics::counter!("sealstone_store_commit_failures_total").increment(1);
        }
        work.finish(&committed);
        metrics::histogram!("sealstone_store_commit_seconds").record(began.elapsed());
        metrics::histogram!("sealstone_store_commit_jobs")
            .record(f64::from(u32::try_from(jobs).unwrap_or(u32::MAX)));
        self.make_partitions().await;
    }

    /// Commits the work, however often that takes within the deadline.
    async fn persist(&mut self, work: &mut Work) -> Result<(), StoreError> {
        let deadline = work.since() + JOBS_WAIT;
        let mut back_off = BackOff::new(RETRY_FIRST, RETRY_MOST);
        let mut doubtful = false;
        loop {
            let error = match self.attempt(work, &mut doubtful).await {
                Ok(()) => return Ok(()),
                Err(Attempt::Failed(error)) => return Err(error),
                Err(Attempt::Retry(error)) => error,
            };
            metrics::counter!("sealstone_store_retries_total").increment(1);
            let wait = back_off.wait();
            if Instant::now() + wait >= deadline {
                let source = std::sync::Arc::new(error);
                return Err(StoreError::Unreachable { waited_s: JOBS_WAIT.as_secs(), source });
            }
            sleep(wait).await;
        }
    }

    /// `doubtful` says that an attempt before this one may have committed the work.
    async fn attempt(&mut self, work: &mut Work, doubtful: &mut bool) -> Result<(), Attempt> {
        let committed = self.link_up().await?;
        if std::mem::take(doubtful) && committed {
            return Ok(());
        }
        let Link::Up(connection) = &mut self.link else { return Err(Attempt::Failed(StoreError::Closed)) };
        let before = self.state.clone();
        let fast = self.fast.commit(connection, &mut self.state, &self.assets, work).await;
        let outcome = match fast {
            Ok(true) => return Ok(()),
            Ok(false) => Transaction::run(connection, &mut self.state, &mut self.assets, work).await,
            Err(error) => Err(Unfinished::Failed(error)),
        };
        let Err(unfinished) = outcome else { return Ok(()) };
        let began = self.state.era();
        self.state = before;
        self.assets.forget();
        match unfinished {
            Unfinished::Failed(error) => {
                self.undo().await;
                if matches!(error, StoreError::TakenOver | StoreError::LostCommits { .. }) {
                    self.link = Link::Ended(error.clone());
                }
                Err(Attempt::Failed(error))
            }
            Unfinished::Again(error) => {
                self.undo().await;
                Err(Attempt::Retry(error))
            }
            Unfinished::Lost(error) => {
                self.link_down(false, None);
                Err(Attempt::Retry(error))
            }
            Unfinished::Doubtful(error) => {
                self.link_down(true, began);
                *doubtful = true;
                Err(Attempt::Retry(error))
            }
        }
    }

    /// Undoes a transaction; leaves the connection if that fails.
    async fn undo(&mut self) {
        if let Link::Up(connection) = &mut self.link
            && connection.roll_back().await.is_err()
        {
            self.link_down(false, None);
        }
    }

    /// Leaves the connection; `began` is the era in which a transaction in doubt leaves the writer.
    fn link_down(&mut self, doubtful: bool, began: Option<u64>) {
        if let Link::Up(Connection::Postgres(database)) = &self.link {
            self.link = Link::Down(Box::new(database.server(doubtful)), began);
        }
    }

    /// Connects if there is no connection; says whether the transaction in doubt was committed.
    async fn link_up(&mut self) -> Result<bool, Attempt> {
        let (server, began) = match &self.link {
            Link::Up(_) => return Ok(false),
            Link::Ended(error) => return Err(Attempt::Failed(error.clone())),
            Link::Down(server, began) => (server, *began),
        };
        let before = self.state.era();
        match Self::connect(server, |committed| if committed { began } else { before }).await {
            Ok((connection, state, committed)) => {
                tracing::warn!(committed, "connected to the database server again");
                metrics::counter!("sealstone_store_reconnects_total").increment(1);
                self.link = Link::Up(connection);
                self.state = state;
                self.assets.forget();
                Ok(committed)
            }
            Err(error) if may_recover(&error) => Err(Attempt::Retry(error)),
            Err(error) => {
                if matches!(error, StoreError::TakenOver | StoreError::LostCommits { .. }) {
                    self.link = Link::Ended(error.clone());
                }
                Err(Attempt::Failed(error))
            }
        }
    }

    /// Has partitions of the audit log made ahead, now and then. Without one, records go where they are searched last.
    async fn make_partitions(&mut self) {
        if self.partitions.is_some_and(|made| made.elapsed() < PARTITIONS_EVERY) {
            return;
        }
        let Link::Up(Connection::Postgres(database)) = &mut self.link else { return };
        let now = i64::try_from(clock::now_ms()).unwrap_or(i64::MAX - 100 * DAY_MS);
        match database.make_partitions(&PARTITIONS_AHEAD_DAYS.map(|days| now + days * DAY_MS)).await {
            Ok(_) => self.partitions = Some(Instant::now()),
            Err(error) => {
                tracing::warn!(error = %crate::logging::chain(&error), "no partition of the audit log could be made ahead");
                self.link_down(false, None);
                self.partitions = Some(Instant::now());
            }
        }
    }
}

/// How an attempt ended that did not commit.
enum Attempt {
    /// It would fail again.
    Failed(StoreError),
    /// It may succeed later.
    Retry(StoreError),
}

async fn note_progress(
    connection: &mut Connection,
    state: &State,
    era: u64,
    through: u64,
) -> Result<(), StoreError> {
    connection.begin().await?;
    complete_through(connection, state.node, era, through).await?;
    connection.commit(state.tree.size()).await
}
