//! The audit log's formats, as an enclave and an auditor read them.

use sealstone_attestation::audit::{
    Checkpoint, EntryBundle, Frontier, LeafHash, LogProof, Note, NoteKey, Origin, Record, VerifiedCheckpoint,
};

use crate::golden::EVIDENCE;

/// A leaf, which is a record's one spelling.
#[must_use]
pub fn record(bytes: &[u8]) -> bool {
    let Ok(record) = Record::parse(bytes) else { return false };
    assert_eq!(record.to_leaf().as_deref(), Ok(bytes));
    if let Some(receipt) = record.receipt.and_then(|named| record.whole_receipt(named.hash)) {
        assert_eq!((Some(receipt.request), Some(receipt.epoch)), (record.request, record.epoch));
    }
    true
}

/// A signed note, which may be a checkpoint. No other than the seed's is by the report key.
#[must_use]
pub fn note(bytes: &[u8]) -> bool {
    let (evidence, report) = (&EVIDENCE.evidence, EVIDENCE.report.report());
    if VerifiedCheckpoint::parse(bytes, &report.report_key).is_ok() {
        let signed =
            |note: &[u8]| Note::parse(note).expect("it was read").danger_unverified_text().to_owned();
        assert_eq!(signed(bytes), signed(&evidence.checkpoint));
    }
    let Ok(note) = Note::parse(bytes) else { return false };
    assert_eq!(Note::parse(&note.to_bytes()).as_ref(), Ok(&note));
    assert!((1..=Note::SIGNATURES_MAX).contains(&note.signatures().len()));
    let text = note.danger_unverified_text();
    if let Ok(checkpoint) = Checkpoint::from_text(text) {
        assert_eq!(checkpoint.text(), text, "a checkpoint has one spelling");
        assert_eq!(checkpoint.origin.to_string().parse::<Origin>().as_ref(), Ok(&checkpoint.origin));
        let key = Checkpoint::key(&checkpoint.origin, &report.report_key).expect("an origin is a key's name");
        assert_eq!(NoteKey::parse(&key.to_text()).as_ref(), Ok(&key));
    }
    true
}

/// A proof that a record is in a log. Only the seed's shows anything.
#[must_use]
pub fn proof(bytes: &[u8]) -> bool {
    let Ok(proof) = LogProof::parse(bytes) else { return false };
    assert_eq!(proof.to_bytes(), bytes, "a proof has one spelling");
    if let Ok((record, verified)) = proof.verify(&EVIDENCE.report.report().report_key) {
        assert_eq!(record.to_leaf().as_deref(), Ok(&proof.leaf[..]));
        let expected =
            VerifiedCheckpoint::parse(&EVIDENCE.evidence.checkpoint, &EVIDENCE.report.report().report_key);
        assert_eq!(Ok(verified), expected);
    }
    true
}

/// Entries, each after its length, and the tree over them.
#[must_use]
pub fn entries(bytes: &[u8]) -> bool {
    let (entries, rest) = EntryBundle::split(bytes);
    let mut written = Vec::new();
    let mut tree = Frontier::new();
    for entry in &entries {
        EntryBundle::append(&mut written, entry).expect("it had a length");
        tree.push(LeafHash::of(entry));
    }
    assert_eq!([&written, rest].concat(), bytes);
    assert_eq!(tree.size(), entries.len() as u64);
    assert_eq!(Frontier::from_parts(tree.size(), tree.hashes().to_vec()).as_ref(), Ok(&tree));
    if let Some(bundle) = EntryBundle::of_log(tree.size(), 0) {
        let whole = bundle.width() == tree.size();
        assert_eq!(bundle.parse(bytes).is_ok(), whole && rest.is_empty());
    }
    !entries.is_empty() && rest.is_empty()
}
