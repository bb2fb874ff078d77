//! Chains: how their payloads are read, and the id that a request declares.

use crate::facts::Format;

use super::error::{PolicyError, bounded, item, quoted};
use super::raw::Table;

/// Chains of one policy. There are a few hundred public ones in all.
const CHAINS_MAX: usize = 1024;

/// A chain on which something may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Chain {
    /// How its payloads are read.
    pub(crate) format: Format,
    /// What a request declares.
    pub(crate) id: u64,
}

impl Chain {
    /// Reads `evm:1`, `solana:900`, `opaque:0`.
    fn parse(field: &str, text: &str) -> Result<Self, PolicyError> {
        let refused = || {
            PolicyError::field(
                field,
                "a chain such as \"evm:1\", \"solana:900\" or \"opaque:0\"",
                quoted(text),
            )
        };
        let (format, id) = text.split_once(':').ok_or_else(refused)?;
        let format = match format {
            "evm" => Format::Evm,
            "solana" => Format::Solana,
            "opaque" => Format::Opaque,
            _ => return Err(refused()),
        };
        Ok(Self { format, id: number(id).ok_or_else(refused)? })
    }

    /// Reads the table `[chains]`; each name is another chain.
    pub(super) fn table(raw: Table<String>) -> Result<Table<Self>, PolicyError> {
        bounded("chains", raw.len(), CHAINS_MAX)?;
        let mut chains = Table::<Self>::new();
        for (name, text) in raw {
            let field = item("chains", &name);
            let chain = Self::parse(&field, &text)?;
            if let Some((other, _)) = chains.iter().find(|(_, known)| **known == chain) {
                return Err(PolicyError::field(
                    field,
                    "a chain with one name",
                    format!("that {} names it too", quoted(other)),
                ));
            }
            chains.insert(name, chain);
        }
        Ok(chains)
    }
}

/// A number with one spelling.
pub(super) fn number(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}
