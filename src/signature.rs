//! Checks an answer to a signing request before anybody relies on it.
//!
//! The agent and the enclave have checked the signature before; this check needs neither of them to be
//! honest. It cannot show that the key is the asset's: compare `key_id` with what you know.

use sealstone_attestation::{Algorithm, PublicKey, PublicKeyError};
use sealstone_wire::api::{HashName, SignAnswer};
use sha2::Digest as _;
use thiserror::Error;

/// What was to be signed.
#[derive(Debug)]
pub(crate) enum Payload {
    /// A message, and how an ECDSA key hashes it.
    Message(Vec<u8>, HashName),
    /// A bare digest.
    Digest([u8; 32]),
}

/// Why an answer is not to be relied on.
#[derive(Debug, Error)]
pub(crate) enum SignatureFlaw {
    /// The peer: no public key.
    #[error("expected a public key in hex")]
    KeyText(#[source] hex::FromHexError),
    /// The peer: no point of the curve.
    #[error("expected a public key for {algorithm}")]
    Key {
        /// What the answer names.
        algorithm: Algorithm,
        /// Why.
        #[source]
        source: PublicKeyError,
    },
    /// The peer: another algorithm than asked for.
    #[error("expected a signature by {expected}, found one by {found}")]
    Algorithm {
        /// Asked for.
        expected: Algorithm,
        /// Answered.
        found: Algorithm,
    },
    /// The peer: the key id names another key.
    #[error("expected key id {expected} for this public key, found {found}")]
    KeyId {
        /// Computed.
        expected: String,
        /// Answered.
        found: String,
    },
    /// The peer: another digest.
    #[error("expected digest {expected} of the payload, found {found}")]
    Digest {
        /// Computed.
        expected: String,
        /// Answered.
        found: String,
    },
    /// The caller: Ed25519 signs messages only.
    #[error("expected a message for EdDSA, found a bare digest")]
    DigestForEdDsa,
    /// The peer: the signature is another payload's, another key's, or has a high S.
    #[error("expected a signature that verifies under the answered public key, found one that does not")]
    Signature,
    /// The peer: the DER form is of another signature.
    #[error("expected {expected} as the DER form, found {found}")]
    Der {
        /// Computed.
        expected: String,
        /// Answered.
        found: String,
    },
}

/// Checks key id, digest, signature and DER form of an answer against what was asked for.
pub(crate) fn check(
    answer: &SignAnswer,
    payload: &Payload,
    algorithm: Option<Algorithm>,
) -> Result<PublicKey, SignatureFlaw> {
    if let Some(expected) = algorithm
        && answer.algorithm != expected
    {
        return Err(SignatureFlaw::Algorithm { expected, found: answer.algorithm });
    }
    let key = public_key(answer.algorithm, &answer.public_key)?;
    let (expected, found) = (key.key_id().to_string(), answer.key_id.to_string());
    if expected != found {
        return Err(SignatureFlaw::KeyId { expected, found });
    }
    let digest = match (payload, answer.algorithm) {
        (Payload::Digest(_), Algorithm::EdDsa) => return Err(SignatureFlaw::DigestForEdDsa),
        (Payload::Digest(digest), _) => *digest,
        (Payload::Message(message, HashName::Keccak256), Algorithm::Es256 | Algorithm::Es256k) => {
            sha3::Keccak256::digest(message).into()
        }
        (Payload::Message(message, _), _) => sha2::Sha256::digest(message).into(),
    };
    let (expected, found) = (hex::encode(digest), &answer.digest);
    if expected != *found {
        return Err(SignatureFlaw::Digest { expected, found: found.clone() });
    }
    match payload {
        Payload::Message(message, _) if answer.algorithm == Algorithm::EdDsa => {
            key.verify_message(message, &answer.signature)
        }
        _ => key.verify_prehash(&digest, &answer.signature),
    }
    .map_err(|_| SignatureFlaw::Signature)?;
    check_der(answer)?;
    Ok(key)
}

/// The public key of an answer.
pub(crate) fn public_key(algorithm: Algorithm, text: &str) -> Result<PublicKey, SignatureFlaw> {
    let bytes = hex::decode(text).map_err(SignatureFlaw::KeyText)?;
    PublicKey::from_bytes(algorithm, &bytes).map_err(|source| SignatureFlaw::Key { algorithm, source })
}

fn check_der(answer: &SignAnswer) -> Result<(), SignatureFlaw> {
    let bytes = answer.signature.as_bytes();
    let expected = match answer.algorithm {
        Algorithm::EdDsa => None,
        Algorithm::Es256 => {
            let signature =
                p256::ecdsa::Signature::from_slice(bytes).map_err(|_| SignatureFlaw::Signature)?;
            Some(hex::encode(signature.to_der()))
        }
        Algorithm::Es256k => {
            let signature =
                k256::ecdsa::Signature::from_slice(bytes).map_err(|_| SignatureFlaw::Signature)?;
            Some(hex::encode(signature.to_der()))
        }
    };
    if expected == answer.der {
        return Ok(());
    }
    let text = |form: Option<&String>| form.cloned().unwrap_or_else(|| "none".to_owned());
    Err(SignatureFlaw::Der { expected: text(expected.as_ref()), found: text(answer.der.as_ref()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    use sealstone_attestation::{Binding, RequestDigest, Signature64, UnixTime};
    use sealstone_wire::Epoch;
    use sealstone_wire::api::ReceiptName;

    fn message(bytes: &[u8]) -> Payload {
        Payload::Message(bytes.to_vec(), HashName::Sha256)
    }

    fn keccak(bytes: &[u8]) -> Payload {
        Payload::Message(bytes.to_vec(), HashName::Keccak256)
    }

    fn answer(algorithm: Algorithm, payload: &Payload) -> SignAnswer {
        let digest: [u8; 32] = match payload {
            Payload::Digest(digest) => *digest,
            Payload::Message(m, HashName::Keccak256) if algorithm != Algorithm::EdDsa => {
                sha3::Keccak256::digest(m).into()
            }
            Payload::Message(m, _) => sha2::Sha256::digest(m).into(),
        };
        let (key, signature, der) = match algorithm {
            Algorithm::Es256 => {
                let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
                let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
                let signature = signature.normalize_s();
                let public = PublicKey::from(key.verifying_key());
                (public, signature.to_vec(), Some(hex::encode(signature.to_der())))
            }
            Algorithm::Es256k => {
                let key = k256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
                let signature: k256::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
                let public = PublicKey::from(key.verifying_key());
                (public, signature.to_vec(), Some(hex::encode(signature.to_der())))
            }
            Algorithm::EdDsa => {
                use ed25519_dalek::Signer as _;
                let Payload::Message(message, _) = payload else { panic!("EdDSA signs messages") };
                let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
                (PublicKey::from(&key.verifying_key()), key.sign(message).to_vec(), None)
            }
        };
        SignAnswer {
            signature: Signature64::from_bytes(signature.try_into().unwrap()),
            der,
            public_key: hex::encode(key.as_bytes()),
            key_id: key.key_id(),
            algorithm,
            epoch: Some(Epoch(0)),
            hour: None,
            binding: Binding::from_bytes([0; 32]),
            digest: hex::encode(digest),
            recovery_id: None,
            signer: "enclave".to_owned(),
            attested_until: UnixTime::from_secs(0),
            request_id: "r".to_owned(),
            request_digest: RequestDigest::of(b""),
            receipt: ReceiptName { era: 1, sequence: 1 },
            unfunded: true,
        }
    }

    #[test]
    fn honest_answers_pass_for_every_algorithm_and_hash() {
        for algorithm in Algorithm::ALL {
            for payload in [message(b"pay"), keccak(b"pay"), message(&[0; 65_000])] {
                check(&answer(algorithm, &payload), &payload, Some(algorithm)).unwrap();
            }
        }
        let digest = Payload::Digest([3; 32]);
        check(&answer(Algorithm::Es256k, &digest), &digest, None).unwrap();
    }

    #[test]
    fn a_signature_over_another_payload_or_hash_is_refused() {
        for algorithm in Algorithm::ALL {
            let found = check(&answer(algorithm, &message(b"pay 1")), &message(b"pay 2"), None);
            assert!(matches!(found, Err(SignatureFlaw::Digest { .. })), "{found:?}");
            // The digest says what was asked for, the signature is another's.
            let mut lie = answer(algorithm, &message(b"pay 1"));
            lie.digest = answer(algorithm, &message(b"pay 2")).digest;
            assert!(matches!(check(&lie, &message(b"pay 2"), None), Err(SignatureFlaw::Signature)));
        }
        let found = check(&answer(Algorithm::Es256, &message(b"pay")), &keccak(b"pay"), None);
        assert!(matches!(found, Err(SignatureFlaw::Digest { .. })), "{found:?}");
    }

    #[test]
    fn a_flipped_signature_is_refused() {
        for algorithm in Algorithm::ALL {
            for position in [0, 31, 32, 63] {
                let mut flipped = answer(algorithm, &message(b"pay"));
                let mut bytes = *flipped.signature.as_bytes();
                bytes[position] ^= 1;
                flipped.signature = Signature64::from_bytes(bytes);
                assert!(matches!(check(&flipped, &message(b"pay"), None), Err(SignatureFlaw::Signature)));
            }
        }
    }

    #[test]
    fn another_key_key_id_algorithm_or_der_form_is_refused() {
        let payload = message(b"pay");
        let honest = || answer(Algorithm::Es256, &payload);
        let foreign = answer(Algorithm::Es256k, &payload);
        let cases: [(SignAnswer, &str); 6] = [
            (SignAnswer { key_id: foreign.key_id, ..honest() }, "key id"),
            (SignAnswer { public_key: foreign.public_key.clone(), ..honest() }, "p"),
            (SignAnswer { public_key: "zz".to_owned(), ..honest() }, "public key in hex"),
            (SignAnswer { public_key: String::new(), ..honest() }, "public key for ES256"),
            (SignAnswer { der: foreign.der.clone(), ..honest() }, "DER"),
            (SignAnswer { der: None, ..honest() }, "DER"),
        ];
        for (lie, names) in cases {
            let found = check(&lie, &payload, None).unwrap_err();
            assert!(found.to_string().contains(names), "{found}");
        }
        let found = check(&honest(), &payload, Some(Algorithm::Es256k));
        assert!(matches!(found, Err(SignatureFlaw::Algorithm { .. })), "{found:?}");
        let digest = Payload::Digest([0; 32]);
        let found = check(&answer(Algorithm::EdDsa, &payload), &digest, None);
        assert!(matches!(found, Err(SignatureFlaw::DigestForEdDsa)), "{found:?}");
    }
}
