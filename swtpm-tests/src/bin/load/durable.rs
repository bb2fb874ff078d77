//! Durable signatures through the whole path, HTTP, agent, policy, store, enclave, log, beside the store's own work for
//! them, in turn and in one run.

use std::time::Duration;

use sealstone_policy::amount::Amount;
use sealstone_policy::engine::{Demand, ReasonCode};
use sealstone_swtpm_tests::node::{POLICY, sign_body};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::bare::{Bare, Commits};
use crate::measure::{Beside, EXPLANATION};
use crate::place::Place;
use crate::primitive::MESSAGE;
use crate::{DEPTHS, http};

/// The key of each request: an algorithm whose signatures Ethereum takes.
const ALGORITHM: &str = "ES256K";

/// Every amount and every request is counted, and none is too much.
const LIMITS: &str = r#"version = 1
sanctions = "off"

[chains]
one = "evm:1"

[currencies]
ETH = "evm:1:native"

[[senders]]
tenant = "acme"
asset = "*"
chains = ["one"]
currencies = ["ETH"]
rolling = [{ over = "24h", amounts = { ETH = "1000000000000000000000000" } }]
velocity = [{ over = "1h", count = 1000000000 }]
"#;

/// Measures each policy on each database.
pub(crate) fn run(span: Duration) {
    let runtime = Runtime::new().unwrap();
    println!("durable signatures, {} s each\n{EXPLANATION}\n", span.as_secs());
    for (policy, text) in [("permissive", POLICY), ("two windows", LIMITS)] {
        for place in Place::both() {
            let node = place.node(text);
            node.create_asset(ALGORITHM, ALGORITHM);
            let demands = if text == LIMITS { demands() } else { Vec::new() };
            let bare = runtime.block_on(Bare::open(&place.store("bare"), 1));
            Beside::heading(&format!("{}, {policy}", place.name()));
            for depth in DEPTHS {
                let alone = |commits, span| runtime.block_on(bare.sign(commits, depth, span, &demands));
                let body = |nonce| match text {
                    LIMITS => transfer(nonce),
                    _ => sign_body(ALGORITHM, nonce, &MESSAGE),
                };
                let beside = Beside {
                    node: &node,
                    span,
                    sql: &|span| alone(Commits::Apart, span),
                    store: &|span| alone(Commits::Together, span),
                    whole: &|span| http::drive(&node.socket(), depth, span, &body),
                };
                beside.print(&format!("depth {depth}"));
            }
            runtime.block_on(bare.close());
            println!();
        }
    }
}

/// What the limits demand of each request, as the agent asks it of the store.
fn demands() -> Vec<Demand> {
    let limit = Amount::from(1_000_000_000_000_000_000_000_000_u128);
    vec![
        Demand {
            window: "amount:ETH:86400".to_owned(),
            seconds: 86400,
            add: Amount::from(1000_u64),
            limit,
            code: ReasonCode::DailyLimitExceeded,
        },
        Demand {
            window: "count:3600".to_owned(),
            seconds: 3600,
            add: Amount::from(1_u64),
            limit: Amount::from(1_000_000_000_u64),
            code: ReasonCode::VelocityExceeded,
        },
    ]
}

/// A transfer of 1,000 wei, unsigned (EIP-1559).
fn transfer(nonce: u64) -> Value {
    let fields = [
        rlp_number(1),
        rlp_number(nonce),
        rlp_number(1_000_000_000),
        rlp_number(30_000_000_000),
        rlp_number(21_000),
        [&[0x94][..], &[0x11; 20]].concat(),
        rlp_number(1000),
        vec![0x80],
        vec![0xc0],
    ]
    .concat();
    let length = u8::try_from(fields.len()).unwrap();
    assert!(length < 56, "a short list");
    let payload = [&[2, 0xc0 + length][..], &fields].concat();
    json!({
        "tenant": "acme", "asset": ALGORITHM, "chain_id": 1, "nonce": nonce, "format": "evm", "payload": hex::encode(payload)
    })
}

/// A number as RLP writes it: without leading zeros; one byte below 128 as itself.
fn rlp_number(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let bytes = &bytes[usize::try_from(number.leading_zeros() / 8).unwrap()..];
    match bytes {
        [byte] if *byte < 0x80 => vec![*byte],
        _ => [&[0x80 + u8::try_from(bytes.len()).unwrap()][..], bytes].concat(),
    }
}
