//! Signed notes (c2sp.org/signed-note): a text, an empty line, and signatures.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{Algorithm, PublicKey, Signature64};

/// The signature type of Ed25519 over the text itself. No other is verified here.
const ED25519: u8 = 0x01;

/// What a signature line begins with: an em dash and a space.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// Bytes of a key id.
const KEY_ID_LEN: usize = 4;

/// Bytes of a key's name: an origin with a node's name of 64 bytes, each of them escaped, and room for a witness's.
const KEY_NAME_BYTES_MAX: usize = 512;

/// A note, well formed. Its text means nothing before a signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    key_id: [u8; KEY_ID_LEN],
    signature: Vec<u8>,
}

/// A name and an Ed25519 key: what a note's signature is looked for under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    key: PublicKey,
    key_id: [u8; KEY_ID_LEN],
}

impl NoteKey {
    /// Takes a name and the 32 bytes of an Ed25519 public key.
    ///
    /// # Errors
    /// [`NoteError::Name`] for a name that no signature line can hold, [`NoteError::Key`] for bytes that are no key.
    pub fn new(name: &str, public_key: &[u8; 32]) -> Result<Self, NoteError> {
        check_name(name)?;
        let key = PublicKey::from_bytes(Algorithm::EdDsa, public_key).map_err(|_| NoteError::Key)?;
        let hash = Sha256::new().chain_update(name).chain_update([b'\n', ED25519]).chain_update(public_key);
        let hash: [u8; 32] = hash.finalize().into();
        let key_id = *hash.first_chunk().expect("a digest is longer than a key id");
        Ok(Self { name: name.to_owned(), key, key_id })
    }

    /// Reads a verifier key as other tools spell it: `<name>+<key id in hex>+<base64(0x01 ‖ key)>`.
    ///
    /// # Errors
    /// [`NoteError`] when it is none, or its key id is not its own.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(key_id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let Some((&[ED25519], key)) = key.split_first_chunk() else { return Err(NoteError::Key) };
        let found = Self::new(name, key.try_into().map_err(|_| NoteError::Key)?)?;
        if hex::encode(found.key_id) == key_id { Ok(found) } else { Err(NoteError::Key) }
    }

    /// The verifier key as other tools read it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let key = STANDARD.encode([&[ED25519], self.key.as_bytes()].concat());
        format!("{}+{}+{key}", self.name, hex::encode(self.key_id))
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }
}

impl Note {
    /// Bytes of a whole note: sixteen signatures of any type are accepted, and the largest has some five thousand.
    pub const BYTES_MAX: usize = 128 * 1024;

    /// Signatures of one note: the log's own and its witnesses'; C2SP asks for sixteen at least.
    pub const SIGNATURES_MAX: usize = 32;

    /// Reads a note.
    ///
    /// # Errors
    /// [`NoteError`] when it is too long or not of the format.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(NoteError::TooLong { found: bytes.len() });
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Malformed("UTF-8"))?;
        check_text(note)?;
        let (text, lines) = note
            .rsplit_once("\n\n")
            .ok_or(NoteError::Malformed("an empty line between text and signatures"))?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed("a newline at the end"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == Self::SIGNATURES_MAX {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(NoteSignature::parse(line)?);
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// Signs a text; `sign` is given the bytes to sign and answers with the key's Ed25519 signature, so that the key
    /// need not leave its memory.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] for a text that a note cannot hold.
    pub fn sign(
        text: &str,
        key: &NoteKey,
        sign: impl FnOnce(&[u8]) -> Signature64,
    ) -> Result<Self, NoteError> {
        check_text(text)?;
        if !text.ends_with('\n') {
            return Err(NoteError::Malformed("a newline at the end"));
        }
        let signature = sign(text.as_bytes()).as_bytes().to_vec();
        let signature = NoteSignature { name: key.name.clone(), key_id: key.key_id, signature };
        Ok(Self { text: text.to_owned(), signatures: vec![signature] })
    }

    /// The text, if this key signed it. Signatures of other keys are ignored; one that is said to be this key's and
    /// is not spoils the note.
    ///
    /// # Errors
    /// [`NoteError::Signature`] and [`NoteError::Unsigned`].
    pub fn verify(&self, key: &NoteKey) -> Result<&str, NoteError> {
        let mut verified = false;
        for signature in &self.signatures {
            if signature.name != key.name || signature.key_id != key.key_id {
                continue;
            }
            let bytes: [u8; 64] =
                signature.signature.as_slice().try_into().map_err(|_| NoteError::Signature)?;
            key.key
                .verify_message(self.text.as_bytes(), &Signature64::from_bytes(bytes))
                .map_err(|_| NoteError::Signature)?;
            verified = true;
        }
        if verified { Ok(&self.text) } else { Err(NoteError::Unsigned { name: key.name.clone() }) }
    }

    /// The text, whoever signed it.
    #[must_use]
    pub fn danger_unverified_text(&self) -> &str {
        &self.text
    }

    /// The signatures.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// The note's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut note = format!("{}\n", self.text);
        for NoteSignature { name, key_id, signature } in &self.signatures {
            let signature = STANDARD.encode([&key_id[..], signature].concat());
            note.push_str(&format!("{SIGNATURE_MARK}{name} {signature}\n"));
        }
        note.into_bytes()
    }
}

impl NoteSignature {
    fn parse(line: &str) -> Result<Self, NoteError> {
        let malformed = || NoteError::Malformed("signature lines of an em dash, a name and base64");
        let (name, signature) =
            line.strip_prefix(SIGNATURE_MARK).and_then(|rest| rest.split_once(' ')).ok_or_else(malformed)?;
        check_name(name)?;
        let signature = STANDARD.decode(signature).map_err(|_| malformed())?;
        let (key_id, signature) = signature.split_first_chunk().ok_or_else(malformed)?;
        if signature.is_empty() {
            return Err(malformed());
        }
        Ok(Self { name: name.to_owned(), key_id: *key_id, signature: signature.to_vec() })
    }

    /// The name of the key that is said to have signed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn check_name(name: &str) -> Result<(), NoteError> {
    let refused = |character: char| character == '+' || character.is_whitespace() || character < ' ';
    if name.is_empty() || name.len() > KEY_NAME_BYTES_MAX || name.contains(refused) {
        return Err(NoteError::Name);
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if text.contains(|character| character < ' ' && character != '\n') {
        return Err(NoteError::Malformed("no control characters but newlines"));
    }
    Ok(())
}

/// Why bytes are no note, or a note is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoteError {
    /// More than any note needs.
    #[error("expected a note of at most {} bytes, found {found}", Note::BYTES_MAX)]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Not of the format.
    #[error("expected a signed note with {0}, found none")]
    Malformed(&'static str),
    /// More than a log and its witnesses make.
    #[error("expected at most {} signatures, found more", Note::SIGNATURES_MAX)]
    TooManySignatures,
    /// No name of a key.
    #[error(
        "expected a key name of 1 to {KEY_NAME_BYTES_MAX} bytes without spaces and plus signs, found another"
    )]
    Name,
    /// No key.
    #[error("expected an Ed25519 key, or a verifier key <name>+<key id>+<key>, found none")]
    Key,
    /// The key's own signature is false.
    #[error("expected a valid signature by the named key, found one that does not verify")]
    Signature,
    /// The key did not sign.
    #[error("expected a signature by {name}, found none under that name and key")]
    Unsigned {
        /// The key's name.
        name: String,
    },
}
