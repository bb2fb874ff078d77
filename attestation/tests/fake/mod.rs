//! A signing fake: TPM keys in software, which sign whatever a test writes, honest or forged. It builds every
//! structure byte by byte, so that it shares no code with the parsers under test.

// Each test file compiles this module and uses its own part of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::OnceLock;

use ed25519_dalek::Signer;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use rsa::{Pkcs1v15Sign, Pss, RsaPrivateKey, rand_core::UnwrapErr, traits::PublicKeyParts};
use sealstone_attestation::{
    AssetPermission, AuthorityDigest, AuthorityKey, AuthoritySet, CodeMeasurement, DeploymentId,
    EnclaveParameters, Envelope, EnvelopeSignature, HexBytes, Manifest, ManifestDigest, ManifestDraft,
    NodeDraft, PayloadKind, PcrBank, PcrIndex, PcrValues, PublicArea, PublicKey, QuoteEvidence, Scope,
    SessionPermission, Signature64, StateDraft, StateStatus, UnixTime, VerifiedManifest,
};
use sha2::{Digest, Sha256, Sha384, Sha512};

pub(crate) const SHA1: u16 = 0x0004;
pub(crate) const SHA256: u16 = 0x000b;
pub(crate) const SHA384: u16 = 0x000c;
pub(crate) const SHA512: u16 = 0x000d;
pub(crate) const NULL: u16 = 0x0010;
pub(crate) const RSASSA: u16 = 0x0014;
pub(crate) const RSAPSS: u16 = 0x0016;
pub(crate) const ECDSA: u16 = 0x0018;

pub(crate) const FIXED_TPM: u32 = 1 << 1;
pub(crate) const FIXED_PARENT: u32 = 1 << 4;
pub(crate) const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
pub(crate) const USER_WITH_AUTH: u32 = 1 << 6;
pub(crate) const RESTRICTED: u32 = 1 << 16;
pub(crate) const DECRYPT: u32 = 1 << 17;
pub(crate) const SIGN: u32 = 1 << 18;

/// What an honest attestation key has.
pub(crate) const AK_ATTRIBUTES: u32 =
    FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH | RESTRICTED | SIGN;

/// What an honest endorsement key has.
pub(crate) const EK_ATTRIBUTES: u32 = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | DECRYPT;

pub(crate) enum Secret {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    Rsa(&'static RsaPrivateKey),
}

impl Secret {
    pub(crate) fn p256(seed: u8) -> Self {
        Self::P256(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    pub(crate) fn p384(seed: u8) -> Self {
        Self::P384(p384::ecdsa::SigningKey::from_slice(&[seed; 48]).unwrap())
    }

    /// One key for all tests: making it takes a second.
    pub(crate) fn rsa2048() -> Self {
        static KEY: OnceLock<RsaPrivateKey> = OnceLock::new();
        Self::Rsa(KEY.get_or_init(|| RsaPrivateKey::new(&mut UnwrapErr(getrandom::SysRng), 2048).unwrap()))
    }

    pub(crate) fn rsa1024() -> Self {
        static KEY: OnceLock<RsaPrivateKey> = OnceLock::new();
        Self::Rsa(KEY.get_or_init(|| RsaPrivateKey::new(&mut UnwrapErr(getrandom::SysRng), 1024).unwrap()))
    }
}

/// A key and what its public area says of it.
pub(crate) struct Key {
    pub(crate) secret: Secret,
    pub(crate) attributes: u32,
    pub(crate) name_algorithm: u16,
    pub(crate) scheme: u16,
    pub(crate) hash: u16,
    pub(crate) exponent: u32,
}

impl Key {
    pub(crate) fn ak(secret: Secret, scheme: u16, hash: u16) -> Self {
        Self { secret, attributes: AK_ATTRIBUTES, name_algorithm: SHA256, scheme, hash, exponent: 0 }
    }

    pub(crate) fn ek(secret: Secret) -> Self {
        let attributes = EK_ATTRIBUTES;
        Self { secret, attributes, name_algorithm: SHA256, scheme: NULL, hash: NULL, exponent: 0 }
    }

    /// TPMT_PUBLIC.
    pub(crate) fn public_bytes(&self) -> Vec<u8> {
        let kind: u16 = if matches!(self.secret, Secret::Rsa(_)) { 0x0001 } else { 0x0023 };
        let mut out = Vec::new();
        out.extend(kind.to_be_bytes());
        out.extend(self.name_algorithm.to_be_bytes());
        out.extend(self.attributes.to_be_bytes());
        out.extend(0_u16.to_be_bytes());
        if self.attributes & DECRYPT != 0 {
            // AES-128 in CFB mode.
            out.extend([0x00, 0x06, 0x00, 0x80, 0x00, 0x43]);
        } else {
            out.extend(NULL.to_be_bytes());
        }
        out.extend(self.scheme.to_be_bytes());
        if self.scheme != NULL {
            out.extend(self.hash.to_be_bytes());
        }
        match &self.secret {
            Secret::Rsa(key) => {
                let modulus = key.n().to_be_bytes();
                let bits = u16::try_from(key.size() * 8).unwrap();
                out.extend(bits.to_be_bytes());
                out.extend(self.exponent.to_be_bytes());
                tpm2b(&mut out, &modulus);
            }
            Secret::P256(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                ecc(&mut out, 0x0003, point.as_bytes());
            }
            Secret::P384(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                ecc(&mut out, 0x0004, point.as_bytes());
            }
        }
        out
    }

    pub(crate) fn public(&self) -> PublicArea {
        PublicArea::parse(&self.public_bytes()).unwrap()
    }

    /// `nameAlg ‖ H(TPMT_PUBLIC)`.
    pub(crate) fn name(&self) -> Vec<u8> {
        named(self.name_algorithm, &self.public_bytes())
    }

    /// The qualified name under a parent's.
    pub(crate) fn qualified_name(&self, parent: &[u8]) -> Vec<u8> {
        named(self.name_algorithm, &[parent, &self.name()].concat())
    }

    /// TPMT_SIGNATURE as this key's own scheme makes it.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_as(self.scheme, self.hash, message)
    }

    /// TPMT_SIGNATURE in any scheme.
    pub(crate) fn sign_as(&self, scheme: u16, hash: u16, message: &[u8]) -> Vec<u8> {
        let digest = digest(hash, message);
        let mut out = [scheme.to_be_bytes(), hash.to_be_bytes()].concat();
        match &self.secret {
            Secret::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
                let bytes = signature.to_bytes();
                tpm2b(&mut out, &bytes[..32]);
                tpm2b(&mut out, &bytes[32..]);
            }
            Secret::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
                let bytes = signature.to_bytes();
                tpm2b(&mut out, &bytes[..48]);
                tpm2b(&mut out, &bytes[48..]);
            }
            Secret::Rsa(key) => tpm2b(&mut out, &rsa_signature(key, scheme, hash, &digest)),
        }
        out
    }
}

fn rsa_signature(key: &RsaPrivateKey, scheme: u16, hash: u16, digest: &[u8]) -> Vec<u8> {
    // A TPM outside FIPS mode salts with as many bytes as fit.
    let salt = key.size() - digest.len() - 2;
    match (scheme, hash) {
        (RSASSA, SHA256) => key.sign(Pkcs1v15Sign::new::<Sha256>(), digest),
        (RSASSA, SHA384) => key.sign(Pkcs1v15Sign::new::<Sha384>(), digest),
        (RSASSA, SHA512) => key.sign(Pkcs1v15Sign::new::<Sha512>(), digest),
        (RSASSA, _) => key.sign(Pkcs1v15Sign::new_unprefixed(), digest),
        (RSAPSS, SHA256) => key.sign(Pss::<Sha256>::new(), digest),
        (RSAPSS, SHA384) => key.sign(Pss::<Sha384>::new_with_salt(salt), digest),
        _ => key.sign(Pss::<Sha512>::new_with_salt(salt), digest),
    }
    .unwrap()
}

/// TPMS_ATTEST, every field free.
#[derive(Clone)]
pub(crate) struct Attest {
    pub(crate) magic: [u8; 4],
    pub(crate) kind: [u8; 2],
    pub(crate) qualified_signer: Vec<u8>,
    pub(crate) extra_data: Vec<u8>,
    pub(crate) clock: u64,
    pub(crate) reset_count: u32,
    pub(crate) restart_count: u32,
    pub(crate) safe: u8,
    pub(crate) firmware: u64,
    pub(crate) selection: Vec<(u16, Vec<u8>)>,
    pub(crate) pcr_digest: Vec<u8>,
    pub(crate) trailing: Vec<u8>,
}

impl Attest {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.kind);
        tpm2b(&mut out, &self.qualified_signer);
        tpm2b(&mut out, &self.extra_data);
        out.extend(self.clock.to_be_bytes());
        out.extend(self.reset_count.to_be_bytes());
        out.extend(self.restart_count.to_be_bytes());
        out.push(self.safe);
        out.extend(self.firmware.to_be_bytes());
        out.extend(u32::try_from(self.selection.len()).unwrap().to_be_bytes());
        for (algorithm, bitmap) in &self.selection {
            out.extend(algorithm.to_be_bytes());
            out.push(u8::try_from(bitmap.len()).unwrap());
            out.extend(bitmap);
        }
        tpm2b(&mut out, &self.pcr_digest);
        out.extend(&self.trailing);
        out
    }
}

/// A machine: its two TPM keys, its PCRs, its firmware.
pub(crate) struct Machine {
    pub(crate) name: &'static str,
    pub(crate) ek: Key,
    pub(crate) ak: Key,
    pub(crate) pcrs: PcrValues,
    pub(crate) clock: u64,
    pub(crate) reset_count: u32,
    pub(crate) restart_count: u32,
    pub(crate) safe: u8,
    pub(crate) firmware: u64,
}

/// The firmware version of every honest machine.
pub(crate) const FIRMWARE: u64 = 0x2019_1023_0016_3636;

impl Machine {
    pub(crate) fn new(name: &'static str, seed: u8) -> Self {
        Self::with_keys(name, Key::ek(Secret::p256(seed)), Key::ak(Secret::p256(seed + 100), ECDSA, SHA256))
    }

    pub(crate) fn with_keys(name: &'static str, ek: Key, ak: Key) -> Self {
        let pcrs = pcr_values(&[(0, 0xa0), (4, 0xa4), (7, 0xa7)]);
        let (clock, reset_count, restart_count, safe, firmware) = (5_000_000, 7, 2, 1, FIRMWARE);
        Self { name, ek, ak, pcrs, clock, reset_count, restart_count, safe, firmware }
    }

    pub(crate) fn draft(&self) -> NodeDraft {
        NodeDraft { name: self.name.to_owned(), ek: self.ek.public(), ak: self.ak.public(), firmware: None }
    }

    /// The attestation key's qualified name under the endorsement key.
    pub(crate) fn qualified_signer(&self) -> Vec<u8> {
        let ek = self.ek.qualified_name(&0x4000_000b_u32.to_be_bytes());
        self.ak.qualified_name(&ek)
    }

    /// What an honest quote over all PCRs says.
    pub(crate) fn attest(&self, extra_data: &[u8]) -> Attest {
        let selection = selection_of(&self.pcrs);
        Attest {
            magic: *b"\xffTCG",
            kind: [0x80, 0x18],
            qualified_signer: self.qualified_signer(),
            extra_data: extra_data.to_vec(),
            clock: self.clock,
            reset_count: self.reset_count,
            restart_count: self.restart_count,
            safe: self.safe,
            firmware: self.firmware,
            pcr_digest: pcr_digest(self.ak.hash, &selection, &self.pcrs),
            selection,
            trailing: Vec::new(),
        }
    }

    /// An honest quote.
    pub(crate) fn quote(&self, extra_data: &[u8]) -> QuoteEvidence {
        self.signed(&self.attest(extra_data))
    }

    /// Whatever the test wrote, signed by the attestation key.
    pub(crate) fn signed(&self, attest: &Attest) -> QuoteEvidence {
        let attest = attest.bytes();
        QuoteEvidence { signature: self.ak.sign(&attest), attest, pcrs: self.pcrs.clone() }
    }
}

/// Values of the SHA-256 bank, each of one repeated byte.
pub(crate) fn pcr_values(values: &[(u8, u8)]) -> PcrValues {
    bank_values(PcrBank::Sha256, values)
}

pub(crate) fn bank_values(bank: PcrBank, values: &[(u8, u8)]) -> PcrValues {
    let mut out = PcrValues::new();
    for (index, byte) in values {
        out.insert(bank, PcrIndex::new(*index).unwrap(), vec![*byte; bank.digest_len()]).unwrap();
    }
    out
}

/// One entry for each bank, three bytes of bitmap.
pub(crate) fn selection_of(values: &PcrValues) -> Vec<(u16, Vec<u8>)> {
    let mut out: Vec<(u16, Vec<u8>)> = Vec::new();
    for (bank, index, _) in values.iter() {
        let algorithm = bank.algorithm_id();
        if out.last().is_none_or(|(last, _)| *last != algorithm) {
            out.push((algorithm, vec![0; 3]));
        }
        let bitmap = &mut out.last_mut().unwrap().1;
        bitmap[usize::from(index.get() / 8)] |= 1 << (index.get() % 8);
    }
    out
}

/// The digest of the selected values in the selection's order.
pub(crate) fn pcr_digest(hash: u16, selection: &[(u16, Vec<u8>)], values: &PcrValues) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (algorithm, bitmap) in selection {
        let bank = PcrBank::from_algorithm_id(*algorithm).unwrap();
        for index in
            (0..24).filter(|i| bitmap.get(usize::from(i / 8)).is_some_and(|b| b & (1 << (i % 8)) != 0))
        {
            bytes.extend(values.get(bank, PcrIndex::new(index).unwrap()).unwrap_or_default());
        }
    }
    digest(hash, &bytes)
}

pub(crate) fn digest(hash: u16, bytes: &[u8]) -> Vec<u8> {
    match hash {
        SHA256 => Sha256::digest(bytes).to_vec(),
        SHA384 => Sha384::digest(bytes).to_vec(),
        SHA512 => Sha512::digest(bytes).to_vec(),
        // Nothing may rest on SHA-1, so its value does not matter; only its length does.
        _ => Sha256::digest(bytes)[..20].to_vec(),
    }
}

fn named(algorithm: u16, bytes: &[u8]) -> Vec<u8> {
    [algorithm.to_be_bytes().to_vec(), digest(algorithm, bytes)].concat()
}

fn ecc(out: &mut Vec<u8>, curve: u16, uncompressed: &[u8]) {
    out.extend(curve.to_be_bytes());
    out.extend(NULL.to_be_bytes());
    let (x, y) = uncompressed[1..].split_at(uncompressed.len() / 2);
    tpm2b(out, x);
    tpm2b(out, y);
}

fn tpm2b(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend(bytes);
}

/// A person who approves manifests.
pub(crate) struct Person(ed25519_dalek::SigningKey);

impl Person {
    pub(crate) fn new(seed: u8) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]))
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        PublicKey::from(&self.0.verifying_key())
    }

    pub(crate) fn authority_key(&self) -> AuthorityKey {
        let name = format!("person-{}", &self.public_key().to_string()[..8]);
        AuthorityKey::new(name, self.public_key()).unwrap()
    }

    pub(crate) fn sign(&self, envelope: &mut Envelope) {
        let pae = Envelope::pae(&envelope.payload_type, &envelope.payload);
        let sig = self.sign_bytes(&pae).as_bytes().to_vec();
        envelope.signatures.push(EnvelopeSignature { keyid: self.public_key().key_id().to_string(), sig });
    }

    pub(crate) fn sign_bytes(&self, bytes: &[u8]) -> Signature64 {
        Signature64::from_bytes(self.0.sign(bytes).to_bytes())
    }
}

pub(crate) fn authority(threshold: u8, people: &[&Person]) -> AuthoritySet {
    AuthoritySet::new(threshold, people.iter().map(|person| person.authority_key()).collect()).unwrap()
}

/// A payload with these people's signatures.
pub(crate) fn envelope(payload: &[u8], people: &[&Person]) -> Envelope {
    let payload_type = Manifest::PAYLOAD_TYPE.to_owned();
    let mut envelope = Envelope { payload_type, payload: payload.to_vec(), signatures: Vec::new() };
    people.iter().for_each(|person| person.sign(&mut envelope));
    envelope
}

/// A draft's JSON, signed.
pub(crate) fn signed(draft: &ManifestDraft, people: &[&Person]) -> Vec<u8> {
    envelope(&serde_json::to_vec(draft).unwrap(), people).to_json()
}

/// A draft, signed and verified under its own authority.
pub(crate) fn verified(draft: &ManifestDraft, people: &[&Person]) -> VerifiedManifest {
    let digest: AuthorityDigest = draft.authority.digest();
    VerifiedManifest::first(&signed(draft, people), digest).unwrap()
}

/// An active state with the SHA-256 values of a machine.
pub(crate) fn state(name: &str, status: StateStatus, values: &[(u8, u8)]) -> StateDraft {
    let pcrs = values
        .iter()
        .map(|(index, byte)| (PcrIndex::new(*index).unwrap(), HexBytes(vec![*byte; 32])))
        .collect();
    StateDraft { name: name.to_owned(), status, bank: PcrBank::Sha256, pcrs, transit_key_id: String::new() }
}

/// When manifests are issued here: 2026-11-21T03:00:00Z.
pub(crate) const ISSUED_AT: u64 = 1_795_230_000;

/// Version 1 of a deployment: one authority, the honest state, these machines.
pub(crate) fn draft(person: &Person, machines: &[&Machine]) -> ManifestDraft {
    ManifestDraft {
        format: 1,
        deployment: DeploymentId::from_bytes([0xd0; 16]),
        version: 1,
        previous: None,
        issued_at: UnixTime::from_secs(ISSUED_AT),
        authority: authority(1, &[person]),
        states: vec![state("boot-1", StateStatus::Active, &[(0, 0xa0), (4, 0xa4), (7, 0xa7)])],
        successions: Vec::new(),
        nodes: machines.iter().map(|machine| machine.draft()).collect(),
        session_ttl_s: 300,
        enclave: EnclaveParameters { verify_signatures: true, require_secret_memory: true },
        code: CodeMeasurement::None,
        permissions: vec![AssetPermission {
            tenant: Scope::Any,
            asset: Scope::Any,
            algorithms: sealstone_attestation::Algorithm::ALL.to_vec(),
            sign: vec![PayloadKind::Message],
        }],
        outgoing_authority: None,
        session_permissions: vec![SessionPermission {
            tenant: Scope::Any,
            sender: Scope::Any,
            algorithms: sealstone_attestation::Algorithm::ALL.to_vec(),
            sign: vec![PayloadKind::Message],
        }],
    }
}

/// The next version after this manifest.
pub(crate) fn next(manifest: &Manifest) -> ManifestDraft {
    let mut draft = manifest.to_draft();
    draft.version += 1;
    draft.previous = Some(manifest.digest());
    draft
}

/// A digest that names nothing.
pub(crate) fn no_manifest() -> ManifestDigest {
    ManifestDigest::from_bytes([0xee; 32])
}
