//! Payloads by independent clients (`tests/vectors/make.py`) are read as what they do, hostile ones are refused, and a
//! change of any byte is noticed.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use std::ops::Range;
use std::sync::LazyLock;

use alloy_primitives::keccak256;
use proptest::prelude::*;
use sealstone_policy::decode::{DecodeError, decode};
use sealstone_policy::facts::{Address, Facts, Format};
use serde::Deserialize;

/// The files, and how their payloads are read.
const FILES: [(Format, &str); 2] =
    [(Format::Evm, include_str!("vectors/evm.json")), (Format::Solana, include_str!("vectors/solana.json"))];

/// One file.
#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
    refused: Vec<Refused>,
}

/// A payload, and what it does.
#[derive(Deserialize)]
struct Case {
    name: String,
    payload: String,
    #[serde(default)]
    signing_hash: Option<String>,
    sender: Address,
    recipients: Vec<Address>,
    facts: Facts,
    /// The bytes that no fact names; `None` where the payload does what nobody can read.
    free: Option<Vec<(usize, usize)>>,
}

/// What is no payload, or none that is signed.
#[derive(Deserialize)]
struct Refused {
    name: String,
    payload: String,
    sender: Address,
    recipients: Vec<Address>,
    refusal: String,
    says: String,
}

impl Case {
    fn payload(&self) -> Vec<u8> {
        hex::decode(&self.payload).unwrap()
    }

    fn decode(&self, payload: &[u8]) -> Result<Facts, DecodeError> {
        decode(self.facts.format, payload, &self.sender, &self.recipients)
    }

    fn is_free(&self, byte: usize) -> bool {
        self.free.as_ref().is_none_or(|free| {
            free.iter().any(|(start, end)| Range { start: *start, end: *end }.contains(&byte))
        })
    }
}

fn vectors() -> impl Iterator<Item = (Format, Vectors)> {
    FILES.into_iter().map(|(format, text)| (format, serde_json::from_str(text).unwrap()))
}

fn cases() -> &'static [Case] {
    static CASES: LazyLock<Vec<Case>> =
        LazyLock::new(|| vectors().flat_map(|(_, vectors)| vectors.cases).collect());
    assert!(CASES.len() > 60, "expected the cases of both chains, found {}", CASES.len());
    &CASES
}

#[test]
fn a_payload_is_read_as_what_it_does() {
    for case in cases() {
        let payload = case.payload();
        assert_eq!(case.decode(&payload), Ok(case.facts.clone()), "{}", case.name);
        if let Some(hash) = &case.signing_hash {
            assert_eq!(
                hex::encode(keccak256(payload)),
                *hash,
                "{}: eth-account signs something else",
                case.name
            );
        }
        for address in case.facts.movements.iter().map(|movement| &movement.recipient) {
            let canonical = Address::parse(case.facts.format, address.as_str()).unwrap();
            assert_eq!(canonical, *address, "{}", case.name);
        }
    }
}

#[test]
fn what_nobody_should_sign_is_refused() {
    for (format, Vectors { refused, .. }) in vectors() {
        assert!(refused.len() > 30, "expected many refusals, found {}", refused.len());
        for Refused { name, payload, sender, recipients, refusal, says } in refused {
            let error =
                decode(format, &hex::decode(payload).unwrap(), &sender, &recipients).expect_err(&name);
            let kind = match error {
                DecodeError::Malformed { .. } => "malformed",
                DecodeError::Unsupported { .. } => "unsupported",
                DecodeError::SenderMismatch { .. } => "sender_mismatch",
                DecodeError::ForeignAddress { .. } => "foreign_address",
                DecodeError::TooManyRecipients { .. } => "too_many_recipients",
                DecodeError::TooLarge { .. } => "too_large",
            };
            assert_eq!(kind, refusal, "{name}: {error}");
            assert!(error.to_string().contains(&says), "{name}: expected `{says}`, found `{error}`");
        }
    }
}

#[test]
fn another_sender_is_noticed_where_the_payload_names_one() {
    for case in cases().iter().filter(|case| case.facts.format == Format::Solana) {
        let other = Address::solana(&[7; 32]);
        let refused = decode(Format::Solana, &case.payload(), &other, &case.recipients).unwrap_err();
        assert_eq!(
            refused,
            DecodeError::SenderMismatch { expected: other, found: case.sender.clone() },
            "{}",
            case.name
        );
    }
}

#[test]
fn one_chains_payloads_and_addresses_are_not_the_others() {
    for case in cases() {
        let (other, address) = match case.facts.format {
            Format::Evm => (Format::Solana, Address::solana(&[7; 32])),
            _ => (Format::Evm, Address::evm(&[7; 20])),
        };
        assert!(decode(other, &case.payload(), &address, &[]).is_err(), "{} as {other}", case.name);
        let foreign = decode(case.facts.format, &case.payload(), &address, &case.recipients);
        assert!(matches!(foreign, Err(DecodeError::ForeignAddress { .. })), "{}: {foreign:?}", case.name);
    }
}

#[test]
fn another_spelling_of_a_sender_is_the_same_sender() {
    for case in cases().iter().filter(|case| case.facts.format == Format::Evm) {
        let upper = format!("\"0x{}\"", case.sender.as_str()[2..].to_uppercase());
        let sender: Address = serde_json::from_str(&upper).unwrap();
        assert_eq!(
            decode(Format::Evm, &case.payload(), &sender, &[]),
            Ok(case.facts.clone()),
            "{}",
            case.name
        );
    }
}

#[test]
fn declared_recipients_are_addresses_and_few() {
    let case = cases().iter().find(|case| case.name == "a transfer, legacy").unwrap();
    let foreign = decode(Format::Solana, &case.payload(), &case.sender, &[Address::evm(&[7; 20])]);
    assert!(matches!(foreign, Err(DecodeError::ForeignAddress { .. })), "{foreign:?}");
    let owners = |count: u8| (0..count).map(|number| Address::solana(&[number; 32])).collect::<Vec<_>>();
    assert_eq!(decode(Format::Solana, &case.payload(), &case.sender, &owners(35)), Ok(case.facts.clone()));
    let many = decode(Format::Solana, &case.payload(), &case.sender, &owners(36));
    assert_eq!(many, Err(DecodeError::TooManyRecipients { recipients_max: 35, found: 36 }));
}

/// This case with another recipient of its first movement.
fn transferred_to(name: &str, recipient: [u8; 32]) -> Facts {
    let case = cases().iter().find(|case| case.name == name).unwrap();
    let before: solana_address::Address = case.facts.movements[0].recipient.as_str().parse().unwrap();
    let mut payload = case.payload();
    let at = payload.windows(32).position(|bytes| bytes == before.to_bytes()).unwrap();
    payload[at..at + 32].copy_from_slice(&recipient);
    case.decode(&payload).unwrap()
}

#[test]
fn who_holds_what_goes_to_an_address_without_a_private_key_is_not_proven() {
    let token_accounts = [
        "DNDTCnZkNk358qDFZd9unHtnrc73SsXcpVWtwJJMrR4B",
        "6YMEjhBqVTMaSRWcmVkLrnHZ22FWEDJEpTeonAg8GKSy",
        "7bps9JyJgT5FWGUsvkEJBfhTHU8dEvkz4jPqPAgYvRGq",
        "FDFKh7vmt8gvX6UJNiH6aHq7pKG1fn9z2S6nCqdLa7Le",
    ];
    for account in token_accounts {
        let account: solana_address::Address = account.parse().unwrap();
        for what in ["a transfer, legacy", "a transfer, version 0", "an allowance of tokens"] {
            let movement = transferred_to(what, account.to_bytes()).movements.remove(0);
            assert_eq!(movement.recipient, Address::solana(&account.to_bytes()));
            assert!(!movement.recipient_proven, "{what} to {account}");
        }
    }
    // Other keys than the fixtures' own: no account may be named twice.
    for number in 128..192 {
        let key = ed25519_dalek::SigningKey::from_bytes(&[number; 32]).verifying_key();
        assert!(transferred_to("a transfer, legacy", key.to_bytes()).movements[0].recipient_proven);
    }
}

#[test]
fn a_payload_cut_short_or_made_longer_is_refused() {
    for case in cases() {
        let payload = case.payload();
        for length in 0..payload.len() {
            assert!(case.decode(&payload[..length]).is_err(), "{} cut to {length} bytes", case.name);
        }
        for byte in 0..=u8::MAX {
            let longer = [&payload[..], &[byte]].concat();
            assert!(case.decode(&longer).is_err(), "{} and a byte {byte:#04x}", case.name);
        }
    }
}

#[test]
fn every_changed_byte_changes_what_is_judged_unless_no_fact_names_it() {
    for case in cases() {
        let mut payload = case.payload();
        for at in 0..payload.len() {
            for change in [0x01, 0x10, 0x80, 0xff] {
                payload[at] ^= change;
                if let Ok(facts) = case.decode(&payload) {
                    assert!(
                        facts != case.facts || case.is_free(at),
                        "{}: byte {at} changed by {change:#04x} is no fact",
                        case.name
                    );
                }
                payload[at] ^= change;
            }
        }
    }
}

#[test]
fn bytes_that_nobody_reads_are_opaque() {
    let anyone = Address::evm(&[7; 20]);
    for bytes in [&b""[..], b"\x02\xc0", &[0xff; 4096]] {
        assert_eq!(decode(Format::Opaque, bytes, &anyone, &[]), Ok(Facts::opaque()));
    }
}

#[test]
fn a_payload_larger_than_any_node_takes_is_refused_unread() {
    let found = 128 * 1024 + 1;
    assert_eq!(
        decode(Format::Evm, &vec![0xc0; found], &Address::evm(&[7; 20]), &[]),
        Err(DecodeError::TooLarge { format: Format::Evm, bytes_max: found - 1, found })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1300)) {
        for (format, sender) in [(Format::Evm, Address::evm(&[7; 20])), (Format::Solana, Address::solana(&[7; 32]))] {
            let _ = decode(format, &bytes, &sender, std::slice::from_ref(&sender));
        }
    }

    #[test]
    fn no_damage_to_a_payload_makes_the_reader_panic(
        index in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        removed in 0_usize..40,
        put in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let case = index.get(cases());
        let mut payload = case.payload();
        let start = at.index(payload.len());
        let end = payload.len().min(start + removed);
        payload.splice(start..end, put);
        let _ = case.decode(&payload);
    }
}
