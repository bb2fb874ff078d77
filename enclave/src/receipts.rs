//! The chain of receipts of one era, and the newest of them, kept for an agent that lost its answer.

use std::collections::VecDeque;

use sealstone_attestation::{
    Binding, KeyId, Receipt, ReceiptHash, RequestDigest, SessionId, SignedReceipt, UnixTime,
};
use sealstone_wire::limits::{RECEIPTS_KEPT, RECEIPTS_PER_REPLY};
use sealstone_wire::reply::Signed;

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
}

impl ReceiptChain {
    /// The chain of a new era.
    #[must_use]
    pub fn begin(era: u64) -> Self {
        Self { era, sequence: 0, head: Receipt::genesis(era), kept: VecDeque::new() }
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

    /// Records a signature: the next receipt, signed, and kept with what it answers.
    pub fn record(
        &mut self,
        entry: Entry,
        made: Made,
        public_key: sealstone_attestation::PublicKey,
        report_key: &ReportKey,
    ) -> Signed {
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
        signed
    }

    /// The kept receipts from this sequence on, as many as one reply carries.
    #[must_use]
    pub fn from(&self, sequence: u64) -> Vec<Signed> {
        let wanted = self.kept.iter().skip_while(|signed| signed.receipt.receipt.sequence < sequence);
        wanted.take(RECEIPTS_PER_REPLY).cloned().collect()
    }
}
