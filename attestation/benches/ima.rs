//! How long a measurement list of a hundred thousand entries takes: `cargo bench -p sealstone-attestation --bench ima`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sealstone_attestation::{
    PcrBank, PcrIndex, PcrValues, appraise_ima,
    ima::{ImaList, TemplateHash},
};
use sha1::{Digest as _, Sha1};

/// More than a machine measures in a year.
const ENTRIES: u32 = 100_000;

/// `ima-sig` entries with paths and signatures of usual lengths, in both forms.
fn lists() -> (Vec<u8>, Vec<u8>) {
    let sized = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat();
    let (mut binary, mut ascii) = (Vec::new(), Vec::new());
    for number in 0..ENTRIES {
        let name = format!("/usr/lib/x86_64-linux-gnu/package-{}/library-{number}.so.1", number % 1000);
        let digest = [number.to_le_bytes(); 8].concat();
        let signature = [7; 72];
        let field = [b"sha256:\0".as_slice(), &digest].concat();
        let parts = [sized(&field), sized(&[name.as_bytes(), &[0]].concat()), sized(&signature)];
        let data = parts.concat();
        let hash = Sha1::digest(&data);
        binary.extend([&[10, 0, 0, 0][..], &hash, &sized(b"ima-sig"), &sized(&data)].concat());
        let (digest, signature) = (hex::encode(&digest), hex::encode(signature));
        let line = format!("10 {} ima-sig sha256:{digest} {name} {signature}\n", hex::encode(hash));
        ascii.extend(line.into_bytes());
    }
    (binary, ascii)
}

fn ima(criterion: &mut Criterion) {
    let (binary, ascii) = lists();
    let index = PcrIndex::new(10).unwrap();
    let mut group = criterion.benchmark_group("ima");
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES.into()));
    group.bench_function("parse_binary", |b| b.iter(|| ImaList::parse(black_box(&binary)).unwrap()));
    group.bench_function("parse_ascii", |b| b.iter(|| ImaList::parse(black_box(&ascii)).unwrap()));
    let list = ImaList::parse(&binary).unwrap();
    let value = list.replay(index, PcrBank::Sha256, TemplateHash::PerBank).unwrap();
    let mut values = PcrValues::new();
    values.insert(PcrBank::Sha256, index, value).unwrap();
    group.bench_function("parse_and_appraise_binary", |b| {
        b.iter(|| {
            let list = ImaList::parse(black_box(&binary)).unwrap();
            assert!(list.matching_prefix(index, PcrBank::Sha256, &[0; 32]).is_none());
            black_box(appraise_ima(&list, &values))
        });
    });
    group.finish();
}

criterion_group!(benches, ima);
criterion_main!(benches);
