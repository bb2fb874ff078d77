//! Payloads of any values are read as they were written, and written otherwise they are refused.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use alloy_primitives::U256;
use alloy_rlp::Encodable;
use ed25519_dalek::VerifyingKey;
use num_bigint::BigUint;
use proptest::collection::vec;
use proptest::prelude::*;
use sealstone_policy::amount::Amount;
use sealstone_policy::decode::decode;
use sealstone_policy::facts::{Address, CurrencyId, Facts, Format, Movement, MovementKind};
use solana_message::{VersionedMessage, compiled_instruction::CompiledInstruction, legacy, v0};

const SENDER: [u8; 32] = [9; 32];

/// Numbers of every length, so that each way to write one is met.
fn number() -> impl Strategy<Value = U256> {
    (any::<[u8; 32]>(), 0_usize..=256)
        .prop_map(|(bytes, bits)| U256::from_be_bytes(bytes).checked_shr(256 - bits).unwrap_or_default())
}

fn amount(number: U256) -> Amount {
    Amount::from_be_bytes(&number.to_be_bytes::<32>())
}

/// A transaction of one of the three kinds.
#[derive(Clone, Debug)]
struct Written {
    kind: u8,
    chain_id: u64,
    nonce: u64,
    price: U256,
    gas_limit: u64,
    to: [u8; 20],
    value: U256,
    input: Vec<u8>,
    touched: Vec<([u8; 20], Vec<[u8; 32]>)>,
}

fn written() -> impl Strategy<Value = Written> {
    let access = vec((any::<[u8; 20]>(), vec(any::<[u8; 32]>(), 0..3)), 0..3);
    let numbers = (1..=u64::MAX, 0..u64::MAX, number(), any::<u64>(), number());
    (0_u8..3, numbers, any::<[u8; 20]>(), vec(any::<u8>(), 0..80), access).prop_map(
        |(kind, (chain_id, nonce, price, gas_limit, value), to, input, touched)| Written {
            kind,
            chain_id,
            nonce,
            price,
            gas_limit,
            to,
            value,
            input,
            touched,
        },
    )
}

fn list(values: &[Vec<u8>]) -> Vec<u8> {
    let mut written = Vec::new();
    alloy_rlp::Header { list: true, payload_length: values.iter().map(Vec::len).sum() }.encode(&mut written);
    values.iter().for_each(|value| written.extend_from_slice(value));
    written
}

fn rlp(value: impl Encodable) -> Vec<u8> {
    alloy_rlp::encode(value)
}

impl Written {
    fn payload(&self) -> Vec<u8> {
        let Self { kind, chain_id, nonce, price, gas_limit, to, value, input, touched } = self;
        let middle = [rlp(gas_limit), rlp(&to[..]), rlp(value), rlp(&input[..])];
        let entries: Vec<_> = touched
            .iter()
            .map(|(address, keys)| {
                let keys: Vec<_> = keys.iter().map(|key| rlp(&key[..])).collect();
                list(&[rlp(&address[..]), list(&keys)])
            })
            .collect();
        let (chain_id, nonce, access) = (rlp(chain_id), rlp(nonce), list(&entries));
        let values: Vec<Vec<u8>> = match kind {
            0 => [nonce, rlp(price)]
                .into_iter()
                .chain(middle)
                .chain([chain_id, rlp(0_u8), rlp(0_u8)])
                .collect(),
            1 => [chain_id, nonce, rlp(price)].into_iter().chain(middle).chain([access]).collect(),
            _ => {
                let fees = [rlp(price / U256::from(3)), rlp(price)];
                [chain_id, nonce].into_iter().chain(fees).chain(middle).chain([access]).collect()
            }
        };
        let kind = if *kind == 0 { None } else { Some(*kind) };
        kind.into_iter().chain(list(&values)).collect()
    }
}

fn transfer(lamports: u64, to: u8) -> CompiledInstruction {
    let data = [&2_u32.to_le_bytes()[..], &lamports.to_le_bytes()].concat();
    CompiledInstruction { program_id_index: 1, accounts: vec![0, to], data }
}

/// Transfers to some of these keys, as both kinds of message.
fn messages(keys: &[[u8; 32]], transfers: &[(u64, prop::sample::Index)]) -> [VersionedMessage; 2] {
    let header = solana_message::MessageHeader {
        num_required_signatures: 1,
        num_readonly_signed_accounts: 0,
        num_readonly_unsigned_accounts: 1,
    };
    let account_keys: Vec<_> =
        [SENDER, [0; 32]].iter().chain(keys).map(|key| solana_address::Address::from(*key)).collect();
    let instructions: Vec<_> = transfers
        .iter()
        .map(|(lamports, to)| transfer(*lamports, u8::try_from(2 + to.index(keys.len())).unwrap()))
        .collect();
    let version_0 = v0::Message {
        header,
        account_keys: account_keys.clone(),
        instructions: instructions.clone(),
        ..v0::Message::default()
    };
    let legacy = legacy::Message { header, account_keys, instructions, ..legacy::Message::default() };
    [VersionedMessage::Legacy(legacy), VersionedMessage::V0(version_0)]
}

fn moved(currency: CurrencyId, amount: Amount, recipient: Address) -> Movement {
    Movement { kind: MovementKind::Transfer, currency, amount, recipient, recipient_proven: true }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn an_ethereum_transaction_is_read_as_it_was_written(written in written()) {
        let facts = decode(Format::Evm, &written.payload(), &Address::evm(&[7; 20]), &[]).unwrap();
        prop_assert_eq!((facts.chain_id, facts.nonce), (Some(written.chain_id), Some(written.nonce)));
        let fee = facts.fee.unwrap();
        prop_assert_eq!(fee.amount, Amount::from(amount(written.price).number() * BigUint::from(written.gas_limit)));
        let currency = CurrencyId::evm_native(written.chain_id);
        prop_assert_eq!(&fee.currency, &currency);
        let sent = moved(currency, amount(written.value), Address::evm(&written.to));
        let moves = written.input.is_empty() || !written.value.is_zero();
        prop_assert_eq!(facts.movements, if moves { vec![sent] } else { vec![] });
        prop_assert_eq!(facts.unknown.len(), usize::from(!written.input.is_empty()));
    }

    #[test]
    fn a_token_call_is_read_as_it_was_written(
        written in written(), value in number(), to in any::<[u8; 20]>(), from in any::<[u8; 20]>(), call in 0..3,
    ) {
        let word = |address: &[u8; 20]| [&[0; 12][..], address].concat();
        let (selector, from_word) = match call {
            0 => ("a9059cbb", vec![]),
            1 => ("095ea7b3", vec![]),
            _ => ("23b872dd", word(&from)),
        };
        let input =
            [hex::decode(selector).unwrap(), from_word, word(&to), value.to_be_bytes::<32>().to_vec()].concat();
        let written = Written { input, value: U256::ZERO, ..written };
        let Facts { movements, unknown, .. } =
            decode(Format::Evm, &written.payload(), &Address::evm(&from), &[]).unwrap();
        let currency = CurrencyId::evm_token(written.chain_id, &Address::evm(&written.to));
        let mut expected = moved(currency, amount(value), Address::evm(&to));
        if call == 1 {
            expected.kind = MovementKind::Allowance;
        }
        prop_assert_eq!(movements, vec![expected]);
        prop_assert_eq!(unknown, Vec::<String>::new());
    }

    #[test]
    fn solana_transfers_are_read_as_they_were_written(
        keys in prop::collection::hash_set(any::<[u8; 32]>(), 1..12),
        transfers in vec((any::<u64>(), any::<prop::sample::Index>()), 0..20),
    ) {
        let keys: Vec<_> = keys.into_iter().filter(|key| *key != SENDER && *key != [0; 32]).collect();
        prop_assume!(!keys.is_empty());
        let expected: Vec<_> = transfers
            .iter()
            .map(|(lamports, to)| {
                let to = &keys[to.index(keys.len())];
                let sent = moved(CurrencyId::solana_native(), Amount::from(*lamports), Address::solana(to));
                // Half of all addresses belong to no key.
                Movement { recipient_proven: VerifyingKey::from_bytes(to).is_ok(), ..sent }
            })
            .collect();
        for message in messages(&keys, &transfers) {
            let facts = decode(Format::Solana, &message.serialize(), &Address::solana(&SENDER), &[]).unwrap();
            prop_assert_eq!(&facts.movements, &expected);
            prop_assert_eq!(facts.unknown, Vec::<String>::new());
            prop_assert_eq!(facts.fee.unwrap().amount, Amount::from(5_000_u64));
        }
    }
}
