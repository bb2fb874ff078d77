//! Transactions for the independent clients to make, and requests to sign them.

use serde_json::{Value, json};

use crate::Node;
use crate::http::Answer;

/// A token of chain 1.
pub const USDC: &str = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48";

/// An address that receives.
pub const BOB: &str = "0xb0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0";

/// A mint of Solana.
pub const MINT: &str = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v";

/// A Solana address that receives.
pub const CAROL: &str = "7S3P4HxJpyyigGzodYwHtCxZyUQe9JiBMHyRWXArAaKv";

/// The id by which policies and requests of the stories name Solana, whose messages name no cluster.
pub const SOLANA: u64 = 900;

/// An EIP-1559 transaction of chain 1 that calls a contract.
#[must_use]
pub fn call(nonce: u64, contract: &str, data: &str) -> Value {
    json!({
        "format": "evm", "chainId": 1, "nonce": nonce, "gas": 100_000, "maxFeePerGas": 100,
        "maxPriorityFeePerGas": 1, "to": contract, "value": 0, "data": data,
    })
}

/// One of an ERC-20 token's calls with an address and an amount, as the Solidity ABI writes it.
#[must_use]
pub fn erc20(selector: &str, address: &str, amount: u64) -> String {
    let address = address.trim_start_matches("0x").to_ascii_lowercase();
    format!("0x{selector}{address:0>64}{amount:064x}")
}

/// A transfer of [`USDC`] to [`BOB`].
#[must_use]
pub fn usdc(nonce: u64, amount: u64) -> Value {
    call(nonce, USDC, &erc20("a9059cbb", BOB, amount))
}

/// A request of tenant `acme` to sign an Ethereum transaction of chain 1.
#[must_use]
pub fn evm_body(asset: &str, nonce: u64, payload: &[u8]) -> Value {
    json!({
        "tenant": "acme", "asset": asset, "chain_id": 1, "nonce": nonce, "format": "evm", "payload": hex::encode(payload),
    })
}

/// A request of tenant `acme` to sign a Solana message.
#[must_use]
pub fn solana_body(asset: &str, nonce: u64, payload: &[u8]) -> Value {
    json!({
        "tenant": "acme", "asset": asset, "chain_id": SOLANA, "nonce": nonce, "format": "solana",
        "payload": hex::encode(payload),
    })
}

/// Asks for a signature.
#[must_use]
pub fn sign(node: &Node, body: &Value) -> Answer {
    node.api("POST", "/v1/sign", body)
}

/// Asks what would happen.
///
/// # Panics
/// When it is not said.
#[must_use]
pub fn dry_run(node: &Node, body: &Value) -> Value {
    let answer = node.api("POST", "/v1/sign?dry_run=true", body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The codes of all reasons of a problem or of a dry run.
#[must_use]
pub fn reasons(said: &Value) -> Vec<String> {
    let reasons = said["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
    reasons.iter().filter_map(|reason| reason["code"].as_str()).map(str::to_owned).collect()
}
