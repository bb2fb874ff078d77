//! The audit log's formats: our own rules, and what somebody else's implementation of them says.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod checkpoints;
mod foreign;
mod records;
mod trees;

use ed25519_dalek::{Signer, SigningKey};
use sealstone_attestation::audit::{Checkpoint, CoveredReceipts, Origin, TreeHash};
use sealstone_attestation::{DeploymentId, Signature64};

fn key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

fn report_key() -> [u8; 32] {
    key().verifying_key().to_bytes()
}

fn origin() -> Origin {
    Origin::new(DeploymentId::from_bytes([0xab; 16]), "node 1/ü").unwrap()
}

fn checkpoint(size: u64, root: TreeHash) -> Checkpoint {
    Checkpoint { origin: origin(), size, root, receipts: CoveredReceipts { era: 7, sequence: 40 } }
}

fn sign(checkpoint: &Checkpoint) -> Vec<u8> {
    checkpoint.sign(&report_key(), |text| Signature64::from_bytes(key().sign(text).to_bytes())).unwrap()
}
