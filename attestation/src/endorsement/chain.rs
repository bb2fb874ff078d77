//! From a certificate of an endorsement key to a root that its reader pinned.

use std::{collections::BTreeSet, fmt};

use certval::{
    CertificateChain, CertificationPath, CertificationPathResults, CertificationPathSettings, PDVCertificate,
    PDVTrustAnchorChoice, PkiEnvironment, TimeOfInterest, get_subject_public_key_info_from_trust_anchor,
    get_trust_anchor_name, parse_cert, validate_path_rfc5280,
};
use thiserror::Error;
use x509_cert::{
    der::{Encode, asn1::BitString},
    name::Name,
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
};

use super::{certificate::EkCertificate, pem, signatures};
use crate::{
    Evidence, HexBytes, KeyFlaw, PublicArea, Sha256Digest, TpmKey, UnixTime, Verdict,
    appraisal::{
        level::Level::Authentic,
        verdict::{CheckSpec, Checklist, if_asked, mandatory},
    },
};

/// Every check of an endorsement key's certificate, in order.
static EK_CHECKS: [CheckSpec; 4] = [
    mandatory(Authentic, "ek.chain"),
    mandatory(Authentic, "ek.usage"),
    mandatory(Authentic, "ek.strength"),
    if_asked(Authentic, "ek.key"),
];

/// The names of all checks of an endorsement key's certificate.
pub fn ek_checks() -> impl Iterator<Item = &'static str> {
    EK_CHECKS.iter().map(CheckSpec::name)
}

/// Certificates of one kind: all vendors together have some two hundred.
const PINNED_MAX: usize = 4096;

/// Bytes of a file: all vendors' certificates together take half of it.
const FILE_MAX: usize = 1024 * 1024;

/// Bytes of one certificate: authorities' take 2,000, and whoever shows evidence chooses those in it.
const CERTIFICATE_MAX: usize = 8192;

/// Authorities between a key and a pinned root: vendors have one or two.
const DEPTH_MAX: usize = 4;

/// Paths that are tried: authorities of one name differ by key, and each vendor has a handful.
const PATHS_MAX: usize = 64;

/// Certificates of vendors, as their reader chose them.
#[derive(Clone, Default)]
pub struct PinnedCertificates {
    roots: Vec<PDVTrustAnchorChoice>,
    intermediates: Vec<PDVCertificate>,
    root_digests: BTreeSet<Sha256Digest>,
    intermediate_digests: BTreeSet<Sha256Digest>,
}

impl PinnedCertificates {
    /// Nobody is trusted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts every certificate of a file, PEM or DER. Whatever is named here is a root: nothing above it is looked at, nor
    /// its own time of validity. That also serves intermediates whose own signature rests on SHA-1.
    ///
    /// # Errors
    /// [`PinnedError`] when the file holds no certificate or one that cannot be read.
    pub fn add_roots(&mut self, file: &[u8]) -> Result<usize, PinnedError> {
        let certificates = read_all(file, self.roots.len())?;
        for der in &certificates {
            let root = PDVTrustAnchorChoice::create(der, "")
                .map_err(|error| PinnedError::Malformed(error.to_string()))?;
            self.roots.push(root);
            self.root_digests.insert(Sha256Digest::of(der));
        }
        Ok(certificates.len())
    }

    /// Makes the certificates of a file, PEM or DER, available between keys and roots. They are not trusted.
    ///
    /// # Errors
    /// [`PinnedError`] when the file holds no certificate, one that cannot be read, or too many.
    pub fn add_intermediates(&mut self, file: &[u8]) -> Result<usize, PinnedError> {
        let certificates = read_all(file, self.intermediates.len())?;
        for der in &certificates {
            let certificate =
                parse_cert(der, "").map_err(|error| PinnedError::Malformed(error.to_string()))?;
            self.intermediates.push(certificate);
            self.intermediate_digests.insert(Sha256Digest::of(der));
        }
        Ok(certificates.len())
    }

    /// SHA-256 of each root, sorted.
    #[must_use]
    pub fn root_digests(&self) -> Vec<Sha256Digest> {
        self.root_digests.iter().copied().collect()
    }

    /// SHA-256 of each certificate that may lie in between, sorted.
    #[must_use]
    pub fn intermediate_digests(&self) -> Vec<Sha256Digest> {
        self.intermediate_digests.iter().copied().collect()
    }

    /// As [`PinnedCertificates::add_intermediates`] for one certificate that evidence carries: DER, never a whole file of them.
    fn add_carried(&mut self, der: &[u8]) -> Result<(), PinnedError> {
        if der.len() > CERTIFICATE_MAX {
            return Err(PinnedError::CertificateTooLong { found: der.len() });
        }
        let certificate = parse_cert(der, "").map_err(|error| PinnedError::Malformed(error.to_string()))?;
        self.intermediates.push(certificate);
        Ok(())
    }

    /// Every path by names from a certificate up to a root, shortest first, to be validated.
    fn candidates(&self, target: &PDVCertificate) -> Vec<(usize, CertificateChain)> {
        let mut found = Vec::new();
        // From the target upwards; a whole path is turned round, because validation begins at the root.
        let mut open: Vec<Vec<usize>> = vec![Vec::new()];
        for _ in 0..=DEPTH_MAX {
            let mut longer = Vec::new();
            for path in open {
                let top = path.last().map_or(target, |&index| &self.intermediates[index]);
                let issuer = top.decoded().tbs_certificate().issuer();
                let roots = self.roots.iter().enumerate().filter(|(_, root)| name_of(root) == Some(issuer));
                for (root, _) in roots.take(PATHS_MAX - found.len()) {
                    let chain = path.iter().rev().map(|&index| self.intermediates[index].clone()).collect();
                    found.push((root, chain));
                }
                let above = self.intermediates.iter().enumerate().filter(|(index, certificate)| {
                    certificate.decoded().tbs_certificate().subject() == issuer && !path.contains(index)
                });
                // Pinned ones stand before those that came with the evidence, so that many of a name hide no honest path.
                let room = PATHS_MAX - longer.len();
                longer.extend(above.take(room).map(|(index, _)| [path.as_slice(), &[index]].concat()));
                if found.len() >= PATHS_MAX {
                    return found;
                }
            }
            open = longer;
        }
        found
    }
}

impl fmt::Debug for PinnedCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PinnedCertificates({} roots, {} intermediates)",
            self.roots.len(),
            self.intermediates.len()
        )
    }
}

fn name_of(root: &PDVTrustAnchorChoice) -> Option<&Name> {
    get_trust_anchor_name(root.decoded()).ok()
}

/// The certificates of a file, DER each, exactly as they were signed.
fn read_all(file: &[u8], already: usize) -> Result<Vec<Vec<u8>>, PinnedError> {
    if file.len() > FILE_MAX {
        return Err(PinnedError::TooLong { found: file.len() });
    }
    let certificates = match pem::certificates(file) {
        Some(read) => read.map_err(PinnedError::Malformed)?,
        None => vec![file.to_vec()],
    };
    if certificates.is_empty() {
        return Err(PinnedError::Empty);
    }
    let found = already + certificates.len();
    if found > PINNED_MAX {
        return Err(PinnedError::TooMany { found });
    }
    if let Some(der) = certificates.iter().find(|der| der.len() > CERTIFICATE_MAX) {
        return Err(PinnedError::CertificateTooLong { found: der.len() });
    }
    Ok(certificates)
}

/// Appraises a vendor's certificate: is it of an endorsement key, does it chain to a pinned root as of `now`, is its key sound,
/// and is it the key of `ek` when one is given.
#[must_use]
pub fn appraise_ek(
    certificate: &EkCertificate,
    pinned: &PinnedCertificates,
    ek: Option<&PublicArea>,
    now: UnixTime,
) -> Verdict {
    appraised(certificate, pinned, ek, now).verdict()
}

fn appraised(
    certificate: &EkCertificate,
    pinned: &PinnedCertificates,
    ek: Option<&PublicArea>,
    now: UnixTime,
) -> Checklist {
    let mut list = Checklist::new(&[&EK_CHECKS]);
    let path = path(certificate, pinned, now).map(|Path { between, root }| {
        let issuer = certificate.issuer();
        format!("issued by {issuer:?}, {between} certificates below the root with the key {root}")
    });
    list.record("ek.chain", path);
    list.record("ek.usage", usage(certificate));
    list.record(
        "ek.strength",
        certificate
            .key()
            .check_strength()
            .map(|()| described(certificate.key()))
            .map_err(|flaw: KeyFlaw| flaw.to_string()),
    );
    match ek {
        None => list.not_applicable("ek.key", "no endorsement key was given"),
        Some(ek) => list.record("ek.key", same_key(certificate, ek)),
    }
    for tolerance in certificate.tolerances() {
        list.warn(format!("the certificate was read with a liberty: {tolerance}"));
    }
    list
}

/// The pinned root that a certificate chains to: SHA-256 over its SubjectPublicKeyInfo.
#[must_use]
pub fn root_of(
    certificate: &EkCertificate,
    pinned: &PinnedCertificates,
    now: UnixTime,
) -> Option<Sha256Digest> {
    path(certificate, pinned, now).ok().map(|path| path.root)
}

/// RFC 5280, section 6: the first path that validates.
fn path(certificate: &EkCertificate, pinned: &PinnedCertificates, now: UnixTime) -> Result<Path, String> {
    if pinned.roots.is_empty() {
        return Err("expected at least one pinned root, found none".to_owned());
    }
    let target = parse_cert(certificate.readable().der(), "").map_err(|error| error.to_string())?;
    let mut environment = PkiEnvironment::new();
    environment.add_validate_path_callback(validate_path_rfc5280);
    let readable = certificate.readable().clone();
    environment.add_verify_signature_message_callback(
        move |_: &PkiEnvironment,
              body: &[u8],
              signature: &BitString,
              algorithm: &AlgorithmIdentifierOwned,
              signer: &SubjectPublicKeyInfoOwned| {
            signatures::verify(readable.signed_body(body), signature, algorithm, signer)
        },
    );
    let mut settings = CertificationPathSettings::new();
    let time = TimeOfInterest::from_unix_secs(now.as_secs()).map_err(|error| error.to_string())?;
    settings.set_time_of_interest(time);
    // Roots are named one by one, not looked up; what they are pinned for does not end with their own validity.
    settings.set_require_ta_store(false);
    settings.set_enforce_trust_anchor_validity(false);

    let mut why = format!(
        "no authority of that name among {} pinned roots and {} intermediates",
        pinned.roots.len(),
        pinned.intermediates.len()
    );
    for (root, intermediates) in pinned.candidates(&target) {
        let between = intermediates.len();
        let root = &pinned.roots[root];
        let path = CertificationPath::new(root.clone(), intermediates, target.clone());
        let mut results = CertificationPathResults::new();
        match environment.validate_path(&environment, &settings, &path, &mut results) {
            Ok(()) => {
                let key = get_subject_public_key_info_from_trust_anchor(root.decoded());
                let key = key.to_der().map_err(|error| error.to_string())?;
                return Ok(Path { between, root: Sha256Digest::of(&key) });
            }
            Err(error) => why = error.to_string(),
        }
    }
    Err(format!(
        "expected a path from {:?} (issuer {:?}) to a pinned root as of {now}, found: {why}",
        certificate.subject(),
        certificate.issuer(),
    ))
}

/// A path that validated.
struct Path {
    /// Certificates between the key's and the root.
    between: usize,
    /// Over the root's SubjectPublicKeyInfo.
    root: Sha256Digest,
}

fn usage(certificate: &EkCertificate) -> Result<String, String> {
    let usage = certificate.usage();
    if usage.authority {
        return Err("expected the certificate of a key, found that of an authority".to_owned());
    }
    if !usage.endorsement {
        return Err("expected the certificate of an endorsement key, found one for other purposes".to_owned());
    }
    match usage.secrets {
        Some(true) => Ok("for encrypting or agreeing on keys".to_owned()),
        Some(false) => {
            Err("expected a key for encrypting or agreeing on keys, found one for other uses".to_owned())
        }
        None => Ok("not restricted".to_owned()),
    }
}

/// The same of evidence: of the certificate that it carries, with what it carries above that, and of its endorsement key.
/// Evidence without a certificate fails.
#[must_use]
pub fn appraise_ek_of(evidence: &Evidence, pinned: &PinnedCertificates, now: UnixTime) -> Verdict {
    let read = || {
        let [own, above @ ..] = evidence.ek_certificates.as_slice() else {
            return Err(
                "expected the vendor's certificate of the endorsement key, found none in the evidence"
                    .to_owned(),
            );
        };
        let certificate = EkCertificate::parse(&own.0).map_err(|error| error.to_string())?;
        let mut pinned = pinned.clone();
        for HexBytes(der) in above {
            pinned.add_carried(der).map_err(|error| error.to_string())?;
        }
        Ok((certificate, pinned))
    };
    match read() {
        Ok((certificate, pinned)) => {
            let mut list = appraised(&certificate, &pinned, Some(&evidence.ek), now);
            if evidence.enrolment.is_none() {
                list.warn(
                    "no enrolment record: that the attestation key lies beside the certified endorsement key rests on the \
                     manifest alone"
                        .to_owned(),
                );
            }
            list.verdict()
        }
        Err(reason) => {
            let mut list = Checklist::new(&[&EK_CHECKS]);
            list.record("ek.chain", Err(reason));
            list.verdict()
        }
    }
}

fn same_key(certificate: &EkCertificate, ek: &PublicArea) -> Result<String, String> {
    if certificate.key() == ek.key() {
        Ok(format!("of the endorsement key {}", ek.name()))
    } else {
        Err(format!(
            "expected the certificate of the endorsement key {}, found one of another key",
            ek.name()
        ))
    }
}

fn described(key: &TpmKey) -> String {
    match key {
        TpmKey::Rsa { modulus, .. } => format!("RSA of {} bits", modulus.len() * 8),
        TpmKey::EccP256 { .. } => "NIST P-256".to_owned(),
        TpmKey::EccP384 { .. } => "NIST P-384".to_owned(),
    }
}

/// Why certificates cannot be pinned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PinnedError {
    /// Nothing to trust.
    #[error("expected at least one certificate, found none")]
    Empty,
    /// Not certificates.
    #[error("expected X.509 certificates in PEM or DER, found: {0}")]
    Malformed(String),
    /// More than all vendors' certificates.
    #[error("expected a file of at most {FILE_MAX} bytes, found {found}")]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// More than any authority's.
    #[error("expected a certificate of at most {CERTIFICATE_MAX} bytes, found {found}")]
    CertificateTooLong {
        /// Its bytes.
        found: usize,
    },
    /// More than all vendors have.
    #[error("expected at most {PINNED_MAX} certificates, found {found}")]
    TooMany {
        /// In all.
        found: usize,
    },
}
