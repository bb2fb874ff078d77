//! The host's clock, and whether somebody has set it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use sealstone_attestation::UnixTime;
use thiserror::Error;

/// How far the clock may be set at once without a word: a time server that steps a clock does so for less.
const STEP_MAX: Duration = Duration::from_secs(30);

/// The share of the time since that a clock may drift besides: twice what a time server slews by (500 ppm).
const DRIFT_SHARE: u32 = 1000;

/// After so long the clock, if it is still believed, becomes what later readings are compared with, so that drift does
/// not add up.
const BELIEVED_FOR: Duration = Duration::from_secs(24 * 3600);

/// Now; 1970 if the clock is set before that.
#[must_use]
pub fn now() -> UnixTime {
    UnixTime::from_secs(wall().as_secs())
}

/// Now, in Unix milliseconds; 0 if the clock is set before 1970.
#[must_use]
pub fn now_ms() -> u64 {
    u64::try_from(wall().as_millis()).unwrap_or(u64::MAX)
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Time since the machine started, sleep included: nobody sets it.
fn running() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// The host's clock for rules that count hours: it is refused once it was set, because a clock set forward by a day
/// would empty every daily limit.
#[derive(Debug)]
pub struct SteadyClock(Mutex<Origin>);

/// What readings are compared with.
#[derive(Clone, Copy, Debug)]
struct Origin {
    wall: Duration,
    running: Duration,
}

/// The clock was set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "expected the clock near {expected}, found {found}: it was set; correct it, or restart the agent if the new time is right"
)]
pub struct ClockSet {
    expected: UnixTime,
    found: UnixTime,
}

impl Default for SteadyClock {
    /// Believes the clock as it is now.
    fn default() -> Self {
        Self(Mutex::new(Origin { wall: wall(), running: running() }))
    }
}

impl SteadyClock {
    /// Milliseconds since 1970.
    ///
    /// # Errors
    /// [`ClockSet`] if the clock has moved by more than time has passed, in either direction.
    pub fn now_ms(&self) -> Result<u64, ClockSet> {
        let mut origin = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = origin.read(wall(), running())?;
        Ok(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Origin {
    fn read(&mut self, wall: Duration, running: Duration) -> Result<Duration, ClockSet> {
        let passed = running.saturating_sub(self.running);
        let expected = self.wall.saturating_add(passed);
        if wall.abs_diff(expected) > STEP_MAX + passed / DRIFT_SHARE {
            let shown = |time: Duration| UnixTime::from_secs(time.as_secs());
            return Err(ClockSet { expected: shown(expected), found: shown(wall) });
        }
        if passed > BELIEVED_FOR {
            *self = Self { wall, running };
        }
        Ok(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn origin() -> Origin {
        Origin { wall: seconds(1_000_000), running: seconds(100) }
    }

    #[test]
    fn a_clock_that_runs_and_drifts_is_believed() {
        let mut origin = origin();
        assert_eq!(origin.read(seconds(1_000_000), seconds(100)), Ok(seconds(1_000_000)));
        assert!(origin.read(seconds(1_000_000 + HOUR + 20), seconds(100 + HOUR)).is_ok());
        for day in 1..400 {
            // 40 s a day, which is more than a time server slews.
            let (wall, running) = (day * (24 * HOUR + 41), day * (24 * HOUR + 1));
            assert!(origin.read(seconds(1_000_000 + wall), seconds(100 + running)).is_ok(), "day {day}");
        }
    }

    #[test]
    fn a_clock_that_was_set_is_refused_until_it_is_right_again() {
        for wall in [1_000_000 + 24 * HOUR, 1_000_000 + HOUR + 60, 1_000_000, 0] {
            let mut origin = origin();
            let refused = origin.read(seconds(wall), seconds(100 + HOUR)).unwrap_err();
            assert!(refused.to_string().contains("restart the agent"), "{refused}");
            assert!(origin.read(seconds(1_000_000 + HOUR), seconds(100 + HOUR)).is_ok(), "{wall}");
        }
    }

    #[test]
    fn this_machine_s_clock_is_believed() {
        let clock = SteadyClock::default();
        let now = clock.now_ms().unwrap();
        assert!(now.abs_diff(super::now().as_secs() * 1000) < 5_000, "{now}");
    }
}
