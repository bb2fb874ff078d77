//! The chain of receipts of one era, the newest of them, kept for an agent that lost its answer, and those that the
//! audit log does not have yet.

use std::collections::VecDeque;

use sealstone_attestation::{
    Binding, KeyId, Receipt, ReceiptHash, RequestDigest, SessionId, SignedReceipt, UnixTime,
};
use sealstone_wire::limits::{RECEIPTS_KEPT, RECEIPTS_PER_REPLY};
use sealstone_wire::reply::Signed;

use crate::audit::Uncovered;
use crate::report_key::ReportKey;
use crate::signing_key::Made;

/// Everything of a receipt that the chain does not know itself.
#[derive(Debug)]
pub struct Entry {
    /// Digest of the client's canonical request.
    pub request: RequestDigest,
    /// The key that signed.
    pub key_id: KeyId,
    /// The asset's epoch, or 0.
    pub epoch: u64,
    /// The binding that the key was derived under.
    pub binding: Binding,
    /// The session in which it signed.
    pub session: SessionId,
    /// When.
    pub time: UnixTime,
}

/// The receipts of one era.
#[derive(Debug)]
pub struct ReceiptChain {
    era: u64,
    sequence: u64,
    head: ReceiptHash,
    kept: VecDeque<Signed>,
    uncovered: Uncovered,
}

impl ReceiptChain {
    /// The chain of a new era.
    #[must_use]
    pub fn begin(era: u64) -> Self {
        Self {
            era,
            sequence: 0,
            head: Receipt::genesis(era),
            kept: VecDeque::new(),
            uncovered: Uncovered::default(),
        }
    }

    /// The era.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.era
    }

    /// The receipts that no signed checkpoint covers.
    #[must_use]
    pub fn uncovered(&self) -> &Uncovered {
        &self.uncovered
    }

    /// The same, to take what leaves and checkpoints cover.
    pub fn uncovered_mut(&mut self) -> &mut Uncovered {
        &mut self.uncovered
    }

    /// Receipts given so far.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Hash of the newest receipt, or of the era's beginning.
    #[must_use]
    pub fn head(&self) -> ReceiptHash {
        self.head
    }

    /// Records a signature: the next receipt, signed, and kept with what it answers. `None`, and nothing is recorded,
    /// if the audit log is too far behind.
    pub fn record(
        &mut self,
        entry: Entry,
        made: Made,
        public_key: sealstone_attestation::PublicKey,
        report_key: &ReportKey,
    ) -> Option<Signed> {
        if self.uncovered.is_full() {
            return None;
        }
        let Entry { request, key_id, epoch, binding, session, time } = entry;
        let receipt = Receipt {
            sequence: self.sequence + 1,
            era: self.era,
            previous: self.head,
            request,
            key_id,
            epoch,
            binding,
            session,
            time,
            signature: made.signature,
        };
        let report_signature = report_key.sign(&receipt.encode());
        self.sequence = receipt.sequence;
        self.head = receipt.hash();
        self.uncovered.add(receipt.sequence, receipt.previous, self.head);
        let signed = Signed {
            signature: made.signature,
            public_key,
            digest: made.digest,
            recovery_id: made.recovery_id,
            receipt: SignedReceipt { receipt, report_signature },
        };
        if self.kept.len() == RECEIPTS_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(signed.clone());
        Some(signed)
    }

    /// The kept receipts from this sequence on, as many as one reply carries.
    #[must_use]
    pub fn from(&self, sequence: u64) -> Vec<Signed> {
        let wanted = self.kept.iter().skip_while(|signed| signed.receipt.receipt.sequence < sequence);
        wanted.take(RECEIPTS_PER_REPLY).cloned().collect()
    }
}
