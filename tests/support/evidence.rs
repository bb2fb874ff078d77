//! Evidence of a machine that is a TPM in software, whose quotes are built byte by byte.

use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use sealstone_attestation::{
    BuildInfo, Envelope, Evidence, Manifest, Nonce, PcrBank, PcrIndex, PcrValues, PublicArea, Purpose,
    QuoteEvidence, Receipt, Report, ReportDigest, Signature64, Statement, statement,
};
use sha2::{Digest as _, Sha256};

use super::{attestation_key, attestation_scalar, endorsement_key};

pub(crate) const NONCE: &str = "00112233445566778899aabbccddeeff";

/// What a machine shows whose keys come from `machine` and whose PCRs from `boot`.
pub(crate) fn evidence(manifest: &[u8], machine: u8, boot: u8, purpose: Purpose) -> Evidence {
    evidence_with(manifest, machine, boot, purpose, |_| Vec::new())
}

/// The key under which the enclave signs.
pub(crate) fn enclave() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[9; 32])
}

/// The same with a report of another kind, and the checkpoint that is made for it.
pub(crate) fn evidence_with(
    manifest: &[u8],
    machine: u8,
    boot: u8,
    purpose: Purpose,
    change: impl FnOnce(&mut Report) -> Vec<u8>,
) -> Evidence {
    evidence_over(NONCE, manifest, machine, boot, purpose, change)
}

/// The same over another nonce.
pub(crate) fn evidence_over(
    nonce: &str,
    manifest: &[u8],
    machine: u8,
    boot: u8,
    purpose: Purpose,
    change: impl FnOnce(&mut Report) -> Vec<u8>,
) -> Evidence {
    let envelope = Envelope::parse(manifest).unwrap();
    let approved = Manifest::from_payload(&envelope.payload).unwrap();
    let enclave = enclave();
    let mut report = Report {
        format: 1,
        deployment: approved.deployment(),
        node: approved.nodes()[0].name().to_owned(),
        manifest: approved.digest(),
        manifest_version: approved.version(),
        authority: approved.authority().digest(),
        channel_key: [3; 32],
        report_key: enclave.verifying_key().to_bytes(),
        build: BuildInfo { version: "0.1.0".to_owned(), commit: "abc".to_owned(), binary_sha256: None },
        protections: Vec::new(),
        era: 1,
        last_used_era: 0,
        sequence: 0,
        receipt_head: Receipt::genesis(1),
        unfunded: true,
        time: approved.issued_at(),
    };
    let checkpoint = change(&mut report);
    let report = report.sign(|pae| Signature64::from_bytes(enclave.sign(pae).to_bytes())).unwrap();
    let nonce: Nonce = nonce.parse().unwrap();
    let bound = statement(
        purpose,
        nonce.as_bytes(),
        ReportDigest::of(&report.payload),
        approved.digest(),
        &checkpoint,
    )
    .unwrap();
    Evidence {
        format: 1,
        purpose,
        nonce,
        quote: quote(&bound, machine, filled(boot)),
        ak: PublicArea::parse(&attestation_key(machine)).unwrap(),
        ek: PublicArea::parse(&endorsement_key(machine)).unwrap(),
        ek_certificates: Vec::new(),
        enrolment: None,
        predecessors: Vec::new(),
        manifest: envelope,
        report,
        checkpoint,
        event_log: None,
        ima_log: None,
        challenge: None,
        taken_at: approved.issued_at(),
    }
}

/// The same evidence with a quote of other PCRs.
pub(crate) fn requoted(mut evidence: Evidence, machine: u8, pcrs: PcrValues) -> Evidence {
    let bound = statement(
        evidence.purpose,
        evidence.nonce.as_bytes(),
        ReportDigest::of(&evidence.report.payload),
        sealstone_attestation::ManifestDigest::of(&evidence.manifest.payload),
        &evidence.checkpoint,
    )
    .unwrap();
    evidence.quote = quote(&bound, machine, pcrs);
    evidence
}

/// The PCRs 0 to 7 of a machine that was never measured into.
fn filled(boot: u8) -> PcrValues {
    let mut pcrs = PcrValues::new();
    for index in 0..8 {
        pcrs.insert(PcrBank::Sha256, PcrIndex::new(index).unwrap(), vec![boot; 32]).unwrap();
    }
    pcrs
}

/// TPM2_Quote of these SHA-256 PCRs (TPM 2.0 Part 2, section 10.12).
fn quote(bound: &Statement, machine: u8, pcrs: PcrValues) -> QuoteEvidence {
    let (mut masks, mut values) = (std::collections::BTreeMap::<PcrBank, [u8; 3]>::new(), Vec::new());
    for (bank, index, value) in pcrs.iter() {
        let mask = masks.entry(bank).or_default();
        mask[usize::from(index.get() / 8)] |= 1 << (index.get() % 8);
        values.extend_from_slice(value);
    }
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let named = |parts: &[&[u8]]| [&[0x00, 0x0b], Sha256::digest(parts.concat()).as_slice()].concat();
    // The endorsement hierarchy, the EK under it, the AK under that.
    let ek = named(&[&0x4000_000b_u32.to_be_bytes(), &named(&[&endorsement_key(machine)])]);
    let ak = named(&[&ek, &named(&[&attestation_key(machine)])]);
    let mut attest = vec![0xff, 0x54, 0x43, 0x47, 0x80, 0x18];
    attest.extend(sized(&ak));
    attest.extend(sized(bound.as_bytes()));
    attest.extend(1000_u64.to_be_bytes());
    attest.extend([0, 0, 0, 7, 0, 0, 0, 2, 1]);
    attest.extend(0x0001_0002_0003_0004_u64.to_be_bytes());
    attest.extend(u32::try_from(masks.len()).unwrap().to_be_bytes());
    for (bank, mask) in masks {
        attest.extend(bank.algorithm_id().to_be_bytes());
        attest.push(3);
        attest.extend(mask);
    }
    attest.extend(sized(&Sha256::digest(values)));

    let key = p256::ecdsa::SigningKey::from_slice(&attestation_scalar(machine)).unwrap();
    let signed: p256::ecdsa::Signature = key.sign_prehash(&Sha256::digest(&attest)).unwrap();
    let (r, s) = signed.split_bytes();
    let signature = [&[0x00, 0x18, 0x00, 0x0b][..], &sized(&r), &sized(&s)].concat();
    QuoteEvidence { attest, signature, pcrs }
}
