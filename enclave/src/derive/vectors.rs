//! Known answers of the whole chain, computed by an independent implementation.

use std::collections::BTreeMap;

use sealstone_attestation::{Algorithm, Binding, KeyId, PcrBank, PcrIndex, binding};
use sealstone_wire::key_path::{Epoch, KeyPath, PathText};
use sealstone_wire::request::Payload;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Root;
use crate::secret::{self, Inside};
use crate::signing_key::SigningKey;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[allow(dead_code, reason = "names its source")]
    spec: Option<String>,
    vectors: Vec<Vector>,
}

/// Every field is checked; a field that this test does not know makes it fail.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    root: String,
    pcr_bank: PcrBank,
    pcrs: BTreeMap<u8, String>,
    transit_key_id: String,
    binding: Binding,
    prk: String,
    algorithm: Algorithm,
    path: Path,
    info: String,
    secret: String,
    public_key: String,
    jwk: serde_json::Value,
    key_id: KeyId,
    message: String,
    digest_sha256: String,
    signature: String,
    recovery_id: Option<u8>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Path {
    Asset { tenant: PathText, asset: PathText, epoch: u64 },
    Session { tenant: PathText, sender: PathText, chain_id: u64, nonce: u64, hour: u64 },
}

impl Vector {
    fn path(&self) -> KeyPath {
        let algorithm = self.algorithm;
        match &self.path {
            Path::Asset { tenant, asset, epoch } => KeyPath::Asset {
                tenant: tenant.clone(),
                asset: asset.clone(),
                epoch: Epoch(*epoch),
                algorithm,
            },
            Path::Session { tenant, sender, chain_id, nonce, hour } => KeyPath::Session {
                tenant: tenant.clone(),
                sender: sender.clone(),
                chain_id: *chain_id,
                nonce: *nonce,
                hour: *hour,
                algorithm,
            },
        }
    }

    fn check(&self) {
        let pcrs: BTreeMap<PcrIndex, Vec<u8>> = self
            .pcrs
            .iter()
            .map(|(index, value)| (PcrIndex::new(*index).unwrap(), hex::decode(value).unwrap()))
            .collect();
        assert_eq!(binding(self.pcr_bank, &pcrs, &self.transit_key_id).unwrap(), self.binding, "binding");

        let path = self.path();
        assert_eq!(hex::encode(path.info()), self.info, "info");
        secret::run(|inside| self.check_key(inside, &path.info()));
    }

    fn check_key(&self, inside: &Inside, info: &[u8]) {
        let root = Root::from_bytes(inside, &hex::decode(&self.root).unwrap().try_into().unwrap());
        let (prk, _) = root.prk(inside, self.binding.as_bytes());
        assert_eq!(hex::encode(prk), self.prk, "prk");

        let key = root.derive(inside, &self.binding, self.algorithm, info);
        let secret: [u8; 32] = match &key {
            SigningKey::Es256(key) => key.to_bytes().into(),
            SigningKey::Es256k(key) => key.to_bytes().into(),
            SigningKey::EdDsa(key) => key.to_bytes(),
        };
        assert_eq!(hex::encode(secret), self.secret, "secret");

        let public_key = key.public_key();
        assert_eq!(hex::encode(public_key.as_bytes()), self.public_key, "public key");
        assert_eq!(public_key.jwk(), self.jwk, "jwk");
        assert_eq!(public_key.key_id(), self.key_id, "key id");

        let message = hex::decode(&self.message).unwrap();
        assert_eq!(hex::encode(Sha256::digest(&message)), self.digest_sha256, "digest");
        let made = key.sign(&Payload::Message(message), true).unwrap();
        assert_eq!(hex::encode(made.signature.as_bytes()), self.signature, "signature");
        assert_eq!(hex::encode(made.digest), self.digest_sha256, "digest of the signature");
        if let Some(expected) = self.recovery_id {
            assert_eq!(made.recovery_id, Some(expected), "recovery id");
        }
        if self.algorithm == Algorithm::Es256k {
            recovers(&made, &public_key);
        }
    }
}

/// The recovery id must lead back to the public key, with S low.
fn recovers(made: &crate::signing_key::Made, public_key: &sealstone_attestation::PublicKey) {
    let signature = k256::ecdsa::Signature::from_slice(made.signature.as_bytes()).unwrap();
    let id = k256::ecdsa::RecoveryId::from_byte(made.recovery_id.unwrap()).unwrap();
    let recovered = k256::ecdsa::VerifyingKey::recover_from_prehash(&made.digest, &signature, id).unwrap();
    assert_eq!(sealstone_attestation::PublicKey::from(&recovered), *public_key, "recovered key");
    assert_eq!(signature.normalize_s(), signature, "low S");
}

fn check_file(text: &str, name: &str) {
    let file: Vectors = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(!file.vectors.is_empty(), "{name} holds no vectors");
    for (number, vector) in file.vectors.iter().enumerate() {
        println!("{name}: vector {number}");
        vector.check();
    }
}

#[test]
fn vectors_of_the_derivation_are_met() {
    check_file(include_str!("../../tests/data/derivation.json"), "derivation.json");
    if let Some(path) = std::env::var_os("SEALSTONE_VECTORS") {
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("SEALSTONE_VECTORS {path:?}: {error}"));
        check_file(&text, &path.to_string_lossy());
    }
}
