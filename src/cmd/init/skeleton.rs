//! The skeleton of a deployment's first manifest: everything but machines and states.

use sealstone_attestation::{
    Algorithm, AssetPermission, AuthoritySet, CodeMeasurement, DeploymentId, EnclaveParameters,
    ManifestDraft, PayloadKind, Scope, SessionPermission, UnixTime,
};

/// How long an attested session lasts: the enclave's bound on a state change that the agent hides.
const SESSION_TTL_S: u64 = 300;

/// A skeleton that permits messages, not bare digests, with every algorithm.
pub(super) fn draft(deployment: DeploymentId, now: UnixTime, authority: &AuthoritySet) -> ManifestDraft {
    let (algorithms, sign) = (Algorithm::ALL.to_vec(), vec![PayloadKind::Message]);
    ManifestDraft {
        format: 1,
        deployment,
        version: 1,
        previous: None,
        issued_at: now,
        authority: authority.clone(),
        states: Vec::new(),
        successions: Vec::new(),
        nodes: Vec::new(),
        session_ttl_s: SESSION_TTL_S,
        enclave: EnclaveParameters { verify_signatures: true, require_secret_memory: true },
        // Honest until the machine measures its binaries; every verdict then names the gap.
        code: CodeMeasurement::None,
        permissions: vec![AssetPermission {
            tenant: Scope::Any,
            asset: Scope::Any,
            algorithms: algorithms.clone(),
            sign: sign.clone(),
        }],
        outgoing_authority: None,
        session_permissions: vec![SessionPermission {
            tenant: Scope::Any,
            sender: Scope::Any,
            algorithms,
            sign,
        }],
    }
}

/// A skeleton as people edit it.
pub(super) fn text(draft: &ManifestDraft) -> String {
    let mut text = serde_json::to_string_pretty(draft).expect("text, numbers and hex always serialize");
    text.push('\n');
    text
}
