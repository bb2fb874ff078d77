//! Textual encodings of certificates (RFC 7468), with whatever vendors write around and between their lines.

use base64::{Engine, engine::general_purpose::STANDARD};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The certificates in a text, DER each, byte for byte; `None` if this is no such text.
pub(super) fn certificates(bytes: &[u8]) -> Option<Result<Vec<Vec<u8>>, String>> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.contains(BEGIN))?;
    Some(text.split(BEGIN).skip(1).map(certificate).collect())
}

fn certificate(block: &str) -> Result<Vec<u8>, String> {
    let (body, _) = block.split_once(END).ok_or_else(|| format!("a certificate without {END:?}"))?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).map_err(|error| error.to_string())
}
