//! Structures of a TPM.

use sealstone_attestation::{PcrFile, PcrValues, PublicArea, Quote, SignatureError, TpmKey, TpmSignature};

use crate::golden::QUOTES;
use crate::round_trip;

/// TPMS_ATTEST of a quote.
#[must_use]
pub fn quote(bytes: &[u8]) -> bool {
    let Ok(quote) = Quote::parse(bytes) else { return false };
    assert_whole(bytes, |bytes| Quote::parse(bytes).is_ok());
    let selection = quote.selection();
    let selected: usize = selection.banks().iter().map(|bank| bank.pcrs.len()).sum();
    assert_eq!(selection.is_empty(), selected == 0);
    assert_eq!(selection.check_values(&PcrValues::new()).is_ok(), selection.is_empty());
    true
}

/// TPMT_SIGNATURE.
#[must_use]
pub fn signature(bytes: &[u8]) -> bool {
    let Ok(signature) = TpmSignature::parse(bytes) else { return false };
    assert_whole(bytes, |bytes| TpmSignature::parse(bytes).is_ok());
    for (golden, _) in QUOTES.iter() {
        let own = TpmSignature::parse(&golden.quote.signature).expect("swtpm made it");
        match golden.ak.verify(&golden.quote.attest, &signature) {
            Ok(()) => assert_eq!(signature.scheme(), own.scheme()),
            Err(SignatureError::Scheme { .. }) => assert_ne!(signature.scheme(), own.scheme()),
            Err(_) => assert_ne!(signature, own),
        }
        assert!(golden.ak.verify(b"something else", &signature).is_err());
    }
    true
}

/// TPMT_PUBLIC or TPM2B_PUBLIC.
#[must_use]
pub fn public_area(bytes: &[u8]) -> bool {
    let Ok(area) = PublicArea::parse(bytes) else { return false };
    assert!(bytes.ends_with(area.as_bytes()) && bytes.len() - area.as_bytes().len() <= 2);
    assert_whole(area.as_bytes(), |bytes| PublicArea::parse(bytes).is_ok());
    assert_eq!(PublicArea::parse(area.as_bytes()).as_ref(), Ok(&area));
    let json = serde_json::to_vec(&area).expect("public areas are JSON");
    assert_eq!(round_trip::json::<PublicArea>(&json).as_ref(), Some(&area));
    assert!(
        area.check_attestation_key().is_err() || area.check_endorsement_key().is_err(),
        "a key that attests must not decrypt"
    );
    assert_ne!(area.endorsement_primary_name(), *area.name());
    for (golden, _) in QUOTES.iter() {
        let signature = TpmSignature::parse(&golden.quote.signature).expect("swtpm made it");
        if area.verify(&golden.quote.attest, &signature).is_ok() {
            assert_eq!(area.key(), golden.ak.key());
        }
    }
    true
}

/// A public key as everybody else writes it.
#[must_use]
pub fn spki(bytes: &[u8]) -> bool {
    let Ok(key) = TpmKey::from_spki_der(bytes) else { return false };
    assert_whole(bytes, |bytes| TpmKey::from_spki_der(bytes).is_ok());
    // Compressed points and named parameters have other spellings; ours is read again.
    let written = key.to_spki_der().expect("a key that was read can be written");
    assert_eq!(TpmKey::from_spki_der(&written), Ok(key));
    true
}

/// A file with values of PCRs, ours or tpm2-tools'.
#[must_use]
pub fn pcr_file(bytes: &[u8]) -> bool {
    let Ok(file) = PcrFile::parse(bytes) else { return false };
    for (golden, _) in QUOTES.iter() {
        let quote = Quote::parse(&golden.quote.attest).expect("swtpm made it");
        let selection = quote.selection();
        let Ok(values) = file.clone().values(selection) else { continue };
        if selection.check_values(&values).is_ok() {
            let written = values.to_tpm2_tools(selection).expect("values of exactly the selection");
            assert_eq!(PcrFile::parse(&written), Ok(PcrFile::Named(values)));
        } else {
            assert!(values.to_tpm2_tools(selection).is_err());
            assert!(matches!(file, PcrFile::Named(_)), "values without names are of the selection");
        }
    }
    true
}

/// What is read is one structure, not the beginning of one and not one with something behind it.
fn assert_whole(bytes: &[u8], parses: impl Fn(&[u8]) -> bool) {
    assert!(!parses(&bytes[..bytes.len() - 1]), "the structure is not whole without its last byte");
    assert!(!parses(&[bytes, &[0]].concat()), "nothing may follow the structure");
}
