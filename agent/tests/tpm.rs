//! The agent at a TPM: stories told with a real swtpm, which each test owns.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sealstone_agent::tpm::{RelayError, Selection, Tpm, TpmError};
use sealstone_attestation::{PcrBank, PcrIndex, PublicArea, Quote, QuoteEvidence, TpmSignature};
use support::swtpm::{Swtpm, bytes};

const QUALIFYING: [u8; 32] = [0x5e; 32];

fn selection(bank: PcrBank, pcrs: &[u8]) -> Selection {
    let indices: BTreeSet<_> = pcrs.iter().map(|pcr| PcrIndex::new(*pcr).unwrap()).collect();
    BTreeMap::from([(bank, indices)])
}

/// What the enclave and an auditor check first.
fn assert_holds(quote: &QuoteEvidence, ak: &PublicArea) {
    let signature = TpmSignature::parse(&quote.signature).unwrap();
    ak.verify(&quote.attest, &signature).unwrap();
    let parsed = Quote::parse(&quote.attest).unwrap();
    assert_eq!(parsed.extra_data(), QUALIFYING);
    let digest = parsed.selection().digest(signature.scheme().hash, &quote.pcrs).unwrap();
    assert_eq!(digest, parsed.pcr_digest());
}

#[tokio::test]
async fn every_kind_of_key_enrols_and_is_found_again() {
    for (ek, ak) in [("rsa2048", "p256"), ("p256", "rsa2048"), ("p384", "p256")] {
        let mut swtpm = Swtpm::start();
        let config = swtpm.config(&format!("ek = \"{ek}\"\nak = \"{ak}\""));
        let tpm = Tpm::spawn(&config).unwrap();
        let first = tpm.enrolment().await.unwrap();
        first.ek.check_endorsement_key().unwrap();
        first.ak.check_attestation_key().unwrap();
        assert_ne!(first.firmware_version, 0);
        for bank in [PcrBank::Sha256, PcrBank::Sha384, PcrBank::Sha512] {
            assert_eq!(first.pcrs.iter().filter(|(found, _, _)| *found == bank).count(), 24, "{bank}");
        }
        assert!(first.pcrs.iter().all(|(bank, _, _)| bank.is_acceptable()), "no SHA-1");
        assert_eq!(first.ek_certificate, None, "this emulator was not given one");
        assert_eq!(swtpm.loaded(), 0, "nothing stays loaded");

        // Another process, and another boot.
        drop(tpm);
        assert_eq!(Tpm::spawn(&config).unwrap().enrolment().await.unwrap(), first);
        swtpm.kill();
        swtpm.restart();
        let tpm = Tpm::spawn(&config).unwrap();
        let again = tpm.enrolment().await.unwrap();
        assert_eq!((&again.ek, &again.ak), (&first.ek, &first.ak));
        let quote = tpm.quote(&selection(PcrBank::Sha384, &[0, 7]), QUALIFYING).await.unwrap();
        assert_holds(&quote, &first.ak);
    }
}

#[tokio::test]
async fn tpm2_checkquote_accepts_what_we_quote_and_nothing_else() {
    let swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    swtpm.extend(7);
    let quote = tpm.quote(&selection(PcrBank::Sha256, &[0, 1, 7]), QUALIFYING).await.unwrap();
    assert_holds(&quote, &tpm.identity().await.unwrap().ak);

    let directory = swtpm.directory.path();
    std::fs::write(directory.join("quote"), &quote.attest).unwrap();
    std::fs::write(directory.join("signature"), &quote.signature).unwrap();
    let qualifying = hex::encode(QUALIFYING);
    let arguments =
        ["tpm2_checkquote", "-u", "ak.pub", "-m", "quote", "-s", "signature", "-g", "sha256", "-q"];
    swtpm.tool(&[arguments.as_slice(), &[&qualifying]].concat());
    let other = hex::encode([0; 32]);
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        swtpm.tool(&[arguments.as_slice(), &[&other]].concat());
    }));
    assert!(refused.is_err(), "another nonce passed");
}

#[tokio::test]
async fn a_changed_pcr_shows_in_values_and_quote() {
    let swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    let chosen = selection(PcrBank::Sha256, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let before = tpm.pcrs_of(&chosen).await.unwrap();
    assert_eq!(before.len(), 10);
    swtpm.extend(9);
    let after = tpm.pcrs_of(&chosen).await.unwrap();
    let changed: Vec<_> = before.iter().zip(after.iter()).filter(|(old, new)| old != new).collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(tpm.quote(&chosen, QUALIFYING).await.unwrap().pcrs, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_taken_while_pcrs_move_agrees_with_its_values_or_is_refused() {
    let swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    let ak = tpm.identity().await.unwrap().ak;
    let chosen = selection(PcrBank::Sha256, &(0..24).collect::<Vec<_>>());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                swtpm.extend(5);
            }
        });
        let runtime = tokio::runtime::Handle::current();
        let quotes = tokio::task::block_in_place(|| {
            (0..20).map(|_| runtime.block_on(tpm.quote(&chosen, QUALIFYING))).collect::<Vec<_>>()
        });
        done.store(true, Ordering::Relaxed);
        for quote in quotes {
            match quote {
                Ok(quote) => assert_holds(&quote, &ak),
                Err(error) => assert!(matches!(error, TpmError::PcrsUnstable { .. }), "{error}"),
            }
        }
    });
    assert_holds(&tpm.quote(&chosen, QUALIFYING).await.unwrap(), &ak);
}

#[tokio::test]
async fn pcrs_that_the_tpm_does_not_have_are_named() {
    let swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    swtpm.tool(&["tpm2_pcrallocate", "sha256:all+sha384:none+sha512:none"]);
    let mut swtpm = swtpm;
    swtpm.kill();
    swtpm.restart();
    let found = tpm.pcrs_of(&selection(PcrBank::Sha384, &[4])).await.unwrap_err();
    assert!(matches!(found, TpmError::NoSuchPcr { bank: PcrBank::Sha384, .. }), "{found}");
    let enrolment = tpm.enrolment().await.unwrap();
    assert!(enrolment.pcrs.iter().all(|(bank, _, _)| bank == PcrBank::Sha256));
}

#[tokio::test]
async fn a_tpm_that_vanishes_is_reported_and_one_that_returns_is_used() {
    let mut swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    assert!(!tpm.status().reachable, "nobody asked it yet");
    let ak = tpm.identity().await.unwrap().ak;
    let chosen = selection(PcrBank::Sha256, &[0, 7]);
    assert!(tpm.status().reachable);

    swtpm.kill();
    let found = tpm.quote(&chosen, QUALIFYING).await.unwrap_err();
    assert!(matches!(found, TpmError::Unreachable { .. }), "{found}");
    let status = tpm.status();
    assert!(!status.reachable && status.fault.unwrap().contains("cannot be reached"));

    swtpm.restart();
    assert_holds(&tpm.quote(&chosen, QUALIFYING).await.unwrap(), &ak);
    assert!(tpm.status().reachable && tpm.status().fault.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn quotes_survive_a_tpm_that_is_killed_under_them_again_and_again() {
    let mut swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    let ak = tpm.identity().await.unwrap().ak;
    let chosen = selection(PcrBank::Sha256, &[0, 7]);
    for _ in 0..5 {
        let asking = tokio::spawn({
            let (tpm, chosen) = (tpm.clone(), chosen.clone());
            async move {
                for _ in 0..10 {
                    // Whether one meets the TPM alive is chance; that each comes back is the point.
                    let _ = tpm.quote(&chosen, QUALIFYING).await;
                }
            }
        });
        swtpm.kill();
        swtpm.restart();
        asking.await.unwrap();
        assert_holds(&tpm.quote(&chosen, QUALIFYING).await.unwrap(), &ak);
    }
    assert_eq!(swtpm.loaded(), 0);
}

#[tokio::test]
async fn a_tpm_that_hangs_holds_up_nobody_beyond_the_deadline() {
    let swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("deadline_s = 1")).unwrap();
    let chosen = selection(PcrBank::Sha256, &[0]);
    // The first call may find the deadline short on a busy machine; its work is not lost.
    while tpm.identity().await.is_err() {}

    swtpm.signal("STOP");
    let started = Instant::now();
    let found = tpm.quote(&chosen, QUALIFYING).await.unwrap_err();
    assert!(matches!(found, TpmError::Timeout { seconds: 1 }), "{found}");
    let found = tpm.quote(&chosen, QUALIFYING).await.unwrap_err();
    assert!(matches!(found, TpmError::Occupied { seconds: 1 }), "{found}");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(!tpm.status().reachable);

    swtpm.signal("CONT");
    while tpm.quote(&chosen, QUALIFYING).await.is_err() {}
    assert!(tpm.status().reachable);
}

#[tokio::test]
async fn a_crowd_is_served_or_told_to_try_again() {
    let swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    let ak = tpm.identity().await.unwrap().ak;
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let tpm = tpm.clone();
            tokio::spawn(async move { tpm.quote(&selection(PcrBank::Sha256, &[0]), QUALIFYING).await })
        })
        .collect();
    let mut overloaded = 0;
    for caller in callers {
        match caller.await.unwrap() {
            Ok(quote) => assert_holds(&quote, &ak),
            Err(TpmError::Overloaded { .. }) => overloaded += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(overloaded, 32);
}

#[tokio::test]
async fn a_tpm_that_was_not_started_says_what_to_do() {
    let swtpm = Swtpm::start_with(&["--flags", "not-need-init"]);
    let found = Tpm::spawn(&swtpm.config("")).unwrap().enrolment().await.unwrap_err();
    assert!(matches!(found, TpmError::NotStarted), "{found}");
    assert!(found.to_string().contains("startup-clear"));
}

#[tokio::test]
async fn a_key_of_another_tpm_is_refused_and_never_replaced() {
    let mut swtpm = Swtpm::start();
    let config = swtpm.config("");
    let tpm = Tpm::spawn(&config).unwrap();
    tpm.enrolment().await.unwrap();
    let kept = std::fs::read(config.state_dir.join("ak.priv")).unwrap();

    swtpm.replace();
    let found = tpm.enrolment().await.unwrap_err();
    assert!(matches!(found, TpmError::ForeignKey { .. }), "{found}");
    assert_eq!(std::fs::read(config.state_dir.join("ak.priv")).unwrap(), kept);
    assert_eq!(swtpm.loaded(), 0, "a refusal leaves nothing loaded");
}

#[tokio::test]
async fn damaged_and_unsuitable_key_files_are_named() {
    let swtpm = Swtpm::start();
    let config = swtpm.config("");
    Tpm::spawn(&config).unwrap().enrolment().await.unwrap();
    let (public, private) = (config.state_dir.join("ak.pub"), config.state_dir.join("ak.priv"));
    let (kept_public, kept_private) = (std::fs::read(&public).unwrap(), std::fs::read(&private).unwrap());

    let fails = |what: &'static str| {
        let config = config.clone();
        async move {
            let found = Tpm::spawn(&config).unwrap().enrolment().await.unwrap_err();
            let text = format!("{found}");
            assert!(text.contains(what), "{text}");
        }
    };
    std::fs::write(&private, &kept_private[..kept_private.len() - 1]).unwrap();
    fails("ak.priv").await;
    std::fs::remove_file(&private).unwrap();
    fails("ak.priv").await;
    let mut flipped = kept_private.clone();
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(&private, flipped).unwrap();
    fails("ak.priv does not load").await;
    std::fs::write(&private, &kept_private).unwrap();
    std::fs::write(&public, vec![0xff; 5000]).unwrap();
    fails("ak.pub").await;
    std::fs::write(&public, b"").unwrap();
    fails("ak.pub").await;
    std::fs::write(&public, &kept_public).unwrap();

    let found = Tpm::spawn(&swtpm.config("ak = \"rsa2048\"")).unwrap().enrolment().await.unwrap_err();
    assert!(matches!(found, TpmError::UnsuitableKey { which: "attestation", .. }), "{found}");
    Tpm::spawn(&config).unwrap().enrolment().await.unwrap();
}

#[tokio::test]
async fn a_persistent_endorsement_key_is_found_and_hinted() {
    let swtpm = Swtpm::start();
    let created = Tpm::spawn(&swtpm.config("")).unwrap();
    assert_eq!(created.hints().await.unwrap().ek_handle, None);
    // An unrelated key lies in the same range.
    swtpm.tool(&["tpm2_createek", "-G", "ecc", "-c", "0x81010002", "-u", "other.pub"]);
    swtpm.tool(&["tpm2_createek", "-G", "rsa", "-c", "0x81010005", "-u", "ek.pub"]);
    let found = Tpm::spawn(&swtpm.config("")).unwrap();
    assert_eq!(found.hints().await.unwrap().ek_handle, Some(0x8101_0005));
    let (created, found) = (created.enrolment().await.unwrap(), found.enrolment().await.unwrap());
    assert_eq!((&created.ek, &created.ak), (&found.ek, &found.ak));
}

#[tokio::test]
async fn an_endorsement_certificate_is_read_without_its_padding() {
    let swtpm = Swtpm::start();
    let mut certificate = vec![0x30, 0x82, 0x05, 0x00];
    certificate.resize(4 + 0x500, 0x42);
    let padded = [certificate.as_slice(), &[0xff; 100]].concat();
    std::fs::write(swtpm.directory.path().join("certificate"), &padded).unwrap();
    let size = padded.len().to_string();
    let attributes = "ppwrite|ppread|ownerread|authread|no_da|platformcreate";
    swtpm.tool(&["tpm2_nvdefine", "0x01c00002", "-C", "p", "-s", &size, "-a", attributes]);
    swtpm.tool(&["tpm2_nvwrite", "0x01c00002", "-C", "p", "-i", "certificate"]);
    let enrolment = Tpm::spawn(&swtpm.config("")).unwrap().enrolment().await.unwrap();
    assert_eq!(enrolment.ek_certificate, Some(hex::encode(&certificate)));
    // It belongs to the RSA key only.
    std::fs::remove_file(swtpm.directory.path().join("ak.pub")).unwrap();
    let other = Tpm::spawn(&swtpm.config("ek = \"p256\"")).unwrap().enrolment().await.unwrap();
    assert_eq!(other.ek_certificate, None);
}

/// TPM2_CreatePrimary of a P-256 storage key in the owner hierarchy.
fn create_primary() -> Vec<u8> {
    let public = "0023 000b 00030072 0000 0006 0080 0043 0010 0003 0010 0000 0000";
    let body = format!("40000001 00000009 40000009 0000 00 0000 0004 0000 0000 001a {public} 0000 00000000");
    let size = format!("{:08x}", bytes(&body).len() + 10);
    bytes(&format!("8002 {size} 00000131 {body}"))
}

/// TPM2_StartAuthSession, unsalted, unbound, policy, AES-128-CFB, SHA-256.
fn start_session() -> Vec<u8> {
    let nonce = "0010 000102030405060708090a0b0c0d0e0f";
    let body = format!("40000007 40000007 {nonce} 0000 01 0006 0080 0043 000b");
    let size = format!("{:08x}", bytes(&body).len() + 10);
    bytes(&format!("8001 {size} 00000176 {body}"))
}

fn code(response: &[u8]) -> u32 {
    u32::from_be_bytes(response[6..10].try_into().unwrap())
}

#[tokio::test]
async fn what_a_killed_predecessor_left_loaded_makes_room() {
    let swtpm = Swtpm::start();
    let mut full = 0;
    while full < 2 {
        full = 0;
        for command in [create_primary(), start_session()] {
            full += usize::from(code(&swtpm.raw(&command)) != 0);
        }
    }
    assert!(swtpm.loaded() >= 3, "the TPM is full");
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    let ak = tpm.enrolment().await.unwrap().ak;
    assert_holds(&tpm.quote(&selection(PcrBank::Sha256, &[0]), QUALIFYING).await.unwrap(), &ak);
    assert_eq!(swtpm.loaded(), 0);
}

#[tokio::test]
async fn the_relay_passes_what_ceremonies_need_and_nothing_else() {
    let swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    let mut relay = tpm.relay().await.unwrap();
    let random = relay.transmit(&bytes("8001 0000000c 0000017b 0010")).await.unwrap();
    assert_eq!((code(&random), random.len()), (0, 10 + 2 + 16));

    // Clear, HierarchyControl, DictionaryAttackLockReset, EvictControl, NV_UndefineSpace, PCR_Extend, Quote.
    for command_code in [0x126_u32, 0x121, 0x139, 0x120, 0x122, 0x182, 0x158] {
        let command = [bytes("8002 0000000a").as_slice(), &command_code.to_be_bytes()].concat();
        let found = relay.transmit(&command).await.unwrap_err();
        assert!(matches!(found, RelayError::NotAllowed { code } if code == command_code), "{found}");
    }
    for garbage in
        [vec![], vec![0x80], bytes("8001 0000000d 0000017b 0010"), bytes("8001 0000000b 0000017b 0010")]
    {
        let found = relay.transmit(&garbage).await.unwrap_err();
        assert!(matches!(found, RelayError::Malformed { .. }), "{found}");
    }
    let found = relay.transmit(&vec![0; 4097]).await.unwrap_err();
    assert!(matches!(found, RelayError::TooLarge { found: 4097 }), "{found}");

    let created = relay.transmit(&create_primary()).await.unwrap();
    assert_eq!(code(&created), 0);
    let flush = |handle: &[u8]| [bytes("8001 0000000e 00000165").as_slice(), handle].concat();
    let found = relay.transmit(&flush(&[0x80, 0, 0, 9])).await.unwrap_err();
    assert!(matches!(found, RelayError::ForeignHandle { handle: 0x8000_0009 }), "{found}");
    assert_eq!(code(&relay.transmit(&flush(&created[10..14])).await.unwrap()), 0);
    let found = relay.transmit(&flush(&created[10..14])).await.unwrap_err();
    assert!(matches!(found, RelayError::ForeignHandle { .. }), "flushed twice: {found}");
    assert_eq!(code(&relay.transmit(&bytes("8001 0000000c 0000017b 0010")).await.unwrap()), 0);
}

#[tokio::test]
async fn a_ceremony_has_the_tpm_to_itself_and_leaves_it_clean() {
    let swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("deadline_s = 5")).unwrap();
    let ak = tpm.identity().await.unwrap().ak;
    let mut relay = tpm.relay().await.unwrap();
    for _ in 0..3 {
        assert_eq!(code(&relay.transmit(&create_primary()).await.unwrap()), 0);
        assert_eq!(code(&relay.transmit(&start_session()).await.unwrap()), 0);
    }
    // Full of its own objects: the ceremony hears so, and loses none of them.
    assert_eq!(code(&relay.transmit(&create_primary()).await.unwrap()), 0x902);
    assert_eq!(swtpm.loaded(), 6);

    let chosen = selection(PcrBank::Sha256, &[0]);
    let asking = tokio::spawn({
        let (tpm, chosen) = (tpm.clone(), chosen.clone());
        async move { tpm.quote(&chosen, QUALIFYING).await }
    });
    let found = asking.await.unwrap().unwrap_err();
    assert!(matches!(found, TpmError::Occupied { .. }), "{found}");

    // The enclave was killed in the middle: nobody flushes but the relay's end.
    drop(relay);
    assert_holds(&tpm.quote(&chosen, QUALIFYING).await.unwrap(), &ak);
    assert_eq!(swtpm.loaded(), 0);
}

#[tokio::test]
async fn a_ceremony_finds_room_where_a_predecessor_left_none() {
    let swtpm = Swtpm::start();
    while code(&swtpm.raw(&create_primary())) == 0 {}
    while code(&swtpm.raw(&start_session())) == 0 {}
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    let mut relay = tpm.relay().await.unwrap();
    for _ in 0..3 {
        assert_eq!(code(&relay.transmit(&create_primary()).await.unwrap()), 0);
        assert_eq!(code(&relay.transmit(&start_session()).await.unwrap()), 0);
    }
}

#[tokio::test]
async fn a_relay_to_a_tpm_that_is_gone_says_so_and_serves_when_it_is_back() {
    let mut swtpm = Swtpm::start();
    let tpm = Tpm::spawn(&swtpm.config("")).unwrap();
    let mut relay = tpm.relay().await.unwrap();
    swtpm.kill();
    let found = relay.transmit(&create_primary()).await.unwrap_err();
    assert!(matches!(found, RelayError::Unreachable(_)), "{found}");
    swtpm.restart();
    assert_eq!(code(&relay.transmit(&create_primary()).await.unwrap()), 0);
}
