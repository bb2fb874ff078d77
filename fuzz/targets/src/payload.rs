//! Payloads of chains, before anybody judged them.

use sealstone_policy::decode::decode;
use sealstone_policy::facts::{Address, Facts, Format};

use crate::round_trip::json;

/// What an Ethereum signature is over.
#[must_use]
pub fn evm(bytes: &[u8]) -> bool {
    // Whom the seeds have for another's tokens, so that a damaged one may come to be the sender's.
    let sender = Address::evm(&[0xab; 20]);
    let Some(facts) = read(Format::Evm, bytes, &sender, &[]) else { return false };
    let chain_id = facts.chain_id.expect("an Ethereum payload names its chain");
    assert!(chain_id > 0 && facts.nonce.is_some_and(|nonce| nonce < u64::MAX));
    let mine = |currency: &str| currency.starts_with(&format!("evm:{chain_id}:"));
    assert!(
        facts.movements.iter().all(|movement| movement.recipient_proven && mine(movement.currency.as_str()))
    );
    assert!(facts.fee.is_some_and(|fee| mine(fee.currency.as_str())));
    assert!(facts.movements.len() <= 2, "value and one call");
    assert!(!facts.movements.is_empty() || !facts.unknown.is_empty(), "every transaction does something");
    true
}

/// What a Solana signature is over.
#[must_use]
pub fn solana(bytes: &[u8]) -> bool {
    // The first account pays, and only its signature is asked for: behind the version, the header and a count.
    let first = 4 + usize::from(bytes.first().is_some_and(|byte| *byte >= 0x80));
    let Some(payer) = bytes.get(first..).and_then(|rest| rest.first_chunk::<32>()) else { return false };
    let sender = Address::solana(payer);
    let owner = Address::parse(Format::Solana, OWNER).expect("it is an address");
    let owners = [Address::solana(&[7; 32]), sender.clone(), owner];
    let Some(facts) = read(Format::Solana, bytes, &sender, &owners) else { return false };
    assert_eq!((facts.chain_id, facts.nonce), (None, None), "a message names neither");
    assert!(facts.movements.iter().all(|movement| movement.currency.as_str().starts_with("solana:")));
    let fee = facts.fee.expect("a message has a price");
    assert!(fee.amount >= 5_000_u64.into(), "one signature at least");
    let unproven = read(Format::Solana, bytes, &sender, &[]).expect("recipients only help");
    assert_eq!(facts.movements.len(), unproven.movements.len());
    assert!(facts.unknown.len() <= unproven.unknown.len(), "declared owners make nothing unknown");
    true
}

/// Whom the seeds pay tokens.
const OWNER: &str = "GyGKxMyg1p9SsHfm15MkNUu1u9TN2JtTspcdmrtGUdse";

/// Reads a payload. What is taken ends where it ends, and its facts are written as they are read.
fn read(format: Format, bytes: &[u8], sender: &Address, recipients: &[Address]) -> Option<Facts> {
    let facts = match decode(format, bytes, sender, recipients) {
        Ok(facts) => facts,
        Err(error) => {
            assert!(error.to_string().len() < 300, "a refusal is one line, whatever the payload holds");
            return None;
        }
    };
    assert_eq!(facts.format, format);
    for recipient in facts.movements.iter().map(|movement| &movement.recipient) {
        assert_eq!(Address::parse(format, recipient.as_str()).as_ref(), Ok(recipient), "canonical");
    }
    assert!(facts.unknown.iter().all(|text| text.len() < 300 && !text.contains(char::is_control)));
    assert!(decode(format, &[bytes, &[0]].concat(), sender, recipients).is_err(), "bytes after its end");
    let text = serde_json::to_vec(&facts).expect("facts are written");
    assert_eq!(json::<Facts>(&text).as_ref(), Some(&facts));
    Some(facts)
}
