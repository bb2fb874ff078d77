//! An enclave that attests as the real one does, with no TPM of its own and no root to seal.

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::{Signer, SigningKey};
use sealstone_agent::enclave::Enclave;
use sealstone_agent::shutdown::Shutdown;
use sealstone_attestation::{
    AuthorityKey, AuthoritySet, BuildInfo, CodeMeasurement, DeploymentId, EnclaveParameters, Envelope,
    EnvelopeSignature, HexBytes, Manifest, ManifestDraft, NodeDraft, PcrBank, PublicKey, Purpose,
    ReceiptHash, Report, ReportDigest, SessionId, Signature64, StateDraft, StateStatus, UnixTime,
    VerifiedManifest, appraise_quote, statement,
};
use sealstone_wire::api::Enrolment;
use sealstone_wire::reply::{ManifestStatus, Phase, Refusal, RefusalCode, Reply, Session, Status};
use sealstone_wire::request::{Request, RequestMessage};

use crate::support::responder::{Peer, Responder};

/// What the fake remembers, and what happened to it.
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) manifest: Option<VerifiedManifest>,
    upload: Vec<u8>,
    challenge: Option<([u8; 32], ReportDigest)>,
    pub(crate) unlocks: usize,
    pub(crate) attests: usize,
    /// The answer to the next applied manifest never arrives.
    pub(crate) lose_next_answer: bool,
    /// Reports are signed by a key that they do not name.
    pub(crate) forge_reports: bool,
}

/// The enclave; it ends with the test.
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    responder: Arc<Responder>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let state = State {
            phase: Phase::Unprovisioned,
            manifest: None,
            upload: Vec::new(),
            challenge: None,
            unlocks: 0,
            attests: 0,
            lose_next_answer: false,
            forge_reports: false,
        };
        let fake = Self { state: Arc::new(Mutex::new(state)), responder: Arc::new(Responder::start()) };
        let (state, responder) = (Arc::clone(&fake.state), Arc::clone(&fake.responder));
        thread::spawn(move || {
            loop {
                serve(&state, &mut responder.accept());
            }
        });
        fake
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test fails inside")
    }

    /// A connection of one agent process, until `shutdown`.
    pub(crate) fn client(&self, shutdown: Shutdown) -> Enclave {
        Enclave::spawn(self.responder.endpoint(), shutdown.ended())
    }
}

fn serve(state: &Mutex<State>, peer: &mut Peer) {
    while let Some(RequestMessage { id, request }) = peer.receive() {
        let mut state = state.lock().expect("no test fails inside");
        let changes = matches!(request, Request::Provision { .. } | Request::ApplyManifest { .. });
        let reply =
            state.answer(request).unwrap_or_else(|(code, detail)| Reply::Refused(Refusal { code, detail }));
        if changes && std::mem::take(&mut state.lose_next_answer) {
            return;
        }
        peer.send(id, reply);
    }
}

type Refused = (RefusalCode, String);

impl State {
    fn answer(&mut self, request: Request) -> Result<Reply, Refused> {
        let refuse = |code: RefusalCode| (code, code.name().to_owned());
        match request {
            Request::Status => {}
            Request::ManifestChunk { offset, bytes } => {
                self.upload.truncate(usize::try_from(offset).expect("a small offset"));
                self.upload.extend(bytes);
                return Ok(Reply::Done);
            }
            Request::Provision { .. } if self.phase != Phase::Unprovisioned => {
                return Err(refuse(RefusalCode::AlreadyProvisioned));
            }
            Request::Provision { .. } => {
                let first = VerifiedManifest::first(&self.upload, authority().digest());
                self.manifest =
                    Some(first.map_err(|error| (RefusalCode::ManifestRefused, error.to_string()))?);
                self.phase = Phase::Unlocked;
            }
            Request::ApplyManifest { .. } => {
                let current = self.manifest.as_ref().ok_or(refuse(RefusalCode::Unprovisioned))?;
                let next = current.succeed(&self.upload);
                self.manifest =
                    Some(next.map_err(|error| (RefusalCode::ManifestRefused, error.to_string()))?);
                self.phase = Phase::Unlocked;
            }
            Request::Unlock { .. } => {
                self.unlocks += 1;
                self.phase = Phase::Unlocked;
            }
            Request::Lock => {
                self.phase = Phase::Locked;
                return Ok(Reply::Done);
            }
            Request::Challenge => {
                let report = self.report()?;
                let nonce = [0xc4; 32];
                self.challenge = Some((nonce, ReportDigest::of(&report.payload)));
                return Ok(Reply::Challenge { nonce, report: report.to_json() });
            }
            Request::Report => return Ok(Reply::Report { envelope: self.report()?.to_json() }),
            Request::Attest { quote, checkpoint } => {
                self.attests += 1;
                let (nonce, report) = self.challenge.take().ok_or(refuse(RefusalCode::NoChallenge))?;
                let verified = self.manifest.as_ref().ok_or(refuse(RefusalCode::Unprovisioned))?;
                let manifest = verified.manifest();
                let expected = statement(Purpose::Session, &nonce, report, verified.digest(), &checkpoint);
                let node = manifest.node_by_name("node-1").expect("every manifest here enrols it");
                let appraisal = appraise_quote(&quote, node, manifest, expected.expect("short"), None);
                let Some(attested) = appraisal.attested else {
                    self.phase = Phase::Unlocked;
                    let failed = appraisal.verdict.first_failure().map(|check| check.detail.clone());
                    return Err((RefusalCode::AttestationFailed, failed.unwrap_or_default()));
                };
                self.phase = Phase::Attested;
                return Ok(Reply::Session(Session {
                    id: SessionId::from_bytes([1; 16]),
                    state: attested.state.name().to_owned(),
                    binding: attested.state.binding(),
                    expires_at: UnixTime::from_secs(now().as_secs() + manifest.session_ttl().as_secs()),
                    warnings: Vec::new(),
                }));
            }
            other => panic!("the loop does not ask for {other:?}"),
        }
        Ok(Reply::Status(self.status()))
    }

    fn status(&self) -> Status {
        Status {
            phase: self.phase,
            version: "test".to_owned(),
            deployment: self.manifest.as_ref().map(|manifest| manifest.manifest().deployment()),
            node: Some("node-1".to_owned()),
            manifest: self.manifest.as_ref().map(|manifest| ManifestStatus {
                version: manifest.manifest().version(),
                digest: manifest.digest(),
                authority: authority().digest(),
            }),
            era: 7,
            last_used_era: 0,
            sequence: 0,
            session: None,
            unfunded: true,
            protections: Vec::new(),
        }
    }

    fn report(&self) -> Result<Envelope, Refused> {
        let locked = || (RefusalCode::Locked, "locked".to_owned());
        let manifest = self.manifest.as_ref().filter(|_| self.phase != Phase::Locked).ok_or_else(locked)?;
        let report = Report {
            format: 1,
            deployment: manifest.manifest().deployment(),
            node: "node-1".to_owned(),
            manifest: manifest.digest(),
            manifest_version: manifest.manifest().version(),
            authority: authority().digest(),
            channel_key: [0; 32],
            report_key: report_key().verifying_key().to_bytes(),
            build: BuildInfo { version: "test".to_owned(), commit: "test".to_owned(), binary_sha256: None },
            protections: Vec::new(),
            era: 7,
            last_used_era: 0,
            sequence: 0,
            receipt_head: ReceiptHash::from_bytes([0; 32]),
            unfunded: true,
            time: now(),
        };
        let key = if self.forge_reports { authority_key() } else { report_key() };
        Ok(report.sign(|pae| Signature64::from_bytes(key.sign(pae).to_bytes())).expect("a good report key"))
    }
}

fn report_key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

fn authority_key() -> SigningKey {
    SigningKey::from_bytes(&[6; 32])
}

fn authority() -> AuthoritySet {
    let key = PublicKey::from(&authority_key().verifying_key());
    AuthoritySet::new(1, vec![AuthorityKey::new("alice".to_owned(), key).expect("a name")]).expect("one key")
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixTime::from_secs(since.as_secs())
}

/// A manifest that approves PCR 0 and 7 as they are in `machine`, after `previous`; signed by its authority.
pub(crate) fn manifest(machine: &Enrolment, previous: Option<&[u8]>, session_ttl_s: u64) -> Vec<u8> {
    let previous =
        previous.map(|envelope| VerifiedManifest::danger_trust_as_given(envelope).expect("one of ours"));
    let pcrs = machine
        .pcrs
        .iter()
        .filter(|(bank, index, _)| *bank == PcrBank::Sha256 && [0, 7].contains(&index.get()));
    let draft = ManifestDraft {
        format: 1,
        deployment: DeploymentId::from_bytes([0xdd; 16]),
        version: previous.as_ref().map_or(1, |previous| previous.manifest().version() + 1),
        previous: previous.as_ref().map(VerifiedManifest::digest),
        issued_at: now(),
        authority: authority(),
        states: vec![StateDraft {
            name: "boot-1".to_owned(),
            status: StateStatus::Active,
            bank: PcrBank::Sha256,
            pcrs: pcrs.map(|(_, index, value)| (index, HexBytes(value.to_vec()))).collect(),
            transit_key_id: String::new(),
        }],
        successions: Vec::new(),
        nodes: vec![NodeDraft {
            name: "node-1".to_owned(),
            ek: machine.ek.clone(),
            ak: machine.ak.clone(),
            firmware: Some(vec![machine.firmware_version]),
        }],
        session_ttl_s,
        enclave: EnclaveParameters { verify_signatures: true, require_secret_memory: true },
        code: CodeMeasurement::None,
        permissions: Vec::new(),
        outgoing_authority: None,
        session_permissions: Vec::new(),
    };
    let payload = Manifest::try_from(draft).expect("a good manifest").to_payload();
    let payload_type = Manifest::PAYLOAD_TYPE.to_owned();
    let key = authority_key();
    let sig = key.sign(&Envelope::pae(&payload_type, &payload)).to_bytes().to_vec();
    let keyid = PublicKey::from(&key.verifying_key()).key_id().to_string();
    Envelope { payload_type, payload, signatures: vec![EnvelopeSignature { keyid, sig }] }.to_json()
}
