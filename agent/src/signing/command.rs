//! What a client asks to be signed: parsed, bounded, and named by one digest.

use sealstone_attestation::{Algorithm, RequestDigest, Sha256Digest, lp};
use sealstone_wire::PathText;
use sealstone_wire::api::{HashName, SessionKey, SignBody};
use sealstone_wire::limits::MESSAGE_MAX;
use sealstone_wire::request::Payload;

use crate::failure::{Code, Failure};
use crate::store::{IdempotencyKey, NonceKey, Sender};

/// Separates request digests from everything else that is hashed.
const LABEL: &[u8] = b"sealstone/request/v1";

/// Bytes of a client's idempotency key.
pub const IDEMPOTENCY_KEY_MAX: usize = 128;

/// One request to sign, well formed. Nothing is known yet of whether its key exists or may sign it.
#[derive(Clone, Debug)]
pub struct SignCommand {
    /// What it spends.
    pub nonce: NonceKey,
    /// Whose key signs.
    pub signer: Signer,
    /// What is signed.
    pub payload: Payload,
    /// SHA-256 of the payload's bytes, or the bare digest.
    pub payload_digest: [u8; 32],
    /// Names the request: two requests with one digest are the same request.
    pub request: RequestDigest,
    /// The client's own name for it.
    pub idempotency: Option<IdempotencyKey>,
}

/// Whose key signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// An asset's, in its newest epoch.
    Asset {
        /// Who owns it.
        tenant: PathText,
        /// Its name.
        asset: PathText,
    },
    /// A key for this one use.
    Session {
        /// Who owns the sender.
        tenant: PathText,
        /// Who sends.
        sender: PathText,
        /// With what.
        algorithm: Algorithm,
    },
}

impl SignCommand {
    /// Checks a body's form.
    ///
    /// # Errors
    /// [`Code::BadRequest`] or [`Code::PayloadTooLarge`], naming the field.
    pub fn parse(body: SignBody, idempotency: Option<IdempotencyKey>) -> Result<Self, Failure> {
        let SignBody { tenant, asset, session, chain_id, nonce, payload, digest, hash } = body;
        let bad = |detail: String| Failure::new(Code::BadRequest, detail);
        let signer = match (asset, session) {
            (Some(asset), None) => Signer::Asset { tenant, asset },
            (None, Some(SessionKey { sender, algorithm })) => Signer::Session { tenant, sender, algorithm },
            (Some(_), Some(_)) => {
                return Err(bad("expected one of asset and session, found both".to_owned()));
            }
            (None, None) => return Err(bad("expected one of asset and session, found neither".to_owned())),
        };
        let (payload, payload_digest) = match (payload, digest, hash) {
            (Some(text), None, hash) => {
                let bytes = message(&text)?;
                let digest = *Sha256Digest::of(&bytes).as_bytes();
                match hash {
                    HashName::Sha256 => (Payload::Message(bytes), digest),
                    HashName::Keccak256 => (Payload::MessageKeccak(bytes), digest),
                }
            }
            (None, Some(text), HashName::Sha256) => {
                let mut digest = [0; 32];
                hex::decode_to_slice(&text, &mut digest).map_err(|error| {
                    bad(format!("digest: expected 64 hex characters, found {} ({error})", text.len()))
                })?;
                (Payload::Digest(digest), digest)
            }
            (None, Some(_), HashName::Keccak256) => {
                return Err(bad("hash: expected none beside a digest, found keccak256".to_owned()));
            }
            (Some(_), Some(_), _) => {
                return Err(bad("expected one of payload and digest, found both".to_owned()));
            }
            (None, None, _) => {
                return Err(bad("expected one of payload and digest, found neither".to_owned()));
            }
        };
        if let Signer::Session { algorithm, .. } = &signer {
            suits(*algorithm, &payload)?;
        }
        let sender = match &signer {
            Signer::Asset { tenant, asset } => Sender::asset(tenant, asset),
            Signer::Session { tenant, sender, .. } => Sender::session(tenant, sender),
        };
        let nonce = NonceKey { chain_id, sender, nonce };
        let request = request_digest(&signer, chain_id, nonce.nonce, &payload, &payload_digest);
        Ok(Self { nonce, signer, payload, payload_digest, request, idempotency })
    }
}

/// Whether a payload can be signed with an algorithm at all.
///
/// # Errors
/// [`Code::PayloadUnsuitable`].
pub fn suits(algorithm: Algorithm, payload: &Payload) -> Result<(), Failure> {
    let found = match payload {
        Payload::MessageKeccak(_) => "a message hashed with keccak256",
        Payload::Digest(_) => "a bare digest",
        Payload::Message(_) => return Ok(()),
    };
    match algorithm {
        Algorithm::Es256 | Algorithm::Es256k => Ok(()),
        Algorithm::EdDsa => Err(Failure::new(
            Code::PayloadUnsuitable,
            format!("expected a message, as EdDSA signs no hash, found {found}"),
        )),
    }
}

fn message(text: &str) -> Result<Vec<u8>, Failure> {
    if text.len() > 2 * MESSAGE_MAX {
        return Err(Failure::new(
            Code::PayloadTooLarge,
            format!("payload: expected at most {MESSAGE_MAX} bytes, found {}", text.len() / 2),
        ));
    }
    // A signature over nothing is nobody's wish.
    if text.is_empty() {
        return Err(Failure::new(Code::BadRequest, "payload: expected at least one byte, found none"));
    }
    hex::decode(text)
        .map_err(|error| Failure::new(Code::BadRequest, format!("payload: expected hex, found {error}")))
}

/// The digest that names a request, in its reservation and in the enclave's receipt: `docs/api.md` has the rule.
fn request_digest(
    signer: &Signer,
    chain_id: u64,
    nonce: u64,
    payload: &Payload,
    payload_digest: &[u8; 32],
) -> RequestDigest {
    let (kind, tenant, name, algorithm) = match signer {
        Signer::Asset { tenant, asset } => ("asset", tenant, asset, ""),
        Signer::Session { tenant, sender, algorithm } => ("session", tenant, sender, algorithm.name()),
    };
    let payload_kind = match payload {
        Payload::Message(_) => "message",
        Payload::MessageKeccak(_) => "message-keccak256",
        Payload::Digest(_) => "digest",
    };
    let mut bytes = Vec::with_capacity(256);
    let text = |bytes: &mut Vec<u8>, text: &[u8]| lp(bytes, text).expect("texts are at most 255 bytes");
    text(&mut bytes, LABEL);
    text(&mut bytes, kind.as_bytes());
    text(&mut bytes, tenant.as_str().as_bytes());
    text(&mut bytes, name.as_str().as_bytes());
    text(&mut bytes, algorithm.as_bytes());
    bytes.extend_from_slice(&chain_id.to_be_bytes());
    bytes.extend_from_slice(&nonce.to_be_bytes());
    text(&mut bytes, payload_kind.as_bytes());
    bytes.extend_from_slice(payload_digest);
    RequestDigest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<SignCommand, Failure> {
        SignCommand::parse(serde_json::from_str(json).unwrap(), None)
    }

    #[test]
    fn the_request_digest_is_the_documented_one() {
        let command =
            parse(r#"{"tenant":"acme","asset":"hot","chain_id":1,"nonce":7,"payload":"68656c6c6f"}"#)
                .unwrap();
        let mut bytes = b"\x00\x14sealstone/request/v1\x00\x05asset\x00\x04acme\x00\x03hot\x00\x00".to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
        bytes.extend_from_slice(b"\x00\x07message");
        bytes.extend_from_slice(Sha256Digest::of(b"hello").as_bytes());
        assert_eq!(command.request, RequestDigest::of(&bytes));
    }

    #[test]
    fn every_field_makes_another_request() {
        let bodies = [
            r#"{"tenant":"a","asset":"b","nonce":1,"payload":"00"}"#,
            r#"{"tenant":"ab","asset":"b","nonce":1,"payload":"00"}"#,
            r#"{"tenant":"a","asset":"c","nonce":1,"payload":"00"}"#,
            r#"{"tenant":"a","asset":"b","chain_id":1,"nonce":1,"payload":"00"}"#,
            r#"{"tenant":"a","asset":"b","nonce":2,"payload":"00"}"#,
            r#"{"tenant":"a","asset":"b","nonce":1,"payload":"01"}"#,
            r#"{"tenant":"a","asset":"b","nonce":1,"payload":"00","hash":"keccak256"}"#,
            r#"{"tenant":"a","asset":"b","nonce":1,"digest":"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"}"#,
            r#"{"tenant":"a","session":{"sender":"b","algorithm":"ES256"},"nonce":1,"payload":"00"}"#,
            r#"{"tenant":"a","session":{"sender":"b","algorithm":"ES256K"},"nonce":1,"payload":"00"}"#,
        ];
        let mut digests: Vec<_> = bodies.iter().map(|body| parse(body).unwrap().request).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), bodies.len());
    }

    #[test]
    fn a_body_that_is_not_one_request_is_refused_by_its_field() {
        let long =
            format!(r#"{{"tenant":"a","asset":"b","nonce":1,"payload":"{}"}}"#, "00".repeat(MESSAGE_MAX + 1));
        for (body, expected, code) in [
            (r#"{"tenant":"a","nonce":1,"payload":"00"}"#, "neither", Code::BadRequest),
            (
                r#"{"tenant":"a","asset":"b","session":{"sender":"b","algorithm":"ES256"},"nonce":1,"payload":"00"}"#,
                "found both",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b","nonce":1}"#,
                "payload and digest, found neither",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b","nonce":1,"payload":"00","digest":"00"}"#,
                "found both",
                Code::BadRequest,
            ),
            (r#"{"tenant":"a","asset":"b","nonce":1,"payload":""}"#, "at least one byte", Code::BadRequest),
            (
                r#"{"tenant":"a","asset":"b","nonce":1,"payload":"0"}"#,
                "payload: expected hex",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b","nonce":1,"payload":"0x00"}"#,
                "payload: expected hex",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b","nonce":1,"digest":"00"}"#,
                "digest: expected 64",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b","nonce":1,"digest":"00","hash":"keccak256"}"#,
                "beside a digest",
                Code::BadRequest,
            ),
            (long.as_str(), "at most 61440 bytes, found 61441", Code::PayloadTooLarge),
            (
                r#"{"tenant":"a","session":{"sender":"b","algorithm":"EdDSA"},"nonce":1,"payload":"00","hash":"keccak256"}"#,
                "EdDSA signs no hash",
                Code::PayloadUnsuitable,
            ),
        ] {
            let failure = parse(body).unwrap_err();
            assert!(failure.detail.contains(expected) && failure.code == code, "{expected}: {failure}");
        }
    }

    #[test]
    fn the_longest_payload_is_taken() {
        for byte in ["00", "ff"] {
            let body =
                format!(r#"{{"tenant":"a","asset":"b","nonce":1,"payload":"{}"}}"#, byte.repeat(MESSAGE_MAX));
            assert!(
                matches!(parse(&body).unwrap().payload, Payload::Message(bytes) if bytes.len() == MESSAGE_MAX)
            );
        }
    }
}
