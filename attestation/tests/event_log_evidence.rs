//! Evidence with an event log: the log must explain the values that the quote vouches for.
#![allow(clippy::unwrap_used)]

#[path = "event_log/builder.rs"]
mod builder;
mod fake;

mod scene;

use builder::{LogBuilder, honest};
use sealstone_attestation::event_log::{EventType, LogAlgorithm};
use sealstone_attestation::{Base64Bytes, Check, Evidence, Outcome, PcrBank, Verdict};

/// A machine whose TPM holds what a log extended, approved in that state.
struct Scene(scene::Scene);

impl Scene {
    /// Approves these PCRs of the machine.
    fn of(log: &LogBuilder, bank: PcrBank, pcrs: &[u8]) -> Self {
        let numbers: Vec<u32> = pcrs.iter().copied().map(u32::from).collect();
        Self(scene::Scene::in_state(log.quoted(&numbers), bank, pcrs, |_| ()))
    }

    fn verdict(&self, event_log: Option<Vec<u8>>) -> Verdict {
        self.0.appraise(&Evidence { event_log: event_log.map(Base64Bytes), ..self.0.evidence() })
    }

    /// Only the log decides here.
    fn check(&self, event_log: Option<Vec<u8>>) -> Check {
        let verdict = self.verdict(event_log);
        let failed: Vec<&Check> =
            verdict.checks().iter().filter(|check| check.result == Outcome::Failed).collect();
        assert!(failed.iter().all(|check| check.name == "event_log"), "{failed:?}");
        assert_eq!(verdict.accepted(), failed.is_empty());
        verdict.check("event_log").unwrap().clone()
    }

    fn passed(&self, log: &LogBuilder) -> String {
        let check = self.check(Some(log.bytes()));
        assert_eq!(check.result, Outcome::Passed, "{}", check.detail);
        check.detail
    }

    fn refused(&self, log: Vec<u8>, why: &str) {
        let check = self.check(Some(log));
        assert_eq!(check.result, Outcome::Failed);
        assert!(check.detail.contains(why), "{}", check.detail);
    }
}

const BANK: [LogAlgorithm; 1] = [LogAlgorithm::Sha256];

const FIRMWARE: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

#[test]
fn a_log_that_explains_the_quoted_values_passes() {
    let log = honest(&BANK);
    let scene = Scene::of(&log, PcrBank::Sha256, &[0, 4, 7, 8, 9, 14]);
    let detail = scene.passed(&log);
    assert!(
        detail.contains("explained: sha256:0, sha256:4, sha256:7, sha256:8, sha256:9, sha256:14"),
        "{detail}"
    );
    for bank in [PcrBank::Sha384, PcrBank::Sha512] {
        let log = honest(&[LogAlgorithm::Sha1, LogAlgorithm::Sha256, bank.into()]);
        Scene::of(&log, bank, &FIRMWARE).passed(&log);
    }
}

#[test]
fn without_a_log_nothing_is_asked() {
    let log = honest(&BANK);
    let scene = Scene::of(&log, PcrBank::Sha256, &FIRMWARE);
    let none = scene.check(None);
    assert_eq!((none.result, none.detail.as_str()), (Outcome::NotApplicable, "no event log in the evidence"));
    let empty = scene.check(Some(Vec::new()));
    assert_eq!(empty.result, Outcome::NotApplicable);
    assert!(empty.detail.contains("firmware hands over none"));
}

#[test]
fn pcrs_that_the_log_does_not_cover_are_named_or_refused() {
    let mut log = honest(&BANK);
    let scene = Scene::of(&log, PcrBank::Sha256, &[0, 7, 13, 17]);
    assert!(scene.passed(&log).contains("never extended: sha256:13, sha256:17"));

    let bytes = log.bytes();
    log.extend(LogAlgorithm::Sha256, 15, &[1; 32]);
    let scene = Scene::of(&log, PcrBank::Sha256, &[0, 7, 15]);
    let check = scene.check(Some(bytes.clone()));
    assert!(check.detail.contains("by the approved value alone: sha256:15"), "{}", check.detail);

    log.extend(LogAlgorithm::Sha256, 11, &[1; 32]);
    log.extend(LogAlgorithm::Sha256, 9, &[1; 32]);
    let scene = Scene::of(&log, PcrBank::Sha256, &[0, 7, 9]);
    scene.refused(bytes.clone(), "after the firmware's log ended");

    // Without the events of a firmware's PCR, nobody knows what the firmware did.
    let mut short = LogBuilder::agile(&BANK);
    for pcr in 0..7 {
        short.measure(pcr, EventType::SEPARATOR, &[0; 4]);
    }
    let mut extended = short.clone();
    extended.extend(LogAlgorithm::Sha256, 7, &[1; 32]);
    Scene::of(&extended, PcrBank::Sha256, &[0, 7]).refused(short.bytes(), "no event for it");
}

#[test]
fn a_log_of_another_boot_or_bank_is_refused() {
    let log = honest(&BANK);
    let scene = Scene::of(&log, PcrBank::Sha256, &FIRMWARE);
    let mut other = honest(&BANK);
    other.image("\\EFI\\other.efi", b"other");
    scene.refused(other.bytes(), "runs ahead of the quote");
    let mut other = LogBuilder::agile(&BANK);
    other.event(0, EventType::EFI_PLATFORM_FIRMWARE_BLOB, b"other firmware", &[0; 16]).separators();
    scene.refused(other.bytes(), "quoted value of sha256:0");
    scene.refused(honest(&[LogAlgorithm::Sha384]).bytes(), "the bank sha256");
}

#[test]
fn a_log_that_lies_is_refused_although_it_replays() {
    let mut log = honest(&BANK);
    log.measure(7, EventType::SEPARATOR, &[0; 4]);
    let scene = Scene::of(&log, PcrBank::Sha256, &FIRMWARE);
    scene.refused(log.bytes(), "separator.repeated");
    let mut log = honest(&BANK);
    log.event(5, EventType::EFI_ACTION, b"evil", b"good");
    let scene = Scene::of(&log, PcrBank::Sha256, &FIRMWARE);
    scene.refused(log.bytes(), "digest.mismatch");
}

#[test]
fn what_is_no_log_is_refused_with_its_place() {
    let log = honest(&BANK);
    let scene = Scene::of(&log, PcrBank::Sha256, &FIRMWARE);
    scene.refused(b"log".to_vec(), "at byte 0, event 0");
    scene.refused(log.bytes()[..log.bytes().len() - 1].to_vec(), "a log that was cut proves nothing");
    for length in (0..log.bytes().len()).step_by(5) {
        let check = scene.check(Some(log.bytes()[..length].to_vec()));
        assert_eq!(check.result == Outcome::NotApplicable, length == 0, "{length}: {}", check.detail);
        assert_ne!(check.result, Outcome::Passed, "{length}");
    }
}

#[test]
fn a_log_says_nothing_about_values_that_were_not_quoted() {
    let log = honest(&BANK);
    let mut scene = Scene::of(&log, PcrBank::Sha256, &FIRMWARE);
    let mut forged = honest(&BANK);
    forged.image("\\EFI\\other.efi", b"other");
    let honest_quote = scene.0.machine.attest(&[0; 32]);
    scene.0.machine.pcrs = forged.quoted(&FIRMWARE.map(u32::from));
    let quote = scene.0.machine.signed(&honest_quote);
    assert_eq!(quote.pcrs, scene.0.machine.pcrs);
    let verdict = scene.verdict(Some(forged.bytes()));
    assert!(!verdict.accepted());
    scene.0.machine.ak = fake::Key::ak(fake::Secret::p256(9), fake::ECDSA, fake::SHA256);
    let check = scene.verdict(Some(log.bytes())).check("event_log").unwrap().clone();
    assert_eq!(check.result, Outcome::Failed);
    assert!(check.detail.starts_with("not reached"), "{}", check.detail);
}
