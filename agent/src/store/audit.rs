//! What the audit log keeps: records as they were written, in the order of their index, node by node.
//!
//! The store takes a record's bytes and their hash as they are; what they mean is for who writes and reads them.

use std::collections::BTreeSet;

use sealstone_wire::PathText;

use super::StoreError;
use super::database::{Row, Value};
use super::rows::ordered;

/// Bytes of a record; the log's format counts them in 16 bits, and a record is a line.
pub const LEAF_MAX: usize = 16 * 1024;

/// One record, with what it can be found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// When, in Unix milliseconds.
    pub time_ms: u64,
    /// What happened.
    pub kind: String,
    /// The reason's code.
    pub code: Option<String>,
    /// Whose key.
    pub tenant: Option<String>,
    /// The asset or the session's sender.
    pub sender: Option<String>,
    /// Who asked.
    pub client: Option<String>,
    /// The request.
    pub request: Option<[u8; 32]>,
    /// The key.
    pub key_id: Option<[u8; 32]>,
    /// The key's generation.
    pub epoch: Option<u64>,
    /// The record itself.
    pub leaf: Vec<u8>,
    /// Its hash in the tree: SHA-256 of a zero byte and the record.
    pub leaf_hash: [u8; 32],
}

impl AuditRow {
    /// Columns in which it is written, after the node and the index.
    pub(super) const COLUMNS: &str =
        "node, idx, time_ms, kind, code, tenant, sender, client, request, key_id, epoch, leaf, leaf_hash";

    /// How many they are.
    pub(super) const WIDTH: usize = 13;

    pub(super) fn push(&self, node: i64, index: i64, values: &mut Vec<Value>) -> Result<(), StoreError> {
        let Self { time_ms, kind, code, tenant, sender, client, request, key_id, epoch, leaf, leaf_hash } =
            self;
        if leaf.len() > LEAF_MAX {
            return Err(StoreError::RecordTooLong { found: leaf.len() });
        }
        values.extend([
            node.into(),
            index.into(),
            ordered("a time", *time_ms)?.into(),
            kind.as_str().into(),
            code.clone().into(),
            tenant.clone().into(),
            sender.clone().into(),
            client.clone().into(),
            (*request).into(),
            (*key_id).into(),
            epoch.map(|epoch| ordered("an epoch", epoch)).transpose()?.into(),
            leaf.as_slice().into(),
            leaf_hash.into(),
        ]);
        Ok(())
    }
}

/// A record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// The name of the node that wrote it.
    pub node: String,
    /// Where it stands.
    pub place: AuditPlace,
    /// The record.
    pub row: AuditRow,
}

/// A place in the log: by time, then node, then index. What a page ends with, and the next one begins after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditPlace {
    /// The record's time, in Unix milliseconds.
    pub time_ms: u64,
    /// The node's number.
    pub node: u64,
    /// The record's index in its node's log.
    pub index: u64,
}

impl AuditEntry {
    /// Columns of a record (`a`) with its node (`n`), in the order that [`AuditEntry::from_row`] reads.
    pub(super) const COLUMNS: &str = "n.name, a.node, a.idx, a.time_ms, a.kind, a.code, a.tenant, a.sender, a.client, \
         a.request, a.key_id, a.epoch, a.leaf, a.leaf_hash";

    pub(super) fn from_row(row: &Row) -> Result<Self, StoreError> {
        let text = |column| row.text_or_none(column).map(|text| text.map(str::to_owned));
        let digest = |column| match row.bytes_or_none(column)? {
            None => Ok(None),
            Some(_) => row.array(column).map(Some),
        };
        let time_ms = row.unsigned(3, "a time")?;
        Ok(Self {
            node: row.text(0)?.to_owned(),
            place: AuditPlace {
                time_ms,
                node: row.unsigned(1, "a node's number")?,
                index: row.unsigned(2, "an index")?,
            },
            row: AuditRow {
                time_ms,
                kind: row.text(4)?.to_owned(),
                code: text(5)?,
                tenant: text(6)?,
                sender: text(7)?,
                client: text(8)?,
                request: digest(9)?,
                key_id: digest(10)?,
                epoch: row.int_or_none(11)?.map(|_| row.unsigned(11, "an epoch")).transpose()?,
                leaf: row.bytes(12)?.to_owned(),
                leaf_hash: row.array(13)?,
            },
        })
    }
}

/// Which records are wanted. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Not before, in Unix milliseconds.
    pub from_ms: Option<u64>,
    /// Before, in Unix milliseconds.
    pub until_ms: Option<u64>,
    /// Of these tenants.
    pub tenants: Option<BTreeSet<PathText>>,
    /// Of this asset or session sender.
    pub sender: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// With this code.
    pub code: Option<String>,
    /// Of this client.
    pub client: Option<String>,
    /// With this key.
    pub key_id: Option<[u8; 32]>,
    /// Of this request.
    pub request: Option<[u8; 32]>,
    /// Only of the node that this store is opened for.
    pub own: bool,
    /// The newest first, instead of the oldest.
    pub newest_first: bool,
    /// Beyond this place, in that order.
    pub after: Option<AuditPlace>,
}

/// A checkpoint of this node's log, as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    /// Records that it covers.
    pub size: u64,
    /// The tree's root.
    pub root: [u8; 32],
    /// The signed note.
    pub note: Vec<u8>,
}
