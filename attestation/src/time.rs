//! Points in time, to the second.

use std::{fmt, str::FromStr, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Seconds since 1970-01-01T00:00:00Z. Text formats carry RFC 3339 in UTC (`2026-11-21T03:00:00Z`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The end of the year 9999 less one day: the last day whose text is the same in every time zone.
    pub const MAX: Self = Self(253_402_207_199);

    /// Takes seconds; more than [`UnixTime::MAX`] is that maximum, because RFC 3339 has no five-digit years.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        if seconds > Self::MAX.0 { Self::MAX } else { Self(seconds) }
    }

    /// The seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// This time and so much later, to whole seconds, at most [`UnixTime::MAX`].
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self::from_secs(self.0.saturating_add(duration.as_secs()))
    }

    /// How long after `earlier` this is; `None` if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_secs)
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0).expect("bounded by MAX");
        let timestamp = Timestamp::from_second(seconds).expect("bounded by MAX");
        fmt::Display::fmt(&timestamp, f)
    }
}

impl FromStr for UnixTime {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let refused = || TimeError { found: text.chars().take(TimeError::FOUND_CHARS_MAX).collect() };
        let timestamp: Timestamp = text.parse().map_err(|_| refused())?;
        let seconds = u64::try_from(timestamp.as_second()).map_err(|_| refused())?;
        let time = Self::from_secs(seconds);
        // One spelling for each time, so that what is signed is what is read.
        if time.to_string() == text { Ok(time) } else { Err(refused()) }
    }
}

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
        }
        let seconds = u64::deserialize(deserializer)?;
        let time = Self::from_secs(seconds);
        if time.0 == seconds {
            Ok(time)
        } else {
            Err(de::Error::custom(format_args!("expected at most {} seconds, found {seconds}", Self::MAX.0)))
        }
    }
}

/// A text that is no time in the one form that is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected a time like 2026-11-21T03:00:00Z (UTC, whole seconds), found {found:?}")]
pub struct TimeError {
    /// The text, cut.
    pub found: String,
}

impl TimeError {
    /// Characters of a refused text that an error repeats; a time has twenty.
    const FOUND_CHARS_MAX: usize = 40;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_one_spelling() {
        let time: UnixTime = "2026-11-21T03:00:00Z".parse().unwrap();
        assert_eq!(time.as_secs(), 1_795_230_000);
        assert_eq!(time.to_string(), "2026-11-21T03:00:00Z");
        for other in [
            "2026-11-21T03:00:00+00:00",
            "2026-11-21T03:00:00.5Z",
            "2026-11-21 03:00:00Z",
            "2026-11-21T03:00:00z",
            "2026-11-21T03:00:00",
            "1969-12-31T23:59:59Z",
            "2026-11-21",
            "",
        ] {
            assert!(other.parse::<UnixTime>().is_err(), "{other}");
        }
    }

    #[test]
    fn the_far_future_is_the_maximum_and_still_prints() {
        assert_eq!(UnixTime::from_secs(u64::MAX), UnixTime::MAX);
        let text = UnixTime::MAX.to_string();
        assert_eq!(text.parse::<UnixTime>().unwrap(), UnixTime::MAX);
        assert_eq!(UnixTime::MAX.saturating_add(Duration::from_secs(1)), UnixTime::MAX);
        let beyond = postcard::to_stdvec(&u64::MAX).unwrap();
        assert!(postcard::from_bytes::<UnixTime>(&beyond).is_err());
    }
}
