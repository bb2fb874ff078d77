//! Straight to the enclave, past the agent but with its key.

use sealstone_attestation::{Algorithm, RequestDigest};
use sealstone_wire::address::Address;
use sealstone_wire::api::Asset;
use sealstone_wire::channel::{ChannelKey, ChannelPublic};
use sealstone_wire::client::Client;
use sealstone_wire::key_path::{Epoch, KeyPath};
use sealstone_wire::request::{Payload, SignRequest};
use serde_json::Value;

use crate::Node;

/// A connection with the agent's key.
///
/// # Panics
/// When the enclave does not take it.
#[must_use]
pub fn connect(node: &Node) -> Client {
    let config = std::fs::read_to_string(node.path("agent.toml")).expect("the configuration is readable");
    let public =
        config.lines().find_map(|line| line.strip_prefix("public_keys = ")).expect("the enclave's key");
    let public: ChannelPublic = public.trim_matches(['[', ']', '"']).parse().expect("a public key");
    let key = ChannelKey::from_file(&node.path("agent.key")).expect("the agent's key is readable");
    let address = Address::Unix { path: node.path("enclave.sock") };
    Client::connect(&address, &key, &public).expect("the enclave takes the agent's key")
}

/// To sign a message with the asset that is named like its algorithm.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn request(node: &Node, algorithm: Algorithm, message: &[u8]) -> SignRequest {
    let asset = node.api("GET", &format!("/v1/keys/acme/{}", algorithm.name()), &Value::Null).json();
    let asset: Asset = serde_json::from_value(asset).expect("an asset of the API");
    SignRequest {
        path: KeyPath::Asset { tenant: asset.tenant, asset: asset.asset, epoch: Epoch(0), algorithm },
        binding: asset.binding,
        key_id: Some(asset.key_id),
        payload: Payload::Message(message.to_vec()),
        request: RequestDigest::of(b"load"),
        issued_at_ms: None,
    }
}
