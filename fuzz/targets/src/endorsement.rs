//! Vendors' certificates of endorsement keys.

use std::sync::LazyLock;

use sealstone_attestation::UnixTime;
use sealstone_attestation::endorsement::{
    EkCertificate, PinnedCertificates, Tolerance, appraise_ek, root_of,
};

/// The root above every seed that is accepted, which `examples/seeds` made.
static PINNED: LazyLock<PinnedCertificates> = LazyLock::new(|| {
    let mut pinned = PinnedCertificates::new();
    pinned
        .add_roots(include_bytes!("../data/vendor_root.der"))
        .expect("the root is a certificate: see examples/seeds");
    pinned
});

/// What that root signed.
static SIGNED: LazyLock<Vec<EkCertificate>> = LazyLock::new(|| {
    [
        &include_bytes!("../../corpus/ek_certificate/p256.der")[..],
        include_bytes!("../../corpus/ek_certificate/p384.der"),
        include_bytes!("../../corpus/ek_certificate/rsa.der"),
        include_bytes!("../../corpus/ek_certificate/odd"),
    ]
    .into_iter()
    .map(|bytes| EkCertificate::parse(bytes).expect("the seed is a certificate: see examples/seeds"))
    .collect()
});

/// When all of them are valid.
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A certificate as a file or an NV index holds it. Nothing is accepted but what the root signed, byte for byte.
#[must_use]
pub fn ek_certificate(bytes: &[u8]) -> bool {
    let Ok(certificate) = EkCertificate::parse(bytes) else { return false };
    let der = certificate.as_der();
    assert!(der.len() <= bytes.len(), "nothing is added to a certificate");
    let alone = EkCertificate::parse(der).expect("a certificate that was read can be read alone");
    assert_eq!((alone.as_der(), alone.key()), (der, certificate.key()));
    assert_eq!((alone.subject(), alone.issuer()), (certificate.subject(), certificate.issuer()));
    assert_eq!((alone.serial(), alone.identity()), (certificate.serial(), certificate.identity()));
    let around =
        |tolerance: &&Tolerance| !matches!(tolerance, Tolerance::StoredHeader | Tolerance::Padding { .. });
    assert!(
        certificate.tolerances().iter().filter(around).eq(alone.tolerances()),
        "liberties are the certificate's"
    );

    let verdict = appraise_ek(&certificate, &PINNED, None, NOW);
    assert_eq!(verdict.checks().len(), 4);
    assert_eq!(verdict.warnings().len(), certificate.tolerances().len(), "each liberty is told");
    if verdict.accepted() {
        assert!(SIGNED.iter().any(|signed| signed.as_der() == der), "the root signed it");
        assert!(root_of(&certificate, &PINNED, NOW).is_some());
    }
    assert!(
        !appraise_ek(&certificate, &PinnedCertificates::new(), None, NOW).accepted(),
        "without roots nobody is trusted"
    );
    let late = UnixTime::from_secs(u64::MAX / 2);
    assert!(!appraise_ek(&certificate, &PINNED, None, late).accepted(), "certificates end");

    // It is a foreign one above another, too, and its own issuer at worst.
    let mut hostile = PINNED.clone();
    if hostile.add_intermediates(der).is_ok() {
        for signed in SIGNED.iter() {
            assert!(appraise_ek(signed, &hostile, None, NOW).accepted(), "what is no issuer hides none");
        }
    }
    verdict.accepted()
}
