//! Notes, checkpoints and proof files: one spelling, and only what the report key signed.

use ed25519_dalek::SigningKey;
use sealstone_attestation::audit::{
    Checkpoint, CheckpointError, Frontier, LeafHash, LogProof, LogProofError, Note, NoteError, NoteKey,
    Origin, ProofError, Record, RecordKind, TreeHash, VerifiedCheckpoint,
};
use sealstone_attestation::{DeploymentId, Signature64};

use super::{checkpoint, key, origin, report_key, sign};

const ORIGIN: &str = "sealstone/abababababababababababababababab/node%201%2F%C3%BC";

#[test]
fn a_checkpoint_is_these_four_lines_and_a_signature() {
    let checkpoint = checkpoint(12, TreeHash::from_bytes([1; 32]));
    let text = format!("{ORIGIN}\n12\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\nreceipts 7 40\n");
    assert_eq!(checkpoint.text(), text);
    let note = sign(&checkpoint);
    assert!(note.len() <= Checkpoint::BYTES_MAX);
    let lines = String::from_utf8(note.clone()).unwrap();
    assert!(lines.starts_with(&format!("{text}\n\u{2014} {ORIGIN} ")) && lines.ends_with("=\n"), "{lines}");
    let verified = VerifiedCheckpoint::of_log(&note, &report_key(), &origin()).unwrap();
    assert_eq!(verified.checkpoint(), &checkpoint);
    let longest = Origin::new(DeploymentId::from_bytes([1; 16]), &"\u{1}".repeat(64)).unwrap();
    let longest = Checkpoint { origin: longest, size: u64::MAX, ..checkpoint };
    assert!(sign(&longest).len() <= Checkpoint::BYTES_MAX);
}

#[test]
fn another_spelling_is_no_checkpoint() {
    let good = checkpoint(12, TreeHash::from_bytes([1; 32])).text();
    assert!(Checkpoint::from_text(&good).is_ok());
    for bad in [
        good.replace("\n12\n", "\n012\n"),
        good.replace("\n12\n", "\n+12\n"),
        good.replace("\n12\n", "\n-1\n"),
        good.replace("\n12\n", "\n18446744073709551616\n"),
        good.replace("E=\n", "E\n"),
        good.replace("E=\n", "F=\n"),
        good.replace("AQEB", "AQE"),
        good.replace("receipts 7 40", "receipts 7"),
        good.replace("receipts 7 40", "receipts 7 40 "),
        good.replace("receipts 7 40", "receipts 7  40"),
        good.replace("receipts 7 40", "receipts 07 40"),
        good.replace("receipts 7 40", "Receipts 7 40"),
        good.replace("receipts 7 40\n", ""),
        good.replace("receipts 7 40\n", "receipts 7 40"),
        format!("{good}more\n"),
        format!("{good}{good}"),
        format!("\n{good}"),
        String::new(),
    ] {
        assert_eq!(
            Checkpoint::from_text(&bad),
            Err(CheckpointError::Malformed).or_else(origin_error(&bad)),
            "{bad}"
        );
    }
    for bad in [
        "sealstone/abababababababababababababababab/node%201%2f%c3%bc",
        "sealstone/abababababababababababababababab/%6eode",
        "sealstone/ABABABABABABABABABABABABABABABAB/node",
        "sealstone/abababababababababababababababab/",
        "sealstone/abababababababababababababababab",
        "sealstone/abab/node",
        "sealstone/abababababababababababababababab/a/b",
        "sealstone/abababababababababababababababab/%",
        "sealstone/abababababababababababababababab/%2",
        "sealstone/abababababababababababababababab/%zz",
        "sealstone/abababababababababababababababab/%FF",
        "sealstone/abababababababababababababababab/a b",
        "sealstone/abababababababababababababababab/a+b",
        "sealstone/abababababababababababababababab/%é",
        "example.com/log",
        "",
    ] {
        assert!(bad.parse::<Origin>().is_err(), "{bad}");
        assert!(Checkpoint::from_text(&good.replace(ORIGIN, bad)).is_err(), "{bad}");
    }
    assert!(Origin::new(DeploymentId::from_bytes([0; 16]), "").is_err());
    assert!(Origin::new(DeploymentId::from_bytes([0; 16]), &"n".repeat(65)).is_err());
}

/// The first line of some texts is no origin, which is said first.
fn origin_error(text: &str) -> impl FnOnce(CheckpointError) -> Result<Checkpoint, CheckpointError> {
    let first = text.split('\n').next().unwrap_or_default().parse::<Origin>();
    move |malformed| Err(first.map_or_else(CheckpointError::from, |_| malformed))
}

#[test]
fn a_checkpoint_is_believed_under_its_logs_key_and_name_alone() {
    let good = checkpoint(12, TreeHash::from_bytes([1; 32]));
    let note = sign(&good);
    let parse = |note: &[u8]| VerifiedCheckpoint::parse(note, &report_key());
    let unsigned = |error| matches!(error, Err(CheckpointError::Note(NoteError::Unsigned { .. })));
    let changed = String::from_utf8(note.clone()).unwrap().replace("\n12\n", "\n13\n").into_bytes();
    assert_eq!(parse(&changed), Err(CheckpointError::Note(NoteError::Signature)));
    let foreign = SigningKey::from_bytes(&[6; 32]).verifying_key().to_bytes();
    assert!(unsigned(VerifiedCheckpoint::parse(&note, &foreign)));
    assert!(matches!(VerifiedCheckpoint::parse(&note, &[0; 32]), Err(CheckpointError::Note(NoteError::Key))));
    let other = Origin::new(origin().deployment(), "node-2").unwrap();
    assert!(matches!(
        VerifiedCheckpoint::of_log(&note, &report_key(), &other),
        Err(CheckpointError::Origin { .. })
    ));
    // The right key under another log's name.
    let text = good.text();
    let renamed = Checkpoint::key(&other, &report_key()).unwrap();
    let renamed = Note::sign(&text, &renamed, |bytes| signature(&key(), bytes)).unwrap();
    assert!(unsigned(parse(&renamed.to_bytes())));
    assert!(matches!(parse(text.as_bytes()), Err(CheckpointError::Note(NoteError::Malformed(_)))));
}

fn signature(key: &SigningKey, bytes: &[u8]) -> Signature64 {
    use ed25519_dalek::Signer;
    Signature64::from_bytes(key.sign(bytes).to_bytes())
}

#[test]
fn witnesses_beside_the_log_are_ignored_and_a_false_log_signature_is_not() {
    let good = String::from_utf8(sign(&checkpoint(12, TreeHash::from_bytes([1; 32])))).unwrap();
    let (_, own) = good.split_once("\n\n").unwrap();
    let witness = "\u{2014} witness.example/w1 AAAAAQID\n";
    let witnessed = format!("{good}{witness}");
    assert!(VerifiedCheckpoint::parse(witnessed.as_bytes(), &report_key()).is_ok());
    assert_eq!(Note::parse(witnessed.as_bytes()).unwrap().signatures()[1].name(), "witness.example/w1");
    let twice = format!("{good}{own}");
    assert!(VerifiedCheckpoint::parse(twice.as_bytes(), &report_key()).is_ok());
    let digit = own.len() - 20;
    let replaced = if own.as_bytes()[digit] == b'A' { "B" } else { "A" };
    let mut spoilt = own.to_owned();
    spoilt.replace_range(digit..=digit, replaced);
    let spoilt = format!("{good}{spoilt}");
    assert_eq!(
        VerifiedCheckpoint::parse(spoilt.as_bytes(), &report_key()),
        Err(CheckpointError::Note(NoteError::Signature))
    );
    let many = format!("{good}{}", witness.repeat(Note::SIGNATURES_MAX - 1));
    assert!(VerifiedCheckpoint::parse(many.as_bytes(), &report_key()).is_ok());
    let many = format!("{many}{witness}");
    assert_eq!(Note::parse(many.as_bytes()), Err(NoteError::TooManySignatures));
}

#[test]
fn what_is_no_note_is_refused() {
    let good = "text\n\n\u{2014} name AAAAAQID\n";
    assert_eq!(Note::parse(good.as_bytes()).unwrap().to_bytes(), good.as_bytes());
    let with_gap = "te\n\nxt\n\n\u{2014} name AAAAAQID\n";
    assert_eq!(Note::parse(with_gap.as_bytes()).unwrap().danger_unverified_text(), "te\n\nxt\n");
    for bad in [
        "",
        "text\n",
        "text\n\n",
        "text\n\n\n",
        "text\n\u{2014} name AAAAAQID\n",
        "text\n\n\u{2014} name AAAAAQID",
        "text\n\n\u{2014} name AAAAAQID\n\n",
        "text\n\n\u{2014} name AAAAAQID\nx\n",
        "text\n\n- name AAAAAQID\n",
        "text\n\n\u{2014}name AAAAAQID\n",
        "text\n\n\u{2014}  AAAAAQID\n",
        "text\n\n\u{2014} na+me AAAAAQID\n",
        "text\n\n\u{2014} na\u{a0}me AAAAAQID\n",
        "text\n\n\u{2014} name AAAAAQI\n",
        "text\n\n\u{2014} name AAAA\n",
        "text\n\n\u{2014} name AAAAAA==\n",
        "text\n\n\u{2014} name AAAAAQID x\n",
        "te\txt\n\n\u{2014} name AAAAAQID\n",
        "te\rxt\n\n\u{2014} name AAAAAQID\n",
        "te\0xt\n\n\u{2014} name AAAAAQID\n",
    ] {
        assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert!(Note::parse(b"te\xffxt\n\n\xe2\x80\x94 name AAAAAQID\n").is_err());
    let found = Note::BYTES_MAX + 1;
    assert_eq!(Note::parse(&vec![b'x'; found]), Err(NoteError::TooLong { found }));
    let key = NoteKey::new("name", &report_key()).unwrap();
    assert!(Note::sign("no newline", &key, |_| Signature64::from_bytes([0; 64])).is_err());
    assert!(Note::sign("tab\t\n", &key, |_| Signature64::from_bytes([0; 64])).is_err());
    for name in ["", "a b", "a+b", "a\nb", &"n".repeat(513)] {
        assert_eq!(NoteKey::new(name, &report_key()), Err(NoteError::Name), "{name}");
    }
}

#[test]
fn a_verifier_key_reads_as_it_is_written() {
    let key = NoteKey::new("log.example", &report_key()).unwrap();
    let text = key.to_text();
    assert_eq!(NoteKey::parse(&text), Ok(key));
    for bad in [
        text.replace("log.example", "other.example"),
        text.replace("+AW", "+BW"),
        format!("{text}="),
        text.replace("log.example+", ""),
        String::new(),
    ] {
        assert_ne!(bad, text);
        assert!(NoteKey::parse(&bad).is_err(), "{bad}");
    }
}

fn proof() -> LogProof {
    let leaf = Record::new(1, RecordKind::Started).to_leaf().unwrap();
    let mut frontier = Frontier::new();
    let sibling = LeafHash::of(b"sibling");
    frontier.push(sibling);
    frontier.push(LeafHash::of(&leaf));
    let checkpoint = sign(&checkpoint(2, frontier.root()));
    LogProof { leaf, index: 1, hashes: vec![sibling.into()], checkpoint }
}

#[test]
fn a_proof_reads_as_it_is_written_and_shows_its_record() {
    let proof = proof();
    let bytes = proof.to_bytes();
    assert!(bytes.starts_with(b"c2sp.org/tlog-proof@v1\nextra eyJ0aW1lX21zIjox"));
    assert_eq!(LogProof::parse(&bytes).as_ref(), Ok(&proof));
    let (record, head) = proof.verify(&report_key()).unwrap();
    assert_eq!((record.kind, head.checkpoint().size), (RecordKind::Started, 2));
    let alone = LogProof { index: 0, hashes: vec![], ..proof };
    assert_eq!(LogProof::parse(&alone.to_bytes()), Ok(alone));
}

#[test]
fn a_proof_of_another_record_index_or_log_shows_nothing() {
    let good = proof();
    let verify = |proof: &LogProof| proof.verify(&report_key()).unwrap_err();
    let other = Record::new(2, RecordKind::Started).to_leaf().unwrap();
    let changed = LogProof { leaf: other, ..good.clone() };
    assert_eq!(verify(&changed), LogProofError::Inclusion(ProofError::Root));
    let moved = LogProof { index: 0, ..good.clone() };
    assert_eq!(verify(&moved), LogProofError::Inclusion(ProofError::Root));
    let outside = LogProof { index: 2, ..good.clone() };
    assert!(matches!(verify(&outside), LogProofError::Inclusion(ProofError::Index { .. })));
    let shorter = LogProof { hashes: vec![], ..good.clone() };
    assert_eq!(verify(&shorter), LogProofError::Inclusion(ProofError::Length));
    let foreign = SigningKey::from_bytes(&[6; 32]).verifying_key().to_bytes();
    assert!(matches!(good.verify(&foreign), Err(LogProofError::Checkpoint(_))));
    let text = String::from_utf8(good.to_bytes()).unwrap();
    for bad in [
        text.replace("@v1", "@v2"),
        text.replace("extra ", "Extra "),
        text.replace("\nindex 1\n", "\nindex 01\n"),
        text.replace("\nindex 1\n", "\n"),
        text.replace("\n\n", "\n"),
        text.replace("\nindex 1\n", "\nindex 1\nAA==\n"),
        text.replace('\n', "\r\n"),
        format!("\n{text}"),
        String::new(),
    ] {
        assert!(matches!(LogProof::parse(bad.as_bytes()), Err(LogProofError::Malformed(_))), "{bad}");
    }
    let long = LogProof { hashes: vec![TreeHash::empty(); 65], ..good };
    assert!(matches!(LogProof::parse(&long.to_bytes()), Err(LogProofError::Malformed(_))));
    assert!(matches!(LogProof::parse(&vec![0; LogProof::BYTES_MAX + 1]), Err(LogProofError::TooLong { .. })));
}
