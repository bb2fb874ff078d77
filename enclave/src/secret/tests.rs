//! What secret memory promises, tried from inside the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// The address of a local variable of whoever calls this.
fn stack_address() -> usize {
    let local = 0u8;
    std::hint::black_box(&raw const local).addr()
}

#[test]
fn secrets_are_apart_from_each_other_and_a_dropped_one_leaves_zeros() {
    run(|inside| {
        let one = Secret::<32>::copied(inside, &[1; 32]);
        let two = Secret::<32>::copied(inside, &[2; 32]);
        assert_eq!((one.expose(inside), two.expose(inside)), (&[1; 32], &[2; 32]));
        let place = one.expose(inside).as_ptr();
        drop(one);
        let mut found = None;
        // Whoever gets the slot next finds zeros in it.
        let held: Vec<_> = (0..8)
            .map(|_| {
                Secret::<32>::filled(inside, |bytes| {
                    if bytes.as_ptr() == place {
                        found = Some(*bytes);
                    }
                })
            })
            .collect();
        drop(held);
        assert!(found.is_none_or(|bytes| bytes == [0; 32]));
        assert_eq!(two.expose(inside), &[2; 32]);
    });
}

#[test]
fn secret_pages_cannot_be_read_through_proc() {
    use std::os::unix::fs::FileExt;
    assert_eq!(kind(), Kind::MemfdSecret, "this kernel has memfd_secret (boot with secretmem.enable=1)");
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let unreadable = |address: usize| {
        let mut read = [0; 1];
        memory.read_exact_at(&mut read, u64::try_from(address).unwrap()).is_err()
    };
    assert!(!unreadable(stack_address()), "an ordinary stack can be read");
    let secret = run(|inside| Secret::<32>::copied(inside, &[0xa5; 32]));
    run(|inside| {
        assert!(unreadable(secret.expose(inside).as_ptr().addr()), "a slot");
        assert!(unreadable(stack_address()), "the stack");
        assert!(unreadable(vec![0xa5u8; 100].as_ptr().addr()), "the heap");
    });
}

#[test]
fn an_operation_runs_on_a_secret_stack_and_with_a_secret_heap_and_nothing_else_does() {
    let pages = mapped();
    let is_ours = |address: usize| pages.stacks.hold(std::ptr::without_provenance(address));
    assert!(!is_ours(stack_address()));
    assert!(run(is_sheltered));
    run(|_| {
        assert!(is_ours(stack_address()));
        run(|_| assert!(is_ours(stack_address()), "an operation in an operation"));
        assert!(is_ours(stack_address()), "after it");
        let elsewhere = std::thread::spawn(stack_address).join().unwrap();
        assert!(!is_ours(elsewhere), "another thread is outside");
    });
    assert!(!is_ours(stack_address()));
    assert!(!pages.heap.holds(vec![0u8; 100].as_ptr()));
}

#[test]
fn what_an_operation_leaves_on_its_stack_is_gone() {
    // Deep enough for several pages.
    #[inline(never)]
    fn litter(depth: usize) -> usize {
        let local = std::hint::black_box([0xa5u8; 1024]);
        let below = if depth == 0 { 0 } else { litter(depth - 1) };
        below + usize::from(local[depth])
    }
    // Nobody else runs here, so the one stack that is used is the one looked at.
    let stacks = run_apart(|| litter(16));
    assert_eq!(stacks, 17 * 0xa5);
}

/// Runs an operation, then looks at where its stack was.
fn run_apart<R: Flat>(operation: impl FnOnce() -> R) -> R {
    let mut top = 0;
    let result = run(|_| {
        top = stack_address();
        operation()
    });
    // Whoever gets this stack next, and that is this thread, finds zeros below its own first frames.
    let mut seen = false;
    for _ in 0..OTHER_STACKS {
        run(|_| {
            let here = stack_address();
            if here.abs_diff(top) < stack::STACK_LEN {
                seen = true;
                let page = (here - 24 * 1024) & !4095;
                let low: Vec<u8> = (0..8192).map(|offset| peek(page + offset)).collect();
                assert!(low.iter().all(|byte| *byte == 0), "something was left on the stack");
            }
        });
    }
    assert!(seen, "the stack was not looked at");
    result
}

/// A byte of a secret stack.
#[allow(unsafe_code, reason = "looks at secret pages")]
fn peek(address: usize) -> u8 {
    let place = std::ptr::without_provenance(address);
    assert!(mapped().stacks.hold(place) || mapped().heap.holds(place));
    // SAFETY: an address of a stack or the heap of ours that stays mapped; a byte is valid whatever it is.
    unsafe { std::ptr::with_exposed_provenance::<u8>(address).read_volatile() }
}

#[test]
fn what_an_operation_leaves_on_its_heap_is_gone_once_it_is_freed() {
    let mut place = 0;
    let kept = run(|_| {
        let freed = vec![0xa5u8; 3000];
        place = freed.as_ptr().addr();
        drop(freed);
        vec![0x5au8; 3000]
    });
    assert!(mapped().heap.holds(kept.as_ptr()), "an object may outlive its operation");
    assert_eq!(kept.len(), 3000);
    drop(kept);
    run(|_| {
        let again: Vec<u8> = Vec::with_capacity(3000);
        assert_eq!(again.as_ptr().addr(), place, "the first place that is free is taken");
        assert!((place..place + 3000).all(|address| peek(address) == 0), "what was freed is zeroed");
    });
}

#[test]
fn a_secret_block_stays_secret_when_it_grows_outside() {
    let mut grown = run(|_| vec![7u8; 100]);
    grown.extend_from_slice(&[8; 10_000]);
    assert!(mapped().heap.holds(grown.as_ptr()));
    assert_eq!((grown[0], grown[99], grown[100], grown.len()), (7, 7, 8, 10_100));
    grown.shrink_to(10);
    assert!(mapped().heap.holds(grown.as_ptr()));
    let mut ordinary = vec![9u8; 100];
    run(|_| ordinary.extend_from_slice(&[7; 10_000]));
    assert!(mapped().heap.holds(ordinary.as_ptr()), "one that grows inside may have become secret");
    assert_eq!((ordinary[0], ordinary[99], ordinary[100]), (9, 9, 7));
}

#[test]
fn bytes_from_an_ordinary_heap_are_no_secret() {
    let ordinary = vec![1u8; 32];
    let refused = std::panic::catch_unwind(|| run(|inside| drop(SecretBytes::new(inside, ordinary))));
    assert!(refused.is_err());
}

#[test]
fn a_panic_comes_out_without_its_message_and_the_stack_is_given_back() {
    for _ in 0..3 * OTHER_STACKS {
        let caught = std::panic::catch_unwind(|| {
            run(|_| assert!(*std::hint::black_box(&false), "a message made of secrets"))
        })
        .unwrap_err();
        let message = caught.downcast_ref::<&str>().copied().unwrap_or_default();
        assert_eq!(message, "a secret operation panicked");
    }
    assert_eq!(run(|_| 7u8), 7);
}

#[test]
fn more_threads_than_stacks_wait_for_each_other() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..4 * OTHER_STACKS)
        .map(|_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            std::thread::spawn(move || {
                for _ in 0..200 {
                    run(|_| {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(most.load(Ordering::SeqCst) <= OTHER_STACKS);
}

mod watched {
    use hkdf::Hkdf;
    use p256::elliptic_curve::PrimeField;
    use sealstone_attestation::{Algorithm, Binding, Signature64};
    use sealstone_wire::request::Payload;
    use sha2::{Digest, Sha256, Sha512};

    use super::super::watch::{allocated, found, watch};
    use super::super::{Secret, run};
    use crate::derive::Root;
    use crate::report_key::ReportKey;
    use crate::signing_key::SigningKey;

    const BINDING: [u8; 32] = [0xb1; 32];
    const MESSAGE: &[u8] = b"watched";
    const ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::Es256k, Algorithm::EdDsa];

    /// A root that no other test has, and everything that derives from it on the watch list.
    fn watched_root() -> Root {
        run(|inside| {
            let drawn = Secret::<32>::filled(inside, |bytes| getrandom::fill(bytes).unwrap());
            let root = Root::from_bytes(inside, drawn.expose(inside));
            watch(drawn.expose(inside));
            let (prk, hkdf) = Hkdf::<Sha256>::extract(Some(&BINDING), drawn.expose(inside));
            watch(&prk);
            let mut okm = [0; 48];
            hkdf.expand(MESSAGE, &mut okm).unwrap();
            watch(&okm);
            for algorithm in ALGORITHMS {
                let key = root.derive(inside, &Binding::from_bytes(BINDING), algorithm, MESSAGE);
                let made = key.sign(&Payload::Message(MESSAGE.to_vec()), true).unwrap();
                match &key {
                    SigningKey::Es256(key) => watch_scalar(&key.to_bytes(), &made.signature, |d, r, s, z| {
                        let scalar = |bytes: &[u8; 32]| p256::Scalar::from_repr((*bytes).into()).unwrap();
                        let k = (scalar(z) + scalar(r) * scalar(d)) * scalar(s).invert().unwrap();
                        [k.to_repr().into(), (-k).to_repr().into()]
                    }),
                    SigningKey::Es256k(key) => {
                        watch_scalar(&key.to_bytes(), &made.signature, |d, r, s, z| {
                            let scalar = |bytes: &[u8; 32]| k256::Scalar::from_repr((*bytes).into()).unwrap();
                            let k = (scalar(z) + scalar(r) * scalar(d)) * scalar(s).invert().unwrap();
                            [k.to_repr().into(), (-k).to_repr().into()]
                        });
                    }
                    SigningKey::EdDsa(key) => {
                        watch(&key.to_bytes());
                        let expanded = Sha512::digest(key.to_bytes());
                        watch(&expanded[32..]);
                        watch(&Sha512::new().chain_update(&expanded[32..]).chain_update(MESSAGE).finalize());
                    }
                }
            }
            root
        })
    }

    /// Watches a private key and both nonces that its signature can have come from, in both byte orders.
    fn watch_scalar(
        d: &[u8],
        signature: &Signature64,
        nonces: impl FnOnce(&[u8; 32], &[u8; 32], &[u8; 32], &[u8; 32]) -> [[u8; 32]; 2],
    ) {
        let d: [u8; 32] = d.try_into().unwrap();
        let (r, s) = signature.as_bytes().split_at(32);
        let z = Sha256::digest(MESSAGE).into();
        let [k, negated] = nonces(&d, r.try_into().unwrap(), s.try_into().unwrap(), &z);
        for mut value in [d, k, negated] {
            watch(&value);
            value.reverse();
            watch(&value);
        }
    }

    #[test]
    fn no_secret_is_ever_in_an_ordinary_block_and_signing_takes_no_block_at_all() {
        let root = watched_root();
        let message = Payload::Message(MESSAGE.to_vec());
        let before = allocated();
        for algorithm in ALGORITHMS {
            for verify in [false, true] {
                run(|inside| {
                    let key = root.derive(inside, &Binding::from_bytes(BINDING), algorithm, MESSAGE);
                    std::hint::black_box((key.public_key().key_id(), key.sign(&message, verify).unwrap()));
                });
            }
        }
        assert_eq!(allocated(), before, "blocks taken while signing");
        let report_key =
            ReportKey::from_seed(run(|inside| Secret::copied(inside, root.danger_bytes(inside))));
        std::hint::black_box(report_key.sign(MESSAGE));
        std::hint::black_box(root.check_value());
        assert_eq!(found(), 0, "ordinary blocks with a secret in them");

        // The watch sees what it should.
        let mut leaked = vec![0u8; 32];
        run(|inside| leaked.copy_from_slice(root.danger_bytes(inside)));
        drop(leaked);
        assert_eq!(found(), 1);
    }
}
