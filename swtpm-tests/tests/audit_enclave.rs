//! The enclave and the audit log that it is shown: what it signs, what it notices, and what it remembers.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use sealstone_attestation::audit::{
    Checkpoint, EntryBundle, Frontier, LeafHash, Origin, Record, RecordKind, TreeHash, VerifiedCheckpoint,
};
use sealstone_attestation::{Algorithm, Purpose, ReceiptHash, Signature64};
use sealstone_swtpm_tests::log::{AuditLog, Begun, begin, record_of};
use sealstone_swtpm_tests::process::binary;
use sealstone_swtpm_tests::wait::until;
use sealstone_wire::limits::{AUDIT_LEAVES_MAX, AUDIT_UNCOVERED_MAX};
use sealstone_wire::reply::{Refusal, RefusalCode, Reply, Signed};
use sealstone_wire::request::{Request, SignRequest};
use support::agent::{asset, provision, signing, unlock};
use support::stage::{PCRS, qualifying_with};
use support::{Agent, Stage, refused, state_file};

/// A request to sign that an open session grants.
fn request(stage: &Stage, agent: &mut Agent) -> SignRequest {
    let binding = stage.attest(agent).unwrap().binding;
    let path = asset("treasury", Algorithm::EdDsa);
    let key_id = agent.public_key(&path, None).unwrap().key_id();
    signing(&path, binding, Some(key_id))
}

/// Signs and logs.
fn sign(agent: &mut Agent, request: &SignRequest, log: &mut AuditLog) -> Signed {
    let signed = agent.sign(request.clone()).unwrap();
    log.signed(&signed);
    signed
}

fn started() -> Record {
    Record::new(1_795_230_000_000, RecordKind::Started)
}

fn leaves(agent: &mut Agent, index: u64, records: &[Record]) -> Result<(), Refusal> {
    let mut leaves = Vec::new();
    for record in records {
        EntryBundle::append(&mut leaves, &record.to_leaf().unwrap()).unwrap();
    }
    agent.ask(Request::AuditLeaves { index, leaves }).map(|reply| assert_eq!(reply, Reply::Done))
}

fn report_key(agent: &mut Agent) -> ([u8; 32], Origin) {
    let challenge = agent.challenge().unwrap();
    let report = challenge.report.report();
    (report.report_key, Origin::of_report(report).unwrap())
}

fn verified(agent: &mut Agent, note: &[u8]) -> Checkpoint {
    let (key, origin) = report_key(agent);
    VerifiedCheckpoint::of_log(note, &key, &origin).unwrap().checkpoint().clone()
}

fn attest_with(stage: &Stage, agent: &mut Agent, checkpoint: &[u8]) -> Result<(), Refusal> {
    let challenge = agent.challenge().unwrap();
    let quote = stage.witness().quote(PCRS, qualifying_with(Purpose::Session, &challenge, checkpoint));
    agent.ask(Request::Attest { quote, checkpoint: checkpoint.to_vec() }).map(|reply| {
        assert!(matches!(reply, Reply::Session(_)), "{reply:?}");
    })
}

#[test]
fn a_checkpoint_is_signed_over_every_record_and_says_which_receipts_are_among_them() {
    let (stage, mut agent, _) = Stage::provisioned();
    let mut log = AuditLog::default();
    let era = agent.status().era;
    let empty = log.checkpoint(&mut agent.0).unwrap();
    let empty = verified(&mut agent, &empty);
    assert_eq!((empty.size, empty.root, empty.receipts.sequence), (0, TreeHash::empty(), 0));

    let request = request(&stage, &mut agent);
    log.add(&started());
    for _ in 0..5 {
        sign(&mut agent, &request, &mut log);
    }
    log.add(&Record { code: Some("LIMIT".to_owned()), ..Record::new(1, RecordKind::Refused) });
    let note = log.checkpoint(&mut agent.0).unwrap();
    let first = verified(&mut agent, &note);
    assert_eq!((first.size, first.receipts.era, first.receipts.sequence), (7, era, 5));
    assert_eq!(first.root, log.tree(7).root());
    assert_eq!(
        begin(&mut agent.0).unwrap(),
        Begun { era, sequence: 5, size: 7, resume: false },
        "it goes on from there"
    );

    // Receipts that come while the log is shown need not be in it yet, and those that are count.
    let later: Vec<Signed> = (0..3).map(|_| agent.sign(request.clone()).unwrap()).collect();
    log.signed(&later[0]);
    log.signed(&later[2]);
    log.show(&mut agent.0, 7).unwrap();
    let note = log.sign(&mut agent.0).unwrap();
    let second = verified(&mut agent, &note);
    assert_eq!((second.size, second.receipts.sequence), (9, 6), "receipt 7 is missing");
    log.signed(&later[1]);
    let note = log.checkpoint(&mut agent.0).unwrap();
    assert_eq!(verified(&mut agent, &note).receipts.sequence, 8);
    attest_with(&stage, &mut agent, &note).unwrap();
}

#[test]
fn after_a_restart_the_log_goes_on_from_the_remembered_checkpoint_and_from_no_other() {
    let (mut stage, mut agent, _) = Stage::provisioned();
    let mut log = AuditLog::default();
    let request = request(&stage, &mut agent);
    sign(&mut agent, &request, &mut log);
    log.checkpoint(&mut agent.0).unwrap();
    let before = log.clone();
    sign(&mut agent, &request, &mut log);
    log.add(&started());
    log.checkpoint(&mut agent.0).unwrap();
    let lost = agent.sign(request.clone()).unwrap();
    for restart in [true, false] {
        let mut agent = if restart {
            stage.reopened()
        } else {
            let mut agent = stage.connect();
            agent.ask(Request::Lock).unwrap();
            refused(begin(&mut agent.0), RefusalCode::Locked, "unlock first");
            agent.honest(unlock(), stage.tpm()).unwrap();
            agent
        };
        let begun = begin(&mut agent.0).unwrap();
        assert_eq!((begun.sequence, begun.size, begun.resume), (0, log.leaves.len() as u64, true));
        let resume = "resume it at its";
        refused(leaves(&mut agent, begun.size, &[started()]), RefusalCode::AuditMismatch, resume);
        refused(log.clone().sign(&mut agent.0), RefusalCode::AuditMismatch, resume);

        // The log of yesterday, the right size with something changed, a subtree more or less.
        let mut old = before.clone();
        refused(old.resume(&mut agent.0, 1), RefusalCode::AuditMismatch, "at least");
        old.checkpoint.clear();
        refused(old.resume(&mut agent.0, 1), RefusalCode::AuditMismatch, "frontier: expected");
        let mut changed = log.clone();
        changed.leaves[0] = started().to_leaf().unwrap();
        refused(changed.resume(&mut agent.0, begun.size), RefusalCode::AuditMismatch, "it was changed");
        changed.checkpoint.clear();
        refused(changed.resume(&mut agent.0, begun.size), RefusalCode::AuditMismatch, "it was changed");
        refused(changed.resume(&mut agent.0, 0), RefusalCode::AuditMismatch, "frontier: expected");
        refused(leaves(&mut agent, begun.size, &[started()]), RefusalCode::AuditMismatch, resume);

        // What was signed before the restart may be logged after it; the enclave knows nothing of it any more.
        log.signed(&lost);
        let note = log.checkpoint(&mut agent.0).unwrap();
        let head = verified(&mut agent, &note);
        assert_eq!((head.size, head.receipts.era), (log.leaves.len() as u64, begun.era));
        attest_with(&stage, &mut agent, &note).unwrap();
        sign(&mut agent, &request, &mut log);
        log.checkpoint(&mut agent.0).unwrap();
    }
}

#[test]
fn a_checkpoint_whose_answer_was_lost_is_resumed_from_by_the_log_alone() {
    let (mut stage, mut agent, _) = Stage::provisioned();
    let mut log = AuditLog::default();
    let request = request(&stage, &mut agent);
    sign(&mut agent, &request, &mut log);
    log.checkpoint(&mut agent.0).unwrap();
    sign(&mut agent, &request, &mut log);
    let begun = begin(&mut agent.0).unwrap();
    log.show(&mut agent.0, begun.size).unwrap();
    let tree = log.tree(2);
    // The enclave is killed when the head is in its file, and nobody read its answer.
    agent.0.send(1000, Request::CheckpointSign { size: 2, root: tree.root() }).unwrap();
    until("the head to be remembered", || {
        (state_file::newest(&stage.state_file())["log_head"]["size"] == 2).then_some(())
    });
    let mut agent = stage.reopened();
    // The checkpoint that the agent has is older than what the enclave remembers.
    refused(
        log.clone().resume(&mut agent.0, 2),
        RefusalCode::AuditMismatch,
        "expected a checkpoint of at least 2",
    );
    log.checkpoint.clear();
    let size = begin(&mut agent.0).unwrap().size;
    let note = log.resume(&mut agent.0, size).unwrap();
    let head = verified(&mut agent, &note);
    assert_eq!((head.size, head.root, head.receipts.sequence), (2, tree.root(), 0));
    attest_with(&stage, &mut agent, &note).unwrap();
}

#[test]
fn another_log_than_the_one_that_was_shown_is_not_signed() {
    let (stage, mut agent, _) = Stage::provisioned();
    let mut log = AuditLog::default();
    let request = request(&stage, &mut agent);
    sign(&mut agent, &request, &mut log);
    log.add(&started());
    refused(log.clone().sign(&mut agent.0), RefusalCode::AuditMismatch, "was begun");
    begin(&mut agent.0).unwrap();
    log.show(&mut agent.0, 0).unwrap();
    let tree = log.tree(2);
    for (size, root) in
        [(2, log.tree(1).root()), (1, log.tree(1).root()), (3, tree.root()), (0, TreeHash::empty())]
    {
        let fork = agent.ask(Request::CheckpointSign { size, root });
        refused(fork, RefusalCode::AuditMismatch, "expected the head of 2 records");
    }
    let note = log.sign(&mut agent.0).unwrap();
    assert_eq!(verified(&mut agent, &note).size, 2);
    // And what is once signed stays.
    for size in [0, 1] {
        let mut shorter = log.clone();
        shorter.leaves.truncate(size);
        begin(&mut agent.0).unwrap();
        refused(shorter.sign(&mut agent.0), RefusalCode::AuditMismatch, "expected the head of 2 records");
    }
}

#[test]
fn leaves_are_taken_at_the_next_index_all_or_none() {
    let (stage, mut agent, _) = Stage::provisioned();
    let mut log = AuditLog::default();
    let request = request(&stage, &mut agent);
    let first = sign(&mut agent, &request, &mut log);
    let second = agent.sign(request).unwrap();
    log.show(&mut agent.0, 0).unwrap();
    for index in [0, 2, u64::MAX] {
        let says = "expected record 1 next";
        refused(leaves(&mut agent, index, &[started()]), RefusalCode::AuditMismatch, says);
    }
    // A good record before a bad one is not taken, and the receipt in it is not covered.
    let mut bytes = Vec::new();
    EntryBundle::append(&mut bytes, &record_of(&second).to_leaf().unwrap()).unwrap();
    let good = bytes.clone();
    for bad in [
        &b"{}"[..],
        b"",
        br#"{"time_ms":1,"kind":"signed","payload":"00"}"#,
        br#"{"kind":"admin","time_ms":1}"#,
    ] {
        let mut leaves = good.clone();
        EntryBundle::append(&mut leaves, bad).unwrap();
        let result = agent.ask(Request::AuditLeaves { index: 1, leaves });
        refused(result, RefusalCode::Malformed, "record 2: expected");
    }
    refused(
        leaves(&mut agent, 1, &[record_of(&second), record_of(&first)]),
        RefusalCode::AuditMismatch,
        "record 2: expected receipt 1",
    );
    let cut = agent.ask(Request::AuditLeaves { index: 1, leaves: good[..good.len() - 1].to_vec() });
    refused(cut, RefusalCode::Malformed, "the bytes end before");
    let long = agent.ask(Request::AuditLeaves { index: 1, leaves: vec![0; AUDIT_LEAVES_MAX + 1] });
    refused(long, RefusalCode::Malformed, "at most 61440 bytes");
    assert_eq!(begin(&mut agent.0).unwrap().size, 1);
    // Nothing is a number of leaves, too.
    leaves(&mut agent, 1, &[]).unwrap();
    leaves(&mut agent, 1, &[record_of(&second)]).unwrap();
    log.signed(&second);
    log.sign(&mut agent.0).unwrap();
}

#[test]
fn a_receipt_that_is_dropped_is_missed_by_name() {
    let (stage, mut agent, _) = Stage::provisioned();
    let mut log = AuditLog::default();
    let request = request(&stage, &mut agent);
    sign(&mut agent, &request, &mut log);
    let dropped = agent.sign(request.clone()).unwrap();
    sign(&mut agent, &request, &mut log);
    let missing = "that 2 is missing";
    refused(log.checkpoint(&mut agent.0), RefusalCode::AuditBehind, missing);
    log.add(&Record { receipt: None, ..record_of(&dropped) });
    refused(log.checkpoint(&mut agent.0), RefusalCode::AuditBehind, missing);
    log.signed(&dropped);
    let note = log.checkpoint(&mut agent.0).unwrap();
    assert_eq!(verified(&mut agent, &note).receipts.sequence, 3);
}

#[test]
fn a_receipt_is_logged_once_as_it_was_given() {
    let (stage, mut agent, _) = Stage::provisioned();
    let mut log = AuditLog::default();
    let request = request(&stage, &mut agent);
    let one = sign(&mut agent, &request, &mut log);
    let two = agent.sign(request.clone()).unwrap();
    log.checkpoint(&mut agent.0).unwrap_err();
    log.leaves.truncate(1);

    let twice = "in the log twice";
    refused(leaves(&mut agent, 1, &[record_of(&one)]), RefusalCode::AuditMismatch, twice);
    refused(leaves(&mut agent, 1, &[record_of(&two), record_of(&two)]), RefusalCode::AuditMismatch, twice);
    let lie = |change: &dyn Fn(&mut Record)| {
        let mut record = record_of(&two);
        change(&mut record);
        record
    };
    fn reference(record: &mut Record) -> &mut sealstone_attestation::audit::ReceiptReference {
        record.receipt.as_mut().unwrap()
    }
    for (record, says) in [
        (lie(&|record| reference(record).sequence = 3), "found 3 of era"),
        (lie(&|record| reference(record).sequence = 0), "found 0 of era"),
        (lie(&|record| reference(record).sequence = u64::MAX), "expected a receipt up to 2"),
        (lie(&|record| reference(record).era += 1), "expected a receipt up to 2"),
        (lie(&|record| reference(record).hash = one.receipt.receipt.hash()), "with hash"),
        (lie(&|record| reference(record).hash = ReceiptHash::of(b"")), "with hash"),
        (
            lie(&|record| reference(record).signature = Some(Signature64::from_bytes([0; 64]))),
            "something else",
        ),
        (lie(&|record| record.epoch = Some(1)), "something else"),
        (
            lie(&|record| record.request = Some(sealstone_attestation::RequestDigest::of(b""))),
            "something else",
        ),
    ] {
        refused(leaves(&mut agent, 1, &[record]), RefusalCode::AuditMismatch, says);
    }
    log.signed(&two);
    begin(&mut agent.0).unwrap();
    log.show(&mut agent.0, 1).unwrap();
    log.sign(&mut agent.0).unwrap();
    // Nor after a checkpoint covered it.
    for signed in [&one, &two] {
        refused(leaves(&mut agent, 2, &[record_of(signed)]), RefusalCode::AuditMismatch, twice);
    }
}

#[test]
fn leaves_since_the_checkpoint_can_be_dropped_and_their_receipts_are_due_again() {
    let (stage, mut agent, _) = Stage::provisioned();
    let mut log = AuditLog::default();
    let request = request(&stage, &mut agent);
    sign(&mut agent, &request, &mut log);
    log.checkpoint(&mut agent.0).unwrap();
    let kept = log.clone();
    let signed = sign(&mut agent, &request, &mut log);
    log.add(&started());
    log.show(&mut agent.0, 1).unwrap();
    // The agent's database was put back to the checkpoint.
    let mut log = kept;
    let note = log.resume(&mut agent.0, 1).unwrap();
    assert_eq!(verified(&mut agent, &note).receipts.sequence, 1);
    refused(log.checkpoint(&mut agent.0), RefusalCode::AuditBehind, "that 2 is missing");
    log.signed(&signed);
    let note = log.checkpoint(&mut agent.0).unwrap();
    assert_eq!(verified(&mut agent, &note).size, 2);
}

#[test]
fn a_lost_log_is_followed_by_another_only_after_an_unlock_and_never_in_silence() {
    let (mut stage, mut agent, _) = Stage::provisioned();
    let mut lost = AuditLog::default();
    let request = request(&stage, &mut agent);
    let goes_on = "it goes on";
    refused(agent.ask(Request::AuditBeginAnew), RefusalCode::AuditMismatch, goes_on);
    sign(&mut agent, &request, &mut lost);
    lost.checkpoint(&mut agent.0).unwrap();
    refused(agent.ask(Request::AuditBeginAnew), RefusalCode::AuditMismatch, goes_on);

    let mut agent = stage.reopened();
    let begun = agent.ask(Request::AuditBeginAnew).unwrap();
    let Reply::LogBegun { size, root } = begun else {
        panic!("expected the lost log's head, found {begun:?}")
    };
    assert_eq!(size, lost.leaves.len() as u64);
    let mut new = AuditLog::default();
    let other = Record::log_begun(1, size + 1, &root);
    for silent in [started(), other] {
        new.add(&silent);
        let shown = begin(&mut agent.0).unwrap().size;
        new.show(&mut agent.0, shown).unwrap();
        refused(new.sign(&mut agent.0), RefusalCode::AuditMismatch, "that the log begins in place of");
    }
    // As often as it is asked for before that, it begins again with nothing.
    assert_eq!(agent.ask(Request::AuditBeginAnew).unwrap(), begun);
    assert_eq!(begin(&mut agent.0).unwrap().size, 0);
    new.add(&Record::log_begun(2, size, &root));
    let note = new.checkpoint(&mut agent.0).unwrap();
    assert_eq!(verified(&mut agent, &note).size, 3);
    attest_with(&stage, &mut agent, &note).unwrap();
    refused(agent.ask(Request::AuditBeginAnew), RefusalCode::AuditMismatch, goes_on);

    let mut agent = stage.reopened();
    refused(lost.resume(&mut agent.0, size), RefusalCode::AuditMismatch, "at least");
    new.resume(&mut agent.0, 3).unwrap();
    refused(agent.ask(Request::AuditBeginAnew), RefusalCode::AuditMismatch, goes_on);
}

#[test]
fn a_session_takes_no_checkpoint_but_the_enclaves_own_newest() {
    let (stage, mut agent, _) = Stage::provisioned();
    let mut log = AuditLog::default();
    log.add(&started());
    let old = log.checkpoint(&mut agent.0).unwrap();
    log.add(&started());
    let newest = log.checkpoint(&mut agent.0).unwrap();
    let mismatch = RefusalCode::AuditMismatch;
    attest_with(&stage, &mut agent, &newest).unwrap();
    refused(
        attest_with(&stage, &mut agent, &old),
        mismatch,
        "expected a checkpoint of at least 2 records, found one of 1",
    );
    attest_with(&stage, &mut agent, b"").unwrap();

    let text = String::from_utf8(newest.clone()).unwrap();
    let (unsigned, _) = text.split_once("\n\n").unwrap();
    for (bad, says) in [
        (format!("{unsigned}\n"), "expected a signed note"),
        (text.replace("\n2\n", "\n3\n"), "does not verify"),
        (text.replace("node-1", "node-2"), "found none under that name"),
        (text.replace("\u{2014} sealstone", "\u{2014} Sealstone"), "found none under that name"),
        ("x".repeat(60_000), "expected a signed note"),
    ] {
        refused(attest_with(&stage, &mut agent, bad.as_bytes()), mismatch, says);
    }
    // Another enclave's, of another deployment.
    let (_other_stage, mut other, _) = Stage::provisioned();
    let foreign = AuditLog::default().checkpoint(&mut other.0).unwrap();
    refused(attest_with(&stage, &mut agent, &foreign), mismatch, "found none under that name");
    // None of these ended the session, and none of them was a quote that failed.
    assert!(agent.status().session.is_some());

    // A checkpoint that is newer than the challenge, or as old as it, is taken: the TPM takes its time.
    let challenge = agent.challenge().unwrap();
    log.add(&started());
    let newer = log.checkpoint(&mut agent.0).unwrap();
    let quote = stage.witness().quote(PCRS, qualifying_with(Purpose::Session, &challenge, &newest));
    agent.ask(Request::Attest { quote, checkpoint: newest.clone() }).unwrap();
    refused(attest_with(&stage, &mut agent, &newest), mismatch, "at least 3 records");
    attest_with(&stage, &mut agent, &newer).unwrap();
}

#[test]
fn a_state_file_that_is_put_back_forgets_the_head_and_a_newer_checkpoint_shows_it() {
    let (mut stage, mut agent, _) = Stage::provisioned();
    let mut log = AuditLog::default();
    log.add(&started());
    log.checkpoint(&mut agent.0).unwrap();
    let (before, file) = (log.clone(), stage.state_file());
    log.add(&started());
    let newest = log.checkpoint(&mut agent.0).unwrap();
    // Root on the host, within one era: the TPM's counter is still the same.
    stage.node.kill_enclave();
    std::fs::write(stage.node.path("enclave.state"), file).unwrap();
    stage.node.start_enclave();
    let mut agent = stage.connect();
    agent.honest(unlock(), stage.tpm()).unwrap();
    assert_eq!(begin(&mut agent.0).unwrap().size, 1, "what a restored file says");
    let says = "the state file is older than the log";
    refused(attest_with(&stage, &mut agent, &newest), RefusalCode::AuditMismatch, says);
    refused(log.resume(&mut agent.0, 1), RefusalCode::AuditMismatch, says);
    // Who restores both gets a fork: two checkpoints of one size and two roots, both signed.
    let mut fork = before;
    fork.resume(&mut agent.0, 1).unwrap();
    fork.add(&Record::new(2, RecordKind::Admin));
    let note = fork.checkpoint(&mut agent.0).unwrap();
    let (one, other) = (verified(&mut agent, &newest), verified(&mut agent, &note));
    assert_eq!(one.size, other.size);
    assert_ne!(one.root, other.root);
}

#[test]
fn nothing_is_signed_any_more_when_the_log_is_too_far_behind_until_a_checkpoint_covers_it() {
    /// Requests under way at once.
    const DEPTH: usize = 64;
    let (stage, mut agent, _) = Stage::provisioned();
    let mut log = AuditLog::default();
    let request = request(&stage, &mut agent);
    let mut pipeline = stage.connect();
    let total = AUDIT_UNCOVERED_MAX + DEPTH;
    let (mut sent, mut refusals) = (0, Vec::new());
    let mut receive = |pipeline: &mut Agent, log: &mut AuditLog| match pipeline.0.recv().unwrap().reply {
        Reply::Signed(signed) => log.signed(&signed),
        Reply::Refused(refusal) => refusals.push(refusal),
        other => panic!("{other:?}"),
    };
    while sent < total {
        pipeline.0.send(sent as u64, Request::Sign(request.clone())).unwrap();
        sent += 1;
        if sent >= DEPTH {
            receive(&mut pipeline, &mut log);
        }
    }
    (1..DEPTH).for_each(|_| receive(&mut pipeline, &mut log));
    assert_eq!((log.leaves.len(), refusals.len()), (AUDIT_UNCOVERED_MAX, DEPTH));
    assert!(refusals.iter().all(|refusal| refusal.code == RefusalCode::AuditBehind), "{refusals:?}");
    let behind = "16384 signatures are in no checkpoint";
    refused(agent.sign(request.clone()), RefusalCode::AuditBehind, behind);
    // To show it is not enough: it must be signed, and on disk.
    begin(&mut agent.0).unwrap();
    log.show(&mut agent.0, 0).unwrap();
    refused(agent.sign(request.clone()), RefusalCode::AuditBehind, behind);
    let note = log.sign(&mut agent.0).unwrap();
    assert_eq!(verified(&mut agent, &note).receipts.sequence, AUDIT_UNCOVERED_MAX as u64);
    sign(&mut agent, &request, &mut log);
    log.checkpoint(&mut agent.0).unwrap();
}

#[test]
fn a_file_of_before_there_was_a_log_begins_an_empty_one() {
    let (mut stage, mut agent, _) = Stage::provisioned();
    let request = request(&stage, &mut agent);
    agent.sign(request).unwrap();
    let state = state_file::newest(&stage.state_file());
    assert!(state.get("log_head").is_none(), "{state}");
    let mut agent = stage.reopened();
    assert_eq!(begin(&mut agent.0).unwrap().size, 0);
    let mut log = AuditLog::default();
    log.add(&started());
    log.checkpoint(&mut agent.0).unwrap();
    let head = &state_file::newest(&stage.state_file())["log_head"];
    let mut tree = Frontier::new();
    tree.push(LeafHash::of(&started().to_leaf().unwrap()));
    assert_eq!(
        (head["size"].as_u64(), head["root"].as_str()),
        (Some(1), Some(tree.root().to_string().as_str()))
    );
}

#[test]
fn a_head_is_on_disk_before_its_checkpoint_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-e", "trace=pwrite64,fdatasync,sendto", "-e", "signal=none", "-o"]).arg(&path);
    strace.arg(binary("sealstone-enclave"));
    let stage = Stage::traced_by(&mut strace);
    let mut agent = stage.connect();
    agent.upload(&stage.authority.sign(&stage.draft())).unwrap();
    agent.honest(provision(), stage.tpm()).unwrap();
    let provisioned = std::fs::read_to_string(&path).unwrap().lines().count();
    let mut log = AuditLog::default();
    log.add(&started());
    log.checkpoint(&mut agent.0).unwrap();
    let calls = until("the answer to be in the trace", || {
        let trace = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = trace.lines().skip(provisioned).collect();
        let write = lines.iter().rposition(|line| line.contains("pwrite64("))?;
        let thread = lines[write].split_whitespace().next()?;
        // One thread makes one call after the other.
        let own = |line: &&&str| line.split_whitespace().next() == Some(thread);
        let calls: Vec<String> =
            lines[write..].iter().filter(own).map(|line| line[thread.len()..].trim().to_owned()).collect();
        calls.iter().any(|call| call.starts_with("sendto(")).then_some(calls)
    });
    let at = |what: &str| {
        calls.iter().position(|call| call.contains(what)).unwrap_or_else(|| panic!("{what}: {calls:?}"))
    };
    let synced = calls.iter().position(|call| call.contains("fdatasync") && call.ends_with("= 0")).unwrap();
    assert!(at("pwrite64") < synced && synced < at("sendto("), "{calls:?}");
}
