//! Stories of relays that lie: each gets nothing, and each lie is found.
#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::time::{Duration, Instant};

use sealstone_attestation::PcrBank;
use sealstone_enclave::tpm::{Ceremony, FRAME_MAX, RelayError, SealPolicy, TpmError};
use support::commands::{bare_session, error, frame, handle, is, marshal, password};
use support::keys::{EK_HANDLE, EkKind, other_storage_key};
use support::node::{COUNTER, COUNTER_AUTH, Node, SECRET, Sealed, counter_auth, seal_auth};
use support::relay::{Exchange, TapRelay};
use support::swtpm::Swtpm;
use tpm2_protocol::TpmUnmarshal;
use tpm2_protocol::basic::TpmUint16;
use tpm2_protocol::data::{
    Tpm2bAuth, Tpm2bDigest, Tpm2bMaxBuffer, Tpm2bName, Tpm2bNvPublic, Tpm2bPrivate, Tpm2bPublic, TpmAlgId,
    TpmCc, TpmEo, TpmRh, TpmSe, TpmaNv, TpmlPcrSelection, TpmsAuthCommand, TpmsNvPublic, TpmsPcrSelect,
    TpmsPcrSelection, TpmtPublic,
};
use tpm2_protocol::frame::{
    TpmLoadCommand, TpmLoadResponse, TpmNvDefineSpaceCommand, TpmNvDefineSpaceResponse,
    TpmNvIncrementCommand, TpmNvIncrementResponse, TpmPolicyAuthValueCommand, TpmPolicyAuthValueResponse,
    TpmPolicyNvCommand, TpmPolicyNvResponse, TpmPolicyPasswordCommand, TpmPolicyPasswordResponse,
    TpmPolicyPcrCommand, TpmPolicyPcrResponse, TpmPolicyRestartCommand, TpmPolicyRestartResponse,
    TpmUnsealCommand, TpmUnsealResponse,
};

// ---- another TPM --------------------------------------------------------------------------------------------

#[test]
fn another_tpm_is_not_the_enrolled_one() {
    for kind in [EkKind::Rsa2048, EkKind::P256, EkKind::P384] {
        let enrolled = Swtpm::start().ek(kind);
        let other = Swtpm::start();
        for hint in [None, Some(EK_HANDLE)] {
            let mut relay = TapRelay::honest(&other);
            let refused = Ceremony::open(&mut relay, &enrolled, hint).err();
            assert!(matches!(refused, Some(TpmError::NotEnrolled { .. })), "{kind:?} {hint:?}: {refused:?}");
        }
    }
}

#[test]
fn another_tpm_that_shows_the_pinned_key_cannot_hold_a_session() {
    for kind in [EkKind::Rsa2048, EkKind::P256, EkKind::P384] {
        let enrolled = Swtpm::start().ek(kind);
        let node = Node { ek: enrolled, tpm: Swtpm::start() };
        node.tpm.persistent_ek(kind);
        let shown = node.ek.as_bytes().to_vec();
        let mut relay = TapRelay::new(&node.tpm, move |tpm, command, _| {
            Ok(if is(command, TpmCc::ReadPublic) {
                read_public_response(&shown)
            } else {
                tpm.execute(command)
            })
        });
        let refused = node.open(&mut relay).err().unwrap();
        // An RSA key cannot even decrypt a salt that is not for it; an ECC key finds another salt.
        let expected = match refused {
            TpmError::Rc { command, .. } => kind == EkKind::Rsa2048 && command == TpmCc::StartAuthSession,
            TpmError::NotEnrolled { .. } => kind != EkKind::Rsa2048,
            _ => false,
        };
        assert!(expected, "{kind:?}: {refused:?}");
    }
}

#[test]
fn a_relay_that_plays_the_tpm_itself_fails_at_the_first_hmac() {
    let node = Node::start();
    // It answers StartAuthSession honestly, then every authenticated command with an HMAC of its own.
    let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
        if !is(command, TpmCc::GetRandom) {
            return Ok(tpm.execute(command));
        }
        let parameters = [&[0, 32][..], &[0x55; 32]].concat();
        let session = [&[0, 32][..], &[0x11; 32], &[0x41], &[0, 32], &[0x22; 32]].concat();
        let size = u32::try_from(parameters.len()).unwrap().to_be_bytes();
        Ok(response(0x8002, &[&size[..], &parameters, &session].concat()))
    });
    let refused = node.open(&mut relay).err().unwrap();
    assert!(matches!(refused, TpmError::NotEnrolled { .. }), "{refused:?}");
}

// ---- altered, replayed, lost, forged responses --------------------------------------------------------------

#[test]
fn no_altered_byte_of_a_response_passes() {
    let node = Node::start();
    let sealed = node.provision();
    for code in [TpmCc::Unseal, TpmCc::NvRead, TpmCc::Create, TpmCc::PcrRead, TpmCc::GetRandom] {
        let act = |relay: &mut TapRelay<'_>| -> Result<(), TpmError> {
            match code {
                TpmCc::Unseal | TpmCc::PcrRead => node.unseal(relay, &sealed).map(drop),
                TpmCc::Create => {
                    let mut ceremony = node.open(relay)?;
                    ceremony.seal(&sealed.policy, &seal_auth(), &SECRET).map(drop)
                }
                _ => node.read_counter(relay).map(drop),
            }
        };
        let mut honest = TapRelay::honest(&node.tpm);
        act(&mut honest).unwrap();
        let len = honest.seen.iter().find(|seen| is(&seen.command, code)).unwrap().response.len();
        for position in 0..len {
            let mut relay = TapRelay::new(&node.tpm, move |tpm, command, _| {
                let mut response = tpm.execute(command);
                if is(command, code) {
                    response[position] ^= 1 << (position % 8);
                }
                Ok(response)
            });
            let result = act(&mut relay);
            assert!(result.is_err(), "{code}: byte {position} of {len}");
        }
    }
}

#[test]
fn an_altered_byte_anywhere_in_a_ceremony_yields_the_secret_or_an_error_never_anything_else() {
    let node = Node::start();
    let sealed = node.provision();
    let mut honest = TapRelay::honest(&node.tpm);
    node.unseal(&mut honest, &sealed).unwrap();
    let frames: Vec<[usize; 2]> =
        honest.seen.iter().map(|seen| [seen.command.len(), seen.response.len()]).collect();
    for (step, lens) in frames.into_iter().enumerate() {
        for (direction, len) in lens.into_iter().enumerate() {
            // Every seventh byte, another bit each time.
            for position in (step % 7..len).step_by(7) {
                let count = Cell::new(0);
                let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
                    let mut command = command.to_vec();
                    let this = count.replace(count.get() + 1) == step;
                    // A frame whose length is wrong would only make the emulator wait for the rest.
                    if this && direction == 0 && !(2..6).contains(&position) {
                        command[position] ^= 1 << (position % 8);
                    }
                    let mut response = tpm.execute(&command);
                    if this && direction == 1 && position < response.len() {
                        response[position] ^= 1 << (position % 8);
                    }
                    Ok(response)
                });
                if let Ok(secret) = node.unseal(&mut relay, &sealed) {
                    assert_eq!(secret, SECRET, "step {step}, byte {position}");
                }
                node.tpm.flush_everything();
            }
        }
    }
    assert_eq!(node.unseal(&mut TapRelay::honest(&node.tpm), &sealed).unwrap(), SECRET);
}

#[test]
fn a_replayed_response_is_found() {
    let node = Node::start();
    let sealed = node.provision();
    for code in [TpmCc::NvRead, TpmCc::NvIncrement, TpmCc::PcrRead, TpmCc::GetRandom] {
        // The second response of that kind is the first one again; the command is executed, or swallowed.
        for executed in [true, false] {
            let mut relay = TapRelay::new(&node.tpm, |tpm, command, seen| {
                let first = seen.iter().find(|seen| is(command, code) && is(&seen.command, code));
                Ok(match first {
                    Some(first) => {
                        if executed {
                            tpm.execute(command);
                        }
                        first.response.clone()
                    }
                    None => tpm.execute(command),
                })
            });
            let mut ceremony = node.open(&mut relay).unwrap();
            let mut twice = || -> Result<(), TpmError> {
                for _ in 0..2 {
                    ceremony.require_state(&sealed.policy)?;
                    ceremony.random(&mut [0; 4])?;
                    ceremony.increment_counter(COUNTER, &counter_auth())?;
                    ceremony.read_counter(COUNTER, &counter_auth())?;
                }
                Ok(())
            };
            let refused = twice().unwrap_err();
            assert!(
                matches!(refused, TpmError::NotAuthentic { command, .. } if command == code),
                "{refused:?}"
            );
        }
    }
}

#[test]
fn a_response_from_another_ceremony_is_found() {
    let node = Node::start();
    let sealed = node.provision();
    let mut before = TapRelay::honest(&node.tpm);
    node.unseal(&mut before, &sealed).unwrap();
    let unsealed: Vec<Exchange> =
        before.seen.iter().filter(|seen| is(&seen.command, TpmCc::Unseal)).cloned().collect();
    let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
        Ok(if is(command, TpmCc::Unseal) { unsealed[0].response.clone() } else { tpm.execute(command) })
    });
    let refused = node.unseal(&mut relay, &sealed).unwrap_err();
    assert!(matches!(refused, TpmError::NotAuthentic { command: TpmCc::Unseal, .. }), "{refused:?}");
}

#[test]
fn a_lost_response_ends_the_ceremony_and_a_new_one_reads_what_is() {
    let node = Node::start();
    let sealed = node.provision();
    let before = sealed.policy.counter_value;
    let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
        let response = tpm.execute(command);
        match is(command, TpmCc::NvIncrement) {
            true => Err(RelayError::Unreachable { reason: "no answer within 5 s".to_owned() }),
            false => Ok(response),
        }
    });
    let mut ceremony = node.open(&mut relay).unwrap();
    let lost = ceremony.increment_counter(COUNTER, &counter_auth()).unwrap_err();
    assert!(matches!(lost, TpmError::Unreachable { command: TpmCc::NvIncrement, .. }), "{lost:?}");
    // The TPM's nonce has rolled and the enclave's has not.
    let dead = ceremony.read_counter(COUNTER, &counter_auth()).unwrap_err();
    assert!(matches!(dead, TpmError::Rc { .. }), "{dead:?}");
    drop(ceremony);
    assert_eq!(node.read_counter(&mut TapRelay::honest(&node.tpm)), Ok(before + 1));
}

#[test]
fn a_relay_that_falls_silent_is_not_asked_again_for_everything_that_is_loaded() {
    let node = Node::start();
    let sealed = node.provision();
    let mut honest = TapRelay::honest(&node.tpm);
    node.unseal(&mut honest, &sealed).unwrap();
    for silent_from in 0..honest.seen.len() {
        let asked = Cell::new(0);
        let mut relay =
            TapRelay::new(&node.tpm, |tpm, command, _| match asked.replace(asked.get() + 1) < silent_from {
                true => Ok(tpm.execute(command)),
                false => Err(RelayError::Unreachable { reason: "gone".to_owned() }),
            });
        match node.unseal(&mut relay, &sealed) {
            Ok(secret) => assert_eq!(secret, SECRET, "only flushes were lost"),
            Err(refused) => assert!(matches!(refused, TpmError::Unreachable { .. }), "{refused:?}"),
        }
        assert!(asked.get() <= silent_from + 2, "{} times after {silent_from}", asked.get());
        node.tpm.flush_everything();
    }
}

#[test]
fn an_increment_that_is_swallowed_and_confirmed_is_found() {
    let node = Node::start();
    let before = node.provision().policy.counter_value;
    let confirmations: [Vec<u8>; 3] = [
        response(0x8001, &[]),
        response(0x8002, &[&[0; 4][..], &[0, 32], &[0; 32], &[1], &[0, 32], &[0; 32]].concat()),
        response(0x8002, &[&[0; 4][..], &[0, 0], &[1], &[0, 0]].concat()),
    ];
    for confirmation in confirmations {
        let mut relay = TapRelay::new(&node.tpm, move |tpm, command, _| {
            Ok(if is(command, TpmCc::NvIncrement) { confirmation.clone() } else { tpm.execute(command) })
        });
        let mut ceremony = node.open(&mut relay).unwrap();
        let refused = ceremony.increment_counter(COUNTER, &counter_auth()).unwrap_err();
        assert!(matches!(refused, TpmError::NotAuthentic { .. } | TpmError::Malformed { .. }), "{refused:?}");
        drop(ceremony);
        assert_eq!(node.read_counter(&mut TapRelay::honest(&node.tpm)), Ok(before));
    }
}

#[test]
fn an_error_forged_at_any_step_never_looks_like_a_missing_counter_or_another_state() {
    let node = Node::start();
    let sealed = node.provision();
    let mut honest = TapRelay::honest(&node.tpm);
    node.unseal(&mut honest, &sealed).unwrap();
    let steps = honest.seen.len();
    // Handle, authorisation, value, policy, PCR changed, NV not defined.
    for code in [0x18b, 0x28b, 0x98e, 0x9a2, 0x1c4, 0x99d, 0x128, 0x14a] {
        for step in 0..steps {
            let count = Cell::new(0);
            let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
                let this = count.replace(count.get() + 1) == step;
                Ok(if this { error(code) } else { tpm.execute(command) })
            });
            match node.unseal(&mut relay, &sealed) {
                // A lost flush or a refused hint costs nothing.
                Ok(secret) => assert_eq!(secret, SECRET),
                Err(TpmError::Rc { .. } | TpmError::NotEnrolled { .. }) => {}
                Err(other) => panic!("{code:#x} at step {step}: {other:?}"),
            }
            node.tpm.flush_everything();
        }
        let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
            Ok(if is(command, TpmCc::NvRead) { error(code) } else { tpm.execute(command) })
        });
        let refused = node.read_counter(&mut relay);
        assert!(matches!(refused, Err(TpmError::Rc { .. })), "{code:#x}: {refused:?}");
    }
}

#[test]
fn a_counter_that_is_there_cannot_be_made_to_look_missing() {
    let node = Node::start();
    let value = node.provision().policy.counter_value;
    // It refuses the read and answers the authenticated question with an empty list.
    let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
        Ok(match () {
            () if is(command, TpmCc::NvRead) => error(0x18b),
            () if is(command, TpmCc::GetCapability) => {
                let mut response = tpm.execute(command);
                // moreData, capability, count: the handle becomes another one.
                let handle = 10 + 4 + 1 + 4 + 4;
                response[handle + 3] ^= 1;
                response
            }
            () => tpm.execute(command),
        })
    });
    let refused = node.read_counter(&mut relay).unwrap_err();
    assert!(matches!(refused, TpmError::NotAuthentic { command: TpmCc::GetCapability, .. }), "{refused:?}");
    assert_eq!(node.read_counter(&mut TapRelay::honest(&node.tpm)), Ok(value));
}

#[test]
fn garbage_for_any_response_is_an_error() {
    let node = Node::start();
    let sealed = node.provision();
    let mut honest = TapRelay::honest(&node.tpm);
    node.unseal(&mut honest, &sealed).unwrap();
    let garbage: [&[u8]; 8] = [
        &[],
        &[0x80],
        &[0x80, 0x01, 0, 0, 0, 10, 0, 0, 0],
        &[0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0],
        &[0x80, 0x02, 0, 0, 0, 10, 0, 0, 0, 0],
        &[0x80, 0x02, 0, 0, 0, 14, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x80, 0x02, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xff; FRAME_MAX],
    ];
    for step in 0..honest.seen.len() - 3 {
        for bytes in garbage {
            let count = Cell::new(0);
            let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
                let this = count.replace(count.get() + 1) == step;
                Ok(if this { bytes.to_vec() } else { tpm.execute(command) })
            });
            if let Ok(secret) = node.unseal(&mut relay, &sealed) {
                assert_eq!(secret, SECRET, "step {step}");
            }
            node.tpm.flush_everything();
        }
    }
    let mut relay = TapRelay::new(&node.tpm, |_, _, _| Ok(vec![0; FRAME_MAX + 1]));
    let refused = node.open(&mut relay).err().unwrap();
    let source = RelayError::TooLarge { found: FRAME_MAX + 1 };
    assert_eq!(refused, TpmError::Unreachable { command: TpmCc::ReadPublic, source });
}

#[test]
fn a_tpm_that_asks_to_repeat_is_asked_again_and_one_that_always_does_is_given_up() {
    let node = Node::start();
    let sealed = node.provision();
    for code in [0x908, 0x90a, 0x920, 0x922] {
        let mut relay = TapRelay::new(&node.tpm, |tpm, command, seen| {
            let repeats = seen.iter().rev().take_while(|seen| seen.command == command).count();
            Ok(if repeats < 1 { error(code) } else { tpm.execute(command) })
        });
        assert_eq!(node.unseal(&mut relay, &sealed).unwrap(), SECRET, "{code:#x}");
    }
    let mut relay = TapRelay::new(&node.tpm, |_, _, _| Ok(error(0x922)));
    let begin = Instant::now();
    let refused = node.read_counter(&mut relay).unwrap_err();
    assert!(matches!(refused, TpmError::Rc { code: 0x922, .. }), "{refused:?}");
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_repeat_that_is_asked_for_after_the_tpm_executed_does_not_count_twice() {
    let node = Node::start();
    let before = node.provision().policy.counter_value;
    let mut relay = TapRelay::new(&node.tpm, |tpm, command, seen| {
        let response = tpm.execute(command);
        let repeated = seen.last().is_some_and(|last| last.command == command);
        Ok(if is(command, TpmCc::NvIncrement) && !repeated { error(0x922) } else { response })
    });
    let mut ceremony = node.open(&mut relay).unwrap();
    assert!(ceremony.increment_counter(COUNTER, &counter_auth()).is_err());
    drop(ceremony);
    assert_eq!(node.read_counter(&mut TapRelay::honest(&node.tpm)), Ok(before + 1));
}

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
        node.open(&mut relay).unwrap().seal(&policy, &seal_auth(), &SECRET).unwrap()
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
    let refused = node.open(&mut relay).unwrap().seal(&policy, &seal_auth(), &SECRET).unwrap_err();
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
        let refused = node.open(&mut relay).unwrap().seal(&policy, &seal_auth(), &SECRET).unwrap_err();
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
        let blob =
            node.open(&mut relay).unwrap().seal(&sealed.policy, &seal_auth(), b"another secret").unwrap();
        Sealed { policy: sealed.policy.clone(), blob }
    };
    let swapped = Cell::new(0);
    let mut relay = TapRelay::new(&node.tpm, |tpm, command, _| {
        let mut command = command.to_vec();
        if is(&command, TpmCc::Unseal) {
            // Same policy, same auth value, other object.
            tpm.flush_all_objects();
            swapped.set(load(tpm, &other));
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
    let object = load(tpm, &sealed);
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
            pcrs: selection(&support::node::PCRS),
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

// ---- helpers ------------------------------------------------------------------------------------------------

/// A success with this tag and body.
fn response(tag: u16, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + body.len()).unwrap();
    [&tag.to_be_bytes()[..], &size.to_be_bytes(), &[0; 4], body].concat()
}

/// ReadPublic of a key of this public area; the names do not matter.
fn read_public_response(public: &[u8]) -> Vec<u8> {
    let (inner, _) = TpmtPublic::unmarshal(public).unwrap();
    let name = Tpm2bName::try_from(&[0; 34][..]).unwrap();
    let body = [marshal(&Tpm2bPublic { inner }), marshal(&name), marshal(&name)].concat();
    response(0x8001, &body)
}

/// Loads a blob as whoever reads the state file can: without any secret.
fn load(tpm: &Swtpm, sealed: &Sealed) -> u32 {
    let (public, private) = sealed.parts();
    let (parent, _) = tpm.create_primary(TpmRh::Owner, support::keys::storage_key());
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

fn selection(pcrs: &[u8]) -> TpmlPcrSelection {
    let mut bitmap = [0u8; 3];
    pcrs.iter().for_each(|pcr| bitmap[usize::from(pcr / 8)] |= 1 << (pcr % 8));
    let mut list = TpmlPcrSelection::new();
    let hash = TpmAlgId::try_from(PcrBank::Sha256.algorithm_id()).unwrap();
    list.try_push(TpmsPcrSelection { hash, pcr_select: TpmsPcrSelect::try_from(&bitmap[..]).unwrap() })
        .unwrap();
    list
}
