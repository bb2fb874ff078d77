//! Logs that replay to the quoted values and still lie. Each is what somebody can write who holds the log, and may extend
//! what the firmware left open.

use sealstone_attestation::event_log::{
    Comparison, EventLog, EventType, Guid, LogAlgorithm, SecureBoot, Tie,
};

use crate::builder::{
    COMMAND_LINE, LOADER_PATH, LogBuilder, certificate, honest, signature_list, utf16, variable,
};

const BANK: [LogAlgorithm; 1] = [LogAlgorithm::Sha256];

const EVERY_PCR: [u32; 24] =
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];

/// Checks that the log replays, and has exactly these findings.
fn findings(log: &LogBuilder, expected: &[&str]) {
    let bytes = log.bytes();
    let parsed = EventLog::parse(&bytes).unwrap();
    let codes: Vec<&str> = parsed.findings().iter().map(|finding| finding.code).collect();
    assert_eq!(codes, expected, "{:?}", parsed.findings());
    for compared in parsed.compare(&log.quoted(&EVERY_PCR)) {
        let explained = matches!(compared.comparison, Comparison::Matches | Comparison::Untouched);
        assert!(explained, "{compared:?}");
    }
}

fn secure_boot(log: &LogBuilder) -> SecureBoot {
    EventLog::parse(&log.bytes()).unwrap().facts().secure_boot
}

fn unknown(log: &LogBuilder) {
    assert!(matches!(secure_boot(log), SecureBoot::Unknown { .. }), "{:?}", secure_boot(log));
}

/// A log with these events of PCR 7, closed, and the separators of the other PCRs.
fn with_policy(policy: impl FnOnce(&mut LogBuilder)) -> LogBuilder {
    let mut log = LogBuilder::agile(&BANK);
    policy(&mut log);
    for pcr in 0..7 {
        log.measure(pcr, EventType::SEPARATOR, &[0; 4]);
    }
    log
}

fn close(log: &mut LogBuilder) {
    log.measure(7, EventType::SEPARATOR, &[0; 4]);
}

#[test]
fn an_honest_log_has_no_findings_and_tells_its_facts() {
    let log = honest(&BANK);
    findings(&log, &[]);
    let bytes = log.bytes();
    let parsed = EventLog::parse(&bytes).unwrap();
    assert_eq!(parsed.warnings(), []);
    let facts = parsed.facts();
    assert!(matches!(facts.secure_boot, SecureBoot::On { event: 3 }));
    let names: Vec<&str> = facts.keys.iter().map(|database| database.variable).collect();
    assert_eq!(names, ["PK", "KEK", "db", "dbx"]);
    assert_eq!(facts.keys[3].image_digests, 2);
    assert_eq!(facts.keys[2].certificates[0].der, certificate(2));
    assert_eq!(facts.authorities[0].certificate, Some(facts.keys[2].certificates[0]));
    let image = &facts.images[0];
    assert_eq!(image.path.as_deref(), Some(LOADER_PATH));
    assert_eq!((Some(image.event), image.authority), (facts.boot_loader, Some(facts.authorities[0].event)));
    assert_eq!(facts.command_lines[0].text, COMMAND_LINE);
    assert!(facts.command_lines[0].vouched);
    assert_eq!(facts.kernels[0].text, "/vmlinuz-6.12");
    assert_eq!(facts.shim[0].name, "MokList");
}

#[test]
fn a_policy_hidden_behind_another_type_is_found() {
    // go-attestation's disclosure: what was measured is given a type that readers skip, and another policy is appended.
    let real = variable(Guid::GLOBAL_VARIABLE, "SecureBoot", &[0]);
    let hidden_as = |kind: EventType| {
        with_policy(|log| {
            log.event(7, kind, &real, &real);
            close(log);
            log.secure_boot(1);
        })
    };
    let late = ["variable.late"; 5];
    for (kind, code) in [
        (EventType::UNUSED, "type.unknown"),
        (EventType::PREBOOT_CERT, "type.unknown"),
        (EventType::EFI_ACTION, "action.malformed"),
        (EventType::ACTION, "action.malformed"),
        (EventType::EFI_VARIABLE_AUTHORITY, "variable.misplaced"),
        (EventType::EVENT_TAG, "type.misplaced"),
        (EventType::EFI_PLATFORM_FIRMWARE_BLOB, "type.misplaced"),
        (EventType::COMPACT_HASH, "type.misplaced"),
        (EventType::EFI_VARIABLE_BOOT, "type.misplaced"),
        (EventType::IPL, "type.misplaced"),
        (EventType::S_CRTM_VERSION, "type.misplaced"),
        (EventType::EFI_SPDM_FIRMWARE_BLOB, "type.misplaced"),
    ] {
        let log = hidden_as(kind);
        let bytes = log.bytes();
        let parsed = EventLog::parse(&bytes).unwrap();
        let codes: Vec<&str> = parsed.findings().iter().map(|finding| finding.code).collect();
        assert!(codes.contains(&code), "{kind}: {codes:?}");
        assert!(late.iter().all(|late| codes.contains(late)), "{kind}: {codes:?}");
        unknown(&log);
    }
    // As a separator it is no separator; as an event that extends nothing, the log does not replay.
    unknown(&hidden_as(EventType::SEPARATOR));
    let log = hidden_as(EventType::NO_ACTION);
    let mut honest = with_policy(|log| {
        log.event(7, EventType::EFI_VARIABLE_DRIVER_CONFIG, &real, &real);
        close(log);
        log.secure_boot(1);
    });
    let quoted = honest.separators().quoted(&[7]);
    let bytes = log.bytes();
    let compared = EventLog::parse(&bytes).unwrap().compare(&quoted);
    assert!(matches!(compared[0].comparison, Comparison::Differs { .. }));
}

#[test]
fn a_type_that_nobody_knows_is_found() {
    for kind in [0x14, 0x8401, 0x8000_000e, 0x8000_00e5, u32::MAX] {
        let mut log = honest(&BANK);
        let digest = LogAlgorithm::Sha256.digest(&[b"x"]);
        log.raw(2, kind, &[(LogAlgorithm::Sha256.id(), digest)], b"x");
        findings(&log, &["type.unknown"]);
    }
}

#[test]
fn a_second_separator_is_found_and_so_is_a_policy_behind_the_first() {
    let mut log = honest(&BANK);
    log.measure(7, EventType::SEPARATOR, &[0; 4]);
    findings(&log, &["separator.repeated"]);
    unknown(&log);

    let mut log = honest(&BANK);
    log.secure_boot(1);
    findings(
        &log,
        &[
            "variable.late",
            "variable.repeated",
            "variable.late",
            "variable.repeated",
            "variable.late",
            "variable.repeated",
            "variable.late",
            "variable.repeated",
            "variable.late",
            "variable.repeated",
        ],
    );
    unknown(&log);
}

#[test]
fn a_separator_hidden_behind_another_type_is_found() {
    for (kind, codes) in [
        (EventType::EFI_ACTION, &["separator.missing", "action.malformed"][..]),
        (EventType::EFI_VARIABLE_DRIVER_CONFIG, &["separator.missing", "variable.malformed"]),
        (EventType::EFI_VARIABLE_AUTHORITY, &["separator.missing", "variable.malformed"]),
        (EventType::EVENT_TAG, &["separator.missing", "type.misplaced"]),
        (EventType::EFI_SPDM_DEVICE_POLICY, &["separator.missing"]),
    ] {
        let log = with_policy(|log| {
            log.policy(Guid::GLOBAL_VARIABLE, "SecureBoot", &[1]).measure(7, kind, &[0; 4]);
        });
        findings(&log, codes);
        unknown(&log);
    }
}

#[test]
fn a_policy_variable_that_comes_twice_is_found() {
    let log = with_policy(|log| {
        log.policy(Guid::GLOBAL_VARIABLE, "SecureBoot", &[0]).policy(
            Guid::GLOBAL_VARIABLE,
            "SecureBoot",
            &[1],
        );
        close(log);
    });
    findings(&log, &["variable.repeated"]);
    unknown(&log);
}

#[test]
fn a_variable_of_somebody_else_is_no_policy() {
    let log = with_policy(|log| {
        log.policy(Guid::SHIM_LOCK, "SecureBoot", &[1]).policy(
            Guid::GLOBAL_VARIABLE,
            "SecureBoot\u{301}",
            &[1],
        );
        close(log);
    });
    findings(&log, &[]);
    unknown(&log);
    // Nor in another PCR.
    let mut log = honest(&BANK);
    log.variable(1, EventType::EFI_VARIABLE_DRIVER_CONFIG, Guid::GLOBAL_VARIABLE, "SecureBoot", &[0]);
    assert!(matches!(secure_boot(&log), SecureBoot::On { .. }));
}

#[test]
fn a_value_of_secure_boot_that_is_none_is_unknown() {
    for value in [&[][..], &[2], &[1, 0], &[0, 1]] {
        let log = with_policy(|log| {
            log.policy(Guid::GLOBAL_VARIABLE, "SecureBoot", value);
            close(log);
        });
        findings(&log, &[]);
        unknown(&log);
    }
    let off = with_policy(|log| {
        log.policy(Guid::GLOBAL_VARIABLE, "SecureBoot", &[0]);
        close(log);
    });
    assert!(matches!(secure_boot(&off), SecureBoot::Off { .. }));
}

#[test]
fn data_that_does_not_hash_to_its_digest_is_found_and_never_a_fact() {
    let real = variable(Guid::GLOBAL_VARIABLE, "SecureBoot", &[0]);
    let forged = variable(Guid::GLOBAL_VARIABLE, "SecureBoot", &[1]);
    let log = with_policy(|log| {
        log.event(7, EventType::EFI_VARIABLE_DRIVER_CONFIG, &real, &forged);
        close(log);
    });
    findings(&log, &["digest.mismatch"]);
    unknown(&log);

    let mut log = honest(&BANK);
    let prefixed = format!("kernel_cmdline: {COMMAND_LINE}\0");
    log.event(8, EventType::IPL, b"/vmlinuz init=/bin/sh", prefixed.as_bytes());
    findings(&log, &["digest.mismatch"]);
    assert_eq!(EventLog::parse(&log.bytes()).unwrap().facts().command_lines.len(), 1);

    for (pcr, kind, data) in [
        (5, EventType::EFI_ACTION, b"Exit Boot Services Invocation".to_vec()),
        (4, EventType::ACTION, b"Calling INT 19h".to_vec()),
        (0, EventType::S_CRTM_VERSION, utf16("1.0\0")),
        (
            7,
            EventType::EFI_VARIABLE_AUTHORITY,
            variable(Guid::SHIM_LOCK, "SbatLevel", b"sbat,1,2021030218\n"),
        ),
        (1, EventType::EFI_VARIABLE_BOOT, variable(Guid::GLOBAL_VARIABLE, "BootOrder", &[1, 0])),
        (1, EventType::EFI_VARIABLE_BOOT2, variable(Guid::GLOBAL_VARIABLE, "BootOrder", &[1, 0])),
        (8, EventType::IPL, b"grub_cmd: set root=hd0\0".to_vec()),
    ] {
        let mut log = honest(&BANK);
        log.event(pcr, kind, b"something else", &data);
        findings(&log, &["digest.mismatch"]);
    }
}

#[test]
fn one_bank_that_does_not_fit_is_enough() {
    let banks = [LogAlgorithm::Sha1, LogAlgorithm::Sha256, LogAlgorithm::Sm3];
    for odd in 0..3 {
        let mut log = honest(&banks);
        let digests: Vec<(u16, Vec<u8>)> = banks
            .iter()
            .enumerate()
            .map(|(position, bank)| {
                let measured: &[u8] = if position == odd { b"evil" } else { b"good" };
                (bank.id(), bank.digest(&[measured]))
            })
            .collect();
        log.raw(4, EventType::EFI_ACTION.code(), &digests, b"good");
        findings(&log, &["digest.mismatch"]);
    }
}

#[test]
fn an_event_without_a_digest_in_a_bank_is_found() {
    let banks = [LogAlgorithm::Sha1, LogAlgorithm::Sha256];
    let mut log = honest(&banks);
    let digest = LogAlgorithm::Sha1.digest(&[b"good"]);
    log.raw(4, EventType::EFI_ACTION.code(), &[(LogAlgorithm::Sha1.id(), digest)], b"good");
    findings(&log, &["digest.missing"]);
    let mut log = honest(&banks);
    log.raw(4, EventType::EFI_ACTION.code(), &[], b"good");
    findings(&log, &["digest.missing", "digest.missing"]);
    let bytes = log.bytes();
    let parsed = EventLog::parse(&bytes).unwrap();
    assert_eq!(parsed.events().last().unwrap().tie, Tie::Described, "no digest vouches for it");
}

#[test]
fn a_description_is_never_vouched_for() {
    let mut log = honest(&BANK);
    log.image("\\EFI\\good.efi", b"evil").event(9, EventType::IPL, b"evil", b"/vmlinuz-good\0");
    findings(&log, &[]);
    let bytes = log.bytes();
    let parsed = EventLog::parse(&bytes).unwrap();
    for event in &parsed.events()[parsed.events().len() - 2..] {
        assert_eq!((&event.tie, event.covered()), (&Tie::Described, None));
    }
}

#[test]
fn signature_lists_that_lie_are_found() {
    let mut list = signature_list(Guid::CERT_SHA256, &[vec![7; 32], vec![8; 32]]);
    // GHSA-9r4w: the first entry becomes a header that a reader skips, or takes for a hash.
    list[20] = 48;
    let log = with_policy(|log| {
        log.policy(Guid::IMAGE_SECURITY_DATABASE, "dbx", &list);
        close(log);
    });
    findings(&log, &["signature_list.malformed"]);
    assert!(EventLog::parse(&log.bytes()).unwrap().facts().keys.is_empty());
}

#[test]
fn events_dropped_added_or_exchanged_do_not_replay() {
    let honest = honest(&BANK);
    let (bytes, quoted) = (honest.bytes(), honest.quoted(&EVERY_PCR));
    let ends: Vec<usize> = honest.offsets[1..].iter().copied().chain([bytes.len()]).collect();
    let event = |number: usize| &bytes[honest.offsets[number]..ends[number]];
    let differs = |log: &[u8]| {
        let parsed = EventLog::parse(log).unwrap();
        let compared = parsed.compare(&quoted);
        let broken = compared
            .iter()
            .any(|compared| !matches!(compared.comparison, Comparison::Matches | Comparison::Untouched));
        assert!(broken || !parsed.findings().is_empty());
    };
    for number in 1..honest.offsets.len() {
        let without = [&bytes[..honest.offsets[number]], &bytes[ends[number]..]].concat();
        differs(&without);
        differs(&[&bytes[..], event(number)].concat());
        differs(&bytes[..honest.offsets[number]]);
    }
}

#[test]
fn the_firmware_s_own_failure_is_found() {
    for failed in [1_u32.to_le_bytes(), 1_u32.to_be_bytes()] {
        let mut log = LogBuilder::agile(&BANK);
        log.separators();
        let mut failing = LogBuilder::agile(&BANK);
        for pcr in 0..7 {
            failing.measure(pcr, EventType::SEPARATOR, &[0; 4]);
        }
        failing.measure(7, EventType::SEPARATOR, &failed);
        findings(&log, &[]);
        findings(&failing, &["separator.error"]);
        let mut told = LogBuilder::agile(&BANK);
        for pcr in 0..7 {
            told.measure(pcr, EventType::SEPARATOR, &[0xff; 4]);
        }
        told.event(7, EventType::SEPARATOR, &failed, b"no such device");
        findings(&told, &["separator.error"]);
    }
}

#[test]
fn a_separator_of_another_value_or_length_is_found() {
    for data in [&[2, 0, 0, 0][..], &[], &[0; 3], &[0xff, 0xff, 0xff, 0], &[0; 5], b"WBCL"] {
        let mut log = LogBuilder::agile(&BANK);
        for pcr in 1..8 {
            log.measure(pcr, EventType::SEPARATOR, &[0; 4]);
        }
        log.measure(0, EventType::SEPARATOR, data);
        findings(&log, &["separator.malformed"]);
    }
}
