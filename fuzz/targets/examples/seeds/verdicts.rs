//! Verdicts of the scene's evidence, signed by an auditor.

use std::fs;
use std::path::Path;

use sealstone_attestation::countersign::{
    ManifestTrust, RecordedExpectations, RecordedManifest, RecordedVerdict, VerdictRecord,
};
use sealstone_attestation::{
    Evidence, Expectations, Purpose, Sha256Digest, VerifiedManifest, appraise, manifest_refused,
};

use crate::fake::Person;
use crate::save;
use crate::scene::{NOW, Scene};

pub(crate) fn save_all(scene: &Scene) {
    let auditor = Person::new(77);
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("auditor.key"), auditor.public_key().as_bytes()).unwrap();

    let Scene { evidence, .. } = scene;
    let Evidence { nonce, manifest, .. } = evidence;
    let manifest = VerifiedManifest::danger_trust_as_given(&manifest.to_json()).unwrap();
    let expectations = Expectations {
        purpose: Purpose::Evidence,
        nonce: Some(nonce.clone()),
        challenger: None,
        node: Some("node-1".to_owned()),
        previous_clock: None,
        max_age: None,
    };
    let accepted = appraise(evidence, &manifest, &expectations, NOW);
    let refused = manifest_refused("expected another authority".to_owned());
    for (name, verdict, version) in
        [("accepted.json", accepted, Some(manifest.manifest().version())), ("refused.json", refused, None)]
    {
        let authority = manifest.manifest().authority().digest();
        let trusted = version.map_or(ManifestTrust::Authority(authority), |_| ManifestTrust::AsGiven);
        let mut recorded = RecordedExpectations::of(&expectations);
        recorded.roots = Some(vec![Sha256Digest::from_bytes([1; 32])]);
        let record = VerdictRecord {
            format: 1,
            evidence: Sha256Digest::of(&evidence.to_json()),
            manifest: RecordedManifest { digest: manifest.digest(), version, trusted },
            expectations: recorded,
            judged_at: NOW,
            signed_at: NOW,
            auditor: "auditor".to_owned(),
            verdict: RecordedVerdict::from(&verdict),
        };
        let sign = |pae: &[u8]| auditor.sign_bytes(pae).as_bytes().to_vec();
        save("countersigned_verdict", name, record.sign(&auditor.public_key(), sign).unwrap().to_json());
        save("countersigned_verdict", &format!("record_{name}"), serde_json::to_vec(&record).unwrap());
    }
}
