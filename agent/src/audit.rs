//! Records of the audit log, as this agent writes them: one compact JSON object each.

use sealstone_attestation::{Binding, KeyId, Receipt, RequestDigest};
use sealstone_wire::PathText;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::clock;
use crate::store::{AssetEpoch, AuditRow, NonceKey, Sender};

/// What happened, and to what. A field that is `None` is left out.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    time_ms: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chain_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<RequestDigest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<KeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binding: Option<Binding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptName>,
}

/// Which receipt a signature has.
#[derive(Clone, Copy, Debug, Serialize)]
struct ReceiptName {
    era: u64,
    sequence: u64,
}

impl Record {
    /// Of this kind, now.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        Self {
            time_ms: clock::now_ms(),
            kind,
            code: None,
            client: None,
            tenant: None,
            sender: None,
            chain_id: None,
            nonce: None,
            request: None,
            key_id: None,
            epoch: None,
            binding: None,
            receipt: None,
        }
    }

    /// With the reason's code.
    #[must_use]
    pub fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Of a request by this client for this nonce.
    #[must_use]
    pub fn request(self, nonce: &NonceKey, request: RequestDigest, client: &str) -> Self {
        let client = (!client.is_empty()).then(|| client.to_owned());
        Self {
            request: Some(request),
            client,
            nonce: Some(nonce.nonce),
            ..self.of(nonce.chain_id, &nonce.sender)
        }
    }

    /// Of this sender on this chain.
    #[must_use]
    pub fn of(self, chain_id: u64, sender: &Sender) -> Self {
        let (tenant, name) = match sender.parts() {
            Some((tenant, name)) => (Some(tenant.to_owned()), Some(name.to_owned())),
            None => (None, None),
        };
        Self { chain_id: Some(chain_id), tenant, sender: name, ..self }
    }

    /// Of the signature that this receipt names.
    #[must_use]
    pub fn receipt(self, receipt: &Receipt) -> Self {
        Self {
            request: Some(receipt.request),
            key_id: Some(receipt.key_id),
            epoch: Some(receipt.epoch),
            binding: Some(receipt.binding),
            receipt: Some(ReceiptName { era: receipt.era, sequence: receipt.sequence }),
            ..self
        }
    }

    /// Of an asset's epoch.
    #[must_use]
    pub fn asset_epoch(self, epoch: &AssetEpoch) -> Self {
        Self {
            key_id: Some(epoch.key_id),
            epoch: Some(epoch.epoch.0),
            binding: Some(epoch.binding),
            ..self.asset(&epoch.tenant, &epoch.asset)
        }
    }

    /// Of an asset.
    #[must_use]
    pub fn asset(self, tenant: &PathText, asset: &PathText) -> Self {
        Self { tenant: Some(tenant.to_string()), sender: Some(asset.to_string()), ..self }
    }

    /// As it is stored.
    #[must_use]
    pub fn row(self) -> AuditRow {
        let leaf = serde_json::to_vec(&self).expect("a record of texts and numbers is JSON");
        let leaf_hash = Sha256::new().chain_update([0]).chain_update(&leaf).finalize().into();
        AuditRow {
            time_ms: self.time_ms,
            kind: self.kind.to_owned(),
            code: self.code.map(str::to_owned),
            tenant: self.tenant,
            sender: self.sender,
            client: self.client,
            request: self.request.map(|request| *request.as_bytes()),
            key_id: self.key_id.map(|key_id| *key_id.as_bytes()),
            epoch: self.epoch,
            leaf,
            leaf_hash,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_what_is_known_and_no_more() {
        let (tenant, asset) = ("acme".try_into().unwrap(), "hot".try_into().unwrap());
        let nonce = NonceKey { chain_id: 1, sender: Sender::asset(&tenant, &asset), nonce: 7 };
        let row =
            Record::new("refused").code("LIMIT").request(&nonce, RequestDigest::of(b"x"), "uid:0").row();
        let json: serde_json::Value = serde_json::from_slice(&row.leaf).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            keys,
            ["chain_id", "client", "code", "kind", "nonce", "request", "sender", "tenant", "time_ms"]
        );
        assert_eq!((json["tenant"].as_str(), json["sender"].as_str()), (Some("acme"), Some("hot")));
        assert_eq!((row.tenant.as_deref(), row.sender.as_deref()), (Some("acme"), Some("hot")));
        let hash: [u8; 32] = Sha256::digest([b"\0", &row.leaf[..]].concat()).into();
        assert_eq!(row.leaf_hash, hash);
    }
}
