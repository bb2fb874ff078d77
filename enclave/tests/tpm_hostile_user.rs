//! Stories of relays that lie about the machine, put other things behind handles, and use the TPM themselves: each
//! gets nothing.
#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;

use sealstone_attestation::PcrBank;
use sealstone_enclave::tpm::{SealPolicy, TpmError};
use support::commands::{bare_session, frame, handle, is, marshal, password, response, selection};
use support::keys::other_storage_key;
use support::node::{COUNTER, COUNTER_AUTH, Node, PCRS, SECRET, Sealed, counter_auth, seal_auth, secret};
use support::relay::TapRelay;
use tpm2_protocol::basic::TpmUint16;
use tpm2_protocol::data::{
    Tpm2bAuth, Tpm2bDigest, Tpm2bMaxBuffer, Tpm2bNvPublic, TpmAlgId, TpmCc, TpmEo, TpmRh, TpmSe, TpmaNv,
    TpmsAuthCommand, TpmsNvPublic,
};
use tpm2_protocol::frame::{
    TpmNvDefineSpaceCommand, TpmNvDefineSpaceResponse, TpmNvIncrementCommand, TpmNvIncrementResponse,
    TpmPolicyAuthValueCommand, TpmPolicyAuthValueResponse, TpmPolicyNvCommand, TpmPolicyNvResponse,
    TpmPolicyPasswordCommand, TpmPolicyPasswordResponse, TpmPolicyPcrCommand, TpmPolicyPcrResponse,
    TpmPolicyRestartCommand, TpmPolicyRestartResponse, TpmUnsealCommand, TpmUnsealResponse,
};

// ---- lies about the machine's state -------------------------------------------------------------------------

#[test]
fn pcr_values_of_the_approved_state_shown_by_the_relay_are_not_believed() {
    let node = Node::start();
    let sealed = node.provision();
    let mut before = TapRelay::honest(&node.tpm);
    node.unseal(&mut before, &sealed).unwrap();
    let good = before.seen.iter().find(|seen| is(&seen.command, TpmCc::PcrRead)).unwrap().response.clone();
    node.tpm.extend_pcr(0);
    let mut relay = TapRelay::new(&node.tpm, move |tpm, command, _| {
        let mut response = tpm.execute(command);
        if is(command, TpmCc::PcrRead) {
            // The old values between the new header and the new, genuine session area.
            let parameters = 10..good.len() - 69;
            response[parameters.clone()].copy_from_slice(&good[parameters]);
        }
        Ok(response)
    });
    let refused = node.unseal(&mut relay, &sealed).unwrap_err();
    assert!(matches!(refused, TpmError::NotAuthentic { command: TpmCc::PcrRead, .. }), "{refused:?}");
}

#[test]
fn policy_steps_that_are_skipped_or_confirmed_falsely_leave_the_seal_shut() {
    let node = Node::start();
    let counter_value = node.provision().policy.counter_value;
    let policy = SealPolicy { states: node.states(3, 1), counter_index: COUNTER, counter_value };
    let blob = {
        let mut relay = TapRelay::honest(&node.tpm);
        node.open(&mut relay).unwrap().seal(&policy, &seal_auth(), &secret(&SECRET)).unwrap()
    };
    let sealed = Sealed { policy, blob };
    assert_eq!(node.unseal(&mut TapRelay::honest(&node.tpm), &sealed).unwrap(), SECRET);
    for code in [TpmCc::PolicyPcr, TpmCc::PolicyOr, TpmCc::PolicyNv, TpmCc::PolicyAuthValue] {
        let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
            Ok(if is(command, code) { response(0x8001, &[]) } else { tpm.execute(command) })
        });
        let refused = node.unseal(&mut relay, &sealed);
        assert!(refused.is_err(), "{code} skipped");
        let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
            let response = tpm.execute(command);
            Ok(if is(command, code) { tpm.execute(command) } else { response })
        });
        let refused = node.unseal(&mut relay, &sealed);
        assert!(refused.is_err(), "{code} twice");
    }
}

// ---- other objects behind handles ---------------------------------------------------------------------------

#[test]
fn a_storage_key_of_the_relays_own_is_neither_shown_nor_slipped_under() {
    let node = Node::start();
    let Sealed { policy, .. } = node.provision();
    let (own, own_public) = node.tpm.create_primary(TpmRh::Owner, other_storage_key(1));
    let own_public = marshal(&own_public);

    // Shown instead of the one that the TPM made.
    let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
        let mut response = tpm.execute(command);
        if is(command, TpmCc::CreatePrimary) {
            // Handle, size of the parameters, size of the public area.
            let public = 10 + 4 + 4 + 2;
            response[public..public + own_public.len()].copy_from_slice(&own_public);
        }
        Ok(response)
    });
    let refused = node.open(&mut relay).unwrap().seal(&policy, &seal_auth(), &secret(&SECRET)).unwrap_err();
    assert!(matches!(refused, TpmError::NotAuthentic { command: TpmCc::CreatePrimary, .. }), "{refused:?}");

    // Put behind the handle, as a response or in the command.
    for code in [TpmCc::CreatePrimary, TpmCc::Create] {
        let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
            let mut command = command.to_vec();
            if is(&command, code) && code == TpmCc::Create {
                command[10..14].copy_from_slice(&own.to_be_bytes());
            }
            let mut response = tpm.execute(&command);
            if is(&command, code) && code == TpmCc::CreatePrimary {
                response[10..14].copy_from_slice(&own.to_be_bytes());
            }
            Ok(response)
        });
        let refused =
            node.open(&mut relay).unwrap().seal(&policy, &seal_auth(), &secret(&SECRET)).unwrap_err();
        assert!(matches!(refused, TpmError::Rc { command: TpmCc::Create, .. }), "{refused:?}");
        drop(relay);
        node.tpm.flush_all_objects();
        assert_eq!(node.tpm.create_primary(TpmRh::Owner, other_storage_key(1)).0, own);
    }
}

#[test]
fn another_sealed_object_behind_the_handle_is_refused() {
    let node = Node::start();
    let sealed = node.provision();
    let other = {
        let mut relay = TapRelay::honest(&node.tpm);
        let blob = node
            .open(&mut relay)
            .unwrap()
            .seal(&sealed.policy, &seal_auth(), &secret(b"another secret"))
            .unwrap();
        Sealed { policy: sealed.policy.clone(), blob }
    };
    let swapped = Cell::new(0);
    let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
        let mut command = command.to_vec();
        if is(&command, TpmCc::Unseal) {
            // Same policy, same auth value, other object.
            tpm.flush_all_objects();
            swapped.set(other.load(tpm));
            command[10..14].copy_from_slice(&swapped.get().to_be_bytes());
        }
        Ok(tpm.execute(&command))
    });
    let refused = node.unseal(&mut relay, &sealed).unwrap_err();
    assert!(matches!(refused, TpmError::Rc { command: TpmCc::Unseal, .. }), "{refused:?}");
    assert_ne!(swapped.get(), 0);
}

// ---- the relay uses the TPM itself --------------------------------------------------------------------------

#[test]
fn a_relay_with_a_policy_session_of_its_own_unseals_nothing() {
    let node = Node::start();
    let sealed = node.provision();
    let tpm = &node.tpm;
    let object = sealed.load(tpm);
    let session = tpm.start_session(TpmSe::Policy);
    let counter_value = sealed.policy.counter_value;

    // Suppose that it even knew the counter's auth value.
    for (what, counter_secret, last) in [
        ("no counter, no auth value", None, Last::Nothing),
        ("no auth value", Some(&COUNTER_AUTH[..31]), Last::Nothing),
        ("auth value by HMAC", Some(&COUNTER_AUTH[..31]), Last::AuthValue),
        ("auth value by password", Some(&COUNTER_AUTH[..31]), Last::Password),
        ("a guessed counter secret", Some(&b"guess"[..]), Last::Password),
    ] {
        let restart = TpmPolicyRestartCommand { handles: [handle(session)] };
        tpm.run::<_, TpmPolicyRestartResponse>(&restart, &[]).unwrap();
        let pcrs = TpmPolicyPcrCommand {
            handles: [handle(session)],
            pcr_digest: Tpm2bDigest::default(),
            pcrs: selection(PcrBank::Sha256, &PCRS),
        };
        tpm.run::<_, TpmPolicyPcrResponse>(&pcrs, &[]).unwrap();
        let counter = TpmPolicyNvCommand {
            handles: [handle(COUNTER), handle(COUNTER), handle(session)],
            operand_b: Tpm2bMaxBuffer::try_from(&counter_value.to_be_bytes()[..]).unwrap(),
            offset: TpmUint16::new(0),
            operation: TpmEo::Eq,
        };
        if let Some(secret) = counter_secret {
            let known = tpm.run::<_, TpmPolicyNvResponse>(&counter, &[password(secret)]);
            assert_eq!(known.is_ok(), secret == &COUNTER_AUTH[..31], "{what}");
        }
        match last {
            Last::Nothing => {}
            Last::AuthValue => {
                let step = TpmPolicyAuthValueCommand { handles: [handle(session)] };
                tpm.run::<_, TpmPolicyAuthValueResponse>(&step, &[]).unwrap();
            }
            Last::Password => {
                let step = TpmPolicyPasswordCommand { handles: [handle(session)] };
                tpm.run::<_, TpmPolicyPasswordResponse>(&step, &[]).unwrap();
            }
        }
        let unseal = TpmUnsealCommand { handles: [handle(object)] };
        let guess =
            TpmsAuthCommand { hmac: Tpm2bAuth::try_from(&b"guess"[..]).unwrap(), ..bare_session(session) };
        for authorisation in [bare_session(session), guess, password(&[]), password(b"guess")] {
            let refused = tpm.run::<_, TpmUnsealResponse>(&unseal, &[authorisation]);
            assert!(refused.is_err(), "{what}");
        }
    }
}

#[derive(Clone, Copy)]
enum Last {
    Nothing,
    AuthValue,
    Password,
}

#[test]
fn a_counter_that_the_relay_undefines_or_replaces_fails_closed() {
    let node = Node::start();
    let sealed = node.provision();
    node.tpm.undefine(COUNTER);
    let honest = || TapRelay::honest(&node.tpm);
    assert_eq!(node.read_counter(&mut honest()), Err(TpmError::CounterMissing { index: COUNTER }));
    assert_eq!(node.unseal(&mut honest(), &sealed), Err(TpmError::CounterMissing { index: COUNTER }));

    // The same public area, hence the same name; but not the same auth value.
    let inner = TpmsNvPublic {
        nv_index: handle(COUNTER),
        name_alg: TpmAlgId::Sha256,
        attributes: TpmaNv::COUNTER | TpmaNv::AUTHREAD | TpmaNv::AUTHWRITE | TpmaNv::NO_DA,
        auth_policy: Tpm2bDigest::default(),
        data_size: TpmUint16::new(8),
    };
    let define = TpmNvDefineSpaceCommand {
        handles: [handle(TpmRh::Owner.value())],
        auth: Tpm2bAuth::default(),
        public_info: Tpm2bNvPublic { inner },
    };
    node.tpm.run::<_, TpmNvDefineSpaceResponse>(&define, &[password(&[])]).unwrap();
    let increment = TpmNvIncrementCommand { handles: [handle(COUNTER), handle(COUNTER)] };
    node.tpm.run::<_, TpmNvIncrementResponse>(&increment, &[password(&[])]).unwrap();
    let read = node.read_counter(&mut honest()).unwrap_err();
    assert!(matches!(read, TpmError::Rc { command: TpmCc::NvRead, .. }), "{read:?}");
    let unsealed = node.unseal(&mut honest(), &sealed).unwrap_err();
    assert!(matches!(unsealed, TpmError::Rc { .. }), "{unsealed:?}");
    let mut relay = honest();
    let defined = node.open(&mut relay).unwrap().define_counter(COUNTER, &counter_auth());
    assert_eq!(defined, Err(TpmError::CounterExists { index: COUNTER }));
}

#[test]
fn a_counter_that_the_enclave_defines_anew_after_a_removal_opens_no_old_blob() {
    let node = Node::start();
    let sealed = node.provision();
    let old = sealed.policy.counter_value;
    node.tpm.undefine(COUNTER);
    let mut relay = TapRelay::honest(&node.tpm);
    let new = node.open(&mut relay).unwrap().define_counter(COUNTER, &counter_auth()).unwrap();
    assert!(new > old, "the TPM starts a counter above all that were: {new} after {old}");
    let refused = node.unseal(&mut TapRelay::honest(&node.tpm), &sealed);
    assert_eq!(refused, Err(TpmError::CounterMismatch { expected: old, found: new }));
}

#[test]
fn a_command_of_the_relays_own_in_the_enclaves_session_is_refused_by_the_tpm() {
    let node = Node::start();
    let sealed = node.provision();
    let stolen = Cell::new(None);
    // Before the enclave's Unseal the relay sends one of its own in the satisfied policy session, and a second
    // copy of the enclave's after it.
    let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
        if !is(command, TpmCc::Unseal) {
            return Ok(tpm.execute(command));
        }
        let object = u32::from_be_bytes(command[10..14].try_into().unwrap());
        let session = u32::from_be_bytes(command[18..22].try_into().unwrap());
        let own = frame(&TpmUnsealCommand { handles: [handle(object)] }, &[bare_session(session)]);
        let early = tpm.execute(&own);
        let genuine = tpm.execute(command);
        let late = tpm.execute(command);
        stolen.set(Some([early, late]));
        Ok(genuine)
    });
    let result = node.unseal(&mut relay, &sealed);
    assert!(result.is_ok_and(|secret| secret == SECRET));
    for response in stolen.take().unwrap() {
        assert_ne!(response[6..10], [0; 4], "the relay's own command was executed");
    }
}
