//! A machine with a TPM, its enrolled endorsement key, and a secret sealed in it.

use sealstone_attestation::{PcrBank, PublicArea};
use sealstone_enclave::secret::{self, SecretBytes};
use sealstone_enclave::tpm::{AuthValue, Ceremony, PcrState, SealPolicy, SealedBlob, TpmError};
use tpm2_protocol::TpmUnmarshal;
use tpm2_protocol::data::{Tpm2bPrivate, Tpm2bPublic, TpmRh, TpmtPublic};
use tpm2_protocol::frame::{TpmLoadCommand, TpmLoadResponse};

use super::commands::{handle, password};
use super::keys::{EK_HANDLE, EkKind, storage_key};
use super::relay::TapRelay;
use super::swtpm::Swtpm;

/// The counter's NV index.
pub const COUNTER: u32 = 0x0185_ea15;
/// The PCRs of the machine's states.
pub const PCRS: [u8; 3] = [0, 7, 11];
pub const SECRET: [u8; 128] = *b"a secret of exactly as many bytes as a TPM seals, recognisable wherever it should not be seen: 0123456789abcdefghijklmnopqrstuvw";
/// The second ends with a zero, which the TPM strips.
pub const SEAL_AUTH: [u8; 32] = *b"the auth value of a sealed thing";
pub const COUNTER_AUTH: [u8; 32] = *b"the auth value of the counter..\0";

pub fn auth(value: [u8; 32]) -> AuthValue {
    secret::run(|inside| AuthValue::filled(inside, |auth| *auth = value))
}

/// The known bytes as a secret.
pub fn secret(bytes: &[u8]) -> SecretBytes {
    secret::run(|inside| SecretBytes::new(inside, bytes.to_vec()))
}

/// A secret as bytes that a test may look at.
pub fn plain(secret: &SecretBytes) -> Vec<u8> {
    let mut plain = vec![0; secret.len()];
    secret::run(|inside| plain.copy_from_slice(secret.expose(inside)));
    plain
}

pub fn seal_auth() -> AuthValue {
    auth(SEAL_AUTH)
}

pub fn counter_auth() -> AuthValue {
    auth(COUNTER_AUTH)
}

pub struct Node {
    pub tpm: Swtpm,
    pub ek: PublicArea,
}

/// What a node that was provisioned has.
pub struct Sealed {
    pub policy: SealPolicy,
    pub blob: SealedBlob,
}

impl Node {
    /// With a persistent P-256 endorsement key.
    pub fn start() -> Self {
        let tpm = Swtpm::start();
        let ek = tpm.persistent_ek(EkKind::P256);
        Self { tpm, ek }
    }

    pub fn open<'r>(&self, relay: &'r mut TapRelay<'_>) -> Result<Ceremony<'r>, TpmError> {
        Ceremony::open(relay, &self.ek, Some(EK_HANDLE))
    }

    /// The machine's current state.
    pub fn state(&self) -> PcrState {
        PcrState { bank: PcrBank::Sha256, pcrs: self.tpm.pcrs(PcrBank::Sha256, &PCRS) }
    }

    /// `count` states, of which the machine is in the one at `current` and in no other.
    pub fn states(&self, count: u8, current: u8) -> Vec<PcrState> {
        let other = |number: u8| {
            let mut state = self.state();
            state.pcrs.values_mut().for_each(|value| value.fill(number + 1));
            state
        };
        (0..count).map(|number| if number == current { self.state() } else { other(number) }).collect()
    }

    /// The policy of the current state at this counter value.
    pub fn policy(&self, counter_value: u64) -> SealPolicy {
        SealPolicy { states: vec![self.state()], counter_index: COUNTER, counter_value }
    }

    /// Defines the counter and seals [`SECRET`] in the current state.
    pub fn provision(&self) -> Sealed {
        let mut relay = TapRelay::honest(&self.tpm);
        let mut ceremony = self.open(&mut relay).unwrap();
        let counter = ceremony.define_counter(COUNTER, &counter_auth()).unwrap();
        let policy = self.policy(counter);
        let blob = ceremony.seal(&policy, &seal_auth(), &secret(&SECRET)).unwrap();
        Sealed { policy, blob }
    }

    /// Opens a ceremony over this relay and unseals.
    pub fn unseal(&self, relay: &mut TapRelay<'_>, sealed: &Sealed) -> Result<Vec<u8>, TpmError> {
        let mut ceremony = self.open(relay)?;
        ceremony
            .unseal(&sealed.blob, &sealed.policy, &seal_auth(), &counter_auth())
            .map(|secret| plain(&secret))
    }

    /// Opens a ceremony over this relay and reads the counter.
    pub fn read_counter(&self, relay: &mut TapRelay<'_>) -> Result<u64, TpmError> {
        self.open(relay)?.read_counter(COUNTER, &counter_auth())
    }
}

impl Sealed {
    /// `public` and `private` of the blob, as whoever reads the state file has them.
    pub fn parts(&self) -> (Vec<u8>, Vec<u8>) {
        let json = serde_json::to_value(&self.blob).unwrap();
        let part = |name: &str| hex::decode(json[name].as_str().unwrap()).unwrap();
        (part("public"), part("private"))
    }

    /// Loads a blob as whoever reads the state file can: without any secret.
    pub fn load(&self, tpm: &Swtpm) -> u32 {
        let (public, private) = self.parts();
        let (parent, _) = tpm.create_primary(TpmRh::Owner, storage_key());
        let (inner, _) = TpmtPublic::unmarshal(&public).unwrap();
        let command = TpmLoadCommand {
            handles: [handle(parent)],
            in_private: Tpm2bPrivate::try_from(&private[..]).unwrap(),
            in_public: Tpm2bPublic { inner },
        };
        let loaded: TpmLoadResponse = tpm.run(&command, &[password(&[])]).unwrap();
        tpm.flush(parent);
        loaded.handles[0].value()
    }
}
