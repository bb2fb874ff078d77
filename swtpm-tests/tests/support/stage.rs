//! A node whose agent is the story: the real enclave, a TPM, and an authority of two out of three.

use std::collections::BTreeMap;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use sealstone_agent::config::tpm::{AkKind, EkKind, RelayAddress, Tcti, TpmConfig};
use sealstone_agent::tpm::{Selection, Tpm};
use sealstone_attestation::{
    Algorithm, AssetPermission, HexBytes, ManifestDraft, NodeDraft, PayloadKind, PcrBank, PcrIndex,
    PcrValues, Purpose, QuoteEvidence, Scope, SessionPermission, StateDraft, StateStatus, statement,
};
use sealstone_swtpm_tests::node::NAME;
use sealstone_swtpm_tests::process::binary;
use sealstone_swtpm_tests::{Node, Swtpm};
use sealstone_wire::address::Address;
use sealstone_wire::api::Enrolment;
use sealstone_wire::channel::{ChannelKey, ChannelPublic};
use sealstone_wire::client::Client;
use sealstone_wire::reply::{Refusal, Session};
use tokio::runtime::{Builder, Runtime};

use super::agent::{Agent, Challenge, provision, unlock};
use super::authority::Authority;

/// The PCRs of the stories' states.
pub const PCRS: std::ops::Range<u8> = 0..8;

/// The asset that may sign bare digests.
pub const BARE: &str = "bare";

pub struct Stage {
    pub node: Node,
    pub authority: Authority,
    witness: Witness,
}

/// Reads, enrols and quotes a TPM as an honest agent does.
pub struct Witness {
    tpm: Tpm,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl Witness {
    pub fn of(tpm: &Swtpm) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tcti = Tcti::from_str(&tpm.tcti()).unwrap();
        let config = TpmConfig {
            relay: RelayAddress::try_from(tcti.clone()).unwrap(),
            tcti,
            ek: EkKind::P256,
            ak: AkKind::P256,
            event_log: None,
            ima_log: None,
            enrolment: None,
            deadline: Duration::from_secs(60),
            state_dir: folder.path().to_owned(),
        };
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { tpm: Tpm::spawn(&config).unwrap(), runtime, _folder: folder }
    }

    pub fn enrolment(&self) -> Enrolment {
        self.runtime.block_on(self.tpm.enrolment()).unwrap()
    }

    pub fn pcrs(&self) -> PcrValues {
        self.runtime.block_on(self.tpm.pcrs_of(&selection(PCRS))).unwrap()
    }

    /// A quote over these PCRs.
    pub fn quote(&self, pcrs: impl IntoIterator<Item = u8>, qualifying: [u8; 32]) -> QuoteEvidence {
        self.runtime.block_on(self.tpm.quote(&selection(pcrs), qualifying)).unwrap()
    }
}

impl Stage {
    /// Nothing is provisioned; the enclave runs.
    pub fn new() -> Self {
        Self::by(&mut Command::new(binary("sealstone-enclave")))
    }

    /// The same with an enclave that a command becomes, to which its arguments are added.
    pub fn by(command: &mut Command) -> Self {
        Self::begin(Node::init(), command)
    }

    /// The same under strace, which takes the tracer's place.
    pub fn traced_by(command: &mut Command) -> Self {
        let node = Node::init();
        node.edit("enclave.toml", |text| text + "trace_guard = false\n");
        Self::begin(node, command)
    }

    fn begin(mut node: Node, command: &mut Command) -> Self {
        let authority = Authority::new(2, &[1, 2, 3]);
        node.edit("enclave.toml", |text| {
            let line = text.lines().find(|line| line.starts_with("authority = ")).unwrap();
            text.replace(line, &format!("authority = \"{}\"", authority.set().digest()))
        });
        node.start_enclave_by(command);
        let witness = Witness::of(&node.tpm);
        Self { node, authority, witness }
    }

    /// Provisioned under [`draft`](Self::draft), which is returned signed; the agent's connection is open.
    pub fn provisioned() -> (Self, Agent, Vec<u8>) {
        let stage = Self::new();
        let manifest = stage.authority.sign(&stage.draft());
        let mut agent = stage.connect();
        agent.upload(&manifest).unwrap();
        agent.honest(provision(), stage.tpm()).unwrap();
        (stage, agent, manifest)
    }

    pub fn tpm(&self) -> &Swtpm {
        &self.node.tpm
    }

    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// What an honest agent would propose: this machine in its current state, messages for tenant `acme`.
    pub fn draft(&self) -> ManifestDraft {
        let text = std::fs::read_to_string(self.node.path("manifest.json")).unwrap();
        let mut draft: ManifestDraft = serde_json::from_str(&text).unwrap();
        let acme = || Scope::from("acme");
        let algorithms = Algorithm::ALL.to_vec();
        let permit = |asset, kind| AssetPermission {
            tenant: acme(),
            asset,
            algorithms: algorithms.clone(),
            sign: vec![kind],
        };
        draft.authority = self.authority.set();
        draft.states = vec![state("boot-1", &self.witness.pcrs())];
        draft.nodes = vec![node(NAME, &self.witness.enrolment())];
        draft.permissions =
            vec![permit(Scope::Any, PayloadKind::Message), permit(Scope::from(BARE), PayloadKind::Digest)];
        draft.session_permissions = vec![SessionPermission {
            tenant: acme(),
            sender: Scope::Any,
            algorithms: algorithms.clone(),
            sign: vec![PayloadKind::Message],
        }];
        draft
    }

    /// The enclave's state file; empty as long as it holds no state.
    pub fn state_file(&self) -> Vec<u8> {
        std::fs::read(self.node.path("enclave.state")).unwrap()
    }

    /// How the enclave is reached.
    pub fn address(&self) -> Address {
        Address::Unix { path: self.node.path("enclave.sock") }
    }

    /// The enclave's public key.
    pub fn enclave_key(&self) -> ChannelPublic {
        ChannelKey::from_file(&self.node.path("enclave.key")).unwrap().public()
    }

    /// The key of the one agent that the enclave talks to.
    pub fn agent_key(&self) -> ChannelKey {
        ChannelKey::from_file(&self.node.path("agent.key")).unwrap()
    }

    pub fn connect(&self) -> Agent {
        Agent(Client::connect(&self.address(), &self.agent_key(), &self.enclave_key()).unwrap())
    }

    /// Ends the enclave as a crash would and starts it again.
    pub fn restart_enclave(&mut self) -> Agent {
        self.node.kill_enclave();
        self.node.start_enclave();
        self.connect()
    }

    /// The same, then unlocks honestly.
    pub fn reopened(&mut self) -> Agent {
        let mut agent = self.restart_enclave();
        agent.honest(unlock(), self.tpm()).unwrap();
        agent
    }

    /// A quote that answers a challenge for this purpose.
    pub fn quote(&self, purpose: Purpose, challenge: &Challenge) -> QuoteEvidence {
        self.witness.quote(PCRS, qualifying(purpose, challenge))
    }

    /// Opens a session honestly.
    pub fn attest(&self, agent: &mut Agent) -> Result<Session, Refusal> {
        let challenge = agent.challenge()?;
        agent.attest(self.quote(Purpose::Session, &challenge))
    }

    /// What the enclave has written about itself.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.node.path("enclave.log")).unwrap()
    }
}

/// What a quote for this purpose must bind, without a checkpoint.
pub fn qualifying(purpose: Purpose, challenge: &Challenge) -> [u8; 32] {
    qualifying_with(purpose, challenge, b"")
}

/// The same with a checkpoint.
pub fn qualifying_with(purpose: Purpose, challenge: &Challenge, checkpoint: &[u8]) -> [u8; 32] {
    let report = &challenge.report;
    let (digest, manifest) = (report.digest(), report.report().manifest);
    *statement(purpose, &challenge.nonce, digest, manifest, checkpoint).unwrap().as_bytes()
}

/// An active state with these values.
pub fn state(name: &str, values: &PcrValues) -> StateDraft {
    let value = |pcr: PcrIndex| HexBytes(values.get(PcrBank::Sha256, pcr).unwrap().to_vec());
    let pcrs: BTreeMap<_, _> = PCRS.map(index).map(|pcr| (pcr, value(pcr))).collect();
    StateDraft {
        name: name.to_owned(),
        status: StateStatus::Active,
        bank: PcrBank::Sha256,
        pcrs,
        transit_key_id: String::new(),
    }
}

/// A node with these keys.
pub fn node(name: &str, enrolment: &Enrolment) -> NodeDraft {
    NodeDraft { name: name.to_owned(), ek: enrolment.ek.clone(), ak: enrolment.ak.clone(), firmware: None }
}

pub fn index(pcr: u8) -> PcrIndex {
    PcrIndex::new(pcr).unwrap()
}

fn selection(pcrs: impl IntoIterator<Item = u8>) -> Selection {
    [(PcrBank::Sha256, pcrs.into_iter().map(index).collect())].into()
}
