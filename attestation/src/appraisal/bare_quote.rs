//! The appraisal of a quote from any tool, without a manifest: whoever asks names the key and the nonce.

use crate::{
    Nonce, PcrFile, PcrIndex, PcrValues, Quote, QuotingKey, SignatureError, TpmSignature, Verdict,
    appraisal::{
        any_quote::{check_form, check_not_empty, check_signature, check_values, vouched_for},
        event_log::check_given_log,
        ima::{Coverage, check_ima},
        level::Level::{Authentic, Fresh},
        verdict::{CheckSpec, Checklist, if_asked, mandatory},
    },
};

/// Every check of a bare quote, in order.
static BARE_QUOTE_CHECKS: [CheckSpec; 14] = [
    mandatory(Authentic, "quote.magic"),
    mandatory(Authentic, "quote.type"),
    mandatory(Authentic, "quote.well_formed"),
    if_asked(Authentic, "ak.attributes"),
    mandatory(Authentic, "ak.name"),
    mandatory(Authentic, "signature.scheme"),
    mandatory(Authentic, "signature.valid"),
    mandatory(Fresh, "nonce.answered"),
    mandatory(Authentic, "selection.not_empty"),
    mandatory(Authentic, "selection.sha2"),
    if_asked(Authentic, "pcr.values"),
    if_asked(Authentic, "pcr.digest"),
    if_asked(Authentic, "event_log"),
    if_asked(Authentic, "ima"),
];

/// Most bytes of a nonce: what qualifying data can hold (TPM 2.0 Part 2, TPM2B_DATA: a `TPMT_HA` of SHA-512).
const NONCE_MAX: usize = 66;

/// A quote, and what whoever asks knows of it.
#[derive(Clone, Debug)]
pub struct BareQuote<'a> {
    /// TPMS_ATTEST, or TPM2B_ATTEST, which is the same behind its length.
    pub attest: &'a [u8],
    /// TPMT_SIGNATURE, or a plain signature: see [`QuotingKey::read_signature`].
    pub signature: &'a [u8],
    /// The key that must have signed.
    pub key: &'a QuotingKey,
    /// Whether whoever asks knows from elsewhere that a bare key is a TPM's restricted signing key.
    pub key_trusted: bool,
    /// The nonce that was asked with; an empty one is refused.
    pub nonce: &'a [u8],
    /// Values of the quoted PCRs, if any are given; they must then be exactly those.
    pub pcrs: Option<PcrFile>,
    /// The firmware's log, if one is given; it must then explain the values, which are needed for it.
    pub event_log: Option<&'a [u8]>,
    /// The kernel's measurement list, if one is given; the quote must then cover PCR 10.
    pub ima: Option<&'a [u8]>,
}

/// What the appraisal of a bare quote says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BareAppraisal {
    /// Every check by name.
    pub verdict: Verdict,
    /// What the quote says; `Some` only if the verdict accepts.
    pub quote: Option<Quote>,
    /// Values that the quote vouches for and that can say which state a machine is in: none of a PCR that any program
    /// may reset. Empty unless the verdict accepts.
    pub pcrs: PcrValues,
}

/// Appraises a quote by the key and the nonce of whoever asks. Whether the values are good ones is left to them.
#[must_use]
pub fn appraise_bare_quote(bare: BareQuote<'_>) -> BareAppraisal {
    let BareQuote { attest, signature, key, key_trusted, nonce, pcrs, event_log, ima } = bare;
    let mut list = Checklist::new(&[&BARE_QUOTE_CHECKS]);
    let attest = without_length(attest);
    check_key(&mut list, key, key_trusted);
    let quote = check_form(&mut list, attest);
    let digest = quote.as_ref().map(Quote::pcr_digest);
    let signature = key.read_signature(attest, digest, signature);
    match &signature {
        Ok(signature) => {
            check_signature(&mut list, signature, key.verify(attest, signature), "the given key")
        }
        Err(error) => list.record("signature.scheme", Err(error.clone())),
    }
    let mut values = None;
    if let Some(quote) = &quote {
        check_signer(&mut list, quote, key);
        check_nonce(&mut list, quote, nonce);
        check_not_empty(&mut list, quote);
        check_banks(&mut list, quote);
        values = check_given_values(&mut list, quote, pcrs, signature.as_ref().ok());
    }
    check_log(&mut list, values.as_ref(), event_log);
    check_measurements(&mut list, values.as_ref(), ima);
    conclude(list, quote, values)
}

/// Takes the length off a TPM2B_ATTEST. A TPMS_ATTEST begins with its magic, which as a length would be 65,364.
fn without_length(attest: &[u8]) -> &[u8] {
    match attest {
        [high, low, rest @ ..] if usize::from(u16::from_be_bytes([*high, *low])) == rest.len() => rest,
        _ => attest,
    }
}

fn check_key(list: &mut Checklist, key: &QuotingKey, trusted: bool) {
    match (key.check(), key) {
        (Err(flaw), _) => list.record("ak.attributes", Err(flaw.to_string())),
        (Ok(()), QuotingKey::Area(_)) => {
            let detail = "restricted to signing, born in the TPM and kept there";
            list.record("ak.attributes", Ok(detail.to_owned()));
        }
        (Ok(()), QuotingKey::Bare(_)) if trusted => {
            list.not_applicable("ak.attributes", "a key without attributes, said to be a TPM's own");
            list.warn(
                "that only a TPM signs by this key, and only what it made itself, was taken on trust"
                    .to_owned(),
            );
        }
        (Ok(()), QuotingKey::Bare(_)) => {
            let error = "expected a public area (TPM2B_PUBLIC), found a key alone, which does not say that it is \
                         restricted to what a TPM made";
            list.record("ak.attributes", Err(error.to_owned()));
        }
    }
}

/// The signer's qualified name cannot be recomputed without the keys above it, but it is one, by the key's own hash.
fn check_signer(list: &mut Checklist, quote: &Quote, key: &QuotingKey) {
    let name = quote.qualified_signer();
    let algorithm = name.algorithm();
    let result = match (algorithm, key) {
        (None, _) => Err(format!("expected the name of a key, found {name}")),
        (Some(algorithm), _) if !algorithm.is_acceptable() => {
            Err(format!("expected a name by SHA-2, found one by {algorithm}"))
        }
        (Some(algorithm), QuotingKey::Area(area)) if algorithm != area.name_algorithm() => {
            Err(format!("expected a name by {}, found one by {algorithm}", area.name_algorithm()))
        }
        (Some(_), _) => Ok(format!("{name}; which keys stand above it is not known")),
    };
    list.record("ak.name", result);
}

fn check_nonce(list: &mut Checklist, quote: &Quote, expected: &[u8]) {
    let found = quote.extra_data();
    let result = if expected.is_empty() || expected.len() > NONCE_MAX {
        Err(format!("expected a nonce of 1 to {NONCE_MAX} bytes, found {}", expected.len()))
    } else if found == expected {
        Ok(hex::encode(expected))
    } else {
        Err(format!("expected the nonce {}, found {}", hex::encode(expected), hex::encode(found)))
    };
    if result.is_ok() && expected.len() < Nonce::BYTES_MIN {
        let (length, least) = (expected.len(), Nonce::BYTES_MIN);
        list.warn(format!(
            "a nonce of {length} bytes may repeat or be guessed: only one of {least} shows that a quote is fresh"
        ));
    }
    list.record("nonce.answered", result);
}

/// Only banks that nobody can make collisions in; a bank that is not known is none of them.
fn check_banks(list: &mut Checklist, quote: &Quote) {
    let selected = quote.selection().banks().iter().filter(|entry| !entry.pcrs.is_empty());
    let refused: Vec<String> = selected
        .filter(|entry| !entry.bank().is_some_and(|bank| bank.is_acceptable()))
        .map(|entry| entry.bank().map_or(format!("{:#06x}", entry.algorithm), |bank| bank.to_string()))
        .collect();
    let result = if refused.is_empty() {
        Ok("every quoted bank".to_owned())
    } else {
        Err(format!("expected banks of SHA-2, found {}", refused.join(", ")))
    };
    list.record("selection.sha2", result);
}

fn check_given_values(
    list: &mut Checklist,
    quote: &Quote,
    pcrs: Option<PcrFile>,
    signature: Option<&TpmSignature>,
) -> Option<PcrValues> {
    let Some(file) = pcrs else {
        list.not_applicable("pcr.values", "no values were given");
        list.not_applicable("pcr.digest", "no values were given");
        return None;
    };
    match file.values(quote.selection()) {
        Ok(values) => {
            // A quote's digest is by the hash of its signature (TPM 2.0 Part 3, TPM2_Quote).
            let hash = signature.map(|signature| signature.scheme().hash).ok_or(SignatureError::NoScheme);
            check_values(list, quote, &values, hash);
            Some(values)
        }
        Err(error) => {
            list.record("pcr.values", Err(error.to_string()));
            None
        }
    }
}

fn check_log(list: &mut Checklist, values: Option<&PcrValues>, log: Option<&[u8]>) {
    match (log, values) {
        (None, _) => list.not_applicable("event_log", "no event log was given"),
        (Some(log), Some(values)) => check_given_log(list, log, values),
        (Some(_), None) => {
            let error = "expected values of the quoted PCRs beside the event log, found none";
            list.record("event_log", Err(error.to_owned()));
        }
    }
}

fn check_measurements(list: &mut Checklist, values: Option<&PcrValues>, ima: Option<&[u8]>) {
    match (ima, values) {
        (None, _) => list.not_applicable("ima", "no measurement list was given"),
        (Some(log), Some(values)) if vouched_for(list) => {
            _ = check_ima(list, log, values, Coverage::Pcr10);
        }
        // Not reached: nothing vouches for the values.
        (Some(_), Some(_)) => {}
        (Some(_), None) => {
            let error = "expected values of the quoted PCRs beside the measurement list, found none";
            list.record("ima", Err(error.to_owned()));
        }
    }
}

fn conclude(mut list: Checklist, quote: Option<Quote>, values: Option<PcrValues>) -> BareAppraisal {
    let resettable: Vec<String> = quote
        .iter()
        .flat_map(|quote| quote.selection().banks())
        .flat_map(|entry| &entry.pcrs)
        .filter(|index| index.resettable())
        .map(PcrIndex::to_string)
        .collect();
    if !resettable.is_empty() {
        list.warn(format!(
            "any program may reset PCR {}: what it holds satisfies no policy",
            resettable.join(" and PCR ")
        ));
    }
    let verdict = list.verdict();
    if !verdict.accepted() {
        return BareAppraisal { verdict, quote: None, pcrs: PcrValues::new() };
    }
    let mut pcrs = PcrValues::new();
    for (bank, index, value) in
        values.iter().flat_map(PcrValues::iter).filter(|(_, index, _)| !index.resettable())
    {
        pcrs.insert(bank, index, value.to_vec()).expect("each comes once from a set of values");
    }
    BareAppraisal { verdict, quote, pcrs }
}
