//! Signatures on certificates, by the primitives that quotes are verified with. SHA-1 is not among them: a certificate that
//! rests on it must be pinned itself.

use certval::{Error, PathValidationStatus};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::{Pkcs1v15Sign, RsaPublicKey, pkcs1::DecodeRsaPublicKey, traits::PublicKeyParts};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::{
    der::asn1::{BitString, ObjectIdentifier},
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
};

use super::certificate::oid;

/// Fewest bits of an authority's RSA key (NIST SP 800-131A).
const RSA_BITS_MIN: u32 = 2048;

/// Verifies one signature of a path, in the form that the path's validation asks for.
pub(super) fn verify(
    message: &[u8],
    signature: &BitString,
    algorithm: &AlgorithmIdentifierOwned,
    signer: &SubjectPublicKeyInfoOwned,
) -> Result<(), Error> {
    let valid = || {
        let (key, signature) = (signer.subject_public_key.as_bytes()?, signature.as_bytes()?);
        match signer.algorithm.oid {
            oid::RSA_ENCRYPTION => by_rsa(key, algorithm.oid, message, signature),
            oid::EC_PUBLIC_KEY => {
                let curve = signer.algorithm.parameters.as_ref()?.decode_as().ok()?;
                by_ecdsa(curve, key, algorithm.oid, message, signature)
            }
            _ => None,
        }
    };
    valid().ok_or(Error::PathValidation(PathValidationStatus::SignatureVerificationFailure))
}

fn by_rsa(key: &[u8], algorithm: ObjectIdentifier, message: &[u8], signature: &[u8]) -> Option<()> {
    let key = RsaPublicKey::from_pkcs1_der(key).ok()?;
    if key.n().bits() < RSA_BITS_MIN {
        return None;
    }
    let verified = match algorithm {
        oid::SHA256_WITH_RSA => {
            key.verify(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message), signature)
        }
        oid::SHA384_WITH_RSA => {
            key.verify(Pkcs1v15Sign::new::<Sha384>(), &Sha384::digest(message), signature)
        }
        oid::SHA512_WITH_RSA => {
            key.verify(Pkcs1v15Sign::new::<Sha512>(), &Sha512::digest(message), signature)
        }
        _ => return None,
    };
    verified.ok()
}

fn by_ecdsa(
    curve: ObjectIdentifier,
    key: &[u8],
    algorithm: ObjectIdentifier,
    message: &[u8],
    signature: &[u8],
) -> Option<()> {
    let digest = match algorithm {
        oid::ECDSA_WITH_SHA256 => Sha256::digest(message).to_vec(),
        oid::ECDSA_WITH_SHA384 => Sha384::digest(message).to_vec(),
        oid::ECDSA_WITH_SHA512 => Sha512::digest(message).to_vec(),
        _ => return None,
    };
    match curve {
        oid::P256 => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
            key.verify_prehash(&digest, &p256::ecdsa::Signature::from_der(signature).ok()?).ok()
        }
        oid::P384 => {
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
            key.verify_prehash(&digest, &p384::ecdsa::Signature::from_der(signature).ok()?).ok()
        }
        _ => None,
    }
}
