//! What the stories of the store share: a database of either kind, and jobs for it.

use sealstone_agent::config::store::StoreConfig;
use sealstone_agent::store::{
    Answer, Answered, AssetEpoch, AuditRow, IdempotencyKey, NonceKey, Reserve, Reserved, ReservedKey, Sender,
    Store,
};
use sealstone_attestation::{
    Algorithm, Binding, KeyId, PublicKey, Receipt, ReceiptHash, RequestDigest, SessionId, Signature64,
    SignedReceipt, UnixTime,
};
use sealstone_policy::amount::Amount;
use sealstone_policy::engine::{Demand, ReasonCode};
use sealstone_swtpm_tests::Postgres;
use sealstone_wire::{Epoch, PathText};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_795_230_000);
pub(crate) const NOW_MS: u64 = 1_795_230_000_000;

/// A story that is told on both databases.
#[macro_export]
macro_rules! on_both {
    ($(#[$about:meta])* async fn $name:ident($place:ident) $body:block) => {
        $(#[$about])*
        mod $name {
            use super::*;

            async fn story($place: Place) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn on_sqlite() {
                story(Place::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn on_postgresql() {
                story(Place::postgres()).await;
            }
        }
    };
}

/// Where a store is.
pub(crate) enum Place {
    Sqlite(TempDir),
    Postgres(Box<Postgres>),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(Box::new(Postgres::start()))
    }

    pub(crate) fn config(&self) -> StoreConfig {
        match self {
            Self::Sqlite(folder) => StoreConfig::sqlite(folder.path().join("agent.db")),
            Self::Postgres(server) => StoreConfig::postgres(&server.url(), None, None).unwrap(),
        }
    }

    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// A node's store in era 7, with the asset `acme`/`hot` in epoch 0.
    pub(crate) async fn node(&self, name: &str) -> Store {
        let store = Store::open(&self.config(), name).await.unwrap();
        store.begin_era(7, NOW).await.unwrap();
        store.begin_epoch(epoch(0, Algorithm::Es256), record("asset_created")).await.unwrap();
        store
    }

    /// Ends the agent as `kill -9` does, and the database server with it: nothing is finished. Then all start again.
    pub(crate) async fn crash(&mut self, store: Store) -> Store {
        match self {
            Self::Sqlite(folder) => {
                let copy = tempfile::tempdir().unwrap();
                for entry in std::fs::read_dir(folder.path()).unwrap() {
                    let entry = entry.unwrap();
                    std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
                }
                *folder = copy;
            }
            Self::Postgres(server) => {
                server.crash();
                server.power_on();
            }
        }
        drop(store);
        self.node("node-1").await
    }
}

pub(crate) fn text(text: &str) -> PathText {
    text.try_into().unwrap()
}

pub(crate) fn public_key() -> PublicKey {
    let bytes = hex::decode("03e7d9e8b1ad5f49ff4dcfbf0205cfe59e26f69db6abb000c2e1eb71e458b3c156").unwrap();
    PublicKey::from_bytes(Algorithm::Es256, &bytes).unwrap()
}

pub(crate) fn sender() -> Sender {
    Sender::asset(&text("acme"), &text("hot"))
}

pub(crate) fn nonce(nonce: u64) -> NonceKey {
    NonceKey { chain_id: 1, sender: sender(), nonce }
}

pub(crate) fn epoch(number: u64, algorithm: Algorithm) -> AssetEpoch {
    AssetEpoch {
        tenant: text("acme"),
        asset: text("hot"),
        algorithm,
        epoch: Epoch(number),
        binding: Binding::from_bytes([3; 32]),
        key_id: public_key().key_id(),
        public_key: public_key(),
        since: NOW,
        retired_at: None,
    }
}

/// A record of a kind: no two are alike.
pub(crate) fn record(kind: &str) -> AuditRow {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let leaf =
        format!("{{\"kind\":\"{kind}\",\"number\":{}}}", NUMBER.fetch_add(1, Ordering::Relaxed)).into_bytes();
    let leaf_hash = Sha256::new().chain_update([0]).chain_update(&leaf).finalize().into();
    AuditRow {
        time_ms: NOW_MS,
        kind: kind.to_owned(),
        code: None,
        tenant: Some("acme".to_owned()),
        sender: Some("hot".to_owned()),
        client: None,
        request: None,
        key_id: None,
        epoch: None,
        leaf,
        leaf_hash,
    }
}

pub(crate) fn ask(number: u64, payload: &str) -> Reserve {
    Reserve {
        nonce: nonce(number),
        request: RequestDigest::of(format!("{number} {payload}").as_bytes()),
        key: ReservedKey::Asset { epoch: Epoch(0) },
        epoch_named: false,
        client: "uid:1000".to_owned(),
        idempotency: None,
        policy: None,
        demands: Vec::new(),
        now_ms: NOW_MS,
        refusal: record("refused").into(),
    }
}

pub(crate) fn named(client: &str, key: &str, reserve: Reserve) -> Reserve {
    Reserve {
        idempotency: Some(IdempotencyKey { client: client.to_owned(), key: key.to_owned() }),
        ..reserve
    }
}

pub(crate) fn demand(seconds: u32, add: u64, limit: u64) -> Demand {
    let window = format!("amount:USD:{seconds}");
    let code = ReasonCode::RollingLimitExceeded;
    Demand { window, seconds, add: Amount::from(add), limit: Amount::from(limit), code }
}

pub(crate) fn answer(reservation: i64, sequence: u64, reserve: &Reserve) -> Answer {
    let receipt = Receipt {
        sequence,
        era: 7,
        previous: ReceiptHash::from_bytes([1; 32]),
        request: reserve.request,
        key_id: KeyId::from_bytes([2; 32]),
        epoch: 2,
        binding: Binding::from_bytes([3; 32]),
        session: SessionId::from_bytes([4; 16]),
        time: NOW,
        signature: Signature64::from_bytes([u8::try_from(sequence % 256).unwrap(); 64]),
    };
    Answer {
        reservation,
        receipt: SignedReceipt { receipt, report_signature: Signature64::from_bytes([6; 64]) },
        public_key: public_key(),
        digest: [7; 32],
        recovery_id: None,
        attested_until: NOW,
        audit: record("signed"),
    }
}

pub(crate) async fn fresh(store: &Store, reserve: &Reserve) -> i64 {
    match store.reserve(reserve.clone()).await.unwrap() {
        Reserved::Fresh { id } => id,
        other => panic!("expected a fresh reservation, found {other:?}"),
    }
}

/// Reserves and answers.
pub(crate) async fn signed(store: &Store, sequence: u64, reserve: &Reserve) -> i64 {
    let id = fresh(store, reserve).await;
    let Answered { voided, .. } = store.answer(answer(id, sequence, reserve)).await.unwrap();
    assert!(!voided);
    id
}
