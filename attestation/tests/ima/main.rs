//! Measurement lists of the kernel: read in both forms, hashed, replayed, tied to PCRs; and what is refused.
#![allow(clippy::unwrap_used)]

mod appraisal;
mod corpora;
mod kernel;
mod properties;
mod refused;

use kernel::{Measured, ascii, binary, digest_ng, file, hash, one_of_each, pcr, string, values};
use sealstone_attestation::{
    PcrBank, PcrIndex,
    ima::{Aggregated, Encoding, ImaList, MatchingPrefix, Place, Recomputed, TemplateHash},
};

/// The PCR that the kernel extends.
fn ten() -> PcrIndex {
    PcrIndex::new(10).unwrap()
}

/// Entries that the kernel's documents and its developers show.
#[test]
fn entries_of_real_kernels_have_the_digest_that_is_computed_here() {
    let zeros = "0".repeat(64);
    for line in [
        "10 7971593a7ad22a7cce5b234e4bc5d71b04696af4 ima b5a166c10d153b7cc3e5b4f1eab1f71672b7c524 boot_aggregate",
        "10 1d8d532d463c9f8c205d0df7787669a85f93e260 ima-ng sha1:0000000000000000000000000000000000000000 boot_aggregate",
        &format!("10 0adefe762c149c7cec19da62f0da1297fcfbffff ima-ng sha256:{zeros} boot_aggregate"),
    ] {
        let list = ImaList::parse(line.as_bytes()).unwrap();
        assert_eq!(list.entries()[0].is_intact(), Some(true), "{line}");
        assert_eq!(list.entries()[0].name(), Some(b"boot_aggregate".as_slice()));
        assert!(list.boot_aggregate().is_some());
    }
}

#[test]
fn every_template_reads_alike_in_both_forms_and_in_the_list_of_every_bank() {
    let entries = one_of_each();
    for bank in PcrBank::ALL {
        let (bytes, text) = (binary(bank, &entries), ascii(bank, &entries));
        let (from_bytes, from_text) = (ImaList::parse(&bytes).unwrap(), ImaList::parse(&text).unwrap());
        assert_eq!((from_bytes.encoding(), from_text.encoding()), (Encoding::Binary, Encoding::Ascii));
        assert_eq!((from_bytes.bank(), from_text.bank()), (bank, bank));
        assert_eq!(from_bytes.entries().len(), entries.len());
        assert_eq!(from_bytes.templates(), from_text.templates());
        assert!(from_bytes.unknown_templates().is_empty());
        for ((binary, text), entry) in from_bytes.entries().iter().zip(from_text.entries()).zip(&entries) {
            assert_eq!(binary.fields(), text.fields());
            let fields: Vec<Vec<u8>> =
                binary.fields().unwrap().iter().map(|field| field.value.to_vec()).collect();
            assert_eq!(fields, entry.fields, "{}", entry.template);
            assert_eq!((binary.digest(), text.digest()), (&entry.digest(bank)[..], &entry.digest(bank)[..]));
            assert_eq!(
                (binary.is_intact(), text.is_intact()),
                (Some(true), Some(true)),
                "{}",
                entry.template
            );
        }
        for other in PcrBank::ALL {
            for (hash, padded) in [(TemplateHash::PerBank, false), (TemplateHash::PaddedSha1, true)] {
                let expected = Some(pcr(&entries, 10, other, padded));
                assert_eq!(from_bytes.replay(ten(), other, hash), expected, "{bank} {other}");
                assert_eq!(from_text.replay(ten(), other, hash), expected, "{bank} {other}");
            }
        }
    }
}

#[test]
fn what_was_measured_is_read_from_the_fields() {
    let typed = Measured {
        template: "ima-sigv2",
        fields: vec![digest_ng("verity:sha256", &[7; 32]), string("/a_b"), vec![1]],
        ..file("/x")
    };
    let bytes = binary(PcrBank::Sha1, &[typed, file("/etc/passwd")]);
    let list = ImaList::parse(&bytes).unwrap();
    let first = list.entries()[0].file_digest().unwrap();
    assert_eq!((first.algorithm, first.digest), ("verity:sha256", [7; 32].as_slice()));
    assert_eq!(list.entries()[1].name(), Some(b"/etc/passwd".as_slice()));
    assert_eq!(list.entries()[1].place(), Place::Offset(4 + 20 + 4 + 9 + 4 + 4 + 47 + 4 + 5 + 4 + 1));
}

#[test]
fn an_empty_list_is_one_that_measured_nothing() {
    let list = ImaList::parse(b"").unwrap();
    assert_eq!(list.entries().len(), 0);
    assert_eq!(list.boot_aggregate(), None);
    for bank in PcrBank::ALL {
        let zero = vec![0; bank.digest_len()];
        assert_eq!(list.replay(ten(), bank, TemplateHash::PerBank), Some(zero.clone()));
        assert_eq!(list.matching_prefix(ten(), bank, &zero).unwrap().entries, 0);
    }
}

#[test]
fn an_unknown_template_stays_raw_and_is_still_hashed_where_its_bytes_are_known() {
    let unknown =
        Measured { template: "ima-next", fields: vec![vec![1, 2, 3], string("/new")], ..file("/x") };
    let entries = [file("/a"), unknown, file("/b")];
    let bytes = binary(PcrBank::Sha1, &entries);
    let list = ImaList::parse(&bytes).unwrap();
    assert_eq!(list.unknown_templates(), ["ima-next"]);
    assert_eq!((list.entries()[1].fields(), list.entries()[1].is_intact()), (None, Some(true)));
    let expected = Some(pcr(&entries, 10, PcrBank::Sha256, false));
    assert_eq!(list.replay(ten(), PcrBank::Sha256, TemplateHash::PerBank), expected);

    // As text its bytes are not known: only the list's own bank can be replayed.
    let text = String::from_utf8(ascii(PcrBank::Sha1, &[file("/a"), file("/b")])).unwrap();
    let (first, second) = text.split_at(text.find('\n').unwrap() + 1);
    let digest = hex::encode(entries[1].digest(PcrBank::Sha1));
    let text = format!("{first}10 {digest} ima-next 010203 /new\n{second}");
    let list = ImaList::parse(text.as_bytes()).unwrap();
    assert_eq!(list.entries()[1].is_intact(), None);
    let sha1 = pcr(&entries, 10, PcrBank::Sha1, false);
    assert_eq!(list.replay(ten(), PcrBank::Sha1, TemplateHash::PerBank), Some(sha1));
    let padded = pcr(&entries, 10, PcrBank::Sha256, true);
    assert_eq!(list.replay(ten(), PcrBank::Sha256, TemplateHash::PaddedSha1), Some(padded));
    assert_eq!(list.replay(ten(), PcrBank::Sha256, TemplateHash::PerBank), None);
}

#[test]
fn a_violation_extends_ones_and_nothing_vouches_for_what_it_says() {
    let entries = [file("/a"), file("/open").violated(), file("/b")];
    for bytes in [binary(PcrBank::Sha1, &entries), ascii(PcrBank::Sha1, &entries)] {
        let list = ImaList::parse(&bytes).unwrap();
        assert_eq!((list.violations(), list.mismatches().count()), (1, 0));
        assert_eq!(list.entries()[1].is_intact(), None);
        for (hash, padded) in [(TemplateHash::PerBank, false), (TemplateHash::PaddedSha1, true)] {
            let expected = pcr(&entries, 10, PcrBank::Sha384, padded);
            assert_eq!(list.replay(ten(), PcrBank::Sha384, hash), Some(expected));
        }
    }
}

#[test]
fn entries_of_another_pcr_are_replayed_apart() {
    let entries = [file("/a"), file("/policy").in_pcr(11), file("/b"), file("/c").in_pcr(0)];
    let bytes = binary(PcrBank::Sha256, &entries);
    let list = ImaList::parse(&bytes).unwrap();
    assert_eq!(list.pcrs().iter().map(|index| index.get()).collect::<Vec<_>>(), [0, 10, 11]);
    for index in [0, 10, 11] {
        let replayed = list.replay(PcrIndex::new(index).unwrap(), PcrBank::Sha256, TemplateHash::PerBank);
        assert_eq!(replayed, Some(pcr(&entries, index, PcrBank::Sha256, false)));
    }
}

#[test]
fn the_part_that_a_value_vouches_for_is_found_and_the_rest_is_counted() {
    let entries: Vec<Measured> = (0..20).map(|number| file(&format!("/file-{number}"))).collect();
    let bytes = binary(PcrBank::Sha1, &entries);
    let list = ImaList::parse(&bytes).unwrap();
    for quoted in 1..=entries.len() {
        for bank in PcrBank::ALL {
            let found = list.matching_prefix(ten(), bank, &pcr(&entries[..quoted], 10, bank, false));
            let hash = TemplateHash::PerBank;
            let expected = MatchingPrefix { hash, entries: quoted, beyond: entries.len() - quoted };
            assert_eq!(found, Some(expected));
        }
        let padded = pcr(&entries[..quoted], 10, PcrBank::Sha512, true);
        let found = list.matching_prefix(ten(), PcrBank::Sha512, &padded).unwrap();
        assert_eq!((found.hash, found.entries), (TemplateHash::PaddedSha1, quoted));
    }
    for other in [vec![0; 32], vec![0xff; 32], vec![], hash(PcrBank::Sha256, &[b"x"])] {
        assert_eq!(list.matching_prefix(ten(), PcrBank::Sha256, &other), None);
    }
}

#[test]
fn a_boot_aggregate_is_recomputed_as_old_and_new_kernels_do() {
    let boot = |bank: PcrBank, count: u8| -> Vec<(PcrBank, u8, Vec<u8>)> {
        (0..count).map(|index| (bank, index, vec![index + 1; bank.digest_len()])).collect()
    };
    let over = |bank: PcrBank, count: u8| {
        let parts: Vec<Vec<u8>> = boot(bank, count).into_iter().map(|(_, _, value)| value).collect();
        hash(bank, &[&parts.concat()])
    };
    let compare = |first: Measured, given: &[(PcrBank, u8, Vec<u8>)]| {
        let bytes = binary(PcrBank::Sha1, &[first]);
        ImaList::parse(&bytes).unwrap().boot_aggregate().map(|found| found.compare(&values(given)))
    };
    for bank in PcrBank::ALL {
        let name = bank.name();
        let newer = if bank == PcrBank::Sha1 { Aggregated::Firmware } else { Aggregated::Boot };
        let count = if bank == PcrBank::Sha1 { 8 } else { 10 };
        let agrees = |over| Some(Recomputed::Agrees { over, bank });
        let new = || ng_named(name, &over(bank, count), "boot_aggregate");
        assert_eq!(compare(new(), &boot(bank, 10)), agrees(newer));
        let late = ng_named(name, &over(bank, count), "boot_aggregate_late");
        assert_eq!(compare(late, &boot(bank, 10)), agrees(newer));
        let old = ng_named(name, &over(bank, 8), "boot_aggregate");
        assert_eq!(compare(old.clone(), &boot(bank, 10)), agrees(Aggregated::Firmware));
        assert_eq!(compare(old, &boot(bank, 8)), agrees(Aggregated::Firmware));
        let zeros = ng_named(name, &vec![0; bank.digest_len()], "boot_aggregate");
        assert_eq!(compare(zeros, &boot(bank, 10)), Some(Recomputed::Differs { bank }));
        let mut changed = boot(bank, 10);
        changed[3].2[0] ^= 1;
        assert_eq!(compare(new(), &changed), Some(Recomputed::Differs { bank }));
        assert_eq!(compare(new(), &boot(bank, 7)), Some(Recomputed::Unknown { bank: Some(bank) }));
        assert_eq!(compare(new(), &[]), Some(Recomputed::Unknown { bank: Some(bank) }));
    }
    let unknown = ng_named("sm3-256", &[1; 32], "boot_aggregate");
    assert_eq!(compare(unknown, &boot(PcrBank::Sha256, 10)), Some(Recomputed::Unknown { bank: None }));
    let short = ng_named("sha256", &[1; 31], "boot_aggregate");
    assert_eq!(compare(short, &boot(PcrBank::Sha256, 10)), Some(Recomputed::Unknown { bank: None }));
    // A file of that name is none.
    assert_eq!(compare(ng_named("sha256", &[1; 32], "/boot_aggregate"), &[]), None);
}

fn ng_named(algorithm: &str, digest: &[u8], name: &str) -> Measured {
    kernel::ng(algorithm, digest, name)
}
