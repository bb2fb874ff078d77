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
