//! A hostile agent relays the enclave's TPM commands: it alters, replays, invents and withholds answers, puts other
//! keys and another TPM underneath, and uses the TPM itself. Each attempt is refused for its own reason, and an
//! honest agent unlocks afterwards.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;

use sealstone_attestation::Algorithm;
use sealstone_swtpm_tests::Swtpm;
use sealstone_swtpm_tests::wait::until;
use sealstone_wire::limits::TPM_FRAME_MAX;
use sealstone_wire::reply::{Phase, Refusal, RefusalCode, Reply, Status};
use sealstone_wire::request::{Request, TpmHints};
use support::agent::{Exchange, asset, provision, signing, unlock};
use support::commands::{self, *};
use support::stage::Witness;
use support::{Agent, Stage, refused, state_file};

/// Locks the enclave, lies in the unlock, and leaves the TPM as a resource manager would.
fn lied_to(
    stage: &Stage,
    agent: &mut Agent,
    mut lie: impl FnMut(&Swtpm, &[u8]) -> Option<Vec<u8>>,
) -> Result<Status, Refusal> {
    if agent.status().phase != Phase::Locked {
        agent.ask(Request::Lock).unwrap();
    }
    let result = agent.ceremony(unlock(), &mut |command| lie(stage.tpm(), command));
    flush_everything(stage.tpm());
    result
}

/// The first answer to this command.
fn recorded(seen: &[Exchange], code: u32) -> Vec<u8> {
    seen.iter().find(|exchange| code_of(&exchange.command) == code).unwrap().response.clone()
}

// ---- the baseline -------------------------------------------------------------------------------------------

#[test]
fn an_honest_relay_unlocks_and_sees_no_secret() {
    let (stage, mut agent, _) = Stage::provisioned();
    let binding = stage.attest(&mut agent).unwrap().binding;
    let path = asset("treasury", Algorithm::Es256);
    let before = agent.public_key(&path, None).unwrap();

    agent.ask(Request::Lock).unwrap();
    let (unlocked, seen) = agent.watched(unlock(), stage.tpm());
    assert_eq!(unlocked.unwrap().phase, Phase::Unlocked);
    stage.attest(&mut agent).unwrap();
    let after = agent.public_key(&path, None).unwrap();
    assert_eq!(before, after);
    agent.sign(signing(&path, binding, Some(after.key_id()))).unwrap();

    // The payload of the seal holds the authority's digest, which the relay knows: it would recognise it.
    let authority = stage.authority.set().digest();
    let credential = std::fs::read_to_string(stage.node.path("enclave.credential")).unwrap();
    let credential = hex::decode(credential.trim()).unwrap();
    for needle in [&authority.as_bytes()[..], &credential] {
        let holds = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!seen.iter().any(|exchange| holds(&exchange.command) || holds(&exchange.response)));
    }
}

// ---- altered and replayed answers ---------------------------------------------------------------------------

#[test]
fn a_flipped_bit_of_an_answer_is_found_and_the_command_is_named() {
    let (stage, mut agent, _) = Stage::provisioned();
    // The first bytes after header and size are the answer's own; the last are its HMAC.
    for (code, name) in [
        (UNSEAL, "TPM_CC_Unseal"),
        (NV_READ, "TPM_CC_NV_Read"),
        (CREATE, "TPM_CC_Create"),
        (PCR_READ, "TPM_CC_PCR_Read"),
        (NV_INCREMENT, "TPM_CC_NV_Increment"),
    ] {
        for from_end in [1, 40] {
            let result = lied_to(&stage, &mut agent, |tpm, command| {
                let mut response = tpm.transmit(command).ok()?;
                if code_of(command) == code {
                    let at = response.len() - from_end;
                    response[at] ^= 0x10;
                }
                Some(response)
            });
            refused(result, RefusalCode::TpmNotAuthentic, name);
        }
        // An increment answers nothing but its HMAC.
        if code != NV_INCREMENT {
            let result = lied_to(&stage, &mut agent, |tpm, command| {
                let mut response = tpm.transmit(command).ok()?;
                if code_of(command) == code {
                    response[17] ^= 1;
                }
                Some(response)
            });
            refused(result, RefusalCode::TpmNotAuthentic, name);
        }
        agent.honest(unlock(), stage.tpm()).unwrap();
    }
}

#[test]
fn an_answer_from_an_earlier_unlock_is_found() {
    let (stage, mut agent, _) = Stage::provisioned();
    agent.ask(Request::Lock).unwrap();
    let (unlocked, seen) = agent.watched(unlock(), stage.tpm());
    unlocked.unwrap();
    for (code, name) in
        [(UNSEAL, "TPM_CC_Unseal"), (NV_READ, "TPM_CC_NV_Read"), (PCR_READ, "TPM_CC_PCR_Read")]
    {
        let old = recorded(&seen, code);
        let result = lied_to(&stage, &mut agent, |tpm, command| {
            let response = tpm.transmit(command).ok()?;
            Some(if code_of(command) == code { old.clone() } else { response })
        });
        refused(result, RefusalCode::TpmNotAuthentic, name);
    }
    agent.honest(unlock(), stage.tpm()).unwrap();
}

#[test]
fn a_lie_about_the_counter_is_found() {
    let (stage, mut agent, _) = Stage::provisioned();
    agent.ask(Request::Lock).unwrap();
    let (unlocked, seen) = agent.watched(unlock(), stage.tpm());
    let era = unlocked.unwrap().era;

    // Swallowed, and confirmed with the answer to an earlier increment.
    let confirmed = recorded(&seen, NV_INCREMENT);
    let result = lied_to(&stage, &mut agent, |tpm, command| {
        if code_of(command) == NV_INCREMENT { Some(confirmed.clone()) } else { tpm.transmit(command).ok() }
    });
    refused(result, RefusalCode::TpmNotAuthentic, "TPM_CC_NV_Increment");

    // The value before the increment, shown again after it: the relay holds back the newer one.
    let first = Cell::new(None::<Vec<u8>>);
    let result = lied_to(&stage, &mut agent, |tpm, command| {
        let response = tpm.transmit(command).ok()?;
        if code_of(command) != NV_READ {
            return Some(response);
        }
        let shown = first.take().unwrap_or(response);
        first.set(Some(shown.clone()));
        Some(shown)
    });
    refused(result, RefusalCode::TpmNotAuthentic, "TPM_CC_NV_Read");

    // That there is no counter: the enclave asks in a way that is authenticated, and believes nothing else.
    for code in [0x28b, 0x14a] {
        let result = lied_to(&stage, &mut agent, |tpm, command| {
            if code_of(command) == NV_READ { Some(error(code)) } else { tpm.transmit(command).ok() }
        });
        refused(result, RefusalCode::TpmError, "TPM_CC_NV_Read");
    }

    // Executed twice: the blob for the value in between is of no use, and the enclave says what it found.
    let result = lied_to(&stage, &mut agent, |tpm, command| {
        let response = tpm.transmit(command).ok()?;
        if code_of(command) == NV_INCREMENT {
            tpm.transmit(command).ok()?;
        }
        Some(response)
    });
    // The TPM refuses the second copy, whose nonce is spent: the first counts.
    let status = result.unwrap();
    assert!(status.era > era, "{status:?}");
}

// ---- another key, another TPM -------------------------------------------------------------------------------

#[test]
fn another_salt_key_under_the_sessions_is_found() {
    let (stage, mut agent, _) = Stage::provisioned();
    // A key of the relay's own in the same TPM, made from the endorsement template with another `unique`.
    let own = Cell::new(0);
    let result = lied_to(&stage, &mut agent, |tpm, command| {
        let mut command = command.to_vec();
        if code_of(&command) == START_AUTH_SESSION {
            if own.get() == 0 {
                own.set(create_primary(tpm, ENDORSEMENT, &own_salt_key()));
            }
            command[10..14].copy_from_slice(&own.get().to_be_bytes());
        }
        tpm.transmit(&command).ok()
    });
    refused(result, RefusalCode::TpmNotEnrolled, "salt");

    // And one shown instead of the pinned key when the enclave has it made.
    let result = lied_to(&stage, &mut agent, |tpm, command| {
        if code_of(command) == CREATE_PRIMARY && word(command, 10) == ENDORSEMENT {
            return tpm.transmit(&create_primary_frame(ENDORSEMENT, &own_salt_key())).ok();
        }
        tpm.transmit(command).ok()
    });
    refused(result, RefusalCode::TpmNotEnrolled, "another endorsement key");
    agent.honest(unlock(), stage.tpm()).unwrap();
}

#[test]
fn an_emulated_tpm_slipped_under_a_provisioning_is_not_the_enrolled_one() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let emulated = Swtpm::start(folder.path());
    for pcr in 0..8 {
        emulated.extend(pcr, format!("measurement of PCR {pcr}").as_bytes());
    }
    let manifest = stage.authority.sign(&stage.draft());
    let mut agent = stage.connect();

    agent.upload(&manifest).unwrap();
    let result = agent.honest(provision(), &emulated);
    refused(result, RefusalCode::TpmNotEnrolled, "another endorsement key");

    // It shows the pinned key at a persistent handle, but does not hold it: made from the same template, so that
    // only the point differs.
    let pinned = stage.draft().nodes[0].ek.as_bytes().to_vec();
    let own = create_primary(&emulated, ENDORSEMENT, &endorsement_template());
    agent.upload(&manifest).unwrap();
    let hinted = Request::Provision {
        node: sealstone_swtpm_tests::node::NAME.to_owned(),
        tpm: TpmHints { ek_handle: Some(0x8101_0001) },
    };
    let result = agent.ceremony(hinted, &mut |command| {
        let mut command = command.to_vec();
        match code_of(&command) {
            READ_PUBLIC => {
                let body = [sized(&pinned), sized(&[0; 34]), sized(&[0; 34])].concat();
                return Some(success(&body));
            }
            START_AUTH_SESSION => command[10..14].copy_from_slice(&own.to_be_bytes()),
            _ => {}
        }
        emulated.transmit(&command).ok()
    });
    refused(result, RefusalCode::TpmNotEnrolled, "salt");

    // A manifest that enrols the emulated one needs the authority; a stranger's signatures do not do.
    let mut draft = stage.draft();
    draft.nodes[0] = support::stage::node("node-1", &Witness::of(&emulated).enrolment());
    let strangers = support::authority::Authority::new(2, &[7, 8, 9]);
    draft.authority = strangers.set();
    agent.upload(&strangers.sign(&draft)).unwrap();
    refused(agent.honest(provision(), &emulated), RefusalCode::ForeignAuthority, "foreign authority");

    assert_eq!(agent.status().phase, Phase::Unprovisioned);
    assert!(stage.state_file().is_empty(), "nothing was made");
    agent.upload(&manifest).unwrap();
    agent.honest(provision(), stage.tpm()).unwrap();
}

#[test]
fn an_emulated_tpm_slipped_under_an_unlock_is_not_the_enrolled_one() {
    let (stage, mut agent, _) = Stage::provisioned();
    let folder = tempfile::tempdir().unwrap();
    let emulated = Swtpm::start(folder.path());
    let result = lied_to(&stage, &mut agent, |_, command| emulated.transmit(command).ok());
    refused(result, RefusalCode::TpmNotEnrolled, "another endorsement key");
    // From the first authenticated command on: the sessions are not its own.
    let result = lied_to(&stage, &mut agent, |tpm, command| {
        if code_of(command) == GET_RANDOM {
            emulated.transmit(command).ok()
        } else {
            tpm.transmit(command).ok()
        }
    });
    refused(result, RefusalCode::TpmError, "TPM_CC_GetRandom");
    agent.honest(unlock(), stage.tpm()).unwrap();
}

// ---- silence, haste, nonsense -------------------------------------------------------------------------------

#[test]
fn an_agent_that_leaves_in_mid_ceremony_holds_up_nobody() {
    let (stage, mut agent, _) = Stage::provisioned();
    let (_, seen) = {
        agent.ask(Request::Lock).unwrap();
        agent.watched(unlock(), stage.tpm())
    };
    for leaves_at in [0, 1, seen.len() / 2, seen.len() - 3] {
        let mut other = stage.connect();
        if other.status().phase != Phase::Locked {
            other.ask(Request::Lock).unwrap();
        }
        drop(other);
        let mut leaver = stage.connect();
        leaver.0.send(1, unlock()).unwrap();
        let mut relayed = 0;
        loop {
            let message = leaver.0.recv().unwrap();
            let Reply::Relay { step, command } = message.reply else { panic!("{message:?}") };
            if relayed == leaves_at {
                break;
            }
            relayed += 1;
            let response = stage.tpm().transmit(&command).unwrap();
            leaver.0.send(1 + u64::from(step) + 1, Request::Relayed { to: 1, step, response }).unwrap();
        }
        drop(leaver);
        until("the ceremony to end", || stage.log().contains("the agent's connection ended").then_some(()));
        flush_everything(stage.tpm());
        let mut agent = stage.connect();
        until("an honest unlock", || agent.honest(unlock(), stage.tpm()).ok());
    }
}

#[test]
fn answers_to_another_step_twice_empty_overlong_and_nonsense_each_have_their_reason() {
    let (stage, mut agent, _) = Stage::provisioned();
    let says = |agent: &mut Agent, what: &dyn Fn(Vec<u8>) -> Option<Vec<u8>>, code, reason| {
        let result = lied_to(&stage, agent, |tpm, command| {
            let response = tpm.transmit(command).ok()?;
            if code_of(command) == NV_READ { what(response) } else { Some(response) }
        });
        refused(result, code, reason);
    };
    says(&mut agent, &|_| None, RefusalCode::TpmUnreachable, "the agent could not reach the TPM");
    says(&mut agent, &|_| Some(vec![0; TPM_FRAME_MAX + 1]), RefusalCode::TpmUnreachable, "more bytes");
    says(&mut agent, &|_| Some(vec![0x80]), RefusalCode::TpmNotAuthentic, "malformed");
    says(&mut agent, &|_| Some(vec![0xff; 300]), RefusalCode::TpmNotAuthentic, "malformed");
    says(
        &mut agent,
        &|response| Some([response, vec![0]].concat()),
        RefusalCode::TpmNotAuthentic,
        "malformed",
    );
    says(
        &mut agent,
        &|mut response| {
            response.truncate(12);
            Some(response)
        },
        RefusalCode::TpmNotAuthentic,
        "malformed",
    );
    says(&mut agent, &|_| Some(success(&[])), RefusalCode::TpmNotAuthentic, "TPM_CC_NV_Read");

    for (what, wrong) in [("a step that is to come", 1), ("a step long gone", u32::MAX)] {
        let mut hasty = stage.connect();
        hasty.0.send(1, unlock()).unwrap();
        let message = hasty.0.recv().unwrap();
        let Reply::Relay { step, command } = message.reply else { panic!("{message:?}") };
        let response = stage.tpm().transmit(&command).unwrap();
        let step = step.wrapping_add(wrong);
        hasty.0.send(2, Request::Relayed { to: 1, step, response }).unwrap();
        let answer = hasty.0.recv().unwrap();
        let Reply::Refused(refusal) = answer.reply else { panic!("{what}: {answer:?}") };
        refused::<()>(Err(refusal), RefusalCode::TpmUnreachable, "another step");
        flush_everything(stage.tpm());
    }

    // The right answer once more, after the enclave has gone on; what it then has flushed, is.
    let mut stutterer = stage.connect();
    stutterer.0.send(1, unlock()).unwrap();
    let mut first = None;
    let refusal = loop {
        match stutterer.0.recv().unwrap().reply {
            Reply::Relay { step, command } => {
                let response = stage.tpm().transmit(&command).unwrap();
                let mut answer = Request::Relayed { to: 1, step, response };
                if step == 1 {
                    answer = first.take().unwrap();
                } else {
                    first = Some(answer.clone());
                }
                stutterer.0.send(2 + u64::from(step), answer).unwrap();
            }
            Reply::Refused(refusal) => break refusal,
            other => panic!("{other:?}"),
        }
    };
    refused::<()>(Err(refusal), RefusalCode::TpmUnreachable, "another step");
    flush_everything(stage.tpm());
    agent.honest(unlock(), stage.tpm()).unwrap();
}

#[test]
fn a_second_ceremony_meanwhile_is_told_to_wait_and_answers_for_nobody_are_dropped() {
    let (stage, mut agent, _) = Stage::provisioned();
    agent.ask(Request::Lock).unwrap();
    // An answer that nobody waits for.
    agent.0.send(1_000, Request::Relayed { to: 7, step: 0, response: vec![1] }).unwrap();
    agent.0.send(1_001, unlock()).unwrap();
    let first = agent.0.recv().unwrap();
    assert_eq!(first.id, 1_001, "{first:?}");
    agent.0.send(1_002, unlock()).unwrap();
    let second = agent.0.recv().unwrap();
    let Reply::Refused(refusal) = second.reply else { panic!("{second:?}") };
    refused::<()>(Err(refusal), RefusalCode::Busy, "under way");
    // On another connection too.
    let mut other = stage.connect();
    refused(other.honest(unlock(), stage.tpm()), RefusalCode::Busy, "under way");
    refused(other.ask(Request::Lock), RefusalCode::Busy, "under way");
    drop(agent);
    until("the first to be given up", || other.honest(unlock(), stage.tpm()).ok());
}

// ---- the agent uses the TPM itself --------------------------------------------------------------------------

#[test]
fn a_policy_session_of_the_agents_own_opens_nothing_although_it_has_blob_and_tpm() {
    let (stage, agent, _) = Stage::provisioned();
    drop(agent);
    let tpm = stage.tpm();
    let state = state_file::newest(&stage.state_file());
    let slot = &state["slots"][0];
    let bytes = |field: &str| hex::decode(slot["blob"][field].as_str().unwrap()).unwrap();
    let counter = slot["counter"].as_u64().unwrap();

    // Everybody who reaches the TPM may load the blob: the machine is in the approved state.
    let parent = storage_key(tpm);
    let object = [sized(&bytes("private")), sized(&bytes("public"))].concat();
    let object = word(&run(tpm, LOAD, &[parent], &password(&[]), &object).unwrap(), 0);
    let session = policy_session(tpm);
    let policy_auth_value = || run(tpm, 0x16b, &[session], &[], &[]);
    let policy_password = || run(tpm, 0x18c, &[session], &[], &[]);
    let restart = || run(tpm, 0x180, &[session], &[], &[]).unwrap();
    // Any digest, PCRs 0 to 7 of SHA-256: it is what they are.
    let pcrs = [&sized(&[])[..], &1u32.to_be_bytes(), &[0, 0x0b, 3, 0xff, 0, 0]].concat();
    let policy_pcr = || run(tpm, 0x17f, &[session], &[], &pcrs).unwrap();

    let counter_is = [&sized(&counter.to_be_bytes())[..], &[0, 0], &[0, 0]].concat();
    for secret in [&b""[..], b"guess", &[0; 32]] {
        // PolicyNV reads the counter: that takes the counter's auth value.
        restart();
        policy_pcr();
        let refused = run(tpm, POLICY_NV, &[COUNTER, COUNTER, session], &password(secret), &counter_is);
        assert!(matches!(refused, Err(code) if code & 0xbf == 0x8e || code & 0xbf == 0xa2), "{refused:x?}");
    }
    for owner in [OWNER, COUNTER] {
        let refused = run(tpm, NV_READ, &[owner, COUNTER], &password(&[]), &[0, 8, 0, 0]);
        assert!(refused.is_err(), "{refused:x?}");
        let refused = run(tpm, NV_INCREMENT, &[owner, COUNTER], &password(&[]), &[]);
        assert!(refused.is_err(), "{refused:x?}");
    }
    // Whatever is left out or put in the auth value's place, the policy is not satisfied; nor does a bare
    // authorisation do.
    let steps: [(&str, &dyn Fn()); 5] = [
        ("nothing", &|| {}),
        ("PCRs", &|| drop(policy_pcr())),
        ("the auth value", &|| drop(policy_auth_value().unwrap())),
        ("PCRs and an auth value", &|| {
            policy_pcr();
            policy_auth_value().unwrap();
        }),
        ("PCRs and a password", &|| {
            policy_pcr();
            policy_password().unwrap();
        }),
    ];
    for (what, satisfy) in steps {
        for secret in [&b""[..], b"guess"] {
            restart();
            satisfy();
            let refused = run(tpm, UNSEAL, &[object], &authorisation(session, secret), &[]);
            // The policy failed (0x99d), or a guess where no HMAC can be made was no authorisation.
            assert!(refused.is_err(), "{what}: {refused:x?}");
            if secret.is_empty() && what != "the auth value" && !what.contains("auth value") {
                assert_eq!(refused, Err(0x99d), "{what}");
            }
        }
    }
    for secret in [&b""[..], b"guess"] {
        let refused = run(tpm, UNSEAL, &[object], &password(secret), &[]);
        assert!(refused.is_err(), "by password alone: {refused:x?}");
    }
    flush_everything(tpm);

    let mut agent = stage.connect();
    agent.ask(Request::Lock).unwrap();
    agent.honest(unlock(), tpm).unwrap();
}

#[test]
fn a_counter_that_the_agent_removes_or_replaces_opens_nothing() {
    let (stage, mut agent, manifest) = Stage::provisioned();
    undefine(stage.tpm(), COUNTER);
    let result = lied_to(&stage, &mut agent, |tpm, command| tpm.transmit(command).ok());
    refused(result, RefusalCode::SealRollback, "holds no counter");

    // Of the same name, but under an auth value of the agent's.
    define_counter(stage.tpm(), COUNTER);
    let result = lied_to(&stage, &mut agent, |tpm, command| tpm.transmit(command).ok());
    refused(result, RefusalCode::TpmError, "TPM_CC_NV_Read");

    // Provisioning is not the way around it.
    agent.upload(&manifest).unwrap();
    refused(agent.honest(provision(), stage.tpm()), RefusalCode::AlreadyProvisioned, "has a root");
}

#[test]
fn a_tpm_that_the_agent_cleared_opens_nothing() {
    let (stage, mut agent, _) = Stage::provisioned();
    clear(stage.tpm());
    let result = lied_to(&stage, &mut agent, |tpm, command| tpm.transmit(command).ok());
    refused(result, RefusalCode::SealRollback, "holds no counter");
}

#[test]
fn a_command_in_the_enclaves_own_session_is_refused_by_the_tpm() {
    let (stage, mut agent, _) = Stage::provisioned();
    let stolen = Cell::new(None);
    let result = lied_to(&stage, &mut agent, |tpm, command| {
        if code_of(command) != UNSEAL {
            return tpm.transmit(command).ok();
        }
        let (object, session) = (word(command, 10), word(command, 18));
        let early = commands::run(tpm, UNSEAL, &[object], &authorisation(session, &[]), &[]);
        let genuine = tpm.transmit(command).ok();
        let late = tpm.transmit(command).unwrap();
        stolen.set(Some((early, word(&late, 6))));
        genuine
    });
    result.unwrap();
    let (early, late) = stolen.take().unwrap();
    assert!(early.is_err(), "{early:x?}");
    assert_ne!(late, 0, "a repeated command was executed");
}

/// The endorsement template L-2 (TCG EK Credential Profile, B.4.5).
fn endorsement_template() -> Vec<u8> {
    ek_template([0; 32])
}

/// The same kind of key, another one.
fn own_salt_key() -> Vec<u8> {
    ek_template([9; 32])
}

fn ek_template(unique: [u8; 32]) -> Vec<u8> {
    let policy = hex::decode("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa").unwrap();
    [
        &[0, 0x23, 0, 0x0b, 0, 3, 0, 0xb2][..],
        &sized(&policy),
        // AES-128-CFB, no scheme, P-256, no KDF.
        &[0, 6, 0, 0x80, 0, 0x43, 0, 0x10, 0, 3, 0, 0x10],
        &sized(&unique),
        &sized(&unique),
    ]
    .concat()
}
