//! The people who approve manifests: keys, a threshold, and the counting of their signatures.
//!
//! Counting fails closed: a signature that is invalid, repeated or by a stranger is an error and never merely
//! not counted, because an envelope that carries one was not made by the tools of this project.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::{
    Algorithm, AuthorityDigest, Envelope, KeyId, PublicKey, PublicKeyError, Signature64,
    encoding::{HexBytes, lp_short},
};

/// Separates the digest of a set from every other use of SHA-256.
const LABEL: &[u8] = b"sealstone/authority/v1";

/// Bytes of a name, which people read in one line.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// One approver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityKey {
    name: String,
    public_key: PublicKey,
}

impl AuthorityKey {
    /// Takes a name of 1 to 64 bytes and an ES256 or EdDSA key.
    ///
    /// # Errors
    /// [`AuthorityError`] for another name or algorithm.
    pub fn new(name: String, public_key: PublicKey) -> Result<Self, AuthorityError> {
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
            return Err(AuthorityError::NameLength { found: name.len() });
        }
        match public_key.algorithm() {
            Algorithm::Es256 | Algorithm::EdDsa => Ok(Self { name, public_key }),
            found @ Algorithm::Es256k => Err(AuthorityError::Algorithm { name, found }),
        }
    }

    /// Who, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }
}

/// Approvers and how many of them it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthoritySet {
    threshold: u8,
    keys: Vec<AuthorityKey>,
}

impl AuthoritySet {
    /// Most keys of a set; two sets together still fit one envelope.
    pub const KEYS_MAX: usize = 32;

    /// Takes 1 to 32 distinct keys and a threshold that they can reach.
    ///
    /// # Errors
    /// [`AuthorityError`] for another number, a repeated key or name, or an impossible threshold.
    pub fn new(threshold: u8, keys: Vec<AuthorityKey>) -> Result<Self, AuthorityError> {
        if !(1..=Self::KEYS_MAX).contains(&keys.len()) {
            return Err(AuthorityError::KeyCount { found: keys.len() });
        }
        if threshold == 0 || usize::from(threshold) > keys.len() {
            return Err(AuthorityError::Threshold { found: threshold, keys: keys.len() });
        }
        let mut names = BTreeSet::new();
        let mut points = BTreeSet::new();
        for key in &keys {
            if !names.insert(&key.name) || !points.insert(key.public_key) {
                return Err(AuthorityError::Repeated { name: key.name.clone() });
            }
        }
        Ok(Self { threshold, keys })
    }

    /// How many approvers it takes.
    #[must_use]
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// The approvers.
    #[must_use]
    pub fn keys(&self) -> &[AuthorityKey] {
        &self.keys
    }

    /// Names the set: threshold and keys, whatever their order and their owners' names.
    #[must_use]
    pub fn digest(&self) -> AuthorityDigest {
        let mut keys: Vec<(&str, &[u8])> = self
            .keys
            .iter()
            .map(|key| (key.public_key.algorithm().name(), key.public_key.as_bytes()))
            .collect();
        keys.sort_unstable();
        let count = u8::try_from(keys.len()).expect("at most 32 keys");
        let mut bytes = Vec::with_capacity(32 + 48 * keys.len());
        lp_short(&mut bytes, LABEL);
        bytes.extend_from_slice(&[self.threshold, count]);
        for (algorithm, key) in keys {
            lp_short(&mut bytes, algorithm.as_bytes());
            lp_short(&mut bytes, key);
        }
        AuthorityDigest::of(&bytes)
    }

    /// Whether this set signed an envelope: enough of it, validly, and nobody else.
    ///
    /// # Errors
    /// [`SignaturesError`] when a signature is invalid, repeated or foreign, or when there are too few.
    pub fn verify(&self, envelope: &Envelope) -> Result<(), SignaturesError> {
        self.check_signers(&verify_signatures(envelope, &[self])?)
    }

    /// Whether these signers reach the threshold.
    pub(crate) fn check_signers(&self, signers: &Signers) -> Result<(), SignaturesError> {
        let found = self.keys.iter().filter(|key| signers.0.contains(&key.public_key)).count();
        if found >= usize::from(self.threshold) {
            Ok(())
        } else {
            Err(SignaturesError::TooFew { expected: self.threshold, found })
        }
    }
}

/// Keys whose signatures of one envelope were verified; each once.
pub(crate) struct Signers(BTreeSet<PublicKey>);

/// Verifies every signature of an envelope; each must be by another key of these sets.
pub(crate) fn verify_signatures(
    envelope: &Envelope,
    sets: &[&AuthoritySet],
) -> Result<Signers, SignaturesError> {
    let pae = Envelope::pae(&envelope.payload_type, &envelope.payload);
    let mut signers = BTreeSet::new();
    for signature in &envelope.signatures {
        let key_id: KeyId = signature.keyid.parse().map_err(|_| SignaturesError::KeyId)?;
        let key = sets
            .iter()
            .flat_map(|set| &set.keys)
            .find(|key| key.public_key.key_id() == key_id)
            .ok_or(SignaturesError::Foreign { key_id })?;
        let invalid = || SignaturesError::Invalid { name: key.name.clone(), key_id };
        let bytes: [u8; 64] = signature.sig.as_slice().try_into().map_err(|_| invalid())?;
        key.public_key.verify_message(&pae, &Signature64::from_bytes(bytes)).map_err(|_| invalid())?;
        if !signers.insert(key.public_key) {
            return Err(SignaturesError::Repeated { name: key.name.clone(), key_id });
        }
    }
    Ok(Signers(signers))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAuthorityKey {
    name: String,
    algorithm: Algorithm,
    public_key: HexBytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAuthoritySet {
    threshold: u8,
    keys: Vec<AuthorityKey>,
}

impl Serialize for AuthorityKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let public_key = HexBytes(self.public_key.as_bytes().to_vec());
        RawAuthorityKey { name: self.name.clone(), algorithm: self.public_key.algorithm(), public_key }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AuthorityKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RawAuthorityKey { name, algorithm, public_key } = RawAuthorityKey::deserialize(deserializer)?;
        let public_key = PublicKey::from_bytes(algorithm, &public_key.0).map_err(de::Error::custom)?;
        Self::new(name, public_key).map_err(de::Error::custom)
    }
}

impl Serialize for AuthoritySet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawAuthoritySet { threshold: self.threshold, keys: self.keys.clone() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AuthoritySet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RawAuthoritySet { threshold, keys } = RawAuthoritySet::deserialize(deserializer)?;
        Self::new(threshold, keys).map_err(de::Error::custom)
    }
}

/// Why keys are no authority set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthorityError {
    /// Nobody, or more than anyone can oversee.
    #[error("expected 1 to {} authority keys, found {found}", AuthoritySet::KEYS_MAX)]
    KeyCount {
        /// Keys given.
        found: usize,
    },
    /// A threshold that means nothing or is never reached.
    #[error("expected a threshold of 1 to {keys}, found {found}")]
    Threshold {
        /// The threshold.
        found: u8,
        /// Keys of the set.
        keys: usize,
    },
    /// One approver twice would count twice, or be two people of one name.
    #[error("expected distinct names and keys of authorities, found {name:?} or its key twice")]
    Repeated {
        /// Whose.
        name: String,
    },
    /// No name, or more than one line.
    #[error("expected an authority's name of 1 to {NAME_BYTES_MAX} bytes, found {found}")]
    NameLength {
        /// Bytes given.
        found: usize,
    },
    /// Authorities sign with these two algorithms only.
    #[error("expected an ES256 or EdDSA key for authority {name:?}, found {found}")]
    Algorithm {
        /// Whose.
        name: String,
        /// Of the key.
        found: Algorithm,
    },
    /// Not a key at all.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
}

/// Why an envelope's signatures do not approve it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignaturesError {
    /// The signer cannot be named.
    #[error("expected each signature's keyid to be an RFC 7638 thumbprint, found one that is not")]
    KeyId,
    /// A stranger signed.
    #[error("foreign signature: expected signatures by the authority set, found one by {key_id}")]
    Foreign {
        /// The stranger.
        key_id: KeyId,
    },
    /// Not a signature by that key over these bytes.
    #[error("expected a valid signature by {name:?} ({key_id}), found one that does not verify")]
    Invalid {
        /// Who is said to have signed.
        name: String,
        /// Their key.
        key_id: KeyId,
    },
    /// One approver twice.
    #[error("expected one signature by each authority, found two by {name:?} ({key_id})")]
    Repeated {
        /// Who.
        name: String,
        /// Their key.
        key_id: KeyId,
    },
    /// The threshold is not reached.
    #[error("expected signatures by at least {expected} of the authority set, found {found}")]
    TooFew {
        /// The threshold.
        expected: u8,
        /// Distinct signers of the set.
        found: usize,
    },
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;
    use crate::EnvelopeSignature;

    fn signer(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn key(seed: u8) -> AuthorityKey {
        AuthorityKey::new(format!("person-{seed}"), PublicKey::from(&signer(seed).verifying_key())).unwrap()
    }

    fn set(threshold: u8, seeds: &[u8]) -> AuthoritySet {
        AuthoritySet::new(threshold, seeds.iter().map(|&seed| key(seed)).collect()).unwrap()
    }

    fn envelope(seeds: &[u8]) -> Envelope {
        let pae = Envelope::pae("t", b"payload");
        let signatures = seeds
            .iter()
            .map(|&seed| EnvelopeSignature {
                keyid: key(seed).public_key().key_id().to_string(),
                sig: signer(seed).sign(&pae).to_bytes().to_vec(),
            })
            .collect();
        Envelope { payload_type: "t".to_owned(), payload: b"payload".to_vec(), signatures }
    }

    fn check(set: &AuthoritySet, envelope: &Envelope) -> Result<(), SignaturesError> {
        set.verify(envelope)
    }

    #[test]
    fn a_threshold_is_reached_by_distinct_valid_signers() {
        let set = set(2, &[1, 2, 3]);
        assert_eq!(check(&set, &envelope(&[1, 3])), Ok(()));
        assert_eq!(check(&set, &envelope(&[3, 2, 1])), Ok(()));
    }

    #[test]
    fn too_few_repeated_foreign_and_invalid_signatures_are_each_refused() {
        let set = set(2, &[1, 2, 3]);
        assert_eq!(check(&set, &envelope(&[])), Err(SignaturesError::TooFew { expected: 2, found: 0 }));
        assert_eq!(check(&set, &envelope(&[1])), Err(SignaturesError::TooFew { expected: 2, found: 1 }));
        assert!(matches!(check(&set, &envelope(&[1, 1])), Err(SignaturesError::Repeated { .. })));
        assert!(matches!(check(&set, &envelope(&[1, 2, 1])), Err(SignaturesError::Repeated { .. })));
        assert!(matches!(check(&set, &envelope(&[1, 2, 9])), Err(SignaturesError::Foreign { .. })));
        let mut forged = envelope(&[1, 2, 3]);
        forged.signatures[2].sig[0] ^= 1;
        assert!(matches!(check(&set, &forged), Err(SignaturesError::Invalid { .. })));
        let mut swapped = envelope(&[1, 2]);
        swapped.signatures[0].keyid = key(3).public_key().key_id().to_string();
        assert!(matches!(check(&set, &swapped), Err(SignaturesError::Invalid { .. })));
        let mut short = envelope(&[1, 2]);
        short.signatures[0].sig.pop();
        assert!(matches!(check(&set, &short), Err(SignaturesError::Invalid { .. })));
        let mut nameless = envelope(&[1, 2]);
        nameless.signatures[0].keyid.clear();
        assert_eq!(check(&set, &nameless), Err(SignaturesError::KeyId));
        let mut retyped = envelope(&[1, 2]);
        retyped.payload_type = "u".to_owned();
        assert!(matches!(check(&set, &retyped), Err(SignaturesError::Invalid { .. })));
        let mut changed = envelope(&[1, 2]);
        changed.payload.push(b'!');
        assert!(matches!(check(&set, &changed), Err(SignaturesError::Invalid { .. })));
    }

    #[test]
    fn an_es256_authority_signs_with_low_s_only() {
        use p256::ecdsa::signature::hazmat::PrehashSigner;
        use sha2::{Digest, Sha256};
        let signing = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let key = AuthorityKey::new("hsm".to_owned(), PublicKey::from(signing.verifying_key())).unwrap();
        let set = AuthoritySet::new(1, vec![key.clone()]).unwrap();
        let digest = Sha256::digest(Envelope::pae("t", b"payload"));
        let signature: p256::ecdsa::Signature = signing.sign_prehash(&digest).unwrap();
        let low = signature.normalize_s();
        let high = p256::ecdsa::Signature::from_scalars(low.r(), -*low.s()).unwrap();
        for (signature, accepted) in [(low, true), (high, false)] {
            let mut envelope = envelope(&[]);
            let keyid = key.public_key().key_id().to_string();
            envelope.signatures.push(EnvelopeSignature { keyid, sig: signature.to_bytes().to_vec() });
            assert_eq!(check(&set, &envelope).is_ok(), accepted);
        }
    }

    #[test]
    fn a_set_that_could_be_reached_too_easily_or_never_is_refused() {
        let keys = |seeds: &[u8]| seeds.iter().map(|&seed| key(seed)).collect::<Vec<_>>();
        assert_eq!(AuthoritySet::new(1, vec![]), Err(AuthorityError::KeyCount { found: 0 }));
        assert_eq!(AuthoritySet::new(0, keys(&[1])), Err(AuthorityError::Threshold { found: 0, keys: 1 }));
        assert_eq!(AuthoritySet::new(2, keys(&[1])), Err(AuthorityError::Threshold { found: 2, keys: 1 }));
        assert!(matches!(AuthoritySet::new(1, keys(&[1, 1])), Err(AuthorityError::Repeated { .. })));
        let renamed = AuthorityKey::new("other".to_owned(), *key(1).public_key()).unwrap();
        assert!(matches!(AuthoritySet::new(2, vec![key(1), renamed]), Err(AuthorityError::Repeated { .. })));
        let many: Vec<u8> = (1..=33).collect();
        assert_eq!(AuthoritySet::new(1, keys(&many)), Err(AuthorityError::KeyCount { found: 33 }));
        let secp = hex::decode("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798").unwrap();
        let secp = PublicKey::from_bytes(Algorithm::Es256k, &secp).unwrap();
        assert!(matches!(AuthorityKey::new("x".to_owned(), secp), Err(AuthorityError::Algorithm { .. })));
        assert!(matches!(
            AuthorityKey::new(String::new(), *key(1).public_key()),
            Err(AuthorityError::NameLength { found: 0 })
        ));
    }

    #[test]
    fn a_digest_names_keys_and_threshold_and_nothing_else() {
        let base = set(2, &[1, 2, 3]).digest();
        assert_eq!(set(2, &[3, 1, 2]).digest(), base);
        assert_ne!(set(1, &[1, 2, 3]).digest(), base);
        assert_ne!(set(2, &[1, 2]).digest(), base);
        assert_ne!(set(2, &[1, 2, 4]).digest(), base);
    }

    #[test]
    fn a_set_reads_as_it_is_written() {
        let set = set(2, &[1, 2, 3]);
        let json = serde_json::to_string(&set).unwrap();
        assert_eq!(serde_json::from_str::<AuthoritySet>(&json).unwrap(), set);
        assert!(
            serde_json::from_str::<AuthoritySet>(&json.replace("\"threshold\":2", "\"threshold\":4"))
                .is_err()
        );
        assert!(
            serde_json::from_str::<AuthoritySet>(&json.replace("{\"name\"", "{\"x\":0,\"name\"")).is_err()
        );
    }
}
