//! Rolling windows of senders: what each holds, to the last unit, and what a reservation adds to it.
//!
//! A spend counts from when its reservation was given out last: made, or resumed. One that is resumed after it left a
//! window is judged and counted as a new one is.
//!
//! `windows` has the sum, `spends` each part of it. A check takes out of both what has left the window; what was not
//! taken out yet, when very much leaves at once, counts still: a window never holds less than it should.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sealstone_policy::amount::Amount;
use sealstone_policy::engine::{Demand, Reason};

use super::StoreError;
use super::database::{Row, Value, sql};
use super::rows::Reserve;
use super::transaction::Transaction;

/// Spends that one transaction takes out of their windows. Each costs some microseconds; what is left counts still, and
/// is taken out by the next.
pub(super) const EXPIRED_MAX: usize = 4096;

type Name = (String, String);

/// The windows that a transaction looks at.
#[derive(Debug, Default)]
pub(super) struct Windows {
    clocks: HashMap<String, i64>,
    totals: BTreeMap<Name, Total>,
    /// What reservations that are resumed count in, and since when.
    counted: BTreeMap<(Name, i64), (i64, Amount)>,
    /// Of those, what counts from a later time now: where it was.
    moved: Vec<((Name, i64), i64)>,
    spends: BTreeMap<(Name, i64), (i64, Amount)>,
}

#[derive(Debug, Default)]
struct Total {
    amount: Amount,
    changed: bool,
}

impl Windows {
    /// What the windows hold that these requests want, without what has left them; with each request the reservation
    /// that it resumes. The senders' rows are locked.
    pub(super) async fn load(
        transaction: &mut Transaction<'_>,
        clocks: &HashMap<String, i64>,
        asks: &[(&Reserve, Option<i64>)],
    ) -> Result<Self, StoreError> {
        let mut wanted: BTreeMap<Name, i64> = BTreeMap::new();
        let mut resumed = BTreeSet::new();
        for (ask, reservation) in asks {
            let sender = ask.nonce.sender.as_str();
            for demand in &ask.demands {
                let now = *clocks.get(sender).ok_or(StoreError::Corrupt { expected: "a sender's clock" })?;
                let until = now - i64::from(demand.seconds) * 1000;
                let entry = wanted.entry((sender.to_owned(), demand.window.clone())).or_insert(until);
                *entry = until.min(*entry);
                resumed.extend(reservation);
            }
        }
        let until = wanted.clone();
        let resumed: Vec<_> = resumed.into_iter().collect();
        let mut windows = Self { clocks: clocks.clone(), ..Self::default() };
        let wanted: Vec<_> = wanted.into_iter().collect();
        for chunk in wanted.chunks(transaction.connection.rows_max()) {
            windows.load_totals(transaction, chunk).await?;
            windows.take_out(transaction, chunk).await?;
        }
        for chunk in resumed.chunks(transaction.connection.rows_max()) {
            windows.load_counted(transaction, chunk, &until).await?;
        }
        Ok(windows)
    }

    async fn load_counted(
        &mut self,
        transaction: &mut Transaction<'_>,
        reservations: &[i64],
        until: &BTreeMap<Name, i64>,
    ) -> Result<(), StoreError> {
        let ids = sql::rows(1, reservations.len(), 0);
        let sql = format!(
            "SELECT sender, name, amount, reservation, at_ms FROM spends WHERE reservation IN ({ids})"
        );
        let ids = reservations.iter().map(|id| (*id).into()).collect();
        for row in transaction.connection.fetch(sql, ids).await? {
            let (name, amount) = named_amount(&row)?;
            let at_ms = row.int(4)?;
            // What has left its window may not have been taken out yet.
            if until.get(&name).is_some_and(|until| at_ms > *until) {
                self.counted.insert((name, row.int(3)?), (at_ms, amount));
            }
        }
        Ok(())
    }

    async fn load_totals(
        &mut self,
        transaction: &mut Transaction<'_>,
        chunk: &[(Name, i64)],
    ) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT w.sender, w.name, w.total FROM ({}) AS v CROSS JOIN windows w \
             WHERE w.sender = v.column1 AND w.name = v.column2",
            sql::rows(2, chunk.len(), 0)
        );
        let values: Vec<Value> = chunk
            .iter()
            .flat_map(|((sender, name), _)| [sender.as_str().into(), name.as_str().into()])
            .collect();
        for (name, _) in chunk {
            self.totals.entry(name.clone()).or_default();
        }
        for row in transaction.connection.fetch(sql, values).await? {
            let (name, amount) = named_amount(&row)?;
            self.totals.insert(name, Total { amount, changed: false });
        }
        Ok(())
    }

    async fn take_out(
        &mut self,
        transaction: &mut Transaction<'_>,
        chunk: &[(Name, i64)],
    ) -> Result<(), StoreError> {
        let sql = format!(
            "DELETE FROM spends WHERE (sender, name, at_ms, reservation) IN (SELECT s.sender, s.name, s.at_ms, \
             s.reservation FROM ({}) AS v CROSS JOIN spends s WHERE s.sender = v.column1 AND s.name = v.column2 \
             AND s.at_ms <= v.column3 ORDER BY s.at_ms LIMIT {EXPIRED_MAX}) RETURNING sender, name, amount",
            sql::rows(3, chunk.len(), 0)
        );
        let values = chunk
            .iter()
            .flat_map(|((sender, name), until)| {
                [sender.as_str().into(), name.as_str().into(), (*until).into()]
            })
            .collect();
        for row in transaction.connection.fetch(sql, values).await? {
            let (name, amount) = named_amount(&row)?;
            self.subtract(name, &amount)?;
        }
        Ok(())
    }

    fn subtract(&mut self, name: Name, amount: &Amount) -> Result<(), StoreError> {
        let total = self.totals.entry(name).or_default();
        if total.amount < *amount {
            return Err(StoreError::Corrupt { expected: "a window that holds the sum of its spends" });
        }
        *total = Total { amount: total.amount.minus(amount), changed: true };
        Ok(())
    }

    /// Why it is refused: the demands that find no room. One whose window counts the reservation already needs none.
    pub(super) fn refused(&self, reservation: i64, ask: &Reserve) -> Vec<Reason> {
        let mut taken: BTreeMap<&str, Amount> = BTreeMap::new();
        let mut refused = Vec::new();
        for demand in &ask.demands {
            let name = (ask.nonce.sender.as_str().to_owned(), demand.window.clone());
            if self.counts(&name, reservation) {
                continue;
            }
            let held = self.totals.get(&name).map(|total| total.amount.clone()).unwrap_or_default();
            let taken = taken.entry(&demand.window).or_default();
            let used = held.plus(taken);
            *taken = taken.plus(&demand.add);
            refused.extend(demand.check(&used).err());
        }
        refused
    }

    fn counts(&self, name: &Name, reservation: i64) -> bool {
        let key = (name.clone(), reservation);
        self.counted.contains_key(&key) || self.spends.contains_key(&key)
    }

    /// Adds what a reservation takes; what is counted of it already counts from now on.
    pub(super) fn spend(&mut self, reservation: i64, ask: &Reserve) {
        let sender = ask.nonce.sender.as_str();
        let at_ms = self.clocks.get(sender).copied().unwrap_or_default();
        let named = |demand: &Demand| (sender.to_owned(), demand.window.clone());
        let (counted, new): (Vec<_>, Vec<_>) =
            ask.demands.iter().partition(|demand| self.counts(&named(demand), reservation));
        for demand in counted {
            let key = (named(demand), reservation);
            if let Some((before, amount)) = self.counted.remove(&key) {
                self.moved.push((key.clone(), before));
                self.spends.insert(key, (at_ms, amount));
            }
        }
        for demand in new {
            let name = named(demand);
            let total = self.totals.entry(name.clone()).or_default();
            *total = Total { amount: total.amount.plus(&demand.add), changed: true };
            let spend = self.spends.entry((name, reservation)).or_insert((at_ms, Amount::ZERO));
            spend.1 = spend.1.plus(&demand.add);
        }
    }

    /// Writes what changed.
    pub(super) async fn write(self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        let rows_max = transaction.connection.rows_max();
        for chunk in self.moved.chunks(rows_max) {
            let rows = sql::rows(4, chunk.len(), 0);
            let sql = format!("DELETE FROM spends WHERE (sender, name, at_ms, reservation) IN ({rows})");
            let mut values: Vec<Value> = Vec::with_capacity(4 * chunk.len());
            for (((sender, name), reservation), at_ms) in chunk {
                values.extend([sender.as_str().into(), name.as_str().into()]);
                values.extend([(*at_ms).into(), (*reservation).into()]);
            }
            transaction.connection.execute(sql, values).await?;
        }
        let spends: Vec<_> = self.spends.into_iter().collect();
        for chunk in spends.chunks(rows_max) {
            let rows = sql::rows(5, chunk.len(), 0);
            let sql = format!("INSERT INTO spends (sender, name, at_ms, reservation, amount) {rows}");
            let mut values: Vec<Value> = Vec::with_capacity(5 * chunk.len());
            for (((sender, name), reservation), (at_ms, amount)) in chunk {
                values.extend([sender.as_str().into(), name.as_str().into()]);
                values.extend([(*at_ms).into(), (*reservation).into(), amount.to_string().into()]);
            }
            transaction.connection.execute(sql, values).await?;
        }
        let totals: Vec<_> = self.totals.into_iter().filter(|(_, total)| total.changed).collect();
        for chunk in totals.chunks(rows_max) {
            let rows = sql::rows(3, chunk.len(), 0);
            let sql = format!(
                "INSERT INTO windows (sender, name, total) {rows} \
                 ON CONFLICT (sender, name) DO UPDATE SET total = excluded.total"
            );
            let values = chunk
                .iter()
                .flat_map(|((sender, name), total)| {
                    [sender.as_str().into(), name.as_str().into(), total.amount.to_string().into()]
                })
                .collect();
            transaction.connection.execute(sql, values).await?;
        }
        Ok(())
    }

    /// Gives back what a reservation took that is released. The sender's row is locked.
    pub(super) async fn give_back(
        transaction: &mut Transaction<'_>,
        reservation: i64,
    ) -> Result<(), StoreError> {
        let sql = "DELETE FROM spends WHERE reservation = $1 RETURNING sender, name, amount";
        let spends = transaction.connection.fetch(sql, vec![reservation.into()]).await?;
        let mut spent = Vec::new();
        for row in &spends {
            spent.push(named_amount(row)?);
        }
        let names: Vec<_> = spent.iter().map(|(name, _)| (name.clone(), 0)).collect();
        let mut windows = Self::default();
        for chunk in names.chunks(transaction.connection.rows_max()) {
            windows.load_totals(transaction, chunk).await?;
        }
        for (name, amount) in spent {
            windows.subtract(name, &amount)?;
        }
        windows.write(transaction).await
    }
}

fn named_amount(row: &Row) -> Result<(Name, Amount), StoreError> {
    Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), amount(row, 2)?))
}

pub(super) fn amount(row: &Row, column: usize) -> Result<Amount, StoreError> {
    row.text(column)?.parse().map_err(|_| StoreError::Corrupt { expected: "an amount" })
}
