//! The calls of an ERC-20 token that move value, as the Solidity ABI writes them.
//!
//! A payload does not say whether a contract is an ERC-20 token. An ERC-721 one takes the same `approve` and
//! `transferFrom` with the number of a piece for the amount: only what is listed as a currency may be judged by
//! amount.

use alloy_primitives::{Address, U256};

/// `transfer(address,uint256)`.
const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
/// `approve(address,uint256)`.
const APPROVE: [u8; 4] = [0x09, 0x5e, 0xa7, 0xb3];
/// `transferFrom(address,address,uint256)`.
const TRANSFER_FROM: [u8; 4] = [0x23, 0xb8, 0x72, 0xdd];

/// One of the three calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Erc20Call {
    /// Of the caller's own tokens.
    Transfer {
        /// Who gets them.
        to: Address,
        /// How many.
        value: U256,
    },
    /// Of any tokens that the caller may spend.
    TransferFrom {
        /// Whose they are.
        from: Address,
        /// Who gets them.
        to: Address,
        /// How many.
        value: U256,
    },
    /// Sets what another may spend of the caller's tokens.
    Approve {
        /// Who may.
        spender: Address,
        /// At most.
        value: U256,
    },
}

impl Erc20Call {
    /// Reads a call's input. `None` for every other call, and for arguments that are too short or too long, or that
    /// have something before an address: some contracts ignore that, so it could hide what another reader sees.
    pub(super) fn parse(input: &[u8]) -> Option<Self> {
        let (selector, arguments) = input.split_first_chunk()?;
        let (words, rest) = arguments.as_chunks::<32>();
        if !rest.is_empty() {
            return None;
        }
        match (*selector, words) {
            (TRANSFER, [to, value]) => Some(Self::Transfer { to: address(to)?, value: number(value) }),
            (APPROVE, [spender, value]) => {
                Some(Self::Approve { spender: address(spender)?, value: number(value) })
            }
            (TRANSFER_FROM, [from, to, value]) => {
                Some(Self::TransferFrom { from: address(from)?, to: address(to)?, value: number(value) })
            }
            _ => None,
        }
    }
}

fn address(word: &[u8; 32]) -> Option<Address> {
    let (padding, address) = word.split_first_chunk::<12>()?;
    if *padding == [0; 12] { Some(Address::from_slice(address)) } else { None }
}

fn number(word: &[u8; 32]) -> U256 {
    U256::from_be_bytes(*word)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;

    use super::*;

    #[test]
    fn a_selector_is_the_hash_of_its_signature() {
        for (signature, selector) in [
            ("transfer(address,uint256)", TRANSFER),
            ("approve(address,uint256)", APPROVE),
            ("transferFrom(address,address,uint256)", TRANSFER_FROM),
        ] {
            assert_eq!(keccak256(signature)[..4], selector, "{signature}");
        }
    }

    #[test]
    fn arguments_are_read_strictly() {
        let good = [&TRANSFER[..], &[0; 12], &[0x11; 20], &[0; 31], &[7]].concat();
        let expected = Erc20Call::Transfer { to: Address::from([0x11; 20]), value: U256::from(7) };
        assert_eq!(Erc20Call::parse(&good), Some(expected));
        let longer = [&good[..], &[0; 32]].concat();
        let odd = [&good[..], &[0]].concat();
        for bad in [&good[..3], &good[..4], &good[..36], &good[..67], &longer, &odd, &[]] {
            assert_eq!(Erc20Call::parse(bad), None, "{} bytes", bad.len());
        }
        for padding in 4..16 {
            let mut bad = good.clone();
            bad[padding] = 1;
            assert_eq!(Erc20Call::parse(&bad), None, "byte {padding}");
        }
        let mut other = good;
        other[0] ^= 1;
        assert_eq!(Erc20Call::parse(&other), None, "another selector");
    }
}
