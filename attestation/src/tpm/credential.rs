//! Credentials that only one TPM can open, and only while one key is loaded in it: TPM2_MakeCredential without a TPM
//! (TPM 2.0 Part 1, section 24).

use aes::{Aes128, Aes256};
use cfb_mode::{Encryptor, cipher::KeyIvInit};
use rand_core::TryCryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::tpm::{
    key_check::KeyFlaw,
    name::TpmName,
    public_area::PublicArea,
    sharing::{SharingError, SharingKey, SharingPurpose},
};

/// Bytes of AES's block.
const BLOCK: usize = 16;

/// What TPM2_ActivateCredential takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// `TPM2B_ID_OBJECT.credential`: integrity, then the encrypted secret.
    pub id_object: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET.secret`: the seed, for the endorsement key.
    pub encrypted_seed: Vec<u8>,
}

impl Credential {
    /// Wraps a secret for the TPM that has this endorsement key, to be opened only beside a key of that name.
    ///
    /// The name is what makes this worth anything: it must come from a public area whose attributes were checked
    /// ([`PublicArea::check_attestation_key`]), because the TPM says only that such a key is loaded.
    ///
    /// # Errors
    /// [`CredentialError`] when the endorsement key is none, the secret too long, or randomness fails.
    pub fn make(
        ek: &PublicArea,
        name: &TpmName,
        secret: &[u8],
        rng: &mut impl TryCryptoRng,
    ) -> Result<Self, CredentialError> {
        ek.check_endorsement_key()?;
        let key = SharingKey::new(ek)?;
        let hash = key.hash();
        // TPM2B_DIGEST: the TPM takes no more than the hash of the name has.
        let length = u16::try_from(secret.len()).ok().filter(|length| usize::from(*length) <= hash.len());
        let too_long = CredentialError::SecretLength { expected: hash.len(), found: secret.len() };
        let length = length.ok_or(too_long)?;
        let bits = ek.symmetric_bits().ok_or(CredentialError::Symmetric)?;

        let shared = key.share(SharingPurpose::Credential, rng)?;
        let seed = Zeroizing::new(shared.secret);
        let symmetric = Zeroizing::new(hash.kdfa(&seed, b"STORAGE", name.as_bytes(), &[], u32::from(bits)));
        let mut identity = [&length.to_be_bytes(), secret].concat();
        let zero = [0; BLOCK];
        match bits {
            128 => Encryptor::<Aes128>::new_from_slices(&symmetric, &zero)
                .expect("KDFa made 16 bytes")
                .encrypt(&mut identity),
            256 => Encryptor::<Aes256>::new_from_slices(&symmetric, &zero)
                .expect("KDFa made 32 bytes")
                .encrypt(&mut identity),
            _ => return Err(CredentialError::Symmetric),
        }
        let hash_bits = u32::try_from(hash.len() * 8).expect("384 at most");
        let integrity_key = Zeroizing::new(hash.kdfa(&seed, b"INTEGRITY", &[], &[], hash_bits));
        let integrity = hash.hmac(&integrity_key, &[&identity, name.as_bytes()]);
        let size = u16::try_from(integrity.len()).expect("a digest is short");
        let id_object = [&size.to_be_bytes(), integrity.as_slice(), &identity].concat();
        Ok(Self { id_object, encrypted_seed: shared.encrypted })
    }
}

/// Why no credential was made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CredentialError {
    /// Secrets to it would not be the TPM's alone.
    #[error("not an endorsement key: {0}")]
    EndorsementKey(#[from] KeyFlaw),
    /// Nothing can be sent to it.
    #[error(transparent)]
    Sharing(#[from] SharingError),
    /// The TPM would refuse it.
    #[error("expected a secret of at most {expected} bytes, found {found}")]
    SecretLength {
        /// Bytes of the key's name hash.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// What the credential is encrypted with is the endorsement key's to say.
    #[error("expected an endorsement key that protects with AES-128-CFB or AES-256-CFB, found another")]
    Symmetric,
}
