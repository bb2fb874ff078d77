//! Notes and checkpoints between us and somebody else's implementation.

use sealstone_attestation::audit::{Checkpoint, Note, NoteKey, TreeHash};
use signed_note::{StandardSigner, StandardVerifier, VerifierList};

use super::{checkpoint, origin, report_key, sign};

#[test]
fn another_implementation_verifies_our_checkpoint() {
    let checkpoint = checkpoint(12, TreeHash::from_bytes([1; 32]));
    let key = Checkpoint::key(&origin(), &report_key()).unwrap();
    let verifier = StandardVerifier::new(&key.to_text()).unwrap();
    let note = signed_note::Note::from_bytes(&sign(&checkpoint)).unwrap();
    let (verified, others) = note.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!((verified.len(), others.len()), (1, 0));
    let read = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!((read.origin(), read.size()), (origin().to_string().as_str(), 12));
    assert_eq!((read.hash().0, read.extension()), ([1; 32], "receipts 7 40\n"));
}

#[test]
fn we_verify_another_implementations_note_and_the_published_example() {
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n";
    let signer =
        StandardSigner::new("PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz");
    let mut note = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
    note.add_sigs(&[&signer.unwrap()]).unwrap();
    let expected = format!(
        "{text}\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    );
    assert_eq!(note.to_bytes(), expected.as_bytes());
    let key = NoteKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
    assert_eq!(Note::parse(expected.as_bytes()).unwrap().verify(&key), Ok(text));
}
