//! One decision by a policy of 10,000 entries and a sanctions list of 1,000,000 addresses, without a database:
//! `cargo bench -p sealstone-policy --bench judge`.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ed25519_dalek::{Signer as _, SigningKey};
use sealstone_attestation::{Envelope, EnvelopeSignature, PublicKey, RequestDigest, Signature64, UnixTime};
use sealstone_policy::amount::Amount;
use sealstone_policy::approvals::approval_message;
use sealstone_policy::engine::{Approval, Declared, Lists, Request, Signer, judge};
use sealstone_policy::facts::{Address, CurrencyId, Facts, Fee, Format, Movement, MovementKind};
use sealstone_policy::prices::{PriceList, Prices};
use sealstone_policy::rules::Policy;
use sealstone_policy::sanctions::{Importer, SanctionsList};
use sealstone_wire::PathText;

const SENDERS: u32 = 10_000;
const SANCTIONED: u32 = 1_000_000;
/// A Friday noon.
const NOW: &str = "2026-11-20T12:00:00Z";

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn public() -> PublicKey {
    PublicKey::from(&key().verifying_key())
}

fn address(number: u32) -> Address {
    let mut bytes = [0x5a; 20];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Address::evm(&bytes)
}

/// Entries with a rule of each kind.
fn policy_text() -> String {
    let mut text = format!(
        "version = 1\nsanctions = \"required\"\n[reference]\nname = \"USD\"\ndecimals = 2\n\
         [prices]\nthreshold = 1\nkeys = [{{ name = \"p\", algorithm = \"EdDSA\", public_key = \"{key}\" }}]\n\
         [chains]\nethereum = \"evm:1\"\n[currencies]\nETH = \"evm:1:native\"\nUSDC = \"evm:1:{usdc}\"\n\
         [approvers]\nalice = {{ algorithm = \"EdDSA\", public_key = \"{key}\" }}\n",
        key = public(),
        usdc = address(u32::MAX),
    );
    for number in 0..SENDERS {
        write!(
            text,
            "[[senders]]\ntenant = \"tenant-{tenant}\"\nasset = \"asset-{number}\"\nchains = [\"ethereum\"]\n\
             currencies = [\"ETH\", \"USDC\"]\n\
             transaction = {{ USDC = \"1000000000\", USD = \"5000000\" }}\n\
             rolling = [{{ over = \"24h\", amounts = {{ USDC = \"9000000000\", USD = \"50000000\" }} }}]\n\
             velocity = [{{ over = \"1m\", count = 10 }}]\nfee = {{ ETH = \"50000000000000000\" }}\n\
             recipients = {{ allow = [\"{recipient}\"], deny = [\"{denied}\"] }}\n\
             windows = [{{ days = [\"fri\"], from = \"06:00\", to = \"20:00\" }}]\n\
             approvals = [{{ above = {{ USD = \"1000000\" }}, threshold = 1, of = [\"alice\"] }}]\n",
            tenant = number / 10,
            recipient = address(SANCTIONED + number),
            denied = address(0),
        )
        .expect("a text grows");
    }
    text
}

fn prices(policy: &Policy) -> Prices {
    let payload = br#"{"reference":"USD","decimals":2,"issued_at":"2026-11-20T11:00:00Z","expires_at":"2026-11-20T13:00:00Z","prices":[{"currency":"ETH","numerator":"310055","denominator":"1000000000000000000"},{"currency":"USDC","numerator":"100","denominator":"1000000"}]}"#;
    let signature = key().sign(&Envelope::pae(PriceList::PAYLOAD_TYPE, payload)).to_bytes().to_vec();
    let envelope = Envelope {
        payload_type: PriceList::PAYLOAD_TYPE.to_owned(),
        payload: payload.to_vec(),
        signatures: vec![EnvelopeSignature { keyid: public().key_id().to_string(), sig: signature }],
    };
    Prices::verify(&envelope.to_json(), policy).expect("signed by the policy's own")
}

fn sanctions() -> SanctionsList {
    let text: String = (0..SANCTIONED).map(|number| format!("{}\n", address(number))).collect();
    let mut importer = Importer::new();
    importer.read(text.as_bytes(), |_| ()).expect("addresses");
    importer.finish(UnixTime::from_secs(0)).expect("some")
}

/// A token transfer to the sender's one recipient.
fn facts(number: u32) -> Facts {
    Facts {
        format: Format::Evm,
        chain_id: Some(1),
        nonce: Some(7),
        movements: vec![Movement {
            kind: MovementKind::Transfer,
            currency: CurrencyId::evm_token(1, &address(u32::MAX)),
            amount: Amount::from(250_000_000_u64),
            recipient: address(SANCTIONED + number),
            recipient_proven: true,
        }],
        fee: Some(Fee {
            currency: CurrencyId::evm_native(1),
            amount: Amount::from(2_100_000_000_000_000_u64),
        }),
        unknown: Vec::new(),
    }
}

fn decide(c: &mut Criterion) {
    let text = policy_text();
    let policy = Policy::parse(&text).expect("a policy");
    let (prices, sanctions) = (prices(&policy), sanctions());
    assert_eq!((policy.sender_count(), sanctions.count()), (10_000, 1_000_000));
    let lists = Lists { sanctions: Some(&sanctions), prices: Some(&prices) };
    let request = RequestDigest::of(b"a request");
    let message = approval_message("alice", &request).expect("a short name");
    let approved = [Approval {
        approver: "alice".to_owned(),
        signature: Signature64::from_bytes(key().sign(&message).to_bytes()),
    }];
    // Another sender for each decision, so that no entry stays in the processor's nearest memory.
    let senders: Vec<(PathText, PathText, Facts)> = (0..SENDERS)
        .step_by(97)
        .map(|number| {
            let tenant = format!("tenant-{}", number / 10).try_into().expect("short");
            (tenant, format!("asset-{number}").try_into().expect("short"), facts(number))
        })
        .collect();
    let mut group = c.benchmark_group("judge, 10,000 entries, 1,000,000 sanctioned");
    for (name, approvals) in [("a token transfer", &[][..]), ("with one approval", &approved)] {
        let mut turn = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                turn = (turn + 1) % senders.len();
                let (tenant, asset, facts) = &senders[turn];
                let request = Request {
                    tenant,
                    signer: Signer::Asset(asset),
                    chain_id: 1,
                    nonce: 7,
                    declared: Declared {
                        recipient: Some(&facts.movements[0].recipient),
                        ..Declared::default()
                    },
                    old_epoch: false,
                    facts,
                    request,
                    approvals,
                    now: NOW.parse().expect("a time"),
                };
                let judgement = judge(&policy, black_box(&request), &lists);
                assert_eq!(judgement.outcome.as_ref().map(Vec::len), Ok(3));
                black_box(judgement)
            });
        });
    }
    group.finish();
    c.bench_function("load 10,000 entries", |b| {
        b.iter(|| Policy::parse(black_box(&text)).expect("a policy"))
    });
    let bytes = sanctions.to_bytes();
    c.bench_function("load 1,000,000 sanctioned", |b| {
        b.iter(|| SanctionsList::parse(black_box(&bytes)).expect("a list"));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = decide
}
criterion_main!(benches);
