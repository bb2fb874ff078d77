//! What a sender's windows would say now, without taking anything of them.

use sealstone_policy::amount::Amount;
use sealstone_policy::engine::{Demand, Reason};

use super::database::values;
use super::rows::{Sender, ordered};
use super::windows::{EXPIRED_MAX, amount};
use super::{Store, StoreError};

impl Store {
    /// Why the demands would be refused that find no room now; of a reservation that would be resumed, those that it
    /// does not count in any more. Another request may take the room in the next moment.
    ///
    /// # Errors
    /// The database's.
    pub async fn would_refuse(
        &self,
        sender: &Sender,
        demands: &[Demand],
        now_ms: u64,
        resumed: Option<i64>,
    ) -> Result<Vec<Reason>, StoreError> {
        let mut refused = Vec::new();
        for demand in demands {
            let used = self.used(sender, demand, now_ms, resumed).await?;
            refused.extend(used.and_then(|used| demand.check(&used).err()));
        }
        Ok(refused)
    }

    /// What a demand's window holds; `None` if the reservation that would be resumed is in it.
    async fn used(
        &self,
        sender: &Sender,
        demand: &Demand,
        now_ms: u64,
        resumed: Option<i64>,
    ) -> Result<Option<Amount>, StoreError> {
        let (name, window) = (sender.as_str(), demand.window.as_str());
        let sql = "SELECT w.total, coalesce(s.at_ms, 0) FROM windows w LEFT JOIN senders s ON s.sender = w.sender \
                   WHERE w.sender = $1 AND w.name = $2";
        let rows = self.readers.fetch(sql.to_owned(), values([name.into(), window.into()])).await?;
        let Some(row) = rows.first() else { return Ok(Some(Amount::ZERO)) };
        let total = amount(row, 0)?;
        // As for a reservation: the sender's time never runs backwards.
        let now = ordered("a time", now_ms.max(row.unsigned(1, "a time")?))?;
        let until = now - i64::from(demand.seconds) * 1000;
        if let Some(resumed) = resumed {
            let sql = "SELECT at_ms FROM spends WHERE reservation = $1 AND sender = $2 AND name = $3 AND at_ms > $4";
            let key = [resumed.into(), name.into(), window.into(), until.into()];
            if !self.readers.fetch(sql, values(key)).await?.is_empty() {
                return Ok(None);
            }
        }
        let sql = format!(
            "SELECT amount FROM spends WHERE sender = $1 AND name = $2 AND at_ms <= $3 ORDER BY at_ms LIMIT {EXPIRED_MAX}"
        );
        let left = self.readers.fetch(sql, values([name.into(), window.into(), until.into()])).await?;
        left.iter().try_fold(total, |total, row| Ok(total.minus(&amount(row, 0)?))).map(Some)
    }
}
