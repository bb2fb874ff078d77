//! Instructions of the token programs: SPL Token, and Token-2022 where it does the same.
//!
//! Read are those that name the mint. What Token-2022 adds depends on the mint, which only the chain knows: a fee may
//! be held back from what arrives, never from more than was sent; the mint's permanent delegate may take back what
//! arrived; a hook may be called, but wants further accounts, and then the transfer is unknown here. So a policy lists
//! the mints that it trusts.

use solana_address::Address as Pubkey;

use crate::amount::Amount;
use crate::facts::{CurrencyId, Movement, MovementKind};

use super::associated::{Owners, is_point};
use super::{DecodeError, Effect, require_sender, text};

/// SPL Token.
pub(super) const PROGRAM: Pubkey = Pubkey::from_str_const("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA");
/// Token-2022.
pub(super) const PROGRAM_2022: Pubkey = Pubkey::from_str_const("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb");

/// The instruction `TransferChecked`: an amount and the mint's decimals.
const TRANSFER_CHECKED: u8 = 12;
/// The instruction `ApproveChecked`: likewise.
const APPROVE_CHECKED: u8 = 13;

/// Reads one instruction.
pub(super) fn read(
    program: &Pubkey,
    data: &[u8],
    accounts: &[&Pubkey],
    sender: &Pubkey,
    owners: &Owners,
) -> Result<Effect, DecodeError> {
    // The decimals are no fact: where they are not the mint's, the instruction fails.
    let amount = match data {
        [TRANSFER_CHECKED | APPROVE_CHECKED, amount @ .., _decimals] => amount.try_into().ok(),
        _ => None,
    };
    // With further accounts the authority is several keys together, or a hook is called.
    let (Some(amount), [_source, mint, to, authority]) = (amount.map(u64::from_le_bytes), accounts) else {
        return Ok(unknown(program, data));
    };
    let (kind, recipient, recipient_proven) = match data.first() {
        Some(&TRANSFER_CHECKED) => match owners.of_associated(to, program, mint) {
            Some(owner) => (MovementKind::Transfer, owner, is_point(owner)),
            None => (MovementKind::Transfer, *to, false),
        },
        Some(&APPROVE_CHECKED) if *program == PROGRAM => (MovementKind::Allowance, *to, is_point(to)),
        _ => return Ok(unknown(program, data)),
    };
    require_sender(sender, authority)?;
    Ok(Effect::Moves(Movement {
        kind,
        currency: CurrencyId::solana_token(&text(mint)),
        amount: Amount::from(amount),
        recipient: text(recipient),
        recipient_proven,
    }))
}

fn unknown(program: &Pubkey, data: &[u8]) -> Effect {
    Effect::Unknown(match data.first() {
        Some(number) => format!("the instruction {number} of the token program {program}"),
        None => format!("an empty instruction of the token program {program}"),
    })
}
