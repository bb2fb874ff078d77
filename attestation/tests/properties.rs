//! Whatever bytes arrive, parsers answer and never panic; what is written is read back.
#![allow(clippy::unwrap_used)]

mod fake;

use fake::{Machine, Person, draft, verified};
use proptest::{collection::vec, prelude::*};
use sealstone_attestation::{
    Algorithm, AuthorityDigest, Binding, Envelope, EnvelopeSignature, Evidence, Grace, HexBytes, KeyId,
    Manifest, Nonce, PcrBank, PcrIndex, PcrValues, PublicArea, PublicKey, Quote, QuoteEvidence, Receipt,
    RequestDigest, SessionId, Signature64, SignedReceipt, Statement, TpmSignature, UnixTime,
    VerifiedManifest, VerifiedReport, appraise_quote, binding,
};

fn parse_everything(bytes: &[u8]) {
    let _ = Quote::parse(bytes);
    let _ = TpmSignature::parse(bytes);
    let _ = PublicArea::parse(bytes);
    let _ = Envelope::parse(bytes);
    let _ = Manifest::from_payload(bytes);
    let _ = VerifiedManifest::first(bytes, AuthorityDigest::from_bytes([0; 32]));
    let _ = VerifiedManifest::danger_trust_as_given(bytes);
    let _ = VerifiedReport::parse(bytes);
    let _ = Evidence::parse(bytes);
    let _ = Nonce::from_bytes(bytes);
    for algorithm in Algorithm::ALL {
        let _ = PublicKey::from_bytes(algorithm, bytes);
    }
    let _ = postcard::from_bytes::<QuoteEvidence>(bytes);
    let _ = postcard::from_bytes::<SignedReceipt>(bytes);
    let _ = postcard::from_bytes::<PublicKey>(bytes);
    let _ = postcard::from_bytes::<PcrValues>(bytes);
    let _ = serde_json::from_slice::<PcrValues>(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = text.parse::<UnixTime>();
        let _ = text.parse::<KeyId>();
        let _ = text.parse::<Binding>();
        let _ = text.parse::<Nonce>();
        let _ = text.parse::<Grace>();
    }
}

/// A whole structure of each kind, to be damaged.
fn specimens() -> Vec<Vec<u8>> {
    let machine = Machine::new("node-1", 1);
    let person = Person::new(1);
    let quote = machine.quote(&[1; 32]);
    let manifest = verified(&draft(&person, &[&machine]), &[&person]);
    vec![
        quote.attest.clone(),
        quote.signature.clone(),
        machine.ak.public_bytes(),
        machine.ek.public_bytes(),
        postcard::to_stdvec(&quote).unwrap(),
        manifest.envelope().to_vec(),
        manifest.manifest().to_payload(),
    ]
}

fn pcr_values() -> impl Strategy<Value = PcrValues> {
    vec((0..PcrBank::ALL.len(), 0..PcrIndex::COUNT, any::<u8>()), 0..40).prop_map(|entries| {
        let mut values = PcrValues::new();
        for (bank, index, byte) in entries {
            let bank = PcrBank::ALL[bank];
            // The first of two values for one PCR stays.
            let _ = values.insert(bank, PcrIndex::new(index).unwrap(), vec![byte; bank.digest_len()]);
        }
        values
    })
}

proptest! {
    // A failing case is printed; it becomes a test by hand, not a file.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..600)) {
        parse_everything(&bytes);
    }

    #[test]
    fn damaged_structures_never_panic(
        which in 0_usize..7, position in any::<prop::sample::Index>(), byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = specimens().swap_remove(which);
        let position = position.index(bytes.len());
        if cut {
            bytes.truncate(position);
        } else {
            bytes[position] = byte;
        }
        parse_everything(&bytes);
    }

    #[test]
    fn a_damaged_quote_is_never_accepted(
        in_signature in any::<bool>(), position in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let machine = Machine::new("node-1", 1);
        let person = Person::new(1);
        let manifest = verified(&draft(&person, &[&machine]), &[&person]);
        let statement = Statement::from_bytes([7; 32]);
        let mut evidence = machine.quote(statement.as_bytes());
        let target = if in_signature { &mut evidence.signature } else { &mut evidence.attest };
        let position = position.index(target.len());
        target[position] ^= flip;
        let node = manifest.manifest().node_by_name("node-1").unwrap();
        let appraisal = appraise_quote(&evidence, node, manifest.manifest(), statement, None);
        prop_assert!(!appraisal.verdict.accepted());
        prop_assert!(appraisal.attested.is_none());
    }

    #[test]
    fn arbitrary_evidence_is_appraised_without_panic(
        attest in vec(any::<u8>(), 0..200), signature in vec(any::<u8>(), 0..100), pcrs in pcr_values(),
    ) {
        let machine = Machine::new("node-1", 1);
        let person = Person::new(1);
        let manifest = verified(&draft(&person, &[&machine]), &[&person]);
        let node = manifest.manifest().node_by_name("node-1").unwrap();
        let evidence = QuoteEvidence { attest, signature, pcrs };
        let statement = Statement::from_bytes([7; 32]);
        let appraisal = appraise_quote(&evidence, node, manifest.manifest(), statement, None);
        prop_assert!(!appraisal.verdict.accepted());
    }

    #[test]
    fn quote_evidence_survives_both_formats(
        attest in vec(any::<u8>(), 0..200), signature in vec(any::<u8>(), 0..100), pcrs in pcr_values(),
    ) {
        let evidence = QuoteEvidence { attest, signature, pcrs };
        let json = serde_json::to_vec(&evidence).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<QuoteEvidence>(&json).unwrap(), &evidence);
        let compact = postcard::to_stdvec(&evidence).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<QuoteEvidence>(&compact).unwrap(), &evidence);
    }

    #[test]
    fn receipts_survive_both_formats(
        sequence in any::<u64>(), era in any::<u64>(), epoch in any::<u64>(), seconds in any::<u64>(),
        digest in any::<[u8; 32]>(), session in any::<[u8; 16]>(), half in any::<[u8; 32]>(),
    ) {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&half);
        let receipt = Receipt {
            sequence,
            era,
            previous: Receipt::genesis(era),
            request: RequestDigest::from_bytes(digest),
            key_id: KeyId::from_bytes(half),
            epoch,
            binding: Binding::from_bytes(digest),
            session: SessionId::from_bytes(session),
            time: UnixTime::from_secs(seconds),
            signature: Signature64::from_bytes(signature),
        };
        let signed = SignedReceipt { receipt, report_signature: Signature64::from_bytes(signature) };
        let json = serde_json::to_vec(&signed).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<SignedReceipt>(&json).unwrap(), &signed);
        let compact = postcard::to_stdvec(&signed).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<SignedReceipt>(&compact).unwrap(), &signed);
    }

    #[test]
    fn times_survive_their_text(seconds in 0..=UnixTime::MAX.as_secs()) {
        let time = UnixTime::from_secs(seconds);
        prop_assert_eq!(time.to_string().parse::<UnixTime>(), Ok(time));
    }

    #[test]
    fn envelopes_survive_their_json(
        payload_type in ".{0,40}", payload in vec(any::<u8>(), 0..300),
        signatures in vec((".{0,40}", vec(any::<u8>(), 0..80)), 0..10),
    ) {
        let signatures =
            signatures.into_iter().map(|(keyid, sig)| EnvelopeSignature { keyid, sig }).collect();
        let envelope = Envelope { payload_type, payload, signatures };
        prop_assert_eq!(Envelope::parse(&envelope.to_json()), Ok(envelope));
    }

    #[test]
    fn the_encoding_to_be_signed_is_injective(
        first in (".{0,8}", vec(any::<u8>(), 0..8)), second in (".{0,8}", vec(any::<u8>(), 0..8)),
    ) {
        let same = Envelope::pae(&first.0, &first.1) == Envelope::pae(&second.0, &second.1);
        prop_assert_eq!(same, first == second);
    }

    #[test]
    fn bindings_differ_where_states_differ(
        first in prop::collection::btree_map(0..24_u8, any::<u8>(), 1..5), transit in "[ab]{0,2}",
        second in prop::collection::btree_map(0..24_u8, any::<u8>(), 1..5), other_transit in "[ab]{0,2}",
    ) {
        let bind = |values: &std::collections::BTreeMap<u8, u8>, transit: &str| {
            let pcrs = values.iter().map(|(i, b)| (PcrIndex::new(*i).unwrap(), vec![*b; 32])).collect();
            binding(PcrBank::Sha256, &pcrs, transit).unwrap()
        };
        let same = bind(&first, &transit) == bind(&second, &other_transit);
        prop_assert_eq!(same, first == second && transit == other_transit);
    }

    #[test]
    fn a_draft_survives_being_signed(
        ttl in 10_u64..=3600, values in prop::collection::btree_map(0..8_u8, any::<u8>(), 1..8),
    ) {
        let person = Person::new(1);
        let mut draft = draft(&person, &[&Machine::new("node-1", 1)]);
        draft.session_ttl_s = ttl;
        draft.states[0].pcrs =
            values.iter().map(|(i, b)| (PcrIndex::new(*i).unwrap(), HexBytes(vec![*b; 32]))).collect();
        let manifest = verified(&draft, &[&person]);
        prop_assert_eq!(manifest.manifest().to_draft(), draft);
    }
}
