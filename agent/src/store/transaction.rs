//! One transaction of the writer: many jobs, few statements, each job with its own outcome.

use std::collections::HashMap;

use super::StoreError;
use super::audit::AuditRow;
use super::database::{Connection, Unfinished, sql, values};
use super::job::Work;
use super::progress::Progress;
use super::rows::ordered;
use super::tree::{Tile, Tree};
use super::{answer, other, reserve};

/// Assets whose standing is remembered where one agent writes; when there are more, the memory starts anew.
const ASSETS_KNOWN_MAX: usize = 4096;

/// Numbers of reservations of one node: the node's number stands above them.
const IDS_BITS: u32 = 40;

/// What the writer knows without asking the database. All of it can be read from there again.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The node's number.
    pub(super) node: i64,
    /// The next reservation's number. None is given twice, so that none is mistaken for one that was released.
    pub(super) next_id: i64,
    /// Which receipts of the enclave's era are held.
    pub(super) progress: Option<Progress>,
    /// The node's audit log.
    pub(super) tree: Tree,
}

impl State {
    pub(super) async fn load(
        connection: &mut Connection,
        node: i64,
        audit_size: Option<i64>,
    ) -> Result<Self, StoreError> {
        let base = node << IDS_BITS;
        let sql = "SELECT coalesce(max(id), $1) + 1 FROM reservations WHERE id >= $1 AND id < $2";
        let rows = connection.fetch(sql, values([base.into(), (base + (1 << IDS_BITS)).into()])).await?;
        let next_id = rows.first().map_or(Ok(base + 1), |row| row.int(0))?;
        let size = match audit_size {
            Some(size) => size,
            None => {
                let sql = "SELECT coalesce(max(idx), -1) + 1 FROM audit WHERE node = $1";
                let rows = connection.fetch(sql, values([node.into()])).await?;
                rows.first().map_or(Ok(0), |row| row.int(0))?
            }
        };
        let tree = Tree::load(connection, node, size).await?;
        Ok(Self { node, next_id, progress: None, tree })
    }

    /// The enclave's era, once it is known.
    pub(super) fn era(&self) -> Option<u64> {
        self.progress.as_ref().map(|progress| progress.era)
    }
}

/// Whether an asset may sign, and its newest epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AssetState {
    pub(super) retired: bool,
    pub(super) newest: i64,
}

/// What is known of assets by their sender's text. Only where no other agent can change them.
#[derive(Debug, Default)]
pub(super) struct KnownAssets(HashMap<String, AssetState>);

impl KnownAssets {
    pub(super) fn get(&self, sender: &str) -> Option<AssetState> {
        self.0.get(sender).copied()
    }

    pub(super) fn remember(&mut self, sender: String, state: AssetState) {
        if self.0.len() >= ASSETS_KNOWN_MAX {
            self.0.clear();
        }
        self.0.insert(sender, state);
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Transaction<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) state: &'a mut State,
    pub(super) assets: &'a mut KnownAssets,
    /// Records of the audit log, in order.
    records: Vec<AuditRow>,
}

impl<'a> Transaction<'a> {
    /// Runs the jobs in one transaction. Every ask of `work` has its outcome when this returns well; `state` is
    /// what it was only then.
    pub(super) async fn run(
        connection: &'a mut Connection,
        state: &'a mut State,
        assets: &'a mut KnownAssets,
        work: &mut Work,
    ) -> Result<(), Unfinished> {
        let mut transaction = Self { connection, state, assets, records: Vec::new() };
        match transaction.jobs(work).await {
            Ok(()) => {}
            Err(error) => return Err(transaction.connection.judge(error, false)),
        }
        let size = transaction.state.tree.size();
        match transaction.connection.commit(size).await {
            Ok(()) => Ok(()),
            Err(error) => Err(transaction.connection.judge(error, true)),
        }
    }

    async fn jobs(&mut self, work: &mut Work) -> Result<(), StoreError> {
        self.connection.begin().await?;
        let due = self.state.progress.as_ref().and_then(|progress| Some((progress.era, progress.due()?)));
        if !work.reserves.is_empty() {
            reserve::reserve(self, &mut work.reserves).await?;
        }
        if !work.answers.is_empty() {
            answer::answer(self, &mut work.answers).await?;
        }
        for job in &mut work.others {
            other::run(self, job).await?;
        }
        if let Some((era, through)) = due {
            complete_through(self.connection, self.state.node, era, through).await?;
            if let Some(progress) = &mut self.state.progress {
                progress.persisted(through);
            }
        }
        self.write_records().await
    }

    /// Has a record written with this transaction; its index.
    pub(super) fn record(&mut self, row: &AuditRow) -> i64 {
        self.records.push(row.clone());
        self.state.tree.size() + i64::try_from(self.records.len()).expect("jobs are few") - 1
    }

    async fn write_records(&mut self) -> Result<(), StoreError> {
        let records = std::mem::take(&mut self.records);
        let mut tiles: Vec<Tile> = Vec::new();
        for chunk in records.chunks(self.connection.rows_max()) {
            let mut values = Vec::with_capacity(chunk.len() * AuditRow::WIDTH);
            for row in chunk {
                row.push(self.state.node, self.state.tree.size(), &mut values)?;
                tiles.extend(self.state.tree.push(row.leaf_hash));
            }
            let rows = sql::rows(AuditRow::WIDTH, chunk.len(), 0);
            let sql = format!("INSERT INTO audit ({}) {rows}", AuditRow::COLUMNS);
            self.connection.execute(sql, values).await?;
        }
        for Tile { level, index, hashes } in tiles {
            let sql = "INSERT INTO audit_tiles (node, level, idx, hashes) VALUES ($1, $2, $3, $4)";
            let row = [self.state.node.into(), level.into(), index.into(), hashes.as_slice().into()];
            self.connection.execute(sql, values(row)).await?;
        }
        Ok(())
    }
}

/// Notes that every receipt of the era up to this one is held.
pub(super) async fn complete_through(
    connection: &mut Connection,
    node: i64,
    era: u64,
    through: u64,
) -> Result<(), StoreError> {
    let sql = "UPDATE eras SET complete_through = $1 WHERE node = $2 AND era = $3";
    let (through, era) = (ordered("a sequence", through)?, ordered("an era", era)?);
    connection.execute(sql, values([through.into(), node.into(), era.into()])).await?;
    Ok(())
}
