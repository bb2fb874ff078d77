//! Stories of ceremonies with a real TPM behind an honest relay.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use sealstone_attestation::{PcrBank, PcrIndex};
use sealstone_enclave::secret::{self, Secret};
use sealstone_enclave::tpm::{
    Ceremony, PcrState, PolicyError, RANDOM_LEN, SECRET_MAX, STATES_MAX, SealPolicy, SealedBlob, TpmError,
};
use sha2::{Digest, Sha256};
use support::commands::{handle, is, password, selection};
use support::keys::{EK_HANDLE, EkKind};
use support::node::{
    COUNTER, COUNTER_AUTH, Node, PCRS, SEAL_AUTH, SECRET, Sealed, auth, counter_auth, plain, seal_auth,
    secret,
};
use support::relay::TapRelay;
use support::swtpm::Swtpm;
use tpm2_protocol::basic::TpmUint16;
use tpm2_protocol::data::{
    Tpm2bAuth, Tpm2bDigest, Tpm2bMaxBuffer, Tpm2bNvPublic, TpmAlgId, TpmCc, TpmEo, TpmRh, TpmSe, TpmaNv,
    TpmlDigest, TpmlPcrSelection, TpmsNvPublic,
};
use tpm2_protocol::frame::{
    TpmClearCommand, TpmClearResponse, TpmNvDefineSpaceCommand, TpmNvDefineSpaceResponse,
    TpmPolicyAuthValueCommand, TpmPolicyAuthValueResponse, TpmPolicyGetDigestCommand,
    TpmPolicyGetDigestResponse, TpmPolicyNvCommand, TpmPolicyNvResponse, TpmPolicyOrCommand,
    TpmPolicyOrResponse, TpmPolicyPcrCommand, TpmPolicyPcrResponse, TpmPolicyRestartCommand,
    TpmPolicyRestartResponse,
};

#[test]
fn what_was_sealed_for_any_number_of_states_opens_in_the_current_one_and_is_resealed() {
    let node = Node::start();
    let mut relay = TapRelay::honest(&node.tpm);
    let mut ceremony = node.open(&mut relay).unwrap();
    let mut counter = ceremony.define_counter(COUNTER, &counter_auth()).unwrap();
    let mut stale: Option<(SealPolicy, SealedBlob)> = None;

    for (count, current) in [(1, 0), (3, 1), (8, 7), (9, 8), (9, 0), (20, 10), (64, 63)] {
        let counter_value = counter + 1;
        let policy =
            SealPolicy { states: node.states(count, current), counter_index: COUNTER, counter_value };
        let blob = ceremony.seal(&policy, &seal_auth(), &secret(&SECRET)).unwrap();
        // Sealed for the next value: shut until the counter has it.
        let early = ceremony.unseal(&blob, &policy, &seal_auth(), &counter_auth()).err().unwrap();
        assert_eq!(early, TpmError::CounterMismatch { expected: counter_value, found: counter });

        assert_eq!(ceremony.increment_counter(COUNTER, &counter_auth()).unwrap(), counter_value);
        counter = counter_value;
        let opened = ceremony.unseal(&blob, &policy, &seal_auth(), &counter_auth()).unwrap();
        assert_eq!(plain(&opened), SECRET, "{count} states");
        if let Some((policy, blob)) = stale.replace((policy, blob)) {
            let late = ceremony.unseal(&blob, &policy, &seal_auth(), &counter_auth()).err().unwrap();
            assert_eq!(late, TpmError::CounterMismatch { expected: counter - 1, found: counter });
        }
    }
}

#[test]
fn every_kind_of_endorsement_key_carries_a_ceremony_persistent_or_made_anew() {
    for kind in [EkKind::Rsa2048, EkKind::P256, EkKind::P384] {
        let node = Node { tpm: Swtpm::start(), ek: Swtpm::start().ek(EkKind::P256) };
        let node = Node { ek: node.tpm.ek(kind), ..node };
        let sealed = {
            let mut relay = TapRelay::honest(&node.tpm);
            let mut ceremony = Ceremony::open(&mut relay, &node.ek, None).unwrap();
            let counter = ceremony.define_counter(COUNTER, &counter_auth()).unwrap();
            let policy = node.policy(counter);
            let blob = ceremony.seal(&policy, &seal_auth(), &secret(&SECRET)).unwrap();
            Sealed { policy, blob }
        };
        // Nothing is at the hinted handle yet; then another key; then the key.
        assert_eq!(node.unseal(&mut TapRelay::honest(&node.tpm), &sealed).unwrap(), SECRET, "{kind:?}");
        let other = if kind == EkKind::P256 { EkKind::P384 } else { EkKind::P256 };
        node.tpm.persistent_ek(other);
        assert_eq!(node.unseal(&mut TapRelay::honest(&node.tpm), &sealed).unwrap(), SECRET, "{kind:?}");
        node.tpm.evict(EK_HANDLE);
        node.tpm.persistent_ek(kind);
        let mut relay = TapRelay::honest(&node.tpm);
        assert_eq!(node.unseal(&mut relay, &sealed).unwrap(), SECRET, "{kind:?}");
        assert_eq!(relay.commands(TpmCc::CreatePrimary), 1, "only the storage key is made: {kind:?}");
    }
}

#[test]
fn sessions_verify_whatever_zeros_lead_the_coordinates_and_nonces() {
    // One coordinate in 256 begins with a zero; 1,200 salts have every kind of them, almost for certain.
    let node = Node::start();
    for ceremony in 0..600 {
        let mut relay = TapRelay::honest(&node.tpm);
        let opened = node.open(&mut relay);
        assert!(opened.is_ok(), "ceremony {ceremony}: {:?}", opened.err());
    }
}

#[test]
fn neither_secret_nor_auth_value_crosses_the_relay() {
    let node = Node::start();
    let mut relay = TapRelay::honest(&node.tpm);
    let random;
    {
        let mut ceremony = node.open(&mut relay).unwrap();
        let counter = ceremony.define_counter(COUNTER, &counter_auth()).unwrap();
        let policy = node.policy(counter);
        let blob = ceremony.seal(&policy, &seal_auth(), &secret(&SECRET)).unwrap();
        assert_eq!(plain(&ceremony.unseal(&blob, &policy, &seal_auth(), &counter_auth()).unwrap()), SECRET);
        random = exposed(&ceremony.random().unwrap());
        ceremony.increment_counter(COUNTER, &counter_auth()).unwrap();
    }
    let secrets = [&SECRET[..], &SEAL_AUTH, &COUNTER_AUTH, &random];
    for part in secrets.into_iter().flat_map(|secret| secret.chunks_exact(8)) {
        assert!(!relay.saw(part), "seen: {part:?}");
    }
    // The tap does see what is in the clear.
    assert!(relay.saw(&COUNTER.to_be_bytes()));
}

#[test]
fn a_ceremony_leaves_nothing_in_the_tpm_however_it_ends() {
    let node = Node::start();
    let sealed = node.provision();
    // Transient objects, loaded sessions, saved sessions.
    let left = || {
        let kinds = [0x8000_0000, 0x0200_0000, 0x0300_0000];
        kinds.into_iter().flat_map(|kind| node.tpm.handles_from(kind)).collect::<Vec<u32>>()
    };
    assert!(left().is_empty(), "after provisioning");
    node.unseal(&mut TapRelay::honest(&node.tpm), &sealed).unwrap();
    assert!(left().is_empty(), "after unsealing");
    node.tpm.extend_pcr(7);
    node.unseal(&mut TapRelay::honest(&node.tpm), &sealed).unwrap_err();
    assert!(left().is_empty(), "after a refusal");
}

#[test]
fn one_ceremony_survives_more_refusals_than_the_tpm_has_slots() {
    let node = Node::start();
    let sealed = node.provision();
    let mut relay = TapRelay::honest(&node.tpm);
    let mut ceremony = node.open(&mut relay).unwrap();
    let wrong = auth([1; 32]);
    for _ in 0..5 {
        let error = ceremony.unseal(&sealed.blob, &sealed.policy, &wrong, &counter_auth()).err().unwrap();
        assert!(matches!(error, TpmError::Rc { command: TpmCc::Unseal, .. }), "{error:?}");
    }
    let opened = ceremony.unseal(&sealed.blob, &sealed.policy, &seal_auth(), &counter_auth()).unwrap();
    assert_eq!(plain(&opened), SECRET);
}

#[test]
fn a_machine_in_another_state_is_told_which_pcr_differs_and_gets_nothing() {
    let node = Node::start();
    let sealed = node.provision();
    node.tpm.extend_pcr(7);
    let error = node.unseal(&mut TapRelay::honest(&node.tpm), &sealed).unwrap_err();
    let differing = vec![(PcrBank::Sha256, PcrIndex::new(7).unwrap())];
    assert_eq!(error, TpmError::PcrMismatch { states: 1, differing });
    assert!(error.to_string().contains("sha256:7"), "{error}");

    let mut relay = TapRelay::honest(&node.tpm);
    let mut ceremony = node.open(&mut relay).unwrap();
    assert!(matches!(ceremony.require_state(&sealed.policy), Err(TpmError::PcrMismatch { .. })));
    assert_eq!(ceremony.require_state(&node.policy(0)), Ok(0));
}

#[test]
fn a_pcr_that_changes_between_policy_and_unseal_shuts_the_seal() {
    let node = Node::start();
    let sealed = node.provision();
    let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
        if is(command, TpmCc::Unseal) {
            tpm.extend_pcr(0);
        }
        Ok(tpm.execute(command))
    });
    let error = node.unseal(&mut relay, &sealed).unwrap_err();
    assert!(matches!(error, TpmError::Rc { command: TpmCc::Unseal, code: 0x128 }), "{error:?}");
}

#[test]
fn pcrs_are_read_from_every_bank_and_those_of_a_bank_that_the_tpm_does_not_keep_are_missing() {
    let node = Node::start();
    node.tpm.extend_pcr(11);
    let all: BTreeSet<PcrIndex> = (0..24).map(|pcr| PcrIndex::new(pcr).unwrap()).collect();
    let wanted = BTreeMap::from([(PcrBank::Sha256, all.clone()), (PcrBank::Sha384, all)]);
    let read = || {
        let mut relay = TapRelay::honest(&node.tpm);
        node.open(&mut relay).unwrap().read_pcrs(&wanted).unwrap()
    };
    let values = read();
    assert_eq!(values.len(), 48);
    for (bank, pcr, value) in values.iter() {
        assert_eq!(value, node.tpm.pcr(bank, pcr.get()), "{bank}:{pcr}");
    }

    node.tpm.keep_only(PcrBank::Sha256);
    let values = read();
    assert_eq!(values.len(), 24);
    assert!(values.iter().all(|(bank, ..)| bank == PcrBank::Sha256));
    let pcr = PcrIndex::new(0).unwrap();
    let gone = PcrState { bank: PcrBank::Sha384, pcrs: BTreeMap::from([(pcr, vec![0; 48])]) };
    let policy = SealPolicy { states: vec![gone], ..node.policy(1) };
    let mut relay = TapRelay::honest(&node.tpm);
    let refused = node.open(&mut relay).unwrap().require_state(&policy);
    let differing = vec![(PcrBank::Sha384, pcr)];
    assert_eq!(refused, Err(TpmError::PcrMismatch { states: 1, differing }));
}

#[test]
fn a_tpm_that_restarts_ends_the_ceremony_and_the_next_one_unseals() {
    let node = Node::start();
    let sealed = node.provision();
    let mut relay = TapRelay::honest(&node.tpm);
    let mut ceremony = node.open(&mut relay).unwrap();
    node.tpm.restart();
    let ended = ceremony.unseal(&sealed.blob, &sealed.policy, &seal_auth(), &counter_auth()).err().unwrap();
    assert!(matches!(ended, TpmError::Rc { .. }), "{ended:?}");
    drop(ceremony);
    assert_eq!(node.unseal(&mut TapRelay::honest(&node.tpm), &sealed).unwrap(), SECRET);
}

#[test]
fn the_policy_digest_is_the_one_that_the_tpm_computes() {
    let node = Node::start();
    let counter_value = node.provision().policy.counter_value;
    for count in [1, 2, 3, 8, 9, 16, 17, 20, 64] {
        let policy = SealPolicy { states: node.states(count, 0), counter_index: COUNTER, counter_value };
        assert_eq!(policy.digest().unwrap(), trial(&node.tpm, &policy)[..], "{count} states");
    }
    let sha384 = PcrState { bank: PcrBank::Sha384, pcrs: node.tpm.pcrs(PcrBank::Sha384, &[0, 8, 23]) };
    let states = vec![node.state(), sha384];
    let policy = SealPolicy { states, counter_index: COUNTER, counter_value };
    assert_eq!(policy.digest().unwrap(), trial(&node.tpm, &policy)[..], "two banks");
}

/// The policy's digest as the TPM computes it in a trial session.
fn trial(tpm: &Swtpm, policy: &SealPolicy) -> Vec<u8> {
    let session = tpm.start_session(TpmSe::Trial);
    let digest = || {
        let command = TpmPolicyGetDigestCommand { handles: [handle(session)] };
        tpm.run::<_, TpmPolicyGetDigestResponse>(&command, &[]).unwrap().policy_digest
    };
    let or = |branches: &[Tpm2bDigest]| {
        let mut p_hash_list = TpmlDigest::new();
        branches.iter().for_each(|branch| p_hash_list.try_push(*branch).unwrap());
        let command = TpmPolicyOrCommand { handles: [handle(session)], p_hash_list };
        tpm.run::<_, TpmPolicyOrResponse>(&command, &[]).unwrap();
        digest()
    };
    let mut level: Vec<Tpm2bDigest> = policy
        .states
        .iter()
        .map(|state| {
            let command = TpmPolicyRestartCommand { handles: [handle(session)] };
            tpm.run::<_, TpmPolicyRestartResponse>(&command, &[]).unwrap();
            let (pcr_digest, pcrs) = expected_pcrs(state);
            let command = TpmPolicyPcrCommand { handles: [handle(session)], pcr_digest, pcrs };
            tpm.run::<_, TpmPolicyPcrResponse>(&command, &[]).unwrap();
            digest()
        })
        .collect();
    while level.len() > 1 {
        level = level.chunks(8).map(|group| if let [alone] = group { *alone } else { or(group) }).collect();
    }
    let command = TpmPolicyNvCommand {
        handles: [handle(COUNTER), handle(COUNTER), handle(session)],
        operand_b: Tpm2bMaxBuffer::try_from(&policy.counter_value.to_be_bytes()[..]).unwrap(),
        offset: TpmUint16::new(0),
        operation: TpmEo::Eq,
    };
    tpm.run::<_, TpmPolicyNvResponse>(&command, &[password(&COUNTER_AUTH[..31])]).unwrap();
    let command = TpmPolicyAuthValueCommand { handles: [handle(session)] };
    tpm.run::<_, TpmPolicyAuthValueResponse>(&command, &[]).unwrap();
    let result = digest().to_vec();
    tpm.flush(session);
    result
}

fn expected_pcrs(state: &PcrState) -> (Tpm2bDigest, TpmlPcrSelection) {
    let values: Vec<u8> = state.pcrs.values().flatten().copied().collect();
    let pcrs: Vec<u8> = state.pcrs.keys().map(|pcr| pcr.get()).collect();
    (Tpm2bDigest::try_from(&Sha256::digest(values)[..]).unwrap(), selection(state.bank, &pcrs))
}

#[test]
fn the_counter_is_missing_defined_once_read_and_incremented() {
    let node = Node::start();
    let mut relay = TapRelay::honest(&node.tpm);
    let mut ceremony = node.open(&mut relay).unwrap();
    assert_eq!(
        ceremony.read_counter(COUNTER, &counter_auth()),
        Err(TpmError::CounterMissing { index: COUNTER })
    );
    let first = ceremony.define_counter(COUNTER, &counter_auth()).unwrap();
    assert_eq!(ceremony.read_counter(COUNTER, &counter_auth()), Ok(first));
    assert_eq!(ceremony.increment_counter(COUNTER, &counter_auth()), Ok(first + 1));
    assert_eq!(
        ceremony.define_counter(COUNTER, &counter_auth()),
        Err(TpmError::CounterExists { index: COUNTER })
    );
    assert_eq!(ceremony.read_counter(COUNTER, &counter_auth()), Ok(first + 1));
    // Its neighbours are not it.
    let next = COUNTER + 1;
    assert_eq!(ceremony.read_counter(next, &counter_auth()), Err(TpmError::CounterMissing { index: next }));
    let before = COUNTER - 1;
    assert_eq!(
        ceremony.read_counter(before, &counter_auth()),
        Err(TpmError::CounterMissing { index: before })
    );
}

#[test]
fn a_counter_whose_definition_was_cut_off_is_finished() {
    let node = Node::start();
    define(&node.tpm, COUNTER, &COUNTER_AUTH[..31], TpmaNv::COUNTER);
    let mut relay = TapRelay::honest(&node.tpm);
    let mut ceremony = node.open(&mut relay).unwrap();
    assert_eq!(
        ceremony.read_counter(COUNTER, &counter_auth()),
        Err(TpmError::CounterMissing { index: COUNTER })
    );
    let value = ceremony.define_counter(COUNTER, &counter_auth()).unwrap();
    assert_eq!(ceremony.read_counter(COUNTER, &counter_auth()), Ok(value));
}

#[test]
fn an_index_that_is_not_the_enclaves_counter_is_never_taken_for_it() {
    let node = Node::start();
    define(&node.tpm, COUNTER, b"foreign", TpmaNv::COUNTER);
    define(&node.tpm, COUNTER + 1, &COUNTER_AUTH[..31], TpmaNv::empty());
    let mut relay = TapRelay::honest(&node.tpm);
    let mut ceremony = node.open(&mut relay).unwrap();
    for index in [COUNTER, COUNTER + 1] {
        let defined = ceremony.define_counter(index, &counter_auth());
        assert_eq!(defined, Err(TpmError::CounterExists { index }));
    }
    let read = ceremony.read_counter(COUNTER + 1, &counter_auth());
    assert!(matches!(read, Err(TpmError::Rc { .. })), "{read:?}");
}

fn define(tpm: &Swtpm, index: u32, auth: &[u8], kind: TpmaNv) {
    let inner = TpmsNvPublic {
        nv_index: handle(index),
        name_alg: TpmAlgId::Sha256,
        attributes: kind | TpmaNv::AUTHREAD | TpmaNv::AUTHWRITE | TpmaNv::NO_DA,
        auth_policy: Tpm2bDigest::default(),
        data_size: TpmUint16::new(8),
    };
    let command = TpmNvDefineSpaceCommand {
        handles: [handle(TpmRh::Owner.value())],
        auth: Tpm2bAuth::try_from(auth).unwrap(),
        public_info: Tpm2bNvPublic { inner },
    };
    tpm.run::<_, TpmNvDefineSpaceResponse>(&command, &[password(&[])]).unwrap();
}

#[test]
fn a_blob_opens_only_under_its_own_policy_and_auth_values() {
    let node = Node::start();
    let Sealed { policy, blob } = node.provision();
    let mut relay = TapRelay::honest(&node.tpm);
    let mut ceremony = node.open(&mut relay).unwrap();
    let wrong = auth([1; 32]);

    let other_value = SealPolicy { counter_value: policy.counter_value + 1, ..policy.clone() };
    let other_index = SealPolicy { counter_index: COUNTER + 1, ..policy.clone() };
    let other_states = SealPolicy { states: node.states(2, 0), ..policy.clone() };
    for other in [other_value, other_index, other_states] {
        let refused = ceremony.unseal(&blob, &other, &seal_auth(), &counter_auth());
        assert_eq!(refused.err().unwrap(), TpmError::OtherPolicy);
    }
    let refused = ceremony.unseal(&blob, &policy, &wrong, &counter_auth()).err().unwrap();
    assert!(matches!(refused, TpmError::Rc { command: TpmCc::Unseal, .. }), "{refused:?}");
    let refused = ceremony.unseal(&blob, &policy, &seal_auth(), &wrong).err().unwrap();
    assert!(matches!(refused, TpmError::Rc { .. }), "{refused:?}");
    assert_eq!(plain(&ceremony.unseal(&blob, &policy, &seal_auth(), &counter_auth()).unwrap()), SECRET);
}

#[test]
fn a_blob_with_any_byte_altered_does_not_open() {
    let node = Node::start();
    let Sealed { policy, blob } = node.provision();
    let mut relay = TapRelay::honest(&node.tpm);
    let mut ceremony = node.open(&mut relay).unwrap();
    let json = serde_json::to_value(&blob).unwrap();
    for part in ["public", "private", "parent"] {
        let whole = hex::decode(json[part].as_str().unwrap()).unwrap();
        for position in 0..whole.len() {
            let mut altered = whole.clone();
            altered[position] ^= 1 << (position % 8);
            let mut json = json.clone();
            json[part] = hex::encode(altered).into();
            let blob: SealedBlob = serde_json::from_value(json).unwrap();
            let opened = ceremony.unseal(&blob, &policy, &seal_auth(), &counter_auth());
            assert!(opened.is_err(), "byte {position} of {part}");
        }
    }
    for part in ["public", "private", "parent"] {
        let mut json = json.clone();
        json[part] = "".into();
        let blob: SealedBlob = serde_json::from_value(json).unwrap();
        assert!(ceremony.unseal(&blob, &policy, &seal_auth(), &counter_auth()).is_err(), "no {part}");
    }
    assert_eq!(plain(&ceremony.unseal(&blob, &policy, &seal_auth(), &counter_auth()).unwrap()), SECRET);
}

#[test]
fn blobs_are_the_same_in_json_and_in_postcard() {
    let node = Node::start();
    let blob = node.provision().blob;
    let json = serde_json::to_string(&blob).unwrap();
    assert_eq!(serde_json::from_str::<SealedBlob>(&json).unwrap(), blob);
    let bytes = postcard::to_stdvec(&blob).unwrap();
    assert_eq!(postcard::from_bytes::<SealedBlob>(&bytes).unwrap(), blob);
}

#[test]
fn a_cleared_tpm_is_told_apart_from_an_altered_blob() {
    let node = Node::start();
    let sealed = node.provision();
    let command = TpmClearCommand { handles: [handle(TpmRh::Platform.value())] };
    node.tpm.run::<_, TpmClearResponse>(&command, &[password(&[])]).unwrap();
    // The endorsement seed outlives a clear, its persistent key too or not; the owner's seed does not.
    let mut relay = TapRelay::honest(&node.tpm);
    let mut ceremony = node.open(&mut relay).unwrap();
    let refused = ceremony.unseal(&sealed.blob, &sealed.policy, &seal_auth(), &counter_auth());
    assert_eq!(refused.err().unwrap(), TpmError::OtherParent);
    assert_eq!(
        ceremony.read_counter(COUNTER, &counter_auth()),
        Err(TpmError::CounterMissing { index: COUNTER })
    );
}

#[test]
fn what_no_tpm_seals_is_refused_before_the_tpm_is_asked() {
    let node = Node::start();
    let mut relay = TapRelay::honest(&node.tpm);
    let mut ceremony = node.open(&mut relay).unwrap();
    let state = node.state();
    let seal = |ceremony: &mut Ceremony<'_>, states: Vec<PcrState>| {
        let policy = SealPolicy { states, counter_index: COUNTER, counter_value: 1 };
        ceremony.seal(&policy, &seal_auth(), &secret(&SECRET)).err().unwrap()
    };

    let too_long = ceremony.seal(&node.policy(1), &seal_auth(), &secret(&[0; SECRET_MAX + 1])).unwrap_err();
    assert_eq!(too_long, TpmError::SecretTooLong { max: SECRET_MAX, found: SECRET_MAX + 1 });
    let none = seal(&mut ceremony, vec![]);
    assert_eq!(none, TpmError::Policy(PolicyError::States { found: 0 }));
    let many = seal(&mut ceremony, vec![state.clone(); STATES_MAX + 1]);
    assert_eq!(many, TpmError::Policy(PolicyError::States { found: STATES_MAX + 1 }));
    let empty = seal(&mut ceremony, vec![PcrState { bank: PcrBank::Sha256, pcrs: BTreeMap::new() }]);
    assert_eq!(empty, TpmError::Policy(PolicyError::NoPcrs { state: 0 }));
    let sha1 = PcrState { bank: PcrBank::Sha1, pcrs: node.tpm.pcrs(PcrBank::Sha1, &PCRS) };
    let weak = seal(&mut ceremony, vec![state.clone(), sha1]);
    assert_eq!(weak, TpmError::Policy(PolicyError::Bank { state: 1, found: PcrBank::Sha1 }));
    let wrong = seal(&mut ceremony, vec![PcrState { bank: PcrBank::Sha384, ..state }]);
    let pcr = PcrIndex::new(0).unwrap();
    assert_eq!(wrong, TpmError::Policy(PolicyError::ValueLength { state: 0, pcr, expected: 48, found: 32 }));
    drop(ceremony);
    assert_eq!(relay.commands(TpmCc::Create), 0);
}

#[test]
fn randomness_is_whole_and_differs() {
    let node = Node::start();
    let mut relay = TapRelay::honest(&node.tpm);
    let mut ceremony = node.open(&mut relay).unwrap();
    let (one, other) = (exposed(&ceremony.random().unwrap()), exposed(&ceremony.random().unwrap()));
    assert_ne!(one, other);
    assert!(one[16..] != [0; 16] && other[16..] != [0; 16], "the end is filled");
}

/// The TPM's randomness as bytes that a test may look at.
fn exposed(random: &Secret<RANDOM_LEN>) -> [u8; RANDOM_LEN] {
    let mut plain = [0; RANDOM_LEN];
    secret::run(|inside| plain = *random.expose(inside));
    plain
}
