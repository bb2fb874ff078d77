//! Instructions of the system program, which keeps SOL.

use solana_address::Address as Pubkey;
use solana_system_interface::instruction::SystemInstruction;

use crate::amount::Amount;
use crate::facts::{CurrencyId, Movement, MovementKind};

use super::associated::is_point;
use super::{DecodeError, Effect, require_sender, text};

pub(super) const PROGRAM: Pubkey = solana_system_interface::program::ID;

/// Reads one instruction.
pub(super) fn read(data: &[u8], accounts: &[&Pubkey], sender: &Pubkey) -> Result<Effect, DecodeError> {
    let Ok(instruction) = wincode::deserialize_exact::<SystemInstruction>(data) else {
        return Ok(Effect::Unknown("an instruction of the system program that it does not have".to_owned()));
    };
    match (&instruction, accounts) {
        (SystemInstruction::Transfer { lamports }, [from, to]) => {
            require_sender(sender, from)?;
            Ok(Effect::Moves(Movement {
                kind: MovementKind::Transfer,
                currency: CurrencyId::solana_native(),
                amount: Amount::from(*lamports),
                recipient: text(to),
                // Where no private key can belong to the address, it is a token account or another program's: what
                // arrives there is its owner's to move, and the message does not say who that is.
                recipient_proven: is_point(to),
            }))
        }
        // Spends a nonce of the sender's own: the message is valid until then, and not again.
        (SystemInstruction::AdvanceNonceAccount, [_, _, authority]) if *authority == sender => {
            Ok(Effect::Harmless)
        }
        _ => Ok(Effect::Unknown(format!("{} of the system program", name(&instruction)))),
    }
}

/// What an instruction is called; its values stay out of logs.
fn name(instruction: &SystemInstruction) -> &'static str {
    match instruction {
        SystemInstruction::CreateAccount { .. } => "a CreateAccount",
        SystemInstruction::Assign { .. } => "an Assign",
        SystemInstruction::Transfer { .. } => "a Transfer with other accounts than two",
        SystemInstruction::CreateAccountWithSeed { .. } => "a CreateAccountWithSeed",
        SystemInstruction::AdvanceNonceAccount => "an AdvanceNonceAccount by another authority",
        SystemInstruction::WithdrawNonceAccount(_) => "a WithdrawNonceAccount",
        SystemInstruction::InitializeNonceAccount(_) => "an InitializeNonceAccount",
        SystemInstruction::AuthorizeNonceAccount(_) => "an AuthorizeNonceAccount",
        SystemInstruction::Allocate { .. } => "an Allocate",
        SystemInstruction::AllocateWithSeed { .. } => "an AllocateWithSeed",
        SystemInstruction::AssignWithSeed { .. } => "an AssignWithSeed",
        SystemInstruction::TransferWithSeed { .. } => "a TransferWithSeed",
        SystemInstruction::UpgradeNonceAccount => "an UpgradeNonceAccount",
        SystemInstruction::CreateAccountAllowPrefund { .. } => "a CreateAccountAllowPrefund",
    }
}
