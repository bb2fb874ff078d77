//! Manifests that an enclave must not take, at provisioning and afterwards, each with its own reason; and what a good
//! successor changes.
#![allow(clippy::unwrap_used)]

mod support;

use sealstone_attestation::{
    Algorithm, DeploymentId, Grace, ManifestDigest, ManifestDraft, PcrValues, StateStatus, Succession,
};
use sealstone_wire::limits::{MANIFEST_CHUNK_MAX, MANIFEST_MAX};
use sealstone_wire::reply::{Phase, Refusal, RefusalCode, Status};
use sealstone_wire::request::Request;
use sha2::{Digest, Sha256};
use support::agent::{apply, asset, provision, provision_as, signing, unlock};
use support::authority::{Authority, envelope, seal, successor};
use support::stage::{Witness, index, node, state};
use support::{Agent, Stage, refused};

fn applied(stage: &Stage, agent: &mut Agent, envelope: &[u8]) -> Result<Status, Refusal> {
    agent.upload(envelope)?;
    agent.honest(apply(), stage.tpm())
}

/// The values as they will be once this event was measured into a PCR.
fn extended(values: &PcrValues, pcr: u8, event: &[u8]) -> PcrValues {
    let mut after = PcrValues::new();
    for (bank, index, value) in values.iter() {
        let value = if index.get() == pcr {
            Sha256::digest([value, &Sha256::digest(event)].concat()).to_vec()
        } else {
            value.to_vec()
        };
        after.insert(bank, index, value).unwrap();
    }
    after
}

// ---- provisioning -------------------------------------------------------------------------------------------

#[test]
fn only_a_manifest_of_the_pinned_authority_that_enrols_this_machine_provisions() {
    let stage = Stage::new();
    let mut agent = stage.connect();
    let good = stage.draft();
    let [one, two, three] = &stage.authority.keys[..] else { panic!("three approvers") };
    let strangers = Authority::new(2, &[7, 8, 9]);
    let [stranger, ..] = &strangers.keys[..] else { panic!("three strangers") };
    let change = |change: &dyn Fn(&mut ManifestDraft)| {
        let mut draft = good.clone();
        change(&mut draft);
        draft
    };
    let theirs = change(&|draft| draft.authority = strangers.set());
    let fewer = change(&|draft| draft.authority = Authority::new(1, &[1, 2, 3]).set());
    let mut invalid = seal(serde_json::to_vec(&good).unwrap(), &[one, two]);
    invalid.signatures[1].sig[5] ^= 1;
    let mut changed = seal(serde_json::to_vec(&good).unwrap(), &[one, two]);
    changed.payload.push(b' ');
    let mut retyped = seal(serde_json::to_vec(&good).unwrap(), &[one, two]);
    retyped.payload_type = "application/json".to_owned();
    let nothing = change(&|draft| draft.states.clear());
    let resettable = change(&|draft| {
        let value = draft.states[0].pcrs[&index(0)].clone();
        draft.states[0].pcrs.insert(index(16), value);
    });

    let cases: [(&str, Vec<u8>, RefusalCode, &str); 15] = [
        ("a foreign authority", strangers.sign(&theirs), RefusalCode::ForeignAuthority, "foreign authority"),
        ("a lower threshold", envelope(&fewer, &[one]), RefusalCode::ForeignAuthority, "foreign authority"),
        (
            "no signature",
            envelope(&good, &[]),
            RefusalCode::ManifestRefused,
            "at least 2 of the authority set, found 0",
        ),
        (
            "too few",
            envelope(&good, &[three]),
            RefusalCode::ManifestRefused,
            "at least 2 of the authority set, found 1",
        ),
        (
            "one twice",
            envelope(&good, &[one, one]),
            RefusalCode::ManifestRefused,
            "one signature by each authority",
        ),
        (
            "a stranger's",
            envelope(&good, &[one, two, stranger]),
            RefusalCode::ManifestRefused,
            "foreign signature",
        ),
        ("an invalid one", invalid.to_json(), RefusalCode::ManifestRefused, "does not verify"),
        ("changed after", changed.to_json(), RefusalCode::ManifestRefused, "does not verify"),
        ("another type", retyped.to_json(), RefusalCode::ManifestRefused, "application/json"),
        ("no state", stage.authority.sign(&nothing), RefusalCode::ManifestRefused, "states, found 0"),
        ("a resettable PCR", stage.authority.sign(&resettable), RefusalCode::ManifestRefused, "resettable"),
        ("no JSON", b"PK\x03\x04".to_vec(), RefusalCode::ManifestRefused, "expected"),
        ("an empty object", b"{}".to_vec(), RefusalCode::ManifestRefused, "missing field"),
        ("nested JSON", vec![b'['; 100_000], RefusalCode::ManifestRefused, "expected"),
        (
            "a payload that is no manifest",
            seal(b"{}".to_vec(), &[one, two]).to_json(),
            RefusalCode::ManifestRefused,
            "missing field",
        ),
    ];
    for (what, envelope, code, says) in cases {
        agent.upload(&envelope).unwrap();
        let result = agent.honest(provision(), stage.tpm());
        println!("{what}: {result:?}");
        refused(result, code, says);
    }

    let good = stage.authority.sign(&good);
    agent.upload(&good).unwrap();
    let says = "does not enrol a node named \"node-2\"";
    refused(agent.honest(provision_as("node-2"), stage.tpm()), RefusalCode::NotEnrolled, says);
    refused(agent.honest(provision(), stage.tpm()), RefusalCode::ManifestRefused, "no manifest was uploaded");
    refused(agent.honest(apply(), stage.tpm()), RefusalCode::ManifestRefused, "no manifest was uploaded");
    agent.upload(&good).unwrap();
    refused(agent.honest(apply(), stage.tpm()), RefusalCode::Unprovisioned, "no root yet");

    assert_eq!(agent.status().phase, Phase::Unprovisioned);
    assert!(stage.state_file().is_empty(), "nothing was made");
    agent.upload(&good).unwrap();
    agent.honest(provision(), stage.tpm()).unwrap();
    agent.upload(&good).unwrap();
    refused(agent.honest(provision(), stage.tpm()), RefusalCode::AlreadyProvisioned, "has a root");
}

#[test]
fn a_machine_in_an_unapproved_state_is_not_provisioned() {
    let stage = Stage::new();
    let manifest = stage.authority.sign(&stage.draft());
    stage.tpm().extend(7, b"an unapproved boot loader");
    let mut agent = stage.connect();
    agent.upload(&manifest).unwrap();
    refused(agent.honest(provision(), stage.tpm()), RefusalCode::SealStateMismatch, "sha256:7");
    assert!(stage.state_file().is_empty(), "nothing was made");
}

// ---- the upload ---------------------------------------------------------------------------------------------

#[test]
fn pieces_of_a_manifest_come_in_order_bounded_and_one_upload_at_a_time() {
    let stage = Stage::new();
    let manifest = stage.authority.sign(&stage.draft());
    let mut agent = stage.connect();
    let piece = |offset: usize, bytes: &[u8]| Request::ManifestChunk {
        offset: u32::try_from(offset).unwrap(),
        bytes: bytes.to_vec(),
    };
    for (what, offset, bytes, says) in [
        ("not at its beginning", 5, &b"x"[..], "expected the piece at offset 0, found 5"),
        ("an empty piece", 0, b"", "found 0"),
        ("a long piece", 0, &vec![b'x'; MANIFEST_CHUNK_MAX + 1], "found 32769"),
        ("at the end of numbers", usize::try_from(u32::MAX).unwrap(), b"x", "found 4294967295"),
    ] {
        println!("{what}");
        refused(agent.ask(piece(offset, bytes)), RefusalCode::Malformed, says);
    }
    // A flood: what was uploaded is forgotten.
    let mut offset = 0;
    let flooded = loop {
        match agent.ask(piece(offset, &[b'x'; MANIFEST_CHUNK_MAX])) {
            Ok(_) => offset += MANIFEST_CHUNK_MAX,
            Err(refusal) => break refusal,
        }
        assert!(offset <= MANIFEST_MAX);
    };
    refused::<()>(Err(flooded), RefusalCode::Malformed, "expected a manifest of at most 1048576 bytes");
    refused(agent.honest(provision(), stage.tpm()), RefusalCode::ManifestRefused, "no manifest was uploaded");

    // Two connections interleave: neither gets a manifest that nobody signed.
    let mut other = stage.connect();
    let half = manifest.len() / 2;
    agent.ask(piece(0, &manifest[..half])).unwrap();
    other.ask(piece(0, &manifest[..half - 1])).unwrap();
    refused(
        agent.ask(piece(half, &manifest[half..])),
        RefusalCode::Malformed,
        "expected the piece at offset",
    );
    refused(other.ask(piece(half - 1, &manifest[half - 1..])), RefusalCode::Malformed, "offset 0");
    // Half an upload is no manifest.
    agent.ask(piece(0, &manifest[..half])).unwrap();
    refused(agent.honest(provision(), stage.tpm()), RefusalCode::ManifestRefused, "expected");

    // In the smallest pieces it is one.
    for (offset, byte) in manifest.iter().enumerate() {
        agent.ask(piece(offset, &[*byte])).unwrap();
    }
    agent.honest(provision(), stage.tpm()).unwrap();
}

// ---- successors ---------------------------------------------------------------------------------------------

#[test]
fn only_the_next_manifest_of_this_deployment_is_applied() {
    let (stage, mut agent, first) = Stage::provisioned();
    let mut second = successor(&first);
    second.session_ttl_s = 60;
    let signed = stage.authority.sign(&second);
    applied(&stage, &mut agent, &signed).unwrap();

    let [one, two, three] = &stage.authority.keys[..] else { panic!("three approvers") };
    let strangers = Authority::new(2, &[7, 8, 9]);
    let [stranger, other_stranger, _] = &strangers.keys[..] else { panic!("three strangers") };
    let next = successor(&signed);
    let change = |change: &dyn Fn(&mut ManifestDraft)| {
        let mut draft = next.clone();
        change(&mut draft);
        stage.authority.sign(&draft)
    };
    let folder = tempfile::tempdir().unwrap();
    let other_tpm = sealstone_swtpm_tests::Swtpm::start(folder.path());
    let other_machine = Witness::of(&other_tpm).enrolment();

    let cases: Vec<(&str, Vec<u8>, RefusalCode, &str)> = vec![
        (
            "the one before",
            first.clone(),
            RefusalCode::ManifestRollback,
            "newer than version 2, found version 1",
        ),
        (
            "the same version, another digest",
            change(&|draft| {
                draft.version = 2;
                draft.previous = second.previous;
                draft.session_ttl_s = 61;
            }),
            RefusalCode::ManifestConflict,
            "found another manifest of that version",
        ),
        (
            "a gap",
            change(&|draft| draft.version = 4),
            RefusalCode::ManifestRefused,
            "expected manifest version 3 next, found version 4",
        ),
        (
            "the end of numbers",
            change(&|draft| draft.version = u64::MAX),
            RefusalCode::ManifestRefused,
            "expected manifest version 3 next",
        ),
        (
            "another predecessor",
            change(&|draft| draft.previous = Some(ManifestDigest::of(b"another"))),
            RefusalCode::ManifestRefused,
            "expected a manifest that follows",
        ),
        (
            "another deployment",
            change(&|draft| draft.deployment = DeploymentId::from_bytes([9; 16])),
            RefusalCode::OtherDeployment,
            "expected a manifest of deployment",
        ),
        (
            "signed time that goes back",
            change(&|draft| draft.issued_at = sealstone_attestation::UnixTime::from_secs(1_000)),
            RefusalCode::ManifestRefused,
            "issued at",
        ),
        (
            "without this node",
            change(&|draft| draft.nodes[0].name = "node-2".to_owned()),
            RefusalCode::NotEnrolled,
            "\"node-1\"",
        ),
        (
            "this node with another TPM",
            change(&|draft| draft.nodes[0] = node("node-1", &other_machine)),
            RefusalCode::NotEnrolled,
            "a root does not move by manifest",
        ),
        ("too few signatures", envelope(&next, &[two]), RefusalCode::ManifestRefused, "at least 2"),
        ("one signature twice", envelope(&next, &[two, two]), RefusalCode::ManifestRefused, "found two by"),
        (
            "a stranger's signature beside enough good ones",
            envelope(&next, &[one, two, stranger]),
            RefusalCode::ManifestRefused,
            "foreign signature",
        ),
        (
            "strangers who name themselves",
            strangers.sign(&ManifestDraft { authority: strangers.set(), ..next.clone() }),
            RefusalCode::ManifestRefused,
            "none named",
        ),
        (
            "strangers whom the authority did not invite",
            envelope(
                &ManifestDraft {
                    authority: strangers.set(),
                    outgoing_authority: Some(stage.authority.set()),
                    ..next.clone()
                },
                &[stranger, other_stranger, one],
            ),
            RefusalCode::ManifestRefused,
            "expected the outgoing authority set to have signed too",
        ),
        ("nothing", b" ".to_vec(), RefusalCode::ManifestRefused, "EOF"),
    ];
    stage.attest(&mut agent).unwrap();
    for (what, envelope, code, says) in cases {
        let result = applied(&stage, &mut agent, &envelope);
        println!("{what}: {result:?}");
        refused(result, code, says);
        let status = agent.status();
        assert_eq!(status.manifest.unwrap().version, 2, "{what}");
        assert_eq!(status.phase, Phase::Attested, "{what}: what is refused ends no session");
    }

    // The one in force again: nothing changes, and the counter does not rise.
    let state = stage.state_file();
    applied(&stage, &mut agent, &signed).unwrap();
    assert!(stage.state_file() == state, "nothing was written");
    // Any two of three do.
    applied(&stage, &mut agent, &envelope(&next, &[three, two])).unwrap();
    agent.ask(Request::Lock).unwrap();
    refused(applied(&stage, &mut agent, &signed), RefusalCode::Locked, "unlock first");
    assert_eq!(agent.honest(unlock(), stage.tpm()).unwrap().manifest.unwrap().version, 3);
}

#[test]
fn a_good_successor_ends_the_session_and_says_which_old_keys_still_derive() {
    let (mut stage, mut agent, first) = Stage::provisioned();
    let path = asset("treasury", Algorithm::Es256k);
    let old = stage.attest(&mut agent).unwrap();
    let key = agent.public_key(&path, None).unwrap();
    let by_old_key = || signing(&path, old.binding, Some(key.key_id()));
    agent.sign(by_old_key()).unwrap();

    // The firmware update: PCR 7 will have another value.
    let event = b"an approved boot loader";
    let values = extended(&stage.witness().pcrs(), 7, event);
    let mut draft = successor(&first);
    draft.states.push(state("boot-2", &values));
    let pair = |grace| Succession { from: "boot-1".to_owned(), to: "boot-2".to_owned(), grace };
    draft.successions = vec![pair(Grace::Forever)];
    let second = stage.authority.sign(&draft);
    let status = applied(&stage, &mut agent, &second).unwrap();
    assert_eq!(
        (status.phase, status.session),
        (Phase::Unlocked, None),
        "the session was attested under the old one"
    );
    refused(agent.sign(by_old_key()), RefusalCode::NoSession, "ask for a challenge");
    assert_eq!(stage.attest(&mut agent).unwrap().binding, old.binding);
    agent.sign(by_old_key()).unwrap();

    // The machine boots into it: both blobs of the seal's states open, the old key still derives.
    stage.tpm().extend(7, event);
    let new = stage.attest(&mut agent).unwrap();
    assert_eq!(new.state, "boot-2");
    assert_ne!(new.binding, old.binding);
    assert_ne!(agent.public_key(&path, None).unwrap(), key, "a new epoch would have a new key");
    agent.sign(by_old_key()).unwrap();
    let mut agent = stage.reopened();
    stage.attest(&mut agent).unwrap();
    agent.sign(by_old_key()).unwrap();

    // A grace that is over; then a state that is retired; then one that nobody names any more.
    let mut draft = successor(&second);
    draft.states[0].status = StateStatus::Predecessor;
    draft.successions = vec![pair(Grace::None)];
    let third = stage.authority.sign(&draft);
    applied(&stage, &mut agent, &third).unwrap();
    stage.attest(&mut agent).unwrap();
    refused(agent.sign(by_old_key()), RefusalCode::BindingRefused, "found it ended at");
    let mut draft = successor(&third);
    draft.successions.clear();
    let fourth = stage.authority.sign(&draft);
    applied(&stage, &mut agent, &fourth).unwrap();
    stage.attest(&mut agent).unwrap();
    refused(
        agent.sign(by_old_key()),
        RefusalCode::BindingRefused,
        "expected a succession from state \"boot-1\"",
    );
    let mut draft = successor(&fourth);
    draft.states[0].status = StateStatus::Retired;
    let fifth = stage.authority.sign(&draft);
    applied(&stage, &mut agent, &fifth).unwrap();
    stage.attest(&mut agent).unwrap();
    refused(
        agent.sign(by_old_key()),
        RefusalCode::BindingRefused,
        "retired state \"boot-1\": rotate the asset",
    );
    refused(agent.public_key(&path, Some(old.binding)), RefusalCode::BindingRefused, "retired");
    let mut draft = successor(&fifth);
    draft.states.remove(0);
    let sixth = stage.authority.sign(&draft);
    applied(&stage, &mut agent, &sixth).unwrap();
    stage.attest(&mut agent).unwrap();
    refused(
        agent.sign(by_old_key()),
        RefusalCode::BindingRefused,
        "expected the binding of a state in the manifest",
    );

    // The retired state is not in the seal either.
    stage.node.reboot_machine();
    agent.ask(Request::Lock).unwrap();
    refused(agent.honest(unlock(), stage.tpm()), RefusalCode::SealStateMismatch, "sha256:7");
}

#[test]
fn a_manifest_for_a_state_that_the_machine_is_not_in_locks_it_out_until_it_is() {
    let (mut stage, mut agent, first) = Stage::provisioned();
    let event = b"the next boot loader";
    let values = extended(&stage.witness().pcrs(), 7, event);
    let mut draft = successor(&first);
    draft.states = vec![state("boot-2", &values)];
    applied(&stage, &mut agent, &stage.authority.sign(&draft)).unwrap();
    refused(stage.attest(&mut agent), RefusalCode::AttestationFailed, "state.approved");
    let mut agent = stage.restart_enclave();
    refused(agent.honest(unlock(), stage.tpm()), RefusalCode::SealStateMismatch, "sha256:7");
    stage.tpm().extend(7, event);
    agent.honest(unlock(), stage.tpm()).unwrap();
    stage.attest(&mut agent).unwrap();
}

#[test]
fn an_authority_hands_over_only_with_both_signatures_and_then_has_no_say() {
    let (mut stage, mut agent, first) = Stage::provisioned();
    let heirs = Authority::new(1, &[20, 21]);
    let mut draft = successor(&first);
    draft.outgoing_authority = Some(stage.authority.set());
    draft.authority = heirs.set();
    let elders = stage.authority.clone();
    let [one, two, _] = &elders.keys[..] else { panic!("three approvers") };
    let [heir, _] = &heirs.keys[..] else { panic!("two heirs") };
    let alone = envelope(&draft, &[one, two]);
    refused(applied(&stage, &mut agent, &alone), RefusalCode::ManifestRefused, "at least 1");
    let usurped = envelope(&draft, &[heir, one]);
    refused(applied(&stage, &mut agent, &usurped), RefusalCode::ManifestRefused, "at least 2");
    let handed_over = envelope(&draft, &[one, two, heir]);
    applied(&stage, &mut agent, &handed_over).unwrap();

    // The seal has the new authority: the old one's manifest opens nothing, and approves nothing.
    let mut agent = stage.reopened();
    let mut draft = successor(&handed_over);
    draft.outgoing_authority = None;
    let result = applied(&stage, &mut agent, &envelope(&draft, &[one, two]));
    refused(result, RefusalCode::ManifestRefused, "foreign signature");
    applied(&stage, &mut agent, &heirs.sign(&draft)).unwrap();
    let mut agent = stage.reopened();
    assert_eq!(agent.status().manifest.unwrap().authority, heirs.set().digest());
}
