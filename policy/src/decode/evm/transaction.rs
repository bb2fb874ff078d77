//! Unsigned Ethereum transactions, as the bytes whose Keccak-256 is signed: EIP-155, EIP-2930 and EIP-1559.

use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_rlp::{Decodable, Encodable, Header, RlpDecodable, RlpEncodable};

use crate::facts::Format;

use super::DecodeError;

/// What go-ethereum's pool takes of a transaction (`txMaxSize`); others take no more.
const BYTES_MAX: usize = 128 * 1024;

/// The most values that a transaction of a known type has: EIP-1559, signed.
const FIELDS_MAX: usize = 12;

/// A transaction that can be signed: it names its chain, and its bytes are the only ones that its values have.
#[derive(Debug)]
pub(super) struct Transaction {
    /// On which chain alone it is valid.
    pub(super) chain_id: u64,
    /// How many the sender sent before.
    pub(super) nonce: u64,
    /// The most gas that it may use.
    pub(super) gas_limit: u64,
    /// The most that it pays for each unit of gas.
    pub(super) gas_price_max: U256,
    /// Whom it calls.
    pub(super) to: TxKind,
    /// What it sends along.
    pub(super) value: U256,
    /// What it calls with.
    pub(super) input: Bytes,
}

impl Transaction {
    /// Reads one unsigned transaction.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, DecodeError> {
        if payload.len() > BYTES_MAX {
            return Err(DecodeError::TooLarge {
                format: Format::Evm,
                bytes_max: BYTES_MAX,
                found: payload.len(),
            });
        }
        let transaction = match payload {
            [] => return Err(malformed("no bytes")),
            [0x01, list @ ..] => typed::<AccessListFields>(list, 8)?.into(),
            [0x02, list @ ..] => fee_market(list)?,
            [0x03, ..] => return Err(unsupported("a transaction with blobs (type 0x03, EIP-4844)")),
            [0x04, ..] => {
                return Err(unsupported("a transaction that delegates accounts (type 0x04, EIP-7702)"));
            }
            // EIP-2718: types end at 0x7f, a list starts at 0xc0.
            [kind @ ..=0x7f, ..] => return Err(unsupported(format!("a transaction of type {kind:#04x}"))),
            [0xc0..=0xff, ..] => legacy(payload)?,
            [..] => return Err(malformed("neither a type nor a list")),
        };
        // EIP-2681, and no chain has the number 0: EIP-155 would not tell it from an unsigned field.
        if transaction.nonce == u64::MAX {
            return Err(malformed("a nonce that no account reaches (EIP-2681)"));
        }
        if transaction.chain_id == 0 {
            return Err(malformed("the chain id 0"));
        }
        Ok(transaction)
    }
}

/// EIP-155: what is hashed has the chain id and two zeros where a signed transaction has its signature.
#[derive(RlpDecodable, RlpEncodable)]
struct LegacyFields {
    nonce: u64,
    gas_price: U256,
    gas_limit: u64,
    to: TxKind,
    value: U256,
    input: Bytes,
    chain_id: u64,
    r: U256,
    s: U256,
}

fn legacy(payload: &[u8]) -> Result<Transaction, DecodeError> {
    if fields(payload)? == 6 {
        return Err(unsupported("a transaction without a chain id, which is valid on every chain"));
    }
    let LegacyFields { nonce, gas_price, gas_limit, to, value, input, chain_id, r, s } = canonical(payload)?;
    if !r.is_zero() || !s.is_zero() {
        return Err(unsupported("a transaction that is signed already"));
    }
    Ok(Transaction { chain_id, nonce, gas_limit, gas_price_max: gas_price, to, value, input })
}

/// What a transaction says that it will touch. It makes gas cheaper or dearer within the gas limit; nothing else.
#[derive(RlpDecodable, RlpEncodable)]
struct AccessListItem {
    address: Address,
    storage_keys: Vec<B256>,
}

/// EIP-2930.
#[derive(RlpDecodable, RlpEncodable)]
struct AccessListFields {
    chain_id: u64,
    nonce: u64,
    gas_price: U256,
    gas_limit: u64,
    to: TxKind,
    value: U256,
    input: Bytes,
    access_list: Vec<AccessListItem>,
}

impl From<AccessListFields> for Transaction {
    fn from(fields: AccessListFields) -> Self {
        let AccessListFields { chain_id, nonce, gas_price, gas_limit, to, value, input, access_list: _ } =
            fields;
        Self { chain_id, nonce, gas_limit, gas_price_max: gas_price, to, value, input }
    }
}

/// EIP-1559.
#[derive(RlpDecodable, RlpEncodable)]
struct FeeMarketFields {
    chain_id: u64,
    nonce: u64,
    priority_fee_max: U256,
    fee_max: U256,
    gas_limit: u64,
    to: TxKind,
    value: U256,
    input: Bytes,
    access_list: Vec<AccessListItem>,
}

fn fee_market(list: &[u8]) -> Result<Transaction, DecodeError> {
    let FeeMarketFields {
        chain_id,
        nonce,
        priority_fee_max,
        fee_max,
        gas_limit,
        to,
        value,
        input,
        access_list: _,
    } = typed(list, 9)?;
    if priority_fee_max > fee_max {
        return Err(malformed("a priority fee above the whole fee, which no node takes (EIP-1559)"));
    }
    Ok(Transaction { chain_id, nonce, gas_limit, gas_price_max: fee_max, to, value, input })
}

/// Reads the list of a typed transaction, which has three values more once it is signed.
fn typed<T: Decodable + Encodable>(list: &[u8], unsigned: usize) -> Result<T, DecodeError> {
    if fields(list)? == unsigned + 3 {
        return Err(unsupported("a transaction that is signed already"));
    }
    canonical(list)
}

/// Reads one value that is written as RLP must be: read again, it is the same bytes.
fn canonical<T: Decodable + Encodable>(bytes: &[u8]) -> Result<T, DecodeError> {
    let value: T = alloy_rlp::decode_exact(bytes).map_err(rlp)?;
    if alloy_rlp::encode(&value) == bytes {
        Ok(value)
    } else {
        Err(malformed("another spelling of its values"))
    }
}

/// How many values a list has; [`FIELDS_MAX`] and one if there are more.
fn fields(list: &[u8]) -> Result<usize, DecodeError> {
    let mut rest = list;
    let mut values = Header::decode_bytes(&mut rest, true).map_err(rlp)?;
    if !rest.is_empty() {
        return Err(malformed("bytes after its end"));
    }
    let mut count = 0;
    while !values.is_empty() && count <= FIELDS_MAX {
        let header = Header::decode(&mut values).map_err(rlp)?;
        values = values.get(header.payload_length..).ok_or_else(|| rlp(alloy_rlp::Error::InputTooShort))?;
        count += 1;
    }
    Ok(count)
}

/// The library's texts hold lengths at most.
fn rlp(error: alloy_rlp::Error) -> DecodeError {
    malformed(format!("RLP with a fault: {error}"))
}

fn malformed(reason: impl Into<String>) -> DecodeError {
    DecodeError::Malformed { format: Format::Evm, reason: reason.into() }
}

fn unsupported(what: impl Into<String>) -> DecodeError {
    DecodeError::Unsupported { what: what.into() }
}
