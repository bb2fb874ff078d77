//! An auditor, and the record of what they found.

// Each test file compiles this module and uses its own part of it.
#![allow(dead_code, clippy::unwrap_used)]

use sealstone_attestation::{
    Envelope, Evidence, PublicKey, Sha256Digest, Verdict,
    countersign::{ManifestTrust, RecordedExpectations, RecordedManifest, RecordedVerdict, VerdictRecord},
};

use crate::fake::Person;
use crate::scene::{NOW, Scene, expectations};

/// Whose key signs verdicts.
pub(crate) fn auditor() -> Person {
    Person::new(77)
}

/// The record of a scene's appraisal.
pub(crate) fn record(scene: &Scene, evidence: &Evidence, verdict: &Verdict) -> VerdictRecord {
    VerdictRecord {
        format: 1,
        evidence: Sha256Digest::of(&evidence.to_json()),
        manifest: RecordedManifest {
            digest: scene.manifest.digest(),
            version: Some(scene.manifest.manifest().version()),
            trusted: ManifestTrust::Authority(scene.manifest.manifest().authority().digest()),
        },
        expectations: RecordedExpectations::of(&expectations()),
        judged_at: NOW,
        signed_at: NOW.saturating_add(std::time::Duration::from_secs(60)),
        auditor: "auditor".to_owned(),
        verdict: RecordedVerdict::from(verdict),
    }
}

/// Its envelope.
pub(crate) fn countersigned(record: &VerdictRecord) -> Envelope {
    let auditor = auditor();
    record.sign(&auditor.public_key(), |pae| auditor.sign_bytes(pae).as_bytes().to_vec()).unwrap()
}

/// Whom a reader trusts.
pub(crate) fn trusted() -> [PublicKey; 1] {
    [auditor().public_key()]
}
