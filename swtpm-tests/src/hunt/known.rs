//! What the hunter knows as the rightful holder of the TPM and of the enclave's folder.

use sealstone_attestation::VerifiedManifest;
use sealstone_enclave::credential::Credential;
use sealstone_enclave::secret;
use sealstone_enclave::state_file::StateFile;
use sealstone_enclave::tpm::{Ceremony, PcrState, Relay, RelayError, SealPolicy};
use sealstone_wire::channel::{ChannelKey, read_secret};

use crate::node::NAME;
use crate::{Node, Swtpm};

/// The secrets from which all others follow.
#[allow(missing_debug_implementations, reason = "holds the root")]
pub struct Known {
    /// The root.
    pub root: [u8; 32],
    /// Of the report key.
    pub report_seed: [u8; 32],
    /// Its public half, as the enclave tells it.
    pub report_public: Vec<u8>,
    /// Public half of the root's check key.
    pub check_public: Vec<u8>,
    /// The enclave user's own secret.
    pub credential: [u8; 32],
    /// The enclave's static X25519 secret.
    pub channel_key: [u8; 32],
    /// The agent's public key.
    pub agent_public: [u8; 32],
}

impl Known {
    /// Unseals, without raising the counter. The TPM is rebooted first, into the same state: what agent and enclave
    /// left in it would be in the way.
    ///
    /// # Panics
    /// When any step fails.
    #[must_use]
    pub fn unsealed(node: &mut Node, report_public: &[u8]) -> Self {
        node.reboot_machine();
        let file = StateFile::open(&node.path("enclave.state")).expect("the enclave has ended");
        let state = file.load().expect("the state file is readable").expect("the node was provisioned");
        let path = node.path("enclave.credential");
        let credential = Credential::load_or_create(&path).expect("the credential is readable");
        let (seal_auth, counter_auth) = (credential.seal_auth(), credential.counter_auth());

        let newest = state.slots.last().expect("the node was provisioned");
        let newest = VerifiedManifest::danger_trust_as_given(newest.manifest.as_bytes()).expect("a manifest");
        let ek = newest.manifest().node_by_name(NAME).expect("it enrols the node").ek().clone();
        let mut wire = Wire(&node.tpm);
        let mut tpm = Ceremony::open(&mut wire, &ek, None).expect("the TPM is the enrolled one");
        let counter = tpm.read_counter(state.nv_index, &counter_auth).expect("the counter is there");
        let slot = state.slots.iter().find(|slot| slot.counter == counter).expect("the blob in force");
        let manifest = VerifiedManifest::danger_trust_as_given(slot.manifest.as_bytes()).expect("a manifest");
        let states = manifest.manifest().active_states();
        let states =
            states.map(|state| PcrState { bank: state.bank(), pcrs: state.pcrs().clone() }).collect();
        let policy = SealPolicy { states, counter_index: state.nv_index, counter_value: counter };
        let payload = tpm.unseal(&slot.blob, &policy, &seal_auth, &counter_auth).expect("the TPM unseals");

        // root ‖ authority digest ‖ least manifest version ‖ report key seed
        assert_eq!(payload.len(), 32 + 32 + 8 + 32, "the payload has another layout");
        let (mut root, mut report_seed) = ([0; 32], [0; 32]);
        secret::run(|inside| {
            let payload = payload.expose(inside);
            root.copy_from_slice(&payload[..32]);
            report_seed.copy_from_slice(&payload[72..]);
        });
        let mut channel_key = [0; 32];
        read_secret(&node.path("enclave.key"), &mut channel_key).expect("the channel key is readable");
        let agent = ChannelKey::from_file(&node.path("agent.key")).expect("the agent's key is readable");
        let text = std::fs::read_to_string(&path).expect("the credential is readable");
        Self {
            root,
            report_seed,
            report_public: report_public.to_vec(),
            check_public: state.check.expect("the node was provisioned").as_bytes().to_vec(),
            credential: hex::decode(text.trim()).expect("hex").try_into().expect("32 bytes"),
            channel_key,
            agent_public: *agent.public().as_bytes(),
        }
    }
}

/// The TPM's own socket: nobody in between.
struct Wire<'t>(&'t Swtpm);

impl Relay for Wire<'_> {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, RelayError> {
        self.0.transmit(command).map_err(|error| RelayError::Unreachable { reason: error.to_string() })
    }
}
