//! The enclave's record of one signature, chained to the one before it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    Algorithm, Binding, KeyId, PublicKey, ReceiptHash, RequestDigest, SessionId, Signature64, UnixTime,
    encoding::lp_short,
};

/// Separates receipts from everything else that the report key signs.
const LABEL: &[u8] = b"sealstone/receipt/v1";

/// Separates the start of a chain from its receipts.
const ERA_LABEL: &[u8] = b"sealstone/receipt-era/v1";

/// What was signed, with which key, in which session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Counts the signatures of an era, from 1.
    pub sequence: u64,
    /// The unlock era.
    pub era: u64,
    /// Hash of the receipt before; [`Receipt::genesis`] for the first.
    pub previous: ReceiptHash,
    /// Digest of the canonical request.
    pub request: RequestDigest,
    /// The key that signed.
    pub key_id: KeyId,
    /// The asset's epoch; 0 for a session key.
    pub epoch: u64,
    /// The binding that the key was derived under.
    pub binding: Binding,
    /// The attested session.
    pub session: SessionId,
    /// When, by the enclave's clock.
    pub time: UnixTime,
    /// The signature that was given.
    pub signature: Signature64,
}

impl Receipt {
    /// The `previous` of the first receipt of an era.
    #[must_use]
    pub fn genesis(era: u64) -> ReceiptHash {
        let mut bytes = Vec::with_capacity(40);
        lp_short(&mut bytes, ERA_LABEL);
        bytes.extend_from_slice(&era.to_be_bytes());
        ReceiptHash::of(&bytes)
    }

    /// The canonical bytes: what is hashed and what the report key signs. All fields have fixed width.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { sequence, era, previous, request, key_id, epoch, binding, session, time, signature } =
            self;
        let mut bytes = Vec::with_capacity(264);
        lp_short(&mut bytes, LABEL);
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.extend_from_slice(&era.to_be_bytes());
        bytes.extend_from_slice(previous.as_bytes());
        bytes.extend_from_slice(request.as_bytes());
        bytes.extend_from_slice(key_id.as_bytes());
        bytes.extend_from_slice(&epoch.to_be_bytes());
        bytes.extend_from_slice(binding.as_bytes());
        bytes.extend_from_slice(session.as_bytes());
        bytes.extend_from_slice(&time.as_secs().to_be_bytes());
        bytes.extend_from_slice(signature.as_bytes());
        bytes
    }

    /// The hash that the next receipt names.
    #[must_use]
    pub fn hash(&self) -> ReceiptHash {
        ReceiptHash::of(&self.encode())
    }
}

/// A receipt as the enclave gives it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedReceipt {
    /// The record.
    pub receipt: Receipt,
    /// Ed25519 by the report key over [`Receipt::encode`].
    pub report_signature: Signature64,
}

impl SignedReceipt {
    /// Verifies the signature under a report key (Ed25519, 32 bytes).
    ///
    /// # Errors
    /// [`ReceiptError::ReportKey`] when those bytes are no key, [`ReceiptError::Signature`] when the
    /// signature is not that key's.
    pub fn verify(&self, report_key: &[u8; 32]) -> Result<(), ReceiptError> {
        let key = PublicKey::from_bytes(Algorithm::EdDsa, report_key).map_err(|_| ReceiptError::ReportKey)?;
        key.verify_message(&self.receipt.encode(), &self.report_signature)
            .map_err(|_| ReceiptError::Signature { era: self.receipt.era, sequence: self.receipt.sequence })
    }
}

/// Verifies a run of receipts of one era: each signed, each following the one before. A run may begin
/// anywhere; the link of its first receipt is checked only when that is the first of the era.
///
/// # Errors
/// [`ReceiptError`] names the first receipt that does not follow.
pub fn verify_chain(receipts: &[SignedReceipt], report_key: &[u8; 32]) -> Result<(), ReceiptError> {
    let mut before: Option<&Receipt> = None;
    for signed in receipts {
        signed.verify(report_key)?;
        let receipt = &signed.receipt;
        let Receipt { era, sequence, previous, .. } = *receipt;
        let link = match before {
            None if sequence == 0 => {
                return Err(ReceiptError::Sequence { era, expected: 1, found: 0 });
            }
            None if sequence == 1 => Some(Receipt::genesis(era)),
            None => None,
            Some(last) => {
                if era != last.era {
                    return Err(ReceiptError::Era { expected: last.era, found: era });
                }
                if last.sequence.checked_add(1) != Some(sequence) {
                    let expected = last.sequence.saturating_add(1);
                    return Err(ReceiptError::Sequence { era, expected, found: sequence });
                }
                Some(last.hash())
            }
        };
        if link.is_some_and(|link| link != previous) {
            return Err(ReceiptError::Link { era, sequence });
        }
        before = Some(receipt);
    }
    Ok(())
}

/// Why receipts are not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReceiptError {
    /// The key to verify under is none.
    #[error("expected an Ed25519 report key, found bytes that are none")]
    ReportKey,
    /// Not signed by that report key.
    #[error("expected the report key's signature on receipt {sequence} of era {era}, found another")]
    Signature {
        /// The receipt's era.
        era: u64,
        /// The receipt's sequence.
        sequence: u64,
    },
    /// A receipt is missing, repeated or out of order.
    #[error("expected receipt {expected} of era {era}, found {found}")]
    Sequence {
        /// The era.
        era: u64,
        /// The next sequence.
        expected: u64,
        /// The sequence there.
        found: u64,
    },
    /// Receipts of two eras in one run.
    #[error("expected a receipt of era {expected}, found one of era {found}")]
    Era {
        /// The run's era.
        expected: u64,
        /// The receipt's era.
        found: u64,
    },
    /// A receipt names another predecessor.
    #[error("expected receipt {sequence} of era {era} to name the receipt before it, found another hash")]
    Link {
        /// The receipt's era.
        era: u64,
        /// The receipt's sequence.
        sequence: u64,
    },
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[5; 32])
    }

    fn sign(receipt: Receipt) -> SignedReceipt {
        let report_signature = Signature64::from_bytes(key().sign(&receipt.encode()).to_bytes());
        SignedReceipt { receipt, report_signature }
    }

    fn chain(era: u64, count: u64) -> Vec<SignedReceipt> {
        let mut previous = Receipt::genesis(era);
        (1..=count)
            .map(|sequence| {
                let receipt = Receipt {
                    sequence,
                    era,
                    previous,
                    request: RequestDigest::of(&sequence.to_be_bytes()),
                    key_id: KeyId::from_bytes([1; 32]),
                    epoch: 0,
                    binding: Binding::from_bytes([2; 32]),
                    session: SessionId::from_bytes([3; 16]),
                    time: UnixTime::from_secs(sequence),
                    signature: Signature64::from_bytes([4; 64]),
                };
                previous = receipt.hash();
                sign(receipt)
            })
            .collect()
    }

    fn verify(receipts: &[SignedReceipt]) -> Result<(), ReceiptError> {
        verify_chain(receipts, key().verifying_key().as_bytes())
    }

    #[test]
    fn a_chain_verifies_from_its_start_and_from_the_middle() {
        let receipts = chain(3, 5);
        assert_eq!(verify(&receipts), Ok(()));
        assert_eq!(verify(&receipts[2..]), Ok(()));
        assert_eq!(verify(&[]), Ok(()));
    }

    #[test]
    fn a_missing_repeated_reordered_or_foreign_receipt_is_found() {
        let good = chain(3, 5);
        let mut missing = good.clone();
        missing.remove(2);
        assert_eq!(verify(&missing), Err(ReceiptError::Sequence { era: 3, expected: 3, found: 4 }));
        let mut repeated = good.clone();
        repeated.insert(2, good[1].clone());
        assert_eq!(verify(&repeated), Err(ReceiptError::Sequence { era: 3, expected: 3, found: 2 }));
        let mut reordered = good.clone();
        reordered.swap(1, 2);
        assert!(matches!(verify(&reordered), Err(ReceiptError::Sequence { .. })));
        let mut other_era = good.clone();
        other_era[3] = chain(4, 4).remove(3);
        assert_eq!(verify(&other_era), Err(ReceiptError::Era { expected: 3, found: 4 }));
        let mut forked = good.clone();
        let mut receipt = forked[1].receipt.clone();
        receipt.epoch = 9;
        forked[1] = sign(receipt);
        assert_eq!(verify(&forked), Err(ReceiptError::Link { era: 3, sequence: 3 }));
        let mut headless = good.clone();
        let mut receipt = headless[0].receipt.clone();
        receipt.previous = Receipt::genesis(2);
        headless[0] = sign(receipt);
        assert_eq!(verify(&headless), Err(ReceiptError::Link { era: 3, sequence: 1 }));
    }

    #[test]
    fn a_receipt_that_was_changed_or_signed_by_another_key_is_found() {
        let mut changed = chain(1, 2);
        changed[1].receipt.time = UnixTime::from_secs(99);
        assert_eq!(verify(&changed), Err(ReceiptError::Signature { era: 1, sequence: 2 }));
        let foreign = SigningKey::from_bytes(&[6; 32]);
        let error = verify_chain(&chain(1, 1), foreign.verifying_key().as_bytes());
        assert_eq!(error, Err(ReceiptError::Signature { era: 1, sequence: 1 }));
        assert_eq!(verify_chain(&chain(1, 1), &[0; 32]), Err(ReceiptError::ReportKey));
    }

    #[test]
    fn the_encoding_has_one_fixed_length() {
        assert_eq!(chain(1, 1)[0].receipt.encode().len(), 2 + 20 + 8 + 8 + 32 * 3 + 8 + 32 + 16 + 8 + 64);
        assert_ne!(Receipt::genesis(0), Receipt::genesis(1));
    }
}
