//! The enclave's side of the channel: a static key in secret memory, and every operation of the channel with it.

use std::path::Path;
use std::sync::Arc;

use sealstone_wire::channel::{ChannelKey, ChannelPublic, KeyError, StaticKey, create_secret, read_secret};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::secret::{self, Secret};

/// Reads the key file, or makes one if there is none.
///
/// # Errors
/// As [`ChannelKey::load_or_create`].
pub fn load_or_create(path: &Path) -> Result<ChannelKey, KeyError> {
    held(|secret| match create_secret(path, secret) {
        Err(KeyError::Create { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
            read_secret(path, secret)
        }
        result => result,
    })
}

/// Reads the key file.
///
/// # Errors
/// As [`ChannelKey::from_file`].
pub fn load(path: &Path) -> Result<ChannelKey, KeyError> {
    held(|secret| read_secret(path, secret))
}

fn held(fill: impl FnOnce(&mut [u8; 32]) -> Result<(), KeyError>) -> Result<ChannelKey, KeyError> {
    // Boxed: see `Flat`.
    let mut failed: Option<Box<KeyError>> = None;
    let secret =
        secret::run(|inside| Secret::filled(inside, |secret| failed = fill(secret).err().map(Box::new)));
    if let Some(error) = failed {
        return Err(*error);
    }
    let public =
        secret::run(|inside| PublicKey::from(&StaticSecret::from(*secret.expose(inside))).to_bytes());
    Ok(ChannelKey::held_by(Arc::new(HeldKey { secret, public: ChannelPublic::from_bytes(public) })))
}

struct HeldKey {
    secret: Secret<32>,
    public: ChannelPublic,
}

impl StaticKey for HeldKey {
    fn public(&self) -> ChannelPublic {
        self.public
    }

    fn agree(&self, peer: &[u8; 32], shared: &mut [u8; 32]) {
        secret::run(|inside| {
            let own = StaticSecret::from(*self.secret.expose(inside));
            *shared = *own.diffie_hellman(&PublicKey::from(*peer)).as_bytes();
        });
    }

    fn shelter(&self, operation: &mut dyn FnMut()) {
        secret::run(|_| operation());
    }
}
