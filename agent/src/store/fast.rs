//! The short way for SQLite: a transaction of reservations and answers that are all new, as nearly all are, in one
//! hand-over to the database's thread. Hand-overs, not rows, are what a transaction costs.

use std::collections::{HashMap, HashSet};

use sqlx::SqlStr;

use super::StoreError;
use super::audit::AuditRow;
use super::database::{Connection, sql};
use super::job::{ReserveAsk, Work};
use super::progress::Progress;
use super::rows::{Answered, Reserved, ReservedKey};
use super::transaction::{KnownAssets, State};
use super::{answer, reserve};

/// Reservations, and answers, of one statement: each pair of numbers is a prepared statement of its own.
const ROWS_MAX: usize = 16;

/// The statements, by their numbers of reservations and of answers.
#[derive(Debug, Default)]
pub(super) struct Fast(HashMap<(usize, usize), SqlStr>);

impl Fast {
    /// Commits the work, if it is all new and plain. `false`, and nothing is changed, if it is not: then the long way
    /// finds out, job by job.
    pub(super) async fn commit(
        &mut self,
        connection: &mut Connection,
        state: &mut State,
        assets: &KnownAssets,
        work: &mut Work,
    ) -> Result<bool, StoreError> {
        let Connection::Sqlite(database) = connection else { return Ok(false) };
        let Some(progress) = &mut state.progress else { return Ok(false) };
        let (reserves, answers) = (work.reserves.len(), work.answers.len());
        let suits = work.others.is_empty()
            && reserves.max(answers) <= ROWS_MAX
            && progress.due().is_none()
            && state.tree.fills_none(answers)
            && work.reserves.iter().all(|ask| plain(ask, assets));
        if !suits {
            return Ok(false);
        }
        let seen = (progress.era, progress.newest());
        let columns = reserves * reserve::WIDTH + answers * (answer::WIDTH + AuditRow::WIDTH);
        let mut values = Vec::with_capacity(columns);
        for (id, ask) in (state.next_id..).zip(&work.reserves) {
            reserve::push(&ask.ask, id, state.node, seen, &mut values)?;
        }
        for ask in &work.answers {
            answer::push(&ask.ask, state.node, &mut values)?;
        }
        for (index, ask) in (state.tree.size()..).zip(&work.answers) {
            ask.ask.audit.push(state.node, index, &mut values)?;
        }
        let sql = self.0.entry((reserves, answers)).or_insert_with(|| statement(reserves, answers));
        let Some(rows) = database.at_once(sql.clone(), values).await? else { return Ok(false) };
        let voided = rows.iter().map(|row| row.int(0)).collect::<Result<HashSet<_>, _>>()?;

        for ask in &mut work.reserves {
            ask.settle(Ok(Reserved::Fresh { id: state.next_id }));
            state.next_id += 1;
        }
        for ask in &work.answers {
            let receipt = &ask.ask.receipt.receipt;
            progress.add(receipt.era, receipt.sequence);
            // None is filled, as was made sure.
            let _ = state.tree.push(ask.ask.audit.leaf_hash);
        }
        let behind = Progress::behind(progress);
        for ask in &mut work.answers {
            let voided = voided.contains(&ask.ask.reservation);
            ask.settle(Ok(Answered { behind, voided }));
        }
        Ok(true)
    }
}

/// Whether a reservation depends on nothing but its nonce.
fn plain(ask: &ReserveAsk, assets: &KnownAssets) -> bool {
    let ask = &ask.ask;
    let may_sign = match ask.key {
        ReservedKey::Session { .. } => true,
        ReservedKey::Asset { epoch } => assets.get(ask.nonce.sender.as_str()).is_some_and(|asset| {
            !asset.retired && (ask.epoch_named || u64::try_from(asset.newest) == Ok(epoch.0))
        }),
    };
    may_sign && ask.idempotency.is_none() && ask.demands.is_empty()
}

/// Reservations alone are one statement, which needs no transaction around it. Answers say whose reservation was
/// voided meanwhile.
fn statement(reserves: usize, answers: usize) -> SqlStr {
    let reservations = reserve::insert(&sql::rows(reserve::WIDTH, reserves, 0));
    if answers == 0 {
        return sql::built(reservations);
    }
    let before = reserves * reserve::WIDTH;
    let receipts = sql::rows(answer::WIDTH, answers, before);
    let audit = sql::rows(AuditRow::WIDTH, answers, before + answers * answer::WIDTH);
    // The reservation is the fourth column of a receipt.
    let ids: Vec<_> = (0..answers).map(|row| format!("${}", before + row * answer::WIDTH + 4)).collect();
    let reservations = if reserves == 0 { String::new() } else { format!("{reservations};") };
    sql::built(format!(
        "BEGIN IMMEDIATE; {reservations} INSERT INTO receipts ({}) {receipts}; INSERT INTO audit ({}) {audit}; \
         SELECT id FROM reservations WHERE id IN ({}) AND state IN ('voided', 'replaced'); COMMIT",
        answer::COLUMNS,
        AuditRow::COLUMNS,
        ids.join(",")
    ))
}
