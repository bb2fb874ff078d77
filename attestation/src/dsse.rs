//! Signed envelopes (secure-systems-lab/dsse, version 1): what manifests and reports travel in.
//!
//! A signature covers the type and the payload's bytes as they are, so nothing is re-encoded before it is
//! verified.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::KeyId;

/// A payload, its type and who signed both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Media type of the payload.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The signed bytes.
    #[serde(with = "base64_vec")]
    pub payload: Vec<u8>,
    /// At most [`Envelope::SIGNATURES_MAX`].
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeSignature {
    /// The signer's key id (RFC 7638 thumbprint): a hint which key to verify under, never trusted by itself.
    pub keyid: String,
    /// Over [`Envelope::pae`].
    #[serde(with = "base64_vec")]
    pub sig: Vec<u8>,
}

impl Envelope {
    /// Bytes of a whole envelope: more than 256 nodes and 64 states need.
    pub const BYTES_MAX: usize = 1024 * 1024;

    /// Signatures of one envelope: those of two whole authority sets, as when one hands over to the other.
    pub const SIGNATURES_MAX: usize = 64;

    /// Reads an envelope's JSON.
    ///
    /// # Errors
    /// [`EnvelopeError`] when it is too large, not such JSON, has unknown fields or too many signatures.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(EnvelopeError::TooLong { found: bytes.len() });
        }
        let envelope: Self =
            serde_json::from_slice(bytes).map_err(|error| EnvelopeError::Malformed(error.to_string()))?;
        if envelope.signatures.len() > Self::SIGNATURES_MAX {
            return Err(EnvelopeError::TooManySignatures { found: envelope.signatures.len() });
        }
        Ok(envelope)
    }

    /// The envelope as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and byte vectors always serialize")
    }

    /// The bytes that signatures are over: the pre-authentication encoding of type and payload.
    #[must_use]
    pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
        let mut bytes =
            format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes
    }

    /// The payload in its envelope with one signature; `sign` is given the bytes to sign, so that the key may be wherever it is
    /// kept.
    #[must_use]
    pub fn of_one(
        payload_type: &str,
        payload: Vec<u8>,
        signer: KeyId,
        sign: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Self {
        let sig = sign(&Self::pae(payload_type, &payload));
        let signatures = vec![EnvelopeSignature { keyid: signer.to_string(), sig }];
        Self { payload_type: payload_type.to_owned(), payload, signatures }
    }

    /// Checks what the payload is before anything reads it.
    ///
    /// # Errors
    /// [`EnvelopeError::Type`] for another type.
    pub fn check_type(&self, expected: &'static str) -> Result<(), EnvelopeError> {
        if self.payload_type == expected {
            Ok(())
        } else {
            let found = self.payload_type.chars().take(EnvelopeError::FOUND_CHARS_MAX).collect();
            Err(EnvelopeError::Type { expected, found })
        }
    }
}

/// serde for byte vectors as standard base64 with padding (RFC 4648, section 4).
pub(crate) mod base64_vec {
    use super::{Deserialize, Deserializer, Engine, STANDARD, Serialize, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&STANDARD.encode(bytes))
        } else {
            bytes.serialize(serializer)
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        if deserializer.is_human_readable() {
            STANDARD
                .decode(String::deserialize(deserializer)?)
                .map_err(|_| de::Error::custom("expected standard base64 with padding"))
        } else {
            Vec::deserialize(deserializer)
        }
    }
}

/// Why bytes are no acceptable envelope.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// More than any manifest needs.
    #[error("expected an envelope of at most {} bytes, found {found}", Envelope::BYTES_MAX)]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// Not the JSON of an envelope.
    #[error("expected a DSSE envelope: {0}")]
    Malformed(String),
    /// More than two authority sets can make.
    #[error("expected at most {} signatures, found {found}", Envelope::SIGNATURES_MAX)]
    TooManySignatures {
        /// Signatures given.
        found: usize,
    },
    /// Signed, but something else.
    #[error("expected the payload type {expected}, found {found:?}")]
    Type {
        /// What is read here.
        expected: &'static str,
        /// What it is, cut.
        found: String,
    },
}

impl EnvelopeError {
    /// Characters of a foreign payload type that an error repeats.
    const FOUND_CHARS_MAX: usize = 80;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        Envelope {
            payload_type: "http://example.com/HelloWorld".to_owned(),
            payload: b"hello world".to_vec(),
            signatures: vec![EnvelopeSignature { keyid: "k".to_owned(), sig: vec![1, 2, 3] }],
        }
    }

    #[test]
    fn the_pre_authentication_encoding_is_that_of_the_specification() {
        // DSSE protocol.md, "Test Vectors".
        let envelope = envelope();
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(Envelope::pae(&envelope.payload_type, &envelope.payload), expected);
    }

    #[test]
    fn an_envelope_reads_as_it_is_written() {
        let json = envelope().to_json();
        assert_eq!(Envelope::parse(&json), Ok(envelope()));
    }

    #[test]
    fn foreign_json_is_refused() {
        let good = String::from_utf8(envelope().to_json()).unwrap();
        for bad in [
            good.replace("\"keyid\"", "\"extra\":1,\"keyid\""),
            good.replace("\"payloadType\"", "\"extra\":1,\"payloadType\""),
            good.replace("AQID", "AQID="),
            good.replace("AQID", "AQI-"),
            good.replace("aGVsbG8gd29ybGQ=", "aGVsbG8gd29ybGQ"),
            good.replace("\"signatures\"", "\"payload\":\"\",\"signatures\""),
            format!("{good}x"),
            format!("{good}{good}"),
            "{}".to_owned(),
            "null".to_owned(),
            String::new(),
        ] {
            assert!(matches!(Envelope::parse(bad.as_bytes()), Err(EnvelopeError::Malformed(_))), "{bad}");
        }
    }

    #[test]
    fn an_oversized_envelope_is_refused_before_it_is_parsed() {
        let found = Envelope::BYTES_MAX + 1;
        assert_eq!(Envelope::parse(&vec![b'['; found]), Err(EnvelopeError::TooLong { found }));
        let mut many = envelope();
        many.signatures = vec![many.signatures[0].clone(); 65];
        assert_eq!(Envelope::parse(&many.to_json()), Err(EnvelopeError::TooManySignatures { found: 65 }));
    }
}
