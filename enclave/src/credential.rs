//! The enclave user's own secret, without which the TPM neither unseals nor counts.
//!
//! It keeps the sealed root from everybody else who can reach the TPM in an approved state: the agent, for one.

use std::io;
use std::path::Path;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::durable;
use crate::secret::Secret;
use crate::tpm::AuthValue;

/// Bytes of the credential.
const CREDENTIAL_LEN: usize = 32;

/// The credential, wiped on drop.
#[allow(missing_debug_implementations, reason = "a secret is never printed")]
pub struct Credential(Secret<CREDENTIAL_LEN>);

impl Credential {
    /// Reads the credential (64 hex digits, for example a systemd credential), or makes one at first start.
    ///
    /// # Errors
    /// Any error of the file system, and a file that holds something else.
    pub fn load_or_create(path: &Path) -> io::Result<Self> {
        match durable::read_capped(path, 2 * CREDENTIAL_LEN + 2) {
            Ok(text) => Self::parse(&Zeroizing::new(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut drawn = Ok(());
                let secret = Secret::<CREDENTIAL_LEN>::filled(|secret| drawn = getrandom::fill(secret));
                drawn.map_err(io::Error::other)?;
                let text = Zeroizing::new(hex::encode(secret.expose()));
                durable::create(path, text.as_bytes())?;
                Ok(Self(secret))
            }
            Err(error) => Err(error),
        }
    }

    fn parse(text: &[u8]) -> io::Result<Self> {
        let mut decoded = Ok(());
        let secret = Secret::filled(|secret| decoded = hex::decode_to_slice(text.trim_ascii(), secret));
        decoded.map_err(|_| io::Error::other("expected 64 hex digits"))?;
        Ok(Self(secret))
    }

    /// The auth value of the sealed object.
    #[must_use]
    pub fn seal_auth(&self) -> AuthValue {
        self.expand(b"sealstone/seal-auth/v1")
    }

    /// The auth value of the counter's NV index.
    #[must_use]
    pub fn counter_auth(&self) -> AuthValue {
        self.expand(b"sealstone/counter-auth/v1")
    }

    fn expand(&self, label: &[u8]) -> AuthValue {
        let mut auth = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, self.0.expose())
            .expand(label, &mut auth[..])
            .expect("32 bytes are one hash");
        AuthValue::new(&auth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credential");
        let made = Credential::load_or_create(&path).unwrap();
        let read = Credential::load_or_create(&path).unwrap();
        assert_eq!(made.0.expose(), read.0.expose());
    }

    #[test]
    fn anything_else_than_64_hex_digits_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in
            [("empty", ""), ("short", "00ff"), ("long", &"0".repeat(66)), ("not-hex", &"x".repeat(64))]
        {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            assert!(Credential::load_or_create(&path).is_err(), "{name}");
        }
    }
}
