//! Quotes of real machines. Data of other projects stays out of this repository: it is read from the folder
//! that `SEALSTONE_CORPORA` names (default: `../shared/corpora` beside the workspace). Without that folder
//! the test says so and checks the project's own quotes only.
#![allow(clippy::unwrap_used)]

mod fake;

use std::path::{Path, PathBuf};

use fake::Machine;
use sealstone_attestation::{
    BareQuote, HexBytes, Nonce, Outcome, PcrBank, PcrFile, PcrValues, PublicArea, Quote, QuoteEvidence,
    QuotingKey, SignatureError, TpmKey, TpmSignature, appraise_bare_quote,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Normalized {
    attest: HexBytes,
    attest_parsed: Parsed,
    ak_tpmt_public: Option<HexBytes>,
    ak_public_parsed: Option<ParsedKey>,
    ak_spki_der: Option<HexBytes>,
    tpmt_signature: HexBytes,
    pcrs: PcrValues,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parsed {
    qualified_signer: HexBytes,
    extra_data: HexBytes,
    clock: u64,
    reset_count: u32,
    restart_count: u32,
    safe: u8,
    firmware_version: String,
    pcr_select: Vec<(String, Vec<u8>)>,
    pcr_digest: HexBytes,
}

#[derive(Deserialize)]
struct ParsedKey {
    attributes: String,
    name: HexBytes,
}

#[derive(Deserialize)]
struct Indexed {
    repo: String,
    name: String,
    checks: Checks,
}

#[derive(Deserialize)]
struct Checks {
    sig_scheme: String,
    sig_hash: String,
    signature_ok: Option<bool>,
    pcr_digest_ok: bool,
}

fn corpora() -> Option<PathBuf> {
    let folder = std::env::var_os("SEALSTONE_CORPORA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
        PathBuf::from,
    );
    if folder.join("quotes_index.json").is_file() {
        return Some(folder);
    }
    println!("no corpora at {}: only the project's own quotes are checked", folder.display());
    None
}

/// Reads one quote and compares every field with what an independent parser found.
fn check(folder: &Path, entry: &Indexed, file: &Normalized) {
    let name = &entry.name;
    let quote = Quote::parse(&file.attest.0).unwrap_or_else(|error| panic!("{name}: {error}"));
    let parsed = &file.attest_parsed;
    assert_eq!(quote.qualified_signer().as_bytes(), parsed.qualified_signer.0, "{name}");
    assert_eq!(quote.extra_data(), parsed.extra_data.0, "{name}");
    assert_eq!(quote.clock().clock, parsed.clock, "{name}");
    assert_eq!(quote.clock().reset_count, parsed.reset_count, "{name}");
    assert_eq!(quote.clock().restart_count, parsed.restart_count, "{name}");
    assert_eq!(quote.clock().safe, parsed.safe == 1, "{name}");
    assert_eq!(format!("{:016x}", quote.firmware_version()), parsed.firmware_version, "{name}");
    assert_eq!(quote.pcr_digest(), parsed.pcr_digest.0, "{name}");
    let selection: Vec<(String, Vec<u8>)> = quote
        .selection()
        .banks()
        .iter()
        .map(|bank| (bank.bank().unwrap().to_string(), bank.pcrs.iter().map(|index| index.get()).collect()))
        .collect();
    assert_eq!(selection, parsed.pcr_select, "{name}");
    assert!(!quote.selection().is_empty(), "{name}");
    quote.selection().check_values(&file.pcrs).unwrap_or_else(|error| panic!("{name}: {error}"));

    let signature =
        TpmSignature::parse(&file.tpmt_signature.0).unwrap_or_else(|error| panic!("{name}: {error}"));
    let scheme = format!("{} with {}", entry.checks.sig_scheme, entry.checks.sig_hash);
    assert_eq!(signature.scheme().to_string(), scheme, "{name}");
    let digest = quote.selection().digest(signature.scheme().hash, &file.pcrs);
    if signature.scheme().hash == PcrBank::Sha1 {
        assert!(digest.is_err(), "{name}: a digest by SHA-1 is never recomputed");
    } else {
        assert_eq!(digest.unwrap() == quote.pcr_digest(), entry.checks.pcr_digest_ok, "{name}");
    }

    appraised(folder, entry, file);
    let Some(public) = &file.ak_tpmt_public else { return };
    let ak = PublicArea::parse(&public.0).unwrap_or_else(|error| panic!("{name}: {error}"));
    let key = file.ak_public_parsed.as_ref().unwrap();
    assert_eq!(format!("{:08x}", ak.attributes()), key.attributes, "{name}");
    assert_eq!(ak.name().as_bytes(), key.name.0, "{name}");
    assert_eq!(ak.check_attestation_key(), Ok(()), "{name}");
    let valid = ak.verify(&file.attest.0, &signature).is_ok();
    assert_eq!(Some(valid), entry.checks.signature_ok, "{name}");
    let mut changed = file.attest.0.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(ak.verify(&changed, &signature), Err(SignatureError::Invalid), "{name}");
}

/// Accepted, with the machine's event log where there is one, exactly if it answers a nonce, rests on SHA-2 alone, and its key is known.
fn appraised(folder: &Path, entry: &Indexed, file: &Normalized) {
    let name = &entry.name;
    let nonce = &file.attest_parsed.extra_data.0;
    let machine = name.split('.').next().unwrap();
    let log = format!("google+go-tpm-tools/internal/test/attestations/{machine}.eventlog.bin");
    let log = std::fs::read(folder.join(log)).ok();
    let appraise = |key: &QuotingKey, key_trusted: bool, nonce: &[u8]| {
        appraise_bare_quote(BareQuote {
            attest: &file.attest.0,
            signature: &file.tpmt_signature.0,
            key,
            key_trusted,
            nonce,
            pcrs: Some(PcrFile::Named(file.pcrs.clone())),
            event_log: log.as_deref(),
            ima: None,
        })
        .verdict
    };
    let Some(public) = &file.ak_tpmt_public else {
        // Its key is not known; whatever key is given, SHA-1 is refused.
        let key = QuotingKey::Area(Machine::new("node-1", 1).ak.public());
        let verdict = appraise(&key, true, nonce);
        assert_eq!(verdict.check("selection.sha2").unwrap().result, Outcome::Failed, "{name}");
        assert_eq!(verdict.check("ak.name").unwrap().result, Outcome::Failed, "{name}");
        return;
    };
    let area = QuotingKey::Area(PublicArea::parse(&public.0).unwrap());
    let bare = QuotingKey::Bare(TpmKey::from_spki_der(&file.ak_spki_der.as_ref().unwrap().0).unwrap());
    assert_eq!(area.key(), bare.key(), "{name}");
    let sha1 = file.pcrs.iter().any(|(bank, _, _)| bank == PcrBank::Sha1);
    for (key, trusted) in [(&area, false), (&bare, true)] {
        let verdict = appraise(key, trusted, nonce);
        assert_eq!(verdict.accepted(), !nonce.is_empty() && !sha1, "{name}: {:?}", verdict.first_failure());
        assert!(!appraise(key, trusted, b"\x90\x0a").accepted(), "{name}: another nonce");
    }
    assert!(!appraise(&bare, false, nonce).accepted(), "{name}: a key that says nothing of itself");
}

#[test]
fn quotes_of_real_machines_read_and_verify_as_an_independent_parser_says() {
    let Some(folder) = corpora() else { return };
    let index: Vec<Indexed> =
        serde_json::from_slice(&std::fs::read(folder.join("quotes_index.json")).unwrap()).unwrap();
    assert!(!index.is_empty());
    for entry in &index {
        let path = folder
            .join(entry.repo.replace('/', "+"))
            .join("quotes_normalized")
            .join(format!("{}.json", entry.name));
        let file: Normalized = serde_json::from_slice(&std::fs::read(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        check(&folder, entry, &file);
    }
    println!("{} quotes checked", index.len());
}

#[test]
fn a_quote_that_answers_no_nonce_could_never_be_asked_for() {
    // The corpora's quotes without a nonce: no expectation can be written down that they meet.
    assert!(Nonce::from_bytes(b"").is_err());
    assert!(Nonce::from_bytes(&[0x90, 0x09]).is_err());
}

#[test]
fn the_projects_own_quotes_read_as_they_were_written() {
    let machine = Machine::new("node-1", 1);
    let QuoteEvidence { attest, signature, pcrs } = machine.quote(b"sixteen bytes at");
    let quote = Quote::parse(&attest).unwrap();
    assert_eq!(quote.qualified_signer().as_bytes(), machine.qualified_signer());
    assert_eq!(quote.extra_data(), b"sixteen bytes at");
    assert_eq!(quote.selection().to_string(), "sha256:0,4,7");
    assert_eq!(quote.selection().digest(PcrBank::Sha256, &pcrs).unwrap(), quote.pcr_digest());
    let public = machine.ak.public();
    assert_eq!(public.verify(&attest, &TpmSignature::parse(&signature).unwrap()), Ok(()));
}
