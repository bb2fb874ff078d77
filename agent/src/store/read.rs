//! What the store is asked without changing anything.

use std::collections::{BTreeMap, BTreeSet};

use sealstone_attestation::{RequestDigest, UnixTime};
use sealstone_wire::{Epoch, PathText};

use super::audit::{AuditEntry, AuditPlace, AuditQuery, CheckpointRow};
use super::database::{Readers, Value, values};
use super::reservation::{Reservation, ReservationQuery};
use super::rows::{
    ANSWER_JOIN, AssetEpoch, NonceKey, OpenReservation, RESERVATION_COLUMNS, Reserved, Sender, Standing,
    bits, ordered, seconds,
};
use super::{Store, StoreError};

/// Rows of a page, at most: some 100 KiB of a listing.
pub const PAGE_MAX: usize = 1000;

/// The kind of nearly all records, which the index of kinds leaves out: they are found by their time.
const COMMON_KIND: &str = "signed";

/// Hashes that are read at once, at most: one full tile of the level below the root of 2^24 records.
const HASHES_MAX: u64 = 65_536;

/// Which assets are wanted. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssetQuery {
    /// Of these tenants.
    pub tenants: Option<BTreeSet<PathText>>,
    /// Beyond this tenant and asset, in the order of their bytes.
    pub after: Option<(PathText, PathText)>,
    /// Those whose newest epoch began before this time, and which are not retired: due to be rotated.
    pub epoch_before: Option<UnixTime>,
}

impl Store {
    /// The answer or the state of whatever holds this nonce, without reserving anything: `None` if it is free.
    ///
    /// # Errors
    /// The database's.
    pub async fn standing(
        &self,
        nonce: &NonceKey,
        request: &RequestDigest,
    ) -> Result<Option<Reserved>, StoreError> {
        let sql = format!(
            "SELECT {RESERVATION_COLUMNS} FROM reservations r {ANSWER_JOIN} \
             WHERE r.chain_id = $1 AND r.sender = $2 AND r.nonce = $3 AND r.generation = 0"
        );
        let NonceKey { chain_id, sender, nonce } = nonce;
        let key = [bits(*chain_id).into(), sender.as_str().into(), bits(*nonce).into()];
        let rows = self.readers.fetch(sql, values(key)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Standing::from_row(row)?.reserved(request)))
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
        for condition in ["r.request = $1 AND r.state = 'reserved'", "r.request = $1"] {
            let sql = format!(
                "SELECT {RESERVATION_COLUMNS} FROM reservations r {ANSWER_JOIN} WHERE {condition} \
                 ORDER BY r.generation LIMIT 1"
            );
            let rows = self.readers.fetch(sql, values([request.as_bytes().into()])).await?;
            if let Some(row) = rows.first() {
                return Ok(Some(Standing::from_row(row)?.open));
            }
        }
        Ok(None)
    }

    /// One reservation by its number.
    ///
    /// # Errors
    /// The database's.
    pub async fn reservation(&self, id: i64) -> Result<Option<Reservation>, StoreError> {
        let sql = format!("SELECT {} FROM reservations r WHERE r.id = $1", Reservation::COLUMNS);
        let rows = self.readers.fetch(sql, values([id.into()])).await?;
        rows.first().map(Reservation::from_row).transpose()
    }

    /// Reservations in the order of their numbers, at most `limit` and [`PAGE_MAX`].
    ///
    /// # Errors
    /// The database's.
    pub async fn reservations(
        &self,
        query: &ReservationQuery,
        limit: usize,
    ) -> Result<Vec<Reservation>, StoreError> {
        let ReservationQuery { state, tenants, sender, chain_id, after } = query;
        let mut filter = Filter::default();
        // The open ones have an index of their own, whose condition must be in the text.
        if let Some(state) = state {
            filter.text(&format!("r.state = '{}'", state.name()));
        }
        if let Some(tenants) = tenants {
            filter.senders_of(tenants);
        }
        filter.with("r.sender =", sender.as_ref().map(|sender| sender.as_str().into()));
        filter.with("r.chain_id =", chain_id.map(|chain_id| bits(chain_id).into()));
        filter.with("r.id >", after.map(Value::from));
        let sql = format!(
            "SELECT {} FROM reservations r {} ORDER BY r.id LIMIT {}",
            Reservation::COLUMNS,
            filter.condition(),
            limit.min(PAGE_MAX)
        );
        let rows = self.listings.fetch(sql, filter.values).await?;
        rows.iter().map(Reservation::from_row).collect()
    }

    /// What stands under a name of this node.
    ///
    /// # Errors
    /// The database's.
    pub async fn meta(&self, name: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT value FROM meta WHERE node = $1 AND name = $2";
        let rows = self.readers.fetch(sql, values([self.node.into(), name.into()])).await?;
        rows.first().map(|row| row.bytes(0).map(<[u8]>::to_vec)).transpose()
    }

    /// The newest era that this node has seen.
    ///
    /// # Errors
    /// The database's.
    pub async fn newest_era(&self) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT era FROM eras WHERE node = $1 ORDER BY era DESC LIMIT 1";
        let rows = self.readers.fetch(sql, values([self.node.into()])).await?;
        rows.first().map(|row| row.unsigned(0, "an era")).transpose()
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
        let mut filter = Filter::default();
        filter.with("e.tenant =", Some(tenant.as_str().into()));
        filter.with("e.asset =", Some(asset.as_str().into()));
        let epoch = epoch.map(|epoch| ordered("an epoch", epoch.0)).transpose()?;
        filter.with("e.epoch =", epoch.map(Value::from));
        let sql = format!(
            "SELECT {} FROM epochs e JOIN assets a ON a.tenant = e.tenant AND a.asset = e.asset {} \
             ORDER BY e.epoch DESC LIMIT 1",
            AssetEpoch::COLUMNS,
            filter.condition()
        );
        let rows = self.readers.fetch(sql, filter.values).await?;
        rows.first().map(AssetEpoch::from_row).transpose()
    }

    /// The epochs of an asset from the oldest, at most `limit` and [`PAGE_MAX`], after this one.
    ///
    /// # Errors
    /// The database's.
    pub async fn epochs(
        &self,
        tenant: &PathText,
        asset: &PathText,
        after: Option<Epoch>,
        limit: usize,
    ) -> Result<Vec<AssetEpoch>, StoreError> {
        let mut filter = Filter::default();
        filter.with("e.tenant =", Some(tenant.as_str().into()));
        filter.with("e.asset =", Some(asset.as_str().into()));
        let after = after.map(|epoch| ordered("an epoch", epoch.0)).transpose()?;
        filter.with("e.epoch >", after.map(Value::from));
        let sql = format!(
            "SELECT {} FROM epochs e JOIN assets a ON a.tenant = e.tenant AND a.asset = e.asset {} \
             ORDER BY e.epoch LIMIT {}",
            AssetEpoch::COLUMNS,
            filter.condition(),
            limit.min(PAGE_MAX)
        );
        let rows = self.listings.fetch(sql, filter.values).await?;
        rows.iter().map(AssetEpoch::from_row).collect()
    }

    /// Assets in their newest epoch, by tenant and then asset, as bytes; at most `limit` and [`PAGE_MAX`].
    ///
    /// # Errors
    /// The database's.
    pub async fn assets(&self, query: &AssetQuery, limit: usize) -> Result<Vec<AssetEpoch>, StoreError> {
        let AssetQuery { tenants, after, epoch_before } = query;
        let mut filter = Filter::default();
        filter.one_of("a.tenant", tenants.as_ref());
        if let Some((tenant, asset)) = after {
            filter.pair("(a.tenant, a.asset) >", [tenant.as_str().into(), asset.as_str().into()]);
        }
        if let Some(before) = epoch_before {
            filter.text("a.retired_at IS NULL");
            filter.with("e.since <", Some(seconds(*before).into()));
        }
        let sql = format!(
            "SELECT {} FROM assets a JOIN epochs e ON e.tenant = a.tenant AND e.asset = a.asset AND e.epoch = \
             (SELECT max(epoch) FROM epochs WHERE tenant = a.tenant AND asset = a.asset) {} \
             ORDER BY a.tenant, a.asset LIMIT {}",
            AssetEpoch::COLUMNS,
            filter.condition(),
            limit.min(PAGE_MAX)
        );
        let rows = self.listings.fetch(sql, filter.values).await?;
        rows.iter().map(AssetEpoch::from_row).collect()
    }

    /// This node's reservations by state: `reserved` (no answer known), and `signed`.
    ///
    /// # Errors
    /// The database's.
    pub async fn counts(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        // Not a count of all receipts, which would read each of them. A sum of numbers is NUMERIC on PostgreSQL.
        let sql = "SELECT (SELECT count(*) FROM reservations WHERE state = 'reserved' AND node = $1), \
                   CAST((SELECT coalesce(sum(e.complete_through + (SELECT count(*) FROM receipts p \
                   WHERE p.node = e.node AND p.era = e.era AND p.sequence > e.complete_through)), 0) \
                   FROM eras e WHERE e.node = $1) AS BIGINT)";
        let rows = self.readers.fetch(sql, values([self.node.into()])).await?;
        let row = rows.first().ok_or(StoreError::Corrupt { expected: "counts" })?;
        Ok(BTreeMap::from([
            ("reserved".to_owned(), row.unsigned(0, "a count")?),
            ("signed".to_owned(), row.unsigned(1, "a count")?),
        ]))
    }

    /// Whether the database answers: the newest fault if not.
    ///
    /// # Errors
    /// The database's.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.readers.fetch("SELECT 1", Vec::new()).await?;
        if self.jobs.is_closed() { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Records of all nodes, or of this one, by time; at most `limit` and [`PAGE_MAX`].
    ///
    /// # Errors
    /// [`StoreError::NulInText`] and [`StoreError::TooLarge`] of what no record can have; else the database's.
    pub async fn query(&self, query: &AuditQuery, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let mut query = query.clone();
        if let (Some(key_id), None) = (&query.key_id, &query.sender) {
            // No index has keys, for each record would cost a page; but an asset's key is its alone.
            query.sender = self.asset_with_key(key_id).await?;
        }
        let (sql, values) = audit_page(&query, &self.listings, self.node, limit)?;
        let rows = self.listings.fetch(sql, values).await?;
        rows.iter().map(AuditEntry::from_row).collect()
    }

    /// The asset that has, or had, this key.
    async fn asset_with_key(&self, key_id: &[u8; 32]) -> Result<Option<String>, StoreError> {
        let sql = "SELECT asset FROM epochs WHERE key_id = $1 LIMIT 1";
        let rows = self.listings.fetch(sql, values([key_id.into()])).await?;
        rows.first().map(|row| row.text(0).map(str::to_owned)).transpose()
    }

    /// The number of this node's records.
    ///
    /// # Errors
    /// The database's.
    pub async fn audit_size(&self) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(max(idx), -1) + 1 FROM audit WHERE node = $1";
        let rows = self.readers.fetch(sql, values([self.node.into()])).await?;
        rows.first().map_or(Ok(0), |row| row.unsigned(0, "a size"))
    }

    /// This node's records from an index on, in order; at most `limit` and [`PAGE_MAX`].
    ///
    /// # Errors
    /// The database's.
    pub async fn audit_leaves(&self, from: u64, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let sql = format!(
            "SELECT leaf FROM audit WHERE node = $1 AND idx >= $2 ORDER BY idx LIMIT {}",
            limit.min(PAGE_MAX)
        );
        let from = ordered("an index", from)?;
        let rows = self.readers.fetch(sql, values([self.node.into(), from.into()])).await?;
        rows.iter().map(|row| row.bytes(0).map(<[u8]>::to_vec)).collect()
    }

    /// The hashes of this node's records from an index on, in order; at most 65,536.
    ///
    /// # Errors
    /// The database's.
    pub async fn audit_leaf_hashes(&self, from: u64, limit: u64) -> Result<Vec<[u8; 32]>, StoreError> {
        let sql = "SELECT leaf_hash FROM audit WHERE node = $1 AND idx >= $2 AND idx < $3 ORDER BY idx";
        let until = ordered("an index", from.saturating_add(limit.min(HASHES_MAX)))?;
        let range = [self.node.into(), ordered("an index", from)?.into(), until.into()];
        let rows = self.readers.fetch(sql, values(range)).await?;
        rows.iter().map(|row| row.array(0)).collect()
    }

    /// A full tile of this node's log: its 256 hashes. Those of a tile that is not full are the hashes of its records,
    /// or of the tiles below.
    ///
    /// # Errors
    /// The database's.
    pub async fn audit_tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT hashes FROM audit_tiles WHERE node = $1 AND level = $2 AND idx = $3";
        let name = [self.node.into(), i64::from(level).into(), ordered("an index", index)?.into()];
        let rows = self.readers.fetch(sql, values(name)).await?;
        rows.first().map(|row| row.bytes(0).map(<[u8]>::to_vec)).transpose()
    }

    /// The newest checkpoint of this node's log, or the newest of at most so many records.
    ///
    /// # Errors
    /// The database's.
    pub async fn checkpoint(&self, size_max: Option<u64>) -> Result<Option<CheckpointRow>, StoreError> {
        let sql = "SELECT size, root, note FROM checkpoints WHERE node = $1 AND size <= $2 ORDER BY size DESC LIMIT 1";
        let most = size_max.map_or(Ok(i64::MAX), |size| ordered("a size", size))?;
        let rows = self.readers.fetch(sql, values([self.node.into(), most.into()])).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(CheckpointRow {
            size: row.unsigned(0, "a size")?,
            root: row.array(1)?,
            note: row.bytes(2)?.to_owned(),
        }))
    }
}

/// The statement for a page of the audit log, and its values.
pub(super) fn audit_page(
    query: &AuditQuery,
    readers: &Readers,
    node: i64,
    limit: usize,
) -> Result<(String, Vec<Value>), StoreError> {
    let AuditQuery {
        from_ms,
        until_ms,
        tenants,
        sender,
        kind,
        code,
        client,
        key_id,
        request,
        own,
        newest_first,
        after,
    } = query;
    let time = |time: &Option<u64>| time.map(|at| ordered("a time", at)).transpose();
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let mut filter = Filter::default();
    filter.with("a.time_ms >=", time(from_ms)?.map(Value::from));
    filter.with("a.time_ms <", time(until_ms)?.map(Value::from));
    filter.one_of("a.tenant", tenants.as_ref());
    filter.with("a.sender =", text(sender));
    filter.with("a.kind =", text(kind));
    // The condition of the index that finds it, which must be in the text.
    if kind.as_ref().is_some_and(|kind| kind != COMMON_KIND) {
        filter.text(&format!("a.kind <> '{COMMON_KIND}'"));
    }
    filter.with("a.code =", text(code));
    filter.with("a.client =", text(client));
    filter.with("a.key_id =", key_id.as_ref().map(Value::from));
    filter.with("a.request =", request.as_ref().map(Value::from));
    // Not on SQLite either: no record has such a text.
    if filter.values.iter().any(Value::has_nul) {
        return Err(StoreError::NulInText);
    }
    filter.with("a.node =", own.then(|| node.into()));
    let (comparison, order) = if *newest_first { ("<", "DESC") } else { (">", "ASC") };
    if let Some(AuditPlace { time_ms, node, index }) = after {
        let place = [
            ordered("a time", *time_ms)?.into(),
            ordered("a node's number", *node)?.into(),
            ordered("an index", *index)?.into(),
        ];
        filter.pair(&format!("(a.time_ms, a.node, a.idx) {comparison}"), place);
    }
    // Without statistics SQLite would rather walk through all of a time or a tenant, in order, than sort a few records.
    let index = match (request, sender) {
        (Some(_), _) => readers.indexed_by("audit_by_request"),
        (None, Some(_)) => readers.indexed_by("audit_by_sender"),
        (None, None) => String::new(),
    };
    let sql = format!(
        "SELECT {} FROM audit a{index} JOIN nodes n ON n.number = a.node {} \
         ORDER BY a.time_ms {order}, a.node {order}, a.idx {order} LIMIT {}",
        AuditEntry::COLUMNS,
        filter.condition(),
        limit.min(PAGE_MAX)
    );
    Ok((sql, filter.values))
}

/// The conditions of a query, and the values in them. Their texts are constants.
#[derive(Debug, Default)]
struct Filter {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Filter {
    fn with(&mut self, comparison: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.values.push(value);
            self.conditions.push(format!("{comparison} ${}", self.values.len()));
        }
    }

    fn pair<const N: usize>(&mut self, comparison: &str, values: [Value; N]) {
        let first = self.values.len() + 1;
        let places: Vec<_> = (first..first + N).map(|place| format!("${place}")).collect();
        self.values.extend(values);
        self.conditions.push(format!("{comparison} ({})", places.join(", ")));
    }

    /// That a column is one of these texts, if it matters; of none, nothing is.
    fn one_of(&mut self, column: &str, texts: Option<&BTreeSet<PathText>>) {
        let Some(texts) = texts else { return };
        match texts.iter().next() {
            None => return self.text("1 = 0"),
            // An index of the column has them in order then.
            Some(only) if texts.len() == 1 => {
                return self.with(&format!("{column} ="), Some(only.as_str().into()));
            }
            Some(_) => {}
        }
        let first = self.values.len() + 1;
        let places: Vec<_> = (first..first + texts.len()).map(|place| format!("${place}")).collect();
        self.values.extend(texts.iter().map(|text| Value::from(text.as_str())));
        self.conditions.push(format!("{column} IN ({})", places.join(", ")));
    }

    /// That a reservation's sender is of one of these tenants.
    fn senders_of(&mut self, tenants: &BTreeSet<PathText>) {
        let mut ranges = Vec::new();
        for (from, until) in tenants.iter().flat_map(Sender::ranges_of) {
            self.values.extend([Value::from(from.as_str()), Value::from(until.as_str())]);
            let place = self.values.len();
            ranges.push(format!("(r.sender >= ${} AND r.sender < ${place})", place - 1));
        }
        self.conditions.push(if ranges.is_empty() {
            "1 = 0".to_owned()
        } else {
            format!("({})", ranges.join(" OR "))
        });
    }

    fn text(&mut self, condition: &str) {
        self.conditions.push(condition.to_owned());
    }

    fn condition(&self) -> String {
        if self.conditions.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", self.conditions.join(" AND "))
        }
    }
}
