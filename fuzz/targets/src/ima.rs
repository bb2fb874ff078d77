//! Measurement lists of the kernel.

use sealstone_attestation::ima::{ImaList, MatchingPrefix, TemplateHash};
use sealstone_attestation::{PcrBank, PcrIndex, PcrValues, appraise_ima};

/// A binary or ASCII list. What is replayed is found again, and no list is accepted without a value.
#[must_use]
pub fn list(bytes: &[u8]) -> bool {
    let Ok(list) = ImaList::parse(bytes) else { return false };
    let index = PcrIndex::new(10).expect("there are 24 PCRs");
    assert!(list.violations() + list.mismatches().count() <= list.entries().len());
    assert!(!appraise_ima(&list, &PcrValues::new()).accepted(), "nothing vouches for a list by itself");
    let of_pcr = list.entries().iter().filter(|entry| entry.pcr() == index).count();
    for bank in PcrBank::ALL {
        for hash in [TemplateHash::PerBank, TemplateHash::PaddedSha1] {
            let Some(value) = list.replay(index, bank, hash) else { continue };
            assert_eq!(value.len(), bank.digest_len());
            if bank != PcrBank::Sha1 || hash == TemplateHash::PerBank {
                let expected = MatchingPrefix { hash, entries: of_pcr, beyond: 0 };
                let found = list.matching_prefix(index, bank, &value).expect("the whole list leads to it");
                assert!(found == expected || (of_pcr == 0 && found.entries == 0));
            }
            let mut values = PcrValues::new();
            values.insert(bank, index, value).expect("as long as its bank's");
            let verdict = appraise_ima(&list, &values);
            assert!(!verdict.accepted() || list.mismatches().next().is_none());
        }
    }
    for entry in list.entries() {
        if let Some(fields) = entry.fields() {
            assert!(!fields.is_empty());
        }
        assert!(entry.is_intact().is_none() || !entry.is_violation());
    }
    true
}
