//! The enclave user's own secret, without which the TPM neither unseals nor counts.
//!
//! It keeps the sealed root from everybody else who can reach the TPM in an approved state: the agent, for one.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hkdf::Hkdf;
use sha2::Sha256;

use crate::durable;
use crate::secret::{self, Secret, SecretBytes};
use crate::tpm::{AUTH_LEN, AuthValue};

/// Bytes of the credential.
const CREDENTIAL_LEN: usize = 32;

/// Permission bits that the file must not have if it is this user's own.
const FOREIGN_BITS: u32 = 0o077;

/// Permission bits that it must not have if it is root's. systemd lets the service's user read its credentials by
/// an access control list, which shows as the group's right to read.
const FOREIGN_BITS_OF_ROOT: u32 = 0o037;

/// The credential, wiped on drop.
#[allow(missing_debug_implementations, reason = "a secret is never printed")]
pub struct Credential(Secret<CREDENTIAL_LEN>);

impl Credential {
    /// Reads the credential (64 hex digits, for example a systemd credential), or makes one at first start.
    ///
    /// # Errors
    /// Any error of the file system, a file that others may read or write, and one that holds something else.
    pub fn load_or_create(path: &Path) -> io::Result<Self> {
        let mut read = Ok(());
        let text = secret::run(|inside| {
            let text = durable::read_capped(path, 2 * CREDENTIAL_LEN + 2).unwrap_or_else(|error| {
                read = Err(error);
                Vec::new()
            });
            SecretBytes::new(inside, text)
        });
        match read {
            Ok(()) => {
                check_private(&std::fs::metadata(path)?, rustix::process::geteuid().as_raw())?;
                Self::parse(&text)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(error),
        }
    }

    fn create(path: &Path) -> io::Result<Self> {
        let secret = Secret::<CREDENTIAL_LEN>::drawn().map_err(io::Error::other)?;
        let mut made = Ok(());
        secret::run(|inside| made = durable::create(path, hex::encode(secret.expose(inside)).as_bytes()));
        made.map(|()| Self(secret))
    }

    fn parse(text: &SecretBytes) -> io::Result<Self> {
        let mut is_hex = false;
        let secret = secret::run(|inside| {
            let text = text.expose(inside).trim_ascii();
            Secret::filled(inside, |secret| is_hex = hex::decode_to_slice(text, secret).is_ok())
        });
        if is_hex { Ok(Self(secret)) } else { Err(io::Error::other("expected 64 hex digits")) }
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
        AuthValue::new(secret::run(|inside| {
            Secret::filled(inside, |auth: &mut [u8; AUTH_LEN]| {
                Hkdf::<Sha256>::new(None, self.0.expose(inside))
                    .expand(label, auth)
                    .expect("32 bytes are one hash");
            })
        }))
    }
}

/// Whoever reads the credential can unseal the root in an approved state without the enclave.
fn check_private(metadata: &Metadata, user: u32) -> io::Result<()> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o777);
    let foreign = match owner {
        owner if owner == user => FOREIGN_BITS,
        0 => FOREIGN_BITS_OF_ROOT,
        owner => {
            return Err(io::Error::other(format!("expected a file of user {user}, found one of {owner}")));
        }
    };
    if mode & foreign == 0 {
        Ok(())
    } else {
        Err(io::Error::other(format!("expected mode 0600, found {mode:04o}: others may use it; use chmod")))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_credential_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credential");
        let made = Credential::load_or_create(&path).unwrap();
        let read = Credential::load_or_create(&path).unwrap();
        secret::run(|inside| assert_eq!(made.0.expose(inside), read.0.expose(inside)));
    }

    #[test]
    fn anything_else_than_64_hex_digits_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in
            [("empty", ""), ("short", "00ff"), ("long", &"0".repeat(66)), ("not-hex", &"x".repeat(64))]
        {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let refusal = Credential::load_or_create(&path).err().unwrap();
            assert!(refusal.to_string().starts_with("expected 64") || name == "long", "{name}: {refusal}");
        }
    }

    #[test]
    fn a_credential_that_others_may_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credential");
        drop(Credential::load_or_create(&path).unwrap());
        let with = |mode| {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            std::fs::metadata(&path).unwrap()
        };
        let own = with(0o600).uid();
        for mode in [0o640, 0o620, 0o604, 0o602, 0o644, 0o660, 0o666, 0o777] {
            assert!(check_private(&with(mode), own).is_err(), "{mode:o}");
        }
        for mode in [0o600, 0o400] {
            assert!(check_private(&with(mode), own).is_ok(), "{mode:o}");
            drop(Credential::load_or_create(&path).unwrap());
        }
        with(0o644);
        let refusal = Credential::load_or_create(&path).err().unwrap();
        assert!(refusal.to_string().contains("0644"), "{refusal}");
        if own == 0 {
            // As systemd gives it to a service's user: root's, and readable by an access control list.
            assert!(check_private(&with(0o440), 4711).is_ok());
            assert!(check_private(&with(0o444), 4711).is_err());
        } else {
            assert!(check_private(&with(0o600), own + 1).is_err());
        }
    }
}
