//! Every fuzz target on stable: over its seeds, and over damaged ones that are the same in every run.
#![allow(clippy::unwrap_used)]

mod damage;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use damage::Damage;
use sealstone_fuzz_targets::{TARGETS, Target};

/// Bytes of all seeds together; a repository is not where a corpus grows.
const CORPUS_MAX: u64 = 1024 * 1024;

/// Damaged inputs for each target, spread over its seeds: seconds for all of them.
const DAMAGED_PER_TARGET: usize = 600;

/// The same for each vendor's certificate.
const DAMAGED_PER_CERTIFICATE: usize = 20;

/// Characters of the names that libFuzzer gives to what it finds (SHA-1): never committed, not looked at.
const FOUND_NAME_LEN: usize = 40;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The seeds of a target, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz().join("corpus").join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("expected seeds in {}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .filter(|(name, _)| name.len() != FOUND_NAME_LEN)
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect();
    seeds.sort();
    seeds
}

/// Names below a folder of `fuzz/`.
fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(fuzz().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Runs a target; a broken promise is reported with the input that broke it.
fn run(name: &str, target: Target, from: &str, bytes: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| target(bytes))).unwrap_or_else(|_| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("target {name} broke a promise on an input made from the seed {from}: {hex}")
    })
}

#[test]
fn every_target_takes_a_seed_and_no_seed_or_target_is_alone() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len(), "a name stands for one target");
    assert_eq!(names("corpus"), targets, "expected one folder of seeds for each target");
    let files = targets.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names("fuzz_targets"), files, "expected one file in fuzz_targets for each target");
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let mut bytes = 0;
    for (name, target) in TARGETS {
        let bin = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        assert!(manifest.contains(&bin), "expected a [[bin]] for {name} in fuzz/Cargo.toml");
        let seeds = seeds(name);
        let taken = seeds.iter().filter(|(seed, bytes)| run(name, *target, seed, bytes)).count();
        assert!(taken > 0, "{name} takes none of its {} seeds: run the example `seeds`", seeds.len());
        bytes += seeds.iter().map(|(_, seed)| u64::try_from(seed.len()).unwrap()).sum::<u64>();
    }
    assert!(bytes <= CORPUS_MAX, "expected at most {CORPUS_MAX} bytes of seeds, found {bytes}");
}

#[test]
fn damaged_seeds_break_no_promise() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        let mut damage = Damage::seeded(name);
        for round in 0..DAMAGED_PER_TARGET {
            let (seed, bytes) = &seeds[round % seeds.len()];
            let other = &seeds[damage.below(seeds.len())].1;
            run(name, *target, seed, &damage.of(bytes, other));
        }
    }
}

#[test]
fn every_truncation_and_every_single_byte_break_no_promise() {
    for (name, target) in TARGETS {
        for (seed, bytes) in &seeds(name) {
            // Some twenty lengths of a long seed, every one of a short.
            for length in (0..bytes.len()).step_by(1 + bytes.len() / 20) {
                run(name, *target, seed, &bytes[..length]);
            }
        }
        for byte in 0..=u8::MAX {
            run(name, *target, "none", &[byte]);
        }
    }
}

/// Genuine vendors' certificates, which stay out of this repository: read from the folder that `SEALSTONE_CORPORA` names
/// (default: `../shared/corpora` beside the workspace), and whole folders of them only when they are there.
#[test]
fn certificates_of_vendors_and_damaged_ones_break_no_promise() {
    let beside = || fuzz().join("../../shared/corpora");
    let corpora = std::env::var_os("SEALSTONE_CORPORA").map_or_else(beside, PathBuf::from);
    let folders = [
        "keylime+keylime/ek_certs",
        "keylime+keylime/tpm_cert_store",
        "google+go-tpm-tools/internal/test/certificates",
        "google+go-tpm-tools/server/ca-certs",
    ];
    if !corpora.is_dir() {
        println!("{} is not there: genuine vendors' certificates were not read", corpora.display());
        return;
    }
    let (_, target) = TARGETS.iter().find(|(name, _)| *name == "ek_certificate").unwrap();
    let mut damage = Damage::seeded("vendors");
    let mut read = 0;
    for folder in folders {
        for entry in fs::read_dir(corpora.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            run("ek_certificate", *target, folder, &bytes);
            for _ in 0..DAMAGED_PER_CERTIFICATE {
                run("ek_certificate", *target, folder, &damage.of(&bytes, &bytes));
            }
            read += 1;
        }
    }
    assert!(read > 50, "expected whole folders of certificates, found {read}");
}
