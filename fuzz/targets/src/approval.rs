//! What an authority or an enclave signs: envelopes, manifests, reports.

use sealstone_attestation::{
    Algorithm, Envelope, Manifest, PayloadKind, ReportDigest, UnixTime, VerifiedManifest, VerifiedReport,
};

use crate::golden::EVIDENCE;

/// A DSSE envelope.
#[must_use]
pub fn envelope(bytes: &[u8]) -> bool {
    let Ok(envelope) = Envelope::parse(bytes) else { return false };
    let written = envelope.to_json();
    assert!(written.len() <= bytes.len(), "an envelope is written without spaces and needless escapes");
    assert_eq!(Envelope::parse(&written), Ok(envelope));
    true
}

/// A manifest's payload: read, questioned, and written as the draft of its successor.
#[must_use]
pub fn manifest(bytes: &[u8]) -> bool {
    let Ok(manifest) = Manifest::from_payload(bytes) else { return false };
    assert_eq!(manifest.to_payload(), bytes, "what was signed is kept as it is");
    let draft = manifest.to_draft();
    let written = serde_json::to_vec(&draft).expect("drafts are JSON");
    if written.len() <= Manifest::PAYLOAD_BYTES_MAX {
        let again = Manifest::from_payload(&written).expect("a checked draft passes again");
        assert_eq!(again.to_draft(), draft);
    }
    assert!(manifest.active_states().next().is_some(), "a deployment has a state to be in");
    for state in manifest.states() {
        for other in manifest.states().iter().filter(|other| other.name() != state.name()) {
            assert_ne!(state.binding(), other.binding(), "states with one binding share their keys");
        }
        for current in manifest.states() {
            let derived = manifest.may_derive(state.binding(), current, UnixTime::from_secs(0));
            assert!(derived.is_err() || current.is_active(), "derived in a state that may not attest");
        }
    }
    for node in manifest.nodes() {
        assert_eq!(manifest.node_by_name(node.name()), Some(node));
        assert_eq!(manifest.node_by_ak(node.ak().name()), Some(node));
        assert_eq!(node.ak().check_attestation_key(), Ok(()));
        assert_eq!(node.ek().check_endorsement_key(), Ok(()));
    }
    for kind in [PayloadKind::Message, PayloadKind::Digest] {
        let _ = manifest.permits_asset("acme", "hot", Algorithm::Es256, kind);
        let _ = manifest.permits_session("acme", "hot", Algorithm::EdDsa, kind);
    }
    assert!(!manifest.permits_asset("acme", "hot", Algorithm::EdDsa, PayloadKind::Digest));
    assert!(!manifest.quote_selection().is_empty());
    true
}

/// A manifest's envelope, as enclaves take it: under a pinned authority, and as a successor. Nothing but what the
/// authority signed is ever taken.
#[must_use]
pub fn manifest_approval(bytes: &[u8]) -> bool {
    let golden = &*EVIDENCE;
    let signed = [golden.manifest.digest(), golden.next.digest()];
    let authority = golden.manifest.manifest().authority().digest();
    let taken = [VerifiedManifest::first(bytes, authority), golden.manifest.succeed(bytes)];
    for taken in taken.into_iter().flatten() {
        assert!(signed.contains(&taken.digest()), "expected a manifest that the authority signed");
        assert_eq!(taken.manifest().authority().digest(), authority);
    }
    if let Ok(taken) = golden.next.succeed(bytes) {
        let signed = [golden.next.digest(), golden.hand_over.digest()];
        assert!(signed.contains(&taken.digest()), "versions only rise");
    }
    if let Ok(taken) = golden.hand_over.succeed(bytes) {
        assert_eq!(taken.digest(), golden.hand_over.digest(), "nothing comes after it");
    }
    let Ok(taken) = VerifiedManifest::danger_trust_as_given(bytes) else { return false };
    assert_eq!(taken.envelope(), bytes);
    let own = taken.manifest().authority().digest();
    assert_eq!(VerifiedManifest::first(bytes, own).as_ref(), Ok(&taken));
    true
}

/// An enclave's signed report.
#[must_use]
pub fn report(bytes: &[u8]) -> bool {
    let Ok(verified) = VerifiedReport::parse(bytes) else { return false };
    let envelope = Envelope::parse(bytes).expect("a report came in it");
    assert_eq!(verified.digest(), ReportDigest::of(&envelope.payload));
    assert_eq!(VerifiedReport::parse(&envelope.to_json()).as_ref(), Ok(&verified));
    let golden = &EVIDENCE.report;
    if verified.key_id() == golden.key_id() {
        assert_eq!(verified.digest(), golden.digest(), "expected the report that the key signed");
    }
    true
}
