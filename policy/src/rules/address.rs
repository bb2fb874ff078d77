//! Addresses as a policy writes them.

use crate::facts::Address;

/// Hex digits of an Ethereum address.
const EVM_DIGITS: usize = 40;

/// The base58 alphabet: no `0`, `O`, `I`, `l`.
const BASE58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// The canonical address of a text, if it is one: `0x` and 40 hex digits, or 32 to 44 digits of base58.
pub(super) fn address(text: &str) -> Option<Address> {
    if let Some(digits) = text.strip_prefix("0x") {
        let hex = digits.len() == EVM_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        return hex.then(|| Address::canonical(text.to_ascii_lowercase()));
    }
    let base58 = (32..=44).contains(&text.len()) && text.bytes().all(|digit| BASE58.contains(&digit));
    base58.then(|| Address::canonical(text.to_owned()))
}
