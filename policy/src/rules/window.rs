//! When a sender may sign: days of the week, and a time of the day, in UTC.

use sealstone_attestation::UnixTime;
use serde::Deserialize;

use super::error::{PolicyError, quoted};

/// Minutes of a day.
const MINUTES: u16 = 24 * 60;

/// Days, as bits: Monday is the lowest.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// 1970-01-01 was a Thursday.
const FIRST_DAY: u64 = 3;

/// A time window as a policy writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTimeWindow {
    days: Vec<String>,
    from: String,
    to: String,
}

/// A part of the week, from a minute inclusive to a minute exclusive. One that ends before it begins goes on past
/// midnight, and belongs to the day on which it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeWindow {
    days: u8,
    from: u16,
    to: u16,
}

impl TimeWindow {
    pub(super) fn parse(field: &str, raw: &RawTimeWindow) -> Result<Self, PolicyError> {
        let RawTimeWindow { days: names, from, to } = raw;
        let mut days = 0;
        for name in names {
            let expected = "days from \"mon\" to \"sun\", each once";
            let day = DAYS.iter().position(|day| day == name);
            match day {
                Some(day) if days & (1 << day) == 0 => days |= 1 << day,
                _ => return Err(PolicyError::field(format!("{field}.days"), expected, quoted(name))),
            }
        }
        if days == 0 {
            return Err(PolicyError::field(format!("{field}.days"), "a day such as \"mon\"", "none"));
        }
        let time = |name: &str, text: &str| {
            minute(text).ok_or_else(|| {
                let expected = "a time such as \"08:00\"; a window may end at \"24:00\"";
                PolicyError::field(format!("{field}.{name}"), expected, quoted(text))
            })
        };
        let (from, to) = (time("from", from)?, time("to", to)?);
        if from == MINUTES || from == to {
            let expected = "a window that lasts; the whole day is from \"00:00\" to \"24:00\"";
            return Err(PolicyError::field(field, expected, format!("{:?} to {:?}", raw.from, raw.to)));
        }
        Ok(Self { days, from, to })
    }

    /// Whether this time lies in it.
    pub(crate) fn contains(&self, now: UnixTime) -> bool {
        let Self { days, from, to } = *self;
        let minutes = now.as_secs() / 60;
        let minute = minutes % u64::from(MINUTES);
        let day = minutes / u64::from(MINUTES) + FIRST_DAY;
        let on = |day: u64| days & (1 << (day % 7)) != 0;
        let (from, to) = (u64::from(from), u64::from(to));
        if from < to {
            return on(day) && (from..to).contains(&minute);
        }
        // `+ 6` is the day before.
        (on(day) && minute >= from) || (on(day + 6) && minute < to)
    }
}

/// Reads `HH:MM` up to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |digits: &str| {
        let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        plain.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= MINUTES).then_some(minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[&str], from: &str, to: &str) -> Result<TimeWindow, PolicyError> {
        let days = days.iter().map(|day| (*day).to_owned()).collect();
        TimeWindow::parse("w", &RawTimeWindow { days, from: from.to_owned(), to: to.to_owned() })
    }

    fn open(window: &TimeWindow, time: &str) -> bool {
        window.contains(time.parse().unwrap())
    }

    #[test]
    fn a_window_opens_at_its_first_minute_and_is_closed_at_its_last() {
        // 2026-11-20 is a Friday.
        let friday = window(&["fri"], "08:00", "18:00").unwrap();
        for (time, expected) in [
            ("2026-11-20T07:59:59Z", false),
            ("2026-11-20T08:00:00Z", true),
            ("2026-11-20T17:59:59Z", true),
            ("2026-11-20T18:00:00Z", false),
            ("2026-11-19T12:00:00Z", false),
            ("2026-11-21T12:00:00Z", false),
            ("2026-11-27T12:00:00Z", true),
        ] {
            assert_eq!(open(&friday, time), expected, "{time}");
        }
        let whole = window(&["fri"], "00:00", "24:00").unwrap();
        assert!(open(&whole, "2026-11-20T00:00:00Z") && open(&whole, "2026-11-20T23:59:59Z"));
        assert!(!open(&whole, "2026-11-21T00:00:00Z"));
    }

    #[test]
    fn a_window_across_midnight_belongs_to_the_day_on_which_it_began() {
        let night = window(&["fri", "sun"], "22:00", "06:00").unwrap();
        for (time, expected) in [
            ("2026-11-20T05:00:00Z", false),
            ("2026-11-20T22:00:00Z", true),
            ("2026-11-21T05:59:59Z", true),
            ("2026-11-21T06:00:00Z", false),
            ("2026-11-21T22:00:00Z", false),
            ("2026-11-22T05:00:00Z", false),
            ("2026-11-22T23:00:00Z", true),
            ("2026-11-23T05:00:00Z", true),
        ] {
            assert_eq!(open(&night, time), expected, "{time}");
        }
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for (days, from, to) in [
            (&["fri"][..], "08:00", "08:00"),
            (&[], "08:00", "09:00"),
            (&["Fri"], "08:00", "09:00"),
            (&["fri", "fri"], "08:00", "09:00"),
            (&["friday"], "08:00", "09:00"),
            (&["fri"], "24:00", "09:00"),
            (&["fri"], "8:00", "09:00"),
            (&["fri"], "08:60", "09:00"),
            (&["fri"], "08:00", "24:01"),
            (&["fri"], "+8:00", "09:00"),
            (&["fri"], "08:00", "99:99"),
            (&["fri"], "0800", "09:00"),
        ] {
            assert!(window(days, from, to).is_err(), "{days:?} {from} {to}");
        }
    }
}
