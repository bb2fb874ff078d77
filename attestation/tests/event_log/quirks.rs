//! What real firmware, boot loaders and systems do, each with a log of its own.

use sealstone_attestation::event_log::{
    Comparison, EventLog, EventLogReason, EventType, Guid, LogAlgorithm, LogFormat, Tie,
};

use crate::builder::{LogBuilder, certificate, header, honest, honest_events, utf16, variable};

const BANK: [LogAlgorithm; 1] = [LogAlgorithm::Sha256];

fn codes(log: &[u8]) -> Vec<&'static str> {
    EventLog::parse(log).unwrap().findings().iter().map(|finding| finding.code).collect()
}

fn warnings(log: &[u8]) -> Vec<&'static str> {
    EventLog::parse(log).unwrap().warnings().iter().map(|warning| warning.code).collect()
}

fn refused(log: &[u8]) -> EventLogReason {
    EventLog::parse(log).unwrap_err().reason
}

fn replays(log: &LogBuilder, bank: LogAlgorithm, pcr: u8) {
    let bytes = log.bytes();
    let parsed = EventLog::parse(&bytes).unwrap();
    let replayed = parsed.replay().get(bank, pcr.try_into().unwrap()).unwrap().to_vec();
    assert_eq!(replayed, log.pcr(bank, pcr.into()), "{bank} {pcr}");
}

#[test]
fn every_bank_is_replayed() {
    let log = honest(&LogAlgorithm::ALL);
    let bytes = log.bytes();
    let parsed = EventLog::parse(&bytes).unwrap();
    assert_eq!(parsed.findings(), []);
    assert_eq!(parsed.replay().banks().count(), 8);
    for (bank, pcr, value) in parsed.replay().iter() {
        assert_eq!(value, log.pcr(bank, pcr.get().into()), "{bank} {pcr}");
    }
    assert!(parsed.events().iter().skip(1).all(|event| event.digests.len() == 8));
}

#[test]
fn the_older_format_is_replayed() {
    let mut log = LogBuilder::sha1();
    honest_events(&mut log);
    let bytes = log.bytes();
    let parsed = EventLog::parse(&bytes).unwrap();
    assert_eq!((parsed.format(), parsed.findings()), (LogFormat::Sha1Legacy, &[][..]));
    replays(&log, LogAlgorithm::Sha1, 7);
    // With the header of its own version, too.
    let mut log = LogBuilder::sha1();
    log.no_action(0, b"Spec ID Event00\0\0\0\0\0\0\x02\x01\x02\0");
    honest_events(&mut log);
    assert_eq!(EventLog::parse(&log.bytes()).unwrap().format(), LogFormat::Sha1Legacy);
    replays(&log, LogAlgorithm::Sha1, 0);
}

#[test]
fn a_bank_that_nobody_can_compute_is_stepped_over_and_said() {
    let listed = [(LogAlgorithm::Sha256.id(), 32), (0x77, 5)];
    let mut log = LogBuilder::with_header(&BANK, &header(&listed));
    let digests = |data: &[u8]| {
        vec![(0x77, vec![1; 5]), (LogAlgorithm::Sha256.id(), LogAlgorithm::Sha256.digest(&[data]))]
    };
    for pcr in 0..8 {
        log.raw(pcr, EventType::SEPARATOR.code(), &digests(&[0; 4]), &[0; 4]);
    }
    let bytes = log.bytes();
    assert_eq!(codes(&bytes), [""; 0]);
    assert_eq!(warnings(&bytes), ["algorithm.unknown", "exit_boot_services.missing"]);
    replays(&log, LogAlgorithm::Sha256, 3);
    assert_eq!(EventLog::parse(&bytes).unwrap().replay().banks().count(), 1);
}

#[test]
fn the_startup_locality_is_in_pcr_0_and_nowhere_else() {
    for locality in [0, 3, 4] {
        let mut log = LogBuilder::agile(&BANK);
        log.no_action(0, &[b"StartupLocality\0", &[locality][..]].concat());
        honest_events(&mut log);
        let bytes = log.bytes();
        let parsed = EventLog::parse(&bytes).unwrap();
        assert_eq!((parsed.startup_locality(), parsed.findings()), (locality, &[][..]));
        replays(&log, LogAlgorithm::Sha256, 0);
        replays(&log, LogAlgorithm::Sha256, 1);
    }
}

#[test]
fn a_startup_locality_that_no_tpm_has_or_that_comes_late_is_refused_or_found() {
    let with = |data: &[u8]| {
        let mut log = LogBuilder::agile(&BANK);
        log.no_action(0, &[b"StartupLocality\0", data].concat());
        log.bytes()
    };
    for found in [1, 2, 5, 255] {
        assert_eq!(refused(&with(&[found])), EventLogReason::Locality { found });
    }
    assert_eq!(refused(&with(&[])), EventLogReason::LocalityLength { found: 0 });
    assert_eq!(refused(&with(&[3, 0])), EventLogReason::LocalityLength { found: 2 });

    let mut late = honest(&BANK);
    late.no_action(0, b"StartupLocality\0\x03");
    assert_eq!(codes(&late.bytes()), ["startup_locality.late"]);
    let mut twice = LogBuilder::agile(&BANK);
    twice.no_action(0, b"StartupLocality\0\x03").no_action(0, b"StartupLocality\0\x03");
    honest_events(&mut twice);
    assert_eq!(codes(&twice.bytes()), ["startup_locality.repeated"]);
    replays(&twice, LogAlgorithm::Sha256, 0);
}

#[test]
fn a_hardware_root_of_trust_begins_pcr_0_with_locality_4() {
    let mut log = LogBuilder::agile(&BANK);
    log.no_action(0, b"StartupLocality\0\x04").event(0, EventType::EFI_HCRTM_EVENT, b"hardware", b"HCRTM");
    honest_events(&mut log);
    assert_eq!(codes(&log.bytes()), [""; 0]);
    replays(&log, LogAlgorithm::Sha256, 0);
    // Some firmware measures it and does not say the locality.
    let mut silent = LogBuilder::agile(&BANK);
    silent.event(0, EventType::EFI_HCRTM_EVENT, b"hardware", b"HCRTM");
    honest_events(&mut silent);
    let bytes = silent.bytes();
    let parsed = EventLog::parse(&bytes).unwrap();
    assert_eq!(parsed.startup_locality(), 4);
    let expected = log.pcr(LogAlgorithm::Sha256, 0);
    assert_eq!(parsed.replay().get(LogAlgorithm::Sha256, 0.try_into().unwrap()), Some(&expected[..]));

    let mut late = honest(&BANK);
    late.event(0, EventType::EFI_HCRTM_EVENT, b"hardware", b"HCRTM");
    assert_eq!(codes(&late.bytes()), ["hcrtm.late"]);
    let mut other = LogBuilder::agile(&BANK);
    other.no_action(0, b"StartupLocality\0\x03").event(0, EventType::EFI_HCRTM_EVENT, b"hardware", b"HCRTM");
    honest_events(&mut other);
    assert_eq!(codes(&other.bytes()), ["hcrtm.locality"]);
}

#[test]
fn what_extends_nothing_is_never_extended_whatever_its_digest_and_pcr() {
    let mut log = honest(&BANK);
    let digest = vec![9; 32];
    let no_action = EventType::NO_ACTION.code();
    log.raw(0, no_action, &[(LogAlgorithm::Sha256.id(), digest.clone())], b"SP800-155 Event3...")
        .raw(9, no_action, &[(LogAlgorithm::Sha256.id(), digest)], b"nvpcr-init:hardware:0x1d10200")
        .no_action(u32::MAX, b"WBCL")
        .no_action(24, b"anything");
    assert_eq!(codes(&log.bytes()), [""; 0]);
    replays(&log, LogAlgorithm::Sha256, 0);
    replays(&log, LogAlgorithm::Sha256, 9);
}

#[test]
fn a_pcr_that_no_tpm_has_is_refused() {
    for pcr in [24, 255, 256, u32::MAX] {
        let mut log = honest(&BANK);
        let offset = log.bytes().len();
        log.measure(pcr, EventType::EFI_ACTION, b"x");
        let error = EventLog::parse(&log.bytes()).unwrap_err();
        assert_eq!(error.reason, EventLogReason::Pcr { found: pcr });
        assert_eq!((error.offset, error.event), (offset + 8, log.offsets.len() - 1));
    }
}

#[test]
fn a_dynamic_launch_begins_with_ones() {
    let mut log = honest(&BANK);
    for pcr in 15..24 {
        log.measure(pcr, EventType::EVENT_TAG, b"launch");
    }
    assert_eq!(codes(&log.bytes()), [""; 0]);
    for pcr in 15..24 {
        replays(&log, LogAlgorithm::Sha256, pcr);
    }
}

#[test]
fn padding_ends_a_log_only_if_it_is_pure() {
    let honest = honest(&BANK).bytes();
    for byte in [0x00, 0xff] {
        for length in [1, 15, 16, 17, 4096] {
            let padded = [&honest[..], &vec![byte; length]].concat();
            let log = EventLog::parse(&padded).unwrap();
            assert_eq!((log.padding(), log.findings()), (length, &[][..]));
            assert_eq!(warnings(&padded), ["padding"]);
            assert!(EventLog::parse(&[&padded[..], &[1]].concat()).is_err());
            // Sixteen zeros read as an event, of a reserved type and without a digest: then that is found.
            let mixed = [&padded[..], &[!byte]].concat();
            assert!(EventLog::parse(&mixed).is_err() || codes(&mixed)[0] == "type.unknown");
        }
        assert_eq!(refused(&[byte; 64]), EventLogReason::OnlyPadding { found: 64 });
    }
    assert!(EventLog::parse(&[&honest[..], &[7; 16]].concat()).is_err());
}

#[test]
fn a_log_of_nothing_is_none() {
    assert_eq!(refused(&[]), EventLogReason::Empty);
    assert!(refused(&[]).to_string().contains("may hand over none"));
}

#[test]
fn separators_padded_with_zeros_are_read_by_their_digest() {
    let mut log = LogBuilder::agile(&BANK);
    for pcr in 0..8 {
        log.event(pcr, EventType::SEPARATOR, &[0; 4], &[0; 50]);
    }
    let bytes = log.bytes();
    assert_eq!(codes(&bytes), [""; 0]);
    assert_eq!(warnings(&bytes)[..8], ["separator.padded"; 8]);
    let mut named = LogBuilder::agile(&BANK);
    for pcr in 0..8 {
        named.event(pcr, EventType::SEPARATOR, &[0; 4], b"\0\0\0\0separator");
    }
    assert_eq!(codes(&named.bytes()), ["digest.mismatch"; 8]);
}

#[test]
fn boot_variables_are_hashed_whole_or_by_content() {
    let data = variable(Guid::GLOBAL_VARIABLE, "BootOrder", &[1, 0, 2, 0]);
    for kind in [EventType::EFI_VARIABLE_BOOT, EventType::EFI_VARIABLE_BOOT2] {
        let mut log = honest(&BANK);
        log.measure(1, kind, &data).event(1, kind, &[1, 0, 2, 0], &data);
        let bytes = log.bytes();
        assert_eq!(codes(&bytes), [""; 0]);
        let parsed = EventLog::parse(&bytes).unwrap();
        let ties: Vec<&Tie> = parsed.events().iter().rev().take(2).map(|event| &event.tie).collect();
        assert_eq!(ties, [&Tie::Part(50..54), &Tie::Whole]);
        assert_eq!(parsed.events().last().unwrap().describe(), "BootOrder = 0001,0002");
    }
    // The other variables are hashed whole, or not at all.
    let mut log = honest(&BANK);
    log.event(1, EventType::EFI_VARIABLE_DRIVER_CONFIG, &[1, 0, 2, 0], &data);
    assert_eq!(codes(&log.bytes()), ["digest.mismatch"]);
}

#[test]
fn old_shims_measure_their_padding() {
    let mut data = variable(Guid::IMAGE_SECURITY_DATABASE, "db", &certificate(3));
    data.extend([0, 1, 2, 3, 4, 5]);
    let mut log = honest(&BANK);
    log.event(7, EventType::EFI_VARIABLE_AUTHORITY, &data[..data.len() - 1], &data);
    let bytes = log.bytes();
    assert_eq!((codes(&bytes).len(), warnings(&bytes)), (0, vec!["variable.padded"]));
    let facts = EventLog::parse(&bytes).unwrap().facts();
    assert_eq!(facts.authorities[1].certificate.unwrap().der, certificate(3));
    data.extend([0; 3]);
    log.measure(7, EventType::EFI_VARIABLE_AUTHORITY, &data);
    assert_eq!(codes(&log.bytes()), ["variable.malformed"]);
}

#[test]
fn grub_measures_the_text_and_not_its_prefix() {
    for (prefix, nul) in
        [("grub_cmd: ", ""), ("grub_cmd ", "\0"), ("kernel_cmdline: ", ""), ("module_cmdline: ", "")]
    {
        let mut log = honest(&BANK);
        let text = format!("a b{nul}");
        log.event(8, EventType::IPL, text.as_bytes(), format!("{prefix}a b\0").as_bytes());
        let bytes = log.bytes();
        assert_eq!(codes(&bytes), [""; 0], "{prefix}");
        let parsed = EventLog::parse(&bytes).unwrap();
        assert_eq!(parsed.events().last().unwrap().covered(), Some(text.as_bytes()));
    }
    let mut whole = honest(&BANK);
    whole.measure(8, EventType::IPL, b"grub_cmd: a b\0");
    assert_eq!(codes(&whole.bytes()), ["digest.mismatch"]);
}

#[test]
fn systemd_names_sections_in_one_encoding_and_measures_them_in_another() {
    let mut log = honest(&BANK);
    log.event(11, EventType::IPL, b".linux\0", &utf16(".linux\0"))
        .event(11, EventType::IPL, b"the kernel itself", &utf16(".linux\0"))
        .measure(12, EventType::IPL, &utf16("root=/dev/vda ro\0"))
        .event(12, EventType::IPL, &utf16("quiet"), &utf16("quiet\0"))
        .event(12, EventType::IPL, b"archive", &utf16("Credentials initrd\0"))
        .event(13, EventType::IPL, b"archive", &utf16("System extension initrd\0"));
    let tag = [&0xf5bc_582a_u32.to_le_bytes()[..], &12_u32.to_le_bytes(), b"loader.conf\0"].concat();
    log.event(5, EventType::EVENT_TAG, b"timeout 3", &tag);
    let bytes = log.bytes();
    assert_eq!(codes(&bytes), [""; 0]);
    let facts = EventLog::parse(&bytes).unwrap().facts();
    assert_eq!(facts.stub_sections.len(), 1);
    assert_eq!((facts.stub_sections[0].text.as_str(), facts.stub_sections[0].vouched), (".linux", true));
    let lines: Vec<(&str, bool)> =
        facts.command_lines[1..].iter().map(|line| (line.text.as_str(), line.vouched)).collect();
    assert_eq!(lines, [("root=/dev/vda ro", true), ("quiet", true)]);
    let loader: Vec<(&str, bool)> =
        facts.loader.iter().map(|said| (said.text.as_str(), said.vouched)).collect();
    assert_eq!(
        loader,
        [("Credentials initrd", false), ("System extension initrd", false), ("loader.conf", false)]
    );
}

#[test]
fn what_systemd_measures_after_the_log_ended_is_not_in_it() {
    // NvPCRs are begun from user space: PCR 9 goes on where the firmware's log ends.
    let mut log = honest(&BANK);
    let bytes = log.bytes();
    let name = LogAlgorithm::Sha256.digest(&[b"nvpcr-init:hardware:0x1d10200:000b00"]);
    log.extend(LogAlgorithm::Sha256, 9, &name);
    log.extend(LogAlgorithm::Sha256, 15, &name);
    let parsed = EventLog::parse(&bytes).unwrap();
    let compared = parsed.compare(&log.quoted(&[9, 15, 16, 7]));
    assert_eq!(compared[0].comparison, Comparison::Matches);
    assert!(matches!(compared[1].comparison, Comparison::Differs { after: None, .. }));
    assert_eq!(compared[2].comparison, Comparison::Unlogged);
    assert_eq!(compared[3].comparison, Comparison::Untouched);
}

#[test]
fn a_log_that_runs_ahead_of_its_values_is_told_from_one_that_is_wrong() {
    let mut log = honest(&BANK);
    let quoted = log.quoted(&[5, 23]);
    log.measure(5, EventType::EFI_ACTION, b"later").measure(23, EventType::EVENT_TAG, b"later");
    let bytes = log.bytes();
    let compared = EventLog::parse(&bytes).unwrap().compare(&quoted);
    assert!(matches!(compared[0].comparison, Comparison::Differs { after: Some(3), .. }));
    assert!(matches!(compared[1].comparison, Comparison::Differs { after: Some(0), .. }));
    let other = LogBuilder::agile(&[LogAlgorithm::Sha384]).quoted(&[0]);
    assert_eq!(EventLog::parse(&bytes).unwrap().compare(&other)[0].comparison, Comparison::NoBank);
}

#[test]
fn windows_closes_other_pcrs_with_a_word() {
    let mut log = honest(&BANK);
    log.measure(12, EventType::SEPARATOR, b"WBCL").measure(13, EventType::SEPARATOR, b"WBCL");
    assert_eq!(codes(&log.bytes()), [""; 0]);
}
