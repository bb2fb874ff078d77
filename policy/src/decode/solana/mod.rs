//! What a Solana message does.
//!
//! Known: transfers of SOL, transfers and allowances of tokens whose mint the message names, token accounts made for
//! declared recipients, what a transaction pays to be taken, and memos. Everything else is named as unknown, and so
//! is each instruction whose accounts come from an address lookup table: only the chain knows what is in there.
//!
//! A message names no chain: one for a test network is valid on the main one if the block hash is. It names no nonce
//! either; with a nonce account it stays valid until that nonce is advanced, else for about a minute.

use solana_address::Address as Pubkey;

use crate::address;
use crate::amount::Amount;
use crate::facts::{Address, CurrencyId, Facts, Fee, Format, Movement};

use super::DecodeError;
use associated::Owners;
use budget::Budget;
use message::{Instruction, Message};

mod associated;
mod budget;
mod message;
mod system;
mod token;

/// Both versions of the program whose instructions are notes.
const MEMO: [Pubkey; 2] = [
    Pubkey::from_str_const("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"),
    Pubkey::from_str_const("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"),
];

/// What one instruction does.
enum Effect {
    /// Nothing that concerns value.
    Harmless,
    /// Moves value.
    Moves(Movement),
    /// Costs the sender so many lamports beside the fee.
    Costs(u64),
    /// What nobody here can read.
    Unknown(String),
}

/// Reads what a Solana signature is over.
pub(super) fn decode(payload: &[u8], sender: &Address, recipients: &[Address]) -> Result<Facts, DecodeError> {
    let message = Message::parse(payload)?;
    let sender = pubkey(sender)?;
    let owners = Owners::parse(recipients)?;
    // The fee payer is the first account, and always a required signer.
    require_sender(&sender, message.fee_payer())?;

    let mut budget = Budget::default();
    let mut movements = Vec::new();
    let mut unknown = Vec::new();
    let mut costs = 0_u128;
    for instruction in message.instructions() {
        if *instruction.program == budget::PROGRAM {
            budget.read(instruction.data)?;
            continue;
        }
        budget.count_program();
        match read(&instruction, &sender, &owners)? {
            Effect::Harmless => {}
            Effect::Moves(movement) => movements.push(movement),
            Effect::Costs(lamports) => costs += u128::from(lamports),
            Effect::Unknown(what) => unknown.push(what),
        }
    }
    Ok(Facts {
        format: Format::Solana,
        chain_id: None,
        nonce: None,
        movements,
        fee: Some(Fee {
            currency: CurrencyId::solana_native(),
            amount: Amount::from(budget.fee(message.signatures()) + costs),
        }),
        unknown,
    })
}

fn read(instruction: &Instruction<'_>, sender: &Pubkey, owners: &Owners) -> Result<Effect, DecodeError> {
    let program = instruction.program;
    let Some(accounts) = &instruction.accounts else {
        return Ok(Effect::Unknown(format!(
            "an instruction of {program} with accounts from an address lookup table"
        )));
    };
    match *program {
        system::PROGRAM => system::read(instruction.data, accounts, sender),
        token::PROGRAM | token::PROGRAM_2022 => {
            token::read(program, instruction.data, accounts, sender, owners)
        }
        associated::PROGRAM => Ok(associated::read(instruction.data, accounts, sender, owners)),
        _ if MEMO.contains(program) => Ok(Effect::Harmless),
        _ => Ok(Effect::Unknown(format!("an instruction of the program {program}"))),
    }
}

/// That an account which pays is the sender: a message may have other signers, whose spending is not the sender's.
fn require_sender(sender: &Pubkey, found: &Pubkey) -> Result<(), DecodeError> {
    if found == sender {
        return Ok(());
    }
    Err(DecodeError::SenderMismatch { expected: text(sender), found: text(found) })
}

fn pubkey(address: &Address) -> Result<Pubkey, DecodeError> {
    address::solana(address.as_str())
        .map_err(|_| DecodeError::ForeignAddress { format: Format::Solana, found: address.clone() })
}

fn text(key: &Pubkey) -> Address {
    Address::solana(key.as_array())
}
