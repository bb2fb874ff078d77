//! The audit log of an enclave as an honest agent keeps it, for those who speak to the enclave themselves.

use sealstone_attestation::audit::{EntryBundle, Frontier, LeafHash, ReceiptReference, Record, RecordKind};
use sealstone_wire::client::Client;
use sealstone_wire::limits::AUDIT_LEAVES_MAX;
use sealstone_wire::reply::{Refusal, Reply, Signed};
use sealstone_wire::request::Request;

/// Every leaf, and the newest checkpoint.
#[derive(Clone, Debug, Default)]
pub struct AuditLog {
    /// What was logged, oldest first.
    pub leaves: Vec<Vec<u8>>,
    /// The newest signed note; empty before the first.
    pub checkpoint: Vec<u8>,
    /// The era whose receipts are followed, and how many of them are logged.
    followed: (u64, u64),
}

/// How far the enclave says that the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The era.
    pub era: u64,
    /// Receipts given in it.
    pub sequence: u64,
    /// Leaves taken.
    pub size: u64,
    /// Whether it must be resumed first.
    pub resume: bool,
}

/// The record of a signature, with all that its receipt says.
#[must_use]
pub fn record_of(signed: &Signed) -> Record {
    let receipt = &signed.receipt.receipt;
    Record {
        request: Some(receipt.request),
        key_id: Some(receipt.key_id),
        epoch: Some(receipt.epoch),
        binding: Some(receipt.binding),
        session: Some(receipt.session),
        signer: Some("enclave".to_owned()),
        receipt: Some(ReceiptReference::of(receipt)),
        ..Record::new(receipt.time.as_secs() * 1000, RecordKind::Signed)
    }
}

impl AuditLog {
    /// Logs a record.
    ///
    /// # Panics
    /// When it is no record.
    pub fn add(&mut self, record: &Record) {
        self.leaves.push(record.to_leaf().expect("a record of a story is within its bounds"));
    }

    /// Logs a signature.
    pub fn signed(&mut self, signed: &Signed) {
        self.add(&record_of(signed));
    }

    /// The tree over the first leaves.
    #[must_use]
    pub fn tree(&self, size: usize) -> Frontier {
        let mut tree = Frontier::new();
        self.leaves[..size].iter().for_each(|leaf| tree.push(LeafHash::of(leaf)));
        tree
    }

    /// Shows the enclave what it has not taken yet, and has the head signed.
    ///
    /// # Errors
    /// The enclave's refusal.
    pub fn checkpoint(&mut self, client: &mut Client) -> Result<Vec<u8>, Refusal> {
        let begun = begin(client)?;
        if begun.resume {
            let _ = self.resume(client, begun.size)?;
        }
        self.show(client, begun.size)?;
        self.sign(client)
    }

    /// The same after logging every receipt that the enclave has given, to whomever. Only as long as nobody else keeps
    /// its log, and often enough that it still has the receipts.
    ///
    /// # Errors
    /// The enclave's refusal.
    ///
    /// # Panics
    /// When receipts are gone.
    pub fn follow(&mut self, client: &mut Client) -> Result<Vec<u8>, Refusal> {
        let begun = begin(client)?;
        if self.followed.0 != begun.era {
            self.followed = (begun.era, 0);
        }
        while self.followed.1 < begun.sequence {
            let from = self.followed.1 + 1;
            let Reply::Receipts(receipts) = ask(client, Request::Receipts { from })? else {
                panic!("expected receipts")
            };
            for signed in &receipts {
                assert_eq!(signed.receipt.receipt.sequence, self.followed.1 + 1, "a receipt is gone");
                self.signed(signed);
                self.followed.1 += 1;
            }
        }
        self.checkpoint(client)
    }

    /// Goes on from the checkpoint of this size.
    ///
    /// # Errors
    /// The enclave's refusal.
    ///
    /// # Panics
    /// When the log does not have so many leaves.
    pub fn resume(&mut self, client: &mut Client, size: u64) -> Result<Vec<u8>, Refusal> {
        let size = usize::try_from(size).expect("the log of a story is short");
        let frontier = self.tree(size).hashes().to_vec();
        let checkpoint = self.checkpoint.clone();
        self.checkpoint = note(ask(client, Request::AuditResume { checkpoint, frontier })?);
        Ok(self.checkpoint.clone())
    }

    /// Shows the leaves from this one on.
    ///
    /// # Errors
    /// The enclave's refusal.
    pub fn show(&self, client: &mut Client, from: u64) -> Result<(), Refusal> {
        let mut index = from;
        let first = usize::try_from(from).expect("the log of a story is short");
        let mut rest = self.leaves.get(first..).unwrap_or_default();
        while !rest.is_empty() {
            let mut leaves = Vec::new();
            let mut count = 0;
            for leaf in rest {
                if leaves.len() + 2 + leaf.len() > AUDIT_LEAVES_MAX {
                    break;
                }
                EntryBundle::append(&mut leaves, leaf).expect("a leaf is short");
                count += 1;
            }
            let _ = ask(client, Request::AuditLeaves { index, leaves })?;
            rest = &rest[count..];
            index += count as u64;
        }
        Ok(())
    }

    /// Has the head of all leaves signed.
    ///
    /// # Errors
    /// The enclave's refusal.
    pub fn sign(&mut self, client: &mut Client) -> Result<Vec<u8>, Refusal> {
        let tree = self.tree(self.leaves.len());
        self.checkpoint =
            note(ask(client, Request::CheckpointSign { size: tree.size(), root: tree.root() })?);
        Ok(self.checkpoint.clone())
    }
}

/// Asks how far the log is.
///
/// # Errors
/// The enclave's refusal.
///
/// # Panics
/// When it answers something else.
pub fn begin(client: &mut Client) -> Result<Begun, Refusal> {
    match ask(client, Request::CheckpointBegin)? {
        Reply::CheckpointBegun { era, sequence, size, resume } => Ok(Begun { era, sequence, size, resume }),
        other => panic!("expected how far the log is, found {other:?}"),
    }
}

fn note(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Checkpoint(note) => note,
        other => panic!("expected a checkpoint, found {other:?}"),
    }
}

fn ask(client: &mut Client, request: Request) -> Result<Reply, Refusal> {
    match client.call(request).expect("the enclave answers") {
        Reply::Refused(refusal) => Err(refusal),
        reply => Ok(reply),
    }
}
