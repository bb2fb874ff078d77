//! Derive, public key, sign — with and without verifying — against the bare library doing the same work, side by
//! side in one run: `cargo bench -p sealstone-enclave --bench sign`.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hkdf::Hkdf;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::elliptic_curve::{Curve, bigint};
use sealstone_attestation::{Algorithm, Binding};
use sealstone_enclave::derive::Root;
use sealstone_enclave::secret;
use sealstone_wire::key_path::{Epoch, KeyPath};
use sealstone_wire::request::Payload;
use sha2::{Digest, Sha256};

const ROOT: [u8; 32] = [7; 32];
const BINDING: [u8; 32] = [9; 32];
/// A typical transaction.
const MESSAGE: [u8; 200] = [0x55; 200];

fn path(algorithm: Algorithm) -> KeyPath {
    KeyPath::Asset {
        tenant: "acme".try_into().expect("short"),
        asset: "treasury".try_into().expect("short"),
        epoch: Epoch(3),
        algorithm,
    }
}

fn sealstone(c: &mut Criterion, algorithm: Algorithm, verify: bool) {
    let root = secret::run(|inside| Root::from_bytes(inside, &ROOT));
    let binding = Binding::from_bytes(BINDING);
    let path = path(algorithm);
    let payload = Payload::Message(MESSAGE.to_vec());
    let work = || {
        let info = black_box(&path).info();
        secret::run(|inside| {
            let key = root.derive(inside, black_box(&binding), algorithm, &info);
            let made = key.sign(black_box(&payload), verify).expect("signs");
            black_box((key.public_key(), made));
        });
    };
    group(c, algorithm, verify, "sealstone", work);
    // The same inside an operation that is open already: what the switch and the wiping cost is the difference.
    let name = name(algorithm, verify);
    c.benchmark_group(name).bench_function("sealstone, stack not wiped", |b| {
        b.iter_custom(|runs| {
            let mut took = Duration::ZERO;
            secret::run(|_| {
                let began = Instant::now();
                for _ in 0..runs {
                    work();
                }
                took = began.elapsed();
            });
            took
        });
    });
}

fn name(algorithm: Algorithm, verify: bool) -> String {
    let what = if verify { "derive+public+sign+verify" } else { "derive+public+sign" };
    format!("{}/{what}", algorithm.name())
}

fn group(c: &mut Criterion, algorithm: Algorithm, verify: bool, who: &str, mut work: impl FnMut()) {
    let mut group = c.benchmark_group(name(algorithm, verify));
    group.throughput(Throughput::Elements(1));
    group.bench_function(who, |b| b.iter(&mut work));
    group.finish();
}

fn okm<const N: usize>(info: &[u8]) -> [u8; N] {
    let mut okm = [0; N];
    Hkdf::<Sha256>::new(Some(&BINDING), &ROOT).expand(info, &mut okm).expect("short");
    okm
}

fn scalar(info: &[u8], order: &bigint::Odd<bigint::U256>) -> [u8; 32] {
    let wide = bigint::U384::from_be_slice(&okm::<48>(info));
    let below = bigint::NonZero::new(order.as_ref().wrapping_sub(&bigint::U256::ONE)).expect("not zero");
    let mut out = [0; 32];
    out.copy_from_slice(wide.rem(&below).wrapping_add(&bigint::U256::ONE).to_be_bytes().as_ref());
    out
}

fn bare(c: &mut Criterion, algorithm: Algorithm, verify: bool) {
    let info = path(algorithm).info();
    match algorithm {
        Algorithm::Es256 => group(c, algorithm, verify, "bare p256", || {
            let key = p256::ecdsa::SigningKey::from_slice(&scalar(black_box(&info), &p256::NistP256::ORDER))
                .expect("valid");
            let digest = Sha256::digest(black_box(MESSAGE));
            let (signature, _) = key.sign_prehash_recoverable(&digest);
            let signature = signature.normalize_s();
            if verify {
                key.verifying_key().verify_prehash(&digest, &signature).expect("verifies");
            }
            black_box((key.verifying_key().to_sec1_point(true), signature));
        }),
        Algorithm::Es256k => group(c, algorithm, verify, "bare k256", || {
            let key = k256::ecdsa::SigningKey::from_slice(&scalar(black_box(&info), &k256::Secp256k1::ORDER))
                .expect("valid");
            let digest = Sha256::digest(black_box(MESSAGE));
            let (signature, id) = key.sign_prehash_recoverable(&digest);
            if verify {
                key.verifying_key().verify_prehash(&digest, &signature).expect("verifies");
            }
            black_box((key.verifying_key().to_sec1_point(true), signature, id));
        }),
        Algorithm::EdDsa => group(c, algorithm, verify, "bare ed25519-dalek", || {
            use ed25519_dalek::Signer;
            let key = ed25519_dalek::SigningKey::from_bytes(&okm(black_box(&info)));
            let signature = key.sign(black_box(&MESSAGE));
            if verify {
                key.verifying_key().verify_strict(&MESSAGE, &signature).expect("verifies");
            }
            black_box((key.verifying_key().to_bytes(), signature));
        }),
    }
}

fn all(c: &mut Criterion) {
    for algorithm in [Algorithm::Es256, Algorithm::Es256k, Algorithm::EdDsa] {
        for verify in [false, true] {
            bare(c, algorithm, verify);
            sealstone(c, algorithm, verify);
        }
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
