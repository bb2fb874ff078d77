//! What a payload does, as read from the payload itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::address::AddressError;
use crate::amount::Amount;

/// How a payload is read. A request says which; the policy says which it takes from whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Bytes that nobody reads.
    #[default]
    Opaque,
    /// What an Ethereum transaction's signature is over (EIP-155, EIP-2930, EIP-1559).
    Evm,
    /// A Solana message, legacy or version 0.
    Solana,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opaque => "opaque",
            Self::Evm => "evm",
            Self::Solana => "solana",
        })
    }
}

/// An address in its chain's canonical text: `0x` and 40 lower-case hex digits, or base58.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Address(String);

impl Address {
    /// An Ethereum address.
    #[must_use]
    pub fn evm(bytes: &[u8; 20]) -> Self {
        Self(format!("0x{}", hex::encode(bytes)))
    }

    /// A text that is canonical already.
    #[must_use]
    pub(crate) fn canonical(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which currency an amount is of, as the payload names it: `evm:<chain id>:native`,
/// `evm:<chain id>:<contract>`, `solana:native`, `solana:<mint>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CurrencyId(String);

impl CurrencyId {
    /// The coin in which an Ethereum chain's fees are paid.
    #[must_use]
    pub fn evm_native(chain_id: u64) -> Self {
        Self(format!("evm:{chain_id}:native"))
    }

    /// An ERC-20 token.
    #[must_use]
    pub fn evm_token(chain_id: u64, contract: &Address) -> Self {
        Self(format!("evm:{chain_id}:{contract}"))
    }

    /// SOL.
    #[must_use]
    pub fn solana_native() -> Self {
        Self("solana:native".to_owned())
    }

    /// An SPL token.
    #[must_use]
    pub fn solana_token(mint: &Address) -> Self {
        Self(format!("solana:{mint}"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CurrencyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How value moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// To the recipient.
    Transfer,
    /// Into the recipient's power: an allowance, which it may draw at any time.
    Allowance,
}

/// Value that a signature over the payload moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    /// How.
    pub kind: MovementKind,
    /// Of what.
    pub currency: CurrencyId,
    /// How much.
    pub amount: Amount,
    /// Who gets it, or may draw it. For an SPL token the owner of the token account where that is proven, else the
    /// token account.
    pub recipient: Address,
    /// Whether the recipient is who in the end holds it: `false` for a token account of unproven ownership, and for an
    /// address on Solana that no private key can belong to.
    pub recipient_proven: bool,
}

/// The most that a transaction may cost beside what it moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fee {
    /// Of what.
    pub currency: CurrencyId,
    /// At most.
    pub amount: Amount,
}

/// What a payload does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// How it was read.
    pub format: Format,
    /// The chain that the payload names; `None` where the format names none.
    pub chain_id: Option<u64>,
    /// The nonce that the payload names; `None` where the format names none.
    pub nonce: Option<u64>,
    /// The value that it moves.
    pub movements: Vec<Movement>,
    /// What it may cost; `None` if opaque.
    pub fee: Option<Fee>,
    /// What it does besides that nobody could read: one text each, safe to log. An opaque payload has one.
    pub unknown: Vec<String>,
}

impl Facts {
    /// Of bytes that nobody reads.
    #[must_use]
    pub fn opaque() -> Self {
        Self {
            format: Format::Opaque,
            chain_id: None,
            nonce: None,
            movements: Vec::new(),
            fee: None,
            unknown: vec!["an opaque payload".to_owned()],
        }
    }
}
