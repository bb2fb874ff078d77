//! The key that is said to have made a quote, as far as whoever asks knows it.

use super::{
    key_check::KeyFlaw,
    public_area::{KeyScheme, PublicArea, TpmKey},
    signature::{SignatureError, SignatureKind, SignatureScheme, TpmSignature},
};
use crate::pcr::HashAlgorithm;

/// A key that quotes are held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuotingKey {
    /// With its public area, which says how the key is used; whoever trusts its name trusts that.
    Area(PublicArea),
    /// The key alone, from a PEM file or a certificate. Nothing says that only a TPM signs by it.
    Bare(TpmKey),
}

impl QuotingKey {
    /// The key itself.
    #[must_use]
    pub fn key(&self) -> &TpmKey {
        match self {
            Self::Area(area) => area.key(),
            Self::Bare(key) => key,
        }
    }

    /// Checks what can be known of it. For a bare key that is its strength alone.
    ///
    /// # Errors
    /// [`KeyFlaw`] names the first thing that is wrong.
    pub fn check(&self) -> Result<(), KeyFlaw> {
        match self {
            Self::Area(area) => area.check_attestation_key(),
            Self::Bare(key) => key.check_strength(),
        }
    }

    /// Verifies a signature over a structure exactly as it was received. A public area says how its key signs; a bare
    /// key signs in any way that suits it.
    ///
    /// # Errors
    /// [`SignatureError`] when the scheme is not the key's, rests on SHA-1, or the signature is not valid.
    pub fn verify(&self, message: &[u8], signature: &TpmSignature) -> Result<(), SignatureError> {
        match self {
            Self::Area(area) => area.verify(message, signature),
            Self::Bare(key) => key.verify(message, signature),
        }
    }

    /// Reads a signature: TPMT_SIGNATURE, or what is left of one without its scheme, as `tpm2_quote -f plain` writes it:
    /// an RSA signature alone, or an ECDSA signature in DER. The scheme is then the key's own, or, of a bare key, that
    /// by which the signature verifies, with the hash of the quoted digest.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn read_signature(
        &self,
        message: &[u8],
        pcr_digest: Option<&[u8]>,
        signature: &[u8],
    ) -> Result<TpmSignature, String> {
        let error = match TpmSignature::parse(signature) {
            Ok(signature) => return Ok(signature),
            Err(error) => error.to_string(),
        };
        let plain: Vec<TpmSignature> = self
            .schemes(pcr_digest)
            .into_iter()
            .filter_map(|scheme| TpmSignature::from_plain(self.key(), scheme, signature))
            .collect();
        let valid = plain.iter().find(|candidate| self.verify(message, candidate).is_ok());
        valid.or(plain.first()).cloned().ok_or(error)
    }

    fn schemes(&self, pcr_digest: Option<&[u8]>) -> Vec<SignatureScheme> {
        let kinds: &[SignatureKind] = match self {
            Self::Area(area) => match area.scheme() {
                KeyScheme::Signature(scheme) => return vec![scheme],
                KeyScheme::Null | KeyScheme::Other => &[],
            },
            Self::Bare(TpmKey::Rsa { .. }) => &[SignatureKind::RsaSsa, SignatureKind::RsaPss],
            Self::Bare(TpmKey::EccP256 { .. } | TpmKey::EccP384 { .. }) => &[SignatureKind::Ecdsa],
        };
        let length = pcr_digest.map(<[u8]>::len);
        let hash = HashAlgorithm::ALL.into_iter().find(|hash| Some(hash.digest_len()) == length);
        hash.map_or(Vec::new(), |hash| kinds.iter().map(|&kind| SignatureScheme { kind, hash }).collect())
    }
}
