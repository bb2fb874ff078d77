//! Quotes that open no session, and requests that an open session does not sign, each with its own reason.
#![allow(clippy::unwrap_used)]

mod support;

use sealstone_attestation::{
    Algorithm, Binding, KeyId, PcrBank, PcrValues, PublicKey, Purpose, QuoteEvidence, RequestDigest,
};
use sealstone_swtpm_tests::Swtpm;
use sealstone_swtpm_tests::log::AuditLog;
use sealstone_wire::KeyPath;
use sealstone_wire::key_path::hour_of;
use sealstone_wire::limits::MESSAGE_MAX;
use sealstone_wire::reply::{Phase, RefusalCode};
use sealstone_wire::request::{Payload, Request, SignRequest};
use support::agent::{Challenge, asset, signing, unlock};
use support::stage::{BARE, PCRS, Witness, index, qualifying};
use support::{Agent, Stage, refused};

// ---- quotes -------------------------------------------------------------------------------------------------

#[test]
fn a_quote_made_as_evidence_opens_no_session_and_says_so() {
    let (stage, mut agent, _) = Stage::provisioned();
    let challenge = agent.challenge().unwrap();
    let quote = stage.quote(Purpose::Evidence, &challenge);
    let says = "made for the purpose \"evidence\"";
    refused(agent.attest(quote), RefusalCode::AttestationFailed, says);
    let challenge = agent.challenge().unwrap();
    let quote = stage.quote(Purpose::Evidence, &challenge);
    refused(agent.attest(quote), RefusalCode::AttestationFailed, "statement.nonce");
    assert_eq!(agent.status().phase, Phase::Unlocked);
}

#[test]
fn a_challenge_is_good_for_one_answer_and_the_newest_one_only() {
    let (stage, mut agent, _) = Stage::provisioned();
    let none = stage.witness().quote(PCRS, [0; 32]);
    refused(agent.attest(none), RefusalCode::NoChallenge, "never asked for");

    let challenge = agent.challenge().unwrap();
    let quote = stage.quote(Purpose::Session, &challenge);
    agent.attest(quote.clone()).unwrap();
    refused(agent.attest(quote.clone()), RefusalCode::NoChallenge, "was used");
    // What was replayed without a challenge did not end the session; the answer to another challenge does.
    assert_eq!(agent.status().phase, Phase::Attested);
    agent.challenge().unwrap();
    refused(agent.attest(quote), RefusalCode::AttestationFailed, "statement.nonce");
    assert_eq!(agent.status().phase, Phase::Unlocked, "a quote that fails ends the session");

    // A second challenge voids the first, also from another connection.
    let first = agent.challenge().unwrap();
    let mut other = stage.connect();
    let second = other.challenge().unwrap();
    refused(
        agent.attest(stage.quote(Purpose::Session, &first)),
        RefusalCode::AttestationFailed,
        "statement.nonce",
    );
    refused(other.attest(stage.quote(Purpose::Session, &second)), RefusalCode::NoChallenge, "was used");

    // A failed answer uses the challenge up.
    let challenge = agent.challenge().unwrap();
    refused(
        agent.attest(stage.quote(Purpose::Evidence, &challenge)),
        RefusalCode::AttestationFailed,
        "evidence",
    );
    refused(agent.attest(stage.quote(Purpose::Session, &challenge)), RefusalCode::NoChallenge, "was used");

    // Nor does a challenge outlive a lock.
    let challenge = agent.challenge().unwrap();
    let quote = stage.quote(Purpose::Session, &challenge);
    agent.ask(Request::Lock).unwrap();
    refused(agent.attest(quote.clone()), RefusalCode::Locked, "unlock first");
    refused(agent.challenge(), RefusalCode::Locked, "unlock first");
    agent.honest(unlock(), stage.tpm()).unwrap();
    refused(agent.attest(quote), RefusalCode::NoChallenge, "never asked for");
}

#[test]
fn a_challenge_that_is_half_a_minute_old_is_expired() {
    let (stage, mut agent, _) = Stage::provisioned();
    let challenge = agent.challenge().unwrap();
    let quote = stage.quote(Purpose::Session, &challenge);
    // Time itself is what is tested.
    std::thread::sleep(sealstone_wire::limits::CHALLENGE_TTL);
    refused(agent.attest(quote), RefusalCode::NoChallenge, "older than 30 s");
    stage.attest(&mut agent).unwrap();
}

#[test]
fn a_quote_that_shows_something_else_is_refused_by_name_of_the_check() {
    let (stage, mut agent, _) = Stage::provisioned();
    let folder = tempfile::tempdir().unwrap();
    let other_tpm = Swtpm::start(folder.path());
    for pcr in PCRS {
        other_tpm.extend(pcr, format!("measurement of PCR {pcr}").as_bytes());
    }
    let stranger = Witness::of(&other_tpm);
    // A second attestation key in the same TPM, under the same endorsement key: genuine, but not enrolled.
    let second_key = Witness::of(stage.tpm());
    let witness = stage.witness();
    assert_eq!(second_key.enrolment().ek, witness.enrolment().ek);
    let session = |challenge: &Challenge| qualifying(Purpose::Session, challenge);
    let old = {
        let challenge = agent.challenge().unwrap();
        stage.quote(Purpose::Session, &challenge)
    };

    type Forge<'a> = Box<dyn Fn(&Challenge) -> QuoteEvidence + 'a>;
    let honest = |challenge: &Challenge| witness.quote(PCRS, session(challenge));
    let forged = |forge: fn(&mut QuoteEvidence)| {
        move |challenge: &Challenge| {
            let mut quote = honest(challenge);
            forge(&mut quote);
            quote
        }
    };
    let cases: Vec<(&str, Forge<'_>, &str)> = vec![
        ("another TPM", Box::new(|challenge| stranger.quote(PCRS, session(challenge))), "ak.name"),
        (
            "another key of this TPM",
            Box::new(|challenge| second_key.quote(PCRS, session(challenge))),
            "ak.name",
        ),
        ("an old quote", Box::new(|_| old.clone()), "statement.nonce"),
        (
            "the statement of a stranger's report",
            Box::new(|challenge| {
                let mut wrong = session(challenge);
                wrong[0] ^= 1;
                witness.quote(PCRS, wrong)
            }),
            "statement.nonce",
        ),
        (
            "an empty selection",
            Box::new(|challenge| witness.quote([], session(challenge))),
            "selection.not_empty",
        ),
        ("a PCR less", Box::new(|challenge| witness.quote(1..8, session(challenge))), "selection.covers"),
        ("other PCRs", Box::new(|challenge| witness.quote(8..16, session(challenge))), "selection.covers"),
        (
            "a lie about a value",
            Box::new(forged(|quote| {
                let mut lie = PcrValues::new();
                for (bank, pcr, value) in quote.pcrs.iter() {
                    let value = if pcr == index(7) { vec![9; 32] } else { value.to_vec() };
                    lie.insert(bank, pcr, value).unwrap();
                }
                quote.pcrs = lie;
            })),
            "pcr.digest",
        ),
        (
            "a value that was not quoted",
            Box::new(forged(|quote| {
                quote.pcrs.insert(PcrBank::Sha256, index(9), vec![0; 32]).unwrap();
            })),
            "pcr.values",
        ),
        ("no values", Box::new(forged(|quote| quote.pcrs = PcrValues::new())), "pcr.values"),
        ("a flipped bit of the quote", Box::new(forged(|quote| quote.attest[50] ^= 1)), "signature.valid"),
        (
            "a flipped bit of the signature",
            Box::new(forged(|quote| quote.signature[20] ^= 1)),
            "signature.valid",
        ),
        ("another magic", Box::new(forged(|quote| quote.attest[0] = 0)), "quote.magic"),
        ("a trailing byte", Box::new(forged(|quote| quote.attest.push(0))), "quote.well_formed"),
        ("a truncated quote", Box::new(forged(|quote| quote.attest.truncate(60))), "quote.well_formed"),
        ("no quote", Box::new(forged(|quote| quote.attest.clear())), "quote.magic"),
        ("no signature", Box::new(forged(|quote| quote.signature.clear())), "signature.scheme"),
        ("a signature and more", Box::new(forged(|quote| quote.signature.push(0))), "signature.scheme"),
    ];
    for (what, forge, check) in cases {
        stage.attest(&mut agent).unwrap();
        let challenge = agent.challenge().unwrap();
        let result = agent.attest(forge(&challenge));
        println!("{what}: {result:?}");
        refused(result, RefusalCode::AttestationFailed, check);
        assert_eq!(agent.status().phase, Phase::Unlocked, "{what} ended the session");
    }
    stage.attest(&mut agent).unwrap();
}

#[test]
fn a_checkpoint_that_the_quote_does_not_bind_is_refused() {
    let (stage, mut agent, _) = Stage::provisioned();
    for checkpoint in [vec![1], vec![0; 60_000]] {
        let challenge = agent.challenge().unwrap();
        let quote = stage.quote(Purpose::Session, &challenge);
        let result = agent.ask(Request::Attest { quote, checkpoint });
        refused(result, RefusalCode::AuditMismatch, "checkpoint: expected");
    }
    // A genuine one, which the quote does not hold.
    let checkpoint = AuditLog::default().checkpoint(&mut agent.0).unwrap();
    let challenge = agent.challenge().unwrap();
    let quote = stage.quote(Purpose::Session, &challenge);
    let result = agent.ask(Request::Attest { quote, checkpoint });
    refused(result, RefusalCode::AttestationFailed, "statement.nonce");
}

#[test]
fn a_pcr_that_changes_between_challenge_and_quote_or_in_a_session_is_found() {
    let (mut stage, mut agent, _) = Stage::provisioned();
    stage.attest(&mut agent).unwrap();
    let challenge = agent.challenge().unwrap();
    stage.tpm().extend(7, b"an unapproved boot loader");
    let quote = stage.quote(Purpose::Session, &challenge);
    let says = "state.approved: expected the values of one active state, found others (\"boot-1\": PCR 7";
    refused(agent.attest(quote), RefusalCode::AttestationFailed, says);
    assert_eq!(agent.status().phase, Phase::Unlocked);
    refused(stage.attest(&mut agent), RefusalCode::AttestationFailed, "PCR 7");

    // Nor with a quote from before the change, whose values were good.
    stage.node.reboot_machine();
    let mut agent = stage.reopened();
    let challenge = agent.challenge().unwrap();
    let good = stage.quote(Purpose::Session, &challenge);
    agent.challenge().unwrap();
    stage.tpm().extend(7, b"an unapproved boot loader");
    refused(agent.attest(good), RefusalCode::AttestationFailed, "statement.nonce");
}

// ---- requests -----------------------------------------------------------------------------------------------

/// An attested enclave, with a key to sign under.
struct Signer {
    stage: Stage,
    agent: Agent,
    binding: Binding,
    path: KeyPath,
    key: PublicKey,
}

fn signer(algorithm: Algorithm) -> Signer {
    let (stage, mut agent, _) = Stage::provisioned();
    let binding = stage.attest(&mut agent).unwrap().binding;
    let path = asset("treasury", algorithm);
    let key = agent.public_key(&path, None).unwrap();
    Signer { stage, agent, binding, path, key }
}

impl Signer {
    fn request(&self) -> SignRequest {
        signing(&self.path, self.binding, Some(self.key.key_id()))
    }
}

#[test]
fn without_a_session_nothing_is_signed_derived_or_told() {
    let mut signer = signer(Algorithm::Es256);
    let request = signer.request();
    let mut agent = signer.stage.restart_enclave();
    for _ in 0..2 {
        refused(agent.sign(request.clone()), RefusalCode::Locked, "unlock first");
        refused(agent.public_key(&signer.path, None), RefusalCode::Locked, "unlock first");
        refused(agent.ask(Request::Report), RefusalCode::Locked, "unlock first");
        refused(agent.ask(Request::Receipts { from: 1 }), RefusalCode::Locked, "unlock first");
        refused(agent.ask(Request::Lock), RefusalCode::Locked, "unlock first");
    }
    agent.honest(unlock(), signer.stage.tpm()).unwrap();
    refused(agent.sign(request.clone()), RefusalCode::NoSession, "ask for a challenge and attest");
    refused(agent.public_key(&signer.path, None), RefusalCode::NoSession, "attest");
    refused(agent.public_key(&signer.path, Some(signer.binding)), RefusalCode::NoSession, "attest");
    signer.stage.attest(&mut agent).unwrap();
    agent.sign(request.clone()).unwrap();

    // Wiped on command: the session is gone with the root.
    agent.ask(Request::Lock).unwrap();
    refused(agent.sign(request.clone()), RefusalCode::Locked, "unlock first");
    assert_eq!(agent.status().phase, Phase::Locked);
    agent.honest(unlock(), signer.stage.tpm()).unwrap();
    refused(agent.sign(request), RefusalCode::NoSession, "attest");
}

#[test]
fn a_session_ends_when_its_time_is_over() {
    let (stage, mut agent, manifest) = Stage::provisioned();
    let mut draft = support::authority::successor(&manifest);
    draft.session_ttl_s = 10;
    agent.upload(&stage.authority.sign(&draft)).unwrap();
    agent.honest(support::agent::apply(), stage.tpm()).unwrap();
    let binding = stage.attest(&mut agent).unwrap().binding;
    let path = asset("treasury", Algorithm::EdDsa);
    let key = agent.public_key(&path, None).unwrap();
    agent.sign(signing(&path, binding, Some(key.key_id()))).unwrap();
    // Time itself is what is tested.
    std::thread::sleep(std::time::Duration::from_secs(10));
    let request = signing(&path, binding, Some(key.key_id()));
    refused(agent.sign(request), RefusalCode::NoSession, "the attested session has ended; attest anew");
    assert_eq!(agent.status().phase, Phase::Unlocked);
}

#[test]
fn a_key_is_derived_only_for_its_binding_its_record_and_its_permission() {
    let mut signer = signer(Algorithm::Es256);
    let good = signer.request();
    let change = |change: &dyn Fn(&mut SignRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let elsewhere = |tenant: &str, asset: &str| KeyPath::Asset {
        tenant: tenant.parse().unwrap(),
        asset: asset.parse().unwrap(),
        epoch: sealstone_wire::Epoch(0),
        algorithm: Algorithm::Es256,
    };
    let cases: Vec<(&str, SignRequest, RefusalCode, &str)> = vec![
        (
            "a foreign binding",
            change(&|request| request.binding = Binding::of(b"elsewhere")),
            RefusalCode::BindingRefused,
            "expected the binding of a state in the manifest",
        ),
        (
            "a wrong key id",
            change(&|request| request.key_id = Some(KeyId::from_bytes([1; 32]))),
            RefusalCode::KeyMismatch,
            "the root, the binding or the record",
        ),
        (
            "another asset under this one's key id",
            change(&|request| request.path = asset("other", Algorithm::Es256)),
            RefusalCode::KeyMismatch,
            "expected key",
        ),
        ("no key id", change(&|request| request.key_id = None), RefusalCode::Malformed, "recorded key id"),
        (
            "another tenant",
            change(&|request| request.path = elsewhere("rival", "treasury")),
            RefusalCode::NotPermitted,
            "tenant \"rival\"",
        ),
        (
            "a digest without permission",
            change(&|request| request.payload = Payload::Digest([1; 32])),
            RefusalCode::NotPermitted,
            "a bare digest",
        ),
        (
            "too long a message",
            change(&|request| request.payload = Payload::Message(vec![0; MESSAGE_MAX + 1])),
            RefusalCode::Malformed,
            "expected a message of at most 61440 bytes",
        ),
        (
            "Keccak for Ed25519",
            {
                let path = asset("sol", Algorithm::EdDsa);
                let key = signer.agent.public_key(&path, None).unwrap();
                let mut request = signing(&path, signer.binding, Some(key.key_id()));
                request.payload = Payload::MessageKeccak(vec![1]);
                request
            },
            RefusalCode::PayloadUnsuitable,
            "EdDSA signs the message itself",
        ),
        (
            "a digest for Ed25519, which never signs one",
            {
                let path = asset(BARE, Algorithm::EdDsa);
                let key = signer.agent.public_key(&path, None).unwrap();
                let mut request = signing(&path, signer.binding, Some(key.key_id()));
                request.payload = Payload::Digest([1; 32]);
                request
            },
            RefusalCode::NotPermitted,
            "no EdDSA signature over a bare digest",
        ),
    ];
    let before = signer.agent.status().sequence;
    for (what, request, code, says) in cases {
        let result = signer.agent.sign(request);
        println!("{what}: {result:?}");
        refused(result, code, says);
    }
    let says = "tenant \"rival\"";
    refused(signer.agent.public_key(&elsewhere("rival", "x"), None), RefusalCode::NotPermitted, says);
    refused(
        signer.agent.public_key(&signer.path, Some(Binding::of(b"elsewhere"))),
        RefusalCode::BindingRefused,
        "expected the binding",
    );
    assert_eq!(signer.agent.status().sequence, before, "what is refused has no receipt");

    // The permission is for this asset, and for nothing that looks like it.
    let path = asset(BARE, Algorithm::Es256);
    let key = signer.agent.public_key(&path, None).unwrap();
    let mut request = signing(&path, signer.binding, Some(key.key_id()));
    request.payload = Payload::Digest([1; 32]);
    signer.agent.sign(request).unwrap();
    for payload in [vec![0; 32], vec![0xff; MESSAGE_MAX], vec![]] {
        let mut request = signer.request();
        request.payload = Payload::Message(payload);
        signer.agent.sign(request).unwrap();
    }
    for name in ["Bare", "bare ", "bare\0", "BARE"] {
        let path = asset(name, Algorithm::Es256);
        let key = signer.agent.public_key(&path, None).unwrap();
        let mut request = signing(&path, signer.binding, Some(key.key_id()));
        request.payload = Payload::Digest([1; 32]);
        refused(signer.agent.sign(request), RefusalCode::NotPermitted, "a bare digest");
    }
}

#[test]
fn a_session_key_is_for_this_hour_these_seconds_this_state_and_one_nonce() {
    let (stage, mut agent, _) = Stage::provisioned();
    let binding = stage.attest(&mut agent).unwrap().binding;
    let path = |hour: u64, nonce: u64| KeyPath::Session {
        tenant: "acme".parse().unwrap(),
        sender: "hot".parse().unwrap(),
        chain_id: 1,
        nonce,
        hour,
        algorithm: Algorithm::Es256k,
    };
    let request = |issued_at_ms: Option<u64>, hour: u64, nonce: u64| SignRequest {
        path: path(hour, nonce),
        issued_at_ms,
        request: RequestDigest::of(&nonce.to_be_bytes()),
        ..signing(&path(hour, nonce), binding, None)
    };
    let this_hour = |ms: u64| hour_of(ms / 1000);

    let now = agent.clock();
    let cases = [
        ("six seconds old", now - 6_000, this_hour(now - 6_000), "expected a request of at most 5000 ms"),
        ("an hour old", now - 3_600_000, this_hour(now - 3_600_000), "expected a request of at most 5000 ms"),
        ("in the future", now + 60_000, this_hour(now + 60_000), "in the future"),
        ("at the end of time", u64::MAX, this_hour(u64::MAX), "in the future"),
        ("at its beginning", 0, 0, "expected a request of at most 5000 ms"),
        ("the hour before", now, this_hour(now) - 1, "of the issue time, found"),
        ("the hour after", now, this_hour(now) + 1, "of the issue time, found"),
        ("no hour of man", now, u64::MAX, "of the issue time, found"),
    ];
    for (what, issued, hour, says) in cases {
        let result = agent.sign(request(Some(issued), hour, 1));
        println!("{what}: {result:?}");
        refused(result, RefusalCode::SessionKeyExpired, says);
    }
    refused(agent.sign(request(None, this_hour(now), 1)), RefusalCode::Malformed, "when the enclave's clock");
    let now = agent.clock();
    let mut foreign = request(Some(now), this_hour(now), 1);
    foreign.binding = Binding::of(b"elsewhere");
    refused(agent.sign(foreign), RefusalCode::BindingRefused, "expected the binding");
    let mut mistaken = request(Some(now), this_hour(now), 1);
    mistaken.key_id = Some(KeyId::from_bytes([1; 32]));
    refused(agent.sign(mistaken), RefusalCode::KeyMismatch, "expected key");

    let mut signed = |nonce| {
        let now = agent.clock();
        agent.sign(request(Some(now), this_hour(now), nonce)).unwrap()
    };
    let (first, again, other) = (signed(1), signed(1), signed(2));
    assert_ne!(first.public_key, other.public_key, "two nonces, two keys");
    // The same nonce in the same hour is the same key: that it signs only once is the agent's to see to, and the
    // receipts show it if it did not.
    if first.receipt.receipt.time.as_secs() / 3600 == again.receipt.receipt.time.as_secs() / 3600 {
        assert_eq!(first.public_key, again.public_key);
    }
    assert_eq!(again.receipt.receipt.sequence, first.receipt.receipt.sequence + 1);
}
