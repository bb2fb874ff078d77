//! Stories of relays that lie about the TPM and its responses: each lie is found.
#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::time::{Duration, Instant};

use sealstone_enclave::tpm::{Ceremony, FRAME_MAX, RelayError, TpmError};
use support::commands::{error, is, marshal, response};
use support::keys::{EK_HANDLE, EkKind};
use support::node::{COUNTER, Node, SECRET, counter_auth, seal_auth, secret};
use support::relay::{Exchange, TapRelay};
use support::swtpm::Swtpm;
use tpm2_protocol::TpmUnmarshal;
use tpm2_protocol::data::{Tpm2bName, Tpm2bPublic, TpmCc, TpmtPublic};

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
                    ceremony.seal(&sealed.policy, &seal_auth(), &secret(&SECRET)).map(drop)
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
                    ceremony.random()?;
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

/// ReadPublic of a key of this public area; the names do not matter.
fn read_public_response(public: &[u8]) -> Vec<u8> {
    let (inner, _) = TpmtPublic::unmarshal(public).unwrap();
    let name = Tpm2bName::try_from(&[0; 34][..]).unwrap();
    let body = [marshal(&Tpm2bPublic { inner }), marshal(&name), marshal(&name)].concat();
    response(0x8001, &body)
}
