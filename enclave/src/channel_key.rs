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

#[cfg(test)]
mod tests {
    use sealstone_wire::channel::Handshake;

    use super::*;
    use crate::secret::watch::{found, watch};

    #[test]
    fn a_channel_works_and_its_static_key_is_never_in_an_ordinary_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("enclave.key");
        let own = load_or_create(&path).unwrap();
        secret::run(|_| {
            let mut secret = [0; 32];
            read_secret(&path, &mut secret).unwrap();
            watch(&secret);
        });
        assert_eq!(load(&path).unwrap().public(), own.public());
        let agent = ChannelKey::generate().unwrap();
        let mut initiator = Handshake::initiator(&agent, &own.public()).unwrap();
        let mut responder = Handshake::responder(&own, &agent.public()).unwrap();
        for step in 0..3 {
            let (writer, reader) =
                if step == 1 { (&mut responder, &mut initiator) } else { (&mut initiator, &mut responder) };
            let mut frame = Vec::new();
            writer.write_message(&mut frame).unwrap();
            reader.read_message(&frame[2..]).unwrap();
        }
        let (mut agents, mut enclaves) = (initiator.finish().unwrap(), responder.finish().unwrap());
        let (mut frame, mut read) = (Vec::new(), Vec::new());
        enclaves.sealer.seal(b"answer", &mut frame).unwrap();
        agents.opener.open(&frame[2..], &mut read).unwrap();
        assert_eq!(read, b"answer");
        drop((own, enclaves));
        assert_eq!(found(), 0, "ordinary blocks with the key in them");
    }
}
