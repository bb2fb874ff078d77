//! Every secret that the enclave had in its hands: computed from the root, the key paths and the signatures, and
//! held to the public keys and signatures that everybody knows.

use std::collections::HashSet;

use hkdf::Hkdf;
use sealstone_attestation::{Algorithm, Binding};
use sealstone_wire::KeyPath;
use sha2::Sha256;
use sha2::block_api::compress256;

use super::known::Known;
use super::{ecdsa, eddsa};

/// Who may have a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// The enclave alone.
    Enclave,
    /// The agent too: it is the channel's other end.
    Agent,
}

/// One secret.
#[derive(Debug)]
pub struct Secret {
    /// What it is.
    pub kind: &'static str,
    /// Of which key or signature.
    pub of: String,
    /// In one of its representations.
    pub bytes: Vec<u8>,
    /// Who else has it.
    pub holder: Holder,
}

/// All secrets of a node.
#[derive(Debug, Default)]
pub struct Quarry {
    secrets: Vec<Secret>,
    bindings: HashSet<Binding>,
    paths: HashSet<Vec<u8>>,
}

/// A signature that was made under load, with everything that everybody may know of it.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The key.
    pub path: KeyPath,
    /// What it was derived under.
    pub binding: Binding,
    /// SEC1 compressed, or raw Ed25519.
    pub public_key: Vec<u8>,
    /// What Ed25519 signed.
    pub message: Vec<u8>,
    /// What ECDSA signed.
    pub digest: [u8; 32],
    /// `r ‖ s`, or the Ed25519 signature.
    pub signature: [u8; 64],
}

/// A signature of the report key.
#[derive(Clone, Debug)]
pub struct Reported {
    /// The labelled bytes of a report or receipt.
    pub message: Vec<u8>,
    /// By the report key.
    pub signature: [u8; 64],
}

impl Quarry {
    /// What does not depend on signatures.
    ///
    /// # Panics
    /// When what is known does not fit together.
    #[must_use]
    pub fn new(known: &Known) -> Self {
        let mut quarry = Self::default();
        quarry.add("root", "", &known.root);
        quarry.hmac_states("HMAC state of the root", "", &known.root);
        quarry.add("credential", "", &known.credential);
        let credential = Hkdf::<Sha256>::new(None, &known.credential);
        for (kind, label) in [
            ("auth value of the seal", &b"sealstone/seal-auth/v1"[..]),
            ("auth value of the counter", b"sealstone/counter-auth/v1"),
        ] {
            let mut auth = [0; 32];
            credential.expand(label, &mut auth).expect("one hash");
            quarry.add(kind, "", &auth);
        }
        quarry.ed25519("report key", &known.report_seed, &known.report_public);
        quarry.add("channel key", "", &known.channel_key);
        let own = x25519_dalek::StaticSecret::from(known.channel_key);
        let agent = x25519_dalek::PublicKey::from(known.agent_public);
        quarry.add_shared("static shared secret of the channel", "", own.diffie_hellman(&agent).as_bytes());
        // The check key's chain: another PRK of the same root.
        let prk = quarry.prk(&known.root, b"sealstone/internal/v1", "check key");
        let mut seed = [0; 32];
        expand(&prk, b"sealstone/check/v1", &mut seed);
        quarry.ed25519("check key", &seed, &known.check_public);
        quarry
    }

    /// All of them.
    #[must_use]
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// A secret of the enclave alone.
    pub fn add(&mut self, kind: &'static str, of: &str, bytes: &[u8]) {
        let (of, bytes) = (of.to_owned(), bytes.to_vec());
        self.secrets.push(Secret { kind, of, bytes, holder: Holder::Enclave });
    }

    /// A secret that the agent has as well.
    pub fn add_shared(&mut self, kind: &'static str, of: &str, bytes: &[u8]) {
        let (of, bytes) = (of.to_owned(), bytes.to_vec());
        self.secrets.push(Secret { kind, of, bytes, holder: Holder::Agent });
    }

    /// A signature's key, with its PRK and material, and its nonce.
    ///
    /// # Panics
    /// When the secrets do not give the public key and the signature.
    pub fn signature(&mut self, root: &[u8; 32], made: &Signature) {
        let info = made.path.info();
        let of = describe(&made.path);
        let prk = if self.bindings.insert(made.binding) {
            self.prk(root, made.binding.as_bytes(), &made.binding.to_string())
        } else {
            extract(root, made.binding.as_bytes())
        };
        let first = self.paths.insert([made.binding.as_bytes(), &info[..]].concat());
        match made.path.algorithm() {
            Algorithm::EdDsa => {
                let mut seed = [0; 32];
                expand(&prk, &info, &mut seed);
                if first {
                    self.ed25519(&of, &seed, &made.public_key);
                }
                self.ed25519_nonce(&of, &seed, &made.message, &made.signature);
            }
            algorithm => {
                let mut material = [0; 48];
                expand(&prk, &info, &mut material);
                if first {
                    self.add("key material", &of, &material);
                }
                let values = match algorithm {
                    Algorithm::Es256 => ecdsa::values::<p256::NistP256>(&material, made),
                    _ => ecdsa::values::<k256::Secp256k1>(&material, made),
                };
                if first {
                    for (kind, bytes) in values.key {
                        self.add(kind, &of, &bytes);
                    }
                }
                for (kind, bytes) in values.nonce {
                    self.add(kind, &of, &bytes);
                }
                self.hmac_states("HMAC state of RFC 6979", &of, &values.generator);
            }
        }
    }

    /// The nonce of a report's or receipt's signature.
    ///
    /// # Panics
    /// When the seed does not give the signature.
    pub fn reported(&mut self, seed: &[u8; 32], made: &Reported) {
        self.ed25519_nonce("report key", seed, &made.message, &made.signature);
    }

    fn ed25519(&mut self, of: &str, seed: &[u8; 32], public: &[u8]) {
        for (kind, bytes) in eddsa::key(seed, public) {
            self.add(kind, of, &bytes);
        }
    }

    fn ed25519_nonce(&mut self, of: &str, seed: &[u8; 32], message: &[u8], signature: &[u8; 64]) {
        for (kind, bytes) in eddsa::nonce(seed, message, signature) {
            self.add(kind, of, &bytes);
        }
    }

    fn prk(&mut self, root: &[u8; 32], salt: &[u8], of: &str) -> [u8; 32] {
        let prk = extract(root, salt);
        self.add("PRK", of, &prk);
        self.hmac_states("HMAC state of a PRK", of, &prk);
        prk
    }

    /// SHA-256's state after the padded key: whoever has both can compute every HMAC under it (RFC 2104).
    fn hmac_states(&mut self, kind: &'static str, of: &str, key: &[u8; 32]) {
        for pad in [0x36, 0x5c] {
            let mut block = [pad; 64];
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            // FIPS 180-4, 5.3.3.
            let mut state = [
                0x6a09_e667_u32,
                0xbb67_ae85,
                0x3c6e_f372,
                0xa54f_f53a,
                0x510e_527f,
                0x9b05_688c,
                0x1f83_d9ab,
                0x5be0_cd19,
            ];
            compress256(&mut state, &[block]);
            self.add(kind, of, &state.map(u32::to_be_bytes).concat());
            self.add(kind, of, &state.map(u32::to_le_bytes).concat());
            // As SHA instructions keep it: ABEF and CDGH, the highest word first.
            let [a, b, c, d, e, f, g, h] = state;
            self.add(kind, of, &[f, e, b, a, h, g, d, c].map(u32::to_le_bytes).concat());
            self.add(kind, of, &block[..32]);
        }
    }
}

fn extract(root: &[u8; 32], salt: &[u8]) -> [u8; 32] {
    Hkdf::<Sha256>::extract(Some(salt), root).0.into()
}

fn expand(prk: &[u8; 32], info: &[u8], out: &mut [u8]) {
    Hkdf::<Sha256>::from_prk(prk).expect("a PRK is one hash").expand(info, out).expect("few bytes");
}

fn describe(path: &KeyPath) -> String {
    match path {
        KeyPath::Asset { asset, algorithm, .. } => format!("{algorithm} asset {asset}"),
        KeyPath::Session { sender, nonce, algorithm, .. } => {
            format!("{algorithm} session key of {sender}, nonce {nonce}")
        }
    }
}
