//! What is accepted, made by swtpm and by the project itself: everything that a target accepts must be this.

use std::sync::LazyLock;

use sealstone_attestation::{
    Evidence, Manifest, PcrBank, PublicArea, QuoteEvidence, SignedReceipt, VerifiedManifest, VerifiedReport,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A quote that swtpm made over 32 bytes of [`NONCE`], with the keys above it.
#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) ek: PublicArea,
    pub(crate) ak: PublicArea,
    pub(crate) quote: QuoteEvidence,
}

/// Each byte of the qualifying data of swtpm's quotes.
pub(crate) const NONCE: u8 = 0x5a;

/// The node's name in every manifest here.
pub(crate) const NODE: &str = "node-1";

/// One quote for each kind of key.
pub(crate) static QUOTES: LazyLock<Vec<(Golden, Manifest)>> = LazyLock::new(|| {
    [
        include_str!("../../../attestation/tests/data/swtpm/ek_p256_ak_ecdsa.json"),
        include_str!("../../../attestation/tests/data/swtpm/ek_p384_ak_ecdsa.json"),
        include_str!("../../../attestation/tests/data/swtpm/ek_rsa_ak_ecdsa.json"),
        include_str!("../../../attestation/tests/data/swtpm/ek_rsa_ak_rsassa.json"),
        include_str!("../../../attestation/tests/data/swtpm/ek_rsa_ak_rsapss.json"),
    ]
    .into_iter()
    .map(|json| {
        let golden: Golden = serde_json::from_str(json).expect("swtpm's quotes are in the repository");
        let manifest = manifest_of(&golden);
        (golden, manifest)
    })
    .collect()
});

/// A manifest that enrols these keys and approves the quoted SHA-256 values. Nobody signed it: appraisals take
/// manifests as given.
fn manifest_of(golden: &Golden) -> Manifest {
    let values = golden.quote.pcrs.iter().filter(|(bank, _, _)| *bank == PcrBank::Sha256);
    let pcrs: Map<String, Value> = values
        .map(|(_, index, value)| {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            (index.get().to_string(), Value::from(hex))
        })
        .collect();
    let mut draft = serde_json::to_value(EVIDENCE.manifest.manifest().to_draft()).expect("drafts are JSON");
    draft["states"] = json!([{ "name": "boot-1", "status": "active", "bank": "sha256", "pcrs": pcrs }]);
    draft["nodes"] = json!([{ "name": NODE, "ek": golden.ek, "ak": golden.ak, "firmware": null }]);
    let payload = serde_json::to_vec(&draft).expect("drafts are JSON");
    Manifest::from_payload(&payload).expect("swtpm's keys can be enrolled")
}

/// Evidence that is accepted, and the manifests of its deployment.
pub(crate) struct GoldenEvidence {
    pub(crate) evidence: Evidence,
    pub(crate) manifest: VerifiedManifest,
    pub(crate) next: VerifiedManifest,
    /// By which another authority takes over.
    pub(crate) hand_over: VerifiedManifest,
    pub(crate) report: VerifiedReport,
}

/// From the seeds, which `examples/seeds` made.
pub(crate) static EVIDENCE: LazyLock<GoldenEvidence> = LazyLock::new(|| {
    let evidence = Evidence::parse(include_bytes!("../../corpus/evidence/accepted.json"));
    let evidence = evidence.expect("the seed parses: see examples/seeds");
    let manifest = VerifiedManifest::danger_trust_as_given(&evidence.manifest.to_json())
        .expect("the seed's manifest is approved: see examples/seeds");
    let next = manifest
        .succeed(include_bytes!("../../corpus/manifest_approval/next.json"))
        .expect("the seed succeeds the other: see examples/seeds");
    let hand_over = next
        .succeed(include_bytes!("../../corpus/manifest_approval/hand_over.json"))
        .expect("the seed succeeds the other: see examples/seeds");
    let report = VerifiedReport::from_envelope(&evidence.report);
    let report = report.expect("the seed's report is signed: see examples/seeds");
    GoldenEvidence { evidence, manifest, next, hand_over, report }
});

/// A chain of receipts by the report key of [`EVIDENCE`].
pub(crate) static RECEIPTS: LazyLock<Vec<SignedReceipt>> = LazyLock::new(|| {
    serde_json::from_slice(include_bytes!("../../corpus/receipts/chain.json"))
        .expect("the seed parses: see examples/seeds")
});
