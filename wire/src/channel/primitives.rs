//! The primitives of the channel for `snow`: X25519, ChaCha20-Poly1305, SHA-256 and the system's random bytes.
//!
//! snow never sees the static private key: it is told to "set" an empty one, and agreements go to the
//! [`StaticKey`], wherever that keeps its secret.

use std::sync::Arc;

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Tag};
use sha2::{Digest, Sha256};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use super::{StaticKey, TAG};

/// What snow is given as the static private key.
pub(super) const NO_KEY: &[u8] = &[];

/// Bytes of an X25519 key or shared secret.
const X25519: usize = 32;

/// Resolves exactly the primitives of the channel's pattern, around one static key.
pub(super) struct Primitives(pub(super) Arc<dyn StaticKey>);

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SystemRandom))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| {
            Box::new(X25519Dh { own: Arc::clone(&self.0), private: Private::None, public: [0; X25519] }) as _
        })
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::new(Sha256Hash(Sha256::new())) as _)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::new(ChaChaPoly::new(&[0; 32])) as _)
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        getrandom::fill(bytes).map_err(|_| Error::Rng)
    }
}

/// One key pair of a handshake: the static one, or an ephemeral one.
struct X25519Dh {
    own: Arc<dyn StaticKey>,
    private: Private,
    public: [u8; X25519],
}

enum Private {
    None,
    /// The static key, in `own`.
    Static,
    Ephemeral(StaticSecret),
}

impl Dh for X25519Dh {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        X25519
    }

    fn priv_len(&self) -> usize {
        NO_KEY.len()
    }

    /// snow calls this for the static key only.
    fn set(&mut self, _no_key: &[u8]) {
        self.public = *self.own.public().as_bytes();
        self.private = Private::Static;
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), Error> {
        let mut secret = Zeroizing::new([0; X25519]);
        random.try_fill_bytes(&mut *secret)?;
        let secret = StaticSecret::from(*secret);
        self.public = x25519_dalek::PublicKey::from(&secret).to_bytes();
        self.private = Private::Ephemeral(secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        NO_KEY
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public = public.first_chunk::<X25519>().ok_or(Error::Dh)?;
        let out = out.first_chunk_mut::<X25519>().ok_or(Error::Dh)?;
        match &self.private {
            Private::None => return Err(Error::Dh),
            Private::Static => self.own.agree(public, out),
            Private::Ephemeral(secret) => {
                *out = *secret.diffie_hellman(&x25519_dalek::PublicKey::from(*public)).as_bytes();
            }
        }
        // RFC 7748, section 6.1: a point of low order gives zero whatever the secret. No early exit over secrets.
        if out.iter().fold(0, |any, byte| any | byte) == 0 {
            return Err(Error::Dh);
        }
        Ok(())
    }
}

/// ChaCha20-Poly1305 with Noise's nonces: 32 zero bits, then the counter in little-endian (section 12.3).
struct ChaChaPoly(ChaCha20Poly1305);

impl ChaChaPoly {
    fn new(key: &[u8; 32]) -> Self {
        Self(ChaCha20Poly1305::new(key.into()))
    }
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        *self = Self::new(key);
    }

    fn encrypt(&self, counter: u64, data: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (ciphertext, tag) = out[..plaintext.len() + TAG].split_at_mut(plaintext.len());
        let buffer = InOutBuf::new(plaintext, ciphertext).expect("split at the plaintext's length");
        let computed = self
            .0
            .encrypt_inout_detached(&nonce(counter).into(), data, buffer)
            .expect("a frame is far below the cipher's 256 GiB");
        tag.copy_from_slice(&computed);
        plaintext.len() + TAG
    }

    fn decrypt(&self, counter: u64, data: &[u8], message: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let (ciphertext, tag) = message.split_last_chunk::<TAG>().ok_or(Error::Decrypt)?;
        let out = out.get_mut(..ciphertext.len()).ok_or(Error::Decrypt)?;
        let buffer = InOutBuf::new(ciphertext, out).expect("cut to the ciphertext's length");
        self.0
            .decrypt_inout_detached(&nonce(counter).into(), data, buffer, &Tag::from(*tag))
            .map_err(|_| Error::Decrypt)?;
        Ok(ciphertext.len())
    }
}

struct Sha256Hash(Sha256);

impl Hash for Sha256Hash {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn input(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&self.0.finalize_reset());
    }
}

#[cfg(test)]
mod tests {
    use snow::{Builder, HandshakeState};

    use super::*;
    use crate::channel::ChannelKey;

    /// The primitives with one scripted ephemeral key.
    struct Scripted(Primitives, [u8; 32]);

    struct ScriptedRandom([u8; 32]);

    impl Random for ScriptedRandom {
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
            bytes.copy_from_slice(&self.0);
            Ok(())
        }
    }

    impl CryptoResolver for Scripted {
        fn resolve_rng(&self) -> Option<Box<dyn Random>> {
            Some(Box::new(ScriptedRandom(self.1)))
        }

        fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
            self.0.resolve_dh(choice)
        }

        fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
            self.0.resolve_hash(choice)
        }

        fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
            self.0.resolve_cipher(choice)
        }
    }

    fn bytes(hex: &str) -> [u8; 32] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    fn builder<'a>(own: &str, ephemeral: &str, peer: &'a [u8; 32], prologue: &'a [u8]) -> Builder<'a> {
        let own = ChannelKey::from_secret(&bytes(own));
        let primitives = Scripted(Primitives(Arc::clone(own.holder())), bytes(ephemeral));
        Builder::with_resolver("Noise_KK_25519_ChaChaPoly_SHA256".parse().unwrap(), Box::new(primitives))
            .local_private_key(NO_KEY)
            .unwrap()
            .remote_public_key(peer)
            .unwrap()
            .prologue(prologue)
            .unwrap()
    }

    fn exchange(writer: &mut HandshakeState, reader: &mut HandshakeState, payload: &str, expected: &str) {
        let (payload, mut message, mut read) = (hex::decode(payload).unwrap(), [0; 200], [0; 200]);
        let length = writer.write_message(&payload, &mut message).unwrap();
        assert_eq!(hex::encode(&message[..length]), expected);
        let length = reader.read_message(&message[..length], &mut read).unwrap();
        assert_eq!(&read[..length], payload);
    }

    /// The vector of cacophony, an implementation that shares no code with this one
    /// (<https://github.com/haskell-cryptography/cacophony>).
    #[test]
    fn a_session_is_the_published_one_byte_for_byte() {
        let prologue = hex::decode("4a6f686e2047616c74").unwrap();
        let agent_public = bytes("6bc3822a2aa7f4e6981d6538692b3cdf3e6df9eea6ed269eb41d93c22757b75a");
        let enclave_public = bytes("31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62");
        let mut agent = builder(
            "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1",
            "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
            &enclave_public,
            &prologue,
        )
        .build_initiator()
        .unwrap();
        let mut enclave = builder(
            "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893",
            "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
            &agent_public,
            &prologue,
        )
        .build_responder()
        .unwrap();
        let messages = [
            (
                "4c756477696720766f6e204d69736573",
                "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79440177015efc1fe7a37c629af7120a96274e6ab7afcc9261901d0e09ae32a5bb96",
            ),
            (
                "4d757272617920526f746862617264",
                "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843b274d3429adc47ca093ba63ef90f8da89fda108db471dccfa4894aa7b00003",
            ),
            ("462e20412e20486179656b", "966b05bc69ec01b8454d3160a214e6f24a3d884eb31ec2408af63f"),
            ("4361726c204d656e676572", "0ad887fba4f611bbb4afe44ba3556b8164332ca7d5934634d63d80"),
            (
                "4a65616e2d426170746973746520536179",
                "012b28ae646ae7830e2c5472cb023eab071c1db3d8413ec69b513b83832f974c2d",
            ),
            (
                "457567656e2042f6686d20766f6e2042617765726b",
                "bb3e6a48160d9c5971d37f975727294e0d868342db31832e54d07191ab0ca3c3703b5ed3d9",
            ),
        ];
        exchange(&mut agent, &mut enclave, messages[0].0, messages[0].1);
        exchange(&mut enclave, &mut agent, messages[1].0, messages[1].1);
        assert_eq!(
            hex::encode(agent.get_handshake_hash()),
            "24c6b51ecb76277140ca018b5985bc9f03de321dae2d34dcae433dafef0131d9"
        );
        let agent = agent.into_stateless_transport_mode().unwrap();
        let enclave = enclave.into_stateless_transport_mode().unwrap();
        for (index, (payload, expected)) in messages[2..].iter().enumerate() {
            let (writer, reader) = if index % 2 == 0 { (&agent, &enclave) } else { (&enclave, &agent) };
            let nonce = u64::try_from(index / 2).unwrap();
            let (payload, mut message, mut read) = (hex::decode(payload).unwrap(), [0; 100], [0; 100]);
            let length = writer.write_message(nonce, &payload, &mut message).unwrap();
            assert_eq!(hex::encode(&message[..length]), *expected);
            let length = reader.read_message(nonce, &message[..length], &mut read).unwrap();
            assert_eq!(&read[..length], payload);
        }
    }

    #[test]
    fn other_primitives_than_the_patterns_are_not_resolved() {
        let primitives = Primitives(Arc::clone(ChannelKey::generate().unwrap().holder()));
        assert!(primitives.resolve_dh(&DHChoice::Curve448).is_none());
        assert!(primitives.resolve_hash(&HashChoice::SHA512).is_none());
        assert!(primitives.resolve_hash(&HashChoice::Blake2s).is_none());
        assert!(primitives.resolve_cipher(&CipherChoice::AESGCM).is_none());
    }

    #[test]
    fn a_key_pair_that_was_never_set_agrees_on_nothing() {
        let primitives = Primitives(Arc::clone(ChannelKey::generate().unwrap().holder()));
        let dh = primitives.resolve_dh(&DHChoice::Curve25519).unwrap();
        assert_eq!(dh.dh(&[9; 32], &mut [0; 32]), Err(Error::Dh));
        assert!(dh.privkey().is_empty());
    }
}
