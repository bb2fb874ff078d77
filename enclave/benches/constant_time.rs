//! Whether the time of an operation tells the secret that it works on: `cargo bench -p sealstone-enclave --bench
//! constant_time`, with part of a name behind `--` for those cases alone. `docs/constant-time.md` says what it means.
//!
//! The method is dudect's (Reparaz, Balasch, Verbauwhede, 2017): secrets of two classes in random order, each run
//! timed, and Welch's t-test over the two sets of times, whole and cropped at a hundred percentiles. The crate
//! `dudect-bencher` measures and tests. It prints its result and keeps it, and does not know the `--bench` that Cargo
//! passes; so each case is a process of its own, whose line is read here. That also gives each its own addresses.
//!
//! Not measured: verifying, which works on public data in variable time, and is off here.

use std::hint::black_box;
use std::io;
use std::process::{Command, ExitCode};

use dudect_bencher::ctbench::{BenchFn, BenchMetadata, BenchName, BenchOpts, run_benches_console};
use dudect_bencher::rand::RngExt;
use dudect_bencher::{BenchRng, Class, CtRunner};
use sealstone_attestation::{Algorithm, Binding};
use sealstone_enclave::derive::Root;
use sealstone_enclave::secret;
use sealstone_enclave::signing_key::SigningKey;
use sealstone_wire::key_path::{Epoch, KeyPath};
use sealstone_wire::request::Payload;
use subtle::ConstantTimeEq;

/// Runs of a case: at some 100 µs each, half a minute with the making of keys.
const RUNS: usize = 100_000;

/// Comparisons that are timed as one run: one alone takes less than the clock can tell.
const COMPARISONS: usize = 200;

/// Bytes of the deliberately bad comparison, so that its end is far from its beginning.
const CONTROL_LEN: usize = 4096;

/// Bytes of material: an ECDSA key takes 48, an Ed25519 key 32.
const MATERIAL_LEN: usize = 48;

/// Below this |t| nothing was found (dudect's own threshold).
const DOUBTFUL: f64 = 4.5;

/// Above this |t| the times surely differ; between the two, run it again, alone on the machine.
const LEAK: f64 = 10.0;

/// A case that must be found, so that the measuring itself is shown to work.
const CONTROL: &str = "control_early_exit";

const CASES: &[(&str, BenchFn)] = &[
    (CONTROL, control_early_exit),
    ("control_same_class", control_same_class),
    ("root_equality", root_equality),
    ("derive_es256", |runner, rng| derive(runner, rng, Algorithm::Es256)),
    ("derive_es256k", |runner, rng| derive(runner, rng, Algorithm::Es256k)),
    ("derive_eddsa", |runner, rng| derive(runner, rng, Algorithm::EdDsa)),
    ("key_fixed_es256", |runner, rng| key(runner, rng, Algorithm::Es256, Fixed::Drawn)),
    ("key_fixed_es256k", |runner, rng| key(runner, rng, Algorithm::Es256k, Fixed::Drawn)),
    ("key_fixed_eddsa", |runner, rng| key(runner, rng, Algorithm::EdDsa, Fixed::Drawn)),
    ("key_zeros_es256", |runner, rng| key(runner, rng, Algorithm::Es256, Fixed::Byte(0))),
    ("key_zeros_es256k", |runner, rng| key(runner, rng, Algorithm::Es256k, Fixed::Byte(0))),
    ("key_zeros_eddsa", |runner, rng| key(runner, rng, Algorithm::EdDsa, Fixed::Byte(0))),
    ("key_ones_es256", |runner, rng| key(runner, rng, Algorithm::Es256, Fixed::Byte(0xff))),
    ("key_ones_es256k", |runner, rng| key(runner, rng, Algorithm::Es256k, Fixed::Byte(0xff))),
    ("key_ones_eddsa", |runner, rng| key(runner, rng, Algorithm::EdDsa, Fixed::Byte(0xff))),
    ("sign_fixed_es256", |runner, rng| sign(runner, rng, Algorithm::Es256, Fixed::Drawn)),
    ("sign_fixed_es256k", |runner, rng| sign(runner, rng, Algorithm::Es256k, Fixed::Drawn)),
    ("sign_fixed_eddsa", |runner, rng| sign(runner, rng, Algorithm::EdDsa, Fixed::Drawn)),
    ("sign_zeros_es256", |runner, rng| sign(runner, rng, Algorithm::Es256, Fixed::Byte(0))),
    ("sign_zeros_es256k", |runner, rng| sign(runner, rng, Algorithm::Es256k, Fixed::Byte(0))),
    ("sign_zeros_eddsa", |runner, rng| sign(runner, rng, Algorithm::EdDsa, Fixed::Byte(0))),
    ("sign_ones_es256", |runner, rng| sign(runner, rng, Algorithm::Es256, Fixed::Byte(0xff))),
    ("sign_ones_es256k", |runner, rng| sign(runner, rng, Algorithm::Es256k, Fixed::Byte(0xff))),
    ("sign_ones_eddsa", |runner, rng| sign(runner, rng, Algorithm::EdDsa, Fixed::Byte(0xff))),
];

/// The one secret of the left class; the right one's are random.
#[derive(Clone, Copy)]
enum Fixed {
    /// Drawn once.
    Drawn,
    /// The same byte throughout: the scalar 1, and the largest material.
    Byte(u8),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let done = match arguments.split_first() {
        Some((flag, [name])) if flag == "--case" => measure(name).map(|()| true),
        _ => judge(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("constant_time: {error}");
            ExitCode::from(2)
        }
    }
}

/// Measures one case in this process; `dudect-bencher` prints what it found.
fn measure(name: &str) -> io::Result<()> {
    let (name, benchfn) =
        CASES.iter().find(|(case, _)| *case == name).ok_or_else(|| io::Error::other("no such case"))?;
    let case = BenchMetadata { name: BenchName(name), seed: None, benchfn: *benchfn };
    run_benches_console(BenchOpts::default(), vec![case])
}

/// Measures each case whose name contains one of these, each in a process, and says what its t-value means; whether
/// only the control was found.
fn judge(filters: &[String]) -> io::Result<bool> {
    println!("{:<20} {:>9} {:>10}", "case", "runs", "t");
    let mut as_expected = true;
    for (name, _) in CASES {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        let ended = Command::new(std::env::current_exe()?).args(["--case", name]).output()?;
        let said = String::from_utf8_lossy(&ended.stdout);
        let t = said.split("max t = ").nth(1).and_then(|rest| rest.split(',').next()?.trim().parse().ok());
        let t: f64 =
            t.ok_or_else(|| io::Error::other(format!("{name}: expected a t-value, found {said}")))?;
        let (means, expected) = match t.abs() {
            small if small < DOUBTFUL => ("nothing found", *name != CONTROL),
            large if large > LEAK => ("the times differ", *name == CONTROL),
            _ => ("doubtful: run it again, alone on the machine", *name != CONTROL),
        };
        let note = if *name == CONTROL { " (as it must: the control)" } else { "" };
        println!("{name:<20} {RUNS:>9} {t:>+10.2}  {means}{note}");
        as_expected &= expected;
    }
    Ok(as_expected)
}

/// A comparison that ends at the first difference.
fn control_early_exit(runner: &mut CtRunner, rng: &mut BenchRng) {
    let secret = [0x5a; CONTROL_LEN];
    let mut first = secret;
    first[0] ^= 1;
    let mut last = secret;
    last[CONTROL_LEN - 1] ^= 1;
    for class in classes(rng) {
        let guess = if left(class) { &first } else { &last };
        runner.run_one(class, || {
            black_box(&secret).iter().zip(black_box(guess)).all(|(one, other)| black_box(one) == other)
        });
    }
}

/// Two classes that are one: what the noise of this machine alone amounts to.
fn control_same_class(runner: &mut CtRunner, rng: &mut BenchRng) {
    let keys: Vec<SigningKey> = (0..RUNS).map(|_| made(Algorithm::Es256, &drawn(rng))).collect();
    let payload = payload();
    for (class, key) in classes(rng).into_iter().zip(&keys) {
        runner.run_one(class, || signed(key, &payload));
    }
}

/// Two roots that differ in the first byte, or in the last.
fn root_equality(runner: &mut CtRunner, rng: &mut BenchRng) {
    let mut bytes = [0; 32];
    rng.fill(&mut bytes[..]);
    let root = secret::run(|inside| Root::from_bytes(inside, &bytes));
    let with = |at: usize| {
        let mut other = bytes;
        other[at] ^= 1;
        secret::run(|inside| Root::from_bytes(inside, &other))
    };
    for class in classes(rng) {
        // Made anew for each run, so that both classes lie in the same place.
        let other = with(if left(class) { 0 } else { 31 });
        runner.run_one(class, || {
            secret::run(|_| {
                let compare = || black_box(&root).ct_eq(black_box(&other)).unwrap_u8();
                (0..COMPARISONS).fold(0, |equal, _| equal + compare())
            })
        });
    }
}

/// From the root to a private key: one fixed root, or random ones.
fn derive(runner: &mut CtRunner, rng: &mut BenchRng, algorithm: Algorithm) {
    let binding = Binding::from_bytes([9; 32]);
    let path = KeyPath::Asset {
        tenant: "acme".try_into().expect("short"),
        asset: "treasury".try_into().expect("short"),
        epoch: Epoch(3),
        algorithm,
    };
    let info = path.info();
    let derived = |root: &Root| {
        secret::run(|inside| {
            drop(black_box(root.derive(inside, black_box(&binding), algorithm, black_box(&info))));
        });
    };
    derived(&secret::run(|inside| Root::from_bytes(inside, &[7; 32])));
    for (class, bytes) in secrets(rng, Fixed::Drawn) {
        let bytes = bytes.first_chunk().expect("material is longer than a root");
        let root = secret::run(|inside| Root::from_bytes(inside, bytes));
        runner.run_one(class, || derived(black_box(&root)));
    }
}

/// From material to a key: the reduction, the public half, and the wiping of both.
fn key(runner: &mut CtRunner, rng: &mut BenchRng, algorithm: Algorithm, fixed: Fixed) {
    black_box(made(algorithm, &drawn(rng)));
    for (class, bytes) in secrets(rng, fixed) {
        runner.run_one(class, || made(algorithm, black_box(&bytes)));
    }
}

/// The same message under one key, or under random ones.
fn sign(runner: &mut CtRunner, rng: &mut BenchRng, algorithm: Algorithm, fixed: Fixed) {
    // Each run has a key of its own in memory, so that the fixed one is no better cached than the others.
    let keys: Vec<_> = secrets(rng, fixed).map(|(class, bytes)| (class, made(algorithm, &bytes))).collect();
    let payload = payload();
    for (class, key) in keys {
        runner.run_one(class, || signed(&key, &payload));
    }
}

fn made(algorithm: Algorithm, bytes: &[u8; MATERIAL_LEN]) -> SigningKey {
    let mut made = None;
    secret::run(|inside| {
        let fill = |material: &mut [u8]| material.copy_from_slice(&bytes[..material.len()]);
        // Out into ordinary memory, where there is room for as many keys as there are runs.
        made = Some(SigningKey::from_material(inside, algorithm, fill));
    });
    made.expect("the operation made it")
}

fn signed(key: &SigningKey, payload: &Payload) {
    secret::run(|_| drop(black_box(black_box(key).sign(black_box(payload), false))));
}

fn payload() -> Payload {
    // A typical transaction.
    Payload::Message(vec![0x55; 200])
}

/// Material of a random class for each run; both classes are drawn and copied alike.
fn secrets(rng: &mut BenchRng, fixed: Fixed) -> impl Iterator<Item = (Class, [u8; MATERIAL_LEN])> + use<> {
    let one = match fixed {
        Fixed::Drawn => drawn(rng),
        Fixed::Byte(byte) => [byte; MATERIAL_LEN],
    };
    let secrets: Vec<_> = classes(rng)
        .into_iter()
        .map(|class| {
            let random = drawn(rng);
            (class, if left(class) { one } else { random })
        })
        .collect();
    secrets.into_iter()
}

fn drawn(rng: &mut BenchRng) -> [u8; MATERIAL_LEN] {
    let mut bytes = [0; MATERIAL_LEN];
    rng.fill(&mut bytes[..]);
    bytes
}

fn classes(rng: &mut BenchRng) -> Vec<Class> {
    (0..RUNS).map(|_| if rng.random() { Class::Left } else { Class::Right }).collect()
}

fn left(class: Class) -> bool {
    matches!(class, Class::Left)
}
