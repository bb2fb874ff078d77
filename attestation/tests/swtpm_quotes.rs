//! Quotes that swtpm made, appraised in full: names, qualified names, schemes and digests as a TPM computes them.
#![allow(clippy::unwrap_used)]

mod fake;

use fake::{Machine, Person, draft, verified};
use sealstone_attestation::{
    HexBytes, ManifestDraft, Outcome, PcrBank, PublicArea, QuoteAppraisal, QuoteEvidence, StateDraft,
    StateStatus, Statement, appraise_quote,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    ek: PublicArea,
    ak: PublicArea,
    quote: QuoteEvidence,
}

const FILES: [(&str, &str); 5] = [
    ("ek_rsa_ak_ecdsa", include_str!("data/swtpm/ek_rsa_ak_ecdsa.json")),
    ("ek_rsa_ak_rsassa", include_str!("data/swtpm/ek_rsa_ak_rsassa.json")),
    ("ek_rsa_ak_rsapss", include_str!("data/swtpm/ek_rsa_ak_rsapss.json")),
    ("ek_p256_ak_ecdsa", include_str!("data/swtpm/ek_p256_ak_ecdsa.json")),
    ("ek_p384_ak_ecdsa", include_str!("data/swtpm/ek_p384_ak_ecdsa.json")),
];

fn golden() -> impl Iterator<Item = (&'static str, Golden)> {
    FILES.into_iter().map(|(name, json)| (name, serde_json::from_str(json).unwrap()))
}

/// A manifest that enrols these keys and approves the quoted SHA-256 values.
fn manifest_of(golden: &Golden) -> ManifestDraft {
    let mut draft = draft(&Person::new(1), &[&Machine::new("node-1", 1)]);
    draft.nodes[0].ek = golden.ek.clone();
    draft.nodes[0].ak = golden.ak.clone();
    let values = golden.quote.pcrs.iter().filter(|(bank, _, _)| *bank == PcrBank::Sha256);
    draft.states = vec![StateDraft {
        name: "boot-1".to_owned(),
        status: StateStatus::Active,
        bank: PcrBank::Sha256,
        pcrs: values.map(|(_, index, value)| (index, HexBytes(value.to_vec()))).collect(),
        transit_key_id: String::new(),
    }];
    draft
}

fn appraise(draft: &ManifestDraft, quote: &QuoteEvidence, nonce: [u8; 32]) -> QuoteAppraisal {
    let manifest = verified(draft, &[&Person::new(1)]);
    let node = manifest.manifest().node_by_name("node-1").unwrap();
    appraise_quote(quote, node, manifest.manifest(), Statement::from_bytes(nonce), None)
}

#[test]
fn quotes_of_every_kind_of_key_are_accepted() {
    for (name, golden) in golden() {
        let appraisal = appraise(&manifest_of(&golden), &golden.quote, [0x5a; 32]);
        assert!(appraisal.verdict.accepted(), "{name}: {:?}", appraisal.verdict.first_failure());
        assert_eq!(appraisal.attested.unwrap().state.name(), "boot-1");
    }
}

#[test]
fn the_same_quotes_with_another_nonce_key_or_value_are_refused() {
    let others: Vec<Golden> = golden().map(|(_, golden)| golden).collect();
    for (position, (name, golden)) in golden().enumerate() {
        let failed = |appraisal: &QuoteAppraisal, check: &str| {
            assert!(appraisal.attested.is_none(), "{name}");
            let result = appraisal.verdict.check(check).unwrap().result;
            assert_eq!(result, Outcome::Failed, "{name}: {check}");
        };
        let draft = manifest_of(&golden);
        failed(&appraise(&draft, &golden.quote, [0x5b; 32]), "statement.nonce");

        // Another machine's EK above the same AK makes another qualified name.
        let mut other_ek = draft.clone();
        other_ek.nodes[0].ek = Machine::new("node-9", 9).ek.public();
        failed(&appraise(&other_ek, &golden.quote, [0x5a; 32]), "ak.name");

        let other = &others[(position + 1) % others.len()];
        let swapped = QuoteEvidence { signature: other.quote.signature.clone(), ..golden.quote.clone() };
        let appraisal = appraise(&draft, &swapped, [0x5a; 32]);
        let scheme = appraisal.verdict.check("signature.scheme").unwrap().result;
        failed(&appraisal, if scheme == Outcome::Passed { "signature.valid" } else { "signature.scheme" });

        let mut other_state = draft.clone();
        other_state.states[0].pcrs.values_mut().next().unwrap().0[0] ^= 1;
        failed(&appraise(&other_state, &golden.quote, [0x5a; 32]), "state.approved");
    }
}
