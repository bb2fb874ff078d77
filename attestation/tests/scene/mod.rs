//! One node with an enclave, under a manifest, and the evidence that it shows. Every part can be changed before it is signed.

// Each test file compiles this module and uses its own part of it.
#![allow(dead_code, clippy::unwrap_used)]

use sealstone_attestation::{
    BuildInfo, Envelope, Evidence, Expectations, HexBytes, Level, LevelResult, ManifestDraft, Nonce, PcrBank,
    PcrIndex, PcrValues, Protection, Purpose, Receipt, Report, ReportDigest, UnixTime, Verdict,
    VerifiedManifest, appraise,
    audit::{Checkpoint, CoveredReceipts, Origin, TreeHash},
    statement,
};

use crate::fake::{ISSUED_AT, Machine, Person, draft, verified};

pub(crate) const NOW: UnixTime = UnixTime::from_secs(ISSUED_AT + 1000);

pub(crate) fn nonce() -> Nonce {
    Nonce::from([0x5a; 32])
}

pub(crate) fn expectations() -> Expectations {
    Expectations {
        purpose: Purpose::Evidence,
        nonce: Some(nonce()),
        challenger: None,
        node: None,
        previous_clock: None,
        max_age: None,
    }
}

/// One node with an enclave, and what it would show.
pub(crate) struct Scene {
    pub(crate) person: Person,
    pub(crate) enclave: Person,
    pub(crate) machine: Machine,
    pub(crate) manifest: VerifiedManifest,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut ManifestDraft)) -> Self {
        let (person, enclave, machine) = (Person::new(1), Person::new(40), Machine::new("node-1", 1));
        let mut draft = draft(&person, &[&machine, &Machine::new("node-2", 2)]);
        change(&mut draft);
        let manifest = verified(&draft, &[&person]);
        Self { person, enclave, machine, manifest }
    }

    /// A machine with these values, approved in them as far as they are of this bank and these PCRs.
    pub(crate) fn in_state(
        values: PcrValues,
        bank: PcrBank,
        approved: &[u8],
        change: impl FnOnce(&mut ManifestDraft),
    ) -> Self {
        let pcrs = approved.iter().map(|pcr| {
            let index = PcrIndex::new(*pcr).unwrap();
            (index, HexBytes(values.get(bank, index).unwrap().to_vec()))
        });
        let pcrs = pcrs.collect();
        let mut scene = Self::with(|draft| {
            (draft.states[0].bank, draft.states[0].pcrs) = (bank, pcrs);
            change(draft);
        });
        scene.machine.pcrs = values;
        scene
    }

    pub(crate) fn report(&self) -> Report {
        Report {
            format: 1,
            deployment: self.manifest.manifest().deployment(),
            node: "node-1".to_owned(),
            manifest: self.manifest.digest(),
            manifest_version: self.manifest.manifest().version(),
            authority: self.manifest.manifest().authority().digest(),
            channel_key: [3; 32],
            report_key: self.enclave.public_key().as_bytes().try_into().unwrap(),
            build: BuildInfo { version: "0.1.0".to_owned(), commit: "abc".to_owned(), binary_sha256: None },
            protections: vec![Protection { name: "yama".to_owned(), active: true, detail: "3".to_owned() }],
            era: 1,
            last_used_era: 0,
            sequence: 0,
            receipt_head: Receipt::genesis(1),
            unfunded: false,
            time: NOW,
        }
    }

    pub(crate) fn sign(&self, report: &Report) -> Envelope {
        report.sign(|pae| self.enclave.sign_bytes(pae)).unwrap()
    }

    /// Evidence over this report, quoted for this purpose and nonce.
    pub(crate) fn evidence_of(&self, report: Envelope, purpose: Purpose, nonce: &Nonce) -> Evidence {
        self.evidence_with(report, purpose, nonce, self.checkpoint(&self.head()))
    }

    /// The head of the node's log.
    pub(crate) fn head(&self) -> Checkpoint {
        Checkpoint {
            origin: Origin::new(self.manifest.manifest().deployment(), "node-1").unwrap(),
            size: 17,
            root: TreeHash::from_bytes([7; 32]),
            receipts: CoveredReceipts { era: 1, sequence: 0 },
        }
    }

    pub(crate) fn checkpoint(&self, head: &Checkpoint) -> Vec<u8> {
        let key = self.enclave.public_key();
        head.sign(key.as_bytes().try_into().unwrap(), |text| self.enclave.sign_bytes(text)).unwrap()
    }

    pub(crate) fn evidence_with(
        &self,
        report: Envelope,
        purpose: Purpose,
        nonce: &Nonce,
        checkpoint: Vec<u8>,
    ) -> Evidence {
        let digest = ReportDigest::of(&report.payload);
        let statement =
            statement(purpose, nonce.as_bytes(), digest, self.manifest.digest(), &checkpoint).unwrap();
        Evidence {
            format: 1,
            purpose,
            nonce: nonce.clone(),
            quote: self.machine.quote(statement.as_bytes()),
            ak: self.machine.ak.public(),
            ek: self.machine.ek.public(),
            ek_certificates: Vec::new(),
            enrolment: None,
            predecessors: Vec::new(),
            manifest: Envelope::parse(self.manifest.envelope()).unwrap(),
            report,
            checkpoint,
            event_log: None,
            ima_log: None,
            challenge: None,
            taken_at: NOW,
        }
    }

    pub(crate) fn evidence(&self) -> Evidence {
        self.evidence_of(self.sign(&self.report()), Purpose::Evidence, &nonce())
    }

    pub(crate) fn appraise(&self, evidence: &Evidence) -> Verdict {
        appraise(evidence, &self.manifest, &expectations(), NOW)
    }
}

pub(crate) fn refused(verdict: &Verdict, check: &str) {
    assert!(!verdict.accepted());
    let failure = verdict.first_failure().unwrap();
    assert_eq!(failure.name, check, "{}", failure.detail);
    assert_eq!(verdict.checks().len(), 30);
    assert_eq!(verdict.log(), None);
}

/// The results of the four levels, in order.
pub(crate) fn levels(verdict: &Verdict) -> [LevelResult; 4] {
    Level::ALL.map(|level| verdict.levels().of(level).result)
}

pub(crate) const PASSED: LevelResult = LevelResult::Passed;
pub(crate) const FAILED: LevelResult = LevelResult::Failed;
pub(crate) const NOT_SHOWN: LevelResult = LevelResult::NotShown;
