//! The one writer: it takes a job, takes whatever else waits, commits them in one transaction with one fsync,
//! and then answers each. Nothing is answered before it is durable, and nobody waits for a batch to fill.

use std::time::Instant;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::batch::{self, Statements};
use super::open::Lock;
use super::progress::Progress;
use super::rows::{Answer, AssetEpoch, Reserve, Reserved, ordered, seconds, unsigned};
use sealstone_attestation::UnixTime;

/// Jobs in one transaction: more than can be in flight, so that a burst is one commit.
const BATCH_MAX: usize = 256;

/// Jobs that wait for the writer; a caller that finds it full waits its turn. Two per signature in flight.
pub(super) const QUEUE_MAX: usize = 512;

/// One question to the writer, and where its answer goes.
#[derive(Debug)]
pub(super) struct Ask<Q, A> {
    ask: Q,
    reply: oneshot::Sender<Result<A, StoreError>>,
}

impl<Q, A> Ask<Q, A> {
    pub(super) fn new(ask: Q) -> (Self, oneshot::Receiver<Result<A, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        (Self { ask, reply }, answer)
    }
}

/// What the writer can be asked.
#[derive(Debug)]
pub(super) enum Job {
    Reserve(Ask<Box<Reserve>, Reserved>),
    Answer(Ask<Box<Answer>, u64>),
    Release(Ask<i64, ()>),
    BeginEpoch(Ask<Box<AssetEpoch>, bool>),
    BeginEra(Ask<(u64, UnixTime), Progress>),
    AcceptGap(Ask<(u64, u64), ()>),
    Claim(Ask<(&'static str, Vec<u8>), Vec<u8>>),
    Forget(Ask<&'static str, ()>),
    Close(oneshot::Sender<()>),
}

/// Sends one outcome once it is known whether the transaction was committed.
type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

#[derive(Debug)]
pub(super) struct Writer {
    connection: SqliteConnection,
    _lock: Lock,
    jobs: mpsc::Receiver<Job>,
    statements: Statements,
    progress: Option<Progress>,
    /// The next reservation's number. None is given twice, so that none is mistaken for one that was released.
    next_id: i64,
}

impl Writer {
    pub(super) fn new(
        connection: SqliteConnection,
        lock: Lock,
        jobs: mpsc::Receiver<Job>,
        next_id: i64,
    ) -> Self {
        Self { connection, _lock: lock, jobs, statements: Statements::new(), progress: None, next_id }
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
                    Job::Close(done) => closed.push(done),
                    other => work.others.push(other),
                }
            }
            self.commit(work).await;
        }
        if let Some(Progress { era, through, .. }) = self.progress {
            // A convenience: the next start searches from here.
            let _ = self.complete_through(era, through).await;
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the store did not close cleanly; nothing that was answered is lost");
        }
        for done in closed {
            let _ = done.send(());
        }
    }

    async fn commit(&mut self, work: Work) {
        let began = Instant::now();
        let jobs = work.reserves.len() + work.answers.len() + work.others.len();
        let mut finishes: Vec<Finish> = Vec::with_capacity(jobs);
        let before = self.progress.clone();
        let committed = match self.transact(work, &mut finishes).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // SQLite may have rolled back by itself, as on a full disk; then this fails, rightly.
                let _ = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
                self.progress = before;
                tracing::error!(error = %crate::logging::chain(&error), jobs, "a commit failed; every job in it is refused");
                metrics::counter!("sealstone_store_commit_failures_total").increment(1);
                Err(error)
            }
        };
        for finish in finishes {
            finish(committed.clone());
        }
        if jobs > 0 {
            metrics::histogram!("sealstone_store_commit_seconds").record(began.elapsed());
            metrics::histogram!("sealstone_store_commit_jobs")
                .record(f64::from(u32::try_from(jobs).unwrap_or(u32::MAX)));
        }
    }

    /// Every ask of `work` has its finish in `finishes` when this returns, with or without an error.
    async fn transact(&mut self, work: Work, finishes: &mut Vec<Finish>) -> Result<(), StoreError> {
        let Work { reserves, answers, others } = work;
        let first_id = self.next_id;
        self.next_id += batch::ids(reserves.len());
        let due = self.progress.as_ref().and_then(|progress| Some((progress.era, progress.due()?)));
        let mut result = Ok(());
        if others.is_empty() && due.is_none() {
            match self.all_new(first_id, &reserves, &answers).await {
                Ok(Some(behind)) => {
                    let fresh = (first_id..).map(|id| Ok(Reserved::Fresh { id })).take(reserves.len());
                    let (fresh, answered) = (fresh.collect(), vec![Ok(behind); answers.len()]);
                    finish_all(reserves, fresh, finishes);
                    finish_all(answers, answered, finishes);
                    return Ok(());
                }
                Ok(None) => {}
                Err(error) => result = Err(error),
            }
        }
        if result.is_ok() {
            let begun = sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut self.connection).await;
            result = begun.map(drop).map_err(StoreError::from);
        }

        let asks: Vec<&Reserve> = reserves.iter().map(|ask| &*ask.ask).collect();
        let mut reserved = Vec::new();
        if result.is_ok() && !asks.is_empty() {
            let (connection, statements) = (&mut self.connection, &self.statements);
            match batch::reserve(connection, statements, self.progress.as_ref(), first_id, &asks).await {
                Ok(outcomes) => reserved = outcomes,
                Err(error) => result = Err(error),
            }
        }
        finish_all(reserves, reserved, finishes);

        let asks: Vec<&Answer> = answers.iter().map(|ask| &*ask.ask).collect();
        let mut answered = Vec::new();
        if result.is_ok() && !asks.is_empty() {
            match batch::answer(&mut self.connection, &self.statements, &asks).await {
                Ok(outcomes) => answered = outcomes,
                Err(error) => result = Err(error),
            }
        }
        if let Some(progress) = &mut self.progress {
            for (ask, outcome) in asks.iter().zip(&answered) {
                if outcome.is_ok() {
                    progress.add(ask.receipt.receipt.era, ask.receipt.receipt.sequence);
                }
            }
        }
        let behind = self.progress.as_ref().map_or(0, Progress::behind);
        let answered = answered.into_iter().map(|outcome| outcome.map(|()| behind)).collect();
        finish_all(answers, answered, finishes);

        for other in others {
            let outcome = self.other(other, result.is_ok(), finishes).await;
            result = result.and(outcome);
        }
        result?;
        if let Some((era, through)) = due {
            self.complete_through(era, through).await?;
        }
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await?;
        if let (Some(progress), Some((_, through))) = (&mut self.progress, due) {
            progress.persisted(through);
        }
        Ok(())
    }

    /// Commits what is all new; says how far behind the newest receipt is. `None` if it is not all new.
    async fn all_new(
        &mut self,
        first_id: i64,
        reserves: &[Ask<Box<Reserve>, Reserved>],
        answers: &[Ask<Box<Answer>, u64>],
    ) -> Result<Option<u64>, StoreError> {
        let asks: Vec<&Reserve> = reserves.iter().map(|ask| &*ask.ask).collect();
        let signed: Vec<&Answer> = answers.iter().map(|ask| &*ask.ask).collect();
        let (connection, statements) = (&mut self.connection, &self.statements);
        let progress = self.progress.as_ref();
        let committed = batch::commit_all_new(connection, statements, progress, first_id, (&asks, &signed));
        if committed.await?.is_none() {
            return Ok(None);
        }
        Ok(self.progress.as_mut().map(|progress| {
            for Answer { receipt, .. } in signed {
                progress.add(receipt.receipt.era, receipt.receipt.sequence);
            }
            progress.behind()
        }))
    }

    /// Runs a job of a rare kind; when `alive` is false the transaction has failed, and it is only answered.
    async fn other(&mut self, job: Job, alive: bool, finishes: &mut Vec<Finish>) -> Result<(), StoreError> {
        macro_rules! run {
            ($ask:ident, $work:expr) => {{
                let outcome = if alive { $work.await } else { Err(StoreError::Closed) };
                let (result, outcome) = match outcome {
                    Ok(outcome) => (Ok(()), Ok(outcome)),
                    Err(error) => (Err(error.clone()), Err(error)),
                };
                finishes.push(finish($ask.reply, outcome));
                result
            }};
        }
        match job {
            Job::Release(ask) => run!(ask, self.release(ask.ask)),
            Job::BeginEpoch(ask) => run!(ask, self.begin_epoch(&ask.ask)),
            Job::BeginEra(ask) => run!(ask, self.begin_era(ask.ask.0, ask.ask.1)),
            Job::AcceptGap(ask) => run!(ask, self.accept_gap(ask.ask.0, ask.ask.1)),
            Job::Claim(ask) => run!(ask, self.claim(ask.ask.0, &ask.ask.1)),
            Job::Forget(ask) => run!(ask, self.forget(ask.ask)),
            // Sorted out before.
            Job::Reserve(_) | Job::Answer(_) | Job::Close(_) => Ok(()),
        }
    }

    async fn release(&mut self, reservation: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM reservations WHERE id = ? AND receipt_sequence IS NULL")
            .bind(reservation)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn begin_epoch(&mut self, epoch: &AssetEpoch) -> Result<bool, StoreError> {
        let AssetEpoch { tenant, asset, algorithm, epoch, binding, key_id, public_key, since } = epoch;
        if epoch.0 == 0 {
            sqlx::query(
                "INSERT INTO assets (tenant, asset, algorithm) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(tenant.as_str())
            .bind(asset.as_str())
            .bind(algorithm.name())
            .execute(&mut self.connection)
            .await?;
        }
        // Nothing happens if the epoch exists, if it does not follow the newest, or if the asset is another.
        let inserted = sqlx::query(
            "INSERT INTO epochs (tenant, asset, epoch, binding, key_id, public_key, since) \
             SELECT a.tenant, a.asset, ?1, ?2, ?3, ?4, ?5 FROM assets a \
             WHERE a.tenant = ?6 AND a.asset = ?7 AND a.algorithm = ?8 AND ?1 = (SELECT coalesce(max(e.epoch) + 1, 0) \
             FROM epochs e WHERE e.tenant = a.tenant AND e.asset = a.asset)",
        )
        .bind(ordered("an epoch", epoch.0)?)
        .bind(&binding.as_bytes()[..])
        .bind(&key_id.as_bytes()[..])
        .bind(public_key.as_bytes())
        .bind(seconds(*since))
        .bind(tenant.as_str())
        .bind(asset.as_str())
        .bind(algorithm.name())
        .execute(&mut self.connection)
        .await?;
        Ok(inserted.rows_affected() == 1)
    }

    async fn begin_era(&mut self, era: u64, now: UnixTime) -> Result<Progress, StoreError> {
        let key = ordered("an era", era)?;
        sqlx::query("INSERT INTO eras (era, first_seen) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(key)
            .bind(seconds(now))
            .execute(&mut self.connection)
            .await?;
        let row = sqlx::query("SELECT complete_through FROM eras WHERE era = ?")
            .bind(key)
            .fetch_one(&mut self.connection)
            .await?;
        let through = unsigned(&row, 0, "a sequence")?;
        let beyond =
            sqlx::query("SELECT sequence FROM receipts WHERE era = ? AND sequence > ? ORDER BY sequence")
                .bind(key)
                .bind(ordered("a sequence", through)?)
                .fetch_all(&mut self.connection)
                .await?
                .iter()
                .map(|row| unsigned(row, 0, "a sequence"))
                .collect::<Result<Vec<_>, _>>()?;
        let progress = Progress::new(era, through, beyond);
        self.progress = Some(progress.clone());
        Ok(progress)
    }

    async fn accept_gap(&mut self, era: u64, through: u64) -> Result<(), StoreError> {
        self.complete_through(era, through).await?;
        self.progress = Some(Progress::new(era, through, []));
        Ok(())
    }

    async fn complete_through(&mut self, era: u64, through: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE eras SET complete_through = ? WHERE era = ?")
            .bind(ordered("a sequence", through)?)
            .bind(ordered("an era", era)?)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn claim(&mut self, name: &'static str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        sqlx::query("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(value)
            .execute(&mut self.connection)
            .await?;
        let row = sqlx::query("SELECT value FROM meta WHERE name = ?")
            .bind(name)
            .fetch_one(&mut self.connection)
            .await?;
        Ok(row.try_get(0)?)
    }

    async fn forget(&mut self, name: &'static str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM meta WHERE name = ?").bind(name).execute(&mut self.connection).await?;
        Ok(())
    }
}

/// The jobs of one transaction.
#[derive(Debug, Default)]
struct Work {
    reserves: Vec<Ask<Box<Reserve>, Reserved>>,
    answers: Vec<Ask<Box<Answer>, u64>>,
    others: Vec<Job>,
}

/// Pairs each ask with its outcome; where there is none, because the transaction failed, that failure answers.
fn finish_all<Q, A: Send + 'static>(
    asks: Vec<Ask<Q, A>>,
    outcomes: Vec<Result<A, StoreError>>,
    finishes: &mut Vec<Finish>,
) {
    let mut outcomes = outcomes.into_iter();
    for ask in asks {
        finishes.push(finish(ask.reply, outcomes.next().unwrap_or(Err(StoreError::Closed))));
    }
}

fn finish<A: Send + 'static>(
    reply: oneshot::Sender<Result<A, StoreError>>,
    outcome: Result<A, StoreError>,
) -> Finish {
    // A caller that no longer waits finds its job done when it asks again.
    Box::new(move |committed| drop(reply.send(committed.and(outcome))))
}
