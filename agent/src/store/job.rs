//! What the writer is asked, and how each asker learns the outcome.

use std::time::Instant;

use sealstone_attestation::UnixTime;
use sealstone_wire::PathText;
use tokio::sync::oneshot;

use super::StoreError;
use super::audit::{AuditRow, CheckpointRow};
use super::progress::Progress;
use super::reservation::{NoncesReleased, ReleaseNonces, Voided};
use super::rows::{Answer, Answered, AssetEpoch, Reserve, Reserved};

/// One question to the writer, its outcome so far, and where that goes. The outcome is sent once it is known whether
/// the transaction was committed; a transaction that is run again gives it anew.
#[derive(Debug)]
pub(super) struct Ask<Q, A> {
    pub(super) ask: Q,
    since: Instant,
    outcome: Option<Result<A, StoreError>>,
    reply: oneshot::Sender<Result<A, StoreError>>,
}

impl<Q, A> Ask<Q, A> {
    pub(super) fn new(ask: Q) -> (Self, oneshot::Receiver<Result<A, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        (Self { ask, since: Instant::now(), outcome: None, reply }, answer)
    }

    /// What comes of it if the transaction is committed.
    pub(super) fn settle(&mut self, outcome: Result<A, StoreError>) {
        self.outcome = Some(outcome);
    }

    /// The outcome so far, if it is a good one.
    pub(super) fn settled_mut(&mut self) -> Option<&mut A> {
        self.outcome.as_mut()?.as_mut().ok()
    }

    /// Answers. A caller that no longer waits finds its job done when it asks again.
    pub(super) fn finish(self, committed: Result<(), StoreError>) {
        let outcome = committed.and(self.outcome.unwrap_or(Err(StoreError::Closed)));
        let _ = self.reply.send(outcome);
    }
}

pub(super) type ReserveAsk = Ask<Box<Reserve>, Reserved>;
pub(super) type AnswerAsk = Ask<Box<Answer>, Answered>;

/// What the writer can be asked.
#[derive(Debug)]
pub(super) enum Job {
    Reserve(ReserveAsk),
    Answer(AnswerAsk),
    Other(Other),
    Close(oneshot::Sender<()>),
}

/// Jobs that are rare: each runs its own statements.
#[derive(Debug)]
pub(super) enum Other {
    Release(Ask<(i64, Box<AuditRow>), bool>),
    Void(Ask<(i64, Box<AuditRow>), Voided>),
    ReleaseNonces(Ask<Box<ReleaseNonces>, NoncesReleased>),
    BeginEpoch(Ask<Box<(AssetEpoch, AuditRow)>, bool>),
    Retire(Ask<Box<(PathText, PathText, UnixTime, AuditRow)>, bool>),
    BeginEra(Ask<(u64, UnixTime), Progress>),
    AcceptGap(Ask<(u64, u64), ()>),
    Claim(Ask<(Scope, &'static str, Vec<u8>), Vec<u8>>),
    Forget(Ask<&'static str, ()>),
    Append(Ask<Box<AuditRow>, u64>),
    Checkpoint(Ask<Box<CheckpointRow>, ()>),
}

/// Whose a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Deployment,
    Node,
}

/// The jobs of one transaction.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) reserves: Vec<ReserveAsk>,
    pub(super) answers: Vec<AnswerAsk>,
    pub(super) others: Vec<Other>,
}

impl Work {
    pub(super) fn len(&self) -> usize {
        self.reserves.len() + self.answers.len() + self.others.len()
    }

    /// Since when the longest waits. A rare job waits as long as the work that it is with.
    pub(super) fn since(&self) -> Instant {
        let reserves = self.reserves.iter().map(|ask| ask.since);
        let answers = self.answers.iter().map(|ask| ask.since);
        reserves.chain(answers).min().unwrap_or_else(Instant::now)
    }

    /// Each job as work of its own, in order.
    pub(super) fn apart(self) -> Vec<Self> {
        let Self { reserves, answers, others } = self;
        let reserves = reserves.into_iter().map(|ask| Self { reserves: vec![ask], ..Self::default() });
        let answers = answers.into_iter().map(|ask| Self { answers: vec![ask], ..Self::default() });
        let others = others.into_iter().map(|ask| Self { others: vec![ask], ..Self::default() });
        reserves.chain(answers).chain(others).collect()
    }

    /// Answers each.
    pub(super) fn finish(self, committed: &Result<(), StoreError>) {
        let Self { reserves, answers, others } = self;
        reserves.into_iter().for_each(|ask| ask.finish(committed.clone()));
        answers.into_iter().for_each(|ask| ask.finish(committed.clone()));
        for other in others {
            let committed = committed.clone();
            match other {
                Other::Release(ask) => ask.finish(committed),
                Other::Void(ask) => ask.finish(committed),
                Other::ReleaseNonces(ask) => ask.finish(committed),
                Other::BeginEpoch(ask) => ask.finish(committed),
                Other::Retire(ask) => ask.finish(committed),
                Other::BeginEra(ask) => ask.finish(committed),
                Other::AcceptGap(ask) => ask.finish(committed),
                Other::Claim(ask) => ask.finish(committed),
                Other::Forget(ask) => ask.finish(committed),
                Other::Append(ask) => ask.finish(committed),
                Other::Checkpoint(ask) => ask.finish(committed),
            }
        }
    }
}
