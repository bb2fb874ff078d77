//! Key files of authorities: private keys as PKCS#8 PEM, public keys as SPKI PEM, P-256 or Ed25519.
//!
//! OpenSSL reads and writes the same files. Public keys of assets are written here too.

use std::path::Path;

use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::KeypairBytes;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding,
};
use sealstone_attestation::{Algorithm, Envelope, EnvelopeSignature, PublicKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::files;

/// Bytes of a private key file; a P-256 key has about 250.
const PRIVATE_KEY_MAX: usize = 16 * 1024;

/// How often a random number may be no P-256 scalar (each with a probability of about 2^-32).
const SCALAR_TRIES: usize = 8;

/// The private key of one who approves manifests.
pub(crate) enum AuthoritySigner {
    /// ECDSA with SHA-256 over P-256.
    Es256(p256::ecdsa::SigningKey),
    /// Ed25519.
    EdDsa(ed25519_dalek::SigningKey),
}

impl AuthoritySigner {
    /// Makes a key.
    pub(crate) fn generate(algorithm: Algorithm) -> Result<Self, Failure> {
        let mut seed = Zeroizing::new([0u8; 32]);
        match algorithm {
            Algorithm::EdDsa => {
                files::random_bytes(seed.as_mut())?;
                Ok(Self::EdDsa(ed25519_dalek::SigningKey::from_bytes(&seed)))
            }
            Algorithm::Es256 => {
                for _ in 0..SCALAR_TRIES {
                    files::random_bytes(seed.as_mut())?;
                    if let Ok(key) = p256::ecdsa::SigningKey::from_slice(seed.as_ref()) {
                        return Ok(Self::Es256(key));
                    }
                }
                Err(Failure::unusable(
                    "RANDOMNESS",
                    format!("expected a P-256 scalar within {SCALAR_TRIES} random numbers, found none"),
                    "check the random generator of this machine",
                ))
            }
            Algorithm::Es256k => Err(not_for_authorities("ES256K")),
        }
    }

    /// Reads a PKCS#8 PEM file that only its owner may read.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let what = "a private key (PEM, PKCS#8)";
        let bytes = files::read_secret(path, what, PRIVATE_KEY_MAX)?;
        let refused = |found: &str, action: &str| {
            Failure::unusable(
                "KEY_UNREADABLE",
                format!(
                    "expected a P-256 or Ed25519 private key (PEM, PKCS#8) in {}, found {found}",
                    path.display()
                ),
                action,
            )
        };
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return Err(refused("no text", "give the PEM file"));
        };
        if text.contains("BEGIN PUBLIC KEY") {
            return Err(refused("a public key", "give the private key of the pair"));
        }
        if text.contains("ENCRYPTED") {
            return Err(refused(
                "an encrypted key",
                "decrypt it to a file on a tmpfs with `umask 077; openssl pkey -in FILE -out /dev/shm/KEY`",
            ));
        }
        if text.contains("BEGIN EC PRIVATE KEY") {
            return Err(refused(
                "a SEC 1 key",
                "convert it: `umask 077; openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW`",
            ));
        }
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_pem(text) {
            return Ok(Self::EdDsa(key));
        }
        if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_pem(text) {
            return Ok(Self::Es256(key));
        }
        Err(refused("something else", "make one with `sealstone authority new NAME`, or give the right file"))
    }

    /// The key that verifies.
    pub(crate) fn public_key(&self) -> PublicKey {
        match self {
            Self::Es256(key) => es256(&key.verifying_key().into()),
            Self::EdDsa(key) => eddsa(&key.verifying_key()),
        }
    }

    /// The payload in an envelope that this key alone signed.
    pub(crate) fn envelope(&self, payload_type: &str, payload: Vec<u8>) -> Envelope {
        Envelope::of_one(payload_type, payload, self.public_key().key_id(), |bytes| self.sign(bytes))
    }

    /// Adds this key's signature to those of others.
    pub(crate) fn sign_too(&self, envelope: &mut Envelope) {
        let sig = self.sign(&Envelope::pae(&envelope.payload_type, &envelope.payload));
        envelope.signatures.push(EnvelopeSignature { keyid: self.public_key().key_id().to_string(), sig });
    }

    /// Signs a DSSE pre-authentication encoding: `r ‖ s` with low S over its SHA-256, or Ed25519 over itself.
    pub(crate) fn sign(&self, pae: &[u8]) -> Vec<u8> {
        match self {
            Self::Es256(key) => {
                let signature: p256::ecdsa::Signature =
                    key.sign_prehash(&Sha256::digest(pae)).expect("a SHA-256 digest suits P-256");
                signature.normalize_s().to_vec()
            }
            Self::EdDsa(key) => key.sign(pae).to_bytes().to_vec(),
        }
    }

    /// The PKCS#8 PEM.
    pub(crate) fn to_pem(&self) -> Zeroizing<String> {
        match self {
            Self::Es256(key) => key.to_pkcs8_pem(LineEnding::LF),
            // Without the public key (PKCS#8 version 1, RFC 8410 section 7): OpenSSL 3.0 reads no version 2.
            Self::EdDsa(key) => {
                KeypairBytes { secret_key: key.to_bytes(), public_key: None }.to_pkcs8_pem(LineEnding::LF)
            }
        }
        .expect("a key of a known algorithm encodes")
    }
}

/// Reads an authority's public key from an SPKI PEM file.
pub(crate) fn read_public(path: &Path) -> Result<PublicKey, Failure> {
    let text = files::read_text(path, "a public key (PEM, SPKI)")?;
    let refused = |found: &str, action: &str| {
        Failure::unusable(
            "KEY_UNREADABLE",
            format!(
                "expected a P-256 or Ed25519 public key (PEM, SPKI) in {}, found {found}",
                path.display()
            ),
            action,
        )
    };
    if text.contains("PRIVATE KEY") {
        return Err(refused("a private key", "give the .pub file; a private key belongs to its owner alone"));
    }
    if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_pem(&text) {
        if key.is_weak() {
            return Err(refused("an Ed25519 point of small order", "make another key"));
        }
        return Ok(eddsa(&key));
    }
    if let Ok(key) = p256::PublicKey::from_public_key_pem(&text) {
        return Ok(es256(&key));
    }
    Err(refused("something else", "make one with `sealstone authority new NAME`, or give the right file"))
}

/// Any public key as SPKI PEM, as OpenSSL reads it.
pub(crate) fn public_pem(key: &PublicKey) -> String {
    let bytes = key.as_bytes();
    match key.algorithm() {
        Algorithm::Es256 => {
            let key = p256::PublicKey::from_sec1_bytes(bytes).expect("a `PublicKey` is on its curve");
            key.to_public_key_pem(LineEnding::LF)
        }
        Algorithm::Es256k => {
            let key = k256::PublicKey::from_sec1_bytes(bytes).expect("a `PublicKey` is on its curve");
            key.to_public_key_pem(LineEnding::LF)
        }
        Algorithm::EdDsa => {
            let key = ed25519_dalek::VerifyingKey::try_from(bytes).expect("a `PublicKey` is on its curve");
            key.to_public_key_pem(LineEnding::LF)
        }
    }
    .expect("a key of a known algorithm encodes")
}

/// The failure for an algorithm that approves no manifest.
pub(crate) fn not_for_authorities(found: &str) -> Failure {
    Failure::unusable(
        "ALGORITHM",
        format!("expected EdDSA or ES256 for an authority's key, found {found}"),
        "choose one of the two",
    )
}

fn es256(key: &p256::PublicKey) -> PublicKey {
    PublicKey::from_bytes(Algorithm::Es256, key.to_sec1_point(true).as_bytes()).expect("it is on its curve")
}

fn eddsa(key: &ed25519_dalek::VerifyingKey) -> PublicKey {
    PublicKey::from_bytes(Algorithm::EdDsa, key.as_bytes()).expect("a point of large order on its curve")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{PUBLIC_MODE, SECRET_MODE, write_new};
    use std::path::PathBuf;
    use std::process::Command;

    const BOTH: [Algorithm; 2] = [Algorithm::EdDsa, Algorithm::Es256];

    fn file(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        write_new(&path, "a test", text.as_bytes(), mode).unwrap();
        path
    }

    fn openssl(args: &[&str]) -> std::process::Output {
        Command::new("openssl").args(args).output().expect("openssl is installed")
    }

    #[test]
    fn a_key_reads_as_it_was_written_and_openssl_agrees() {
        for algorithm in BOTH {
            let dir = tempfile::tempdir().unwrap();
            let key = AuthoritySigner::generate(algorithm).unwrap();
            let private = file(dir.path(), "a.key", &key.to_pem(), SECRET_MODE);
            let public = file(dir.path(), "a.pub", &public_pem(&key.public_key()), PUBLIC_MODE);
            assert_eq!(AuthoritySigner::read(&private).unwrap().public_key(), key.public_key());
            assert_eq!(read_public(&public).unwrap(), key.public_key());
            let derived = openssl(&["pkey", "-in", private.to_str().unwrap(), "-pubout"]);
            assert!(derived.status.success(), "{derived:?}");
            assert_eq!(String::from_utf8(derived.stdout).unwrap(), public_pem(&key.public_key()));
        }
    }

    #[test]
    fn openssl_reads_a_public_key_of_every_algorithm() {
        let k256 = k256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let keys = [
            AuthoritySigner::generate(Algorithm::Es256).unwrap().public_key(),
            AuthoritySigner::generate(Algorithm::EdDsa).unwrap().public_key(),
            PublicKey::from(k256.verifying_key()),
        ];
        for key in keys {
            let dir = tempfile::tempdir().unwrap();
            let path = file(dir.path(), "k.pem", &public_pem(&key), PUBLIC_MODE);
            let read = openssl(&["pkey", "-pubin", "-pubcheck", "-noout", "-in", path.to_str().unwrap()]);
            assert!(read.status.success(), "{read:?}");
        }
    }

    #[test]
    fn what_openssl_makes_is_read() {
        for args in
            [&["-algorithm", "ED25519"][..], &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]]
        {
            let made = openssl(&[&["genpkey"], args].concat());
            let dir = tempfile::tempdir().unwrap();
            let path = file(dir.path(), "k", &String::from_utf8(made.stdout).unwrap(), SECRET_MODE);
            AuthoritySigner::read(&path).unwrap();
        }
    }

    #[test]
    fn openssl_verifies_a_signature_over_the_encoding() {
        let dir = tempfile::tempdir().unwrap();
        let key = AuthoritySigner::generate(Algorithm::EdDsa).unwrap();
        let public = file(dir.path(), "a.pub", &public_pem(&key.public_key()), PUBLIC_MODE);
        let message = file(dir.path(), "m", "DSSEv1 1 a 1 b", PUBLIC_MODE);
        let signature = dir.path().join("s");
        std::fs::write(&signature, key.sign(b"DSSEv1 1 a 1 b")).unwrap();
        let [public, message, signature] = [&public, &message, &signature].map(|path| path.to_str().unwrap());
        let args = [
            "pkeyutl", "-verify", "-pubin", "-rawin", "-inkey", public, "-in", message, "-sigfile", signature,
        ];
        assert!(openssl(&args).status.success());
    }

    #[test]
    fn an_es256_signature_always_has_a_low_s() {
        let key = AuthoritySigner::generate(Algorithm::Es256).unwrap();
        for i in 0..32u8 {
            let signature = p256::ecdsa::Signature::from_slice(&key.sign(&[i])).unwrap();
            assert_eq!(signature.normalize_s(), signature);
        }
    }

    #[test]
    fn the_wrong_half_the_wrong_curve_and_the_wrong_format_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let key = AuthoritySigner::generate(Algorithm::EdDsa).unwrap();
        let cases = [
            ("pub", public_pem(&key.public_key()), "a public key"),
            ("enc", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n".to_owned(), "an encrypted key"),
            ("sec1", "-----BEGIN EC PRIVATE KEY-----\n".to_owned(), "a SEC 1 key"),
            ("cut", key.to_pem()[..60].to_owned(), "something else"),
            ("text", "hello".to_owned(), "something else"),
        ];
        for (name, text, found) in cases {
            let failure = AuthoritySigner::read(&file(dir.path(), name, &text, SECRET_MODE)).err().unwrap();
            assert_eq!(failure.code(), "KEY_UNREADABLE");
            assert!(failure.text().contains(&format!("found {found}")), "{}", failure.text());
        }
        let private = file(dir.path(), "private", &key.to_pem(), SECRET_MODE);
        assert!(read_public(&private).unwrap_err().text().contains("found a private key"));
        let p384 = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]);
        let p384 = file(dir.path(), "p384", &String::from_utf8(p384.stdout).unwrap(), SECRET_MODE);
        assert!(AuthoritySigner::read(&p384).is_err());
        assert!(AuthoritySigner::generate(Algorithm::Es256k).is_err());
    }

    #[test]
    fn an_error_never_repeats_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let pem = AuthoritySigner::generate(Algorithm::EdDsa).unwrap().to_pem();
        let body = pem.lines().nth(1).unwrap();
        let broken = file(dir.path(), "k", &pem.replace("-----END", "----END"), SECRET_MODE);
        let failure = AuthoritySigner::read(&broken).err().unwrap();
        assert!(!failure.text().contains(&body[20..40]) && !format!("{failure:?}").contains(&body[20..40]));
    }
}
