//! Certificates of endorsement keys, good and bad, under authorities that the tests make.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SerialNumber,
    SignatureAlgorithm, date_time_ymd,
};
use sealstone_attestation::{
    Evidence, HexBytes, Outcome, UnixTime, Verdict,
    endorsement::{
        EkCertificate, EkCertificateError, PinnedCertificates, PinnedError, Tolerance, appraise_ek,
        appraise_ek_of,
    },
};

/// `tcg-kp-EKCertificate`.
const EK_PURPOSE: [u64; 6] = [2, 23, 133, 8, 1, 0];

/// An authority of a vendor.
struct Authority {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

fn root(name: &str) -> Authority {
    let (params, key) = (authority_params(name), key(&PKCS_ECDSA_P384_SHA384));
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Authority { der, issuer: Issuer::new(params, key) }
}

impl Authority {
    fn authority(&self, params: CertificateParams) -> Self {
        let key = key(&PKCS_ECDSA_P256_SHA256);
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn certify(&self, params: &CertificateParams) -> Vec<u8> {
        params.signed_by(&key(&PKCS_ECDSA_P256_SHA256), &self.issuer).unwrap().der().to_vec()
    }
}

/// What a vendor writes into the certificate of a P-256 endorsement key.
fn ek_params() -> CertificateParams {
    let mut params = named("TPM 1");
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(EK_PURPOSE[..5].to_vec())];
    params.custom_extensions = vec![description("id:49424D00")];
    params
}

/// A critical subject alternative name with the manufacturer, 2.23.133.2.1, alone.
fn description(manufacturer: &str) -> CustomExtension {
    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
    }
    let oid = tagged(0x06, &[0x67, 0x81, 0x05, 0x02, 0x01]);
    let attribute = tagged(0x30, &[oid, tagged(0x0c, manufacturer.as_bytes())].concat());
    let names = tagged(0x30, &tagged(0xa4, &tagged(0x30, &tagged(0x31, &attribute))));
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], names);
    extension.set_criticality(true);
    extension
}

fn pinned(roots: &[&Authority], intermediates: &[&Authority]) -> PinnedCertificates {
    let mut pinned = PinnedCertificates::new();
    for authority in roots {
        pinned.add_roots(&authority.der).unwrap();
    }
    for authority in intermediates {
        pinned.add_intermediates(&authority.der).unwrap();
    }
    pinned
}

fn at(time: &str) -> UnixTime {
    time.parse().unwrap()
}

fn judged(der: &[u8], pinned: &PinnedCertificates) -> Verdict {
    appraise_ek(&EkCertificate::parse(der).unwrap(), pinned, None, at("2026-01-01T00:00:00Z"))
}

fn refused_by(verdict: &Verdict, check: &str) {
    assert_eq!(verdict.check(check).unwrap().result, Outcome::Failed, "{verdict:?}");
    assert!(!verdict.accepted());
}

#[test]
fn a_certificate_chains_through_intermediates_to_the_pinned_root() {
    let root = root("Root");
    let middle = root.authority(authority_params("Middle"));
    let low = middle.authority(authority_params("Low"));
    let der = low.certify(&ek_params());
    let verdict = judged(&der, &pinned(&[&root], &[&low, &middle]));
    assert!(verdict.accepted(), "{verdict:?}");
    assert_eq!(verdict.warnings(), [] as [&str; 0]);
    let certificate = EkCertificate::parse(&der).unwrap();
    assert_eq!(certificate.identity().manufacturer.as_deref(), Some("id:49424D00"));
    // An intermediate may be pinned itself; nothing above it is looked at then.
    assert!(judged(&der, &pinned(&[&low], &[])).accepted());
}

#[test]
fn a_path_that_does_not_hold_is_refused() {
    let root = root("Root");
    let middle = root.authority(authority_params("Middle"));
    let der = middle.certify(&ek_params());
    refused_by(&judged(&der, &pinned(&[&root], &[])), "ek.chain");
    refused_by(&judged(&der, &PinnedCertificates::new()), "ek.chain");
    refused_by(&judged(&der, &pinned(&[], &[&middle])), "ek.chain");

    // The same names, other keys.
    let stranger = self::root("Root");
    let forged = stranger.authority(authority_params("Middle"));
    refused_by(&judged(&der, &pinned(&[&root], &[&forged])), "ek.chain");
    refused_by(&judged(&forged.certify(&ek_params()), &pinned(&[&root], &[&forged, &middle])), "ek.chain");
    // The right one is found beside a forged one of its name.
    assert!(judged(&der, &pinned(&[&stranger, &root], &[&forged, &middle])).accepted());

    // A key's certificate is no authority's.
    let mut no_authority = named("Middle");
    no_authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let pretender = root.authority(no_authority);
    refused_by(&judged(&pretender.certify(&ek_params()), &pinned(&[&root], &[&pretender])), "ek.chain");
    let mut may_not_sign = authority_params("Middle");
    may_not_sign.key_usages = vec![KeyUsagePurpose::CrlSign];
    let pretender = root.authority(may_not_sign);
    refused_by(&judged(&pretender.certify(&ek_params()), &pinned(&[&root], &[&pretender])), "ek.chain");
    let mut last = authority_params("Middle");
    last.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let last = root.authority(last);
    let below = last.authority(authority_params("Low"));
    refused_by(&judged(&below.certify(&ek_params()), &pinned(&[&root], &[&last, &below])), "ek.chain");

    let mut ended = authority_params("Middle");
    ended.not_after = date_time_ymd(2025, 1, 1);
    let ended = root.authority(ended);
    refused_by(&judged(&ended.certify(&ek_params()), &pinned(&[&root], &[&ended])), "ek.chain");
    let mut unknown = ek_params();
    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    extension.set_criticality(true);
    unknown.custom_extensions.push(extension);
    refused_by(&judged(&root.certify(&unknown), &pinned(&[&root], &[])), "ek.chain");
}

#[test]
fn what_is_signed_by_the_vendor_for_another_purpose_is_refused() {
    let root = root("Root");
    let pinned = pinned(&[&root], &[]);
    let mut tls = ek_params();
    tls.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    refused_by(&judged(&root.certify(&tls), &pinned), "ek.usage");
    let mut signing = ek_params();
    signing.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    refused_by(&judged(&root.certify(&signing), &pinned), "ek.usage");
    let authority = root.authority(authority_params("Middle"));
    refused_by(&judged(&authority.der, &pinned), "ek.usage");
    let mut unrestricted = ek_params();
    unrestricted.key_usages = Vec::new();
    unrestricted.extended_key_usages = Vec::new();
    assert!(judged(&root.certify(&unrestricted), &pinned).accepted());
}

#[test]
fn liberties_of_genuine_certificates_are_allowed_and_listed() {
    let root = root("Root");
    let pinned = pinned(&[&root], &[]);
    let der = root.certify(&ek_params());
    let length = u16::try_from(der.len() + 2).unwrap().to_be_bytes();
    let stored = [&[0x10, 0x01, 0x00], length.as_slice(), &[0x10, 0x02], &der, &[0xff; 100]].concat();
    let certificate = EkCertificate::parse(&stored).unwrap();
    assert_eq!(certificate.tolerances(), [Tolerance::StoredHeader, Tolerance::Padding { bytes: 100 }]);
    assert_eq!(certificate.as_der(), der);
    let verdict = judged(&stored, &pinned);
    assert!(verdict.accepted() && verdict.warnings().len() == 2, "{verdict:?}");

    // Serial numbers that no vendor should have given.
    for serial in [vec![0], vec![0x7f; 24]] {
        let mut params = ek_params();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let der = root.certify(&params);
        match EkCertificate::parse(&der) {
            Ok(certificate) => {
                assert_eq!(certificate.tolerances(), [Tolerance::SerialNumber], "{serial:?}");
                assert!(judged(&der, &pinned).accepted(), "{serial:?}");
            }
            Err(error) => panic!("{serial:?}: {error}"),
        }
    }
}

/// One DER structure of at most 65,535 bytes.
fn structure(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length = match (high, low) {
        (0, 0..0x80) => vec![low],
        (0, _) => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag], length.as_slice(), content].concat()
}

#[test]
fn a_serial_number_with_a_zero_too_many_or_below_zero_is_read_and_verified_as_it_was_signed() {
    use rcgen::SigningKey;
    let root = root("Root");
    let mut params = ek_params();
    params.serial_number = Some(SerialNumber::from_slice(&[0x21, 0x22, 0x23]));
    let der = root.certify(&params);
    // The body's header and the certificate's own take 4 bytes each: the body is longer than 255 bytes.
    assert_eq!((der[1], der[5]), (0x82, 0x82));
    let body_end = 8 + usize::from(u16::from_be_bytes([der[6], der[7]]));
    let place = der.windows(5).position(|window| window == [0x02, 0x03, 0x21, 0x22, 0x23]).unwrap() + 2;
    let algorithm_end = body_end + 2 + usize::from(der[body_end + 1]);
    for first in [0x00, 0xa1] {
        let mut body = der[4..body_end].to_vec();
        body[place - 4] = first;
        let signature = root.issuer.key().sign(&body).unwrap();
        let signature = structure(0x03, &[&[0], signature.as_slice()].concat());
        let odd = structure(0x30, &[&body, &der[body_end..algorithm_end], &signature].concat());
        let certificate = EkCertificate::parse(&odd).unwrap();
        assert_eq!(certificate.tolerances(), [Tolerance::SerialNumber]);
        assert_eq!(certificate.as_der(), odd);
        let verdict = judged(&odd, &pinned(&[&root], &[]));
        assert!(verdict.accepted() && verdict.warnings().len() == 1, "{verdict:?}");

        // The signature is over those bytes, not over what they would be in DER, nor over anything else.
        let mut changed = odd.clone();
        changed[place + 1] ^= 1;
        refused_by(&judged(&changed, &pinned(&[&root], &[])), "ek.chain");
    }
    let mut unsigned = der.clone();
    unsigned[place] = 0;
    refused_by(&judged(&unsigned, &pinned(&[&root], &[])), "ek.chain");
}

#[test]
fn anything_else_is_no_certificate() {
    let root = root("Root");
    let der = root.certify(&ek_params());
    for end in 0..der.len() {
        assert!(EkCertificate::parse(&der[..end]).is_err(), "{end}");
    }
    assert!(matches!(EkCertificate::parse(&[0; 9000]), Err(EkCertificateError::TooLong { found: 9000 })));
    let two = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n".repeat(2);
    assert_eq!(EkCertificate::parse(two.as_bytes()), Err(EkCertificateError::Several { found: 2 }));
    let mut pinned = PinnedCertificates::new();
    assert!(pinned.add_roots(b"").is_err());
    assert!(pinned.add_roots(b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----").is_err());
    assert!(pinned.add_roots(b"-----BEGIN CERTIFICATE-----\nMA==").is_err());
    assert!(pinned.add_intermediates(&vec![0x30; 2 * 1024 * 1024]).is_err());
}

proptest! {
    #[test]
    fn a_changed_certificate_is_never_accepted_and_never_panics(at in 0_usize..4096, flip in 1_u8..) {
        let root = root("Root");
        let mut der = root.certify(&ek_params());
        let at = at % der.len();
        der[at] ^= flip;
        if let Ok(certificate) = EkCertificate::parse(&der) {
            let verdict = appraise_ek(&certificate, &pinned(&[&root], &[]), None, self::at("2026-01-01T00:00:00Z"));
            // The bytes behind the certificate's own length are padding; a shorter length ends what was signed.
            prop_assert!(!verdict.accepted() || certificate.as_der() == der, "{verdict:?}");
            prop_assert!(!verdict.accepted());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = EkCertificate::parse(&bytes);
        let _ = PinnedCertificates::new().add_roots(&bytes);
    }
}

#[test]
fn many_authorities_of_one_name_hide_no_honest_path() {
    let root = root("Root");
    let middle = root.authority(authority_params("Middle"));
    let der = middle.certify(&ek_params());
    // Each is the issuer of the key and of every other, by its name.
    let forged: Vec<Authority> = (0..100).map(|_| self::root("Middle")).collect();
    let mut certificates = pinned(&[&root], &[&middle]);
    for authority in &forged {
        certificates.add_intermediates(&authority.der).unwrap();
    }
    assert!(judged(&der, &certificates).accepted());
    let only_forged: Vec<&Authority> = forged.iter().collect();
    refused_by(&judged(&der, &pinned(&[&root], &only_forged)), "ek.chain");
    assert_eq!((certificates.root_digests().len(), certificates.intermediate_digests().len()), (1, 101));
    assert!(certificates.intermediate_digests().is_sorted());
}

#[test]
fn evidence_carries_no_more_than_a_few_certificates_of_a_bounded_size() {
    let root = root("Root");
    let middle = root.authority(authority_params("Middle"));
    let leaf = middle.certify(&ek_params());
    let chain = |above: Vec<Vec<u8>>, pinned: &PinnedCertificates| {
        let mut evidence = Evidence::parse(include_bytes!("data/node/evidence.json")).unwrap();
        evidence.ek_certificates = [vec![leaf.clone()], above].concat().into_iter().map(HexBytes).collect();
        let verdict = appraise_ek_of(&evidence, pinned, at("2026-01-01T00:00:00Z"));
        assert!(!verdict.accepted(), "the certificate is not of the evidence's key");
        let check = verdict.check("ek.chain").unwrap();
        (check.result, check.detail.clone())
    };
    let trusted = pinned(&[&root], &[]);
    assert_eq!(chain(vec![middle.der.clone()], &trusted).0, Outcome::Passed);
    assert_eq!(chain(vec![], &trusted).0, Outcome::Failed);
    // Forged ones before and behind the honest one.
    let forged = || (0..3).map(|_| self::root("Middle").der).collect::<Vec<_>>();
    let among = [forged(), vec![middle.der.clone()], forged()].concat();
    assert_eq!(chain(among, &trusted).0, Outcome::Passed);
    assert_eq!(chain(forged(), &pinned(&[&root], &[&middle])).0, Outcome::Passed);

    // A file of many, and one as long as a file.
    let text = |der: &[u8]| {
        let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    assert_eq!(chain(vec![text(&middle.der).into_bytes()], &trusted).0, Outcome::Failed);
    let (result, detail) = chain(vec![[&middle.der[..], &[0; 9000]].concat()], &trusted);
    assert!(result == Outcome::Failed && detail.contains("at most 8192 bytes"), "{detail}");
    let long = PinnedCertificates::new().add_roots(&[&root.der[..], &[0; 9000]].concat());
    assert!(matches!(long, Err(PinnedError::CertificateTooLong { .. })));
}
