//! Stories of the whole enclave without its server: a real TPM behind a relay, quotes of a software key.
#![allow(clippy::unwrap_used)]

#[path = "../../attestation/tests/fake/mod.rs"]
mod fake;
#[path = "../../swtpm-tests/tests/support/state_file.rs"]
#[allow(dead_code, unreachable_pub, reason = "other stories use the rest")]
mod state_file;
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fake::{Machine, Person};
use sealstone_attestation::{
    Algorithm, BuildInfo, HexBytes, ManifestDraft, NodeDraft, PcrBank, PcrValues, Purpose, QuoteEvidence,
    ReportDigest, RequestDigest, StateDraft, StateStatus, VerifiedManifest, VerifiedReport, statement,
};
use sealstone_enclave::core::{Enclave, Settings};
use sealstone_enclave::credential::Credential;
use sealstone_enclave::refuse::Refuse;
use sealstone_enclave::sandbox::Protections;
use sealstone_enclave::state_file::StateFile;
use sealstone_enclave::tpm::RelayError;
use sealstone_wire::channel::ChannelPublic;
use sealstone_wire::key_path::{Epoch, KeyPath};
use sealstone_wire::reply::{Phase, RefusalCode, Reply, Signed, Status};
use sealstone_wire::request::{Payload, SignRequest, TpmHints};
use serde_json::{Value, json};
use support::commands::is;
use support::keys::{EK_HANDLE, EkKind};
use support::node::{COUNTER, Node, PCRS};
use support::relay::TapRelay;
use tempfile::TempDir;
use tpm2_protocol::data::TpmCc;

/// The enclave's key on a connection that these stories do not have.
const CHANNEL_KEY: ChannelPublic = ChannelPublic::from_bytes([9; 32]);

/// A machine, its owner, and the enclave's files.
struct Stage {
    folder: TempDir,
    person: Person,
    node: Node,
    machine: Machine,
}

impl Stage {
    fn new() -> Self {
        let node = Node::start();
        let mut machine = Machine::new("node-1", 11);
        machine.pcrs = PcrValues::new();
        for (pcr, value) in node.tpm.pcrs(PcrBank::Sha256, &PCRS) {
            machine.pcrs.insert(PcrBank::Sha256, pcr, value).unwrap();
        }
        Self { folder: TempDir::new().unwrap(), person: Person::new(1), node, machine }
    }

    fn draft(&self) -> ManifestDraft {
        let mut draft = fake::draft(&self.person, &[]);
        let pcrs = self.machine.pcrs.iter().map(|(_, pcr, value)| (pcr, HexBytes(value.to_vec()))).collect();
        draft.states = vec![StateDraft {
            name: "boot-1".to_owned(),
            status: StateStatus::Active,
            bank: PcrBank::Sha256,
            pcrs,
            transit_key_id: String::new(),
        }];
        let (name, ak) = ("node-1".to_owned(), self.machine.ak.public());
        draft.nodes = vec![NodeDraft { name, ek: self.node.ek.clone(), ak, firmware: None }];
        draft.enclave.require_secret_memory = false;
        draft
    }

    fn sign(&self, draft: &ManifestDraft) -> Vec<u8> {
        fake::signed(draft, &[&self.person])
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("enclave.state")
    }

    /// A process that starts with what is on disk.
    fn start(&self) -> Enclave {
        self.start_at(COUNTER)
    }

    fn start_at(&self, nv_index: u32) -> Enclave {
        self.start_on(&self.state(), nv_index)
    }

    fn start_on(&self, state: &Path, nv_index: u32) -> Enclave {
        let settings = Settings {
            authority: fake::authority(1, &[&self.person]).digest(),
            nv_index,
            build: BuildInfo { version: "0".to_owned(), commit: String::new(), binary_sha256: None },
            protections: Arc::new(Protections::open(None)),
        };
        let credential = Credential::load_or_create(&self.folder.path().join("credential")).unwrap();
        let file = StateFile::open(state).unwrap();
        let state = file.load().unwrap();
        Enclave::new(settings, credential, file, state)
    }

    fn provision(&self, enclave: &Enclave, relay: &mut TapRelay<'_>) -> Result<Status, Refuse> {
        enclave.upload(0, &self.sign(&self.draft())).unwrap();
        enclave.provision("node-1", &hints(), relay)
    }

    fn provisioned(&self) -> Enclave {
        let enclave = self.start();
        self.provision(&enclave, &mut TapRelay::honest(&self.node.tpm)).unwrap();
        enclave
    }

    fn unlock(&self, enclave: &Enclave) -> Result<Status, Refuse> {
        enclave.unlock(&hints(), &mut TapRelay::honest(&self.node.tpm))
    }

    /// The machine's answer to a fresh challenge, over these values.
    fn quote(&self, enclave: &Enclave, pcrs: PcrValues) -> QuoteEvidence {
        let Reply::Challenge { nonce, report } = enclave.challenge(CHANNEL_KEY).unwrap() else {
            panic!("no challenge")
        };
        self.answer(&nonce, &report, pcrs)
    }

    fn answer(&self, nonce: &[u8; 32], report: &[u8], pcrs: PcrValues) -> QuoteEvidence {
        let report = VerifiedReport::parse(report).unwrap();
        let digest: ReportDigest = report.digest();
        let said = statement(Purpose::Session, nonce, digest, report.report().manifest, b"").unwrap();
        let manifest = VerifiedManifest::danger_trust_as_given(&self.sign(&self.draft())).unwrap();
        let signer = manifest.manifest().node_by_name("node-1").unwrap().qualified_signer();
        let selection = fake::selection_of(&pcrs);
        let mut attest = self.machine.attest(said.as_bytes());
        attest.qualified_signer = signer.as_bytes().to_vec();
        attest.pcr_digest = fake::pcr_digest(self.machine.ak.hash, &selection, &pcrs);
        attest.selection = selection;
        QuoteEvidence { pcrs, ..self.machine.signed(&attest) }
    }

    fn attest(&self, enclave: &Enclave) -> Result<sealstone_wire::reply::Session, Refuse> {
        let quote = self.quote(enclave, self.machine.pcrs.clone());
        enclave.attest(&quote, b"")
    }
}

fn hints() -> TpmHints {
    TpmHints { ek_handle: Some(EK_HANDLE) }
}

fn path() -> KeyPath {
    KeyPath::Asset {
        tenant: "acme".try_into().unwrap(),
        asset: "hello".try_into().unwrap(),
        epoch: Epoch(0),
        algorithm: Algorithm::Es256,
    }
}

fn sign(enclave: &Enclave) -> Result<Signed, Refuse> {
    let Reply::PublicKey { public_key, binding } = enclave.public_key(&path(), None)? else {
        panic!("no key")
    };
    enclave.sign(&SignRequest {
        path: path(),
        binding,
        key_id: Some(public_key.key_id()),
        payload: Payload::Message(b"to be signed".to_vec()),
        request: RequestDigest::of(b"request"),
        issued_at_ms: None,
    })
}

fn edit(stage: &Stage, change: impl FnOnce(&mut Value)) {
    let file = std::fs::read(stage.state()).unwrap();
    std::fs::write(stage.state(), state_file::changed(&file, change)).unwrap();
}

#[test]
fn a_renewed_session_signs_on_and_a_quote_that_fails_ends_it_at_once() {
    let stage = Stage::new();
    let enclave = stage.provisioned();
    assert_eq!(sign(&enclave).unwrap_err().code(), RefusalCode::NoSession);
    let first = stage.attest(&enclave).unwrap();
    assert_eq!(sign(&enclave).unwrap().receipt.receipt.sequence, 1);
    let renewed = stage.attest(&enclave).unwrap();
    assert_ne!(first.id, renewed.id);
    assert_eq!(sign(&enclave).unwrap().receipt.receipt.session, renewed.id);

    let mut changed = PcrValues::new();
    for (bank, pcr, _) in stage.machine.pcrs.iter() {
        changed.insert(bank, pcr, vec![0x66; 32]).unwrap();
    }
    let quote = stage.quote(&enclave, changed);
    let refusal = enclave.attest(&quote, b"").unwrap_err();
    assert_eq!(refusal.code(), RefusalCode::AttestationFailed);
    assert!(refusal.detail().starts_with("state.approved"), "{}", refusal.detail());
    assert_eq!(sign(&enclave).unwrap_err().code(), RefusalCode::NoSession);
}

#[test]
fn a_challenge_from_before_a_manifest_change_opens_nothing() {
    let stage = Stage::new();
    let enclave = stage.provisioned();
    stage.attest(&enclave).unwrap();
    let Reply::Challenge { nonce, report } = enclave.challenge(CHANNEL_KEY).unwrap() else {
        panic!("no challenge")
    };
    let first = VerifiedManifest::danger_trust_as_given(&stage.sign(&stage.draft())).unwrap();
    enclave.upload(0, &stage.sign(&fake::next(first.manifest()))).unwrap();
    enclave.apply_manifest(&hints(), &mut TapRelay::honest(&stage.node.tpm)).unwrap();

    assert_eq!(sign(&enclave).unwrap_err().code(), RefusalCode::NoSession);
    let quote = stage.answer(&nonce, &report, stage.machine.pcrs.clone());
    assert_eq!(enclave.attest(&quote, b"").unwrap_err().code(), RefusalCode::NoChallenge);
    stage.attest(&enclave).unwrap();
    sign(&enclave).unwrap();
}

#[test]
fn a_state_file_cannot_make_this_machine_another_node_of_the_manifest() {
    let stage = Stage::new();
    // Another machine of the deployment, whose quotes a compromised agent could have relayed.
    let other = Machine::new("node-2", 21);
    let mut draft = stage.draft();
    draft.nodes.push(other.draft());
    let enclave = stage.start();
    enclave.upload(0, &stage.sign(&draft)).unwrap();
    enclave.provision("node-1", &hints(), &mut TapRelay::honest(&stage.node.tpm)).unwrap();
    drop(enclave);
    let good = std::fs::read(stage.state()).unwrap();

    // Anybody can sign a manifest of their own that gives this TPM the other's name.
    let stranger = Person::new(66);
    let mut forged = stage.draft();
    forged.authority = fake::authority(1, &[&stranger]);
    forged.nodes[0].name = "node-2".to_owned();
    let forged = String::from_utf8(fake::signed(&forged, &[&stranger])).unwrap();
    edit(&stage, |state| {
        let mut slot = state["slots"][0].clone();
        slot["counter"] = json!(slot["counter"].as_u64().unwrap() + 100);
        slot["manifest"] = json!(forged);
        state["slots"].as_array_mut().unwrap().push(slot);
        state["node"] = json!("node-2");
    });
    let enclave = stage.start();
    let refusal = stage.unlock(&enclave).unwrap_err();
    assert_eq!(refusal.code(), RefusalCode::NotEnrolled, "{}", refusal.detail());
    assert!(refusal.detail().contains("another TPM"), "{}", refusal.detail());
    assert_eq!(enclave.status().phase, Phase::Locked);
    drop(enclave);

    std::fs::write(stage.state(), good).unwrap();
    stage.unlock(&stage.start()).unwrap();
}

#[test]
fn a_provisioning_whose_answer_was_lost_at_any_command_can_be_repeated() {
    for lost in 0.. {
        let stage = Stage::new();
        let enclave = stage.start();
        let mut at = 0;
        let mut relay = TapRelay::new(&stage.node.tpm, |tpm, command, _| {
            let answer = tpm.execute(command);
            at += 1;
            if at == lost + 1 {
                return Err(RelayError::Unreachable { reason: "the answer was lost".to_owned() });
            }
            Ok(answer)
        });
        let done = stage.provision(&enclave, &mut relay).is_ok();
        drop(relay);
        stage.node.tpm.flush_everything();
        if !done {
            let status = stage.provision(&enclave, &mut TapRelay::honest(&stage.node.tpm));
            let status = status.unwrap_or_else(|refusal| panic!("command {lost}: {refusal:?}"));
            assert_eq!(status.phase, Phase::Unlocked, "command {lost}");
        }
        drop(enclave);
        stage.unlock(&stage.start()).unwrap();
        if at <= lost {
            break;
        }
    }
}

#[test]
fn an_index_that_somebody_else_holds_is_told_and_another_one_can_be_configured() {
    let stage = Stage::new();
    // Somebody's counter, under an auth value that is not this enclave's.
    let _ = stage.node.provision();
    let enclave = stage.start();
    let mut relay = TapRelay::honest(&stage.node.tpm);
    assert!(stage.provision(&enclave, &mut relay).is_err());
    assert!(stage.provision(&enclave, &mut relay).is_err());
    drop(enclave);
    let enclave = stage.start_at(COUNTER + 1);
    stage.provision(&enclave, &mut relay).unwrap();
}

#[test]
fn two_enclaves_on_one_counter_do_not_lose_the_blob_in_force() {
    let stage = Stage::new();
    drop(stage.provisioned());
    // One file has one enclave, so the second has a copy.
    let copy = stage.folder.path().join("copy");
    let copied = || {
        std::fs::copy(stage.state(), &copy).unwrap();
        stage.start_on(&copy, COUNTER)
    };
    let (first, second) = (stage.start(), copied());
    stage.unlock(&first).unwrap();
    // The second has an older idea of the state, which the first's unlock made stale.
    assert_eq!(stage.unlock(&second).unwrap_err().code(), RefusalCode::SealRollback);
    drop(second);
    let second = copied();
    stage.unlock(&second).unwrap();

    let manifest = VerifiedManifest::danger_trust_as_given(&stage.sign(&stage.draft())).unwrap();
    first.upload(0, &stage.sign(&fake::next(manifest.manifest()))).unwrap();
    let mut relay = TapRelay::honest(&stage.node.tpm);
    let refusal = first.apply_manifest(&hints(), &mut relay).unwrap_err();
    assert_eq!(refusal.code(), RefusalCode::SealRollback, "{}", refusal.detail());
    assert_eq!(relay.commands(TpmCc::NvIncrement), 0);
    drop(second);
    stage.unlock(&stage.start_on(&copy, COUNTER)).unwrap();
}

#[test]
fn an_enclave_that_was_told_to_end_during_a_ceremony_stays_wiped() {
    let stage = Stage::new();
    drop(stage.provisioned());
    let enclave = stage.start();
    let mut counted = false;
    let mut relay = TapRelay::new(&stage.node.tpm, |tpm, command, _| {
        if is(command, TpmCc::NvIncrement) {
            counted = true;
        } else if counted {
            // Its last words with the TPM: the new blob is already in force.
            enclave.end();
        }
        Ok(tpm.execute(command))
    });
    let refusal = enclave.unlock(&hints(), &mut relay).unwrap_err();
    drop(relay);
    assert_eq!(refusal.code(), RefusalCode::ShuttingDown, "{}", refusal.detail());
    assert_eq!(sign(&enclave).unwrap_err().code(), RefusalCode::ShuttingDown);
    drop(enclave);
    stage.unlock(&stage.start()).unwrap();
}

#[test]
fn every_kind_of_endorsement_key_may_be_enrolled() {
    for kind in [EkKind::Rsa2048, EkKind::P384] {
        let mut stage = Stage::new();
        stage.node.tpm.evict(EK_HANDLE);
        stage.node.ek = stage.node.tpm.persistent_ek(kind);
        stage.provisioned();
        stage.unlock(&stage.start()).unwrap();
    }
}
