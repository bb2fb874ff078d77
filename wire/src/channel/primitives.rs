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
