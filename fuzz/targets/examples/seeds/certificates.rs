//! Certificates of endorsement keys in the shapes that vendors' have: bare, padded, behind a TPM 1.2 header, as text.

use std::fs;
use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256,
    PublicKeyData, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use rsa::{BoxedUint, pkcs1::EncodeRsaPublicKey};
use sealstone_attestation::{PublicArea, TpmKey};

use crate::save;

/// `tcg-kp-EKCertificate`.
const EK_PURPOSE: [u64; 5] = [2, 23, 133, 8, 1];

pub(crate) fn save_all() {
    let mut params = named("Vendor Root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let root = params.self_signed(&key).unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("vendor_root.der"), root.der()).unwrap();
    let issuer = Issuer::new(params, key);

    let certify = |params: &CertificateParams, swtpm: &str| {
        params.signed_by(&Public::of(&swtpm_ek(swtpm)), &issuer).unwrap().der().to_vec()
    };
    let ecc = |usage| {
        let mut params = named("TPM 1");
        params.key_usages = vec![usage];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(EK_PURPOSE.to_vec())];
        params.custom_extensions = vec![description()];
        params
    };
    let p256 = certify(&ecc(KeyUsagePurpose::KeyAgreement), "ek_p256_ak_ecdsa");
    let rsa = certify(&ecc(KeyUsagePurpose::KeyEncipherment), "ek_rsa_ak_ecdsa");
    save("ek_certificate", "p256.der", &p256);
    save("ek_certificate", "p384.der", certify(&ecc(KeyUsagePurpose::KeyAgreement), "ek_p384_ak_ecdsa"));
    save("ek_certificate", "rsa.der", &rsa);
    save("ek_certificate", "padded", [&rsa[..], &[0xff; 400]].concat());
    let length = u16::try_from(p256.len() + 2).unwrap().to_be_bytes();
    save(
        "ek_certificate",
        "stored",
        [&[0x10, 0x01, 0x00], &length[..], &[0x10, 0x02], &p256, &[0; 64]].concat(),
    );
    let lines: Vec<String> = STANDARD
        .encode(&p256)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    save("ek_certificate", "text.pem", pem);
    let mut odd = named("TPM 2");
    odd.serial_number = Some(SerialNumber::from_slice(&[0]));
    save("ek_certificate", "odd", certify(&odd, "ek_p256_ak_ecdsa"));
    let mut other = ecc(KeyUsagePurpose::DigitalSignature);
    other.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    save("ek_certificate", "other_purpose", certify(&other, "ek_p256_ak_ecdsa"));
}

/// A public key, as its certificate has it.
struct Public {
    algorithm: &'static SignatureAlgorithm,
    bits: Vec<u8>,
}

impl Public {
    fn of(key: &TpmKey) -> Self {
        let (algorithm, bits) = match key {
            TpmKey::Rsa { modulus, exponent } => {
                let modulus = BoxedUint::from_be_slice_vartime(modulus);
                let key = rsa::RsaPublicKey::new(modulus, BoxedUint::from(*exponent)).unwrap();
                (&PKCS_RSA_SHA256, key.to_pkcs1_der().unwrap().as_bytes().to_vec())
            }
            TpmKey::EccP256 { x, y } => (&PKCS_ECDSA_P256_SHA256, [&[4], &x[..], y].concat()),
            TpmKey::EccP384 { x, y } => (&PKCS_ECDSA_P384_SHA384, [&[4], &x[..], y].concat()),
        };
        Self { algorithm, bits }
    }
}

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// The endorsement key of one of swtpm's quotes.
fn swtpm_ek(name: &str) -> TpmKey {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../attestation/tests/data/swtpm/{name}.json"));
    let json: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    serde_json::from_value::<PublicArea>(json["ek"].clone()).unwrap().key().clone()
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    params
}

/// A critical subject alternative name with the manufacturer, 2.23.133.2.1, alone.
fn description() -> CustomExtension {
    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
    }
    let oid = tagged(0x06, &[0x67, 0x81, 0x05, 0x02, 0x01]);
    let attribute = tagged(0x30, &[oid, tagged(0x0c, b"id:49424D00")].concat());
    let names = tagged(0x30, &tagged(0xa4, &tagged(0x30, &tagged(0x31, &attribute))));
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], names);
    extension.set_criticality(true);
    extension
}
