//! Genuine vendors' certificates. Data of other projects stays out of this repository: it is read from the folder that
//! `SEALSTONE_CORPORA` names (default: `../shared/corpora` beside the workspace). Without that folder the tests say so.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use sealstone_attestation::{
    Outcome, UnixTime, Verdict,
    endorsement::{EkCertificate, EkCertificateError, PinnedCertificates, Tolerance, appraise_ek},
};

/// Where the corpora lie; they are other projects' files and not part of this one.
fn corpora() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    let path = std::env::var_os("SEALSTONE_CORPORA").map_or_else(beside, PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!("{} is not there: genuine vendors' certificates were not read", path.display());
    None
}

fn leaf(path: &Path) -> EkCertificate {
    let bytes = std::fs::read(path).unwrap();
    EkCertificate::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn pinned(folder: &Path, roots: &[&str], intermediates: &[&str]) -> PinnedCertificates {
    let mut pinned = PinnedCertificates::new();
    for name in roots {
        pinned.add_roots(&std::fs::read(folder.join(name)).unwrap()).unwrap();
    }
    for name in intermediates {
        pinned.add_intermediates(&std::fs::read(folder.join(name)).unwrap()).unwrap();
    }
    pinned
}

fn at(time: &str) -> UnixTime {
    time.parse().unwrap()
}

fn detail<'v>(verdict: &'v Verdict, check: &str) -> &'v str {
    &verdict.check(check).unwrap().detail
}

#[test]
fn certificates_of_st_chain_to_st_and_to_nobody_else() {
    let Some(corpora) = corpora() else { return };
    let (leaves, store) =
        (corpora.join("keylime+keylime/ek_certs"), corpora.join("keylime+keylime/tpm_cert_store"));
    let now = at("2026-11-21T00:00:00Z");

    let ecc = leaf(&leaves.join("st_ecdsa_sha256_der.der"));
    assert_eq!(ecc.identity().manufacturer.as_deref(), Some("id:53544D20"));
    assert_eq!(ecc.tolerances(), []);
    let st = pinned(&store, &["STM_ECC_01RT.pem"], &["STM_ECC_01I.pem", "STM_RSA_05I.pem"]);
    let verdict = appraise_ek(&ecc, &st, None, now);
    assert!(verdict.accepted(), "{verdict:?}");

    let rsa = leaf(&leaves.join("st_sha256_with_rsa_der.der"));
    assert_eq!(rsa.tolerances(), [Tolerance::Padding { bytes: 431 }]);
    let verdict = appraise_ek(&rsa, &pinned(&store, &["STM_RSA_05I.pem"], &[]), None, now);
    assert!(verdict.accepted(), "{verdict:?}");
    assert!(verdict.warnings()[0].contains("431 bytes of padding"), "{verdict:?}");

    for (roots, intermediates) in [
        (&["INTEL_RT.pem"][..], &["STM_ECC_01I.pem"][..]),
        (&["STM_RSA_RT.pem"], &["STM_ECC_01I.pem"]),
        (&["STM_ECC_01RT.pem"], &[]),
        (&[], &["STM_ECC_01I.pem"]),
    ] {
        let verdict = appraise_ek(&ecc, &pinned(&store, roots, intermediates), None, now);
        assert_eq!(verdict.check("ek.chain").unwrap().result, Outcome::Failed, "{roots:?} {intermediates:?}");
    }
    let late = appraise_ek(&ecc, &st, None, at("2028-07-27T00:00:00Z"));
    assert!(detail(&late, "ek.chain").contains("InvalidNotAfterDate"), "{late:?}");
    let early = appraise_ek(&ecc, &st, None, at("2018-07-25T00:00:00Z"));
    assert!(!early.accepted());
}

#[test]
fn the_whole_store_of_vendors_can_be_pinned_at_once() {
    let Some(corpora) = corpora() else { return };
    let store = corpora.join("keylime+keylime/tpm_cert_store");
    let mut all = PinnedCertificates::new();
    let mut files = 0;
    for entry in std::fs::read_dir(&store).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            all.add_roots(&std::fs::read(&path).unwrap())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            files += 1;
        }
    }
    assert!(files > 40);
    let leaves = corpora.join("keylime+keylime/ek_certs");
    for name in ["st_ecdsa_sha256_der.der", "st_sha256_with_rsa_der.der"] {
        assert!(
            appraise_ek(&leaf(&leaves.join(name)), &all, None, at("2026-11-21T00:00:00Z")).accepted(),
            "{name}"
        );
    }
}

#[test]
fn what_is_not_of_an_endorsement_key_is_refused_even_under_its_own_issuer() {
    let Some(corpora) = corpora() else { return };
    let leaves = corpora.join("keylime+keylime/ek_certs");
    // An authority, its name's parts out of order.
    let authority = leaf(&leaves.join("nuvoton_ecdsa_sha256_der.der"));
    assert_eq!(authority.tolerances(), [Tolerance::NotCanonical, Tolerance::NoPurpose]);
    let verdict = appraise_ek(
        &authority,
        &pinned(&leaves, &["nuvoton_ecdsa_sha256_der.der"], &[]),
        None,
        at("2026-11-21T00:00:00Z"),
    );
    assert_eq!(verdict.check("ek.usage").unwrap().result, Outcome::Failed);
    // Device identities for TLS.
    let mut unread = 0;
    for name in ["iak_der.der", "idevid_der.der"] {
        match EkCertificate::parse(&std::fs::read(leaves.join(name)).unwrap()) {
            // A key for RSASSA-PSS alone encrypts nothing.
            Err(error) => {
                assert!(matches!(error, EkCertificateError::Key { .. }), "{error}");
                unread += 1;
            }
            Ok(certificate) => {
                let own = pinned(&leaves, &[name], &[]);
                assert!(!appraise_ek(&certificate, &own, None, at("2025-01-01T00:00:00Z")).accepted());
            }
        }
    }
    assert_eq!(unread, 1);
}

#[test]
fn certificates_of_a_cloud_are_read_and_only_those_for_encryption_accepted() {
    let Some(corpora) = corpora() else { return };
    let google = corpora.join("google+go-tpm-tools");
    let cas = google.join("server/ca-certs");
    let pinned = pinned(
        &cas,
        &["tpm_ek_root_1.cer", "gcp_ek_ak_ca_root.crt"],
        &["tpm_ek_intermediate_2.crt", "tpm_ek_intermediate_3.crt", "gcp_ek_ak_ca_intermediate_v3.crt"],
    );
    let certificates = google.join("internal/test/certificates");
    for (name, for_secrets) in [
        ("uca_tpm_rsa_enc_cert.pem", true),
        ("uca_tpm_ecc_enc_cert.pem", true),
        ("uca_tpm_rsa_sign_cert.pem", false),
        ("uca_tpm_ecc_sign_cert.pem", false),
        ("pca_tpm_rsa_sign_cert.pem", false),
        ("pca_tpm_ecc_sign_cert.pem", false),
    ] {
        let certificate = leaf(&certificates.join(name));
        let verdict = appraise_ek(&certificate, &pinned, None, at("2023-06-01T00:00:00Z"));
        let passed = verdict.check("ek.usage").unwrap().result == Outcome::Passed;
        assert_eq!(passed, for_secrets, "{name}: {verdict:?}");
        assert_eq!(verdict.check("ek.chain").unwrap().result, Outcome::Passed, "{name}: {verdict:?}");
    }
}
