//! What attestation verifiers got wrong, one story each: an honest quote passes, and each forgery fails at
//! its own check.
#![allow(clippy::unwrap_used)]

mod fake;

use fake::{
    AK_ATTRIBUTES, Attest, DECRYPT, ECDSA, EK_ATTRIBUTES, FIRMWARE, FIXED_PARENT, FIXED_TPM, Key, Machine,
    NULL, Person, RESTRICTED, RSAPSS, RSASSA, SENSITIVE_DATA_ORIGIN, SHA1, SHA256, SHA384, SHA512, SIGN,
    Secret, bank_values, draft, pcr_digest, pcr_values, selection_of, state, verified,
};
use sealstone_attestation::{
    ClockInfo, KeyFlaw, Manifest, ManifestDraft, ManifestError, Node, Outcome, PcrBank, PcrIndex,
    QuoteAppraisal, QuoteEvidence, StateStatus, Statement, TpmSignature, VerifiedManifest, appraise_quote,
};

/// Every check of a quote; a verdict names all of them, always.
const CHECKS: [&str; 17] = [
    "quote.magic",
    "quote.type",
    "quote.well_formed",
    "ak.enrolled",
    "ak.attributes",
    "ak.name",
    "signature.scheme",
    "signature.valid",
    "statement.nonce",
    "selection.not_empty",
    "selection.covers",
    "pcr.values",
    "pcr.digest",
    "state.approved",
    "clock.forward",
    "clock.counts",
    "firmware.allowed",
];

fn nonce() -> Statement {
    Statement::from_bytes([0x5a; 32])
}

fn manifest(machines: &[&Machine]) -> VerifiedManifest {
    let person = Person::new(1);
    verified(&draft(&person, machines), &[&person])
}

fn node<'m>(manifest: &'m Manifest, name: &str) -> &'m Node {
    manifest.node_by_name(name).unwrap()
}

/// Appraises as the first machine of its own manifest.
fn appraise(machine: &Machine, evidence: &QuoteEvidence) -> QuoteAppraisal {
    let manifest = manifest(&[machine]);
    appraise_quote(evidence, node(manifest.manifest(), machine.name), manifest.manifest(), nonce(), None)
}

/// The appraisal refuses, this check is the first to say so, and nothing is attested.
fn refused(appraisal: &QuoteAppraisal, check: &str) {
    let names: Vec<&str> = appraisal.verdict.checks().iter().map(|check| check.name).collect();
    assert_eq!(names, CHECKS);
    assert!(!appraisal.verdict.accepted());
    assert_eq!(appraisal.attested, None);
    let failure = appraisal.verdict.first_failure().unwrap();
    assert_eq!(failure.name, check, "{}", failure.detail);
    assert!(!failure.detail.is_empty());
}

/// An honest quote but for one change, signed by the right key.
fn forged(machine: &Machine, change: impl FnOnce(&mut Attest)) -> QuoteEvidence {
    let mut attest = machine.attest(nonce().as_bytes());
    change(&mut attest);
    machine.signed(&attest)
}

fn accepted(machine: &Machine) {
    let appraisal = appraise(machine, &machine.quote(nonce().as_bytes()));
    assert!(appraisal.verdict.accepted(), "{:?}", appraisal.verdict.first_failure());
    let attested = appraisal.attested.unwrap();
    assert_eq!(attested.state.name(), "boot-1");
    assert_eq!(attested.firmware, FIRMWARE);
    assert_eq!(attested.clock, ClockInfo { clock: 5_000_000, reset_count: 7, restart_count: 2, safe: true });
}

#[test]
fn an_honest_quote_of_every_kind_of_key_is_accepted() {
    let aks = [
        (Secret::p256(9), ECDSA, SHA256),
        (Secret::p256(9), ECDSA, SHA384),
        (Secret::p256(9), ECDSA, SHA512),
        (Secret::p384(9), ECDSA, SHA256),
        (Secret::p384(9), ECDSA, SHA384),
        (Secret::p384(9), ECDSA, SHA512),
        (Secret::rsa2048(), RSASSA, SHA256),
        (Secret::rsa2048(), RSASSA, SHA384),
        (Secret::rsa2048(), RSASSA, SHA512),
        (Secret::rsa2048(), RSAPSS, SHA256),
        (Secret::rsa2048(), RSAPSS, SHA384),
        (Secret::rsa2048(), RSAPSS, SHA512),
    ];
    for (secret, scheme, hash) in aks {
        accepted(&Machine::with_keys("node-1", Key::ek(Secret::p256(8)), Key::ak(secret, scheme, hash)));
    }
}

#[test]
fn names_by_sha384_and_endorsement_keys_of_every_kind_are_accepted() {
    for secret in [Secret::p256(3), Secret::p384(3), Secret::rsa2048()] {
        let ek = Key { name_algorithm: SHA384, ..Key::ek(secret) };
        let ak = Key { name_algorithm: SHA512, ..Key::ak(Secret::p256(9), ECDSA, SHA256) };
        accepted(&Machine::with_keys("node-1", ek, ak));
    }
}

#[test]
fn a_message_that_no_tpm_made_is_refused_by_its_magic() {
    // CVE-2024-29038, CVE-2024-29040: a key that is not restricted signs anything.
    let machine = Machine::new("node-1", 1);
    refused(&appraise(&machine, &forged(&machine, |attest| attest.magic = *b"\xffTCH")), "quote.magic");
    refused(&appraise(&machine, &forged(&machine, |attest| attest.magic = [0; 4])), "quote.magic");
}

#[test]
fn an_attestation_of_something_else_is_no_quote() {
    // GHSA-gwfg-w3jr-xh66: NV_Certify, Certify, GetTime and the others are signed by the same key.
    let machine = Machine::new("node-1", 1);
    for kind in [0x14, 0x15, 0x16, 0x17, 0x19, 0x1a, 0x1c] {
        refused(&appraise(&machine, &forged(&machine, |attest| attest.kind = [0x80, kind])), "quote.type");
    }
}

#[test]
fn bytes_after_the_quote_are_refused_even_when_signed() {
    let machine = Machine::new("node-1", 1);
    refused(&appraise(&machine, &forged(&machine, |attest| attest.trailing = vec![0])), "quote.well_formed");
    refused(
        &appraise(&machine, &forged(&machine, |attest| attest.trailing = vec![7; 300])),
        "quote.well_formed",
    );
}

#[test]
fn a_quote_cut_at_any_byte_is_refused() {
    let machine = Machine::new("node-1", 1);
    let manifest = manifest(&[&machine]);
    let whole = machine.attest(nonce().as_bytes()).bytes();
    for length in 0..whole.len() {
        let attest = whole[..length].to_vec();
        let evidence =
            QuoteEvidence { signature: machine.ak.sign(&attest), attest, pcrs: machine.pcrs.clone() };
        let node = node(manifest.manifest(), "node-1");
        let appraisal = appraise_quote(&evidence, node, manifest.manifest(), nonce(), None);
        let failure = appraisal.verdict.first_failure().unwrap().name;
        let expected = match length {
            0..4 => "quote.magic",
            4..6 => "quote.type",
            _ => "quote.well_formed",
        };
        assert_eq!(failure, expected, "cut to {length} bytes");
    }
}

#[test]
fn a_change_of_any_signed_byte_is_noticed() {
    let machine = Machine::new("node-1", 1);
    let manifest = manifest(&[&machine]);
    let honest = machine.quote(nonce().as_bytes());
    for position in 0..honest.attest.len() {
        let mut evidence = honest.clone();
        evidence.attest[position] ^= 0x01;
        let node = node(manifest.manifest(), "node-1");
        let appraisal = appraise_quote(&evidence, node, manifest.manifest(), nonce(), None);
        assert!(!appraisal.verdict.accepted(), "byte {position}");
        let signature = appraisal.verdict.check("signature.valid").unwrap();
        assert_eq!(signature.result, Outcome::Failed, "byte {position}");
    }
}

#[test]
fn a_quote_by_a_key_that_is_not_enrolled_is_refused() {
    let machine = Machine::new("node-1", 1);
    let other = Machine::new("node-1", 2);
    let enrolled = manifest(&[&machine]);
    let foreign = manifest(&[&other]);
    // The other machine's quote for this node: its signature is not this key's.
    let evidence = other.quote(nonce().as_bytes());
    let appraisal =
        appraise_quote(&evidence, node(enrolled.manifest(), "node-1"), enrolled.manifest(), nonce(), None);
    refused(&appraisal, "ak.name");
    // The same quote with a node record of another manifest (CVE-2022-1053: two records mixed).
    let appraisal =
        appraise_quote(&evidence, node(foreign.manifest(), "node-1"), enrolled.manifest(), nonce(), None);
    refused(&appraisal, "ak.enrolled");
}

#[test]
fn a_signature_by_another_key_over_the_right_bytes_is_refused() {
    let machine = Machine::new("node-1", 1);
    let mut evidence = machine.quote(nonce().as_bytes());
    evidence.signature = Machine::new("node-1", 2).ak.sign(&evidence.attest);
    refused(&appraise(&machine, &evidence), "signature.valid");
}

#[test]
fn a_key_that_is_not_restricted_or_was_imported_cannot_be_enrolled() {
    // ActivateCredential proves that a key is loaded beside the EK, not that it is restricted.
    let person = Person::new(1);
    let flaw = |attributes: u32| {
        let ak = Key { attributes, ..Key::ak(Secret::p256(9), ECDSA, SHA256) };
        let machine = Machine::with_keys("node-1", Key::ek(Secret::p256(8)), ak);
        match Manifest::try_from(draft(&person, &[&machine])) {
            Err(ManifestError::AttestationKey { flaw, .. }) => flaw,
            other => panic!("expected a refused key, found {other:?}"),
        }
    };
    for (bit, name) in [
        (SIGN, "sign"),
        (RESTRICTED, "restricted"),
        (FIXED_TPM, "fixedTPM"),
        (FIXED_PARENT, "fixedParent"),
        (SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin"),
    ] {
        assert_eq!(flaw(AK_ATTRIBUTES & !bit), KeyFlaw::AttributeMissing { name });
    }
    assert_eq!(flaw(AK_ATTRIBUTES | DECRYPT), KeyFlaw::SignsAndDecrypts);
}

#[test]
fn a_key_without_one_sound_scheme_cannot_be_enrolled() {
    let flaw = |ak: Key| ak.public().check_attestation_key().unwrap_err();
    assert_eq!(flaw(Key::ak(Secret::p256(9), NULL, NULL)), KeyFlaw::NoScheme);
    assert_eq!(flaw(Key::ak(Secret::rsa2048(), NULL, NULL)), KeyFlaw::NoScheme);
    assert_eq!(flaw(Key::ak(Secret::rsa2048(), ECDSA, SHA256)), KeyFlaw::NoScheme);
    assert_eq!(flaw(Key::ak(Secret::p256(9), RSASSA, SHA256)), KeyFlaw::NoScheme);
    let weak = KeyFlaw::WeakHash { found: PcrBank::Sha1 };
    assert_eq!(flaw(Key::ak(Secret::p256(9), ECDSA, SHA1)), weak);
    assert_eq!(flaw(Key::ak(Secret::rsa2048(), RSASSA, SHA1)), weak);
    assert_eq!(flaw(Key::ak(Secret::rsa1024(), RSASSA, SHA256)), KeyFlaw::RsaBits { found: 1024 });
    let unusual = Key { exponent: 3, ..Key::ak(Secret::rsa2048(), RSASSA, SHA256) };
    assert_eq!(flaw(unusual), KeyFlaw::RsaExponent { found: 3 });
}

#[test]
fn an_endorsement_key_that_signs_or_can_leave_cannot_be_enrolled() {
    let flaw = |attributes: u32| {
        Key { attributes, ..Key::ek(Secret::p256(8)) }.public().check_endorsement_key().unwrap_err()
    };
    for (bit, name) in [
        (DECRYPT, "decrypt"),
        (RESTRICTED, "restricted"),
        (FIXED_TPM, "fixedTPM"),
        (FIXED_PARENT, "fixedParent"),
        (SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin"),
    ] {
        assert_eq!(flaw(EK_ATTRIBUTES & !bit), KeyFlaw::AttributeMissing { name });
    }
    assert_eq!(flaw(EK_ATTRIBUTES | SIGN), KeyFlaw::SignsAndDecrypts);
    assert_eq!(
        Key::ek(Secret::rsa1024()).public().check_endorsement_key(),
        Err(KeyFlaw::RsaBits { found: 1024 })
    );
}

#[test]
fn the_enrolled_key_under_another_parent_is_refused() {
    // In the owner hierarchy, or under another EK, a TPM obfuscates its counts.
    let machine = Machine::new("node-1", 1);
    let owner = machine.ek.qualified_name(&0x4000_0001_u32.to_be_bytes());
    for signer in [
        machine.ak.qualified_name(&owner),
        machine.ak.qualified_name(&0x4000_000b_u32.to_be_bytes()),
        Machine::new("node-1", 2).qualified_signer(),
        machine.ak.name(),
        Vec::new(),
    ] {
        refused(&appraise(&machine, &forged(&machine, |attest| attest.qualified_signer = signer)), "ak.name");
    }
}

#[test]
fn a_signature_in_another_scheme_than_the_pinned_one_is_refused() {
    let machine =
        Machine::with_keys("node-1", Key::ek(Secret::p256(8)), Key::ak(Secret::rsa2048(), RSAPSS, SHA256));
    let honest = machine.quote(nonce().as_bytes());
    for (scheme, hash) in [(RSASSA, SHA256), (RSAPSS, SHA384), (RSASSA, SHA1)] {
        let mut evidence = honest.clone();
        evidence.signature = machine.ak.sign_as(scheme, hash, &evidence.attest);
        refused(&appraise(&machine, &evidence), "signature.scheme");
    }
}

#[test]
fn a_signature_over_sha1_reads_but_never_verifies() {
    let ak = Key::ak(Secret::rsa2048(), RSASSA, SHA1);
    let message = b"anything";
    let signature = TpmSignature::parse(&ak.sign(message)).unwrap();
    assert_eq!(signature.scheme().to_string(), "RSASSA with sha1");
    assert!(ak.public().verify(message, &signature).is_err());
}

#[test]
fn a_malformed_signature_is_refused() {
    let machine = Machine::new("node-1", 1);
    let honest = machine.quote(nonce().as_bytes());
    let with = |signature: Vec<u8>| appraise(&machine, &QuoteEvidence { signature, ..honest.clone() });
    for length in 0..honest.signature.len() {
        refused(&with(honest.signature[..length].to_vec()), "signature.scheme");
    }
    refused(&with([honest.signature.clone(), vec![0]].concat()), "signature.scheme");
    // TPM_ALG_NULL: no signature at all. TPM_ALG_HMAC: one that anyone with the key can make.
    refused(&with(vec![0x00, 0x10]), "signature.scheme");
    refused(&with([vec![0, 5, 0, 0x0b], vec![0; 32]].concat()), "signature.scheme");
    // r and s zero, and r and s as long as no number of the curve.
    let zeros = [vec![0, 0x18, 0, 0x0b, 0, 32], vec![0; 32], vec![0, 32], vec![0; 32]].concat();
    refused(&with(zeros), "signature.valid");
    let long = [vec![0, 0x18, 0, 0x0b, 0, 33], vec![1; 33], vec![0, 33], vec![1; 33]].concat();
    refused(&with(long), "signature.valid");
    refused(&with(vec![0, 0x18, 0, 0x0b, 0, 0, 0, 0]), "signature.valid");
}

#[test]
fn a_quote_for_another_nonce_or_for_none_is_refused() {
    // tpm2-tss #2255: the nonce was never compared. CVE-2026-6420: it was always the same.
    let machine = Machine::new("node-1", 1);
    let mut almost = nonce().as_bytes().to_vec();
    almost[31] ^= 1;
    let longer = [nonce().as_bytes().as_slice(), &[0]].concat();
    for extra_data in [Vec::new(), vec![0; 32], almost, nonce().as_bytes()[..31].to_vec(), longer] {
        refused(&appraise(&machine, &machine.quote(&extra_data)), "statement.nonce");
    }
}

#[test]
fn a_quote_over_no_pcrs_is_refused() {
    // CVE-2022-0317: a valid quote that says nothing.
    let machine = Machine::new("node-1", 1);
    let empty_digest = pcr_digest(SHA256, &[], &machine.pcrs);
    let selections = [
        vec![],
        vec![(SHA256, vec![])],
        vec![(SHA256, vec![0, 0, 0])],
        vec![(SHA1, vec![0, 0, 0]), (SHA256, vec![0, 0, 0])],
    ];
    for selection in selections {
        let mut evidence = forged(&machine, |attest| {
            attest.selection = selection;
            attest.pcr_digest = empty_digest.clone();
        });
        refused(&appraise(&machine, &evidence), "selection.not_empty");
        evidence.pcrs = sealstone_attestation::PcrValues::new();
        refused(&appraise(&machine, &evidence), "selection.not_empty");
    }
}

#[test]
fn a_quote_that_leaves_out_a_required_pcr_is_refused() {
    let mut machine = Machine::new("node-1", 1);
    machine.pcrs = pcr_values(&[(0, 0xa0), (4, 0xa4)]);
    refused(&appraise(&machine, &machine.quote(nonce().as_bytes())), "selection.covers");
}

#[test]
fn a_value_for_a_pcr_that_was_not_quoted_is_refused() {
    // CVE-2024-29039: the missing PCR is supplied beside the quote.
    let mut machine = Machine::new("node-1", 1);
    machine.pcrs = pcr_values(&[(0, 0xa0), (4, 0xa4)]);
    let mut evidence = machine.quote(nonce().as_bytes());
    evidence.pcrs = pcr_values(&[(0, 0xa0), (4, 0xa4), (7, 0xa7)]);
    let appraisal = appraise(&machine, &evidence);
    refused(&appraisal, "selection.covers");
    assert_eq!(appraisal.verdict.check("pcr.values").unwrap().result, Outcome::Failed);

    let machine = Machine::new("node-1", 1);
    let mut evidence = machine.quote(nonce().as_bytes());
    evidence.pcrs = pcr_values(&[(0, 0xa0), (4, 0xa4), (7, 0xa7), (8, 0xa8)]);
    refused(&appraise(&machine, &evidence), "pcr.values");
    let mut other_bank = machine.quote(nonce().as_bytes());
    other_bank.pcrs.insert(PcrBank::Sha384, PcrIndex::new(0).unwrap(), vec![0; 48]).unwrap();
    refused(&appraise(&machine, &other_bank), "pcr.values");
}

#[test]
fn a_quoted_pcr_without_its_value_is_refused() {
    let machine = Machine::new("node-1", 1);
    let mut evidence = machine.quote(nonce().as_bytes());
    evidence.pcrs = pcr_values(&[(0, 0xa0), (4, 0xa4)]);
    refused(&appraise(&machine, &evidence), "pcr.values");
    evidence.pcrs = sealstone_attestation::PcrValues::new();
    refused(&appraise(&machine, &evidence), "pcr.values");
}

#[test]
fn the_same_pcrs_of_another_bank_do_not_count() {
    let mut machine = Machine::new("node-1", 1);
    machine.pcrs = bank_values(PcrBank::Sha384, &[(0, 0xa0), (4, 0xa4), (7, 0xa7)]);
    refused(&appraise(&machine, &machine.quote(nonce().as_bytes())), "selection.covers");
}

#[test]
fn approved_values_that_the_quote_does_not_vouch_for_are_refused() {
    // The machine is in another state, and the agent shows the approved values.
    let mut machine = Machine::new("node-1", 1);
    let approved = machine.pcrs.clone();
    machine.pcrs = pcr_values(&[(0, 0xa0), (4, 0xff), (7, 0xa7)]);
    let mut evidence = machine.quote(nonce().as_bytes());
    evidence.pcrs = approved;
    let appraisal = appraise(&machine, &evidence);
    refused(&appraisal, "pcr.digest");
    let state = appraisal.verdict.check("state.approved").unwrap();
    assert_eq!(state.detail, "not reached: pcr.digest did not pass");
}

#[test]
fn a_machine_in_another_state_is_refused_and_told_which_pcr_differs() {
    let mut machine = Machine::new("node-1", 1);
    machine.pcrs = pcr_values(&[(0, 0xa0), (4, 0xff), (7, 0xa7)]);
    let appraisal = appraise(&machine, &machine.quote(nonce().as_bytes()));
    refused(&appraisal, "state.approved");
    let detail = &appraisal.verdict.check("state.approved").unwrap().detail;
    assert!(detail.contains("\"boot-1\": PCR 4 of bank sha256"), "{detail}");
}

#[test]
fn a_digest_in_another_order_than_signed_is_refused() {
    let mut machine = Machine::new("node-1", 1);
    let index = PcrIndex::new(0).unwrap();
    machine.pcrs.insert(PcrBank::Sha384, index, vec![0xb0; 48]).unwrap();
    let in_order = selection_of(&machine.pcrs);
    let reversed: Vec<_> = in_order.iter().rev().cloned().collect();
    // As the TPM signs it, either order is right, if the digest follows it.
    for order in [&in_order, &reversed] {
        let evidence = forged(&machine, |attest| {
            attest.selection.clone_from(order);
            attest.pcr_digest = pcr_digest(SHA256, order, &machine.pcrs);
        });
        assert!(appraise(&machine, &evidence).verdict.accepted());
    }
    let evidence = forged(&machine, |attest| {
        attest.pcr_digest = pcr_digest(SHA256, &reversed, &machine.pcrs);
    });
    refused(&appraise(&machine, &evidence), "pcr.digest");
}

#[test]
fn a_digest_by_another_hash_than_the_signature_is_refused() {
    let machine = Machine::new("node-1", 1);
    for hash in [SHA1, SHA384, SHA512] {
        let evidence = forged(&machine, |attest| {
            attest.pcr_digest = pcr_digest(hash, &attest.selection, &machine.pcrs);
        });
        refused(&appraise(&machine, &evidence), "pcr.digest");
    }
    refused(&appraise(&machine, &forged(&machine, |attest| attest.pcr_digest.clear())), "pcr.digest");
}

#[test]
fn a_selection_of_pcrs_that_do_not_exist_is_refused() {
    let machine = Machine::new("node-1", 1);
    let wide = forged(&machine, |attest| attest.selection[0].1.push(0x01));
    refused(&appraise(&machine, &wide), "quote.well_formed");
    let huge = forged(&machine, |attest| attest.selection[0].1.resize(200, 0));
    refused(&appraise(&machine, &huge), "quote.well_formed");
    let many = forged(&machine, |attest| attest.selection = vec![(SHA256, vec![1, 0, 0]); 5000]);
    refused(&appraise(&machine, &many), "quote.well_formed");
    let unknown = forged(&machine, |attest| attest.selection.push((0x7fff, vec![1, 0, 0])));
    refused(&appraise(&machine, &unknown), "quote.well_formed");
    // A bank that the format knows (SM3-256), of which no values can be given.
    let other = forged(&machine, |attest| attest.selection.push((0x0012, vec![1, 0, 0])));
    refused(&appraise(&machine, &other), "pcr.values");
}

#[test]
fn sha1_pcrs_beside_the_required_ones_change_nothing() {
    let mut machine = Machine::new("node-1", 1);
    machine.pcrs.insert(PcrBank::Sha1, PcrIndex::new(0).unwrap(), vec![1; 20]).unwrap();
    accepted(&machine);
    machine.pcrs = bank_values(PcrBank::Sha1, &[(0, 0xa0), (4, 0xa4), (7, 0xa7)]);
    refused(&appraise(&machine, &machine.quote(nonce().as_bytes())), "selection.covers");
}

/// Appraises an honest quote under a manifest that the test changes.
fn under(
    machine: &Machine,
    change: impl FnOnce(&mut ManifestDraft),
    previous: Option<&ClockInfo>,
) -> QuoteAppraisal {
    let person = Person::new(1);
    let mut draft = draft(&person, &[machine]);
    change(&mut draft);
    let manifest = verified(&draft, &[&person]);
    let evidence = machine.quote(nonce().as_bytes());
    appraise_quote(&evidence, node(manifest.manifest(), machine.name), manifest.manifest(), nonce(), previous)
}

#[test]
fn a_predecessor_or_retired_state_cannot_attest() {
    let machine = Machine::new("node-1", 1);
    for status in [StateStatus::Predecessor, StateStatus::Retired] {
        let appraisal = under(
            &machine,
            |draft| {
                draft.states[0].status = status;
                draft.states.push(state("boot-2", StateStatus::Active, &[(0, 0xb0), (4, 0xb4), (7, 0xb7)]));
            },
            None,
        );
        refused(&appraisal, "state.approved");
    }
}

#[test]
fn a_machine_in_two_active_states_at_once_is_refused() {
    let mut machine = Machine::new("node-1", 1);
    machine.pcrs = pcr_values(&[(0, 0xa0), (4, 0xa4), (7, 0xa7), (9, 0xa9)]);
    let second = state("boot-2", StateStatus::Active, &[(0, 0xa0), (9, 0xa9)]);
    let appraisal = under(&machine, |draft| draft.states.push(second), None);
    refused(&appraisal, "state.approved");
}

#[test]
fn each_of_several_states_is_recognised() {
    let mut machine = Machine::new("node-1", 1);
    let add = |draft: &mut ManifestDraft| {
        draft.states.push(state("boot-2", StateStatus::Active, &[(0, 0xa0), (4, 0xb4), (7, 0xa7)]));
    };
    assert_eq!(under(&machine, add, None).attested.unwrap().state.name(), "boot-1");
    machine.pcrs = pcr_values(&[(0, 0xa0), (4, 0xb4), (7, 0xa7)]);
    assert_eq!(under(&machine, add, None).attested.unwrap().state.name(), "boot-2");
}

#[test]
fn a_clock_or_count_that_went_back_since_an_earlier_quote_is_refused() {
    let machine = Machine::new("node-1", 1);
    let earlier = ClockInfo { clock: 5_000_000, reset_count: 7, restart_count: 2, safe: true };
    let since = |earlier: ClockInfo| under(&machine, |_| (), Some(&earlier));
    assert!(since(earlier).verdict.accepted());
    assert!(since(ClockInfo { clock: 1, reset_count: 6, restart_count: 9, safe: false }).verdict.accepted());
    refused(&since(ClockInfo { clock: 5_000_001, ..earlier }), "clock.forward");
    refused(&since(ClockInfo { reset_count: 8, restart_count: 0, ..earlier }), "clock.counts");
    refused(&since(ClockInfo { restart_count: 3, ..earlier }), "clock.counts");
}

#[test]
fn after_an_unorderly_shutdown_the_counts_decide_and_the_verdict_warns() {
    let mut machine = Machine::new("node-1", 1);
    machine.safe = 0;
    machine.clock = 4_000_000;
    let earlier = ClockInfo { clock: 5_000_000, reset_count: 6, restart_count: 2, safe: true };
    let appraisal = under(&machine, |_| (), Some(&earlier));
    assert!(appraisal.verdict.accepted());
    assert_eq!(appraisal.verdict.warnings().len(), 1);
    let same_boot = ClockInfo { reset_count: 7, ..earlier };
    refused(&under(&machine, |_| (), Some(&same_boot)), "clock.forward");
    let evidence = forged(&machine, |attest| attest.safe = 2);
    refused(&appraise(&machine, &evidence), "quote.well_formed");
}

#[test]
fn firmware_off_the_allow_list_is_refused() {
    let machine = Machine::new("node-1", 1);
    let allow = |versions: Vec<u64>| under(&machine, |draft| draft.nodes[0].firmware = Some(versions), None);
    assert!(allow(vec![1, FIRMWARE]).verdict.accepted());
    refused(&allow(vec![FIRMWARE - 1, FIRMWARE + 1]), "firmware.allowed");
    let any = under(&machine, |_| (), None);
    assert_eq!(any.verdict.check("firmware.allowed").unwrap().result, Outcome::NotApplicable);
}

#[test]
fn coordinates_without_their_leading_zeros_still_verify() {
    // Some TPMs write r, s, x and y as short as they are. Seeds are tried until one has a leading zero.
    let key = Key::ak(Secret::p256(9), ECDSA, SHA256);
    let public = key.public();
    let mut shortened = 0;
    for message in 0..2000_u32 {
        let message = message.to_be_bytes();
        let signature = key.sign(&message);
        let (r, s) = (&signature[6..38], &signature[40..72]);
        if r[0] != 0 && s[0] != 0 {
            continue;
        }
        let trim =
            |number: &[u8]| -> Vec<u8> { number.iter().copied().skip_while(|byte| *byte == 0).collect() };
        let (r, s) = (trim(r), trim(s));
        let length = |number: &[u8]| u16::try_from(number.len()).unwrap().to_be_bytes();
        let bytes = [&signature[..4], &length(&r), &r, &length(&s), &s].concat();
        public.verify(&message, &TpmSignature::parse(&bytes).unwrap()).unwrap();
        shortened += 1;
    }
    assert!(shortened > 0);
}
