//! The store's own work alone: the calls that a signature or a rotation makes of it, as many under way, without HTTP,
//! policy and enclave. Either as the node makes them, those that wait together in one transaction, or as a script of the
//! same SQL would, each in a transaction of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use sealstone_agent::config::store::StoreConfig;
use sealstone_agent::store::{
    Answer, AssetEpoch, AuditRow, NonceKey, Reserve, Reserved, ReservedKey, Sender, Store,
};
use sealstone_attestation::{
    Algorithm, Binding, KeyId, PublicKey, Receipt, ReceiptHash, RequestDigest, SessionId, Signature64,
    SignedReceipt, UnixTime,
};
use sealstone_policy::engine::Demand;
use sealstone_wire::{Epoch, PathText};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard};

use crate::measure::{histogram, micros};

/// The era of what is signed.
const ERA: u64 = 7;

/// Bytes of a record: as long as those of signatures.
const LEAF: usize = 640;

/// A generator, compressed: any public key does.
const PUBLIC_KEY: [u8; 33] = [
    0x03, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
    0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
];

/// How calls that are under way at once are committed.
#[derive(Clone, Copy)]
pub(crate) enum Commits {
    /// Each by itself. Those of one sender take one another's locks (its row, then the audit log), so that they come one after the
    /// other however many connections there are.
    Apart,
    /// As the node does it: whatever waits goes into one.
    Together,
}

/// A store with assets, in an era.
pub(crate) struct Bare {
    store: Store,
    /// Nonces, sequences and epochs are spent for good, so they go on from one measurement to the next.
    next: AtomicU64,
    epochs: Vec<AtomicU64>,
    /// Held by the one call of the store that is under way, where calls are committed apart.
    turn: Mutex<()>,
}

impl Bare {
    pub(crate) async fn open(config: &StoreConfig, assets: usize) -> Arc<Self> {
        let store = Store::open(config, "node-1").await.unwrap();
        store.begin_era(ERA, now()).await.unwrap();
        for asset in 0..assets {
            assert!(store.begin_epoch(epoch(asset, 0), record("asset_created")).await.unwrap());
        }
        let epochs = (0..assets).map(|_| AtomicU64::new(1)).collect();
        Arc::new(Self { store, next: AtomicU64::new(1), epochs, turn: Mutex::new(()) })
    }

    /// Keeps `depth` signatures under way for `span`; latencies in microseconds.
    pub(crate) async fn sign(
        self: &Arc<Self>,
        commits: Commits,
        depth: usize,
        span: Duration,
        demands: &[Demand],
    ) -> Histogram<u64> {
        let (this, demands) = (Arc::clone(self), Arc::<[Demand]>::from(demands));
        keep_under_way(depth, span, move |_| {
            let (this, demands) = (Arc::clone(&this), Arc::clone(&demands));
            async move { this.one(commits, &demands).await }
        })
        .await
    }

    async fn turn(&self, commits: Commits) -> Option<MutexGuard<'_, ()>> {
        match commits {
            Commits::Apart => Some(self.turn.lock().await),
            Commits::Together => None,
        }
    }

    async fn one(&self, commits: Commits, demands: &[Demand]) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let request = RequestDigest::of(&number.to_be_bytes());
        let reserve = Reserve {
            nonce: NonceKey { chain_id: 1, sender: Sender::asset(&text("acme"), &asset(0)), nonce: number },
            request,
            key: ReservedKey::Asset { epoch: Epoch(0) },
            epoch_named: false,
            client: "uid:0".to_owned(),
            idempotency: None,
            policy: Some([5; 32]),
            demands: demands.to_vec(),
            now_ms: now_ms(),
            refusal: record("refused").into(),
        };
        let turn = self.turn(commits).await;
        let Reserved::Fresh { id } = self.store.reserve(reserve).await.unwrap() else {
            panic!("the nonce is new")
        };
        drop(turn);
        let receipt = Receipt {
            sequence: number,
            era: ERA,
            previous: ReceiptHash::from_bytes([1; 32]),
            request,
            key_id: KeyId::from_bytes([2; 32]),
            epoch: 0,
            binding: Binding::from_bytes([3; 32]),
            session: SessionId::from_bytes([4; 16]),
            time: now(),
            signature: Signature64::from_bytes([5; 64]),
        };
        let audit = AuditRow { request: Some(*request.as_bytes()), ..record("signed") };
        let receipt = SignedReceipt { receipt, report_signature: Signature64::from_bytes([6; 64]) };
        let answer = Answer {
            reservation: id,
            receipt,
            public_key: public_key(),
            digest: [7; 32],
            recovery_id: None,
            attested_until: now(),
            audit,
        };
        let _turn = self.turn(commits).await;
        self.store.answer(answer).await.unwrap();
    }

    /// Begins epochs of `depth` assets for `span`, each asset's one after the other; latencies in microseconds.
    pub(crate) async fn rotate(
        self: &Arc<Self>,
        commits: Commits,
        depth: usize,
        span: Duration,
    ) -> Histogram<u64> {
        let this = Arc::clone(self);
        keep_under_way(depth, span, move |asset| {
            let this = Arc::clone(&this);
            async move {
                let number = this.epochs[asset].fetch_add(1, Ordering::Relaxed);
                let _turn = this.turn(commits).await;
                assert!(this.store.begin_epoch(epoch(asset, number), record("rotated")).await.unwrap());
            }
        })
        .await
    }

    pub(crate) async fn close(&self) {
        self.store.close().await;
    }
}

/// Keeps as many calls under way for `span`, in each place one after the other; latencies in microseconds.
async fn keep_under_way<F: Future<Output = ()> + Send + 'static>(
    depth: usize,
    span: Duration,
    call: impl Fn(usize) -> F + Clone + Send + 'static,
) -> Histogram<u64> {
    let end = Instant::now() + span;
    let in_place = |place: usize| {
        let call = call.clone();
        async move {
            let mut latencies = histogram();
            while Instant::now() < end {
                let began = Instant::now();
                call(place).await;
                latencies.record(micros(began.elapsed())).unwrap();
            }
            latencies
        }
    };
    let mut places: tokio::task::JoinSet<_> = (0..depth).map(in_place).collect();
    let mut latencies = histogram();
    while let Some(of_one) = places.join_next().await {
        latencies.add(of_one.unwrap()).unwrap();
    }
    latencies
}

fn epoch(number: usize, epoch: u64) -> AssetEpoch {
    AssetEpoch {
        tenant: text("acme"),
        asset: asset(number),
        algorithm: Algorithm::Es256,
        epoch: Epoch(epoch),
        binding: Binding::from_bytes([3; 32]),
        key_id: public_key().key_id(),
        public_key: public_key(),
        since: now(),
        retired_at: None,
    }
}

fn record(kind: &str) -> AuditRow {
    let leaf = vec![b'x'; LEAF];
    let leaf_hash = Sha256::new().chain_update([0]).chain_update(&leaf).finalize().into();
    AuditRow {
        time_ms: now_ms(),
        kind: kind.to_owned(),
        code: None,
        tenant: Some("acme".to_owned()),
        sender: Some("asset-0".to_owned()),
        client: Some("uid:0".to_owned()),
        request: None,
        key_id: Some([2; 32]),
        epoch: Some(0),
        leaf,
        leaf_hash,
    }
}

fn asset(number: usize) -> PathText {
    text(&format!("asset-{number}"))
}

fn text(text: &str) -> PathText {
    text.try_into().unwrap()
}

fn public_key() -> PublicKey {
    PublicKey::from_bytes(Algorithm::Es256, &PUBLIC_KEY).unwrap()
}

fn now() -> UnixTime {
    UnixTime::from_secs(now_ms() / 1000)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}
