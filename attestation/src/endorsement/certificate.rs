//! Certificates of endorsement keys (TCG EK Credential Profile), read with the liberties that genuine ones take.

use std::fmt;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_cert::{
    certificate::{CertificateInner, Raw, Rfc5280},
    der::{Decode, Encode, SliceReader, asn1::ObjectIdentifier},
    ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName, name::GeneralName},
    name::Name,
    spki::SubjectPublicKeyInfoOwned,
};

use super::{pem, readable::Readable};
use crate::{TpmKey, encoding::hex_vec};

/// Bytes of a certificate as it lies in NV storage: real ones take 800 to 1,700, padding included.
const BYTES_MAX: usize = 8192;

/// What TPM 1.2 wrote before a certificate in NV storage, and some TPM 2.0 still do: `TCG_PCCLIENT_STORED_CERT`, type 0,
/// length, `TCG_FULL_CERT` (TCG PC Client Implementation Specification 1.21, section 7.3.2).
const STORED_CERT: [u8; 3] = [0x10, 0x01, 0x00];
const FULL_CERT: [u8; 2] = [0x10, 0x02];

/// Object identifiers.
pub(super) mod oid {
    use x509_cert::der::asn1::ObjectIdentifier;

    pub(in super::super) const RSA_ENCRYPTION: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    pub(in super::super) const RSAES_OAEP: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.7");
    pub(in super::super) const EC_PUBLIC_KEY: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    pub(in super::super) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
    pub(in super::super) const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
    pub(in super::super) const SHA256_WITH_RSA: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
    pub(in super::super) const SHA384_WITH_RSA: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
    pub(in super::super) const SHA512_WITH_RSA: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
    pub(in super::super) const ECDSA_WITH_SHA256: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
    pub(in super::super) const ECDSA_WITH_SHA384: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
    pub(in super::super) const ECDSA_WITH_SHA512: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
    /// `tcg-kp-EKCertificate` (TCG EK Credential Profile, section 3.1).
    pub(in super::super) const EK_CERTIFICATE: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.23.133.8.1");
    /// TCG EK Credential Profile, section 3.1.2 (subject alternative name).
    pub(in super::super) const TPM_MANUFACTURER: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.23.133.2.1");
    pub(in super::super) const TPM_MODEL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.2");
    pub(in super::super) const TPM_VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.3");
}

/// An endorsement key's certificate, read but not yet believed.
#[derive(Clone, PartialEq, Eq)]
pub struct EkCertificate {
    readable: Readable,
    key: TpmKey,
    subject: String,
    issuer: String,
    serial: Vec<u8>,
    identity: TpmIdentity,
    usage: Usage,
    tolerances: Vec<Tolerance>,
}

/// What the vendor says of the TPM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TpmIdentity {
    /// `id:` and the vendor's four bytes in hex (TCG TPM Vendor ID Registry), such as `id:53544D20`.
    pub manufacturer: Option<String>,
    /// The vendor's name for the part.
    pub model: Option<String>,
    /// The firmware's first version, `id:` and eight digits in hex.
    pub version: Option<String>,
}

/// What the certificate allows its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    /// It may sign certificates.
    pub(super) authority: bool,
    /// It is an endorsement key's, or not restricted to some other purpose.
    pub(super) endorsement: bool,
    /// It may encrypt keys (RSA) or agree on them (elliptic curves); `None` if the certificate does not say.
    pub(super) secrets: Option<bool>,
}

/// A liberty that a genuine certificate takes, and that is allowed; the verdict lists each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// The TPM 1.2 header before it in NV storage.
    StoredHeader,
    /// Bytes behind it in NV storage: all `0x00` or all `0xff`, or anything, as vendors leave the rest of the index.
    Padding {
        /// How many.
        bytes: usize,
    },
    /// Not the one DER encoding of what it says, for example the parts of a name out of order. The signature is over the
    /// bytes as they are.
    NotCanonical,
    /// A serial number that RFC 5280 forbids: negative, zero or longer than 20 bytes.
    SerialNumber,
    /// It does not say that it is an endorsement key's (extended key usage).
    NoPurpose,
    /// It does not say what its key may do (key usage).
    NoUsage,
    /// The key is said to be for OAEP alone (RFC 4055), which an RSA endorsement key is.
    OaepKey,
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StoredHeader => f.write_str("a TPM 1.2 header before the certificate"),
            Self::Padding { bytes } => write!(f, "{bytes} bytes of padding behind the certificate"),
            Self::NotCanonical => f.write_str("an encoding that is not DER"),
            Self::SerialNumber => f.write_str("a serial number that RFC 5280 forbids"),
            Self::NoPurpose => f.write_str("no word that the key is an endorsement key"),
            Self::NoUsage => f.write_str("no word of what the key may do"),
            Self::OaepKey => f.write_str("a key declared as id-RSAES-OAEP"),
        }
    }
}

impl Serialize for Tolerance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl EkCertificate {
    /// Reads one certificate as a file (DER or PEM) or an NV index holds it.
    ///
    /// # Errors
    /// [`EkCertificateError`] for anything but one X.509 certificate with an RSA, P-256 or P-384 key.
    pub fn parse(bytes: &[u8]) -> Result<Self, EkCertificateError> {
        if bytes.len() > BYTES_MAX {
            return Err(EkCertificateError::TooLong { found: bytes.len() });
        }
        let decoded = match pem::certificates(bytes) {
            None => None,
            Some(read) => {
                let mut read = read.map_err(EkCertificateError::Malformed)?;
                match (read.pop(), read.len()) {
                    (Some(der), 0) => Some(der),
                    (_, more) => return Err(EkCertificateError::Several { found: more + 1 }),
                }
            }
        };
        let mut tolerances = Vec::new();
        let der = unwrapped(decoded.as_deref().unwrap_or(bytes), &mut tolerances)?;
        let malformed = |error: x509_cert::der::Error| EkCertificateError::Malformed(error.to_string());
        let readable = Readable::of(der).map_err(malformed)?;
        let certificate = CertificateInner::<Raw>::from_der(readable.der()).map_err(malformed)?;
        let strict = CertificateInner::<Rfc5280>::from_der(der);
        if strict.is_err() || has_odd_serial(&certificate) {
            tolerances.push(Tolerance::SerialNumber);
        }
        if certificate.to_der().map_err(malformed)? != readable.der() {
            tolerances.push(Tolerance::NotCanonical);
        }
        let body = certificate.tbs_certificate();
        let key = public_key(body.subject_public_key_info(), &mut tolerances)?;
        let purposes = body.get_extension::<ExtendedKeyUsage>().map_err(malformed)?;
        let usages = body.get_extension::<KeyUsage>().map_err(malformed)?;
        if purposes.is_none() {
            tolerances.push(Tolerance::NoPurpose);
        }
        if usages.is_none() {
            tolerances.push(Tolerance::NoUsage);
        }
        let usage = Usage {
            authority: body
                .get_extension::<BasicConstraints>()
                .map_err(malformed)?
                .is_some_and(|(_, constraints)| constraints.ca),
            endorsement: purposes.is_none_or(|(_, purposes)| purposes.0.contains(&oid::EK_CERTIFICATE)),
            secrets: usages.map(|(_, usage)| match key {
                TpmKey::Rsa { .. } => usage.key_encipherment(),
                TpmKey::EccP256 { .. } | TpmKey::EccP384 { .. } => usage.key_agreement(),
            }),
        };
        let names = body.get_extension::<SubjectAltName>().map_err(malformed)?;
        Ok(Self {
            readable,
            key,
            subject: body.subject().to_string(),
            issuer: body.issuer().to_string(),
            serial: body.serial_number().as_bytes().to_vec(),
            identity: names.map(|(_, names)| identity(&names)).unwrap_or_default(),
            usage,
            tolerances,
        })
    }

    /// The certificate alone, DER, as its issuer signed it.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.readable.signed
    }

    /// SHA-256 over [`EkCertificate::as_der`].
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.as_der()).into()
    }

    /// The endorsement key.
    #[must_use]
    pub fn key(&self) -> &TpmKey {
        &self.key
    }

    /// Whom it names (RFC 4514); often empty, the TPM being named by [`EkCertificate::identity`].
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Who issued it (RFC 4514).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The serial number, big-endian.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The TPM, as its vendor describes it.
    #[must_use]
    pub fn identity(&self) -> &TpmIdentity {
        &self.identity
    }

    /// The liberties that were allowed in reading it.
    #[must_use]
    pub fn tolerances(&self) -> &[Tolerance] {
        &self.tolerances
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    pub(super) fn readable(&self) -> &Readable {
        &self.readable
    }
}

impl fmt::Debug for EkCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EkCertificate({})", hex::encode(self.fingerprint()))
    }
}

impl Serialize for EkCertificate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex_vec::serialize(self.as_der(), serializer)
    }
}

/// The certificate without what NV storage puts around it.
fn unwrapped<'b>(bytes: &'b [u8], tolerances: &mut Vec<Tolerance>) -> Result<&'b [u8], EkCertificateError> {
    let bytes = match bytes.strip_prefix(&STORED_CERT) {
        Some([_, _, rest @ ..]) => {
            tolerances.push(Tolerance::StoredHeader);
            rest.strip_prefix(&FULL_CERT).unwrap_or(rest)
        }
        _ => bytes,
    };
    let malformed = |error: x509_cert::der::Error| EkCertificateError::Malformed(error.to_string());
    let mut reader = SliceReader::new(bytes).map_err(malformed)?;
    let der = x509_cert::der::Reader::tlv_bytes(&mut reader).map_err(malformed)?;
    let rest = bytes.len() - der.len();
    if rest > 0 {
        tolerances.push(Tolerance::Padding { bytes: rest });
    }
    Ok(der)
}

fn has_odd_serial(certificate: &CertificateInner<Raw>) -> bool {
    const RFC_5280_MAX: usize = 20;
    let serial = certificate.tbs_certificate().serial_number().as_bytes();
    let negative = serial.first().is_none_or(|byte| byte & 0x80 != 0);
    negative || serial.iter().all(|byte| *byte == 0) || serial.len() > RFC_5280_MAX + 1
}

fn public_key(
    info: &SubjectPublicKeyInfoOwned,
    tolerances: &mut Vec<Tolerance>,
) -> Result<TpmKey, EkCertificateError> {
    let algorithm = info.algorithm.oid;
    let bits = info.subject_public_key.as_bytes().ok_or(EkCertificateError::Key { algorithm })?;
    let key = match algorithm {
        oid::RSA_ENCRYPTION => rsa_key(bits),
        oid::RSAES_OAEP => {
            tolerances.push(Tolerance::OaepKey);
            rsa_key(bits)
        }
        oid::EC_PUBLIC_KEY => {
            let curve = info.algorithm.parameters.as_ref().and_then(|any| any.decode_as().ok());
            curve.and_then(|curve| point(curve, bits))
        }
        _ => None,
    };
    key.ok_or(EkCertificateError::Key { algorithm })
}

/// RSAPublicKey (RFC 8017, section A.1.1).
fn rsa_key(bits: &[u8]) -> Option<TpmKey> {
    let key = rsa::pkcs1::RsaPublicKeyRef::from_der(bits).ok()?;
    let exponent = key
        .public_exponent
        .as_bytes()
        .iter()
        .try_fold(0_u32, |sum, byte| sum.checked_mul(256).map(|sum| sum + u32::from(*byte)))?;
    Some(TpmKey::Rsa { modulus: key.modulus.as_bytes().to_vec(), exponent })
}

/// SEC1, section 2.3.4, on the curves that TPMs have.
fn point(curve: ObjectIdentifier, bits: &[u8]) -> Option<TpmKey> {
    match curve {
        oid::P256 => {
            let point = p256::ecdsa::VerifyingKey::from_sec1_bytes(bits).ok()?.to_sec1_point(false);
            Some(TpmKey::EccP256 { x: (*point.x()?).into(), y: (*point.y()?).into() })
        }
        oid::P384 => {
            let point = p384::ecdsa::VerifyingKey::from_sec1_bytes(bits).ok()?.to_sec1_point(false);
            Some(TpmKey::EccP384 { x: (*point.x()?).into(), y: (*point.y()?).into() })
        }
        _ => None,
    }
}

/// The vendor's description in the subject alternative name.
fn identity(names: &SubjectAltName) -> TpmIdentity {
    let directory = |name: &GeneralName| match name {
        GeneralName::DirectoryName(name) => Some(name.clone()),
        _ => None,
    };
    let names: Vec<Name> = names.0.iter().filter_map(directory).collect();
    let find = |wanted: ObjectIdentifier| {
        names.iter().flat_map(Name::iter).find(|attribute| attribute.oid == wanted).and_then(|attribute| {
            // UTF8String by the profile; PrintableString and IA5String in the field.
            std::str::from_utf8(attribute.value.value()).ok().map(str::to_owned)
        })
    };
    TpmIdentity {
        manufacturer: find(oid::TPM_MANUFACTURER),
        model: find(oid::TPM_MODEL),
        version: find(oid::TPM_VERSION),
    }
}

/// Why bytes are no usable certificate of an endorsement key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EkCertificateError {
    /// More than any TPM holds.
    #[error("expected a certificate of at most {BYTES_MAX} bytes, found {found}")]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// Which one is the key's would be a guess.
    #[error("expected one certificate, found {found}; give those above it as intermediates")]
    Several {
        /// Certificates given.
        found: usize,
    },
    /// Not the structure.
    #[error("expected an X.509 certificate in DER, found bytes that do not parse: {0}")]
    Malformed(String),
    /// Not a key that a TPM has.
    #[error("expected an RSA, P-256 or P-384 key in the certificate, found another (algorithm {algorithm})")]
    Key {
        /// Of the key.
        algorithm: ObjectIdentifier,
    },
}
