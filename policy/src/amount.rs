//! Amounts: whole numbers of a currency's smallest unit, of any size, exactly.

use std::fmt;
use std::str::FromStr;

use num_bigint::BigUint;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Digits of an amount as text. 2^256 has 78; more than twice that is nobody's money.
const DIGITS_MAX: usize = 160;

/// A whole number of a currency's smallest unit (wei, lamport). Written as decimal digits, never as a float.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Amount(BigUint);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(BigUint::ZERO);

    /// From a big-endian number, as EVM words are.
    #[must_use]
    pub fn from_be_bytes(bytes: &[u8]) -> Self {
        Self(BigUint::from_bytes_be(bytes))
    }

    /// The sum of two.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self(&self.0 + &other.0)
    }

    /// What is left of this when `other` is taken away; nothing if that is more.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        if self.0 > other.0 { Self(&self.0 - &other.0) } else { Self::ZERO }
    }

    /// The number itself.
    #[must_use]
    pub fn number(&self) -> &BigUint {
        &self.0
    }
}

impl From<u64> for Amount {
    fn from(number: u64) -> Self {
        Self(number.into())
    }
}

impl From<u128> for Amount {
    fn from(number: u128) -> Self {
        Self(number.into())
    }
}

impl From<BigUint> for Amount {
    fn from(number: BigUint) -> Self {
        Self(number)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let digits = (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let plain = text == "0" || !text.starts_with('0');
        match BigUint::parse_bytes(text.as_bytes(), 10) {
            Some(number) if digits && plain => Ok(Self(number)),
            _ => Err(AmountError),
        }
    }
}

impl TryFrom<String> for Amount {
    type Error = AmountError;

    fn try_from(text: String) -> Result<Self, AmountError> {
        text.parse()
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "expected an amount in the smallest unit: 1 to {DIGITS_MAX} decimal digits as text, without sign, point or leading zero"
)]
pub struct AmountError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_has_one_spelling() {
        for good in
            ["0", "1", "115792089237316195423570985008687907853269984665640564039457584007913129639936"]
        {
            assert_eq!(good.parse::<Amount>().unwrap().to_string(), good);
        }
        for bad in ["", "-1", "+1", "01", "00", "1.0", "1e3", " 1", "1 ", "1_000", "٣", &"9".repeat(161)] {
            assert_eq!(bad.parse::<Amount>(), Err(AmountError), "{bad:?}");
        }
        assert!(serde_json::from_str::<Amount>("1").is_err(), "a JSON number may have been a float");
        assert_eq!(serde_json::from_str::<Amount>("\"1\"").unwrap(), Amount::from(1_u64));
    }

    #[test]
    fn a_difference_stops_at_nothing() {
        let (two, five) = (Amount::from(2_u64), Amount::from(5_u64));
        assert_eq!(five.minus(&two), Amount::from(3_u64));
        assert_eq!(two.minus(&five), Amount::ZERO);
        assert_eq!(two.plus(&five), Amount::from(7_u64));
    }
}
