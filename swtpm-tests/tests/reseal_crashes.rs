//! The enclave is killed at every single TPM command of a provisioning, an unlock and a manifest change, before the
//! TPM executed it and after: each time it unlocks again, under the same keys.
#![allow(clippy::unwrap_used)]

mod support;

use sealstone_attestation::{Algorithm, PublicKey};
use sealstone_wire::reply::Phase;
use sealstone_wire::request::Request;
use support::agent::{apply, asset, provision, unlock};
use support::authority::successor;
use support::commands::{COUNTER, flush_everything, undefine};
use support::{Agent, Stage};

/// Whether the TPM had executed the command when the enclave died.
const MOMENTS: [bool; 2] = [false, true];

/// Runs a ceremony and kills the enclave when it asks for command `at`; `false` if it never did.
fn killed_at(stage: &mut Stage, agent: &mut Agent, request: Request, at: usize, executed: bool) -> bool {
    let mut enclave = Some(stage.node.take_enclave());
    let mut asked = 0;
    let tpm = &stage.node.tpm;
    let ended = agent.try_ceremony(request, &mut |command| {
        let dies = asked == at;
        asked += 1;
        let response = (!dies || executed).then(|| tpm.transmit(command).unwrap());
        if dies {
            enclave.take().unwrap().kill();
        }
        response
    });
    let died = enclave.is_none();
    assert_eq!(died, ended.is_err(), "command {at}: {ended:?}");
    // Either way the next begins with a new process; a resource manager would flush for a client that is gone.
    drop(enclave);
    flush_everything(tpm);
    stage.node.start_enclave();
    died
}

fn keys(stage: &Stage, agent: &mut Agent) -> Vec<PublicKey> {
    stage.attest(agent).unwrap();
    Algorithm::ALL.map(|algorithm| agent.public_key(&asset("treasury", algorithm), None).unwrap()).to_vec()
}

#[test]
fn an_enclave_killed_at_any_command_of_an_unlock_unlocks_again_under_the_same_keys() {
    let (mut stage, mut agent, _) = Stage::provisioned();
    let before = keys(&stage, &mut agent);
    let mut era = agent.status().era;
    for executed in MOMENTS {
        for at in 0.. {
            let mut agent = stage.restart_enclave();
            let died = killed_at(&mut stage, &mut agent, unlock(), at, executed);
            let mut agent = stage.connect();
            assert_eq!(agent.status().phase, Phase::Locked);
            let status = agent.honest(unlock(), stage.tpm()).unwrap_or_else(|error| {
                panic!("killed at command {at} (executed: {executed}): {error:?}");
            });
            assert!(status.era > era, "command {at}: {status:?}");
            era = status.era;
            assert_eq!(keys(&stage, &mut agent), before, "command {at}");
            if !died {
                assert!(at > 15, "a whole unlock took {at} commands");
                break;
            }
        }
    }
}

#[test]
fn an_enclave_killed_at_any_command_of_a_manifest_change_has_one_of_both_manifests_and_the_same_keys() {
    let (mut stage, mut agent, mut manifest) = Stage::provisioned();
    let before = keys(&stage, &mut agent);
    let mut versions = [0, 0];
    for executed in MOMENTS {
        for at in 0.. {
            let mut draft = successor(&manifest);
            draft.session_ttl_s = 100 + draft.version;
            let next = stage.authority.sign(&draft);
            let mut agent = stage.reopened();
            agent.upload(&next).unwrap();
            let died = killed_at(&mut stage, &mut agent, apply(), at, executed);
            let mut agent = stage.connect();
            let status = agent.honest(unlock(), stage.tpm()).unwrap_or_else(|error| {
                panic!("killed at command {at} (executed: {executed}): {error:?}");
            });
            let version = status.manifest.unwrap().version;
            assert!([draft.version - 1, draft.version].contains(&version), "command {at}: {version}");
            assert!(died || version == draft.version, "what was confirmed is in force");
            versions[usize::from(version == draft.version)] += 1;
            // The same manifest again is how an agent finds out, and brings it about.
            agent.upload(&next).unwrap();
            let status = agent.honest(apply(), stage.tpm()).unwrap();
            assert_eq!(status.manifest.unwrap().version, draft.version);
            manifest = next;
            assert_eq!(keys(&stage, &mut agent), before, "command {at}");
            if !died {
                break;
            }
        }
    }
    assert!(versions[0] > 10 && versions[1] > 1, "both sides of the step were seen: {versions:?}");
}

#[test]
fn an_enclave_killed_at_any_command_of_a_provisioning_is_provisioned_or_can_be() {
    let mut stage = Stage::new();
    let manifest = stage.authority.sign(&stage.draft());
    for executed in MOMENTS {
        for at in 0.. {
            let mut agent = stage.connect();
            agent.upload(&manifest).unwrap();
            let died = killed_at(&mut stage, &mut agent, provision(), at, executed);
            let mut agent = stage.connect();
            if agent.status().phase == Phase::Unprovisioned {
                agent.upload(&manifest).unwrap();
                agent.honest(provision(), stage.tpm()).unwrap_or_else(|error| {
                    panic!("killed at command {at} (executed: {executed}): {error:?}");
                });
                agent.ask(Request::Lock).unwrap();
            }
            agent.honest(unlock(), stage.tpm()).unwrap_or_else(|error| {
                panic!("killed at command {at} (executed: {executed}): {error:?}");
            });
            let before = keys(&stage, &mut agent);
            let mut agent = stage.reopened();
            assert_eq!(keys(&stage, &mut agent), before, "command {at}");
            if !died {
                break;
            }
            // As an owner who truly abandons a root.
            stage.node.kill_enclave();
            undefine(stage.tpm(), COUNTER);
            std::fs::remove_file(stage.node.path("enclave.state")).unwrap();
            stage.node.start_enclave();
        }
    }
}
