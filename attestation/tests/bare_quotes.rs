//! Quotes from any tool, held to a key and a nonce alone. Each mistake that other verifiers made has a story that is named
//! after it.
#![allow(clippy::unwrap_used)]

mod fake;

use fake::{
    AK_ATTRIBUTES, Attest, DECRYPT, ECDSA, FIXED_PARENT, FIXED_TPM, Key, Machine, RESTRICTED, RSAPSS, RSASSA,
    SENSITIVE_DATA_ORIGIN, SHA1, SHA256, SHA384, SHA512, Secret, bank_values, digest, pcr_digest, pcr_values,
    selection_of,
};
use proptest::prelude::*;
use sealstone_attestation::{
    BareAppraisal, BareQuote, Outcome, PcrBank, PcrFile, PcrIndex, PcrValues, PublicArea, Quote,
    QuoteEvidence, QuotingKey, TpmKey, appraise_bare_quote,
};

/// Every check, in order; a verdict names all of them, always.
const CHECKS: [&str; 14] = [
    "quote.magic",
    "quote.type",
    "quote.well_formed",
    "ak.attributes",
    "ak.name",
    "signature.scheme",
    "signature.valid",
    "nonce.answered",
    "selection.not_empty",
    "selection.sha2",
    "pcr.values",
    "pcr.digest",
    "event_log",
    "ima",
];

const NONCE: [u8; 16] = [0x5a; 16];

fn machine() -> Machine {
    Machine::new("node-1", 1)
}

fn area(machine: &Machine) -> QuotingKey {
    QuotingKey::Area(machine.ak.public())
}

fn named(values: &PcrValues) -> Option<PcrFile> {
    Some(PcrFile::Named(values.clone()))
}

fn bare<'a>(evidence: &'a QuoteEvidence, key: &'a QuotingKey) -> BareQuote<'a> {
    BareQuote {
        attest: &evidence.attest,
        signature: &evidence.signature,
        key,
        key_trusted: false,
        nonce: &NONCE,
        pcrs: named(&evidence.pcrs),
        event_log: None,
        ima: None,
    }
}

fn appraise(machine: &Machine, evidence: &QuoteEvidence) -> BareAppraisal {
    appraise_bare_quote(bare(evidence, &area(machine)))
}

fn forged(machine: &Machine, change: impl FnOnce(&mut Attest)) -> QuoteEvidence {
    let mut attest = machine.attest(&NONCE);
    change(&mut attest);
    machine.signed(&attest)
}

fn accepted(appraisal: &BareAppraisal) {
    assert!(appraisal.verdict.accepted(), "{:?}", appraisal.verdict.first_failure());
    assert!(appraisal.quote.is_some());
}

/// Refused, this check failed, and nothing is said of the machine.
fn refused(appraisal: &BareAppraisal, check: &str) {
    let names: Vec<&str> = appraisal.verdict.checks().iter().map(|check| check.name).collect();
    assert_eq!(names, CHECKS);
    assert!(!appraisal.verdict.accepted());
    assert_eq!((appraisal.quote.as_ref(), appraisal.pcrs.len()), (None, 0));
    let found = appraisal.verdict.check(check).unwrap();
    assert_eq!(found.result, Outcome::Failed, "{check}: {}", found.detail);
    assert!(!found.detail.starts_with("not reached"), "{check}: {}", found.detail);
}

fn kinds() -> Vec<(Secret, u16, u16)> {
    vec![
        (Secret::p256(9), ECDSA, SHA256),
        (Secret::p256(9), ECDSA, SHA384),
        (Secret::p384(9), ECDSA, SHA384),
        (Secret::p384(9), ECDSA, SHA512),
        (Secret::rsa2048(), RSASSA, SHA256),
        (Secret::rsa2048(), RSASSA, SHA512),
        (Secret::rsa2048(), RSAPSS, SHA256),
        (Secret::rsa2048(), RSAPSS, SHA384),
    ]
}

fn with_ak(secret: Secret, scheme: u16, hash: u16) -> Machine {
    Machine::with_keys("node-1", Key::ek(Secret::p256(8)), Key::ak(secret, scheme, hash))
}

/// The key alone, through the form in which others write it.
fn alone(machine: &Machine) -> QuotingKey {
    let der = machine.ak.public().key().to_spki_der().unwrap();
    QuotingKey::Bare(TpmKey::from_spki_der(&der).unwrap())
}

#[test]
fn quotes_of_every_kind_of_key_are_accepted_by_public_area_or_by_a_trusted_key() {
    for (secret, scheme, hash) in kinds() {
        let machine = with_ak(secret, scheme, hash);
        let evidence = machine.quote(&NONCE);
        let appraisal = appraise(&machine, &evidence);
        accepted(&appraisal);
        assert_eq!(appraisal.pcrs, evidence.pcrs);
        let key = alone(&machine);
        assert_eq!(key.key(), machine.ak.public().key());
        refused(&appraise_bare_quote(bare(&evidence, &key)), "ak.attributes");
        let trusted = appraise_bare_quote(BareQuote { key_trusted: true, ..bare(&evidence, &key) });
        accepted(&trusted);
        let attributes = trusted.verdict.check("ak.attributes").unwrap();
        assert_eq!(attributes.result, Outcome::NotApplicable);
        assert!(trusted.verdict.warnings()[0].contains("taken on trust"));
    }
}

/// `tpm2_quote -f plain` leaves the scheme out.
#[test]
fn a_plain_signature_is_one_in_the_keys_own_scheme() {
    for (secret, scheme, hash) in kinds() {
        let machine = with_ak(secret, scheme, hash);
        let mut evidence = machine.quote(&NONCE);
        evidence.signature = plain(&evidence.signature);
        accepted(&appraise(&machine, &evidence));
        let key = alone(&machine);
        accepted(&appraise_bare_quote(BareQuote { key_trusted: true, ..bare(&evidence, &key) }));
        let last = evidence.signature.len() - 1;
        evidence.signature[last] ^= 1;
        refused(&appraise(&machine, &evidence), "signature.valid");
        evidence.signature.pop();
        refused(&appraise(&machine, &evidence), "signature.scheme");
        evidence.signature.clear();
        refused(&appraise(&machine, &evidence), "signature.scheme");
    }
}

/// The RSA signature alone; or an ECDSA signature in DER.
fn plain(signature: &[u8]) -> Vec<u8> {
    if signature[..2] != [0, 0x18] {
        return signature[6..].to_vec();
    }
    let length = usize::from(u16::from_be_bytes([signature[4], signature[5]]));
    let integer = |bytes: &[u8]| {
        let bytes: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign: &[u8] = if bytes[0] & 0x80 == 0 { &[] } else { &[0] };
        let length = u8::try_from(sign.len() + bytes.len()).unwrap();
        [&[0x02, length][..], sign, &bytes].concat()
    };
    let both = [integer(&signature[6..6 + length]), integer(&signature[8 + length..])].concat();
    [vec![0x30, u8::try_from(both.len()).unwrap()], both].concat()
}

#[test]
fn a_quote_behind_its_length_is_the_same_quote() {
    let machine = machine();
    let mut evidence = machine.quote(&NONCE);
    let length = u16::try_from(evidence.attest.len()).unwrap();
    evidence.attest = [&length.to_be_bytes()[..], &evidence.attest].concat();
    accepted(&appraise(&machine, &evidence));
    for other in [length - 1, length + 1, 0] {
        evidence.attest[..2].copy_from_slice(&other.to_be_bytes());
        refused(&appraise(&machine, &evidence), "quote.magic");
    }
    let twice = [&(length + 2).to_be_bytes()[..], &length.to_be_bytes(), &evidence.attest[2..]].concat();
    refused(&appraise(&machine, &QuoteEvidence { attest: twice, ..evidence }), "quote.magic");
}

#[test]
fn cve_2022_0317_a_quote_over_no_pcrs_says_nothing() {
    let machine = machine();
    let empty = |change: &dyn Fn(&mut Attest)| {
        let evidence = forged(&machine, |attest| {
            change(attest);
            attest.pcr_digest = digest(SHA256, b"");
        });
        let key = area(&machine);
        for pcrs in [None, named(&PcrValues::new()), named(&evidence.pcrs)] {
            refused(&appraise_bare_quote(BareQuote { pcrs, ..bare(&evidence, &key) }), "selection.not_empty");
        }
    };
    empty(&|attest| attest.selection.clear());
    empty(&|attest| attest.selection = vec![(SHA256, vec![0, 0, 0])]);
    empty(&|attest| attest.selection = vec![(SHA256, vec![])]);
}

#[test]
fn cve_2022_0317_values_are_refused_that_the_quote_does_not_cover() {
    let machine = machine();
    let mut evidence = machine.quote(&NONCE);
    evidence.pcrs.insert(PcrBank::Sha256, PcrIndex::new(1).unwrap(), vec![0; 32]).unwrap();
    refused(&appraise(&machine, &evidence), "pcr.values");
}

#[test]
fn cve_2024_29038_and_29040_what_no_tpm_made_is_refused_by_its_magic() {
    let machine = machine();
    refused(&appraise(&machine, &forged(&machine, |attest| attest.magic = *b"\xffTCH")), "quote.magic");
    refused(&appraise(&machine, &forged(&machine, |attest| attest.magic = [0; 4])), "quote.magic");
}

#[test]
fn cve_2024_29039_the_signed_selection_is_the_one_that_counts() {
    // The same digest, said to be of other PCRs or of another order.
    let machine = machine();
    let evidence = machine.quote(&NONCE);
    for other in [
        &[(0, 0xa0), (4, 0xa4), (8, 0xa7)][..],
        &[(0, 0xa0), (4, 0xa7), (7, 0xa4)],
        &[(0, 0xa0), (4, 0xa4)],
        &[],
    ] {
        let pcrs = pcr_values(other);
        let appraisal = appraise(&machine, &QuoteEvidence { pcrs, ..evidence.clone() });
        refused(&appraisal, if other.len() == 3 && other[2].0 == 7 { "pcr.digest" } else { "pcr.values" });
    }
    let other_bank = bank_values(PcrBank::Sha384, &[(0, 0xa0), (4, 0xa4), (7, 0xa7)]);
    refused(&appraise(&machine, &QuoteEvidence { pcrs: other_bank, ..evidence }), "pcr.values");
}

#[test]
fn ghsa_gwfg_w3jr_xh66_an_attestation_of_something_else_is_no_quote() {
    let machine = machine();
    for kind in [0x14, 0x15, 0x16, 0x17, 0x19, 0x1a, 0x1c] {
        refused(&appraise(&machine, &forged(&machine, |attest| attest.kind = [0x80, kind])), "quote.type");
    }
    let trailing = forged(&machine, |attest| attest.trailing = vec![0]);
    refused(&appraise(&machine, &trailing), "quote.well_formed");
}

#[test]
fn tpm2_tss_2255_the_nonce_is_compared() {
    let machine = machine();
    let key = area(&machine);
    let evidence = machine.quote(&NONCE);
    for nonce in [&[0x5b; 16][..], &[0x5a; 15], &[0x5a; 17], &[0; 16]] {
        refused(&appraise_bare_quote(BareQuote { nonce, ..bare(&evidence, &key) }), "nonce.answered");
    }
}

#[test]
fn cve_2026_6420_an_empty_nonce_is_refused_and_a_short_one_warned_of() {
    let machine = machine();
    let key = area(&machine);
    let without = machine.quote(b"");
    refused(&appraise_bare_quote(BareQuote { nonce: b"", ..bare(&without, &key) }), "nonce.answered");
    let short = machine.quote(&[0x90, 0x09]);
    let appraisal = appraise_bare_quote(BareQuote { nonce: &[0x90, 0x09], ..bare(&short, &key) });
    accepted(&appraisal);
    assert!(appraisal.verdict.warnings()[0].contains("2 bytes"));
    let long = machine.quote(&[1; 67]);
    assert!(!appraise_bare_quote(BareQuote { nonce: &[1; 67], ..bare(&long, &key) }).verdict.accepted());
}

#[test]
fn an_unrestricted_or_imported_key_is_refused_even_when_trusted() {
    for missing in [FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN, RESTRICTED] {
        let ak = Key { attributes: AK_ATTRIBUTES & !missing, ..Key::ak(Secret::p256(9), ECDSA, SHA256) };
        let machine = Machine::with_keys("node-1", Key::ek(Secret::p256(8)), ak);
        let (evidence, key) = (machine.quote(&NONCE), area(&machine));
        for key_trusted in [false, true] {
            let appraisal = appraise_bare_quote(BareQuote { key_trusted, ..bare(&evidence, &key) });
            refused(&appraisal, "ak.attributes");
        }
    }
    let both = Key { attributes: AK_ATTRIBUTES | DECRYPT, ..Key::ak(Secret::p256(9), ECDSA, SHA256) };
    let machine = Machine::with_keys("node-1", Key::ek(Secret::p256(8)), both);
    refused(&appraise(&machine, &machine.quote(&NONCE)), "ak.attributes");
    let short = with_ak(Secret::rsa1024(), RSASSA, SHA256);
    let (evidence, key) = (short.quote(&NONCE), QuotingKey::Bare(short.ak.public().key().clone()));
    let appraisal = appraise_bare_quote(BareQuote { key_trusted: true, ..bare(&evidence, &key) });
    refused(&appraisal, "ak.attributes");
}

#[test]
fn sha1_banks_signatures_and_names_are_refused() {
    let mut machine = machine();
    machine.pcrs = bank_values(PcrBank::Sha1, &[(0, 1), (7, 2)]);
    refused(&appraise(&machine, &machine.quote(&NONCE)), "selection.sha2");
    let both = forged(&Machine::new("node-1", 1), |attest| attest.selection.push((SHA1, vec![1, 0, 0])));
    refused(&appraise(&Machine::new("node-1", 1), &both), "selection.sha2");

    for (secret, scheme) in [(Secret::rsa2048(), RSASSA), (Secret::p256(9), ECDSA)] {
        let machine = with_ak(secret, scheme, SHA1);
        let mut attest = machine.attest(&NONCE);
        attest.pcr_digest = digest(SHA1, b"any");
        let evidence = machine.signed(&attest);
        let appraisal = appraise(&machine, &evidence);
        refused(&appraisal, "signature.scheme");
        refused(&appraisal, "ak.attributes");
        let key = alone(&machine);
        let trusted = appraise_bare_quote(BareQuote { key_trusted: true, ..bare(&evidence, &key) });
        refused(&trusted, "signature.scheme");
        let plain = QuoteEvidence { signature: plain(&evidence.signature), ..evidence };
        refused(
            &appraise_bare_quote(BareQuote { key_trusted: true, ..bare(&plain, &key) }),
            "signature.scheme",
        );
    }
    let machine = Machine::new("node-1", 1);
    let name = [&SHA1.to_be_bytes()[..], &[7; 20]].concat();
    refused(&appraise(&machine, &forged(&machine, |attest| attest.qualified_signer = name)), "ak.name");
}

#[test]
fn a_signer_without_a_name_or_with_one_by_another_hash_is_refused() {
    let machine = machine();
    for name in [
        vec![],
        vec![0x40, 0, 0, 7],
        vec![0, 0x0b],
        [&[0, 0x0b][..], &[1; 31]].concat(),
        [&[0, 0x0c][..], &[1; 48]].concat(),
    ] {
        refused(&appraise(&machine, &forged(&machine, |attest| attest.qualified_signer = name)), "ak.name");
    }
}

#[test]
fn pcrs_that_any_program_may_reset_may_be_quoted_but_satisfy_nothing() {
    let mut machine = machine();
    machine.pcrs = pcr_values(&[(7, 0xa7), (16, 0x16), (23, 0x23)]);
    let appraisal = appraise(&machine, &machine.quote(&NONCE));
    accepted(&appraisal);
    assert_eq!(appraisal.pcrs, pcr_values(&[(7, 0xa7)]));
    assert!(appraisal.verdict.warnings()[0].contains("PCR 16 and PCR 23"));
}

#[test]
fn values_are_checked_whenever_they_are_given() {
    let machine = machine();
    let key = area(&machine);
    let evidence = machine.quote(&NONCE);
    let with = |pcrs: Option<PcrFile>| appraise_bare_quote(BareQuote { pcrs, ..bare(&evidence, &key) });
    let none = with(None);
    accepted(&none);
    for check in ["pcr.values", "pcr.digest"] {
        assert_eq!(none.verdict.check(check).unwrap().result, Outcome::NotApplicable);
    }
    assert!(none.pcrs.is_empty());
    refused(&with(named(&PcrValues::new())), "pcr.values");
    let raw: Vec<u8> = evidence.pcrs.iter().flat_map(|(_, _, value)| value.to_vec()).collect();
    accepted(&with(Some(PcrFile::parse(&raw).unwrap())));
    refused(&with(Some(PcrFile::parse(&raw[..64]).unwrap())), "pcr.values");
    refused(&with(Some(PcrFile::parse(&[&raw[..], &[0; 32]].concat()).unwrap())), "pcr.values");
    let mut other = raw;
    other[40] ^= 1;
    refused(&with(Some(PcrFile::parse(&other).unwrap())), "pcr.digest");
}

#[test]
fn a_digest_by_another_hash_or_in_another_order_is_refused() {
    let mut machine = machine();
    let by_sha384 = forged(&machine, |attest| {
        attest.pcr_digest = pcr_digest(SHA384, &selection_of(&machine.pcrs), &machine.pcrs);
    });
    refused(&appraise(&machine, &by_sha384), "pcr.digest");
    for (bank, index, value) in bank_values(PcrBank::Sha384, &[(0, 0xb0)]).iter() {
        machine.pcrs.insert(bank, index, value.to_vec()).unwrap();
    }
    accepted(&appraise(&machine, &machine.quote(&NONCE)));
    let swapped = forged(&machine, |attest| attest.selection.reverse());
    refused(&appraise(&machine, &swapped), "pcr.digest");
    let reversed = forged(&machine, |attest| {
        attest.selection.reverse();
        attest.pcr_digest = pcr_digest(SHA256, &attest.selection, &machine.pcrs);
    });
    accepted(&appraise(&machine, &reversed));
}

#[test]
fn a_measurement_list_needs_a_quote_of_pcr_10_and_its_value() {
    let machine = machine();
    let key = area(&machine);
    let evidence = machine.quote(&NONCE);
    for pcrs in [None, named(&evidence.pcrs)] {
        let appraisal = appraise_bare_quote(BareQuote { ima: Some(b""), pcrs, ..bare(&evidence, &key) });
        refused(&appraisal, "ima");
    }
    let mut measured = Machine::new("node-1", 1);
    measured.pcrs.insert(PcrBank::Sha256, PcrIndex::new(10).unwrap(), vec![0; 32]).unwrap();
    let evidence = measured.quote(&NONCE);
    accepted(&appraise_bare_quote(BareQuote { ima: Some(b""), ..bare(&evidence, &key) }));
    refused(&appraise_bare_quote(BareQuote { ima: Some(b"x\n"), ..bare(&evidence, &key) }), "ima");
    // Values that nobody signed vouch for no list.
    let mut forged = evidence.clone();
    forged.pcrs = pcr_values(&[(0, 0), (4, 0xa4), (7, 0xa7), (10, 0)]);
    let appraisal = appraise_bare_quote(BareQuote { ima: Some(b""), ..bare(&forged, &key) });
    refused(&appraisal, "pcr.digest");
    assert_eq!(appraisal.verdict.check("ima").unwrap().result, Outcome::Failed);
}

#[test]
fn an_event_log_must_explain_the_quoted_values() {
    let machine = machine();
    let key = area(&machine);
    let evidence = machine.quote(&NONCE);
    for log in [&b""[..], b"log", &[0; 64]] {
        let appraisal = appraise_bare_quote(BareQuote { event_log: Some(log), ..bare(&evidence, &key) });
        refused(&appraisal, "event_log");
    }
    let without = BareQuote { event_log: Some(b"log"), pcrs: None, ..bare(&evidence, &key) };
    refused(&appraise_bare_quote(without), "event_log");
    // One event, the separator of PCR 7 (`TCG_PCR_EVENT`): it explains nothing else.
    let sha1 =
        [&7_u32.to_le_bytes()[..], &4_u32.to_le_bytes(), &digest(SHA1, &[0; 4]), &[4, 0, 0, 0, 0, 0, 0, 0]]
            .concat();
    let appraisal = appraise_bare_quote(BareQuote { event_log: Some(&sha1), ..bare(&evidence, &key) });
    refused(&appraisal, "event_log");
    let detail = &appraisal.verdict.check("event_log").unwrap().detail;
    assert!(detail.contains("expected"), "{detail}");
}

#[test]
fn public_keys_read_as_they_are_written_and_others_are_refused() {
    for (secret, scheme, hash) in kinds() {
        let public = with_ak(secret, scheme, hash).ak.public();
        let der = public.key().to_spki_der().unwrap();
        assert_eq!(&TpmKey::from_spki_der(&der).unwrap(), public.key());
        for length in 0..der.len() {
            assert!(TpmKey::from_spki_der(&der[..length]).is_err(), "cut at {length}");
        }
        assert!(TpmKey::from_spki_der(&[&der[..], &[0]].concat()).is_err());
        assert!(PublicArea::parse(&der).is_err());
    }
    // Ed25519 and secp256k1 sign no quotes.
    let ed25519 = [&hex::decode("302a300506032b6570032100").unwrap()[..], &[9; 32]].concat();
    assert!(TpmKey::from_spki_der(&ed25519).is_err());
    assert!(TpmKey::from_spki_der(&[0x30; 4096]).is_err());
}

#[test]
fn files_of_tpm2_tools_read_as_they_are_written_and_damaged_ones_are_refused() {
    let mut machine = machine();
    machine.pcrs = pcr_values(&(0..24).map(|index| (index, index + 1)).collect::<Vec<_>>());
    for (bank, index, value) in bank_values(PcrBank::Sha512, &[(1, 0xb1), (23, 0xb2)]).iter() {
        machine.pcrs.insert(bank, index, value.to_vec()).unwrap();
    }
    let quote = Quote::parse(&machine.quote(&NONCE).attest).unwrap();
    let file = machine.pcrs.to_tpm2_tools(quote.selection()).unwrap();
    assert_eq!(file.len(), 132 + 4 + 4 * 532, "26 values in lists of 8");
    assert_eq!(PcrFile::parse(&file), Ok(PcrFile::Named(machine.pcrs.clone())));
    let refused = |at: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        let parsed = PcrFile::parse(&file).and_then(|file| file.values(quote.selection()));
        assert_ne!(parsed, Ok(machine.pcrs.clone()), "{at} {bytes:?}");
    };
    for (at, bytes) in [
        (0, &[17, 0, 0, 0][..]),
        (0, &[1, 0, 0, 0]),
        (4, &[0x12, 0]),
        (6, &[5]),
        (6, &[2]),
        (6, &[4, 0xff, 0xff, 0xff, 1]),
        (132, &[3, 0, 0, 0]),
        (132, &[5, 0, 0, 0]),
        (136, &[9, 0, 0, 0]),
        (136, &[7, 0, 0, 0]),
        (140, &[65, 0]),
        (140, &[31, 0]),
        (142, &[9]),
    ] {
        refused(at, bytes);
    }
    assert!(
        machine
            .pcrs
            .to_tpm2_tools(Quote::parse(&Machine::new("n", 1).quote(&NONCE).attest).unwrap().selection())
            .is_err()
    );
    for bytes in [&b""[..], b"{", b"{}x", br#"{"sha256":{"0":"00"}}"#, &[1; 19], &[1; 21], &vec![0; 70_000]] {
        assert!(PcrFile::parse(bytes).is_err());
    }
    let json = serde_json::to_vec(&machine.pcrs).unwrap();
    assert_eq!(PcrFile::parse(&json), Ok(PcrFile::Named(machine.pcrs.clone())));
}

proptest! {
    #[test]
    fn whatever_byte_is_changed_nothing_else_is_ever_accepted(
        part in 0_u8..3, at in any::<prop::sample::Index>(), flip in 1_u8..
    ) {
        let machine = machine();
        let evidence = machine.quote(&NONCE);
        let mut changed = evidence.clone();
        let bytes = match part {
            0 => &mut changed.attest,
            _ => &mut changed.signature,
        };
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(!appraise(&machine, &changed).verdict.accepted());
    }

    #[test]
    fn any_bytes_are_appraised_without_a_panic(
        attest in prop::collection::vec(any::<u8>(), 0..200), signature in prop::collection::vec(any::<u8>(), 0..300),
        values in prop::collection::vec(any::<u8>(), 0..900)
    ) {
        let machine = machine();
        let honest = machine.attest(&NONCE).bytes();
        let pcrs = PcrFile::parse(&values).ok();
        for key in [area(&machine), alone(&machine)] {
            for attest in [&attest[..], &honest] {
                let quote = BareQuote {
                    attest, signature: &signature, key: &key, key_trusted: true, nonce: &NONCE,
                    pcrs: pcrs.clone(), event_log: None, ima: Some(&values),
                };
                prop_assert!(!appraise_bare_quote(quote).verdict.accepted());
            }
        }
        let _ = TpmKey::from_spki_der(&signature);
    }

    #[test]
    fn values_survive_the_files_of_tpm2_tools(
        mask in 1_u32..1 << 24, byte in any::<u8>(), bank in prop::sample::select(PcrBank::ALL.to_vec())
    ) {
        let indices = (0..24_u8).filter(|index| mask & (1 << index) != 0);
        let values = bank_values(bank, &indices.map(|index| (index, byte ^ index)).collect::<Vec<_>>());
        let mut machine = machine();
        machine.pcrs = values.clone();
        let quote = Quote::parse(&machine.quote(&NONCE).attest).unwrap();
        let file = values.to_tpm2_tools(quote.selection()).unwrap();
        prop_assert_eq!(PcrFile::parse(&file), Ok(PcrFile::Named(values.clone())));
        let raw: Vec<u8> = values.iter().flat_map(|(_, _, value)| value.to_vec()).collect();
        prop_assert_eq!(PcrFile::Unnamed(raw).values(quote.selection()), Ok(values));
    }
}
