//! Certificates, good and bad, in a folder of their own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use sha2::{Digest, Sha256};

/// An authority, with the folder in which everything that it makes is written.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    /// Its certificate.
    pub certificate: PathBuf,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM, mode 0600.
    pub key: PathBuf,
    /// SHA-256 of the SubjectPublicKeyInfo, hex.
    pub key_digest: String,
    serial: Option<SerialNumber>,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// It ended long ago.
    Expired,
    /// It begins long from now.
    NotYet,
    /// It is for servers.
    ForServers,
}

impl Authority {
    /// A new one, whose files are in `folder` and begin with `name`.
    ///
    /// # Panics
    /// When the folder is not writable.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = params(name, Vec::new());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = folder.join(format!("{name}.pem"));
        let made = params.self_signed(&key).expect("a certificate");
        std::fs::write(&certificate, made.pem()).expect("the folder is writable");
        Self { issuer: Issuer::new(params, key), folder: folder.to_owned(), certificate }
    }

    /// A certificate for a server at `localhost` and 127.0.0.1.
    ///
    /// # Panics
    /// When the folder is not writable.
    #[must_use]
    pub fn server(&self, name: &str) -> Identity {
        let names = ["localhost", "127.0.0.1"].map(|name| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into().expect("ASCII")),
        });
        let mut params = params(name, names.to_vec());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(name, params)
    }

    /// A client's certificate with the URI `spiffe://test/<name>`.
    ///
    /// # Panics
    /// When the folder is not writable.
    #[must_use]
    pub fn client(&self, name: &str, flaw: Flaw) -> Identity {
        let uri = SanType::URI(uri(name).as_str().try_into().expect("ASCII"));
        let mut params = params(name, vec![uri]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        match flaw {
            Flaw::None => {}
            Flaw::Expired => params.not_after = date_time_ymd(2021, 1, 1),
            Flaw::NotYet => params.not_before = date_time_ymd(2090, 1, 1),
            Flaw::ForServers => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        }
        self.issue(name, params)
    }

    fn issue(&self, name: &str, mut params: CertificateParams) -> Identity {
        let mut serial = [0; 16];
        getrandom::fill(&mut serial).expect("random bytes");
        // Positive, and of full length.
        serial[0] = 0x40 | serial[0] & 0x3f;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, &self.issuer).expect("a certificate");
        write(&self.folder, name, &made.pem(), &key, params.serial_number)
    }

    /// A revocation list over these certificates; `fresh` or long ended.
    ///
    /// # Panics
    /// When the folder is not writable.
    pub fn revoke(&self, file: &Path, revoked: &[&Identity], fresh: bool) {
        let revoked_certs = revoked
            .iter()
            .map(|identity| RevokedCertParams {
                serial_number: identity.serial.clone().expect("issued by an authority"),
                revocation_time: date_time_ymd(2021, 1, 1),
                reason_code: None,
                invalidity_date: None,
            })
            .collect();
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(if fresh { 2100 } else { 2022 }, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("a list");
        std::fs::write(file, list.pem().expect("PEM")).expect("the folder is writable");
    }
}

/// A client's certificate that nobody but its holder vouches for.
///
/// # Panics
/// When the folder is not writable.
#[must_use]
pub fn self_signed(folder: &Path, name: &str) -> Identity {
    let uri = SanType::URI(uri(name).as_str().try_into().expect("ASCII"));
    let mut params = params(name, vec![uri]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("a certificate");
    write(folder, &format!("self-{name}"), &made.pem(), &key, None)
}

/// The URI in a client's certificate.
#[must_use]
pub fn uri(name: &str) -> String {
    format!("spiffe://test/{name}")
}

fn params(name: &str, names: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = names;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params
}

fn write(folder: &Path, name: &str, pem: &str, key: &KeyPair, serial: Option<SerialNumber>) -> Identity {
    let certificate = folder.join(format!("{name}.crt"));
    std::fs::write(&certificate, pem).expect("the folder is writable");
    let file = folder.join(format!("{name}.tls-key"));
    std::fs::write(&file, key.serialize_pem()).expect("the folder is writable");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("our own file");
    let key_digest = hex::encode(Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(key)));
    Identity { certificate, key: file, key_digest, serial }
}
