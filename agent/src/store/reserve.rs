//! Giving nonces away: who has each already, whether its asset may sign, whether the sender's windows have room.
//!
//! On a shared database the senders' rows are locked first, in their order: what is read after that stands until the
//! commit, so that everything is decided in memory, for all jobs of the transaction, and written in a few statements.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sealstone_attestation::{Binding, RequestDigest};

use super::StoreError;
use super::database::{Value, sql};
use super::job::ReserveAsk;
use super::rows::{
    ANSWER_JOIN, IdempotencyKey, NonceKey, OpenReservation, RESERVATION_COLUMNS, Reserve, Reserved,
    ReservedKey, Standing, bits, ordered,
};
use super::transaction::{AssetState, Transaction};
use super::windows::Windows;

/// Columns in which a reservation is written, but for the one that it replaces.
const COLUMNS: &str = "id, chain_id, sender, nonce, request, client, policy, epoch, hour, binding, issued_at_ms, \
     node, era, sequence_seen, created_at";

/// How many they are.
pub(super) const WIDTH: usize = 15;

/// Beginning and end of the statement that reserves, around its rows: a reservation of a nonce that was signed before
/// a chain's re-organisation names the one that it replaces.
pub(super) fn insert(rows: &str) -> String {
    let columns: Vec<String> = (1..=WIDTH).map(|column| format!("v.column{column}")).collect();
    format!(
        "INSERT INTO reservations ({COLUMNS}, replaces) SELECT {}, (SELECT p.id FROM reservations p \
         WHERE p.chain_id = v.column2 AND p.sender = v.column3 AND p.nonce = v.column4 AND p.generation > 0 \
         ORDER BY p.generation DESC LIMIT 1) FROM ({rows}) AS v",
        columns.join(",")
    )
}

/// Reserves each nonce for its request, or says why not.
pub(super) async fn reserve(
    transaction: &mut Transaction<'_>,
    asks: &mut [ReserveAsk],
) -> Result<(), StoreError> {
    let Some(progress) = &transaction.state.progress else {
        asks.iter_mut().for_each(|ask| ask.settle(Err(StoreError::NoEra)));
        return Ok(());
    };
    let seen = (progress.era, progress.newest());
    let clocks = lock_senders(transaction, asks).await?;
    let mut known = Known {
        standing: standings(transaction, asks).await?,
        named: named(transaction, asks).await?,
        assets: assets(transaction, asks).await?,
        windows: Windows::default(),
    };
    let wanted: Vec<_> = asks.iter().filter_map(|ask| known.wants_windows(&ask.ask)).collect();
    known.windows = Windows::load(transaction, &clocks, &wanted).await?;

    let mut new = New::default();
    for ask in asks.iter_mut() {
        let outcome = decide(transaction, &mut known, &mut new, &ask.ask);
        ask.settle(Ok(outcome));
    }
    new.reservations.sort_by(|(_, a), (_, b)| a.nonce.sender.as_str().cmp(b.nonce.sender.as_str()));
    write(transaction, &new, seen).await?;
    known.windows.write(transaction).await
}

/// What the database knows of the nonces, keys, assets and windows that are asked for.
struct Known {
    standing: HashMap<NonceKey, Standing>,
    named: HashMap<IdempotencyKey, RequestDigest>,
    assets: HashMap<String, AssetState>,
    windows: Windows,
}

impl Known {
    /// A request that takes of its windows, with the reservation that it resumes.
    fn wants_windows<'r>(&self, ask: &'r Reserve) -> Option<(&'r Reserve, Option<i64>)> {
        match self.standing.get(&ask.nonce) {
            None => Some((ask, None)),
            Some(standing) => standing.resumable(&ask.request).map(|id| (ask, Some(id))),
        }
    }
}

/// What is to be written.
#[derive(Default)]
struct New {
    reservations: Vec<(i64, Reserve)>,
    names: BTreeMap<(String, String), i64>,
    resumed: BTreeSet<i64>,
}

fn decide(transaction: &mut Transaction<'_>, known: &mut Known, new: &mut New, ask: &Reserve) -> Reserved {
    if let Some(name) = &ask.idempotency
        && known.named.get(name).is_some_and(|holder| *holder != ask.request)
    {
        return Reserved::KeyReused;
    }
    let (outcome, id) = match known.standing.get(&ask.nonce) {
        Some(standing) => {
            let (outcome, id) = (standing.reserved(&ask.request), standing.open.id);
            if matches!(outcome, Reserved::Open(_)) {
                if let Some(refused) = without_room(transaction, known, ask, id) {
                    return refused;
                }
                known.windows.spend(id, ask);
                new.resumed.insert(id);
            }
            (outcome, id)
        }
        None => {
            let id = transaction.state.next_id;
            if !may_sign(known, ask) {
                return Reserved::AssetChanged;
            }
            if let Some(refused) = without_room(transaction, known, ask, id) {
                return refused;
            }
            transaction.state.next_id += 1;
            known.windows.spend(id, ask);
            let open = OpenReservation { id, key: ask.key };
            let standing = Standing { request: ask.request, open, answer: None, voided: false };
            known.standing.insert(ask.nonce.clone(), standing);
            new.reservations.push((id, ask.clone()));
            (Reserved::Fresh { id }, id)
        }
    };
    if let Some(name) = &ask.idempotency
        && matches!(outcome, Reserved::Fresh { .. } | Reserved::Open(_) | Reserved::Answered(_))
        && !known.named.contains_key(name)
    {
        known.named.insert(name.clone(), ask.request);
        new.names.insert((name.client.clone(), name.key.clone()), id);
    }
    outcome
}

/// Whether the key that is asked for signs anything new.
fn may_sign(known: &Known, ask: &Reserve) -> bool {
    let ReservedKey::Asset { epoch } = ask.key else { return true };
    known.assets.get(ask.nonce.sender.as_str()).is_some_and(|asset| {
        let newest = u64::try_from(asset.newest) == Ok(epoch.0);
        !asset.retired && (newest || ask.epoch_named)
    })
}

/// The refusal if the sender's windows have no room for this reservation, with its record.
fn without_room(
    transaction: &mut Transaction<'_>,
    known: &Known,
    ask: &Reserve,
    reservation: i64,
) -> Option<Reserved> {
    let refused = known.windows.refused(reservation, ask);
    if refused.is_empty() {
        return None;
    }
    transaction.record(&ask.refusal.of(&refused));
    Some(Reserved::Refused(refused))
}

/// Locks each sender, in order, and moves its clock on; its clock then. Where nobody else writes only those senders
/// have a clock that have windows.
async fn lock_senders(
    transaction: &mut Transaction<'_>,
    asks: &[ReserveAsk],
) -> Result<HashMap<String, i64>, StoreError> {
    let mut senders = BTreeMap::new();
    for Reserve { nonce, now_ms, demands, .. } in asks.iter().map(|ask| &*ask.ask) {
        if transaction.connection.shared() || !demands.is_empty() {
            let clock = senders.entry(nonce.sender.as_str()).or_insert(0);
            *clock = ordered("a time", *now_ms)?.max(*clock);
        }
    }
    let senders: Vec<_> = senders.into_iter().collect();
    let mut clocks = HashMap::new();
    for chunk in senders.chunks(transaction.connection.rows_max()) {
        let rows = sql::rows(2, chunk.len(), 0);
        let sql = format!(
            "INSERT INTO senders (sender, at_ms) {rows} ON CONFLICT (sender) DO UPDATE SET at_ms = \
             CASE WHEN excluded.at_ms > senders.at_ms THEN excluded.at_ms ELSE senders.at_ms END \
             RETURNING sender, at_ms"
        );
        let values = chunk.iter().flat_map(|(sender, at_ms)| [(*sender).into(), (*at_ms).into()]).collect();
        for row in transaction.connection.fetch(sql, values).await? {
            clocks.insert(row.text(0)?.to_owned(), row.int(1)?);
        }
    }
    Ok(clocks)
}

/// What holds each nonce that is not free.
async fn standings(
    transaction: &mut Transaction<'_>,
    asks: &[ReserveAsk],
) -> Result<HashMap<NonceKey, Standing>, StoreError> {
    let mut found = HashMap::new();
    for chunk in asks.chunks(transaction.connection.rows_max()) {
        let rows = sql::rows(4, chunk.len(), 0);
        let sql = format!(
            "SELECT {RESERVATION_COLUMNS}, v.column4 FROM ({rows}) AS v CROSS JOIN reservations r {ANSWER_JOIN} \
             WHERE r.chain_id = v.column1 AND r.sender = v.column2 AND r.nonce = v.column3 AND r.generation = 0"
        );
        let mut values = Vec::with_capacity(4 * chunk.len());
        for (place, ask) in (0_i64..).zip(chunk) {
            let NonceKey { chain_id, sender, nonce } = &ask.ask.nonce;
            let key = [bits(*chain_id).into(), sender.as_str().into(), bits(*nonce).into(), place.into()];
            values.extend(key);
        }
        for row in transaction.connection.fetch(sql, values).await? {
            let place = usize::try_from(row.int(20)?).ok();
            let ask = place
                .and_then(|place| chunk.get(place))
                .ok_or(StoreError::Corrupt { expected: "a reservation that was asked for" })?;
            found.insert(ask.ask.nonce.clone(), Standing::from_row(&row)?);
        }
    }
    Ok(found)
}

/// Which request each client's key names.
async fn named(
    transaction: &mut Transaction<'_>,
    asks: &[ReserveAsk],
) -> Result<HashMap<IdempotencyKey, RequestDigest>, StoreError> {
    let names: Vec<&IdempotencyKey> = asks.iter().filter_map(|ask| ask.ask.idempotency.as_ref()).collect();
    let mut found = HashMap::new();
    for chunk in names.chunks(transaction.connection.rows_max()) {
        let sql = format!(
            "SELECT i.client, i.key, r.request FROM ({}) AS v CROSS JOIN idempotency i \
             JOIN reservations r ON r.id = i.reservation WHERE i.client = v.column1 AND i.key = v.column2",
            sql::rows(2, chunk.len(), 0)
        );
        let values =
            chunk.iter().flat_map(|name| [name.client.as_str().into(), name.key.as_str().into()]).collect();
        for row in transaction.connection.fetch(sql, values).await? {
            let name = IdempotencyKey { client: row.text(0)?.to_owned(), key: row.text(1)?.to_owned() };
            found.insert(name, RequestDigest::from_bytes(row.array(2)?));
        }
    }
    Ok(found)
}

/// How each asset stands whose key is asked for.
async fn assets(
    transaction: &mut Transaction<'_>,
    asks: &[ReserveAsk],
) -> Result<HashMap<String, AssetState>, StoreError> {
    let mut found = HashMap::new();
    let mut missing = BTreeSet::new();
    for Reserve { nonce, key, .. } in asks.iter().map(|ask| &*ask.ask) {
        let ReservedKey::Asset { .. } = key else { continue };
        match transaction.assets.get(nonce.sender.as_str()) {
            Some(state) => drop(found.insert(nonce.sender.as_str().to_owned(), state)),
            None => drop(missing.insert(nonce.sender.as_str())),
        }
    }
    let missing: Vec<_> = missing.into_iter().collect();
    for chunk in missing.chunks(transaction.connection.rows_max()) {
        let senders = sql::rows(1, chunk.len(), 0);
        let values: Vec<Value> = chunk.iter().map(|sender| (*sender).into()).collect();
        // A rotation waits for these, and these for it. Its epoch is seen only by a statement that begins after that.
        let lock = if transaction.connection.shared() { " FOR SHARE" } else { "" };
        let sql = format!(
            "SELECT sender, retired_at FROM assets WHERE sender IN ({senders}) ORDER BY sender{lock}"
        );
        let mut retired = HashMap::new();
        for row in transaction.connection.fetch(sql, values.clone()).await? {
            retired.insert(row.text(0)?.to_owned(), row.int_or_none(1)?.is_some());
        }
        let sql = format!(
            "SELECT a.sender, (SELECT max(e.epoch) FROM epochs e WHERE e.tenant = a.tenant AND e.asset = a.asset) \
             FROM assets a WHERE a.sender IN ({senders})"
        );
        for row in transaction.connection.fetch(sql, values).await? {
            let (sender, newest) = (row.text(0)?.to_owned(), row.int(1)?);
            // An asset that was created in between is not locked: it is unknown.
            let Some(retired) = retired.remove(&sender) else { continue };
            let state = AssetState { retired, newest };
            if !transaction.connection.shared() {
                transaction.assets.remember(sender.clone(), state);
            }
            found.insert(sender, state);
        }
    }
    Ok(found)
}

async fn write(transaction: &mut Transaction<'_>, new: &New, seen: (u64, u64)) -> Result<(), StoreError> {
    let New { reservations, names, resumed } = new;
    let rows_max = transaction.connection.rows_max();
    for chunk in reservations.chunks(rows_max) {
        let mut values = Vec::with_capacity(chunk.len() * WIDTH);
        for (id, ask) in chunk {
            push(ask, *id, transaction.state.node, seen, &mut values)?;
        }
        let sql = insert(&sql::rows(WIDTH, chunk.len(), 0));
        transaction.connection.execute(sql, values).await?;
    }
    let names: Vec<_> = names.iter().collect();
    for chunk in names.chunks(rows_max) {
        let rows = sql::rows(3, chunk.len(), 0);
        let sql = format!("INSERT INTO idempotency (client, key, reservation) {rows} ON CONFLICT DO NOTHING");
        let values = chunk
            .iter()
            .flat_map(|((client, key), id)| [client.as_str().into(), key.as_str().into(), (**id).into()])
            .collect();
        // One that another agent wrote since it was looked for may name another request.
        if transaction.connection.execute(sql, values).await? != chunk.len() as u64 {
            return Err(StoreError::Overtaken);
        }
    }
    let resumed: Vec<_> = resumed.iter().collect();
    for chunk in resumed.chunks(rows_max) {
        let ids = sql::rows(1, chunk.len(), 0);
        let sql = format!("UPDATE reservations SET resumed = 1 WHERE id IN ({ids}) AND resumed = 0");
        transaction.connection.execute(sql, chunk.iter().map(|id| (**id).into()).collect()).await?;
    }
    Ok(())
}

/// A reservation's values in the order of [`COLUMNS`].
pub(super) fn push(
    ask: &Reserve,
    id: i64,
    node: i64,
    (era, sequence): (u64, u64),
    values: &mut Vec<Value>,
) -> Result<(), StoreError> {
    let (epoch, hour, binding, issued) = match ask.key {
        ReservedKey::Asset { epoch } => (Some(ordered("an epoch", epoch.0)?), None, None, None),
        ReservedKey::Session { hour, binding, issued_at_ms } => (
            None,
            Some(ordered("an hour", hour)?),
            Some(binding),
            Some(ordered("a time of issue", issued_at_ms)?),
        ),
    };
    values.extend([
        id.into(),
        bits(ask.nonce.chain_id).into(),
        ask.nonce.sender.as_str().into(),
        bits(ask.nonce.nonce).into(),
        ask.request.as_bytes().into(),
        ask.client.as_str().into(),
        ask.policy.into(),
        epoch.into(),
        hour.into(),
        binding.as_ref().map(|binding: &Binding| *binding.as_bytes()).into(),
        issued.into(),
        node.into(),
        ordered("an era", era)?.into(),
        ordered("a sequence", sequence)?.into(),
        ordered("a time", ask.now_ms / 1000)?.into(),
    ]);
    Ok(())
}
