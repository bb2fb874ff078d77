//! The host's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use sealstone_attestation::UnixTime;

/// Now; 1970 if the clock is set before that.
#[must_use]
pub fn now() -> UnixTime {
    UnixTime::from_secs(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
