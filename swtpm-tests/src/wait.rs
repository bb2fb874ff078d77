//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// How long a story waits for anything before it fails: far beyond what a loaded machine of two cores needs.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `condition` holds and returns its value.
///
/// # Panics
/// When it does not within [`PATIENCE`]; `what` says what was waited for.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(LOOK);
    }
}
