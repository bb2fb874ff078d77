//! What holds for any list and any bytes.

use proptest::prelude::*;
use sealstone_attestation::{PcrBank, appraise_ima, ima::ImaList};

use super::kernel::{Measured, ascii, binary, one_of_each, pcr, values};

fn entries() -> impl Strategy<Value = Vec<Measured>> {
    let one = (0..one_of_each().len(), any::<bool>(), 0_u8..12, any::<u8>());
    let one = one.prop_map(|(template, violation, pcr, byte)| {
        let mut entry = one_of_each().remove(template);
        entry.violation = violation && byte < 64;
        entry.pcr = if pcr < 2 { pcr } else { 10 };
        // A digest of its own, in whichever field is the first.
        if let Some(last) = entry.fields[0].iter_mut().rev().find(|last| **last >= 0xd0) {
            *last = byte | 0x80;
        }
        entry
    });
    prop::collection::vec(one, 1..12)
}

fn bank() -> impl Strategy<Value = PcrBank> {
    prop::sample::select(PcrBank::ALL.to_vec())
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = ImaList::parse(&bytes);
        let _ = ImaList::parse(&[&[10, 0, 0, 0][..], &bytes].concat());
        let _ = ImaList::parse(&[&b"10 "[..], &bytes].concat());
    }

    #[test]
    fn what_a_kernel_writes_reads_the_same_in_both_forms(entries in entries(), bank in bank(), other in bank()) {
        let (bytes, text) = (binary(bank, &entries), ascii(bank, &entries));
        let (from_bytes, from_text) = (ImaList::parse(&bytes).unwrap(), ImaList::parse(&text).unwrap());
        prop_assert_eq!(from_bytes.mismatches().count() + from_text.mismatches().count(), 0);
        let violations = entries.iter().filter(|entry| entry.violation).count();
        prop_assert_eq!((from_bytes.violations(), from_text.violations()), (violations, violations));
        let value = pcr(&entries, 10, other, false);
        let index = sealstone_attestation::PcrIndex::new(10).unwrap();
        for list in [&from_bytes, &from_text] {
            let found = list.matching_prefix(index, other, &value).unwrap();
            prop_assert_eq!(found.beyond, 0);
        }
    }

    #[test]
    fn a_list_in_which_anything_was_changed_is_refused_or_says_the_same(
        entries in entries(), at in any::<prop::sample::Index>(), flip in 1_u8.., as_text in any::<bool>()
    ) {
        let mut bytes = if as_text { ascii(PcrBank::Sha256, &entries) } else { binary(PcrBank::Sha256, &entries) };
        let given = values(&[
            (PcrBank::Sha256, 10, pcr(&entries, 10, PcrBank::Sha256, false)),
            (PcrBank::Sha512, 10, pcr(&entries, 10, PcrBank::Sha512, false)),
        ]);
        let before = bytes.clone();
        let before = ImaList::parse(&before).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let Ok(after) = ImaList::parse(&bytes) else { return Ok(()) };
        if !appraise_ima(&after, &given).accepted() {
            return Ok(());
        }
        // Whatever PCR 10 vouches for is as it was. Nothing vouches for a violation, for another PCR's entries, or for
        // those that were moved behind what the value covers.
        let vouched = |list: &ImaList<'_>| -> Vec<Vec<u8>> {
            let of_pcr = list.entries().iter().filter(|entry| entry.pcr().get() == 10);
            of_pcr.map(|entry| entry.digest().to_vec()).collect()
        };
        prop_assert_eq!(vouched(&after), vouched(&before));
        for (entry, was) in after.entries().iter().zip(before.entries()) {
            // Of a template that is not known as text nothing is read, and the verdict warns of it.
            if entry.pcr().get() == 10 && !entry.is_violation() && entry.is_intact().is_some() {
                prop_assert_eq!(entry.name(), was.name());
                prop_assert_eq!(entry.file_digest(), was.file_digest());
            }
        }
    }
}
