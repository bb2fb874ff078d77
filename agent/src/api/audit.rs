//! The audit log: searched, and as the files of c2sp.org/tlog-tiles.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use schemars::JsonSchema;
use sealstone_attestation::audit::{EntryBundle, Record, RecordKind, Tile, TreeHash};
use sealstone_attestation::{KeyId, RequestDigest, UnixTime};
use sealstone_wire::PathText;
use sealstone_wire::api::{AuditEntry, AuditPage, Hex32, KeyThumbprint, RecordKindName, Time};
use serde::Deserialize;

use super::Node;
use super::body::{Asked, Json, Named};
use super::page::{Limit, visible};
use crate::access::Client;
use crate::failure::{Code, Failure};
use crate::store::{self, AuditPlace, CheckpointRow};

/// Media type of tiles and bundles.
pub(super) const OCTETS: &str = "application/octet-stream";

/// Query of `GET /v1/audit`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordsQuery {
    #[schemars(with = "Option<Time>")]
    from: Option<UnixTime>,
    #[schemars(with = "Option<Time>")]
    until: Option<UnixTime>,
    tenant: Option<PathText>,
    sender: Option<PathText>,
    #[schemars(with = "Option<RecordKindName>")]
    kind: Option<RecordKind>,
    code: Option<PathText>,
    client: Option<PathText>,
    #[schemars(with = "Option<KeyThumbprint>")]
    key_id: Option<KeyId>,
    #[schemars(with = "Option<Hex32>")]
    request: Option<RequestDigest>,
    #[serde(default)]
    newest_first: bool,
    limit: Option<Limit>,
    #[schemars(with = "Option<CursorName>")]
    after: Option<Cursor>,
}

pub(super) async fn query(
    State(node): State<Arc<Node>>,
    Extension(caller): Extension<Arc<Client>>,
    Asked(query): Asked<RecordsQuery>,
) -> Result<Json<AuditPage>, Failure> {
    let RecordsQuery {
        from,
        until,
        tenant,
        sender,
        kind,
        code,
        client,
        key_id,
        request,
        newest_first,
        limit,
        after,
    } = query;
    let milliseconds = |time: UnixTime| time.as_secs() * 1000;
    let query = store::AuditQuery {
        from_ms: from.map(milliseconds),
        until_ms: until.map(milliseconds),
        tenants: visible(&caller, tenant),
        sender: sender.map(String::from),
        kind: kind.map(|kind| kind.to_string()),
        code: code.map(String::from),
        client: client.map(String::from),
        key_id: key_id.map(|key_id| *key_id.as_bytes()),
        request: request.map(|request| *request.as_bytes()),
        own: false,
        newest_first,
        after: after.map(|Cursor(place)| place),
    };
    let rows = Limit::rows(limit);
    let found = node.store.query(&query, rows).await?;
    let next = found.last().filter(|_| found.len() == rows).map(|last| Cursor(last.place).to_text());
    let records = found.into_iter().map(|entry| {
        let store::AuditEntry { node, place, row } = entry;
        let record = Record::parse(&row.leaf).map_err(|_| {
            Failure::new(
                Code::StoreFailed,
                format!("expected a record, found none at index {} of {node}: verify the log", place.index),
            )
        })?;
        Ok(AuditEntry { node, index: place.index, record })
    });
    Ok(Json(AuditPage { records: records.collect::<Result<Vec<_>, Failure>>()?, next }))
}

pub(super) async fn checkpoint(
    State(node): State<Arc<Node>>,
    Extension(client): Extension<Arc<Client>>,
) -> Result<impl IntoResponse, Failure> {
    client.require_all_tenants()?;
    let CheckpointRow { note, .. } = newest(&node).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], note))
}

/// A file as tlog-tiles names it, of the log up to the newest checkpoint.
pub(super) async fn tile(
    State(node): State<Arc<Node>>,
    Extension(client): Extension<Arc<Client>>,
    Named(path): Named<String>,
) -> Result<impl IntoResponse, Failure> {
    client.require_all_tenants()?;
    let size = newest(&node).await?.size;
    let absent = || {
        Failure::new(
            Code::NotFound,
            format!("expected a tile of a log of {size} records, found another path"),
        )
    };
    let path = format!("tile/{path}");
    let bytes = if let Some(bundle) = EntryBundle::from_path(&path) {
        let there = EntryBundle::of_log(size, bundle.index());
        there.filter(|there| there.width() >= bundle.width()).ok_or_else(absent)?;
        node.log.entries(&bundle).await?
    } else {
        let tile = Tile::from_path(&path).ok_or_else(absent)?;
        let there = Tile::of_tree(size, tile.level(), tile.index());
        there.filter(|there| there.width() >= tile.width()).ok_or_else(absent)?;
        node.log.tile(&tile).await?.iter().flat_map(|hash: &TreeHash| *hash.as_bytes()).collect()
    };
    Ok(([(CONTENT_TYPE, OCTETS)], bytes))
}

async fn newest(node: &Node) -> Result<CheckpointRow, Failure> {
    node.store.checkpoint(None).await?.ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            "expected a signed head of the log, found none yet; ask again when the node is ready",
        )
    })
}

/// Where a page ended, as clients hand it back: nobody else's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Cursor(AuditPlace);

/// The cursor's form, for the OpenAPI document.
#[derive(JsonSchema)]
#[schemars(inline, transparent)]
#[allow(dead_code, reason = "only its schema is used")]
struct CursorName(
    #[schemars(regex(pattern = r"^[0-7][0-9a-f]{15}[0-7][0-9a-f]{15}[0-7][0-9a-f]{15}$"))] String,
);

impl Cursor {
    fn to_text(self) -> String {
        let AuditPlace { time_ms, node, index } = self.0;
        format!("{time_ms:016x}{node:016x}{index:016x}")
    }
}

impl TryFrom<String> for Cursor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refused = || "expected what a page gave as `next`, found another text".to_owned();
        let number = |part: std::ops::Range<usize>| {
            let number = text.get(part).and_then(|part| u64::from_str_radix(part, 16).ok());
            // As the store has numbers.
            number.filter(|number| i64::try_from(*number).is_ok()).ok_or_else(refused)
        };
        let place = AuditPlace { time_ms: number(0..16)?, node: number(16..32)?, index: number(32..48)? };
        let cursor = Self(place);
        if cursor.to_text() == text { Ok(cursor) } else { Err(refused()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_has_one_spelling() {
        let place = AuditPlace { time_ms: 1_795_230_000_123, node: 2, index: u64::MAX >> 1 };
        let text = Cursor(place).to_text();
        assert_eq!(Cursor::try_from(text.clone()), Ok(Cursor(place)));
        for bad in [
            String::new(),
            text.to_uppercase(),
            format!("{text}0"),
            text[1..].to_owned(),
            text.replacen('0', "+", 1),
            "f".repeat(48),
            "é".repeat(24),
        ] {
            assert!(Cursor::try_from(bad.clone()).is_err(), "{bad}");
        }
    }
}
