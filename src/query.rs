//! Writing the query of a request, and reading the pages of a list.

use std::fmt::{self, Display};
use std::str::FromStr;

use thiserror::Error;

use crate::failure::Failure;
use crate::http::encoded;

/// Pages that one command reads: half a million rows.
pub(crate) const PAGES_MAX: usize = 500;

/// A path with the parameters that were given.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    target: String,
    first: bool,
}

impl Query {
    /// Of this path, which is encoded.
    pub(crate) fn of(path: &str) -> Self {
        Self { target: path.to_owned(), first: true }
    }

    /// With a parameter, if it has a value.
    pub(crate) fn with(mut self, name: &str, value: Option<impl Display>) -> Self {
        if let Some(value) = value {
            let mark = if self.first { '?' } else { '&' };
            self.target.push_str(&format!("{mark}{name}={}", encoded(&value.to_string())));
            self.first = false;
        }
        self
    }

    /// As it is asked.
    pub(crate) fn target(self) -> String {
        self.target
    }
}

/// Reads pages until the last one: `page` takes where the one before ended, and gives its rows and where it ends.
pub(crate) fn all_pages<Row, Place>(
    mut page: impl FnMut(Option<Place>) -> Result<(Vec<Row>, Option<Place>), Failure>,
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let (more, next) = page(after.take())?;
        rows.extend(more);
        if next.is_none() {
            return Ok(rows);
        }
        after = next;
    }
    Err(Failure::unusable(
        "TOO_MANY",
        format!("expected at most {PAGES_MAX} pages, found more"),
        "ask for less with the filters, or page by page with --limit",
    ))
}

/// How old something is at least: a number and its unit, as `90d`, `12h`, `30m` or `45s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    seconds: u64,
}

impl FromStr for Age {
    type Err = AgeError;

    fn from_str(text: &str) -> Result<Self, AgeError> {
        let unit = match text.chars().last().ok_or(AgeError)? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(AgeError),
        };
        let digits = &text[..text.len() - 1];
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AgeError);
        }
        let number: u64 = digits.parse().map_err(|_| AgeError)?;
        number.checked_mul(unit).map(|seconds| Self { seconds }).ok_or(AgeError)
    }
}

impl Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.seconds.fmt(f)
    }
}

/// A text that is no age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected a number and its unit, such as 90d, 12h, 30m or 45s, found another text")]
pub(crate) struct AgeError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_a_unit() {
        for (text, seconds) in [("0s", 0), ("45s", 45), ("30m", 1800), ("12h", 43_200), ("90d", 7_776_000)] {
            assert_eq!(text.parse(), Ok(Age { seconds }), "{text}");
        }
        for text in
            ["", "d", "90", "90 d", "-1d", "+1d", "1.5d", "90D", "1d2h", "99999999999999999999d", "9é"]
        {
            assert!(text.parse::<Age>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_query_holds_what_was_given_and_escapes_it() {
        let query = Query::of("/v1/x").with("a", None::<u8>).with("b", Some("1&c=2")).with("d", Some(3));
        assert_eq!(query.target(), "/v1/x?b=1%26c%3D2&d=3");
    }

    #[test]
    fn pages_are_read_until_the_last_and_not_forever() {
        let mut asked = Vec::new();
        let rows = all_pages(|after: Option<u32>| {
            asked.push(after);
            let page = after.unwrap_or(0);
            Ok((vec![page], (page < 3).then_some(page + 1)))
        });
        assert_eq!((rows.unwrap(), asked), (vec![0, 1, 2, 3], vec![None, Some(1), Some(2), Some(3)]));
        let endless = all_pages(|_: Option<()>| Ok((vec![()], Some(()))));
        assert_eq!(endless.unwrap_err().code(), "TOO_MANY");
    }
}
