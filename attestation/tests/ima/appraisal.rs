//! Lists held to values of PCRs.

use sealstone_attestation::{
    Outcome, PcrBank, PcrValues, Verdict, appraise_ima,
    ima::{ImaList, TAIL_MAX},
};

use super::kernel::{Measured, binary, file, hash, ng, pcr, pcr10, values};

fn appraise(entries: &[Measured], given: &PcrValues) -> Verdict {
    let bytes = binary(PcrBank::Sha1, entries);
    appraise_ima(&ImaList::parse(&bytes).unwrap(), given)
}

fn outcome(verdict: &Verdict, check: &str) -> Outcome {
    verdict.check(check).unwrap().result
}

/// A machine that booted and measured some files.
fn machine(files: usize) -> Vec<Measured> {
    let boot: Vec<u8> = (0..10).flat_map(|index| [index; 32]).collect();
    let first = ng("sha256", &hash(PcrBank::Sha256, &[&boot]), "boot_aggregate");
    std::iter::once(first).chain((1..files).map(|number| file(&format!("/f/{number}")))).collect()
}

fn with_boot(mut given: PcrValues) -> PcrValues {
    for index in 0..10 {
        given
            .insert(PcrBank::Sha256, sealstone_attestation::PcrIndex::new(index).unwrap(), vec![index; 32])
            .unwrap();
    }
    given
}

#[test]
fn a_list_that_leads_to_its_pcr_from_its_boot_is_accepted() {
    let entries = machine(30);
    let verdict = appraise(&entries, &with_boot(pcr10(&entries)));
    assert!(verdict.accepted(), "{:?}", verdict.first_failure());
    assert!(verdict.checks().iter().all(|check| check.result == Outcome::Passed));
    let untied = appraise(&entries, &pcr10(&entries));
    assert!(untied.accepted());
    assert_eq!(outcome(&untied, "ima.boot_aggregate"), Outcome::NotApplicable);
    let old = values(&[(PcrBank::Sha256, 10, pcr(&entries, 10, PcrBank::Sha256, true))]);
    let old = appraise(&entries, &old);
    assert!(old.accepted());
    assert!(old.check("ima.pcr10").unwrap().detail.contains("padded_sha1"), "which way is said");
    assert!(old.warnings().iter().any(|warning| warning.contains("rests on SHA-1")), "{:?}", old.warnings());
}

/// keylime #585, #769, #1151: the kernel went on measuring between the quote and the list.
#[test]
fn a_list_may_run_ahead_of_its_quote_but_only_so_far() {
    let entries = machine(10);
    let ahead = |more: usize| {
        let longer: Vec<Measured> = entries
            .iter()
            .cloned()
            .chain((0..more).map(|number| file(&format!("/later/{number}"))))
            .collect();
        appraise(&longer, &pcr10(&entries))
    };
    for more in [1, 7, TAIL_MAX] {
        let verdict = ahead(more);
        assert!(verdict.accepted(), "{more}: {:?}", verdict.first_failure());
        let detail = &verdict.check("ima.pcr10").unwrap().detail;
        assert!(detail.contains(&format!("after 10 entries (per_bank), {more} more")), "{detail}");
    }
    let verdict = ahead(TAIL_MAX + 1);
    assert_eq!(outcome(&verdict, "ima.pcr10"), Outcome::Failed);
}

#[test]
fn a_list_shorter_than_its_quote_or_without_a_value_of_pcr_10_is_refused() {
    let entries = machine(10);
    let verdict = appraise(&entries[..9], &pcr10(&entries));
    assert_eq!(outcome(&verdict, "ima.pcr10"), Outcome::Failed);
    for given in [PcrValues::new(), with_boot(PcrValues::new())] {
        assert_eq!(outcome(&appraise(&entries, &given), "ima.pcr10"), Outcome::Failed);
    }
    // A PCR that was never extended vouches for no list, however short.
    let zero = values(&[(PcrBank::Sha256, 10, vec![0; 32])]);
    assert_eq!(outcome(&appraise(&entries[..1], &zero), "ima.pcr10"), Outcome::Failed);
    assert!(appraise(&[], &zero).accepted());
    assert!(!appraise(&[], &pcr10(&entries)).accepted());
}

#[test]
fn each_bank_that_is_given_must_agree() {
    let entries = machine(10);
    let both = |sha384: Vec<u8>| {
        let sha256 = pcr(&entries, 10, PcrBank::Sha256, false);
        appraise(&entries, &values(&[(PcrBank::Sha256, 10, sha256), (PcrBank::Sha384, 10, sha384)]))
    };
    assert!(both(pcr(&entries, 10, PcrBank::Sha384, false)).accepted());
    assert!(!both(vec![1; 48]).accepted());
}

#[test]
fn a_boot_aggregate_of_another_boot_or_at_another_place_is_refused() {
    let mut entries = machine(10);
    let other = ng("sha256", &[9; 32], "boot_aggregate");
    entries[0] = other.clone();
    let verdict = appraise(&entries, &with_boot(pcr10(&entries)));
    assert_eq!(outcome(&verdict, "ima.pcr10"), Outcome::Passed);
    assert_eq!(outcome(&verdict, "ima.boot_aggregate"), Outcome::Failed);
    // The right one further down helps nobody.
    let right = machine(1).remove(0);
    for first in [other, file("/init")] {
        let moved = [first, right.clone()];
        let verdict = appraise(&moved, &with_boot(pcr10(&moved)));
        assert_eq!(outcome(&verdict, "ima.boot_aggregate"), Outcome::Failed);
    }
}

#[test]
fn changed_data_are_refused_even_where_the_digests_lead_to_the_pcr() {
    let entries = machine(10);
    let mut bytes = binary(PcrBank::Sha1, &entries);
    let last_character = bytes.len() - 2;
    bytes[last_character] ^= 1;
    let verdict = appraise_ima(&ImaList::parse(&bytes).unwrap(), &pcr10(&entries));
    assert_eq!(outcome(&verdict, "ima.template_digests"), Outcome::Failed);
    let own_bank = values(&[(PcrBank::Sha1, 10, pcr(&entries, 10, PcrBank::Sha1, false))]);
    let verdict = appraise_ima(&ImaList::parse(&bytes).unwrap(), &own_bank);
    assert_eq!(outcome(&verdict, "ima.pcr10"), Outcome::Passed);
    assert!(!verdict.accepted());
}

#[test]
fn violations_unknown_templates_and_other_pcrs_are_warned_of() {
    let mut entries = machine(4);
    entries.push(file("/open").violated());
    entries.push(file("/policy").in_pcr(11));
    entries.push(Measured { template: "ima-next", ..file("/x") });
    let verdict = appraise(&entries, &pcr10(&entries));
    assert!(verdict.accepted(), "{:?}", verdict.first_failure());
    let said = verdict.warnings().join("\n");
    for word in ["violations", "ima-next", "PCR 11"] {
        assert!(said.contains(word), "{said}");
    }
    let mut given = vec![(PcrBank::Sha256, 10, pcr(&entries, 10, PcrBank::Sha256, false))];
    given.push((PcrBank::Sha256, 11, pcr(&entries, 11, PcrBank::Sha256, false)));
    assert!(!appraise(&entries, &values(&given)).warnings().join("\n").contains("PCR 11"));
}
