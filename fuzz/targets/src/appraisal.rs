//! Evidence as an enclave and an auditor appraise it.

use std::time::Duration;

use sealstone_attestation::{
    BareQuote, Evidence, Expectations, Outcome, PcrFile, Purpose, QuoteEvidence, QuotingKey, Statement,
    UnixTime, Verdict, appraise, appraise_bare_quote, appraise_quote,
};

use crate::golden::{EVIDENCE, NODE, NONCE, QUOTES};
use crate::round_trip;

/// Checks that an accepted quote has passed, each of them.
const QUOTE_CHECKS: [&str; 14] = [
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
];

/// Checks that accepted evidence has passed besides.
const EVIDENCE_CHECKS: [&str; 7] = [
    "statement.bound",
    "manifest.same",
    "report.signature",
    "report.manifest",
    "report.node",
    "evidence.purpose",
    "evidence.nonce",
];

/// A quote as the agent hands it to the enclave (postcard), behind one byte that chooses the enrolled machine.
/// Nothing but what that machine's TPM signed is ever accepted.
#[must_use]
pub fn quote(bytes: &[u8]) -> bool {
    let Some((machine, bytes)) = bytes.split_first() else { return false };
    let (golden, manifest) = &QUOTES[usize::from(*machine) % QUOTES.len()];
    let Some(evidence) = round_trip::postcard::<QuoteEvidence>(bytes) else { return false };
    let json = serde_json::to_vec(&evidence).expect("quotes are JSON");
    assert_eq!(round_trip::json::<QuoteEvidence>(&json).as_ref(), Some(&evidence));

    let node = manifest.node_by_name(NODE).expect("the manifest enrols it");
    let statement = Statement::from_bytes([NONCE; 32]);
    let appraisal = appraise_quote(&evidence, node, manifest, statement, None);
    assert_complete(&appraisal.verdict, &[&QUOTE_CHECKS]);
    assert_eq!(appraisal.attested.is_some(), appraisal.verdict.accepted());
    if appraisal.verdict.accepted() {
        // Of the signature there can be another spelling: the TPM's numbers may have leading zeros.
        assert_eq!(evidence.attest, golden.quote.attest);
        assert_eq!(evidence.pcrs, golden.quote.pcrs);
    }
    let other = appraise_quote(&evidence, node, manifest, Statement::from_bytes([!NONCE; 32]), None);
    assert!(!other.verdict.accepted(), "a quote answers one challenge");
    appraisal.verdict.accepted()
}

/// Checks that an accepted quote has passed without a manifest, each of them.
const BARE_QUOTE_CHECKS: [&str; 9] = [
    "quote.magic",
    "quote.type",
    "quote.well_formed",
    "ak.name",
    "signature.scheme",
    "signature.valid",
    "nonce.answered",
    "selection.not_empty",
    "selection.sha2",
];

/// A quote from any tool: one byte that chooses the machine and whether its key is known with its public area, then
/// quote, signature and PCR values, each behind its length in two bytes, and a measurement list. Nothing but what that
/// machine's TPM signed is ever accepted.
#[must_use]
pub fn bare_quote(bytes: &[u8]) -> bool {
    let Some((choice, bytes)) = bytes.split_first() else { return false };
    let Some((attest, bytes)) = sized(bytes) else { return false };
    let Some((signature, bytes)) = sized(bytes) else { return false };
    let Some((values, list)) = sized(bytes) else { return false };
    let (golden, _) = &QUOTES[usize::from(choice & 0x3f) % QUOTES.len()];
    let key = if choice & 0x80 == 0 {
        QuotingKey::Area(golden.ak.clone())
    } else {
        QuotingKey::Bare(golden.ak.key().clone())
    };
    let pcrs = PcrFile::parse(values).ok();
    let quote = |nonce| BareQuote {
        attest,
        signature,
        key: &key,
        key_trusted: true,
        nonce,
        pcrs: pcrs.clone(),
        event_log: (choice & 0x40 != 0).then_some(list),
        ima: (!list.is_empty()).then_some(list),
    };
    let appraisal = appraise_bare_quote(quote(&[NONCE; 32]));
    assert_complete(&appraisal.verdict, &[&BARE_QUOTE_CHECKS]);
    let accepted = appraisal.verdict.accepted();
    assert_eq!(appraisal.quote.is_some(), accepted);
    if accepted {
        assert!(attest.ends_with(&golden.quote.attest) && attest.len() - golden.quote.attest.len() <= 2);
        assert!(pcrs.is_none() || appraisal.pcrs == golden.quote.pcrs);
    }
    assert!(!appraise_bare_quote(quote(&[!NONCE; 32])).verdict.accepted(), "a quote answers one nonce");
    assert!(!appraise_bare_quote(quote(&[])).verdict.accepted(), "an empty nonce is none");
    accepted
}

/// Bytes behind their length, and what is behind them.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, bytes) = bytes.split_first_chunk::<2>()?;
    bytes.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// An evidence file, appraised by an auditor who trusts the seed's manifest and chose the seed's nonce.
#[must_use]
pub fn evidence(bytes: &[u8]) -> bool {
    let Ok(evidence) = Evidence::parse(bytes) else { return false };
    assert_eq!(Evidence::parse(&evidence.to_json()).as_ref(), Ok(&evidence));

    let golden = &*EVIDENCE;
    let mut expectations = Expectations {
        purpose: Purpose::Evidence,
        nonce: Some(golden.evidence.nonce.clone()),
        challenger: None,
        node: Some(NODE.to_owned()),
        previous_clock: None,
        max_age: Some(Duration::from_secs(60)),
    };
    let now = golden.report.report().time;
    let verdict = appraise(&evidence, &golden.manifest, &expectations, now);
    // Of evidence the statement is what the evidence says of itself.
    let statement = ["statement.bound"];
    assert_complete(&verdict, &[&QUOTE_CHECKS[..8], &statement, &QUOTE_CHECKS[9..], &EVIDENCE_CHECKS]);
    assert_eq!(verdict.log().is_some(), verdict.accepted(), "the seed's log is anchored");
    if verdict.accepted() {
        assert_eq!(evidence.quote.attest, golden.evidence.quote.attest);
        assert_eq!(evidence.quote.pcrs, golden.evidence.quote.pcrs);
        assert_eq!(evidence.manifest.payload, golden.evidence.manifest.payload);
        assert_eq!(evidence.report.payload, golden.evidence.report.payload);
        assert_eq!(evidence.checkpoint, golden.evidence.checkpoint);
        assert_eq!((&evidence.ak, &evidence.ek), (&golden.evidence.ak, &golden.evidence.ek));
    }
    let late = UnixTime::from_secs(now.as_secs() + 61);
    assert!(!appraise(&evidence, &golden.manifest, &expectations, late).accepted(), "evidence grows old");
    assert!(!appraise(&evidence, &golden.next, &expectations, now).accepted(), "a manifest is replaced");
    expectations.purpose = Purpose::Session;
    assert!(!appraise(&evidence, &golden.manifest, &expectations, now).accepted(), "a quote has one purpose");
    verdict.accepted()
}

/// Every mandatory check is on the list, and none of them was waived.
fn assert_complete(verdict: &Verdict, lists: &[&[&str]]) {
    for name in lists.iter().flat_map(|list| list.iter()) {
        let check = verdict.check(name).unwrap_or_else(|| panic!("expected the check {name}, found none"));
        assert_ne!(check.result, Outcome::NotApplicable, "{name} is mandatory");
        assert!(!verdict.accepted() || check.result == Outcome::Passed, "accepted although {name} failed");
    }
    let failed = verdict.checks().iter().any(|check| check.result == Outcome::Failed);
    assert_ne!(verdict.accepted(), failed);
}
