//! An enclave that signs with one Ed25519 key for everything, and can be told to fail as no real one does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread;

use ed25519_dalek::{Signer, SigningKey};
use sealstone_attestation::{
    AuthorityDigest, Binding, BuildInfo, DeploymentId, ManifestDigest, PublicKey, Receipt, ReceiptHash,
    Report, Sha256Digest, Signature64, SignedReceipt, UnixTime,
};
use sealstone_wire::KeyPath;
use sealstone_wire::limits::RECEIPTS_PER_REPLY;
use sealstone_wire::reply::{Refusal, RefusalCode, Reply, Session, Signed};
use sealstone_wire::request::{Payload, Request, RequestMessage, SignRequest};

use crate::support::responder::{Peer, Responder};

/// When everything happens.
pub(crate) const NOW_MS: u64 = 1_795_230_000_000;

/// What happens to the next request to sign.
pub(crate) enum Fault {
    /// The connection ends before anything is signed.
    EndBefore,
    /// It is signed, and the connection ends before the answer.
    EndAfter,
    /// It is signed, and another answer is given.
    Tamper(fn(&mut Signed)),
    /// It is refused.
    Refuse(RefusalCode),
    /// It is answered with something else.
    Answer(Box<Reply>),
    /// It is signed in the next era.
    NextEra,
    /// It is signed, and nobody is told.
    Mute,
}

/// What the fake remembers.
pub(crate) struct State {
    pub(crate) era: u64,
    pub(crate) last_used_era: u64,
    pub(crate) deployment: DeploymentId,
    pub(crate) receipts: Vec<Signed>,
    pub(crate) faults: VecDeque<Fault>,
    /// Every request to sign that arrived.
    pub(crate) asked: Vec<SignRequest>,
    /// Requests to sign wait unanswered while this is set.
    pub(crate) hold: bool,
    /// The next report was made before the newest signature.
    pub(crate) stale_report: bool,
    /// What its clock says.
    pub(crate) now_ms: u64,
    /// Keys are refused while this is set, and so is the clock.
    pub(crate) keyless: Option<RefusalCode>,
    held: Vec<(u64, SignRequest)>,
}

/// The enclave; it ends with the test.
pub(crate) struct Fake {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) responder: Arc<Responder>,
}

fn report_key() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

fn asset_key() -> SigningKey {
    SigningKey::from_bytes(&[4; 32])
}

/// The key of every asset and session.
pub(crate) fn public_key() -> PublicKey {
    PublicKey::from(&asset_key().verifying_key())
}

/// The key of every session of another hour than [`NOW_MS`]'s.
fn other_key() -> PublicKey {
    PublicKey::from(&SigningKey::from_bytes(&[5; 32]).verifying_key())
}

/// The open session.
pub(crate) fn session() -> Session {
    Session {
        id: sealstone_attestation::SessionId::from_bytes([8; 16]),
        state: "boot-1".to_owned(),
        binding: Binding::from_bytes([9; 32]),
        expires_at: UnixTime::from_secs(NOW_MS / 1000 + 300),
        warnings: Vec::new(),
    }
}

impl Fake {
    pub(crate) fn start() -> Self {
        let responder = Arc::new(Responder::start());
        let state = Arc::new(Mutex::new(State {
            era: 7,
            last_used_era: 0,
            deployment: DeploymentId::from_bytes([1; 16]),
            receipts: Vec::new(),
            faults: VecDeque::new(),
            asked: Vec::new(),
            hold: false,
            stale_report: false,
            now_ms: NOW_MS,
            keyless: None,
            held: Vec::new(),
        }));
        let fake = Self { state: Arc::clone(&state), responder: Arc::clone(&responder) };
        thread::spawn(move || {
            loop {
                let mut peer = responder.accept();
                while let Some(message) = peer.receive() {
                    if !serve(&state, &mut peer, message) {
                        break;
                    }
                }
            }
        });
        fake
    }

    pub(crate) fn fail_next(&self, fault: Fault) {
        self.state.lock().unwrap().faults.push_back(fault);
    }

    pub(crate) fn asked(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }

    /// Something that no agent asked for is signed.
    pub(crate) fn sign_unasked(&self, request: &[u8]) {
        let mut state = self.state.lock().unwrap();
        let request = SignRequest {
            path: KeyPath::Asset {
                tenant: "acme".try_into().unwrap(),
                asset: "hot".try_into().unwrap(),
                epoch: sealstone_wire::Epoch(0),
                algorithm: sealstone_attestation::Algorithm::EdDsa,
            },
            binding: session().binding,
            key_id: None,
            payload: Payload::Message(request.to_vec()),
            request: sealstone_attestation::RequestDigest::of(request),
            issued_at_ms: None,
        };
        state.sign(&request);
    }
}

/// Answers one message; `false` ends the connection.
fn serve(state: &Mutex<State>, peer: &mut Peer, message: RequestMessage) -> bool {
    let RequestMessage { id, request } = message;
    let mut state = state.lock().unwrap();
    let reply = match request {
        Request::Report => Reply::Report { envelope: state.report() },
        Request::Clock | Request::PublicKey { .. } if state.keyless.is_some() => {
            let code = state.keyless.expect("as was just seen");
            Reply::Refused(Refusal { code, detail: "so told".to_owned() })
        }
        Request::Clock => Reply::Clock { now_ms: state.now_ms },
        Request::PublicKey { path, .. } => {
            let of_now = |hour| hour == NOW_MS / 3_600_000;
            let public_key = match path {
                KeyPath::Session { hour, .. } if !of_now(hour) => other_key(),
                _ => public_key(),
            };
            Reply::PublicKey { public_key, binding: session().binding }
        }
        Request::Receipts { from } => {
            let kept = state.receipts.iter().filter(|signed| signed.receipt.receipt.sequence >= from);
            Reply::Receipts(kept.take(RECEIPTS_PER_REPLY).cloned().collect())
        }
        Request::Sign(request) => {
            state.asked.push(request.clone());
            if state.hold {
                state.held.push((id, request));
                return true;
            }
            match state.faults.pop_front() {
                None => Reply::Signed(Box::new(state.sign(&request))),
                Some(Fault::EndBefore) => return false,
                Some(Fault::EndAfter) => {
                    state.sign(&request);
                    return false;
                }
                Some(Fault::Mute) => {
                    state.sign(&request);
                    return true;
                }
                Some(Fault::Tamper(tamper)) => {
                    let mut signed = state.sign(&request);
                    tamper(&mut signed);
                    Reply::Signed(Box::new(signed))
                }
                Some(Fault::Refuse(code)) => Reply::Refused(Refusal { code, detail: "so told".to_owned() }),
                Some(Fault::Answer(reply)) => *reply,
                Some(Fault::NextEra) => {
                    state.last_used_era = state.era;
                    state.era += 1;
                    state.receipts.clear();
                    Reply::Signed(Box::new(state.sign(&request)))
                }
            }
        }
        // Not a real request: lets what is held go.
        Request::Lock => {
            state.hold = false;
            for (id, request) in std::mem::take(&mut state.held) {
                let signed = state.sign(&request);
                peer.send(id, Reply::Signed(Box::new(signed)));
            }
            Reply::Done
        }
        _ => Reply::Refused(Refusal { code: RefusalCode::Unsupported, detail: "a fake".to_owned() }),
    };
    peer.send(id, reply);
    true
}

impl State {
    fn sign(&mut self, request: &SignRequest) -> Signed {
        let Payload::Message(message) = &request.payload else { panic!("the fake signs messages") };
        let signature = Signature64::from_bytes(asset_key().sign(message).to_bytes());
        let (previous, sequence) = match self.receipts.last() {
            Some(last) => (last.receipt.receipt.hash(), last.receipt.receipt.sequence + 1),
            None => (Receipt::genesis(self.era), 1),
        };
        let receipt = Receipt {
            sequence,
            era: self.era,
            previous,
            request: request.request,
            key_id: public_key().key_id(),
            epoch: request.path.receipt_epoch(),
            binding: request.binding,
            session: session().id,
            time: UnixTime::from_secs(NOW_MS / 1000),
            signature,
        };
        let signed = Signed {
            signature,
            public_key: public_key(),
            digest: *Sha256Digest::of(message).as_bytes(),
            recovery_id: None,
            receipt: sign_receipt(receipt),
        };
        self.receipts.push(signed.clone());
        signed
    }

    fn report(&mut self) -> Vec<u8> {
        let newest = self.receipts.last().map_or(0, |last| last.receipt.receipt.sequence);
        let sequence = newest - u64::from(std::mem::take(&mut self.stale_report));
        let report = Report {
            format: 1,
            deployment: self.deployment,
            node: "node-1".to_owned(),
            manifest: ManifestDigest::from_bytes([0; 32]),
            manifest_version: 1,
            authority: AuthorityDigest::from_bytes([0; 32]),
            channel_key: [0; 32],
            report_key: report_key().verifying_key().to_bytes(),
            build: BuildInfo { version: "fake".to_owned(), commit: String::new(), binary_sha256: None },
            protections: Vec::new(),
            era: self.era,
            last_used_era: self.last_used_era,
            sequence,
            receipt_head: ReceiptHash::from_bytes([0; 32]),
            unfunded: true,
            time: UnixTime::from_secs(NOW_MS / 1000),
        };
        let sign = |pae: &[u8]| Signature64::from_bytes(report_key().sign(pae).to_bytes());
        report.sign(sign).unwrap().to_json()
    }
}

/// Signed by the report key.
pub(crate) fn sign_receipt(receipt: Receipt) -> SignedReceipt {
    let report_signature = Signature64::from_bytes(report_key().sign(&receipt.encode()).to_bytes());
    SignedReceipt { receipt, report_signature }
}
