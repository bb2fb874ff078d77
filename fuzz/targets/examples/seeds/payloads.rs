//! Seeds of chains' payloads: some that independent clients made for the tests of `policy`.

use sealstone_attestation::HexBytes;
use serde_json::Value;

use crate::save;

/// Each a kind of its own; the reader's tests have many more.
const EVM: &[&str] = &[
    "the example of EIP-155",
    "a transfer with an access list",
    "a market's price and an access list",
    "a transfer of USDC with ether along",
    "an approval of everything",
    "a transferFrom of another's",
    "a call that nobody knows",
    "a contract with ether",
];

const SOLANA: &[&str] = &[
    "a transfer, legacy",
    "a transfer, version 0",
    "a price and a limit",
    "a transfer with notes",
    "a transfer under a nonce of the sender's",
    "tokens to a declared owner's account",
    "tokens of Token-2022",
    "an allowance of tokens",
    "an account made if it is missing, and tokens to it",
    "tokens whose mint is in a table",
    "a transfer and another program",
    "an account created",
];

pub(crate) fn save_all() {
    for (target, names, file) in [
        ("evm_payload", EVM, include_str!("../../../../policy/tests/vectors/evm.json")),
        ("solana_payload", SOLANA, include_str!("../../../../policy/tests/vectors/solana.json")),
    ] {
        let vectors: Value = serde_json::from_str(file).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        for name in names {
            let case = cases.iter().find(|case| case["name"] == **name).unwrap();
            let HexBytes(payload) = serde_json::from_value(case["payload"].clone()).unwrap();
            let words: Vec<_> = name.split(|letter: char| !letter.is_ascii_alphanumeric()).collect();
            let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
            save(target, &words.join("_").to_lowercase(), payload);
        }
    }
}
