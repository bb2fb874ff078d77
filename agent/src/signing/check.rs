//! What the enclave returned is what was asked for: the agent records and gives out nothing else.

use sealstone_attestation::{Algorithm, Binding, KeyId, PublicKey, RequestDigest};
use sealstone_wire::reply::Signed;
use sealstone_wire::request::Payload;
use sha2::Digest;
use sha3::Keccak256;

use crate::failure::{Code, Failure};

/// What the signature of one request must be.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) request: RequestDigest,
    pub(super) algorithm: Algorithm,
    /// The recorded key; a session key is new.
    pub(super) recorded: Option<(PublicKey, KeyId)>,
    pub(super) binding: Binding,
    pub(super) epoch: u64,
    pub(super) era: u64,
    /// See [`digest_of`].
    pub(super) digest: [u8; 32],
}

/// What a signature is over, as answers say it: an ECDSA digest, or for Ed25519 the message's SHA-256.
pub(super) fn digest_of(payload: &Payload, payload_digest: [u8; 32]) -> [u8; 32] {
    match payload {
        Payload::MessageKeccak(bytes) => Keccak256::digest(bytes).into(),
        Payload::Message(_) | Payload::Digest(_) => payload_digest,
    }
}

/// Checks that a signature is the one asked for: key, digest, binding, epoch, and a receipt of the report key that
/// names all of them and the signature.
///
/// The signature itself is not verified again: the enclave did that before it left (the manifest may say
/// otherwise, and means it), the channel carries it unchanged, and for P-256 a second time would cost more than
/// everything else that the agent does for a request.
///
/// # Errors
/// [`Code::EnclaveFault`], naming what differs.
pub(super) fn check(signed: &Signed, expected: &Expected, report_key: &PublicKey) -> Result<(), Failure> {
    let fault = |what: &str| {
        Failure::new(
            Code::EnclaveFault,
            format!("expected {what} as asked for in request {}, found another", expected.request),
        )
    };
    let receipt = &signed.receipt.receipt;
    let key = &signed.public_key;
    if receipt.request != expected.request {
        return Err(fault("a receipt"));
    }
    if key.algorithm() != expected.algorithm {
        return Err(fault("a key"));
    }
    match &expected.recorded {
        Some((recorded, key_id)) if recorded == key && *key_id == receipt.key_id => {}
        None if key.key_id() == receipt.key_id => {}
        _ => return Err(fault("the recorded key")),
    }
    if receipt.binding != expected.binding || receipt.epoch != expected.epoch {
        return Err(fault("the recorded binding and epoch"));
    }
    if receipt.signature != signed.signature || signed.digest != expected.digest {
        return Err(fault("a signature over the payload"));
    }
    let recovers = expected.algorithm == Algorithm::Es256k;
    if signed.recovery_id.is_some() != recovers || signed.recovery_id.is_some_and(|id| id > 3) {
        return Err(fault("a recovery id for ES256K alone"));
    }
    report_key
        .verify_message(&receipt.encode(), &signed.receipt.report_signature)
        .map_err(|_| fault("a receipt of the report key"))
}

/// An ECDSA signature as DER (`ECDSA-Sig-Value`, RFC 3279 section 2.2.3), from `r ‖ s`.
pub(super) fn der(signature: &[u8; 64]) -> Vec<u8> {
    let (r, s) = signature.split_at(32);
    let mut body = Vec::with_capacity(72);
    integer(&mut body, r);
    integer(&mut body, s);
    let mut der = Vec::with_capacity(72);
    der.push(0x30);
    push_length(&mut der, body.len());
    der.extend_from_slice(&body);
    der
}

fn integer(out: &mut Vec<u8>, bytes: &[u8]) {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
    let magnitude = &bytes[zeros..];
    let negative = magnitude[0] & 0x80 != 0;
    out.push(0x02);
    push_length(out, magnitude.len() + usize::from(negative));
    if negative {
        out.push(0);
    }
    out.extend_from_slice(magnitude);
}

fn push_length(out: &mut Vec<u8>, length: usize) {
    out.push(u8::try_from(length).expect("two integers of 33 bytes are shorter than 128 bytes"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn der_has_no_needless_zero_and_no_negative_number() {
        let mut signature = [0; 64];
        signature[0] = 0x80;
        signature[31] = 1;
        signature[62] = 0x01;
        signature[63] = 0xff;
        let encoded = hex::encode(der(&signature));
        let r = format!("022100{}{}01", "80", "00".repeat(30));
        assert_eq!(encoded, format!("3027{r}020201ff"));
        assert_eq!(hex::encode(der(&[0; 64])), "3006020100020100");
    }
}
