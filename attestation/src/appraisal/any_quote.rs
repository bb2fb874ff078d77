//! Checks that hold for every quote, whichever key made it and whoever asked for it.

use crate::{
    HashAlgorithm, PcrValues, Quote, QuoteError, SignatureError, TpmSignature, appraisal::verdict::Checklist,
};

/// The checks that must pass before the values beside a quote are those that its key signed.
pub(crate) const VOUCHING: [&str; 4] = ["signature.valid", "quote.well_formed", "pcr.values", "pcr.digest"];

/// Whether the values beside a quote are those that its key signed.
pub(crate) fn vouched_for(list: &Checklist) -> bool {
    VOUCHING.iter().all(|name| list.passed(name))
}

/// Magic, type and form, each only after the one before.
pub(crate) fn check_form(list: &mut Checklist, attest: &[u8]) -> Option<Quote> {
    let parsed = Quote::parse(attest);
    let magic_fails = matches!(parsed, Err(QuoteError::Magic { .. }));
    let type_fails = matches!(parsed, Err(QuoteError::Type { .. }));
    let error = |parsed: &Result<Quote, QuoteError>| {
        parsed.as_ref().map_or_else(ToString::to_string, |_| String::new())
    };
    if magic_fails {
        list.record("quote.magic", Err(error(&parsed)));
        return None;
    }
    list.record("quote.magic", Ok("made by a TPM".to_owned()));
    if type_fails {
        list.record("quote.type", Err(error(&parsed)));
        return None;
    }
    list.record("quote.type", Ok("a quote".to_owned()));
    match parsed {
        Ok(quote) => {
            list.record("quote.well_formed", Ok(format!("{} bytes, all of them read", attest.len())));
            Some(quote)
        }
        Err(error) => {
            list.record("quote.well_formed", Err(error.to_string()));
            None
        }
    }
}

/// Scheme and signature. `verified` is what the key says of the signature over the bytes as they were received; what
/// is parsed are the same bytes.
pub(crate) fn check_signature(
    list: &mut Checklist,
    signature: &TpmSignature,
    verified: Result<(), SignatureError>,
    key: &str,
) {
    match verified {
        Err(error @ (SignatureError::NoScheme | SignatureError::Scheme { .. } | SignatureError::Sha1)) => {
            list.record("signature.scheme", Err(error.to_string()));
        }
        Err(error @ SignatureError::Invalid) => {
            list.record("signature.scheme", Ok(signature.scheme().to_string()));
            list.record("signature.valid", Err(error.to_string()));
        }
        Ok(()) => {
            list.record("signature.scheme", Ok(signature.scheme().to_string()));
            list.record("signature.valid", Ok(format!("by {key} over the bytes received")));
        }
    }
}

/// A quote of nothing says nothing.
pub(crate) fn check_not_empty(list: &mut Checklist, quote: &Quote) {
    let selection = quote.selection();
    let not_empty = if selection.is_empty() {
        Err("expected a quote over PCRs, found an empty selection".to_owned())
    } else {
        Ok(selection.to_string())
    };
    list.record("selection.not_empty", not_empty);
}

/// Values of exactly the signed PCRs, with the signed digest in signed order.
pub(crate) fn check_values(
    list: &mut Checklist,
    quote: &Quote,
    values: &PcrValues,
    hash: Result<HashAlgorithm, SignatureError>,
) {
    let exact = quote.selection().check_values(values);
    let exact = exact
        .map(|()| format!("{} values, one for each quoted PCR", values.len()))
        .map_err(|e| e.to_string());
    list.record("pcr.values", exact);
    let hash = match hash {
        Ok(hash) => hash,
        Err(error) => return list.record("pcr.digest", Err(error.to_string())),
    };
    let digest = match quote.selection().digest(hash, values) {
        Ok(digest) if digest == quote.pcr_digest() => Ok(hex::encode(digest)),
        Ok(digest) => {
            let (digest, found) = (hex::encode(digest), hex::encode(quote.pcr_digest()));
            Err(format!("expected the digest of the given values, {digest}, found {found}"))
        }
        Err(error) => Err(error.to_string()),
    };
    list.record("pcr.digest", digest);
}
