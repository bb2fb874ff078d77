//! The two clocks that the enclave reads: wall time, which the host can set, and time since boot, which it
//! cannot turn back.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sealstone_attestation::UnixTime;

/// Time since boot, suspend included: what deadlines of sessions and challenges count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(Duration);

impl Uptime {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self(read(ClockId::Boottime))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Wall time in Unix milliseconds.
#[must_use]
pub fn unix_ms() -> u64 {
    u64::try_from(read(ClockId::Realtime).as_millis()).unwrap_or(u64::MAX)
}

/// Wall time, never before `floor`: the newest signed time that the enclave has seen.
#[must_use]
pub fn unix_time(floor: UnixTime) -> UnixTime {
    UnixTime::from_secs(unix_ms() / 1000).max(floor)
}

fn read(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    // A host clock set before 1970 reads as 1970; the floor of signed times takes over from there.
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}
