//! The bare libraries doing what a signature takes, on every core at once: what nothing can beat.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use hkdf::Hkdf;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::elliptic_curve::Generate;
use sealstone_attestation::Algorithm;
use sha2::{Digest, Sha256};

use crate::measure;

/// The message of every measurement.
pub(crate) const MESSAGE: [u8; 200] = [0x55; 200];

/// Signatures per second of `threads` threads together.
pub(crate) fn rate(algorithm: Algorithm, threads: usize, span: Duration) -> f64 {
    let count: u64 = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(algorithm, span))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    measure::rate(count, span)
}

fn work(algorithm: Algorithm, span: Duration) -> u64 {
    // A scalar of the right size costs the same whatever it is, so it is drawn once; HKDF is done each time.
    let scalar = p256::SecretKey::generate().to_bytes();
    let end = Instant::now() + span;
    let mut count = 0;
    while Instant::now() < end {
        let mut okm = [0; 48];
        Hkdf::<Sha256>::new(Some(&[9; 32]), &[7; 32]).expand(black_box(&MESSAGE[..96]), &mut okm).unwrap();
        let digest = Sha256::digest(black_box(MESSAGE));
        match algorithm {
            Algorithm::Es256 => {
                let key = p256::ecdsa::SigningKey::from_slice(&scalar).unwrap();
                let (signature, _) = key.sign_prehash_recoverable(&digest);
                key.verifying_key().verify_prehash(&digest, &signature).unwrap();
            }
            Algorithm::Es256k => {
                let key = k256::ecdsa::SigningKey::from_slice(&okm[..32]).unwrap();
                let (signature, _) = key.sign_prehash_recoverable(&digest);
                key.verifying_key().verify_prehash(&digest, &signature).unwrap();
            }
            Algorithm::EdDsa => {
                use ed25519_dalek::Signer;
                let key = ed25519_dalek::SigningKey::from_bytes(okm[..32].first_chunk().unwrap());
                let signature = key.sign(&MESSAGE);
                key.verifying_key().verify_strict(&MESSAGE, &signature).unwrap();
            }
        }
        black_box(okm);
        count += 1;
    }
    count
}
