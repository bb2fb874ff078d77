//! Transactions that independent clients made are signed through the API and taken by those clients as the asset's own;
//! whatever differs from what was declared, or cannot be read, is refused by its code, and recorded.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

use sealstone_swtpm_tests::transactions::{
    BOB, CAROL, MINT, SOLANA, USDC, call, dry_run, erc20, evm_body, reasons, sign, solana_body, usdc,
};
use sealstone_swtpm_tests::{Node, clients, trail};
use serde_json::{Value, json};

/// A second address of each chain.
const EVE: &str = "0xe7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7";
const DAVE: &str = "FVen3X669xLzsi6N2V91DoiyzHzg1uAgqiT8jZ9nS96Z";

/// More than 64 bits of wei.
const MUCH: &str = "36893488147419103233";

fn policy() -> String {
    format!(
        r#"version = 1
sanctions = "off"

[chains]
ethereum = "evm:1"
solana = "solana:{SOLANA}"

[currencies]
ETH = "evm:1:native"
USDC = "evm:1:{USDC}"
POL = "evm:137:native"
SOL = "solana:native"
TOKEN = "solana:{MINT}"

[[senders]]
tenant = "acme"
asset = "eth"
chains = ["ethereum"]
currencies = ["ETH", "USDC", "POL"]

[[senders]]
tenant = "acme"
asset = "sol"
chains = ["solana"]
currencies = ["SOL", "TOKEN"]
recipients = {{ deny = ["{DAVE}"] }}
"#
    )
}

/// A node with an asset for each chain.
struct Scene {
    node: Node,
    /// The assets' addresses, as the independent clients make them of the public keys.
    eth: String,
    sol: String,
}

impl Scene {
    fn new() -> Self {
        let node = Node::ready_under(&policy());
        let address = |asset: &str, algorithm: &str, format: &str| {
            let key = node.create_asset(asset, algorithm)["public_key"].as_str().unwrap().to_owned();
            clients::address(format, &key)
        };
        let (eth, sol) = (address("eth", "ES256K", "evm"), address("sol", "EdDSA", "solana"));
        Self { node, eth, sol }
    }

    /// Signs, and what the independent clients need to judge it.
    fn signed(&self, body: &Value) -> Value {
        let answer = sign(&self.node, body);
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        let answer = answer.json();
        json!({
            "format": body["format"], "payload": body["payload"], "signature": answer["signature"],
            "recovery_id": answer["recovery_id"],
        })
    }

    /// Holds a refusal to its code, its status, and its record; nothing is reserved or signed.
    fn refused(&self, what: &str, body: &Value, status: u16, codes: &[&str]) {
        let answer = sign(&self.node, body);
        let problem = answer.json();
        assert_eq!((answer.status, problem["code"].as_str()), (status, Some(codes[0])), "{what}: {problem}");
        let policy = problem["reasons"].is_array();
        if policy {
            assert_eq!(reasons(&problem), codes, "{what}: {problem}");
        }
        let record = trail::decisions(&self.node).pop().unwrap_or_else(|| panic!("{what}: no record"));
        assert_eq!(record["kind"], "refused", "{what}: {record}");
        assert_eq!(record["code"], codes[0], "{what}: {record}");
        let recorded = reasons(&record);
        assert!(codes.iter().all(|code| recorded.iter().any(|other| other == code)), "{what}: {record}");
        assert_eq!(recorded.len(), codes.len(), "{what}: {record}");
        for field in ["chain_id", "nonce", "tenant"] {
            assert_eq!(record[field], body[field], "{what}: {record}");
        }
        assert_eq!(record["sender"], body["asset"], "{what}: {record}");
        assert_eq!(record["policy"].is_string(), policy, "{what}: {record}");
        assert_eq!(trail::count(&self.node, "reservations"), 0, "{what}");
        assert_eq!(trail::signatures(&self.node), 0, "{what}");
    }
}

fn with(mut body: Value, fields: &Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn sol(scene: &Scene, version: &Value, fields: &Value) -> Value {
    with(json!({"format": "solana", "version": version, "payer": scene.sol, "to": CAROL}), fields)
}

#[test]
fn what_eth_account_makes_is_signed_and_recovers_to_the_asset_s_address() {
    let scene = Scene::new();
    let wei = "0x20000000000000001";
    let to = json!({"format": "evm", "chainId": 1, "gas": 21_000, "to": BOB, "value": wei});
    let list = json!([{"address": EVE, "storageKeys": [format!("0x{}", "11".repeat(32))]}]);
    let made = [
        with(to.clone(), &json!({"nonce": 0, "gasPrice": 7})),
        with(to.clone(), &json!({"nonce": 1, "gasPrice": 7, "gas": 30_000, "accessList": list, "type": 1})),
        with(to, &json!({"nonce": 2, "maxFeePerGas": 9, "maxPriorityFeePerGas": 1, "type": 2})),
        usdc(3, 1_500_000),
    ];
    let native = json!({"recipient": BOB, "amount": MUCH, "currency": "ETH"});
    let token = json!({"recipient": BOB, "amount": "1500000", "currency": "USDC"});
    let mut signed = Vec::new();
    for (nonce, payload) in clients::build(&made).iter().enumerate() {
        let declared = if nonce == 3 { &token } else { &native };
        let body = with(evm_body("eth", nonce as u64, payload), declared);
        let foretold = dry_run(&scene.node, &body);
        assert_eq!((&foretold["allowed"], &foretold["address"]), (&json!(true), &json!(scene.eth)));
        signed.push(scene.signed(&body));
    }
    for (nonce, said) in clients::check(&signed).iter().enumerate() {
        assert_eq!(said["valid"], true, "{said}");
        assert_eq!((&said["sender"], &said["nonce"]), (&json!(scene.eth), &json!(nonce)), "{said}");
        let (to, value) = if nonce == 3 { (USDC, "0") } else { (BOB, MUCH) };
        assert_eq!((&said["to"], &said["value"]), (&json!(to[2..]), &json!(value)), "{said}");
        assert_eq!(said["chain_id"], 1, "{said}");
    }
}

#[test]
fn what_solders_makes_is_signed_and_verifies_under_the_asset_s_address() {
    let scene = Scene::new();
    let lamports = json!({"lamports": 5_000_000});
    let token = json!({"mint": MINT, "amount": 250, "decimals": 6});
    let made: Vec<Value> = [json!("legacy"), json!(0)]
        .iter()
        .flat_map(|version| [sol(&scene, version, &lamports), sol(&scene, version, &token)])
        .collect();
    let declared = [
        json!({"recipient": CAROL, "amount": "5000000", "currency": "SOL"}),
        json!({"recipient": CAROL, "amount": "250", "currency": "TOKEN"}),
    ];
    let mut signed = Vec::new();
    for (nonce, payload) in clients::build(&made).iter().enumerate() {
        let body = with(solana_body("sol", nonce as u64, payload), &declared[nonce % 2]);
        let foretold = dry_run(&scene.node, &body);
        assert_eq!((&foretold["allowed"], &foretold["address"]), (&json!(true), &json!(scene.sol)));
        signed.push(scene.signed(&body));
    }
    for said in clients::check(&signed) {
        assert_eq!((&said["valid"], &said["sender"]), (&json!(true), &json!(scene.sol)), "{said}");
    }
}

#[test]
fn an_ethereum_transaction_that_is_not_what_was_declared_or_permitted_is_refused() {
    let scene = Scene::new();
    let to = json!({"format": "evm", "chainId": 1, "gas": 21_000, "to": BOB, "value": 5, "gasPrice": 7, "nonce": 4});
    let transactions = [
        to.clone(),
        with(to.clone(), &json!({"chainId": 137})),
        call(4, USDC, &erc20("095ea7b3", EVE, 1)),
        // Another's tokens.
        call(4, USDC, &format!("0x23b872dd{:0>64}{:0>64}{:064x}", &EVE[2..], &BOB[2..], 1)),
        call(4, USDC, "0x12345678"),
        json!({"format": "evm", "chainId": 1, "gas": 90_000, "value": 0, "gasPrice": 7, "nonce": 4, "data": "0x6000"}),
        // A token that nobody named.
        call(4, EVE, &erc20("a9059cbb", BOB, 1)),
    ];
    let built = clients::build(&transactions);
    let [pay, polygon, approve, take, unknown, create, other] = built.as_slice() else { panic!("{built:?}") };
    let body = |payload: &[u8]| evm_body("eth", 4, payload);
    let mismatch = [
        ("another nonce", with(body(pay), &json!({"nonce": 5}))),
        ("another recipient", with(body(pay), &json!({"recipient": EVE}))),
        ("another amount", with(body(pay), &json!({"amount": "6"}))),
        ("another currency", with(body(pay), &json!({"currency": "USDC"}))),
    ];
    for (what, body) in mismatch {
        scene.refused(what, &body, 422, &["PAYLOAD_MISMATCH"]);
    }
    let chain = with(body(pay), &json!({"chain_id": 137}));
    scene.refused("another chain", &chain, 422, &["PAYLOAD_MISMATCH", "CHAIN_NOT_ALLOWED"]);
    let chain = with(body(polygon), &json!({"chain_id": 137}));
    scene.refused("a chain of another entry", &chain, 403, &["CHAIN_NOT_ALLOWED"]);
    let opaque = with(body(pay), &json!({"format": "opaque", "hash": "keccak256"}));
    scene.refused("opaque", &opaque, 403, &["FORMAT_NOT_ALLOWED", "UNREADABLE_PAYLOAD"]);
    scene.refused("an allowance", &body(approve), 403, &["ALLOWANCE_NOT_ALLOWED"]);
    scene.refused("another's tokens", &body(take), 403, &["UNREADABLE_PAYLOAD"]);
    scene.refused("an unknown call", &body(unknown), 403, &["UNREADABLE_PAYLOAD"]);
    scene.refused("a creation", &body(create), 403, &["UNREADABLE_PAYLOAD"]);
    scene.refused("an unknown token", &body(other), 403, &["CURRENCY_UNKNOWN"]);
    // What is no unsigned transaction at all: one byte more, one less, blobs, and nothing of the kind.
    let longer = [&pay[..], &[0]].concat();
    for (what, bytes) in
        [("longer", &longer[..]), ("shorter", &pay[..pay.len() - 1]), ("blobs", b"\x03"), ("text", b"pay")]
    {
        scene.refused(what, &body(bytes), 422, &["PAYLOAD_MALFORMED"]);
    }
    let wrong_key = with(body(pay), &json!({"asset": "sol", "nonce": 1}));
    scene.refused("a key of another chain", &wrong_key, 422, &["PAYLOAD_UNSUITABLE"]);
    // The nonce is as free as before.
    let _ = scene.signed(&body(pay));
}

#[test]
fn a_solana_message_that_is_not_what_was_declared_or_permitted_is_refused() {
    let scene = Scene::new();
    let (lamports, token) = (json!({"lamports": 5}), json!({"mint": MINT, "amount": 250, "decimals": 6}));
    let legacy = json!("legacy");
    let transactions = [
        sol(&scene, &legacy, &lamports),
        sol(&scene, &legacy, &with(lamports.clone(), &json!({"payer": DAVE}))),
        sol(&scene, &legacy, &token),
        sol(&scene, &legacy, &with(lamports.clone(), &json!({"to": DAVE}))),
        sol(&scene, &json!(0), &with(token.clone(), &json!({"mint": DAVE}))),
    ];
    let built = clients::build(&transactions);
    let [pay, stranger, tokens, denied, other] = built.as_slice() else { panic!("{built:?}") };
    let body = |payload: &[u8]| solana_body("sol", 4, payload);
    let declared = |payload: &[u8], fields: &Value| with(body(payload), fields);
    for (what, body) in [
        ("another sender", body(stranger)),
        ("another recipient", declared(pay, &json!({"recipient": DAVE}))),
        ("another amount", declared(pay, &json!({"amount": "4"}))),
        ("another currency", declared(pay, &json!({"currency": "TOKEN"}))),
    ] {
        scene.refused(what, &body, 422, &["PAYLOAD_MISMATCH"]);
    }
    scene.refused("another cluster", &declared(pay, &json!({"chain_id": 1})), 403, &["CHAIN_NOT_ALLOWED"]);
    scene.refused("denied", &body(denied), 403, &["RECIPIENT_DENIED"]);
    scene.refused("whose account", &body(tokens), 403, &["RECIPIENT_UNPROVEN"]);
    let carol = json!({"recipient": CAROL});
    scene.refused("an unknown mint", &declared(other, &carol), 403, &["CURRENCY_UNKNOWN"]);
    let opaque = declared(pay, &json!({"format": "opaque"}));
    scene.refused("opaque", &opaque, 403, &["FORMAT_NOT_ALLOWED", "UNREADABLE_PAYLOAD"]);
    scene.refused("longer", &body(&[&pay[..], &[0]].concat()), 422, &["PAYLOAD_MALFORMED"]);
    let signed = [&[1][..], &[7; 64], pay].concat();
    scene.refused("signed already", &body(&signed), 422, &["PAYLOAD_MALFORMED"]);
    let _ = scene.signed(&declared(tokens, &carol));
}
