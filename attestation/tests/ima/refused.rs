//! What is no list, where, and why.

use sealstone_attestation::{
    PcrBank,
    ima::{EntryFault, ImaError, ImaList, Place},
};

use super::kernel::{ascii, binary, file, one_of_each};

fn fault(bytes: &[u8]) -> (Place, EntryFault) {
    match ImaList::parse(bytes) {
        Err(ImaError::Entry { place, fault }) => (place, fault),
        other => panic!("expected a fault, found {other:?}"),
    }
}

#[test]
fn text_that_is_no_list_is_refused_with_its_line_and_the_reason() {
    let good = String::from_utf8(ascii(PcrBank::Sha1, &[file("/a")])).unwrap();
    let digest = &good[3..43];
    let fields = &good[51..good.len() - 1];
    for (line, expected) in [
        ("this-is-an-invalid-ima-log-file", "the end of the line"),
        ("", "the end of the line"),
        ("10", "the end of the line"),
        (&format!("10 {digest}"), "the end of the line"),
        (&format!("10 {digest} ima-ng"), "the end of the line"),
        (&format!("24 {digest} ima-ng {fields}"), "a PCR from 0 to 23"),
        (&format!("-1 {digest} ima-ng {fields}"), "a PCR from 0 to 23"),
        (&format!("010 {digest} ima-ng {fields}"), "a PCR from 0 to 23"),
        (&format!("+9 {digest} ima-ng {fields}"), "a PCR from 0 to 23"),
        (&format!("10  {digest} ima-ng {fields}"), "a template digest of"),
        (&format!("10 {} ima-ng {fields}", &digest[..38]), "a template digest of"),
        (&format!("10 {digest}00 ima-ng {fields}"), "a template digest of"),
        (&format!("10 {}zz ima-ng {fields}", &digest[..38]), "a template digest of"),
        (&format!("10 {} ima-ng {fields}", "00".repeat(32)), "a template digest of"),
        (&format!("10 {digest}  {fields}"), "a template's name"),
        (&format!("10 {digest} {} {fields}", "x".repeat(257)), "a template's name"),
        (&format!("10 {digest} ima-\u{e9} {fields}"), "a template's name"),
        (&format!("10 {digest} ima-ng sha256:abc /a"), "the field d-ng"),
        (&format!("10 {digest} ima-ng sha256:xx /a"), "the field d-ng"),
        (&format!("10 {digest} ima-ng {} ", fields.split(' ').next().unwrap()), "the field n-ng"),
        (&format!("10 {digest} ima-ng sha1:00"), "the end of the line"),
        (&format!("10 {digest} ima-sig {fields}"), "the end of the line"),
        (&format!("10 {digest} ima-sig {fields} 0"), "the field sig"),
        (&format!("10 {digest} ima 00 boot_aggregate"), "the field"),
        (&format!("10 {digest} ima {} {}", "00".repeat(20), "n".repeat(256)), "the field n"),
        (&format!("10 {digest} iuid|n-ng -1 /a"), "the field iuid"),
        (&format!("10 {digest} iuid|n-ng 01 /a"), "the field iuid"),
        (&format!("10 {digest} iuid|n-ng 4294967296 /a"), "the field iuid"),
        (&format!("10 {digest} imode|n-ng 65536 /a"), "the field imode"),
    ] {
        let (place, reason) = fault(format!("{good}{line}\n").as_bytes());
        assert_eq!(place, Place::Line(2), "{line}");
        let reason = reason.to_string();
        assert!(reason.contains(expected), "{line}: {reason}");
        let said =
            ImaError::Entry { place, fault: fault(format!("{good}{line}\n").as_bytes()).1 }.to_string();
        assert!(said.starts_with("at line 2: expected "), "{said}");
    }
    assert_eq!(fault(b"this-is-an-invalid-ima-log-file\n").0, Place::Line(1));
    assert_eq!(fault(format!("{good}\n{good}").as_bytes()).0, Place::Line(2), "an empty line");
    assert_eq!(fault(format!("{good}\n").as_bytes()).0, Place::Line(2), "an empty line at the end");
    assert!(ImaList::parse(good.trim_end().as_bytes()).is_ok(), "the last line feed may be missing");
}

#[test]
fn bytes_that_are_no_list_are_refused_with_their_offset_and_the_reason() {
    let good = binary(PcrBank::Sha1, &[file("/a")]);
    let after = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut second = good.clone();
        change(&mut second);
        let (place, fault) = fault(&[good.clone(), second].concat());
        assert_eq!(place, Place::Offset(good.len()));
        fault.to_string()
    };
    let set = |at: usize, number: u32| {
        after(&move |bytes: &mut Vec<u8>| bytes[at..at + 4].copy_from_slice(&number.to_le_bytes()))
    };
    for pcr in [24, 256 + 10, u32::MAX] {
        assert!(set(0, pcr).contains("a PCR from 0 to 23"));
    }
    for length in [0, 257, u32::MAX] {
        assert!(set(24, length).contains("a template's name of 1 to 256"));
    }
    assert!(set(24, 256).contains("expected 256 bytes for a template's name"));
    assert!(after(&|bytes| bytes[28] = b' ').contains("a template's name"));
    assert!(after(&|bytes| bytes[28] = 0).contains("a template's name"));
    for length in [u32::MAX, 1 << 20] {
        assert!(set(34, length).contains("bytes for template data"));
    }
    assert!(set(38, u32::MAX).contains("the field d-ng"));
    assert!(set(38, 41).contains("the field n-ng"));
    assert!(after(&|bytes| *bytes.last_mut().unwrap() = b'x').contains("a name without its NUL"));
    let last_but_one = good.len() - 2;
    assert!(after(&|bytes| bytes[last_but_one] = 0).contains("a NUL inside a name"));
    assert!(after(&|bytes| bytes.truncate(3)).contains("expected 4 bytes for a PCR, found 3"));
    assert_eq!(fault(&[0x0a]).0, Place::Offset(0));
}

#[test]
fn a_list_that_was_cut_is_refused_or_has_fewer_entries() {
    for (encoded, name) in
        [(binary(PcrBank::Sha1, &one_of_each()), "binary"), (ascii(PcrBank::Sha1, &one_of_each()), "ascii")]
    {
        let whole = ImaList::parse(&encoded).unwrap().entries().len();
        for length in 0..encoded.len() - 1 {
            if let Ok(list) = ImaList::parse(&encoded[..length]) {
                let cut_line = list.mismatches().count();
                assert!(list.entries().len() < whole + cut_line, "{name} cut at {length}");
            }
        }
    }
}

#[test]
fn an_entry_whose_data_were_changed_does_not_hash_to_its_digest() {
    let entries = one_of_each();
    let text = String::from_utf8(ascii(PcrBank::Sha256, &entries)).unwrap();
    let changed = text.replace("/usr/bin/bash", "/usr/bin/dash");
    let list = ImaList::parse(changed.as_bytes()).unwrap();
    let places: Vec<Place> = list.mismatches().map(|entry| entry.place()).collect();
    let expected: Vec<Place> = (2..=13).filter(|line| *line != 7).map(Place::Line).collect();
    assert_eq!(places, expected, "all but the boot aggregate and the device mapper's entry");
}

#[test]
fn more_bytes_than_a_machine_measures_are_refused_unread() {
    let long = vec![b' '; ImaList::BYTES_MAX + 1];
    assert!(matches!(ImaList::parse(&long), Err(ImaError::TooLong { .. })));
}
