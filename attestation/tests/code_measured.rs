//! Which code ran: shown by dm-verity or by IMA as the measured command line of an approved boot has them, or not at all.
#![allow(clippy::unwrap_used)]

#[path = "event_log/builder.rs"]
mod builder;
mod fake;
mod scene;

use std::path::PathBuf;

use builder::{LogBuilder, honest_events, utf16};
use scene::{NOT_SHOWN, PASSED, Scene, levels, nonce};
use sealstone_attestation::event_log::{EventLog, EventType, LogAlgorithm};
use sealstone_attestation::{
    Base64Bytes, CodeMeasurement, Evidence, Level, LevelResult, Outcome, PcrBank, PcrIndex, Purpose,
    Sha256Digest, Verdict,
};
use sha2::{Digest as _, Sha256};

const BANK: [LogAlgorithm; 1] = [LogAlgorithm::Sha256];

const HASH: &str = "6af0869bb4f7acdc9ec11fc0e363bce77f4972c6da00722ef47bd501da9ec626";

/// What is approved of the machine: firmware, boot loader, policy, commands and files.
const APPROVED: [u8; 5] = [0, 4, 7, 8, 9];

/// A boot through GRUB with this command line. The one of the honest boot is taken out by asking for another PCR 8.
fn grub(line: &str) -> LogBuilder {
    let mut log = LogBuilder::agile(&BANK);
    log.measure(0, EventType::S_CRTM_VERSION, &utf16("1.0\0")).secure_boot(1).separators();
    log.image("\\EFI\\debian\\shimx64.efi", b"shim")
        .event(9, EventType::IPL, b"kernel", b"/vmlinuz\0")
        .event(9, EventType::IPL, b"initrd", b"/initrd.img\0")
        .grub("grub_cmd: ", &format!("linux /vmlinuz {line}"))
        .grub("kernel_cmdline: ", &format!("/vmlinuz {line}"))
        .exit_boot_services();
    log
}

fn verity() -> LogBuilder {
    grub(&format!("ro roothash={HASH} systemd.verity=yes"))
}

fn numbers(pcrs: &[u8]) -> Vec<u32> {
    pcrs.iter().copied().map(u32::from).collect()
}

/// The verdict on a machine that booted as this log says, approved in these of its PCRs, and shows `given`.
fn appraised(log: &LogBuilder, approved: &[u8], given: Option<Vec<u8>>) -> Verdict {
    let scene = Scene::in_state(log.quoted(&numbers(approved)), PcrBank::Sha256, approved, |draft| {
        draft.code = CodeMeasurement::Verity;
    });
    scene.appraise(&Evidence { event_log: given.map(Base64Bytes), ..scene.evidence() })
}

fn of(log: &LogBuilder) -> Verdict {
    appraised(log, &APPROVED, Some(log.bytes()))
}

fn refused(verdict: &Verdict, why: &str) {
    assert!(!verdict.accepted());
    let check = verdict.check("code.measured").unwrap();
    assert_eq!(check.result, Outcome::Failed, "{why}");
    assert!(check.detail.contains(why), "{why}: {}", check.detail);
    assert_eq!(verdict.levels().of(Level::CodeMeasured).result, LevelResult::Failed);
}

#[test]
fn a_root_hash_on_the_approved_command_line_shows_the_code() {
    let verdict = of(&verity());
    assert!(verdict.accepted(), "{:?}", verdict.first_failure());
    assert_eq!(levels(&verdict), [PASSED; 4]);
    let detail = &verdict.check("code.measured").unwrap().detail;
    assert!(detail.contains(HASH) && detail.contains("approved PCR 8"), "{detail}");
    assert!(verdict.warnings().is_empty(), "{:?}", verdict.warnings());

    let usr = of(&grub(&format!("ro root=/dev/sda2 usrhash={HASH}")));
    assert!(usr.accepted(), "{:?}", usr.first_failure());
    assert!(usr.warnings()[0].contains("/usr alone"), "{:?}", usr.warnings());
}

#[test]
fn a_stub_s_command_line_in_utf_16_counts_as_well() {
    let mut log = LogBuilder::agile(&BANK);
    log.measure(0, EventType::S_CRTM_VERSION, &utf16("1.0\0")).secure_boot(1).separators();
    log.image("\\EFI\\Linux\\linux.efi", b"unified kernel image")
        .event(11, EventType::IPL, b".linux\0", &utf16(".linux\0"))
        .event(11, EventType::IPL, b"kernel", &utf16(".linux\0"));
    let line = utf16(&format!("roothash={HASH} ro\0"));
    log.measure(12, EventType::IPL, &line).exit_boot_services();
    let approved = [0, 4, 7, 11, 12];
    let verdict = appraised(&log, &approved, Some(log.bytes()));
    assert!(verdict.accepted(), "{:?}", verdict.first_failure());
    refused(&appraised(&log, &[0, 4, 7, 12], Some(log.bytes())), "initial file system");
    refused(&appraised(&log, &[0, 7, 11], Some(log.bytes())), "expected PCR 12");
    // Another command line beside it, hidden under another type.
    let mut other = log.clone();
    other.measure(12, EventType::IPL, &utf16("roothash=00 rw\0"));
    refused(&appraised(&other, &approved, Some(other.bytes())), "several that differ");
    let mut hidden = log.clone();
    hidden.event(12, EventType::COMPACT_HASH, &utf16("root=/dev/sda2\0"), b"data");
    refused(&appraised(&hidden, &approved, Some(hidden.bytes())), "only describes");
}

#[test]
fn without_its_event_log_no_command_line_is_known() {
    let log = verity();
    refused(&appraised(&log, &APPROVED, None), "expected an event log");
    refused(&appraised(&log, &APPROVED, Some(Vec::new())), "expected an event log");
    let other = grub(&format!("ro roothash={} quiet", HASH.replace('6', "7")));
    let verdict = appraised(&log, &APPROVED, Some(other.bytes()));
    refused(&verdict, "expected an event log");
    assert_eq!(verdict.check("event_log").unwrap().result, Outcome::Failed);
}

#[test]
fn nobody_approved_what_no_state_names() {
    let log = verity();
    for (approved, why) in [
        (&[0, 4, 7, 9][..], "expected PCR 8"),
        (&[0, 4, 7, 8], "initial file system"),
        (&[0, 8, 9], "boot loader"),
        (&[4, 8, 9, 7], ""),
        (&[0, 7, 8, 9], ""),
    ] {
        let verdict = appraised(&log, approved, Some(log.bytes()));
        if why.is_empty() {
            assert!(verdict.accepted(), "{approved:?}: {:?}", verdict.first_failure());
        } else {
            refused(&verdict, why);
        }
    }
    // With Secure Boot off PCR 7 says nothing of the boot loader.
    let mut open = LogBuilder::agile(&BANK);
    open.secure_boot(0).separators();
    open.event(9, EventType::IPL, b"kernel", b"/vmlinuz\0")
        .grub("kernel_cmdline: ", &format!("/vmlinuz roothash={HASH}"))
        .exit_boot_services();
    refused(&appraised(&open, &[7, 8, 9], Some(open.bytes())), "boot loader");
}

#[test]
fn a_machine_in_no_approved_state_shows_no_code() {
    let log = verity();
    let mut scene = Scene::in_state(log.quoted(&numbers(&APPROVED)), PcrBank::Sha256, &APPROVED, |draft| {
        draft.code = CodeMeasurement::Verity;
    });
    let other = grub("ro");
    scene.machine.pcrs = other.quoted(&numbers(&APPROVED));
    let verdict =
        scene.appraise(&Evidence { event_log: Some(Base64Bytes(other.bytes())), ..scene.evidence() });
    refused(&verdict, "not reached: state.approved did not pass");
    // Nor does a forged quote of approved values.
    scene.machine.pcrs = log.quoted(&numbers(&APPROVED));
    let mut forged = Evidence { event_log: Some(Base64Bytes(log.bytes())), ..scene.evidence() };
    *forged.quote.signature.last_mut().unwrap() ^= 1;
    refused(&scene.appraise(&forged), "not reached: signature.valid did not pass");
}

#[test]
fn a_command_line_that_leaves_code_unmeasured_is_refused() {
    for (line, why) in [
        ("ro root=/dev/sda2".to_owned(), "found none"),
        (format!("roothash={}", &HASH[..63]), "hex digits"),
        (format!("roothash={HASH} root=/dev/sda2"), "not what is verified"),
        (format!("roothash={HASH} systemd.verity=0"), "switched off"),
        (format!("roothash={HASH} rd.systemd.verity=0"), "switched off"),
        (format!("roothash={HASH} systemd.verity_root_options=ignore-corruption"), "leave dm-verity whole"),
        (format!("roothash={HASH} init=/bin/sh"), "\"init\""),
        (format!("roothash={HASH} rdinit=/bin/sh"), "\"rdinit\""),
        (format!("roothash={HASH} rd.break"), "\"break\""),
        (format!("roothash={HASH} systemd.unit=rescue.target"), "systemd.unit"),
        (format!("roothash={HASH} systemd.debug_shell"), "debug-shell"),
        (format!("roothash={HASH} LD_PRELOAD=/evil.so"), "LD-PRELOAD"),
        (format!("roothash={HASH} -- x"), "only parameters"),
        (format!("a='roothash={HASH}'"), "splits alike"),
        (format!("roothash={HASH} roothash=00"), "found several"),
    ] {
        refused(&of(&grub(&line)), why);
    }
}

#[test]
fn a_label_that_was_changed_makes_no_command_line() {
    // A command that happens to name a root hash is none, whatever its prefix says: no digest covers that.
    let mut relabelled = grub("ro root=/dev/sda2");
    relabelled.grub("kernel_cmdline: ", &format!("set x=/vmlinuz roothash={HASH}"));
    refused(&of(&relabelled), "begins with a kernel's path");
    // The real line with the label of a command is still one.
    let mut two = verity();
    two.grub("grub_cmd: ", "/vmlinuz ro root=/dev/sda2");
    refused(&of(&two), "several that differ");
    // The real line with a type whose data is not hashed.
    let mut hidden = verity();
    hidden.event(8, EventType::IPL, b"/vmlinuz ro root=/dev/sda2", b"grub.cfg\0");
    refused(&of(&hidden), "only describes something");
    let mut retyped = verity();
    retyped.measure(8, EventType::EVENT_TAG, &utf16("ro root=/dev/sda2\0"));
    refused(&of(&retyped), "only describes something");
    // All events of the PCR left out.
    let mut silent = LogBuilder::agile(&BANK);
    honest_events(&mut silent);
    let bytes = silent.bytes();
    let mut log = silent.clone();
    log.measure(12, EventType::IPL, &utf16(&format!("roothash={HASH}\0")));
    let mut extended = log.clone();
    extended.extend(LogAlgorithm::Sha256, 8, &[1; 32]);
    let verdict = appraised(&extended, &APPROVED, Some(bytes));
    refused(&verdict, "expected an event log");
    // The same line twice is one.
    let mut twice = verity();
    twice.grub("kernel_cmdline: ", &format!("/vmlinuz ro roothash={HASH} systemd.verity=yes"));
    assert!(of(&twice).accepted());
}

/// A list of these names and digests, and PCR 10 of the SHA-256 bank after it.
fn measured(files: &[(&str, [u8; 32])]) -> (Vec<u8>, Vec<u8>) {
    let mut list = Vec::new();
    let mut pcr = vec![0; 32];
    for (name, digest) in files {
        let sized = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat();
        let digest = [b"sha256:\0".as_slice(), digest].concat();
        let data = [sized(&digest), sized(&[name.as_bytes(), &[0]].concat())].concat();
        let hash = Sha256::digest(&data);
        pcr = Sha256::digest([&pcr[..], &hash].concat()).to_vec();
        list.extend([&[10, 0, 0, 0][..], &hash, &sized(b"ima-ng"), &sized(&data)].concat());
    }
    (list, pcr)
}

const ENFORCED: &str = "ro root=/dev/sda2 ima_appraise=enforce ima_policy=tcb|appraise_tcb";

/// The digest of the enclave's binary.
const BINARY: [u8; 32] = [0xbb; 32];

/// A machine with this command line that measured these files and shows `list`; the quote covers PCR 10 if asked.
fn ima(line: &str, measured_as: &[u8], list: Option<&[u8]>, quoted: bool) -> Verdict {
    let log = grub(line);
    let mut values = log.quoted(&numbers(&APPROVED));
    if quoted {
        values.insert(PcrBank::Sha256, PcrIndex::new(10).unwrap(), measured_as.to_vec()).unwrap();
    }
    let scene =
        Scene::in_state(values, PcrBank::Sha256, &APPROVED, |draft| draft.code = CodeMeasurement::Ima);
    let mut report = scene.report();
    report.build.binary_sha256 = Some(Sha256Digest::from_bytes(BINARY));
    let evidence = scene.evidence_of(scene.sign(&report), Purpose::Evidence, &nonce());
    let event_log = Some(Base64Bytes(log.bytes()));
    let ima_log = list.map(|list| Base64Bytes(list.to_vec()));
    scene.appraise(&Evidence { event_log, ima_log, ..evidence })
}

#[test]
fn enforced_appraisal_shows_the_code_and_says_whether_the_enclave_was_measured() {
    let (list, pcr) = measured(&[("boot_aggregate", [0; 32]), ("/usr/bin/sealstone-enclave", BINARY)]);
    let verdict = ima(ENFORCED, &pcr, Some(&list), true);
    assert_eq!(verdict.check("code.measured").unwrap().result, Outcome::Passed, "{verdict:?}");
    let detail = &verdict.check("code.measured").unwrap().detail;
    assert!(detail.contains("is in the list, as \"/usr/bin/sealstone-enclave\""), "{detail}");
    assert!(verdict.warnings().iter().any(|warning| warning.contains("by their labels")));
    let (list, pcr) = measured(&[("boot_aggregate", [0; 32]), ("/usr/bin/other", [1; 32])]);
    let verdict = ima(ENFORCED, &pcr, Some(&list), true);
    let detail = &verdict.check("code.measured").unwrap().detail;
    assert!(detail.contains("is not in the list"), "{detail}");
    // Behind what the quote vouches for anything may stand.
    let (longer, _) = measured(&[
        ("boot_aggregate", [0; 32]),
        ("/usr/bin/other", [1; 32]),
        ("/usr/bin/sealstone-enclave", BINARY),
    ]);
    let verdict = ima(ENFORCED, &pcr, Some(&longer), true);
    assert!(verdict.check("code.measured").unwrap().detail.contains("is not in the list"));
}

#[test]
fn what_does_not_enforce_or_is_not_tied_shows_no_code() {
    let (list, pcr) = measured(&[("boot_aggregate", [0; 32]), ("/init", [1; 32])]);
    for (line, why) in [
        ("ro", "ima_appraise=enforce"),
        ("ima_appraise=log ima_policy=appraise_tcb", "alone"),
        ("ima_appraise=enforce ima_appraise=fix ima_policy=appraise_tcb", "alone"),
        ("ima_appraise=enforce ima_policy=secure_boot", "appraises what is executed"),
        ("ima_appraise=enforce ima_policy=appraise_tcb init=/bin/sh", "\"init\""),
    ] {
        refused(&ima(line, &pcr, Some(&list), true), why);
    }
    refused(&ima(ENFORCED, &pcr, None, true), "tied to the quoted PCR 10");
    refused(&ima(ENFORCED, &pcr, Some(&list), false), "tied to the quoted PCR 10");
    refused(&ima(ENFORCED, &pcr, Some(&list[..list.len() / 2]), true), "tied to the quoted PCR 10");
    refused(&ima(ENFORCED, &[1; 32], Some(&list), true), "tied to the quoted PCR 10");
    // A violation: the PCR was extended by ones, and nothing vouches for what the entry says.
    let (mut violated, _) = measured(&[("boot_aggregate", [0; 32])]);
    let (entry, _) = measured(&[("/etc/open", [0; 32])]);
    violated.extend([&[10, 0, 0, 0][..], &[0; 32], &entry[36..]].concat());
    let first = measured(&[("boot_aggregate", [0; 32])]).1;
    let after = Sha256::digest([&first[..], &[0xff; 32]].concat());
    refused(&ima(ENFORCED, &after, Some(&violated), true), "without violations");
    // A verified root file system is no appraisal, and the other way round.
    refused(&ima(&format!("ro roothash={HASH}"), &pcr, Some(&list), true), "ima_appraise=enforce");
    refused(&of(&grub(ENFORCED)), "expected roothash=");
}

#[test]
fn without_a_demand_the_gap_is_named() {
    let log = verity();
    let scene = Scene::in_state(log.quoted(&numbers(&APPROVED)), PcrBank::Sha256, &APPROVED, |_| ());
    let verdict = scene.appraise(&Evidence { event_log: Some(Base64Bytes(log.bytes())), ..scene.evidence() });
    assert!(verdict.accepted());
    assert_eq!(levels(&verdict), [PASSED, PASSED, PASSED, NOT_SHOWN]);
    assert!(verdict.warnings()[0].contains("code = \"none\""));
}

/// A real machine with dm-verity by the kernel (Container-Optimized OS), if the corpus is there.
#[test]
fn a_real_boot_with_dm_verity_is_understood() {
    let Some(folder) = corpus() else { return };
    let mut seen = 0;
    for name in ["eventlogwithsp800155.bin", "confidential-gke-debug-251000_eventlog.bin"] {
        let bytes =
            std::fs::read(folder.join("google+go-tpm-tools/internal/test/eventlogs").join(name)).unwrap();
        let log = EventLog::parse(&bytes).unwrap();
        let mut values = sealstone_attestation::PcrValues::new();
        for pcr in APPROVED {
            let value = log.replay().get(LogAlgorithm::Sha256, PcrIndex::new(pcr).unwrap()).unwrap();
            values.insert(PcrBank::Sha256, PcrIndex::new(pcr).unwrap(), value.to_vec()).unwrap();
        }
        let scene =
            Scene::in_state(values, PcrBank::Sha256, &APPROVED, |draft| draft.code = CodeMeasurement::Verity);
        let verdict = scene.appraise(&Evidence { event_log: Some(Base64Bytes(bytes)), ..scene.evidence() });
        let check = verdict.check("code.measured").unwrap();
        assert_eq!(check.result, Outcome::Passed, "{name}: {verdict:?}");
        assert!(check.detail.contains(HASH), "{}", check.detail);
        seen += 1;
    }
    assert_eq!(seen, 2);
}

/// The folder of foreign data, if it is there; the repository keeps only what it made itself.
fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("SEALSTONE_CORPORA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
        PathBuf::from,
    );
    if !folder.is_dir() {
        eprintln!("nothing checked: expected real logs in {}, found no folder", folder.display());
        return None;
    }
    Some(folder)
}
