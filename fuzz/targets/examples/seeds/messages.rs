//! Requests, replies and HTTP bodies.

use sealstone_attestation::audit::TreeHash;
use sealstone_attestation::{Algorithm, Binding, KeyId, PublicKey, RequestDigest, Sha256Digest, Signature64};
use sealstone_wire::api::{
    ApprovalBody, Asset, AssetBody, AssetCover, AssetList, Enrolment, HashName, LogStatus, NodeStatus,
    PayloadFormat, Problem, Reason, ReasonBody, RulesStatus, SessionKey, SignBody, StoreStatus, TpmStatus,
};
use sealstone_wire::channel::encode;
use sealstone_wire::reply::{Refusal, RefusalCode, Reply, ReplyMessage, Signed};
use sealstone_wire::request::{Payload, Recipient, Request, RequestMessage, SignRequest, TpmHints};
use sealstone_wire::{Epoch, KeyPath, PathText};

use crate::scene::{NOW, Scene};
use crate::{fake, save};

pub(crate) fn save_all(scene: &Scene) {
    for (name, request) in requests(scene) {
        save("request", name, encode(&RequestMessage { id: 5, request }).unwrap());
    }
    for (name, reply) in replies(scene) {
        save("reply", name, encode(&ReplyMessage { id: 5, reply }).unwrap());
    }
    let paths = [("same", asset_path(), asset_path()), ("other", asset_path(), session_path())];
    for (name, one, other) in paths {
        save("key_path", name, postcard::to_stdvec(&(one, other)).unwrap());
    }
    api_bodies(scene);
}

fn path_text(text: &str) -> PathText {
    text.try_into().unwrap()
}

fn asset_path() -> KeyPath {
    KeyPath::Asset {
        tenant: path_text("acme"),
        asset: path_text("hot"),
        epoch: Epoch(3),
        algorithm: Algorithm::Es256k,
    }
}

fn session_path() -> KeyPath {
    KeyPath::Session {
        tenant: path_text("acme"),
        sender: path_text("0xé"),
        chain_id: 1,
        nonce: 77,
        hour: 498_675,
        algorithm: Algorithm::EdDsa,
    }
}

fn requests(scene: &Scene) -> Vec<(&'static str, Request)> {
    let tpm = TpmHints { ek_handle: Some(0x8101_0001) };
    let sign = |path: KeyPath, payload| {
        Request::Sign(SignRequest {
            key_id: matches!(path, KeyPath::Asset { .. }).then(|| KeyId::from_bytes([2; 32])),
            issued_at_ms: matches!(path, KeyPath::Session { .. }).then_some(1_795_230_000_123),
            path,
            binding: Binding::from_bytes([1; 32]),
            payload,
            request: RequestDigest::from_bytes([3; 32]),
        })
    };
    vec![
        ("status", Request::Status),
        ("manifest_chunk", Request::ManifestChunk { offset: 32, bytes: b"{\"payload".to_vec() }),
        ("provision", Request::Provision { node: "node-1".to_owned(), tpm: tpm.clone() }),
        ("unlock", Request::Unlock { tpm: TpmHints::default() }),
        ("apply", Request::ApplyManifest { tpm }),
        ("relayed", Request::Relayed { to: 4, step: 2, response: vec![0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0] }),
        (
            "attest",
            Request::Attest {
                quote: scene.evidence.quote.clone(),
                checkpoint: scene.evidence.checkpoint.clone(),
            },
        ),
        ("public_key", Request::PublicKey { path: asset_path(), binding: None }),
        ("sign_message", sign(asset_path(), Payload::Message(b"hello".to_vec()))),
        ("sign_keccak", sign(session_path(), Payload::MessageKeccak(vec![0xff; 40]))),
        ("sign_digest", sign(asset_path(), Payload::Digest([7; 32]))),
        ("receipts", Request::Receipts { from: 17 }),
        (
            "export_shares",
            Request::ExportShares {
                threshold: 2,
                recipients: vec![Recipient { name: "ada".to_owned(), public_key: [3; 32] }; 3],
            },
        ),
        ("import_share", Request::ImportShare { share: vec![4; 60] }),
        ("export_root", Request::ExportRoot { evidence: b"{}".to_vec() }),
        ("import_root", Request::ImportRoot { sealed: vec![6; 60] }),
        ("checkpoint_begin", Request::CheckpointBegin),
        ("audit_leaves", Request::AuditLeaves { index: 3, leaves: b"\0\x02{}".to_vec() }),
        ("checkpoint_sign", Request::CheckpointSign { size: 3, root: TreeHash::empty() }),
        (
            "audit_resume",
            Request::AuditResume {
                checkpoint: scene.evidence.checkpoint.clone(),
                frontier: vec![TreeHash::empty(); 2],
            },
        ),
        ("audit_begin_anew", Request::AuditBeginAnew),
    ]
}

fn replies(scene: &Scene) -> Vec<(&'static str, Reply)> {
    let signed: Vec<Signed> = scene
        .receipts()
        .into_iter()
        .map(|receipt| Signed {
            signature: receipt.receipt.signature,
            public_key: scene.enclave.public_key(),
            digest: [8; 32],
            recovery_id: Some(1),
            receipt,
        })
        .collect();
    vec![
        ("done", Reply::Done),
        ("status", Reply::Status(scene.status())),
        ("relay", Reply::Relay { step: 3, command: vec![0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 32] }),
        ("challenge", Reply::Challenge { nonce: [9; 32], report: scene.evidence.report.to_json() }),
        ("session", Reply::Session(scene.session())),
        ("clock", Reply::Clock { now_ms: 1_795_230_000_123 }),
        (
            "public_key",
            Reply::PublicKey {
                public_key: scene.enclave.public_key(),
                binding: Binding::from_bytes([1; 32]),
            },
        ),
        ("signed", Reply::Signed(Box::new(signed[0].clone()))),
        ("receipts", Reply::Receipts(signed)),
        ("shares", Reply::Shares(vec![vec![1; 30]; 3])),
        ("checkpoint_begun", Reply::CheckpointBegun { era: 1, sequence: 2, size: 3, resume: true }),
        ("checkpoint", Reply::Checkpoint(scene.evidence.checkpoint.clone())),
        ("log_begun", Reply::LogBegun { size: 3, root: TreeHash::empty() }),
        (
            "refused",
            Reply::Refused(Refusal { code: RefusalCode::NoSession, detail: "expected, found".to_owned() }),
        ),
    ]
}

fn api_bodies(scene: &Scene) {
    fn body(name: &str, body: &impl serde::Serialize) {
        save("api_body", name, serde_json::to_vec(body).unwrap());
    }
    let sign = SignBody {
        tenant: path_text("acme"),
        asset: Some(path_text("hot")),
        session: None,
        chain_id: 1,
        nonce: 7,
        payload: Some("68656c6c6f".to_owned()),
        digest: None,
        hash: Some(HashName::Keccak256),
        format: PayloadFormat::Opaque,
        epoch: Some(Epoch(1)),
        recipient: Some("0x00000000000000000000000000000000000000aa".to_owned()),
        amount: Some("1".to_owned()),
        currency: Some("ETH".to_owned()),
        approvals: vec![ApprovalBody {
            approver: "alice".to_owned(),
            signature: Signature64::from_bytes([7; 64]),
        }],
    };
    body("sign_asset.json", &sign);
    let algorithm = Algorithm::Es256;
    let session = Some(SessionKey { sender: path_text("0xa"), algorithm });
    let digest = Some("00".repeat(32));
    body(
        "sign_session.json",
        &SignBody { asset: None, session, payload: None, digest, hash: Some(HashName::Sha256), ..sign },
    );
    body("asset_body.json", &AssetBody { tenant: path_text("acme"), asset: path_text("hot"), algorithm });
    let public_key: PublicKey = scene.enclave.public_key();
    let asset = Asset {
        tenant: path_text("acme"),
        asset: path_text("hot"),
        algorithm: public_key.algorithm(),
        epoch: Epoch(0),
        binding: Binding::from_bytes([1; 32]),
        key_id: public_key.key_id(),
        public_key: public_key.to_string(),
        jwk: public_key.jwk(),
        since: NOW,
        retired_at: None,
        unfunded: true,
    };
    let covers = AssetCover { every_tenant: true, every_age: true, from_start: true };
    body("asset_list.json", &AssetList { assets: vec![asset], next: None, covers });
    body(
        "enrolment.json",
        &Enrolment {
            ek: scene.evidence.ek.clone(),
            ak: scene.evidence.ak.clone(),
            ek_certificate: None,
            pcrs: scene.evidence.quote.pcrs.clone(),
            firmware_version: fake::FIRMWARE,
        },
    );
    let text = |text: &str| text.to_owned();
    body(
        "status.json",
        &NodeStatus {
            ready: false,
            reasons: vec![Reason { code: text("NO_SESSION"), detail: text("expired"), action: text("wait") }],
            agent_version: text("0.1.0"),
            enclave: Some(scene.status()),
            tpm: TpmStatus { tcti: text("device:/dev/tpmrm0"), reachable: true, fault: None },
            store: StoreStatus { kind: text("sqlite"), version: Some(3) },
            reservations: [(text("signed"), 3)].into(),
            rules: RulesStatus { policy: Sha256Digest::from_bytes([5; 32]), sanctions: None, prices: None },
            log: Some(LogStatus {
                size: 12,
                checkpoint: None,
                uncovered_records: 12,
                uncovered_since: None,
                uncovered_receipts: Some(3),
                uncovered_receipts_max: 16_384,
            }),
        },
    );
    body(
        "problem.json",
        &Problem {
            kind: text("urn:sealstone:problem:no_session"),
            title: text("No session"),
            status: 503,
            detail: text("expected an attested session, found none"),
            code: text("NO_SESSION"),
            request_id: text("r-1"),
            reasons: vec![ReasonBody { code: text("SENDER_UNKNOWN"), detail: text("none") }],
        },
    );
}
