//! Small values, and the receipts that are made of them.

use std::path::Path;

use sealstone_attestation::{
    Algorithm, Binding, Grace, KeyId, ManifestDigest, Nonce, PcrBank, PublicKey, Purpose, Signature64,
    SignedReceipt, TpmName, UnixTime, verify_chain,
};
use sealstone_wire::PathText;
use sealstone_wire::address::{Address, PATH_BYTES_MAX};
use sealstone_wire::channel::ChannelPublic;

use crate::golden::{EVIDENCE, RECEIPTS};
use crate::round_trip::{json, postcard, spelling, text as any_spelling};

/// Any of the texts that configurations, manifests, queries and file names hold.
#[must_use]
pub fn text(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let taken = [
        spelling::<UnixTime>(text),
        spelling::<Grace>(text),
        spelling::<Algorithm>(text),
        spelling::<Purpose>(text),
        spelling::<PcrBank>(text),
        spelling::<KeyId>(text),
        any_spelling::<Binding>(text),
        any_spelling::<ManifestDigest>(text),
        any_spelling::<Signature64>(text),
        any_spelling::<Nonce>(text),
        any_spelling::<TpmName>(text),
        any_spelling::<ChannelPublic>(text),
    ];
    let named = spelling::<PathText>(text);
    assert_eq!(named, (1..=PathText::BYTES_MAX).contains(&text.len()));
    taken.contains(&true)
}

/// An address of an enclave.
#[must_use]
pub fn address(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    if !spelling::<Address>(text) {
        return false;
    }
    let address: Address = text.parse().expect("it was parsed");
    if let Address::Unix { path } | Address::UnixVsock { path, .. } = &address {
        assert!((1..=PATH_BYTES_MAX).contains(&path.as_os_str().len()), "the path fits a socket's address");
    }
    assert_eq!(address.clone().relative_to(Path::new("")), address);
    true
}

/// A public key, behind one byte that chooses its algorithm.
#[must_use]
pub fn public_key(bytes: &[u8]) -> bool {
    let Some((algorithm, bytes)) = bytes.split_first() else { return false };
    let algorithm = Algorithm::ALL[usize::from(*algorithm) % Algorithm::ALL.len()];
    let Ok(key) = PublicKey::from_bytes(algorithm, bytes) else { return false };
    assert_eq!((key.algorithm(), key.as_bytes()), (algorithm, bytes), "a key has one spelling");
    let compact = postcard::<PublicKey>(&::postcard::to_stdvec(&key).expect("keys are written"));
    assert_eq!(compact, Some(key));
    let text = serde_json::to_vec(&key).expect("keys are written");
    assert_eq!(json::<PublicKey>(&text), Some(key));
    assert!(spelling::<KeyId>(&key.key_id().to_string()));
    assert!(key.jwk().is_object());
    for signature in [[0; 64], [1; 64], [0xff; 64]].map(Signature64::from_bytes) {
        assert!(key.verify_message(b"", &signature).is_err());
    }
    true
}

/// Receipts, compact or as JSON. A chain that verifies is a part of the one that the enclave gave out.
#[must_use]
pub fn receipts(bytes: &[u8]) -> bool {
    let Some(receipts) = postcard::<Vec<SignedReceipt>>(bytes).or_else(|| json(bytes)) else { return false };
    let report_key = &EVIDENCE.report.report().report_key;
    if !receipts.is_empty() && verify_chain(&receipts, report_key).is_ok() {
        assert!(RECEIPTS.windows(receipts.len()).any(|part| part == receipts));
    }
    for signed in &receipts {
        assert_eq!(signed.verify(report_key).is_ok(), RECEIPTS.contains(signed));
    }
    true
}
