//! Records, as the agent writes them.

use std::collections::BTreeSet;

use sealstone_attestation::audit::{LeafHash, Reason, ReceiptReference, Record, RecordKind};
use sealstone_attestation::{PolicyDigest, Receipt, Sha256Digest};
use sealstone_wire::PathText;

use crate::signing::SignCommand;
use crate::store::{AssetEpoch, AuditRow, Reservation};

/// Which signer, as records and answers say it.
pub const SIGNER: &str = "enclave";

/// Characters of a detail; the log says what happened, the agent's own log says why at length.
const DETAIL_CHARS_MAX: usize = 200;

/// A record with what it is found by, ready for the store.
///
/// # Panics
/// Never: every text of a record is bounded where it is read.
#[must_use]
pub fn row(record: &Record) -> AuditRow {
    let leaf = record.to_leaf().expect("names, details and reasons are bounded where they are read");
    AuditRow {
        time_ms: record.time_ms,
        kind: record.kind.to_string(),
        code: record.code.clone(),
        tenant: record.tenant.clone(),
        sender: record.sender.clone(),
        client: record.client.clone(),
        request: record.request.map(|request| *request.as_bytes()),
        key_id: record.key_id.map(|key_id| *key_id.as_bytes()),
        epoch: record.epoch,
        leaf_hash: *LeafHash::of(&leaf).as_bytes(),
        leaf,
    }
}

/// A record of this kind, of nobody's doing.
#[must_use]
pub fn base(now_ms: u64, kind: RecordKind, detail: impl Into<String>) -> Record {
    let detail: String = detail.into().chars().take(DETAIL_CHARS_MAX).collect();
    Record { detail: (!detail.is_empty()).then_some(detail), ..Record::new(now_ms, kind) }
}

/// What an operator did, and to what.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// When.
    pub now_ms: u64,
    /// What.
    pub kind: RecordKind,
    /// Who.
    pub client: &'a str,
    /// In which exchange.
    pub trace_id: &'a str,
    /// Of which asset or sender, if of one.
    pub of: Option<(&'a PathText, &'a PathText)>,
}

/// A record of an operator's act.
#[must_use]
pub fn act(act: Act<'_>, detail: impl Into<String>) -> Record {
    let Act { now_ms, kind, client, trace_id, of } = act;
    Record {
        client: Some(client.to_owned()),
        trace_id: Some(trace_id.to_owned()),
        tenant: of.map(|(tenant, _)| tenant.to_string()),
        sender: of.map(|(_, name)| name.to_string()),
        ..base(now_ms, kind, detail)
    }
}

/// What every decision about a request to sign says of it.
#[must_use]
pub fn decision(
    now_ms: u64,
    kind: RecordKind,
    command: &SignCommand,
    policy: Option<PolicyDigest>,
) -> Record {
    let (tenant, name) = command.named();
    Record {
        client: Some(command.asker.client.clone()),
        trace_id: Some(command.asker.trace_id.clone()),
        tenant: Some(tenant.to_string()),
        sender: Some(name.to_string()),
        chain_id: Some(command.nonce.chain_id),
        nonce: Some(command.nonce.nonce),
        request: Some(command.request),
        policy: policy.map(|policy| Sha256Digest::from_bytes(*policy.as_bytes())),
        ..Record::new(now_ms, kind)
    }
}

/// That a request was refused, for these reasons.
#[must_use]
pub fn refusal<'c>(mut record: Record, codes: impl IntoIterator<Item = &'c str>) -> Record {
    let mut said = BTreeSet::new();
    let mut reasons = Vec::new();
    for code in codes {
        // A code says it once, however many movements it is about; that bounds them as well.
        if said.insert(code) {
            reasons.push(Reason { code: code.to_owned() });
        }
    }
    reasons.truncate(Record::REASONS_MAX);
    record.code = reasons.first().map(|reason| reason.code.clone());
    record.reasons = reasons;
    record
}

/// That a request was signed, with this receipt.
#[must_use]
pub fn signature(record: Record, receipt: &Receipt) -> Record {
    Record {
        key_id: Some(receipt.key_id),
        epoch: Some(receipt.epoch),
        binding: Some(receipt.binding),
        signer: Some(SIGNER.to_owned()),
        session: Some(receipt.session),
        receipt: Some(ReceiptReference::of(receipt)),
        ..record
    }
}

/// With the key of an asset's epoch.
#[must_use]
pub fn of_epoch(record: Record, epoch: &AssetEpoch) -> Record {
    Record { key_id: Some(epoch.key_id), epoch: Some(epoch.epoch.0), binding: Some(epoch.binding), ..record }
}

/// With what is kept of a reservation.
#[must_use]
pub fn of_reservation(record: Record, reservation: &Reservation) -> Record {
    let Reservation { nonce, request, policy, .. } = reservation;
    let (tenant, sender) = nonce.sender.parts().unzip();
    Record {
        tenant: tenant.map(str::to_owned),
        sender: sender.map(str::to_owned),
        chain_id: Some(nonce.chain_id),
        nonce: Some(nonce.nonce),
        request: Some(*request),
        policy: policy.map(Sha256Digest::from_bytes),
        ..record
    }
}
