//! What agent, enclave and clients say to each other, inside the channel and over HTTP.

use std::fmt::Debug;

use sealstone_wire::KeyPath;
use sealstone_wire::api::{
    Asset, AssetBody, AssetList, Enrolment, NodeStatus, Problem, SessionPublicKey, SignAnswer, SignBody,
};
use sealstone_wire::channel::{decode, encode};
use sealstone_wire::limits::PLAINTEXT_MAX;
use sealstone_wire::reply::ReplyMessage;
use sealstone_wire::request::{Request, RequestMessage};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::round_trip::{json, postcard};

/// What an enclave reads.
#[must_use]
pub fn request(bytes: &[u8]) -> bool {
    let Some(message) = message::<RequestMessage>(bytes) else { return false };
    match &message.request {
        Request::Sign(sign) => assert!(!sign.path.info().is_empty()),
        Request::PublicKey { path, .. } => assert!(!path.info().is_empty()),
        _ => {}
    }
    // Logs and errors show requests.
    assert!(!format!("{message:?}").is_empty());
    true
}

/// What an agent reads.
#[must_use]
pub fn reply(bytes: &[u8]) -> bool {
    message::<ReplyMessage>(bytes).is_some()
}

fn message<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let message: T = decode(bytes).ok()?;
    assert!(bytes.len() <= PLAINTEXT_MAX, "a message fits one frame");
    let written = encode(&message).expect("what fitted a frame fits again");
    assert!(written.len() <= bytes.len());
    assert_eq!(decode::<T>(&written).as_ref(), Ok(&message));
    assert!(decode::<T>(&[&written, [0].as_slice()].concat()).is_err(), "nothing may follow a message");
    Some(message)
}

/// Two key paths: they derive from the same bytes only if they are the same.
#[must_use]
pub fn key_path(bytes: &[u8]) -> bool {
    let Some((one, other)) = postcard::<(KeyPath, KeyPath)>(bytes) else { return false };
    assert_eq!(one.info() == other.info(), one == other);
    true
}

/// Any body of the HTTP API, in either direction.
#[must_use]
pub fn api_body(bytes: &[u8]) -> bool {
    [
        json::<SignBody>(bytes).is_some(),
        json::<AssetBody>(bytes).is_some(),
        json::<SignAnswer>(bytes).is_some(),
        without_jwk::<Asset>(bytes).is_some(),
        without_jwk::<AssetList>(bytes).is_some(),
        without_jwk::<SessionPublicKey>(bytes).is_some(),
        json::<Enrolment>(bytes).is_some(),
        json::<NodeStatus>(bytes).is_some(),
        json::<Problem>(bytes).is_some(),
    ]
    .contains(&true)
}

/// A JWK is any JSON to its reader; its fractions need not be written as they were read.
fn without_jwk<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(bytes).ok()?;
    let mut value = serde_json::to_value(&read).expect("bodies are JSON");
    let items = match value.get_mut("assets").and_then(Value::as_array_mut) {
        Some(assets) => assets.iter_mut().collect(),
        None => vec![&mut value],
    };
    for item in items {
        item["jwk"] = Value::Null;
    }
    json(&serde_json::to_vec(&value).expect("bodies are JSON"))
}
