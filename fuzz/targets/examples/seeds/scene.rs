//! One node and its authority, and everything that they sign.

use sealstone_attestation::audit::{
    Checkpoint, CoveredReceipts, Frontier, LeafHash, LogProof, Origin, Reason, ReceiptReference, Record,
    RecordKind,
};
use sealstone_attestation::{
    Binding, BuildInfo, Envelope, Evidence, HexBytes, KeyId, ManifestDigest, ManifestDraft, Nonce,
    Protection, Purpose, Receipt, Report, ReportDigest, RequestDigest, SessionId, Signature64, SignedReceipt,
    UnixTime, statement,
};
use sealstone_wire::reply::{self, Phase};

use crate::fake::{ISSUED_AT, Machine, Person, draft, verified};

/// When all of it is made.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(ISSUED_AT + 1000);

/// One node with an enclave, and what it shows.
pub(crate) struct Scene {
    pub(crate) person: Person,
    pub(crate) enclave: Person,
    pub(crate) draft: ManifestDraft,
    pub(crate) report: Report,
    pub(crate) evidence: Evidence,
}

/// The second of three records, in the log that this report's node keeps.
pub(crate) fn log_proof(report: &Report, enclave: &Person) -> LogProof {
    let leaves = log_leaves();
    let mut tree = Frontier::new();
    leaves.iter().for_each(|leaf| tree.push(LeafHash::of(leaf)));
    let [first, second, third] = &leaves;
    let head = Checkpoint {
        origin: Origin::of_report(report).unwrap(),
        size: tree.size(),
        root: tree.root(),
        receipts: CoveredReceipts { era: 1, sequence: 0 },
    };
    LogProof {
        leaf: second.clone(),
        index: 1,
        hashes: vec![LeafHash::of(first).into(), LeafHash::of(third).into()],
        checkpoint: head.sign(&report.report_key, |text| enclave.sign_bytes(text)).unwrap(),
    }
}

/// A start, a signature and a refusal.
pub(crate) fn log_leaves() -> [Vec<u8>; 3] {
    let receipt = Receipt {
        sequence: 1,
        era: 1,
        previous: Receipt::genesis(1),
        request: RequestDigest::from_bytes([2; 32]),
        key_id: KeyId::from_bytes([3; 32]),
        epoch: 4,
        binding: Binding::from_bytes([4; 32]),
        session: SessionId::from_bytes([5; 16]),
        time: NOW,
        signature: Signature64::from_bytes([6; 64]),
    };
    let time_ms = 1000 * NOW.as_secs();
    let signed = Record {
        client: Some("uid:1000".to_owned()),
        request: Some(receipt.request),
        key_id: Some(receipt.key_id),
        epoch: Some(receipt.epoch),
        binding: Some(receipt.binding),
        session: Some(receipt.session),
        receipt: Some(ReceiptReference::of(&receipt)),
        ..Record::new(time_ms, RecordKind::Signed)
    };
    let refused = Record {
        code: Some("POLICY_DENIED".to_owned()),
        reasons: vec![Reason { code: "LIMIT".to_owned() }],
        detail: Some("\"é\"".to_owned()),
        ..Record::new(time_ms, RecordKind::Refused)
    };
    [Record::new(time_ms, RecordKind::Started), signed, refused].map(|record| record.to_leaf().unwrap())
}

impl Scene {
    pub(crate) fn new() -> Self {
        let (person, enclave, machine) = (Person::new(1), Person::new(40), Machine::new("node-1", 1));
        let draft = draft(&person, &[&machine]);
        let manifest = verified(&draft, &[&person]);
        let report = Report {
            format: 1,
            deployment: manifest.manifest().deployment(),
            node: machine.name.to_owned(),
            manifest: manifest.digest(),
            manifest_version: manifest.manifest().version(),
            authority: manifest.manifest().authority().digest(),
            channel_key: [3; 32],
            report_key: enclave.public_key().as_bytes().try_into().unwrap(),
            build: BuildInfo { version: "0.1.0".to_owned(), commit: "abc".to_owned(), binary_sha256: None },
            protections: vec![Protection { name: "yama".to_owned(), active: true, detail: "3".to_owned() }],
            era: 1,
            last_used_era: 0,
            sequence: 0,
            receipt_head: Receipt::genesis(1),
            unfunded: true,
            time: NOW,
        };
        let signed_report = report.sign(|pae| enclave.sign_bytes(pae)).unwrap();
        let nonce = Nonce::from([0x5a; 32]);
        let checkpoint = log_proof(&report, &enclave).checkpoint;
        let digest = ReportDigest::of(&signed_report.payload);
        let statement =
            statement(Purpose::Evidence, nonce.as_bytes(), digest, manifest.digest(), &checkpoint).unwrap();
        let evidence = Evidence {
            format: 1,
            purpose: Purpose::Evidence,
            nonce,
            quote: machine.quote(statement.as_bytes()),
            ak: machine.ak.public(),
            ek: machine.ek.public(),
            ek_certificates: vec![HexBytes(vec![0x30, 0])],
            enrolment: None,
            predecessors: Vec::new(),
            manifest: Envelope::parse(manifest.envelope()).unwrap(),
            report: signed_report,
            checkpoint,
            event_log: None,
            ima_log: None,
            challenge: None,
            taken_at: NOW,
        };
        Self { person, enclave, draft, report, evidence }
    }

    /// The evidence, which still says of itself what it said, with a quote over another statement.
    pub(crate) fn evidence_over(&self, purpose: Purpose, nonce: [u8; 32]) -> Evidence {
        let Evidence { manifest, report, checkpoint, .. } = &self.evidence;
        let (report, manifest) = (ReportDigest::of(&report.payload), ManifestDigest::of(&manifest.payload));
        let statement = statement(purpose, &nonce, report, manifest, checkpoint).unwrap();
        let quote = Machine::new("node-1", 1).quote(statement.as_bytes());
        Evidence { quote, ..self.evidence.clone() }
    }

    /// Three receipts, one after the other.
    pub(crate) fn receipts(&self) -> Vec<SignedReceipt> {
        let mut previous = Receipt::genesis(1);
        (1..=3)
            .map(|sequence| {
                let receipt = Receipt {
                    sequence,
                    era: 1,
                    previous,
                    request: RequestDigest::from_bytes([2; 32]),
                    key_id: self.enclave.public_key().key_id(),
                    epoch: 0,
                    binding: Binding::from_bytes([4; 32]),
                    session: SessionId::from_bytes([5; 16]),
                    time: NOW,
                    signature: Signature64::from_bytes([6; 64]),
                };
                previous = receipt.hash();
                let report_signature = self.enclave.sign_bytes(&receipt.encode());
                SignedReceipt { receipt, report_signature }
            })
            .collect()
    }

    pub(crate) fn session(&self) -> reply::Session {
        reply::Session {
            id: SessionId::from_bytes([1; 16]),
            state: "boot-1".to_owned(),
            binding: Binding::from_bytes([2; 32]),
            expires_at: NOW,
            warnings: vec!["no verity".to_owned()],
        }
    }

    pub(crate) fn status(&self) -> reply::Status {
        reply::Status {
            phase: Phase::Attested,
            version: "0.1.0".to_owned(),
            deployment: Some(self.report.deployment),
            node: Some("node-1".to_owned()),
            manifest: Some(reply::ManifestStatus {
                version: 1,
                digest: self.report.manifest,
                authority: self.report.authority,
            }),
            era: 4,
            last_used_era: 3,
            sequence: 2,
            session: Some(self.session()),
            unfunded: true,
            protections: self.report.protections.clone(),
        }
    }
}
