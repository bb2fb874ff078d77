//! How far back a rolling window looks.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

/// A time of 1 second to 31 days, written `90s`, `15m`, `24h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span(u32);

impl Span {
    /// The longest: what a calendar month needs. The store keeps every spend of a window this long.
    const SECONDS_MAX: u32 = 31 * 24 * 3600;

    /// The seconds.
    pub(crate) fn seconds(self) -> u32 {
        self.0
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let refused = || SpanError { found: text.chars().take(20).collect() };
        let unit = match text.bytes().last() {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3600,
            Some(b'd') => 86_400,
            _ => return Err(refused()),
        };
        let digits = &text[..text.len() - 1];
        let count: u32 = digits.parse().map_err(|_| refused())?;
        let plain = count.to_string() == digits;
        match count.checked_mul(unit) {
            Some(seconds @ 1..=Self::SECONDS_MAX) if plain => Ok(Self(seconds)),
            _ => Err(refused()),
        }
    }
}

impl TryFrom<String> for Span {
    type Error = SpanError;

    fn try_from(text: String) -> Result<Self, SpanError> {
        text.parse()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

/// Not a time that a window may span.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected a time of 1 s to 31 d such as \"90s\", \"15m\", \"24h\" or \"7d\", found {found:?}")]
pub(crate) struct SpanError {
    found: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_one_second_to_31_days() {
        for (text, seconds) in [("1s", 1), ("60s", 60), ("1m", 60), ("24h", 86_400), ("31d", 2_678_400)] {
            assert_eq!(text.parse::<Span>().map(Span::seconds), Ok(seconds), "{text}");
        }
        for bad in [
            "",
            "s",
            "0s",
            "32d",
            "745h",
            "-1s",
            "+1s",
            "01s",
            "1.5h",
            "1 h",
            "24",
            "1w",
            "24H",
            "99999999999d",
            "é",
        ] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
    }
}
