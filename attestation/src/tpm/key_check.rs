//! What the public area of an attestation or endorsement key must promise.
//!
//! Credential activation shows only that a key is loaded beside the EK; that it is restricted and can never
//! leave the TPM is what these attributes say, and the key's name binds them.

use thiserror::Error;

use crate::{
    pcr::HashAlgorithm,
    tpm::{
        public_area::{KeyScheme, PublicArea, TpmKey},
        signature::SignatureKind,
    },
};

/// Fewest bits of an RSA key (NIST SP 800-131A).
const RSA_BITS_MIN: usize = 2048;

/// The one public exponent that TPMs make.
const RSA_EXPONENT: u32 = 65_537;

/// `TPMA_OBJECT` (TPM 2.0 Part 2, section 8.3).
mod attribute {
    pub(super) const FIXED_TPM: (u32, &str) = (1 << 1, "fixedTPM");
    pub(super) const FIXED_PARENT: (u32, &str) = (1 << 4, "fixedParent");
    pub(super) const SENSITIVE_DATA_ORIGIN: (u32, &str) = (1 << 5, "sensitiveDataOrigin");
    pub(super) const RESTRICTED: (u32, &str) = (1 << 16, "restricted");
    pub(super) const DECRYPT: (u32, &str) = (1 << 17, "decrypt");
    pub(super) const SIGN: (u32, &str) = (1 << 18, "sign");
}

/// The key was made inside this TPM and cannot leave it.
const BORN_AND_KEPT_INSIDE: [(u32, &str); 4] =
    [attribute::FIXED_TPM, attribute::FIXED_PARENT, attribute::SENSITIVE_DATA_ORIGIN, attribute::RESTRICTED];

impl PublicArea {
    /// Whether a quote by this key can be believed: a restricted signing key (which signs only what the TPM
    /// itself made) that was born in the TPM and stays there, with one fixed scheme of SHA-2.
    ///
    /// # Errors
    /// [`KeyFlaw`] names the first thing that is wrong.
    pub fn check_attestation_key(&self) -> Result<(), KeyFlaw> {
        self.check_attributes(attribute::SIGN, attribute::DECRYPT)?;
        let scheme = match self.scheme() {
            KeyScheme::Signature(scheme) => scheme,
            KeyScheme::Null | KeyScheme::Other => return Err(KeyFlaw::NoScheme),
        };
        let fits = match self.key() {
            TpmKey::Rsa { .. } => matches!(scheme.kind, SignatureKind::RsaSsa | SignatureKind::RsaPss),
            TpmKey::EccP256 { .. } | TpmKey::EccP384 { .. } => scheme.kind == SignatureKind::Ecdsa,
        };
        if !fits {
            return Err(KeyFlaw::NoScheme);
        }
        if !scheme.hash.is_acceptable() {
            return Err(KeyFlaw::WeakHash { found: scheme.hash });
        }
        self.key().check_strength()
    }

    /// Whether secrets may be encrypted to this key as an endorsement key: a restricted decryption key that
    /// was born in the TPM and stays there.
    ///
    /// # Errors
    /// [`KeyFlaw`] names the first thing that is wrong.
    pub fn check_endorsement_key(&self) -> Result<(), KeyFlaw> {
        self.check_attributes(attribute::DECRYPT, attribute::SIGN)?;
        // TPM 2.0 Part 2, section 12.2.3.5: no TPM makes a restricted decryption key with a scheme.
        if self.scheme() != KeyScheme::Null {
            return Err(KeyFlaw::SchemeFixed);
        }
        self.key().check_strength()
    }

    fn check_attributes(&self, wanted: (u32, &'static str), forbidden: (u32, &str)) -> Result<(), KeyFlaw> {
        for (bit, name) in BORN_AND_KEPT_INSIDE.into_iter().chain([wanted]) {
            if self.attributes() & bit == 0 {
                return Err(KeyFlaw::AttributeMissing { name });
            }
        }
        if self.attributes() & forbidden.0 == 0 { Ok(()) } else { Err(KeyFlaw::SignsAndDecrypts) }
    }
}

impl TpmKey {
    /// Whether nobody can find the private key from this one.
    pub(crate) fn check_strength(&self) -> Result<(), KeyFlaw> {
        match self {
            Self::EccP256 { .. } | Self::EccP384 { .. } => Ok(()),
            Self::Rsa { modulus, .. } if modulus.len() * 8 < RSA_BITS_MIN => {
                Err(KeyFlaw::RsaBits { found: modulus.len() * 8 })
            }
            Self::Rsa { exponent, .. } if *exponent != RSA_EXPONENT => {
                Err(KeyFlaw::RsaExponent { found: *exponent })
            }
            Self::Rsa { modulus, .. } if has_roca_fingerprint(modulus) => Err(KeyFlaw::Roca),
            Self::Rsa { .. } => Ok(()),
        }
    }
}

/// Small primes against which a modulus is tested: those below 168 divide the primorial of every key size
/// that Infineon's faulty library made.
const ROCA_PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
    107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// CVE-2017-15361: primes of the form `k·M + 65537^a mod M`, so that the modulus is a power of 65537 modulo
/// each small prime. A sound key passes for one by chance about once in 2^27.
fn has_roca_fingerprint(modulus: &[u8]) -> bool {
    ROCA_PRIMES.iter().all(|&prime| {
        let residue = modulus.iter().fold(0, |residue, &byte| (residue * 256 + u32::from(byte)) % prime);
        let mut power = 1;
        for _ in 0..prime {
            if power == residue {
                return true;
            }
            power = power * (RSA_EXPONENT % prime) % prime;
        }
        false
    })
}

/// Why a key may not be enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyFlaw {
    /// It could be a software key, or sign what the TPM did not make.
    #[error("expected the attribute {name} to be set, found it clear")]
    AttributeMissing {
        /// `TPMA_OBJECT` bit.
        name: &'static str,
    },
    /// A key for two purposes.
    #[error("expected a key that either signs or decrypts, found both attributes set")]
    SignsAndDecrypts,
    /// Whoever asks for a signature could choose how it is made.
    #[error("expected one fixed signature scheme that suits the key, found none")]
    NoScheme,
    /// A restricted decryption key has none.
    #[error("expected an endorsement key without a scheme, found one that fixes a scheme")]
    SchemeFixed,
    /// Collisions can be made.
    #[error("expected a signature scheme with SHA-256, SHA-384 or SHA-512, found {found}")]
    WeakHash {
        /// The scheme's hash.
        found: HashAlgorithm,
    },
    /// Too short.
    #[error("expected an RSA key of at least {RSA_BITS_MIN} bits, found {found}")]
    RsaBits {
        /// Bits of the modulus.
        found: usize,
    },
    /// Unusual, and weak when small.
    #[error("expected the RSA exponent {RSA_EXPONENT}, found {found}")]
    RsaExponent {
        /// The exponent.
        found: u32,
    },
    /// Anyone can factor it.
    #[error("expected a sound RSA key, found the fingerprint of a faulty generator (CVE-2017-15361)")]
    Roca,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modulus_of_the_faulty_generator_is_recognised() {
        // 65537^e mod the product of all tested primes, for some e: what a faulty modulus is modulo that
        // product. 3 to 167 multiply to 219 bits, so the arithmetic is done prime by prime and joined by the
        // Chinese remainder theorem over a growing big-endian number.
        let mut number: Vec<u8> = vec![0; 40];
        let mut product: Vec<u8> = vec![0; 40];
        product[39] = 1;
        for prime in ROCA_PRIMES {
            let mut wanted = 1;
            for _ in 0..7 {
                wanted = wanted * (RSA_EXPONENT % prime) % prime;
            }
            let residue = |bytes: &[u8]| bytes.iter().fold(0, |r, &b| (r * 256 + u32::from(b)) % prime);
            while residue(&number) != wanted {
                let mut carry = 0;
                for (digit, add) in number.iter_mut().zip(&product).rev() {
                    let sum = u16::from(*digit) + u16::from(*add) + carry;
                    *digit = sum.to_be_bytes()[1];
                    carry = sum >> 8;
                }
            }
            let mut carry = 0;
            for digit in product.iter_mut().rev() {
                let value = u32::from(*digit) * prime + carry;
                *digit = value.to_be_bytes()[3];
                carry = value >> 8;
            }
        }
        assert!(has_roca_fingerprint(&number));
        number[39] ^= 1;
        assert!(!has_roca_fingerprint(&number));
    }
}
