//! The host's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use sealstone_attestation::UnixTime;

/// Now; 1970 if the clock is set before that.
#[must_use]
pub fn now() -> UnixTime {
    UnixTime::from_secs(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Now, in Unix milliseconds; 0 if the clock is set before 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
