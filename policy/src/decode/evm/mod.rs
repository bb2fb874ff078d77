//! What an Ethereum transaction does.
//!
//! Known: a transfer of the chain's coin, and the three calls of an ERC-20 token that move value. The fee is what
//! the transaction offers for its gas; a roll-up may charge for its data on top, which no payload names.

use alloy_primitives::TxKind;

use crate::address;
use crate::amount::Amount;
use crate::facts::{Address, CurrencyId, Facts, Fee, Format, Movement, MovementKind};

use super::DecodeError;
use erc20::Erc20Call;
use transaction::Transaction;

mod erc20;
mod transaction;

/// Reads what an Ethereum signature is over.
pub(super) fn decode(payload: &[u8], sender: &Address) -> Result<Facts, DecodeError> {
    let transaction = Transaction::parse(payload)?;
    let sender_address = address::evm(sender.as_str())
        .ok()
        .filter(|parsed| Address::evm(parsed.as_ref()) == *sender)
        .ok_or_else(|| DecodeError::ForeignAddress { format: Format::Evm, found: sender.clone() })?;
    let chain_id = transaction.chain_id;
    let mut facts = Facts {
        format: Format::Evm,
        chain_id: Some(chain_id),
        nonce: Some(transaction.nonce),
        movements: Vec::new(),
        fee: Some(Fee {
            currency: CurrencyId::evm_native(chain_id),
            amount: Amount::from(amount(&transaction.gas_price_max).number() * transaction.gas_limit),
        }),
        unknown: Vec::new(),
    };
    let contract = match transaction.to {
        TxKind::Call(to) => Address::evm(to.as_ref()),
        TxKind::Create => {
            let created = Address::evm(sender_address.create(transaction.nonce).as_ref());
            facts.unknown.push(format!("the creation of the contract {created}"));
            created
        }
    };
    // A transaction that neither calls nor creates is a transfer, be it of nothing.
    let transfer = transaction.input.is_empty() && transaction.to.is_call();
    if transfer || !transaction.value.is_zero() {
        facts.movements.push(Movement {
            kind: MovementKind::Transfer,
            currency: CurrencyId::evm_native(chain_id),
            amount: amount(&transaction.value),
            recipient: contract.clone(),
            recipient_proven: true,
        });
    }
    if transaction.to.is_call() && !transaction.input.is_empty() {
        read_call(&transaction.input, contract, sender, &mut facts);
    }
    Ok(facts)
}

/// Adds what a call does.
fn read_call(input: &[u8], contract: Address, sender: &Address, facts: &mut Facts) {
    let chain_id = facts.chain_id.expect("an Ethereum payload names its chain");
    let (kind, recipient, value) = match Erc20Call::parse(input) {
        Some(Erc20Call::Transfer { to, value }) => (MovementKind::Transfer, to, value),
        Some(Erc20Call::Approve { spender, value }) => (MovementKind::Allowance, spender, value),
        Some(Erc20Call::TransferFrom { from, to, value }) => {
            let from = Address::evm(from.as_ref());
            if from != *sender {
                facts.unknown.push(format!(
                    "a transferFrom of {contract} that spends the tokens of {from}, not the sender's"
                ));
            }
            (MovementKind::Transfer, to, value)
        }
        None => {
            facts.unknown.push(match input.first_chunk() {
                Some(selector) => format!("a call of {contract} by selector {}", selector_text(*selector)),
                None => format!("a call of {contract} without a selector"),
            });
            return;
        }
    };
    facts.movements.push(Movement {
        kind,
        currency: CurrencyId::evm_token(chain_id, &contract),
        amount: amount(&value),
        recipient: Address::evm(recipient.as_ref()),
        recipient_proven: true,
    });
}

fn selector_text(selector: [u8; 4]) -> String {
    format!("0x{}", hex::encode(selector))
}

fn amount(number: &alloy_primitives::U256) -> Amount {
    Amount::from_be_bytes(&number.to_be_bytes::<32>())
}
