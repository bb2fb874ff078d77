//! What a sender's windows would say now, without taking anything of them.

use sealstone_policy::amount::Amount;
use sealstone_policy::engine::{Demand, Reason};

use super::database::values;
use super::rows::{Sender, ordered};
use super::windows::{EXPIRED_MAX, amount};
use super::{Store, StoreError};

impl Store {
    /// Why the demands would be refused that find no room now. Another request may take it in the next moment.
    ///
    /// # Errors
    /// The database's.
    pub async fn would_refuse(
        &self,
        sender: &Sender,
        demands: &[Demand],
        now_ms: u64,
    ) -> Result<Vec<Reason>, StoreError> {
        let mut refused = Vec::new();
        for demand in demands {
            let used = self.used(sender, demand, now_ms).await?;
            refused.extend(demand.check(&used).err());
        }
        Ok(refused)
    }

    async fn used(&self, sender: &Sender, demand: &Demand, now_ms: u64) -> Result<Amount, StoreError> {
        let (name, window) = (sender.as_str(), demand.window.as_str());
        let sql = "SELECT w.total, coalesce(s.at_ms, 0) FROM windows w LEFT JOIN senders s ON s.sender = w.sender \
                   WHERE w.sender = $1 AND w.name = $2";
        let rows = self.readers.fetch(sql.to_owned(), values([name.into(), window.into()])).await?;
        let Some(row) = rows.first() else { return Ok(Amount::ZERO) };
        let total = amount(row, 0)?;
        // As for a reservation: the sender's time never runs backwards.
        let now = ordered("a time", now_ms.max(row.unsigned(1, "a time")?))?;
        let until = now - i64::from(demand.seconds) * 1000;
        let sql = format!(
            "SELECT amount FROM spends WHERE sender = $1 AND name = $2 AND at_ms <= $3 ORDER BY at_ms LIMIT {EXPIRED_MAX}"
        );
        let left = self.readers.fetch(sql, values([name.into(), window.into(), until.into()])).await?;
        left.iter().try_fold(total, |total, row| Ok(total.minus(&amount(row, 0)?)))
    }
}
