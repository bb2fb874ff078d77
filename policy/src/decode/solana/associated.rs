//! Associated token accounts: the one account that each owner has for each mint, at an address derived from both.

use curve25519_dalek::edwards::CompressedEdwardsY;
use sha2::{Digest, Sha256};
use solana_address::Address as Pubkey;

use crate::facts::Address;

use super::{DecodeError, Effect, pubkey, system, token};

/// The program that makes such accounts.
pub(super) const PROGRAM: Pubkey = Pubkey::from_str_const("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL");

/// Where the chain keeps what rent costs.
const RENT_SYSVAR: Pubkey = Pubkey::from_str_const("SysvarRent111111111111111111111111111111111");

/// What an SPL token account of 165 bytes must hold to be kept: (128 + 165) bytes at 3,480 lamports a year, for two
/// years. Accounts of Token-2022 may be larger.
const RENT_LAMPORTS: u64 = 2_039_280;

/// The most owners that a client may declare. A message has room for 35 accounts, so it can pay no more.
const OWNERS_MAX: usize = 35;

/// The owners that a client declared: claims, each tried against what the message names.
#[derive(Debug)]
pub(super) struct Owners(Vec<Pubkey>);

impl Owners {
    /// Reads the declared recipients.
    pub(super) fn parse(recipients: &[Address]) -> Result<Self, DecodeError> {
        if recipients.len() > OWNERS_MAX {
            return Err(DecodeError::TooManyRecipients {
                recipients_max: OWNERS_MAX,
                found: recipients.len(),
            });
        }
        recipients.iter().map(pubkey).collect::<Result<_, _>>().map(Self)
    }

    /// Whose associated account for the mint this is, if a declared owner's.
    ///
    /// Nobody else can make an account at that address, and at first it is its owner's. Under SPL Token an owner may
    /// later hand it on to another, which no message shows; then tokens go where that owner wanted them to go.
    pub(super) fn of_associated(&self, account: &Pubkey, program: &Pubkey, mint: &Pubkey) -> Option<&Pubkey> {
        self.0.iter().find(|owner| associated(owner, program, mint).as_ref() == Some(account))
    }
}

/// Reads one instruction of the program that makes such accounts.
pub(super) fn read(data: &[u8], accounts: &[&Pubkey], sender: &Pubkey, owners: &Owners) -> Effect {
    let creates = match data {
        // Create in its old and its new form, and CreateIdempotent.
        [] | [0] | [1] => true,
        _ => false,
    };
    let [funder, account, owner, mint, system_program, token_program, rest @ ..] = accounts else {
        return unknown();
    };
    let known = creates
        && *funder == sender
        && **system_program == system::PROGRAM
        && **token_program == token::PROGRAM
        // Older clients name it, as the program once wanted.
        && (rest.is_empty() || rest == [&RENT_SYSVAR])
        && owners.of_associated(account, token_program, mint) == Some(*owner);
    if known { Effect::Costs(RENT_LAMPORTS) } else { unknown() }
}

fn unknown() -> Effect {
    Effect::Unknown(
        "an instruction of the associated token program other than to make a declared recipient's account at the \
         sender's cost"
            .to_owned(),
    )
}

/// The address of an owner's associated account for a mint; `None` for what has none, which nobody ever met.
fn associated(owner: &Pubkey, token_program: &Pubkey, mint: &Pubkey) -> Option<Pubkey> {
    // A derived address is a hash that is no point of the curve, so that no private key belongs to it: the first one
    // of these, counted down.
    (0..=u8::MAX).rev().find_map(|bump| {
        let hash = Sha256::new()
            .chain_update(owner)
            .chain_update(token_program)
            .chain_update(mint)
            .chain_update([bump])
            .chain_update(PROGRAM)
            .chain_update(b"ProgramDerivedAddress")
            .finalize();
        let address = Pubkey::from(<[u8; 32]>::from(hash));
        (!is_point(&address)).then_some(address)
    })
}

/// Whether an address is a point of the curve, so that a private key can belong to it; as the runtime asks it.
pub(super) fn is_point(address: &Pubkey) -> bool {
    CompressedEdwardsY(address.to_bytes()).decompress().is_some()
}
