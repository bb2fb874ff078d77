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
    Base64Bytes, Check, CodeMeasurement, Evidence, Level, LevelResult, Outcome, PcrBank, PcrIndex, Purpose,
    Sha256Digest, Verdict,
};
use sha2::{Digest as _, Sha256};

const BANK: [LogAlgorithm; 1] = [LogAlgorithm::Sha256];

const HASH: &str = "6af0869bb4f7acdc9ec11fc0e363bce77f4972c6da00722ef47bd501da9ec626";

/// What is approved of the machine: firmware, boot loader, policy, commands and files, and that no stub was told anything.
const APPROVED: [u8; 6] = [0, 4, 7, 8, 9, 12];

/// What is approved of one that booted a unified kernel image.
const APPROVED_UNIFIED: [u8; 8] = [0, 4, 7, 8, 9, 11, 12, 13];

/// A boot through GRUB with this command line. The one of the honest boot is taken out by asking for another PCR 8.
fn grub(line: &str) -> LogBuilder {
    let mut log = loader();
    log.event(9, EventType::IPL, b"configuration", b"(hd0,gpt2)/grub/grub.cfg\0")
        .grub("grub_cmd: ", "[ -s (hd0,gpt2)/grub/grubenv ]")
        .grub("grub_cmd: ", "menuentry_id_option=--id")
        .grub("grub_cmd: ", "menuentry Debian {\n\tlinux\t/vmlinuz root=/dev/sda1\n}")
        .grub("grub_cmd: ", "search --no-floppy --fs-uuid --set=root 711ea75d")
        .event(9, EventType::IPL, b"kernel", b"/vmlinuz\0")
        .grub("grub_cmd: ", &format!("linux /vmlinuz {line}"))
        .grub("kernel_cmdline: ", &format!("/vmlinuz {line}"))
        .grub("grub_cmd: ", "initrd /initrd.img")
        .event(9, EventType::IPL, b"initrd", b"/initrd.img\0")
        .exit_boot_services();
    log
}

/// A boot as far as its loader.
fn loader() -> LogBuilder {
    let mut log = LogBuilder::agile(&BANK);
    log.measure(0, EventType::S_CRTM_VERSION, &utf16("1.0\0")).secure_boot(1).separators();
    log.image("\\EFI\\debian\\shimx64.efi", b"shim");
    log
}

/// A boot of a unified kernel image with these sections; boot loader and stub measure this command line.
fn unified(sections: &[&str], line: &str) -> LogBuilder {
    let mut log = loader();
    let line = utf16(&format!("{line}\0"));
    log.measure(12, EventType::IPL, &line).image("\\EFI\\Linux\\linux.efi", b"unified kernel image");
    for section in sections {
        let (name, description) = (format!("{section}\0"), utf16(&format!("{section}\0")));
        log.event(11, EventType::IPL, name.as_bytes(), &description).event(
            11,
            EventType::IPL,
            format!("content of {section}").as_bytes(),
            &description,
        );
    }
    log.measure(12, EventType::IPL, &line).exit_boot_services();
    log
}

fn of_unified(log: &LogBuilder) -> Verdict {
    appraised(log, &APPROVED_UNIFIED, Some(log.bytes()))
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
fn the_command_line_that_a_unified_kernel_image_was_given_counts_as_well() {
    let line = format!("roothash={HASH} ro");
    let log = unified(&[".linux", ".osrel", ".initrd"], &line);
    let verdict = of_unified(&log);
    assert!(verdict.accepted(), "{:?}", verdict.first_failure());
    assert!(verdict.check("code.measured").unwrap().detail.contains("approved PCR 12"));
    for (left_out, why) in [
        (4, "expected PCR 4"),
        (8, "expected PCR 8"),
        (9, "expected PCR 9"),
        (11, "expected PCR 11"),
        (12, "expected PCR 12"),
        (13, "expected PCR 13"),
    ] {
        let approved: Vec<u8> = APPROVED_UNIFIED.into_iter().filter(|pcr| *pcr != left_out).collect();
        refused(&appraised(&log, &approved, Some(log.bytes())), why);
    }
    // Another command line beside it: an addon's, or one hidden under another type.
    let mut addon = log.clone();
    addon.measure(12, EventType::IPL, &utf16("quiet\0"));
    refused(&of_unified(&addon), "several that differ");
    let mut hidden = log.clone();
    hidden.event(12, EventType::COMPACT_HASH, &utf16("root=/dev/sda2\0"), b"data");
    refused(&of_unified(&hidden), "only describes");
    let mut retyped = log.clone();
    retyped.measure(12, EventType::EVENT_TAG, &utf16("root=/dev/sda2\0"));
    refused(&of_unified(&retyped), "only describes");
    let mut ascii = log.clone();
    ascii.measure(12, EventType::IPL, b"root=/dev/sda2\0");
    refused(&of_unified(&ascii), "only describes");
    // And one of GRUB's.
    let mut both = log.clone();
    both.grub("kernel_cmdline: ", &format!("/vmlinuz {line}"));
    refused(&of_unified(&both), "GRUB's in PCR 8 and a stub's in PCR 12");
}

#[test]
fn a_stub_without_measured_sections_shows_no_kernel() {
    let line = format!("roothash={HASH} ro");
    // A kernel of its own: what reads the line is in no PCR 11.
    refused(&of_unified(&unified(&[], &line)), "into PCR 11");
    // PCR 9 of such a kernel does not help: whatever was measured there need not be the initial file system.
    let mut files = unified(&[], &line);
    files.event(9, EventType::EVENT_TAG, b"initrd", b"Linux initrd\0");
    refused(&of_unified(&files), "into PCR 11");
    let without = unified(&[".linux", ".osrel"], &line);
    refused(&of_unified(&without), "own initial file system");
    // Called a section, but of another digest.
    let mut called = unified(&[".linux"], &line);
    called.event(11, EventType::IPL, b"other", &utf16(".initrd\0"));
    refused(&of_unified(&called), "own initial file system");
    // The kernel sets up its own devices without one.
    let kernel_s = format!(
        "ro root=/dev/dm-0 dm-mod.create=\"vroot,,,ro,0 8 verity 1 PARTUUID=a PARTUUID=a 4096 4096 1 1 sha256 {HASH} -\""
    );
    let verdict = of_unified(&unified(&[".linux"], &kernel_s));
    assert!(verdict.accepted(), "{:?}", verdict.first_failure());
    // Extensions that were approved, of which the log says nothing.
    let mut extended = unified(&[".linux", ".initrd"], &line);
    extended.extend(LogAlgorithm::Sha256, 13, &[1; 32]);
    refused(&of_unified(&extended), "into PCR 13");
}

#[test]
fn a_command_line_inside_a_unified_kernel_image_is_not_read_and_not_passed_over() {
    let line = format!("roothash={HASH} ro");
    // What is measured into PCR 12 is an addon then.
    let inside = unified(&[".linux", ".cmdline", ".initrd"], &line);
    refused(&of_unified(&inside), "without a command line of its own");
    // By digest, whatever the event is called.
    for (kind, data) in [
        (EventType::IPL, utf16(".osrel\0")),
        (EventType::COMPACT_HASH, b"x".to_vec()),
        (EventType::EVENT_TAG, Vec::new()),
    ] {
        let mut called = unified(&[".linux", ".initrd"], &line);
        called.event(11, kind, b".cmdline\0", &data);
        refused(&of_unified(&called), "without a command line of its own");
    }
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
        (&[0, 4, 7, 9, 12][..], "expected PCR 8"),
        (&[0, 4, 7, 8, 12], "expected PCR 9, which holds the kernel and its initial file system"),
        (&[0, 4, 7, 8, 9], "expected PCR 12"),
        (&[0, 8, 9, 12], "expected PCR 4, which holds the boot loader"),
        // Secure Boot says who signed a loader, not which loader ran.
        (&[0, 7, 8, 9, 12], "expected PCR 4, which holds the boot loader"),
        (&[4, 8, 9, 12], ""),
    ] {
        let verdict = appraised(&log, approved, Some(log.bytes()));
        if why.is_empty() {
            assert!(verdict.accepted(), "{approved:?}: {:?}", verdict.first_failure());
        } else {
            refused(&verdict, why);
        }
    }
    // With Secure Boot off, too, the loader's own digest decides.
    let mut open = LogBuilder::agile(&BANK);
    open.secure_boot(0).separators();
    open.event(9, EventType::IPL, b"kernel", b"/vmlinuz\0")
        .grub("kernel_cmdline: ", &format!("/vmlinuz roothash={HASH}"))
        .exit_boot_services();
    refused(&of(&open), "found no event that names one");
}

#[test]
fn what_is_approved_must_also_have_been_measured() {
    // PCR 9 is in the state, and nothing is in it: any initial file system could have read the line.
    let mut unread = loader();
    unread.grub("kernel_cmdline: ", &format!("/vmlinuz roothash={HASH}")).exit_boot_services();
    refused(&of(&unread), "into PCR 9");
    // It was extended, and no event says with what.
    let mut extended = unread.clone();
    extended.extend(LogAlgorithm::Sha256, 9, &[1; 32]);
    refused(&of(&extended), "into PCR 9");
    // Another command line in the other PCR, left out of the log.
    let mut hidden = verity();
    let shown = hidden.bytes();
    hidden.measure(12, EventType::IPL, &utf16("root=/dev/sda2\0"));
    refused(&appraised(&hidden, &APPROVED, Some(shown)), "into PCR 12");
    let mut hidden = unified(&[".linux", ".initrd"], &format!("roothash={HASH}"));
    let shown = hidden.bytes();
    hidden.grub("kernel_cmdline: ", "/vmlinuz root=/dev/sda2");
    refused(&appraised(&hidden, &APPROVED_UNIFIED, Some(shown)), "into PCR 8");
}

#[test]
fn other_ways_of_booting_through_grub_are_refused() {
    for (text, why) in [
        // A path with a space in it, and a list of blocks.
        ("\"/vm linuz\" root=/dev/sda2", "found \"\\\"/vm\""),
        ("0+20000 root=/dev/sda2", "found \"0+20000\""),
        ("+20000 root=/dev/sda2", "found \"+20000\""),
        ("chainloader /EFI/other.efi", "found \"chainloader\""),
        ("multiboot2 /xen", "found \"multiboot2\""),
        ("module2 /vmlinuz root=/dev/sda2", "found \"module2\""),
        ("kernel /vmlinuz", "found \"kernel\""),
        ("linux16 /vmlinuz", "found \"linux16\""),
        ("initrd16 /initrd", "found \"initrd16\""),
        ("xen_hypervisor /xen", "found \"xen_hypervisor\""),
        ("acpi /table.aml", "found \"acpi\""),
        ("devicetree /x.dtb", "found \"devicetree\""),
        ("rmmod tpm", "found \"rmmod\""),
        ("exit", "found \"exit\""),
        ("", "found \"\""),
        ("1=2", "found \"1=2\""),
        // A second kernel.
        ("linux /vmlinuz root=/dev/sda2", "found 2"),
        ("linuxefi /vmlinuz root=/dev/sda2", "found 2"),
        ("/vmlinuz root=/dev/sda2", "found several"),
        ("(hd0,gpt2)/vmlinuz root=/dev/sda2", "found several"),
    ] {
        for prefix in ["grub_cmd: ", "grub_cmd "] {
            let mut log = verity();
            log.grub(prefix, text);
            refused(&of(&log), why);
        }
    }
    // Commands were measured, and none of them loads that kernel.
    let mut none = loader();
    none.event(9, EventType::IPL, b"kernel", b"/vmlinuz\0")
        .grub("grub_cmd: ", "set default=0")
        .grub("kernel_cmdline: ", &format!("/vmlinuz roothash={HASH}"))
        .exit_boot_services();
    refused(&of(&none), "found 0");
    // A stub's line in GRUB's PCR, as very old ones measured it.
    let mut old = loader();
    old.event(9, EventType::IPL, b"kernel", b"/vmlinuz\0").measure(
        8,
        EventType::IPL,
        &utf16(&format!("roothash={HASH}\0")),
    );
    refused(&of(&old), "only describes something");
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
        (format!("roothash={HASH} systemd.verity=1 rd.systemd.verity=0"), "switched off"),
        (format!("roothash={HASH} systemd.verity_root_options=ignore-corruption"), "leave dm-verity whole"),
        (format!("roothash={HASH} init=/bin/sh"), "\"init\""),
        (format!("roothash={HASH} rdinit=/bin/sh"), "\"rdinit\""),
        (format!("roothash={HASH} rd.break"), "\"rd.break\""),
        (format!("roothash={HASH} initrd=/evil.img"), "\"initrd\""),
        (format!("roothash={HASH} systemd.mask=apparmor.service"), "\"systemd.mask\""),
        (
            format!("roothash={HASH} sysctl.kernel.modprobe=/x luks.key=/x"),
            "\"sysctl.kernel.modprobe\", \"luks.key\"",
        ),
        (format!("roothash={HASH} mount.usr=/dev/mapper/usr"), "together with usrhash="),
        (format!("roothash={HASH} mount.usr=/dev/sda2"), "\"mount.usr\""),
        (format!("roothash={HASH} mount.usrfstype=tmpfs"), "\"mount.usrfstype\""),
        (format!("roothash={HASH} rootfstype=overlay"), "\"rootfstype\""),
        (format!("rd.roothash={HASH}"), "\"rd.roothash\""),
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
    refused(&of(&two), "found several");
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
    // GRUB measures each line once: the same twice is a kernel loaded twice.
    let mut twice = verity();
    twice.grub("kernel_cmdline: ", &format!("/vmlinuz ro roothash={HASH} systemd.verity=yes"));
    refused(&of(&twice), "found several");
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
        ("rd.ima_appraise=enforce ima_policy=appraise_tcb", "\"rd.ima-appraise\""),
        ("ima_appraise=enforce rd.ima_policy=appraise_tcb", "\"rd.ima-policy\""),
        ("ima_appraise=enforce ima_policy=appraise_tcb lsm=apparmor", "\"integrity\""),
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

/// The kernel's own way, as Container-Optimized OS boots with it, on a line that leaves the code alone.
#[test]
fn dm_verity_by_the_kernel_shows_the_code() {
    let device = |name: &str| {
        format!(
            "{name},,,ro,0 4077568 verity 0 PARTUUID=a PARTUUID=a 4096 4096 509696 509696 sha256 {HASH} 4119"
        )
    };
    let line = format!(
        "init=/usr/lib/systemd/systemd rootwait ro noresume loglevel=7 console=tty1 console=ttyS0,115200 security=apparmor \
         virtio_net.napi_tx=1 nmi_watchdog=0 module.sig_enforce=1 dm_verity.error_behavior=3 dm_verity.max_bios=-1 \
         dm_verity.dev_wait=1 i915.modeset=1 cros_efi systemd.default_timeout_start_sec=900s root=/dev/dm-0 \
         \"dm-mod.create={};{}\"",
        device("vroot"),
        device("oemroot")
    );
    let verdict = of(&grub(&line));
    assert!(verdict.accepted(), "{:?}", verdict.first_failure());
    assert!(verdict.check("code.measured").unwrap().detail.contains(HASH));
}

/// Real machines with dm-verity by the kernel (Container-Optimized OS), if the corpus is there. Their boots are understood,
/// and their lines refused: they take firmware, configuration and units from disks that are not verified.
#[test]
fn real_boots_with_dm_verity_are_understood_and_what_is_open_is_named() {
    let Some(folder) = corpus() else { return };
    let mut seen = 0;
    for name in ["eventlogwithsp800155.bin", "confidential-gke-debug-251000_eventlog.bin"] {
        let bytes =
            std::fs::read(folder.join("google+go-tpm-tools/internal/test/eventlogs").join(name)).unwrap();
        let check = real(bytes);
        assert_eq!(check.result, Outcome::Failed, "{name}");
        let open = [
            "csm.disabled",
            "loadpin.exclude",
            "modules-load",
            "firmware-class.path",
            "systemd.mask",
            "confidential-gke.hardened",
            "cos.protected-stateful-partition",
            "ds",
        ]
        .map(|name| format!("{name:?}"));
        assert!(check.detail.contains(&format!("found {};", open.join(", "))), "{}", check.detail);
        seen += 1;
    }
    assert_eq!(seen, 2);
}

/// The commands that GRUB runs on real machines start nothing else: only their lines show no code.
#[test]
fn the_commands_of_real_boots_are_known() {
    let Some(folder) = corpus() else { return };
    let eventlogs = "google+go-tpm-tools/internal/test/eventlogs/";
    let fixtures = "tpm2-software+tpm2-tools/test/integration/fixtures/";
    let names = [
        format!("{eventlogs}rhel8-uefi.bin"),
        format!("{eventlogs}ubuntu-1804-amd-sev.bin"),
        format!("{eventlogs}ubuntu-2104-no-secure-boot.bin"),
        format!("{eventlogs}ubuntu-2404-amd-sevsnp.bin"),
        format!("{fixtures}event-bootorder.bin"),
        format!("{fixtures}event-gce-ubuntu-2104-log.bin"),
    ];
    for name in names {
        let check = real(std::fs::read(folder.join(&name)).unwrap());
        assert!(check.detail.contains("expected roothash="), "{name}: {}", check.detail);
    }
}

/// What is found of a real machine that is approved as its log has it.
fn real(bytes: Vec<u8>) -> Check {
    let log = EventLog::parse(&bytes).unwrap();
    let mut values = sealstone_attestation::PcrValues::new();
    for pcr in APPROVED {
        let index = PcrIndex::new(pcr).unwrap();
        let value = log.replay().get(LogAlgorithm::Sha256, index).map_or(vec![0; 32], <[u8]>::to_vec);
        values.insert(PcrBank::Sha256, index, value).unwrap();
    }
    let scene =
        Scene::in_state(values, PcrBank::Sha256, &APPROVED, |draft| draft.code = CodeMeasurement::Verity);
    let verdict = scene.appraise(&Evidence { event_log: Some(Base64Bytes(bytes)), ..scene.evidence() });
    verdict.check("code.measured").unwrap().clone()
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
